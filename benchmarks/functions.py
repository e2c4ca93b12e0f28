"""Functions against MPFR: how many results are wrong, which is to be none, and nanoseconds a result.

    python benchmarks/functions.py --count 10000000 --format float32

MPFR, by gmpy2, is the witness: its results are cut to any number of bits, and the last one is set where
something was cut off ("to odd"), so that rounding them to a format of fewer bits rounds the exact number.
What MPFR has no function for is bracketed by what it has, rounded down and up.
"""

from __future__ import annotations

import argparse
import math
import time
from fractions import Fraction
from functools import lru_cache

import gmpy2
import numpy as np

import refimpl as rf
from refimpl.spec.float_codes import Value, floor_log2

DIRECT = "exp exp2 exp10 expm1 log log2 log10 log1p sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh".split()
COMPOSED = "sinpi cospi tanpi asinpi acospi atanpi rsqrt softplus sigmoid silu gelu gelu_tanh".split()
UNARY = [*DIRECT, *COMPOSED]
TINY = Fraction(1, 1 << (1 << 18))  # below every format, as 1 / TINY is above
DOWN, UP, CUT = gmpy2.RoundDown, gmpy2.RoundUp, gmpy2.RoundToZero


@lru_cache(maxsize=64)
def context(precision, rounding):
    """Return a context of MPFR with a range of exponents that nothing leaves."""
    return gmpy2.context(precision=precision, round=rounding, emax=1 << 40, emin=-(1 << 40))


def number(x):
    """Return a float or fraction whose denominator is a power of two as a number of MPFR, exactly."""
    x = Fraction(x)
    exact = context(max(x.numerator.bit_length(), 2), CUT)
    return exact.div(gmpy2.mpz(x.numerator), gmpy2.mpz(x.denominator))


def bracket(name, x, bits):
    """Return numbers of MPFR that the value of a composed function at x (a Fraction) lies between.

    A step that falls where its operand rises swaps the directions.
    """
    down, up = context(bits, DOWN), context(bits, UP)
    if name in ("sinpi", "cospi", "tanpi"):
        r = x % 2 if name != "tanpi" else x % 1
        sign = 1
        if name == "cospi":
            r = min(r, 2 - r)  # from 0 to 1
            sign, r = (1 if r <= Fraction(1, 2) else -1), abs(Fraction(1, 2) - r)
        elif name == "sinpi":
            sign, r = (-1 if r > 1 else 1), r % 1
            r = min(r, 1 - r)
        elif r > Fraction(1, 2):
            sign, r = -1, 1 - r
        f = gmpy2.context.tan if name == "tanpi" else gmpy2.context.sin  # both rise on [0, pi/2]
        ends = [f(c, c.mul(c.const_pi(), c.div(gmpy2.mpz(r.numerator), gmpy2.mpz(r.denominator)))) for c in (down, up)]
        return ends if sign > 0 else [-ends[1], -ends[0]]
    if name in ("asinpi", "acospi", "atanpi"):
        ends = [getattr(c, name[:4])(number(x)) for c in (down, up)]
        return [
            c.div(y, (up if (c is down) == (y > 0) else down).const_pi()) for c, y in zip((down, up), ends, strict=True)
        ]
    n = number(x)
    if name == "rsqrt":
        return [c.rec_sqrt(n) for c in (down, up)]
    if name == "softplus":
        if x > 10000:
            return [down.plus(n), up.add(n, gmpy2.mpfr("1e-9999"))]
        return [c.log1p(c.exp(n)) for c in (down, up)]
    if name == "gelu":
        gates = []
        for c, other in ((down, up), (up, down)):
            z = other.div(-n, (down if x < 0 else up).sqrt(2) if c is up else (up if x < 0 else down).sqrt(2))
            gates.append(c.div(c.erfc(z), 2))
    else:
        gates = []
        for c, other in ((down, up), (up, down)):
            a = n
            if name == "gelu_tanh":
                inner = x + Fraction(44715, 10**6) * x**3
                size = abs(inner)
                toward = c if x > 0 else other
                a = toward.mul(
                    toward.sqrt(toward.div(8, (other if toward is c else c).const_pi())),
                    toward.div(gmpy2.mpz(size.numerator), gmpy2.mpz(size.denominator)),
                )
                a = a if x > 0 else -a
            gates.append(c.div(1, other.add(1, other.exp(-a))))
    if name == "sigmoid":
        return gates
    return [c.mul(n, g) for c, g in zip((down, up), gates if x > 0 else gates[::-1], strict=True)]


def side(name, x):
    """Return whether the magnitude of a composed function is above the number of few bits that it is next to."""
    if name == "softplus":
        return True
    if name in ("sigmoid", "silu", "gelu", "gelu_tanh"):
        return 0 < x < 1
    return x < 0 if name == "acospi" else False


def to_odd(name, operands, bits=120):
    """Return the Value of a function at finite operands (floats or fractions), to odd, as MPFR has it."""
    if name not in COMPOSED:
        with context(bits, CUT) as c:
            c.clear_flags()
            numbers = [gmpy2.mpfr(0)] * len(operands)
            numbers = [number(x) for x in operands]
            c.clear_flags()
            f = {"pow": lambda x, y: x**y}.get(name) or getattr(gmpy2, name)
            result = f(*numbers)
            return _value(result, c.inexact, bits)
    x = Fraction(operands[0])
    rational = _rational(name, x)
    if rational is not None:
        return rational
    for more in (80, 1200):
        with context(bits + more + 400, CUT):  # in which what is not said to round is exact: signs
            low, high = bracket(name, x, bits + more)
        cut = context(bits, CUT)
        if cut.plus(low) == cut.plus(high) not in (low, high):
            break
    if gmpy2.is_nan(low) or gmpy2.is_nan(high) or gmpy2.is_infinite(high):
        return Value("nan", False)
    if low == 0 or high == 0:  # below the range of MPFR
        return Value("finite", low < 0, TINY)
    with context(bits, CUT):
        a, b = +low, +high
    exact = a if a == low else b if b == high else None
    if low == high and exact is not None:
        return _value(exact, False, bits)
    if a == b and exact is None:
        return _value(a, True, bits)
    near = gmpy2.context(precision=bits, round=gmpy2.RoundToNearest, emax=1 << 40, emin=-(1 << 40)).plus(low)
    value = _value(near, False, bits)
    unit = Fraction(2) ** (floor_log2(value.magnitude) + 1 - bits)
    if side(name, x):
        return value._replace(magnitude=value.magnitude + unit)
    halved = 1 + (value.magnitude == unit * 2 ** (bits - 1))  # below a power of two units are half as large
    return value._replace(magnitude=value.magnitude - unit / halved)


def as_float64(name, columns, p3109=False):
    """Return results at float64 operands as float64, to odd; what lies beyond float64 stays finite, and not 0.

    Operands that are 0, infinite or NaN are answered by the definition.
    """
    from refimpl.spec.float_codes import from_float, to_float
    from refimpl.spec.functions import FUNCTIONS

    out = np.empty(columns[0].shape)
    for i, operands in enumerate(zip(*(np.asarray(c, float).tolist() for c in columns), strict=True)):
        if all(math.isfinite(x) and x != 0 for x in operands):
            with context(53, CUT):
                value = _fast(name, operands)
            if value is None:
                value = to_odd(name, operands, 53)
                if p3109 and name == "tanpi" and value.kind == "infinite":
                    value = value._replace(kind="nan")
        else:
            value = FUNCTIONS[name](*map(from_float, operands), family="p3109" if p3109 else "ieee")
            if value.kind == "finite" and value.magnitude:  # cut to 53 bits
                unit = Fraction(2) ** (
                    value.magnitude.numerator.bit_length() - value.magnitude.denominator.bit_length()
                )
                n = value.magnitude / unit * 2**60
                shift = int(n).bit_length() - 53
                whole = int(n) >> shift
                odd = whole if whole << shift == n else whole | 1
                value = value._replace(magnitude=odd * Fraction(2) ** shift * unit / 2**60)
        if isinstance(value, float):
            out[i] = value
        elif value.kind == "finite" and value.magnitude != 0 and not 2**-1000 < value.magnitude < 2**1000:
            out[i] = math.copysign(2.0**1000 if value.magnitude > 1 else 2.0**-1000, -1 if value.negative else 1)
        else:
            out[i] = to_float(value)
    return out


def _fast(name, operands):
    """Return the result of a function of MPFR's own as float64, to odd, or None; the context is that of 53 bits."""
    if name in COMPOSED:
        return None
    f = {"pow": lambda x, y: x**y}.get(name) or getattr(gmpy2, name)
    c = gmpy2.get_context()
    numbers = [gmpy2.mpfr(x) for x in operands]
    c.clear_flags()
    result = f(*numbers)
    inexact = c.inexact
    if gmpy2.is_nan(result) or gmpy2.is_infinite(result):
        return float(result)
    value = float(result)
    if not 2.0**-1000 < abs(value) < 2.0**1000:
        return (
            None
            if result == 0 and not inexact
            else math.copysign(2.0**1000 if abs(result) > 1 else 2.0**-1000, -1 if gmpy2.is_signed(result) else 1)
        )
    if inexact and not np.float64(value).view(np.uint64) & np.uint64(1):
        return float((np.float64(value).view(np.uint64) | np.uint64(1)).view(np.float64))
    return value


def _rational(name, x):
    """Return the Value where it is rational and a bracket cannot tell, and None elsewhere."""
    if name == "tanpi" and x % 1 == Fraction(1, 2):  # clause 9.2: infinite, above zero at 2 n + 1/2
        return Value("infinite", x % 2 > 1)
    known = {
        "sinpi": {0: 0, Fraction(1, 2): 1, 1: 0, Fraction(3, 2): -1},
        "cospi": {0: 1, Fraction(1, 2): 0, 1: -1, Fraction(3, 2): 0},
        "tanpi": {0: 0, Fraction(1, 4): 1, Fraction(3, 4): -1, 1: 0, Fraction(5, 4): 1, Fraction(7, 4): -1},
    }.get(name)
    if known is not None:
        found = known.get(x % 2)
    else:
        half = Fraction(1, 2)
        found = {
            "asinpi": {1: half, half: Fraction(1, 6), -half: Fraction(-1, 6), -1: -half},
            "acospi": {1: 0, half: Fraction(1, 3), -half: Fraction(2, 3), -1: 1, 0: half},
            "atanpi": {1: Fraction(1, 4), -1: Fraction(-1, 4)},
        }.get(name, {}).get(x)
    if found == 0:  # clause 9.2: sinPi keeps the sign, tanPi(n) is +0 for even n above and odd n below 0
        negative = x < 0 if name == "sinpi" else name == "tanpi" and (x < 0) != (x % 2 == 1)
        return Value("finite", negative)
    return None if found is None else Value("finite", found < 0, abs(Fraction(found)))


def _value(result, inexact, bits):
    """Return a number of MPFR, cut to a number of bits, as a Value to odd."""
    if gmpy2.is_nan(result):
        return Value("nan", False)
    if gmpy2.is_infinite(result):
        return Value("infinite", result < 0)
    negative = bool(gmpy2.is_signed(result))
    if result == 0:
        return Value("finite", negative, TINY if inexact else Fraction(0))
    mantissa, exponent = (int(n) for n in result.as_mantissa_exp())
    mantissa = abs(mantissa)
    shift = bits - mantissa.bit_length()
    mantissa = mantissa << shift if shift >= 0 else mantissa >> -shift
    if abs(exponent) > 1 << 20:  # beyond every format
        return Value("finite", negative, 1 / TINY if exponent > 0 else TINY)
    return Value("finite", negative, (mantissa | bool(inexact)) * Fraction(2) ** (exponent - shift))


def main():
    """Print, for each function of one operand, how many results are not MPFR's, and nanoseconds a result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=200_000)
    parser.add_argument("--format", default="float32")
    parser.add_argument("--rounding", default="ties_to_even")
    parser.add_argument("--functions", nargs="+", default=UNARY)
    asked = parser.parse_args()
    fmt = rf.format(asked.format)
    for name in asked.functions:
        wrong = total = 0
        spent = []
        while total < asked.count:
            rng = np.random.default_rng(total)
            codes = rng.integers(0, 1 << fmt.bits, 1 << 17).astype(np.min_scalar_type((1 << fmt.bits) - 1))
            x = rf.decode(codes, fmt)
            begin = time.perf_counter()
            got = getattr(rf, name)(x, fmt, rounding=asked.rounding)
            spent.append((time.perf_counter() - begin) / x.size * 1e9)
            sample = slice(min(x.size, asked.count - total))
            expected = rf.quantize(as_float64(name, [x[sample]]), fmt, rounding=asked.rounding)
            same = (got[sample] == expected) | np.isnan(got[sample]) & np.isnan(expected)
            wrong, total = wrong + int((~same).sum()), total + same.size
        print(f"{name:10} {asked.format}: {wrong} of {total} wrong, {min(spent):.0f} ns a result", flush=True)


if __name__ == "__main__":
    main()
