"""A bound of a product of matrices as it is added up, known before; the proof is in `refimpl.nn.sum_bounds`."""

from __future__ import annotations

import numpy as np

from refimpl import _arguments as check
from refimpl.formats import ROUNDINGS, FloatFormat
from refimpl.formats.units import unit as named
from refimpl.nn import sum_bounds
from refimpl.nn.error_bounds import SLACK
from refimpl.ops import arrays, units
from refimpl.ops.floats import Number, float_format
from refimpl.ops.sums import ORDERS


def sum_bound(
    a,
    b,
    fmt: Number | tuple[Number, Number],
    *,
    accumulate: Number | None = None,
    order: str = "sequential",
    chunk: int | None = None,
    rounding: str = "ties_to_even",
    unit=None,
    initial=None,
    scales: tuple | None = None,
    scale_format: Number | None = None,
) -> np.ndarray:
    """Return how far each element of a product of matrices can be from the exact one, for `refimpl.matmul`'s arguments.

    Parameters
    ----------
    a, b : array_like, (m, k) and (k, n)
        Only magnitudes count, and exponents on a unit.
    fmt, accumulate, order, chunk, rounding, unit, initial, scales, scale_format
        As `refimpl.matmul` has them, floating-point formats alone.

    Returns
    -------
    ndarray of float64, (m, n)
        Never exceeded; infinite where a sum might overflow, and where a is not finite or b.

    Raises
    ------
    TypeError, ValueError
        For posits, whose precision varies; a unit whose register may wrap around; arguments that do not fit.

    Notes
    -----
    *Source*: `refimpl.nn.sum_bounds`, which proves it.  Sums of products of random signs are off by far less: their
    errors go with the root of their number.

    Examples
    --------
    >>> a, b = np.ones((1, 4096)), np.ones((4096, 1))
    >>> sum_bound(a, b, "float16").round(2).item(), sum_bound(a, b, "float16", order="pairwise").round(2).item()
    (8192.0, 26.08)
    >>> [sum_bound(a, b, "float8_e4m3fn", unit=u).round(2).item() for u in ("hopper-fp8", "hopper-fp8-promoted")]
    [2192.5, 84.51]
    """
    caller = "sum_bound"
    x, y = (np.asarray(arrays.real(caller, name, v), np.float64) for name, v in (("a", a), ("b", b)))
    arrays.matrices(caller, x, y)
    pair = tuple(_float(caller, "fmt", f) for f in (fmt if isinstance(fmt, tuple) else (fmt, fmt)))
    if len(pair) != 2:
        raise check.wrong_value(caller, "fmt", fmt, "one format or a pair of formats")
    check.choice(caller, "order", order, ORDERS)
    check.choice(caller, "rounding", rounding, ROUNDINGS)
    c = np.float64(0) if initial is None else np.abs(arrays.real(caller, "initial", initial).astype(np.float64))
    floors = lost = np.float64(0)
    if unit is None:
        into = pair[0] if accumulate is None else _float(caller, "accumulate", accumulate)
        chunk = check.integer(caller, "chunk", 1 if chunk is None else chunk, check.Interval(1))
        bound, limit = sum_bounds.of_order(x.shape[1], into, order, chunk, rounding), into.max
    else:
        chosen = named(unit, caller)
        for taken in pair:
            units.operand_format(caller, taken, chosen, repr(unit))
        chosen = units.accumulating(caller, chosen, repr(unit), accumulate)
        factors, scale = units.scales_of(caller, scales, scale_format, chosen, repr(unit), x.shape, y.shape)
        bound = sum_bounds.of_unit(x.shape[1], chosen, pair)
        limit = min(chosen.into.max, 2.0 ** (1023 if chosen.infinite_from is None else chosen.infinite_from))
        x, y, floors, lost = _on_unit(x, y, chosen, pair, factors, scale)
    with np.errstate(all="ignore"):
        sizes = np.abs(x) @ np.abs(y) + c
        found = bound.sizes * sizes + bound.constant
        found = (found + bound.floors * floors + lost) * (1 + SLACK)
        return np.where(sizes * (1 + SLACK) + found <= limit, found, np.inf)


def _float(caller: str, name: str, got) -> FloatFormat:
    found = float_format(caller, got, name)
    if not isinstance(found, FloatFormat):
        raise check.wrong_value(caller, name, str(found), "a floating-point format: a posit's precision varies")
    return found


def _on_unit(x, y, unit, pair, factors, scale_format):
    """Return both operands under their scales, the sums of powers of two, and how much is flushed at most."""
    lost = np.float64(0)
    if unit.flush:
        whole = np.abs(x) @ np.abs(y)
        x, y = (np.where(np.abs(v) < 2.0**f.min_exponent, 0.0, v) for v, f in zip((x, y), pair, strict=True))
        lost = (whole - np.abs(x) @ np.abs(y)) + SLACK * whole
    powers = [_power(v, f) for v, f in zip((x, y), pair, strict=True)]
    if factors is not None:
        some = [_power(s, scale_format) for s in factors]
        if unit.inner > 1:
            powers = [np.repeat(s, unit.block // unit.inner, axis) for s, axis in zip(some, (1, 0), strict=True)]
        else:
            powers = [p * np.repeat(s, unit.block, axis) for p, s, axis in zip(powers, some, (1, 0), strict=True)]
        x, y = (v * np.repeat(s, unit.block, axis) for v, s, axis in zip((x, y), factors, (1, 0), strict=True))
    return x, y, powers[0] @ powers[1], lost


def _power(x: np.ndarray, fmt: FloatFormat) -> np.ndarray:
    """Return 2^exponent of values of a format."""
    exponents = np.maximum(np.frexp(x)[1] - 1, fmt.min_exponent)
    return np.where(x == 0, 2.0**-126, np.ldexp(1.0, exponents))
