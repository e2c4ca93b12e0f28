"""What layers need to bound the error of rounding; notation and proof: `refimpl.numerics.rounding_error`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from refimpl.autodiff import Tensor
from refimpl.formats import FloatFormat
from refimpl.nn.precision import Precision, Rounding

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
        self, c: Tensor, d: np.ndarray, multiply: Callable, weight: np.ndarray, bias, terms: int
    ) -> tuple[Tensor, np.ndarray]:
        """Return (c, D) of sums of `terms` products; `multiply` computes them of values and weights."""
        exact = multiply(c, weight) + bias
        sizes = multiply(Tensor(np.abs(c.data) + d), np.abs(weight)).data + np.abs(bias)
        fresh = gamma(terms) * sizes + 2 * terms * SMALLEST
        fresh = np.where(sizes * (1 + gamma(terms)) > LARGEST, np.inf, fresh)
        return self.note(exact, multiply(Tensor(d), np.abs(weight)).data + fresh, fresh)
