"""How far a network that rounds can be from the same network in exact arithmetic: a bound, proved.

*Notation*: gamma_n(u) = n u / (1 - n u).  For one image, x is a tensor of the network as the
trainer computes it, c the same tensor of the same network (with the weights and statistics it
uses, rounded as they are) in float64 without any rounding point, and D >= |x - c| elementwise, the
bound.  u = 2^-24 and s = 2^-149 belong to float32, in which the trainer computes; U = u + 2^-53
covers the rounding of c, too.  All that is known of x is |x| <= m = |c| + D.

====================  ============================================================================
layer                 the bound D' of its output
====================  ============================================================================
rounding point        D + e(m),  e(m) = max(v m, h): v = 2^-p and h half the smallest subnormal for
                      rounding to nearest in p bits, twice both in any other mode (in formats without
                      subnormals, the smallest normal takes that place).  Beyond the largest value:
                      m - max if the policy saturates, otherwise infinite.
product W x, k terms  |W| D + gamma_k(U) |W| m + 2 k s.  A float32 sum of k products, by fused
                      multiply-add or not and in any order, is off by at most gamma_k(u) times the sum
                      of their magnitudes, plus what underflows: half of s per operation, grown by at
                      most 1 + gamma_k < 4.
bias                  counts as one product more
batch norm            with a = inverse, b = scale, as used: |a b| D + gamma_4(U) (|a b| (|c - mean| + D)
                      + |shift|) + 2 (|b| + 1) s: three operations and a sum, two of which underflow
ReLU                  D where c > 0, else max(0, c + D): it brings no two numbers further apart
max pool              the largest D of the window, for the same reason
mean of an image      mean D + gamma_2(U) mean m + s: summed in float64, rounded once
sum (residual)        D1 + D2 + gamma_1(U) (m1 + m2)
====================  ============================================================================

Wherever a partial result might pass float32's largest value, the bound is infinite.  The bound is
itself computed in float64 from sums of less than 2^20 non-negative terms; every layer's is raised by
2^-30 of itself for that.  It holds for every order of summation, with `exact_sums` or without; for
stochastic rounding it holds whatever is drawn.

*Source*: Higham, Accuracy and Stability of Numerical Algorithms, 3.1 (gamma_n) and 3.3 (running
bounds); that it is the network's own values that the bound runs along makes it one for each image.
"""

from __future__ import annotations

import numpy as np

from refimpl.autodiff import Tensor
from refimpl.autodiff import primitives as p
from refimpl.formats import FloatFormat
from refimpl.nn import layers as nn
from refimpl.nn.blocks import Residual
from refimpl.nn.precision import Precision, Rounding

UNIT = 2.0**-24 + 2.0**-53
SMALLEST = 2.0**-149
LARGEST = float(np.finfo(np.float32).max)
NEAREST = ("ties_to_even", "ties_to_away")
AT_ONCE = 256  # images


def gamma(n: int, unit: float = UNIT) -> float:
    """Return n u / (1 - n u), infinite where n u reaches 1.

    >>> round(gamma(10, 2.0**-11), 9)
    0.004906771
    """
    return n * unit / (1 - n * unit) if n * unit < 1 else np.inf


def forward_error_bound(
    model: nn.Sequential, images: np.ndarray, precision: Precision
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

    Returns
    -------
    exact, bound : ndarray of float64, shape (n, classes)
        The logits without rounding, up to what float64 leaves out (the bound covers it), and the
        largest distance from them at which those computed under the policy can be, elementwise;
        infinite where something might overflow.

    Raises
    ------
    ValueError
        For a layer or a policy that no bound is known for.

    Notes
    -----
    *Source*: the table at the top of this file.  A proof, for the arithmetic stated there.

    Examples
    --------
    >>> import refimpl as rf
    >>> task = rf.data.load("digits")
    >>> model = rf.nn.fit(rf.nn.mlp(), task, epochs=1).model
    >>> exact, bound = forward_error_bound(model, task.test_images, rf.nn.preset("float32"))
    >>> bool(bound.max() < 0.01)  # float32 itself: summing is all that rounds
    True
    """
    check_policy(model, precision)
    parts = []
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, len(images), AT_ONCE):
            c = images[start : start + AT_ONCE].astype(np.float64)
            parts.append(_bound(model, c, np.zeros_like(c), precision))
    exact, bound = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return exact, bound


def check_policy(model: nn.Sequential, precision: Precision) -> None:
    """Raise ValueError, naming the layer, where a network or a policy is of no kind that is bounded."""
    for layer in model.every_layer():
        if type(layer) not in RULES and not isinstance(layer, nn.Sequential):
            known = ", ".join(sorted(kind.__name__ for kind in RULES))
            raise ValueError(
                f"certify: there is no bound for layer {layer.name!r}; there is one for {known}"
            )
        roles = [layer.role] if isinstance(layer, nn.Round) else []
        for role in [*roles, *(["weight"] if layer.parameter_count() else [])]:
            rounding = precision.rounding_of(role, layer.name)
            if rounding is not None and not (
                isinstance(rounding.format, FloatFormat) and rounding.scaling == "none"
            ):
                raise ValueError(
                    f"certify: there is no bound for {role} of layer {layer.name!r} in {rounding}; "
                    "use floating-point formats without scales, such as float16 or bfloat16"
                )


def _bound(layer, c, d, precision):
    """Return (c', D') of a layer, raised for its own rounding; what is no number is no bound."""
    if isinstance(layer, nn.Sequential):
        for inner in layer.layers:
            c, d = _bound(inner, c, d, precision)
        return c, d
    c, d = RULES[type(layer)](layer, c, d, precision)
    return c, np.where(np.isnan(d) | ~np.isfinite(c), np.inf, d * (1 + 2.0**-30))


def rounding_bound(magnitude: np.ndarray, rounding: Rounding | None) -> np.ndarray:
    """Return by how much rounding can move numbers of at most this magnitude.

    >>> rounding_bound(np.array([1.0, 2.0**-30, 7e4]), Rounding(format="float16", overflow="overflow"))
    array([4.88281250e-04, 2.98023224e-08,            inf])
    """
    if rounding is None:
        return np.zeros_like(magnitude)
    fmt = rounding.format
    share = 2.0 ** -(fmt.mantissa_bits + 1)
    moved = np.maximum(share * magnitude, fmt.smallest_subnormal / 2)
    if rounding.rounding not in NEAREST:
        moved *= 2
    saturates = rounding.overflow == "saturate" and fmt.max < 2.0**127
    beyond = magnitude - fmt.max if saturates else np.inf
    # 2^127: above it, what a format rounds up to may be beyond float32, which holds the values
    return np.where(magnitude > min(fmt.max, 2.0**127), np.maximum(moved, beyond), moved)


def _round(layer, c, d, precision):
    return c, d + rounding_bound(np.abs(c) + d, precision.rounding_of(layer.role, layer.name))


def _products(c, d, product, weight, bias, terms):
    """Return (c', D') of a sum of products; `product` computes it of values and weights."""
    exact = product(c, weight) + bias
    sizes = product(np.abs(c) + d, np.abs(weight)) + np.abs(bias)
    moved = product(d, np.abs(weight)) + gamma(terms) * sizes + 2 * terms * SMALLEST
    return exact, np.where(sizes * (1 + gamma(terms)) > LARGEST, np.inf, moved)


def _linear(layer, c, d, precision):
    weight, bias = (layer.parameters[n].data.astype(np.float64) for n in ("weight", "bias"))
    return _products(c, d, np.matmul, weight, bias, layer.features + 1)


def _convolution(layer, c, d, precision):
    how = {"stride": layer.stride, "padding": layer.padding, "groups": layer.groups}

    def product(x, weight):
        return p.convolve(Tensor(x), Tensor(weight), **how).data

    weight = layer.parameters["weight"].data.astype(np.float64)
    return _products(c, d, product, weight, 0.0, int(np.prod(weight.shape[:3])))


def _batch_norm(layer, c, d, precision):
    inverse = 1 / np.sqrt(layer.variance + np.float32(layer.epsilon))  # in float32, as evaluated
    a, mean = inverse.astype(np.float64), layer.mean.astype(np.float64)
    scale, shift = (layer.parameters[n].data.astype(np.float64) for n in ("scale", "shift"))
    exact = (c - mean) * a * scale + shift
    first = np.abs(c - mean) + d
    last = first * np.abs(a * scale) + np.abs(shift)
    moved = np.abs(a * scale) * d + gamma(4) * last + 2 * (np.abs(scale) + 1) * SMALLEST
    largest = np.maximum(np.maximum(first, first * np.abs(a)), last)
    return exact, np.where(largest * (1 + gamma(4)) > LARGEST, np.inf, moved)


def _relu(layer, c, d, precision):
    return np.maximum(c, 0), np.where(c > 0, d, np.maximum(c + d, 0))


def _max_pool(layer, c, d, precision):
    how = {"size": layer.size, "stride": layer.size}
    return p.max_pool(Tensor(c), **how).data, p.max_pool(Tensor(d), **how).data


def _average_pool(layer, c, d, precision):
    mean, sizes = c.mean(axis=(1, 2)), (np.abs(c) + d).mean(axis=(1, 2))
    return mean, d.mean(axis=(1, 2)) + gamma(2) * sizes + SMALLEST


def _flatten(layer, c, d, precision):
    return c.reshape(len(c), -1), d.reshape(len(d), -1)


def _residual(layer, c, d, precision):
    first, d_first = _bound(layer.main, c, d, precision)
    second, d_second = _bound(layer.round_skip, *_bound(layer.skip, c, d, precision), precision)
    sizes = np.abs(first) + d_first + np.abs(second) + d_second
    moved = np.where(sizes * (1 + UNIT) > LARGEST, np.inf, d_first + d_second + gamma(1) * sizes)
    return _bound(layer.round_sum, first + second, moved, precision)


RULES = {
    nn.Round: _round, nn.Linear: _linear, nn.Convolution: _convolution, nn.BatchNorm: _batch_norm,
    nn.ReLU: _relu, nn.MaxPool: _max_pool, nn.AveragePool: _average_pool, nn.Flatten: _flatten,
    nn.Dropout: lambda layer, c, d, precision: (c, d), Residual: _residual,
}  # fmt: skip
"""What each kind of layer does to a value and its bound."""
