"""The points of IEEE P3109 that changed again after interim report 4.0: as 4.0 has them, and all in this file.

================  =============================================  =========================================
what              interim report 4.0, and here                   drafts of July 2026
================  =============================================  =========================================
Saturate          SatNone on a finite format gives the limit     NaN, where (g) and (h) do not say limit
Saturate          (f): ToOdd stays below an unsigned infinity    (f) is gone
Tan, TanPi        NaN at a pole                                  infinite, by the sign of the sine
ArcTan2(Pi)       pi (1) for y < 0 and x = -inf, too             -pi (-1)
================  =============================================  =========================================

The kernels' twin of `saturate` is `_code_of_overflow` of `refimpl.kernels.float_codes`; the others have none.
"""


def saturate(negative: bool, infinite: bool, signed: bool, extended: bool, rounding: str, overflow: str) -> str:
    """Return what P3109's Saturate makes of a value below Mlo, above Mhi or infinite: limit, infinity or nan.

    The rules are those of interim report 4.0, in its order, where "overflow" is called SatNone; the letters
    are those of its list.

    >>> saturate(True, False, False, True, "ties_to_even", "overflow")  # (j): below 0 in an unsigned format
    'nan'
    """
    if overflow == "saturate":
        return "limit"
    if overflow == "propagate":
        return "infinity" if infinite and extended and (signed or not negative) else "limit"
    if infinite:
        if not negative:
            return "infinity" if extended else "limit"  # (a), (b)
        return "nan" if not signed else "infinity" if extended else "limit"  # (c) to (e)
    if rounding == "to_odd" and not signed and extended and not negative:
        return "limit"  # (f)
    if rounding in ("toward_zero", "toward_positive" if negative else "toward_negative"):
        return "limit"  # (g), (h)
    if negative and not signed:
        return "nan"  # (j)
    return "infinity" if extended else "limit"  # (i), (k) to (m)


def tangent_has_poles() -> bool:
    """Tell whether TanPi is infinite where the cosine is 0, and not NaN.  (Tan never comes to a pole.)"""
    return False


def angle_is_negative(below: bool) -> bool:
    """Tell whether ArcTan2 at x = -inf is negative, for y < 0 (`below`) or not."""
    return False
