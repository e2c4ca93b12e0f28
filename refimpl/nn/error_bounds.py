"""What layers need to bound the error of rounding; notation and proof: `refimpl.numerics.rounding_error`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from refimpl.autodiff import Tensor
from refimpl.formats import FloatFormat
from refimpl.formats.floats import FLOATS
from refimpl.formats.units import unit as unit_of
from refimpl.nn.precision import PRODUCT_ROLES, SUM_ROLES, Precision, Rounding
from refimpl.nn.sum_bounds import of_order, of_unit

UNIT = 2.0**-24 + 2.0**-53
SMALLEST = 2.0**-149
SLACK = 2.0**-30
LARGEST = float(np.finfo(np.float32).max)
NEAREST = ("ties_to_even", "ties_to_away")


def gamma(n: int, unit: float = UNIT) -> float:
    """Return n u / (1 - n u), infinite where n u reaches 1.

    >>> round(gamma(10, 2.0**-11), 9)
    0.004906771
    """
    return n * unit / (1 - n * unit) if n * unit < 1 else np.inf


def rounding_bound(magnitude: np.ndarray, rounding: Rounding | None) -> np.ndarray:
    """Return by how much rounding can move numbers of at most this magnitude.

    >>> rounding_bound(np.array([1.0, 2.0**-30, 7e4]), Rounding(format="float16", overflow="overflow"))
    array([4.88281250e-04, 2.98023224e-08,            inf])
    """
    if rounding is None:
        return np.zeros_like(magnitude)
    fmt = rounding.format
    assert isinstance(fmt, FloatFormat)
    moved = np.maximum(2.0 ** -(fmt.mantissa_bits + 1) * magnitude, fmt.smallest_subnormal / 2)
    if rounding.rounding not in NEAREST:
        moved *= 2
    saturates = rounding.overflow == "saturate" and fmt.max < 2.0**127
    beyond = magnitude - fmt.max if saturates else np.inf
    # 2^127: above it, what a format rounds up to may be beyond float32, which holds the values
    return np.where(magnitude > min(fmt.max, 2.0**127), np.maximum(moved, beyond), moved)


class Bounds:
    """A walk through a network that bounds its error.

    Attributes
    ----------
    precision : Precision
    sources : list of (Tensor, ndarray)
        What layers add to the error, each with a place to derive by it.
    """

    def __init__(self, precision: Precision):
        self.precision = precision
        self.sources: list[tuple[Tensor, np.ndarray]] = []

    def note(self, c: Tensor, d: np.ndarray, fresh: np.ndarray) -> tuple[Tensor, np.ndarray]:
        """Return (c, D) of a layer that itself adds at most E = `fresh`, raised for the bound's own rounding.

        NaN is not a bound.
        """
        lost = ~np.isfinite(c.data)
        d = np.where(np.isnan(d) | lost, np.inf, d * (1 + SLACK))
        fresh = np.where(np.isnan(fresh) | lost, np.inf, fresh * (1 + SLACK))
        probe = Tensor(np.zeros_like(c.data), requires_grad=True)
        self.sources.append((probe, fresh))
        return c + probe, d

    def products(
        self, c: Tensor, d: np.ndarray, multiply: Callable, weight: np.ndarray, bias, terms: int, layer: str
    ) -> tuple[Tensor, np.ndarray]:
        """Return (c, D) of a layer's sums of `terms` products; `multiply` computes them of values and weights."""
        how = self.precision.accumulator_of(SUM_ROLES[0], layer)
        left, right = (self.precision.rounding_of(role, layer) for role in PRODUCT_ROLES[:2])
        moved = rounding_bound(np.abs(c.data) + d, left)
        if left is not None:
            c, d = self.note(c, d + moved, moved)
        off = rounding_bound(np.abs(weight), right)
        exact, most = multiply(c, weight) + bias, Tensor(np.abs(c.data) + d)
        sizes = multiply(most, np.abs(weight) + off).data
        fresh, limit = multiply(most, off).data if right is not None else np.zeros_like(sizes), LARGEST
        if how is None:
            sizes = sizes + np.abs(bias)
            count = terms + (np.ndim(bias) > 0)
            fresh = fresh + gamma(count) * sizes + 2 * count * SMALLEST
            grown = 1 + gamma(count)
        elif how.unit is not None:
            formats = tuple(FLOATS["float32"] if r is None else r.format for r in (left, right))
            bound = of_unit(terms, unit_of(how.unit), formats)  # type: ignore[arg-type]
            floors = [
                np.maximum(v, 2.0**f.min_exponent)
                for v, f in zip((most.data, np.abs(weight) + off), formats, strict=True)
            ]
            powers = multiply(Tensor(floors[0]), floors[1]).data + terms * 2.0**-126 * floors[1].max(initial=0.0)
            fresh = fresh + bound.sizes * sizes + bound.floors * powers + bound.constant + SMALLEST
            fresh = fresh + UNIT * (sizes + fresh + np.abs(bias))
            sizes, grown = sizes + np.abs(bias), 1.0
        else:
            sizes, count = sizes + np.abs(bias), terms + (np.ndim(bias) > 0)
            bound = of_order(count, how.format, how.order)
            before = 2.0 ** -(how.format.mantissa_bits + 1) if how.products == "rounded" else 0.0
            lost = count * how.format.smallest_subnormal if how.products == "rounded" else 0.0
            factor = before + bound.sizes * (1 + before)
            fresh = fresh + factor * sizes + (bound.constant + lost) * (1 + factor)
            limit, grown = how.format.max, 1 + factor
        fresh = np.where(sizes * grown + fresh > limit, np.inf, fresh)
        return self.note(exact, multiply(Tensor(d), np.abs(weight)).data + fresh, fresh)
