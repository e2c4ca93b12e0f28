"""The same networks and the same training step in PyTorch, rounded by QPyTorch where installed.

Written with what those packages offer their users: `Quantizer` modules and the `OptimLP` wrapper.
"""

import numpy as np
import torch
from torch import nn


class Twin(nn.Module):
    """A refimpl network in PyTorch: layer by layer, with a module of `quantizers` at each rounding point."""

    def __init__(self, model, quantizers):
        super().__init__()
        self.steps = nn.ModuleList([_twin(layer, quantizers) for layer in model.layers])

    def forward(self, x):
        """Take images as refimpl does: channels last."""
        x = x.permute(0, 3, 1, 2).contiguous()
        for step in self.steps:
            x = step(x)
        return x


class _Residual(nn.Module):
    def __init__(self, layer, quantizers):
        super().__init__()
        self.main, self.skip = (
            nn.Sequential(*(_twin(part, quantizers) for part in parts.layers)) for parts in (layer.main, layer.skip)
        )
        self.round_skip, self.round_sum = quantizers["activation"](), quantizers["activation"]()

    def forward(self, x):
        return self.round_sum(self.main(x) + self.round_skip(self.skip(x)))


class _Sum(nn.Module):
    def __init__(self, layer, quantizers):
        super().__init__()
        self.main = nn.Sequential(*(_twin(part, quantizers) for part in layer.main.layers))
        self.round_sum = quantizers["activation"]()

    def forward(self, x):
        return self.round_sum(x + self.main(x))


class _Attention(nn.Module):
    def __init__(self, layer, quantizers):
        super().__init__()
        self.heads = layer.heads
        self.projections = nn.ModuleList([_twin(part, quantizers) for part in layer.projections])
        self.output = _twin(layer.output, quantizers)
        self.points = nn.ModuleList([quantizers["activation"]() for _ in layer.points])

    def forward(self, x):
        batch, places, features = x.shape
        size = features // self.heads
        q, k, v = (
            point(project(x)).reshape(batch, places, self.heads, size).transpose(1, 2)
            for project, point in zip(self.projections, self.points[:3], strict=True)
        )
        shares = self.points[3](torch.softmax(q @ k.transpose(2, 3) * size**-0.5, dim=-1))
        mixed = (shares @ v).transpose(1, 2).reshape(batch, places, features)
        return self.output(self.points[4](mixed))


class _Positions(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(layer.places, layer.features))

    def forward(self, x):
        return x + self.weight


class _ImageRows(nn.Module):
    def forward(self, x):
        return x.permute(0, 2, 3, 1).flatten(2)


class _MeanOfTokens(nn.Module):
    def forward(self, x):
        return x.mean(dim=1)


class _Mean(nn.Module):
    def forward(self, x):
        return x.mean(dim=(2, 3))


class _Flatten(nn.Module):
    def forward(self, x):
        return x.permute(0, 2, 3, 1).flatten(1)  # in the order of channels last


def _twin(layer, quantizers):
    kind = type(layer).__name__
    p = {name: t.data for name, t in layer.parameters.items()}
    if kind == "Round":
        return quantizers[layer.role]()
    if kind == "Convolution":
        made = nn.Conv2d(
            layer.channels, layer.filters, layer.size, layer.stride, layer.padding, groups=layer.groups, bias=False
        )
        _set(made.weight, p["weight"].transpose(3, 2, 0, 1))
    elif kind == "BatchNorm":
        made = nn.BatchNorm2d(layer.channels)
    elif kind == "Linear":
        made = nn.Linear(layer.features, layer.outputs)
        _set(made.weight, p["weight"].T)
        _set(made.bias, p["bias"])
    elif kind == "LayerNorm":
        made = nn.LayerNorm(layer.features)
    elif kind == "Positions":
        made = _Positions(layer)
        _set(made.weight, p["weight"])
    elif kind == "GELU":
        made = nn.GELU("tanh")
    elif kind == "Sequential":
        made = nn.Sequential(*(_twin(part, quantizers) for part in layer.layers))
    elif kind in ("Residual", "Sum", "Attention"):
        made = {"Residual": _Residual, "Sum": _Sum, "Attention": _Attention}[kind](layer, quantizers)
    elif kind == "MaxPool":
        made = nn.MaxPool2d(layer.size)
    else:
        modules = {"ReLU": nn.ReLU, "AveragePool": _Mean, "Flatten": _Flatten}
        made = (modules | {"ImageRows": _ImageRows, "MeanOfTokens": _MeanOfTokens})[kind]()
    return made


def _set(parameter, values):
    with torch.no_grad():
        parameter.copy_(torch.from_numpy(np.ascontiguousarray(values)))


def nothing():
    """Return the rounding points of float32 training."""
    return dict.fromkeys(("input", "activation", "logits"), nn.Identity)


def qtorch_points(low, high):
    """Return QPyTorch's stochastic quantizers, values and gradients alike."""
    from qtorch import FloatingPoint
    from qtorch.quant import Quantizer

    def point(fmt):
        number = FloatingPoint(exp=fmt.exponent_bits, man=fmt.mantissa_bits)
        return lambda: Quantizer(
            forward_number=number, backward_number=number, forward_rounding="stochastic", backward_rounding="stochastic"
        )

    return {"input": point(high), "activation": point(low), "logits": point(high)}


def optimised_qtorch():
    """Build QPyTorch's extension with -O3; return a function that calls another with that in its place."""
    from pathlib import Path

    from qtorch.quant import quant_function
    from torch.utils.cpp_extension import load

    sources = sorted(Path(quant_function.__file__).parent.glob("quant_cpu/*.cpp"))
    module = load("quant_cpu_o3", [str(s) for s in sources], extra_cflags=["-O3"])
    shipped = quant_function.quant_cpu

    def switch(call):
        quant_function.quant_cpu = module
        try:
            return call()
        finally:
            quant_function.quant_cpu = shipped

    return switch


def stepper(twin, *, low=None, high=None, rate=0.05, scale=1000.0):
    """Return a function that trains on one batch (arrays) as the paper does and returns the loss."""
    optimizer = torch.optim.SGD(twin.parameters(), lr=rate, momentum=0.9, weight_decay=5e-4)
    if low is not None:
        from qtorch import FloatingPoint
        from qtorch.optim import OptimLP
        from qtorch.quant import quantizer

        def rounding(fmt):
            number = FloatingPoint(exp=fmt.exponent_bits, man=fmt.mantissa_bits)
            return quantizer(forward_number=number, forward_rounding="stochastic")

        optimizer = OptimLP(
            optimizer,
            weight_quant=rounding(low),
            grad_quant=rounding(low),
            momentum_quant=rounding(high),
            acc_quant=rounding(high),
            grad_scaling=1 / scale,
        )
    loss_of = nn.CrossEntropyLoss()

    def step(images, labels, rate=rate):
        inner = optimizer.optim if low is not None else optimizer
        for group in inner.param_groups:
            group["lr"] = rate
        optimizer.zero_grad()
        loss = loss_of(twin(torch.from_numpy(images)), torch.from_numpy(labels))
        (loss * scale if low is not None else loss).backward()
        optimizer.step()
        return float(loss.detach())

    return step


def error(twin, images, labels):
    """Return the fraction of images classified wrongly."""
    twin.eval()
    with torch.no_grad():
        wrong = (twin(torch.from_numpy(images)).argmax(1).numpy() != labels).mean()
    twin.train()
    return float(wrong)
