"""Operations that are not arithmetic of two numbers, on arrays; the definitions are `refimpl.spec.operations`.

Numbers are those of `refimpl.kernels.arithmetic`: (kind, negative, significand, exponent), exact, or to odd
where an operation says so.  The kinds ZERO, FINITE, INFINITE are in the order of magnitudes.
"""

import numpy as np

from refimpl.kernels._compiled import compiled
from refimpl.kernels.arithmetic import add, div, negate, pack, unpack
from refimpl.kernels.float_codes import FINITE, INFINITE, NAN, STOCHASTIC, TOWARD_NEGATIVE, ZERO, normalise, round_away

OPERATIONS = (
    *("faa", "recip", "remainder", "scaleb", "logb", "round_to_integral", "convert", "abs", "negate", "copysign"),
    "clamp",
    *("minimum", "maximum", "minimum_number", "maximum_number", "minimum_magnitude", "maximum_magnitude"),
    *("minimum_magnitude_number", "maximum_magnitude_number", "minimum_finite", "maximum_finite"),
)
FAA, RECIP, REMAINDER, SCALEB, LOGB, ROUND_TO_INTEGRAL, CONVERT, ABS, NEGATE, COPYSIGN, CLAMP, MINIMUM = range(12)
IN_ONE = 29  # bits by which exponents of two operands differ at most, so that 60 bits hold their sum

SATURATE, WRAP, INDEFINITE = range(3)
OVERFLOWS = ("saturate", "wrap", "indefinite")
INEXACT, INVALID = np.uint8(1), np.uint8(16)

_0, _1, _32, _63, _64 = (np.uint64(k) for k in (0, 1, 32, 63, 64))


# -- operations on numbers ---------------------------------------------------------------------------


@compiled
def _smaller(a, b):
    """Tell whether the magnitude of a is below that of b; neither is NaN."""
    if a[0] != FINITE or b[0] != FINITE:
        return a[0] < b[0]
    return a[3] < b[3] or (a[3] == b[3] and a[2] < b[2])


@compiled
def below(a, b):
    """Tell whether a comes before b in the order of values, -0 before +0; neither is NaN."""
    if a[1] != b[1]:
        return a[1]
    return _smaller(b, a) if a[1] else _smaller(a, b)


@compiled
def extremum(a, b, largest, magnitude, number, finite):
    """Return the smaller or larger of two numbers."""
    if a[0] == NAN or b[0] == NAN:
        if a[0] == b[0] or not (number or finite):
            return NAN, False, _0, 0
        return b if a[0] == NAN else a
    if finite and (a[0] == INFINITE) != (b[0] == INFINITE):
        return b if a[0] == INFINITE else a
    first, second = (b, a) if largest else (a, b)  # b is taken where second comes before first
    if magnitude and _smaller(second, first) != _smaller(first, second):
        return b if _smaller(second, first) else a
    return b if below(second, first) else a


@compiled
def clamp(a, low, high):
    """Return the smaller of high and the larger of a and low; NaN where low lies above high."""
    if a[0] == NAN or low[0] == NAN or high[0] == NAN:
        return NAN, False, _0, 0
    if below(high, low) and not (high[0] == ZERO and low[0] == ZERO):
        return NAN, False, _0, 0
    larger = low if below(a, low) else a
    return high if below(high, larger) else larger


@compiled
def faa(a, b, c, toward_negative):
    """Return a + b + c, to odd.

    The two largest are added first where their sum is exact.  Else what is added to the first is below 2^-28 of it,
    so that the sum of the others may be to odd: its odd bit is below all that is kept, and, since sums that carry
    are exact, not the lowest, which `add` loses.
    """
    if a[0] == NAN or b[0] == NAN or c[0] == NAN:
        return NAN, False, _0, 0
    if a[0] == INFINITE or b[0] == INFINITE or c[0] == INFINITE:  # add has infinities of both signs
        return add(add(a, b, toward_negative), c, toward_negative)
    if _smaller(a, b):
        a, b = b, a
    if _smaller(b, c):
        b, c = c, b
    if _smaller(a, b):
        a, b = b, a
    if c[0] != FINITE or a[3] - b[3] <= IN_ONE:
        return add(add(a, b, toward_negative), c, toward_negative)
    return add(a, add(b, c, toward_negative), toward_negative)


@compiled
def remainder(a, b):
    """Return a - n b, exact, n the integer nearest to a / b, ties to even: by long division."""
    if a[0] == NAN or b[0] == NAN or a[0] == INFINITE or b[0] == ZERO:
        return NAN, False, _0, 0
    left = a[3] - b[3]
    if a[0] == ZERO or b[0] == INFINITE or left < -1:
        return a
    rest, divisor, unit, quotient = a[2] >> _32, b[2] >> _32, b[3] + 32, _0  # the value is rest * 2^(unit - 63)
    if left < 0:  # in units of a
        divisor, unit = divisor << _1, unit - 1
    else:
        quotient = rest // divisor
        rest -= quotient * divisor
    while left > 0:
        step = min(left, 31)
        rest <<= np.uint64(step)
        quotient = rest // divisor
        rest -= quotient * divisor
        left -= step
    negative = a[1]
    if rest > divisor - rest or (rest == divisor - rest and quotient & _1 != _0):
        rest, negative = divisor - rest, not negative
    if rest == _0:
        return ZERO, a[1], _0, 0
    rest, unit = normalise(rest, unit)
    return FINITE, negative, rest, unit


@compiled
def logb(a):
    """Return the exponent of a."""
    if a[0] == ZERO:
        return INFINITE, True, _0, 0
    if a[0] != FINITE:
        return a[0], False, _0, 0
    if a[3] == 0:
        return ZERO, False, _0, 0
    size, exponent = normalise(np.uint64(abs(a[3])), 63)
    return FINITE, a[3] < 0, size, exponent


@compiled
def _whole(a, mode, random):
    """Return the integer (uint64) that a finite number below 2^64 rounds to in magnitude, and if that is exact.

    The integer may be 2^64, which is 0: never of a number of fewer than 64 bits.
    """
    if a[3] >= 63:
        return a[2], True
    dropped = np.uint64(63 - a[3])
    if dropped < _64:
        lower, fraction, sticky = a[2] >> dropped, a[2] << (_64 - dropped), False
    elif dropped == _64:
        lower, fraction, sticky = _0, a[2], False
    elif dropped < np.uint64(128):
        lower, fraction = _0, a[2] >> (dropped - _64)
        sticky = fraction << (dropped - _64) != a[2]
    else:
        lower, fraction, sticky = _0, _0, True
    up = round_away(lower & _1 == _0, fraction, sticky, a[1], mode, random)
    return lower + np.uint64(up), fraction == _0 and not sticky


@compiled
def round_to_integral(a, mode, random):
    """Return the integer that a rounds to, with its sign."""
    if a[0] == NAN:
        return NAN, False, _0, 0
    if a[0] != FINITE or a[3] >= 63:
        return a
    whole, _ = _whole(a, mode, random)
    if whole == _0:
        return ZERO, a[1], _0, 0
    whole, exponent = normalise(whole, 63)
    return FINITE, a[1], whole, exponent


# -- arrays ------------------------------------------------------------------------------------------


@compiled
def _read(code, f, p3109):
    """Return the number of a code; by P3109 zero and NaN have no sign."""
    x = unpack(code, f)
    if p3109 and (x[0] == ZERO or x[0] == NAN):
        return x[0], False, _0, 0
    return x


@compiled
def calculate(operation, a, b, c, codes, fa, fb, fc, f, mode, words, p3109):
    """Write the code of the result of an operation (an index into OPERATIONS) on codes into codes.

    As `refimpl.kernels.arithmetic.calculate`; b of scaleb are integers (int64).
    Returns the index of the first result that is NaN, or -1.
    """
    first_nan = -1
    downward = mode.rounding == TOWARD_NEGATIVE and not f.is_posit
    one = FINITE, False, _1 << _63, 0
    for i in range(codes.size):
        random = _0
        if mode.rounding >= STOCHASTIC:
            random = np.uint64(words[i]) >> (_32 - np.uint64(mode.random_bits))
        x = _read(np.uint64(a[i]), fa, p3109)
        if operation >= MINIMUM:
            pair, largest = (operation - MINIMUM) >> 1, (operation - MINIMUM) & 1 != 0
            y = _read(np.uint64(b[i]), fb, p3109)
            x = extremum(x, y, largest, pair == 2 or pair == 3, pair == 1 or pair == 3, pair == 4)
        elif operation == FAA:
            x = faa(x, _read(np.uint64(b[i]), fb, p3109), _read(np.uint64(c[i]), fc, p3109), downward)
        elif operation == CLAMP:
            x = clamp(x, _read(np.uint64(b[i]), fb, p3109), _read(np.uint64(c[i]), fc, p3109))
        elif operation == RECIP:
            x = (NAN, False, _0, 0) if p3109 and x[0] == ZERO else div(one, x)
        elif operation == REMAINDER:
            x = remainder(x, _read(np.uint64(b[i]), fb, p3109))
        elif operation == SCALEB:
            x = x[0], x[1], x[2], x[3] + np.int64(b[i])
        elif operation == LOGB:
            x = logb(x)
        elif operation == ROUND_TO_INTEGRAL:
            x = round_to_integral(x, mode, random)
        elif operation == ABS:
            x = x[0], False, x[2], x[3]
        elif operation == NEGATE:
            x = negate(x)
        elif operation == COPYSIGN:
            y = _read(np.uint64(b[i]), fb, p3109)
            if p3109 and (x[0] == NAN or y[0] == NAN):
                x = NAN, False, _0, 0
            else:
                x = x[0], y[1], x[2], x[3]
        codes[i] = pack(x, f, mode, random)
        if x[0] == NAN and first_nan < 0:
            first_nan = i
    return first_nan


@compiled
def classify(codes, found, f, has_signaling):
    """Write the number of the class of each code, and 16 more if its sign is minus, into found (uint8 (n,))."""
    quiet = _1 << np.uint64(max(f.float.mantissa_bits - 1, 0))
    for i in range(codes.size):
        code = np.uint64(codes[i])
        x = unpack(code, f)
        if x[0] == NAN:
            number = 0 if has_signaling and code & quiet == _0 else 1
        else:
            place = 4 if x[0] == INFINITE else 3
            if x[0] == ZERO:
                place = 1
            elif x[0] == FINITE and not f.is_posit and x[3] < f.float.min_exponent:
                place = 2
            number = 6 - place if x[1] else 5 + place
        found[i] = number + 16 * x[1]


@compiled
def _rank(code, x, f, nan_is_least):
    """Return the place of a number in the total order among NaNs, 0, and 1, and 2 behind, and a NaN's payload."""
    if x[0] != NAN:
        return 1, _0
    if nan_is_least:
        return 0, _0
    m = np.uint64(f.float.mantissa_bits)
    payload = (code & ((_1 << m) - _1)) << (_63 - m)
    return (0, ~payload) if x[1] else (2, payload)


@compiled
def total_order(a, b, found, fa, fb, p3109):
    """Write whether a comes before b, or is b, into found (bool (n,)); p3109: whether NaN has no sign."""
    nan_is_least = p3109 or fa.is_posit or fb.is_posit
    for i in range(found.size):
        x, y = _read(np.uint64(a[i]), fa, p3109), _read(np.uint64(b[i]), fb, p3109)
        first, first_payload = _rank(np.uint64(a[i]), x, fa, nan_is_least)
        second, second_payload = _rank(np.uint64(b[i]), y, fb, nan_is_least)
        if first != second:
            found[i] = first < second
        elif first == 1:
            found[i] = not below(y, x)
        else:
            found[i] = first_payload <= second_payload


@compiled
def to_integer(a, found, flags, f, bits, signed, overflow, mode, words):
    """Write the integers of `bits` bits that codes become, modulo 2^64, into found (uint64 (n,)), and flags (uint8).

    overflow: an index into OVERFLOWS.
    """
    most = (_1 << np.uint64(bits - 1)) - _1 if signed else (_0 - _1) >> np.uint64(64 - bits)
    least = ~most if signed else _0  # modulo 2^64
    for i in range(a.size):
        random = _0
        if mode.rounding >= STOCHASTIC:
            random = np.uint64(words[i]) >> (_32 - np.uint64(mode.random_bits))
        x = unpack(np.uint64(a[i]), f)
        whole, exact, fits = _0, True, x[0] == ZERO
        if x[0] == FINITE and x[3] <= 63:
            whole, exact = _whole(x, mode, random)
            fits = whole <= (_0 - least if x[1] else most)
        elif x[0] == FINITE and x[3] < 127:
            whole = x[2] << np.uint64(x[3] - 63)
        number = _0 - whole if x[1] else whole
        flags[i] = _0 if exact else INEXACT
        if not fits:
            flags[i] = INVALID
            if overflow == INDEFINITE:
                number = least if signed else most
            elif x[0] == NAN or (x[0] == INFINITE and overflow == WRAP):
                number = _0
            elif overflow == SATURATE:
                number = least if x[1] else most
            elif signed:
                shift = np.uint64(64 - bits)
                number = np.uint64(np.int64(number << shift) >> np.int64(shift))
            else:
                number &= most
        found[i] = number
