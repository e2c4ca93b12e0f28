"""Products of two tensors, where quantized training rounds: both operands, and the gradient behind.

*Notation*: y = a b, with dL/da = dy b' and dL/db = a' dy: three products of the same three tensors,
the left operand a, the right operand b and the product's gradient dy.  A policy that names these
roles rounds each once, and all three products are of rounded tensors; the derivative of rounding is
taken as 1.

A *row* is a vector whose products with another are summed: of the left operand and of the gradient
the last axis (of an image the whole of it), of the right operand the last but one (of filters the
whole of one).  The scales of rows suit y = a b alone: the two products behind sum across them.  Where an
`Accumulator` rotates what is summed, or is of a unit with block scales, each product rounds its own two operands
instead, along what it sums.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np

from refimpl import _arguments as check
from refimpl import ops
from refimpl.autodiff import Tensor
from refimpl.autodiff import primitives as p
from refimpl.formats import BlockFormat, FloatFormat
from refimpl.formats.floats import FLOATS
from refimpl.formats.units import unit as unit_of
from refimpl.nn.precision import PRODUCT_ROLES, SUM_ROLES, Accumulator, multiplied, multiplies
from refimpl.nn.rounder import Rounder

FLOAT32 = Accumulator(format="float32")
OPERANDS = ((0, 1), (2, 1), (0, 2))  # of the three products, in the order of `SUM_ROLES`, by `PRODUCT_ROLES`
PRODUCTS_AT_ONCE = 1 << 20  # that are rounded before they are added: 8 MB
Pair = tuple[Any, Any]  # of formats that a unit multiplies: two FloatFormats, or two BlockFormats


@dataclass(frozen=True)
class Product:
    """A product as a watcher sees it in the backward pass, its tensors not rounded yet.

    Attributes
    ----------
    layer : str
    tensors : dict of role to ndarray
        The three of `PRODUCT_ROLES`.
    multiply : callable
        The primitive, ``multiply.__wrapped__(a, b, **options) -> (y, vjp)``.
    options : dict
    needed : (bool, bool)
        Whether the gradients of left and right operand are wanted: that of the data is not.
    """

    layer: str
    tensors: dict[str, np.ndarray]
    multiply: Any
    options: dict
    needed: tuple[bool, bool]

    @property
    def of_images(self) -> bool:
        """Whether it is a convolution."""
        return self.multiply is p.convolve


def product(
    multiply: Callable, a: Tensor, b: Tensor, rounder: Rounder, layer: str, *, bias: Tensor | None = None, **options
) -> Tensor:
    """Return multiply(a, b, **options) + bias, rounding, summing and watching as the rounder says.

    Where an accumulator is stated, the bias is the last term of each of its sums.
    """
    if not rounder.rounds_products(layer) and rounder.watch is None:
        y = multiply(a, b, **options)
        return y if bias is None else y + bias
    images = multiply is p.convolve
    how = [rounder.precision.accumulator_of(role, layer) for role in SUM_ROLES]
    formats = [_formats(rounder, layer, pair, each) for each, pair in zip(how, OPERANDS, strict=True)]
    by_itself = any(each and each.hadamard or _in_blocks(pair) for each, pair in zip(how, formats, strict=True))

    def rounded(x, role):
        return round_operand(rounder, x, role, layer, images)

    watch, forward = rounder.watch, []
    for x, role in zip((a, b), PRODUCT_ROLES, strict=False):
        untouched = by_itself or rounder.rounding(role, layer) is None
        forward.append(x if untouched else p.rounded(x, forward=lambda v, r=role: rounded(v, r)))

    def back(dy):
        if watch is not None:
            tensors = dict(zip(PRODUCT_ROLES, (a.data, b.data, dy), strict=True))
            needed = a.requires_grad, b.requires_grad
            watch(Product(layer, tensors, multiply, options, needed))
        return dy if by_itself else rounded(dy, PRODUCT_ROLES[2])

    if by_itself:
        options["sums"] = [partial(_by_itself, rounder, layer, i, how[i], formats[i]) for i in range(len(how))]
    elif any(how):
        options["sums"] = [
            partial(_on_unit, how=each, formats=pair)
            if each and pair
            else partial(sums_of_products, how=each or FLOAT32)
            for each, pair in zip(how, formats, strict=True)
        ]
        if bias is not None and not (how[0] and how[0].unit):
            x, weight = forward
            ones = np.ones((*x.shape[:-1], 1), np.float32)
            forward = [p.concatenate(x, ones, axis=x.data.ndim - 1), p.concatenate(weight, bias.reshape(1, -1), axis=0)]
            bias = None
    y = p.rounded(multiply(*forward, **options), backward=back)
    return y if bias is None else y + bias


def sums_of_products(a: np.ndarray, b: np.ndarray, how: Accumulator) -> np.ndarray:
    """Return a b as an accumulator sums it: (..., m, k) by (k, n) or (..., k, n), float32.

    >>> x = np.full((1, 4096), 1, np.float32)
    >>> [sums_of_products(x, x.T, Accumulator(format="float16", order=o)).item() for o in ("sequential", "exact")]
    [2048.0, 4096.0]
    """
    if b.ndim == 2:
        rows = a.reshape(-1, a.shape[-1])
        if how.products == "rounded":
            y = _sums_of_rounded(rows, b, how)
        else:
            y = ops.matmul(rows, b, "float32", accumulate=how.format, order=how.order)
        return y.reshape(*a.shape[:-1], b.shape[1])
    pairs = zip(a.reshape(-1, *a.shape[-2:]), b.reshape(-1, *b.shape[-2:]), strict=True)
    return np.stack([sums_of_products(*pair, how) for pair in pairs]).reshape(*a.shape[:-1], b.shape[-1])


def _by_itself(
    rounder: Rounder,
    layer: str,
    which: int,
    how: Accumulator | None,
    formats: Pair | None,
    a: np.ndarray,
    b: np.ndarray,
) -> np.ndarray:
    """Return the product that is the `which`-th of `SUM_ROLES`, having rotated and rounded both operands."""
    if how is not None and _in_blocks(formats):
        return _by_blocks(rounder, layer, which, how, a, b)
    size = None if how is None else how.hadamard
    operands = []
    for x, i in zip((a, np.swapaxes(b, -1, -2)), OPERANDS[which], strict=True):
        rows = np.ascontiguousarray(x) if size is None else rotate(x, size, int(rounder.seed))
        operands.append(rounder(rows, PRODUCT_ROLES[i], layer, which=SUM_ROLES[which]))
    left, right = operands[0], np.swapaxes(operands[1], -1, -2)
    if how is not None and formats is not None:
        return _on_unit(left, right, how, formats)
    return p.matmul(left, right).data if how is None else sums_of_products(left, right, how)


def rotate(x: np.ndarray, size: int, seed: int) -> np.ndarray:
    """Return vectors along the last axis, filled up with zeros, block by block as `refimpl.spec.hadamard` rotates.

    >>> rotate(np.float32([[0, 8, 0, 0]]), 4, 0)
    array([[-4.,  4., -4.,  4.]], dtype=float32)
    """
    from refimpl.kernels import hadamard as kernel

    vectors = np.ascontiguousarray(x).reshape(-1, x.shape[-1])
    out = np.empty((len(vectors), -(-x.shape[-1] // size) * size), np.float32)
    kernel.rotate(vectors, _signs(size, seed), out)
    return out.reshape(*x.shape[:-1], out.shape[1])


@cache
def _signs(size: int, seed: int) -> np.ndarray:
    """Return random signs, float64 (size,)."""
    return 1.0 - 2.0 * np.random.default_rng((seed, size)).integers(0, 2, size)


def _formats(rounder: Rounder, layer: str, factors: tuple[int, int], how: Accumulator | None) -> Pair | None:
    """Return the formats of what a unit multiplies, refusing those that it does not take; None without a unit."""
    if how is None or how.unit is None:
        return None
    unit = unit_of(how.unit)
    found: list[Any] = []
    for role in (PRODUCT_ROLES[i] for i in factors):
        rule = getattr(rounder.rounding(role, layer), "rule", None)
        if not multiplies(unit, rule):
            got = f"{'float32' if rule is None else rule} in {layer}"
            raise ValueError(check.message("Precision", role, got, f"what {how.unit!r} multiplies: {multiplied(unit)}"))
        found.append(FLOATS["float32"] if rule is None else rule.format)
    if unit.scales and found[0].scale != found[1].scale:
        left, right = (PRODUCT_ROLES[i] for i in factors)
        allowed = f"{found[0].scale}, that of {left}"
        raise ValueError(check.message("Precision", f"scale of {right}", f"{found[1].scale} in {layer}", allowed))
    return found[0], found[1]


def _in_blocks(formats: Pair | None) -> bool:
    return formats is not None and isinstance(formats[0], BlockFormat)


def _on_unit(a: np.ndarray, b: np.ndarray, how: Accumulator, formats: Pair) -> np.ndarray:
    """Return a b as a unit makes it: (..., m, k) by (k, n) or (..., k, n), float32.

    Powers of two that scale the tensors are taken off before, and put back behind.
    """
    a, first = _unscaled(a, formats[0])
    b, second = _unscaled(b, formats[1])
    return _times(_stacks(a, b, how, formats), first + second)


def _by_blocks(rounder: Rounder, layer: str, which: int, how: Accumulator, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return a b as a unit with block scales makes it, having cut both operands into blocks along what is summed."""
    zeros = -a.shape[-1] % unit_of(how.unit).terms  # type: ignore[arg-type]
    parts = []
    for x, i in zip((a, np.swapaxes(b, -1, -2)), OPERANDS[which], strict=True):
        rows = np.pad(x, (*((0, 0),) * (x.ndim - 1), (0, zeros)))
        parts.append(rounder.blocks(rows, PRODUCT_ROLES[i], layer))
    left, right = parts
    columns = np.swapaxes(right.elements, -1, -2), np.swapaxes(right.scales, -1, -2)
    y = _stacks(left.elements, columns[0], how, (left.format, right.format), (left.scales, columns[1]))
    return y * np.float32(left.tensor_scale * right.tensor_scale)


def _stacks(a, b, how: Accumulator, formats: Pair, scales: tuple[np.ndarray, np.ndarray] | None = None) -> np.ndarray:
    """Return a b as a unit makes it of its own operands, (..., m, k) by (k, n) or (..., k, n), and of their scales."""

    def rows(x):
        return x.reshape(-1, *x.shape[-2:]) if b.ndim > 2 else x.reshape(1, -1, x.shape[-1])

    def columns(x):
        return x.reshape(-1, *x.shape[-2:])

    factors = None if scales is None else (rows(scales[0]), columns(scales[1]))
    y = ops.units.stacks(rows(a), columns(b), formats, how.unit, how.format, factors)
    return y.reshape(*a.shape[:-1], b.shape[-1])


def _unscaled(x: np.ndarray, fmt: FloatFormat) -> tuple[np.ndarray, int]:
    """Return a tensor times the power of two that brings it to the format's top binade, and the exponent taken off.

    Values that were rounded under another scale are the format's still: there is no smaller step above.  Formats with
    the range of float32 stay as they are, as products of two from their top binade would be infinite.

    >>> _unscaled(np.float32([2.0**-20, -3 * 2.0**-21]), FLOATS["float8_e5m2"])
    (array([ 32768., -49152.], dtype=float32), -35)
    """
    largest = float(np.abs(x).max(initial=0.0))
    if largest == 0.0 or not math.isfinite(largest) or fmt.maxexp > 64:
        return x, 0
    exponent = math.frexp(largest)[1] - fmt.maxexp
    if math.ldexp(largest, -exponent) > fmt.max:
        exponent += 1
    return _times(x, -exponent), exponent


def _times(x: np.ndarray, exponent: int) -> np.ndarray:
    """Return float32 numbers times a power of two, as `numpy.ldexp` does, faster where float32 holds the power."""
    return x * np.float32(2.0**exponent) if abs(exponent) < 127 else np.ldexp(x, exponent)


def _sums_of_rounded(a: np.ndarray, b: np.ndarray, how: Accumulator) -> np.ndarray:
    """Return the sums of products, each rounded by itself: (m, k) by (k, n), some rows at a time."""
    y = np.empty((len(a), b.shape[1]), np.float32)
    at_once = max(PRODUCTS_AT_ONCE // max(b.size, 1), 1)
    for start in range(0, len(a), at_once):
        part = slice(start, start + at_once)
        products = ops.quantize(a[part, :, None].astype(np.float64) * b, how.format)
        y[part] = ops.sum(products, how.format, axis=1, accumulate=how.format, order=how.order)
    return y


def round_operand(rounder: Rounder, x: np.ndarray, role: str, layer: str, images: bool) -> np.ndarray:
    """Return a tensor of a product rounded, by rows where the policy says so."""
    rounding = rounder.rounding(role, layer)
    if rounding is None or rounding.rule.per == "tensor":
        return rounder(x, role, layer)
    if role != "right operand":
        rows = x.reshape(len(x), -1) if images else x
        return rounder(rows, role, layer).reshape(x.shape)
    rows = np.swapaxes(x.reshape(-1, x.shape[-1]) if images else x, -1, -2)
    return np.swapaxes(rounder(rows, role, layer), -1, -2).reshape(x.shape)
