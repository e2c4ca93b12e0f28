"""Numbers rounded on the way.

Quotients to odd: whatever rounds them to fewer bits decides as the exact quotient would.  Numbers to narrower types, as
faulty quantizers do.
"""

from __future__ import annotations

import numpy as np

from refimpl import ops

FAR = 900  # exponents beyond this say huge or tiny, and no more


def quotient(x, divisor) -> np.ndarray:
    """Return x / divisor (finite numbers, divisor not below zero) as float64, rounded to odd.

    Quotients beyond 2^900 or below 2^-900 are moved there: they round to the same few bits.

    >>> float(quotient(np.float64(1), np.float64(3))).hex()
    '0x1.5555555555555p-2'
    """
    with np.errstate(all="ignore"):
        a, of_a = np.frexp(np.asarray(x, np.float64))
        b, of_b = np.frexp(np.asarray(divisor, np.float64))
        q = a / b
        high, low = _product(q, b)
        rest = (a - high) - low  # exact: what is left has few bits
        bits = np.ascontiguousarray(q).view(np.int64).reshape(q.shape)
        even = (bits & 1 == 0) & (rest != 0)
        away = (rest > 0) == (q > 0)
        bits = np.where(even, np.where(away, bits + 1, bits - 1), bits)
        odd = np.where(np.isfinite(q), bits.view(np.float64), q)
        exponent = np.clip(of_a.astype(np.int64) - of_b, -FAR, FAR)
        found = np.where(np.asarray(x) == 0, np.copysign(0.0, x), np.ldexp(odd, exponent))
        return np.where(np.asarray(divisor) == 0, np.asarray(x) / divisor, found)


def _product(a, b):
    """Return a * b exactly, as a float64 and what it lacks (Dekker)."""
    high = a * b
    a1, a2 = _split(a)
    b1, b2 = _split(b)
    return high, ((a1 * b1 - high) + a1 * b2 + a2 * b1) + a2 * b2


def _split(x):
    wide = x * 134217729.0  # 2^27 + 1
    first = wide - (wide - x)
    return first, x - first


def single(x):
    """Return numbers rounded to float32."""
    with np.errstate(all="ignore"):
        return np.asarray(x, np.float64).astype(np.float32).astype(np.float64)


def fewer(x, bits: int):
    """Return numbers rounded to so many mantissa bits; exponents are not limited."""
    m, e = np.frexp(x)
    return np.ldexp(np.rint(np.ldexp(m, bits + 1)), e - bits - 1)


def through(x, name: str, rounding="ties_to_even"):
    """Return numbers rounded to a narrower format, range and all; to bfloat16 through float32."""
    with np.errstate(all="ignore"):
        if name == "float16":
            return np.asarray(x, np.float64).astype(np.float16).astype(np.float64)
        return ops.quantize(single(x), name, rounding=rounding) if name != "float32" else single(x)
