"""How far a network that rounds can be from the same network in exact arithmetic: a bound, proved.

*Notation*: gamma_n(u) = n u / (1 - n u).  For one image, x is a tensor of the network as the
trainer computes it, c the same tensor of the same network (with the weights and statistics it
uses, rounded as they are) in float64 without any rounding point, and D >= |x - c| elementwise.
u = 2^-24 and s = 2^-149 belong to float32, in which the trainer computes; U = u + 2^-53 covers the
rounding of c, too.  All that is known of x is |x| <= m = |c| + D.

At c every layer has a derivative A, so that x' - c' = A (x - c) + e with |e| <= E, what the layer
itself adds to the error:

====================  ============================================================================
layer                 E
====================  ============================================================================
rounding point        max(v m, h): v = 2^-p and h half the smallest subnormal for rounding to nearest
                      in p bits, twice both in any other mode (in formats without subnormals, the
                      smallest normal takes that place).  Beyond the largest value: m - max if the
                      policy saturates, otherwise infinite.
product W x, k terms  gamma_k(U) |W| m + 2 k s.  A float32 sum of k products, by fused multiply-add
                      or not and in any order, is off by at most gamma_k(u) times the sum of their
                      magnitudes, plus what underflows: half of s per operation, grown by at most
                      1 + gamma_k < 4.  A bias counts as one product more.
batch norm            with a = inverse, b = scale, as used: gamma_4(U) (|a b| (|c - mean| + D) +
                      |shift|) + 2 (|b| + 1) s: three operations and a sum, two of which underflow
ReLU                  max(0, D - |c|): none, unless x can be on the other side of the kink
max pool              max(0, most that another can be - least that the leader can be)
mean of an image      gamma_2(U) mean m + s: summed in float64, rounded once
sum (residual)        gamma_1(U) (m1 + m2)
====================  ============================================================================

Two bounds follow.  **Layer by layer**, D' = |A| D + E: each layer passes on the worst of the one
before (ReLU and max pool: at most D, for they bring no two numbers further apart).  It grows
exponentially with depth, but says what m and the kinks need.  **By sensitivity**: unrolled, the error
of the logits is the sum over all layers of J e, with J the product of the derivatives that follow,
and so at most the sum of |J| E.  In J, signs cancel that |A| ... |A| adds up.  The smaller counts.

Wherever a partial result might pass float32's largest value, the bound is infinite.  It is itself
computed in float64: from sums of less than 2^20 non-negative terms, for which every layer's is raised
by 2^-30 of itself; and from J, whose rounding errors are below gamma_N(2^-53) |A| ... |A| with N
terms on a path, for which 2^-30 of the bound layer by layer is added (enough for N (1 + 2 kinks)
below 2^23).  The bound holds for every order of summation, with `exact_sums` or without; for
stochastic rounding, whatever is drawn.

*Source*: Higham, Accuracy and Stability of Numerical Algorithms, 3.1 (gamma_n) and 3.3 (running
bounds); that it is the network's own values that the bounds run along makes them those of an image.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from threadpoolctl import threadpool_limits

from refimpl import _arguments as check
from refimpl.autodiff import Tensor
from refimpl.autodiff import primitives as p
from refimpl.formats import FloatFormat
from refimpl.nn import layers as nn
from refimpl.nn.blocks import Residual
from refimpl.nn.precision import Precision, Rounding

UNIT = 2.0**-24 + 2.0**-53
SMALLEST = 2.0**-149
SLACK = 2.0**-30
LARGEST = float(np.finfo(np.float32).max)
NEAREST = ("ties_to_even", "ties_to_away")
AT_ONCE = 64  # images


def gamma(n: int, unit: float = UNIT) -> float:
    """Return n u / (1 - n u), infinite where n u reaches 1.

    >>> round(gamma(10, 2.0**-11), 9)
    0.004906771
    """
    return n * unit / (1 - n * unit) if n * unit < 1 else np.inf


def forward_error_bound(
    model: nn.Sequential, images: np.ndarray, precision: Precision, *, progress: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Bound what rounding does to a network's logits, image by image, without rounding anything.

    Parameters
    ----------
    model : Sequential
        Trained, with the weights that the policy's network uses (as `refimpl.numerics.cast` makes
        them); of the layers in the table above.
    images : ndarray of float32, shape (n, height, width, channels)
    precision : Precision
        Formats of floating point, without scales.
    progress : bool
        Show a bar.

    Returns
    -------
    exact, bound : ndarray of float64, shape (n, classes)
        The logits without rounding, up to what float64 leaves out (the bound covers it), and the
        largest distance from them at which those computed under the policy can be, elementwise;
        infinite where something might overflow.

    Raises
    ------
    TypeError, ValueError
        For other things than a network and a policy; a layer or a policy that no bound is known for; a network
        without weights; images that do not fit it or are not finite.

    Notes
    -----
    *Source*: the top of this file.  A proof, for the arithmetic stated there.

    Examples
    --------
    >>> import refimpl as rf
    >>> task = rf.data.load("digits")
    >>> model = rf.nn.fit(rf.nn.mlp(), task, epochs=1).model
    >>> exact, bound = forward_error_bound(model, task.test_images, rf.nn.preset("float32"))
    >>> bool(bound.max() < 0.01)  # float32 itself: summing is all that rounds
    True
    """
    from tqdm import tqdm

    check_bounded("forward_error_bound", model, precision)
    check_trained("forward_error_bound", model)
    images = checked_images("forward_error_bound", model, images)
    parts = []
    with (
        threadpool_limits(1, user_api="blas"),  # products this small gain nothing from more
        np.errstate(over="ignore", invalid="ignore"),
    ):
        starts = range(0, len(images), AT_ONCE)
        for start in tqdm(starts, unit="batch", disable=not progress, leave=False):
            c = images[start : start + AT_ONCE].astype(np.float64)
            sources: list[tuple[Tensor, np.ndarray]] = []
            c, d = _bound(model, Tensor(c), np.zeros_like(c), precision, sources)
            parts.append((c.data, np.minimum(d, _by_sensitivity(c, sources) + SLACK * d)))
    exact, bound = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return exact, bound


def _by_sensitivity(logits, sources):
    """Return the sum over all sources of |J| E, J being the derivative of the logits by the source."""
    total = np.zeros_like(logits.data)
    for k in range(logits.shape[1]):
        logits[:, k].sum().backward()
        for probe, fresh in sources:
            effect = np.abs(probe.grad) * fresh
            total[:, k] += effect.reshape(len(effect), -1).sum(axis=1)
            probe.grad = None
    return np.where(np.isnan(total), np.inf, total * (1 + SLACK))


def check_trained(caller: str, model: nn.Sequential) -> None:
    """Refuse other things than networks, and one without weights, or with weights that are not finite."""
    check.instance(caller, "model", model, nn.Sequential, "a trained network, which refimpl.nn.fit returns as .model")
    for layer in model.every_layer():
        if layer.parameter_count() and not layer.parameters:
            hint = "train the network by refimpl.nn.fit"
            raise ValueError(check.message(caller, f"layer {layer.name!r}", "without weights", "a trained one", hint))
        for name, array in [*((n, t.data) for n, t in layer.parameters.items()), *layer.state().items()]:
            hint = "the training of this network has diverged: train it with a lower rate or another seed"
            check.finite(caller, f"{name} of layer {layer.name!r}", array, hint)


def check_precision(caller: str, precision: Precision) -> None:
    """Refuse what is not a policy."""
    check.instance(caller, "precision", precision, Precision, "a refimpl.Precision, or refimpl.nn.preset(name)")


def checked_images(caller: str, model: nn.Sequential, images) -> np.ndarray:
    """Return images as an array, refusing those that the network does not take."""
    images = check.array(caller, "images", images)
    if images.ndim < 2 or not len(images) or images.dtype != np.float32:
        allowed = "float32 (n, height, width, channels) with at least one image"
        raise check.wrong_value(caller, "images", images, allowed)
    try:
        model.output_shape(images.shape[1:])
    except ValueError as error:
        hint = f"a single image is image[np.newaxis] ({error})"
        raise check.wrong_value(caller, "images", images, "what the network takes", hint) from None
    return check.finite(caller, "images", images)


def check_bounded(caller: str, model: nn.Sequential, precision: Precision) -> None:
    """Raise an error, naming the layer, where no bound is known for a network or a policy."""
    check.instance(caller, "model", model, nn.Sequential, "a trained network, which refimpl.nn.fit returns as .model")
    check_precision(caller, precision)
    for layer in model.every_layer():
        if type(layer) not in RULES and not isinstance(layer, (nn.Sequential, Residual)):
            known = ", ".join(sorted(kind.__name__ for kind in (*RULES, Residual)))
            raise ValueError(f"{caller}: there is no bound for layer {layer.name!r}; allowed are {known}")
        roles = [layer.role] if isinstance(layer, nn.Round) else []
        for role in [*roles, *(["weight"] if layer.parameter_count() else [])]:
            rounding = precision.rounding_of(role, layer.name)
            if rounding is not None and not (isinstance(rounding.format, FloatFormat) and rounding.scaling == "none"):
                allowed = "floating-point formats without scales, such as float16 or bfloat16"
                name = f"{role} of layer {layer.name!r}"
                raise ValueError(f"{caller}: there is no bound for {name} in {rounding}; allowed are {allowed}")


def _bound(layer, c, d, precision, sources):
    """Return (c', D') of a layer, raised for its own rounding; NaN is not a bound."""
    if isinstance(layer, nn.Sequential):
        for inner in layer.layers:
            c, d = _bound(inner, c, d, precision, sources)
        return c, d
    if isinstance(layer, Residual):
        return _residual(layer, c, d, precision, sources)
    return _noted(*RULES[type(layer)](layer, c, d, precision), sources)


def _noted(c, d, fresh, sources):
    """Return (c, D), and note E, what a layer itself adds to the error, with a place to derive by it."""
    lost = ~np.isfinite(c.data)
    d = np.where(np.isnan(d) | lost, np.inf, d * (1 + SLACK))
    fresh = np.where(np.isnan(fresh) | lost, np.inf, fresh * (1 + SLACK))
    probe = Tensor(np.zeros_like(c.data), requires_grad=True)
    sources.append((probe, fresh))
    return c + probe, d


def rounding_bound(magnitude: np.ndarray, rounding: Rounding | None) -> np.ndarray:
    """Return by how much rounding can move numbers of at most this magnitude.

    >>> rounding_bound(np.array([1.0, 2.0**-30, 7e4]), Rounding(format="float16", overflow="overflow"))
    array([4.88281250e-04, 2.98023224e-08,            inf])
    """
    if rounding is None:
        return np.zeros_like(magnitude)
    fmt = rounding.format
    half_unit = 2.0 ** -(fmt.mantissa_bits + 1)
    moved = np.maximum(half_unit * magnitude, fmt.smallest_subnormal / 2)
    if rounding.rounding not in NEAREST:
        moved *= 2
    saturates = rounding.overflow == "saturate" and fmt.max < 2.0**127
    beyond = magnitude - fmt.max if saturates else np.inf
    # 2^127: above it, what a format rounds up to may be beyond float32, which holds the values
    return np.where(magnitude > min(fmt.max, 2.0**127), np.maximum(moved, beyond), moved)


def _round(layer, c, d, precision):
    fresh = rounding_bound(np.abs(c.data) + d, precision.rounding_of(layer.role, layer.name))
    return c, d + fresh, fresh


def _products(c, d, product, weight, bias, terms):
    """Return (c', D', E) of a sum of products; `product` computes it of values and weights."""
    exact = product(c, weight) + bias
    sizes = product(Tensor(np.abs(c.data) + d), np.abs(weight)).data + np.abs(bias)
    fresh = gamma(terms) * sizes + 2 * terms * SMALLEST
    fresh = np.where(sizes * (1 + gamma(terms)) > LARGEST, np.inf, fresh)
    return exact, product(Tensor(d), np.abs(weight)).data + fresh, fresh


def _linear(layer, c, d, precision):
    weight, bias = (layer.parameters[n].data.astype(np.float64) for n in ("weight", "bias"))
    return _products(c, d, p.matmul, weight, bias, layer.features + 1)


def _convolution(layer, c, d, precision):
    def product(x, weight):
        return p.convolve(x, weight, stride=layer.stride, padding=layer.padding, groups=layer.groups)

    weight = layer.parameters["weight"].data.astype(np.float64)
    return _products(c, d, product, weight, 0.0, int(np.prod(weight.shape[:3])))


def _batch_norm(layer, c, d, precision):
    inverse = 1 / np.sqrt(layer.variance + np.float32(layer.epsilon))  # in float32, as evaluated
    a, mean = inverse.astype(np.float64), layer.mean.astype(np.float64)
    scale, shift = (layer.parameters[n].data.astype(np.float64) for n in ("scale", "shift"))
    first = np.abs(c.data - mean) + d
    last = first * np.abs(a * scale) + np.abs(shift)
    fresh = gamma(4) * last + 2 * (np.abs(scale) + 1) * SMALLEST
    largest = np.maximum(np.maximum(first, first * np.abs(a)), last)
    fresh = np.where(largest * (1 + gamma(4)) > LARGEST, np.inf, fresh)
    return (c - mean) * (a * scale) + shift, np.abs(a * scale) * d + fresh, fresh


def _relu(layer, c, d, precision):
    moved = np.where(c.data > 0, d, np.maximum(c.data + d, 0))
    return p.relu(c), moved, np.maximum(d - np.abs(c.data), 0)


def _max_pool(layer, c, d, precision):
    def largest(x):
        return p.max_pool(x, size=layer.size, stride=layer.size)

    values, errors = (_windows(array, layer.size) for array in (c.data, d))
    leader = np.expand_dims(values.argmax(axis=-1), -1)
    least = np.take_along_axis(values - errors, leader, -1)[..., 0]
    others = values + errors
    np.put_along_axis(others, leader, -np.inf, -1)
    return largest(c), largest(Tensor(d)).data, np.maximum(others.max(axis=-1) - least, 0)


def _windows(x, size):
    """Return (batch, down, across, channels, size^2): the windows side by side, each row by row."""
    batch, height, width, channels = x.shape
    down, across = height // size, width // size
    x = x[:, : down * size, : across * size].reshape(batch, down, size, across, size, channels)
    return x.transpose(0, 1, 3, 5, 2, 4).reshape(batch, down, across, channels, size**2)


def _average_pool(layer, c, d, precision):
    fresh = gamma(2) * (np.abs(c.data) + d).mean(axis=(1, 2)) + SMALLEST
    return c.mean(axis=(1, 2)), d.mean(axis=(1, 2)) + fresh, fresh


def _flatten(layer, c, d, precision):
    return c.reshape(len(d), -1), d.reshape(len(d), -1), np.zeros((len(d), d[0].size))


def _residual(layer, c, d, precision, sources):
    first, d1 = _bound(layer.main, c, d, precision, sources)
    second, d2 = _bound(layer.skip, c, d, precision, sources)
    second, d2 = _bound(layer.round_skip, second, d2, precision, sources)
    sizes = np.abs(first.data) + d1 + np.abs(second.data) + d2
    fresh = np.where(sizes * (1 + UNIT) > LARGEST, np.inf, gamma(1) * sizes)
    c, d = _noted(first + second, d1 + d2 + fresh, fresh, sources)
    return _bound(layer.round_sum, c, d, precision, sources)


RULES: dict[type, Callable[..., tuple]] = {
    nn.Round: _round,
    nn.Linear: _linear,
    nn.Convolution: _convolution,
    nn.BatchNorm: _batch_norm,
    nn.ReLU: _relu,
    nn.MaxPool: _max_pool,
    nn.AveragePool: _average_pool,
    nn.Flatten: _flatten,
    nn.Dropout: lambda layer, c, d, precision: (c, d, 0 * d),
}
"""What each kind of layer makes of (c, D): (c', D', E).  Sequences and residual blocks are made of others."""
