"""Numbers rounded to narrower types, as faulty quantizers do on the way."""

from __future__ import annotations

import numpy as np

from refimpl import ops


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
