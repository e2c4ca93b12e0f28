"""The machine's fused multiply-add."""

from fractions import Fraction

import numpy as np

from refimpl.kernels._compiled import intrinsic


def _in_python(a, b, c):
    if np.isfinite(a) and np.isfinite(b) and np.isfinite(c):
        exact = Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c))
        if exact:
            return type(a)(_nearest(exact, type(a)))
    return a * b + c


def _nearest(exact, kind):
    """Return the nearest float32 or float64 of a fraction."""
    if kind is not np.float32:
        try:
            return float(exact)
        except OverflowError:
            return np.inf if exact > 0 else -np.inf
    wide = _nearest(exact, float)  # to odd in 53 bits, then to nearest in 24
    if Fraction(wide) != exact and np.isfinite(wide) and not np.float64(wide).view(np.int64) & 1:
        wide = np.nextafter(wide, np.inf if Fraction(wide) < exact else -np.inf)
    return np.float32(wide)


@intrinsic(_in_python)
def fused(typing, a, b, c):
    """Return a * b + c, rounded once; float32 or float64 each."""

    def generate(context, builder, signature, arguments):
        return builder.fma(*arguments)

    return a(a, b, c), generate
