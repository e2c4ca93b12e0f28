"""Sums, dot products and products of matrices: orders, and matrix units in Python's integers."""

from __future__ import annotations

import math

import numpy as np

from faults import Correct, Fault
from faults.arithmetic import ask

E5M2, E4M3 = "float8_e5m2", "float8_e4m3fn"


def split(x, least):
    """Return significands and exponents of finite numbers; of zero 0 and -126."""
    exponent = np.maximum(np.frexp(x)[1] - 1, least)
    return np.where(x == 0, 0.0, np.ldexp(x, -exponent)), np.where(x == 0, -126, exponent)


def tensor_core(terms, bits, mantissa, least, *, cut=np.trunc, to_even=False):
    """Return a dot product as tensor cores add: groups aligned to the largest exponent, cut, added and rounded.

    mantissa: of the accumulator; least: the operands' smallest exponent.  Whole numbers of so few bits are exact in
    float64.
    """

    def dot(a, b):
        total = 0.0
        for start in range(0, len(a), terms):
            x, y = (side[start : start + terms].astype(float) for side in (a, b))
            with np.errstate(all="ignore"):
                products = np.append(x * y, total)
                if not np.isfinite(products).all():
                    total = float(products.sum())
                    continue
            (s, e), (t, f) = split(x, least), split(y, least)
            last, exponent = split(np.array([total]), -126)
            significands, exponents = np.append(s * t, last), np.append(e + f, exponent)
            top = int(exponents.max())
            whole = cut(np.ldexp(significands, bits + exponents - top)).sum()
            total = stored(math.ldexp(float(whole), top - bits), mantissa, to_even)
        return total

    return dot


def stored(x: float, mantissa: int, to_even: bool) -> float:
    """Return a number in the accumulator: cut toward zero, or to nearest."""
    if x == 0:
        return 0.0
    exponent = max(math.frexp(x)[1] - 1, -126) - mantissa
    steps = math.ldexp(x, -exponent)
    return math.ldexp(float(round(steps) if to_even else math.trunc(steps)), exponent)


def columns(dot):
    """Return a product of matrices by dot products."""
    return lambda a, b: np.array([[dot(row, column) for column in b.T] for row in a.astype(float)])


HOPPER = {"terms": 32, "bits": 13, "mantissa": 13}


def hopper(fmt=E5M2, **faults):
    """Return Hopper's unit for FP8."""
    return tensor_core(**(HOPPER | {"least": -14 if fmt == E5M2 else -6} | faults))


def in_turn(dtype, order=None, products=None):
    """Return a dot product in a dtype, term after term."""

    def dot(a, b):
        total = dtype(0)
        with np.errstate(all="ignore"):
            each = a.astype(dtype) * b.astype(dtype) if products is None else (a * b).astype(products).astype(dtype)
            for term in each if order is None else order(each):
                total = dtype(total + term)
        return float(total)

    return dot


def even_first(x):
    return np.concatenate([x[::2], x[1::2]])


def pairwise(a, b):
    """Return a dot product of neighbours in pairs, in float32."""
    terms = (a.astype(np.float32) * b.astype(np.float32)).tolist()
    terms += [0.0] * ((1 << (len(terms) - 1).bit_length()) - len(terms))
    with np.errstate(all="ignore"):
        while len(terms) > 1:
            terms = [float(np.float32(x) + np.float32(y)) for x, y in zip(terms[::2], terms[1::2], strict=True)]
    return terms[0]


def exactly(a, b):
    """Return a dot product, exact and rounded once to float32."""
    terms = (a.astype(float) * b.astype(float)).tolist()
    if not all(map(math.isfinite, terms)):
        return sum(terms)
    with np.errstate(all="ignore"):
        return float(np.float32(math.fsum(terms)))


UNIT = {"format": E5M2, "op": "dot", "unit": "hopper-fp8", "time_limit": 60.0}
ORDER = {"format": "float16", "op": "dot", "accumulate": "float32", "time_limit": 60.0}


def wrong(name, right, implementation, expected=UNIT, true=()):
    """Return a faulty sum."""
    return Fault(name, expected, implementation, right, true, ask=ask)


FAULTS = [
    wrong("12 bits", ("keeps 12 bits",), hopper(bits=12)),
    wrong("14 bits", ("keeps 14 bits",), hopper(bits=14)),
    wrong("25 bits, as Blackwell", ("keeps 25 bits", "blackwell", "another", "float32", "order"), hopper(bits=25)),
    wrong("cut toward negative", ("cut toward_negative",), hopper(cut=np.floor)),
    wrong("rounded in alignment", ("cut ties_to_even",), hopper(cut=np.rint)),
    wrong("16 terms", ("16 terms", "ada-fp8"), hopper(terms=16)),
    wrong("rounds its accumulator", ("accumulator ties_to_even",), hopper(to_even=True)),
    wrong("float32 accumulator", ("float32",), hopper(mantissa=23)),
    wrong("E4M3: 12 bits", ("keeps 12 bits",), hopper(E4M3, bits=12), UNIT | {"format": E4M3}),
    wrong("float32, term after term", ("sequential in float32",), in_turn(np.float32)),
    wrong("exact", ("exact",), exactly),
    wrong("matmul, 12 bits", ("keeps 12 bits",), columns(hopper(bits=12)), UNIT | {"op": "matmul"}),
    wrong("backwards", ("opposite order",), in_turn(np.float32, lambda x: x[::-1]), ORDER),
    wrong("pairs", ("pairwise", "pairs"), pairwise, ORDER, ("otherwise",)),
    wrong("in float16", ("in float16",), in_turn(np.float16), ORDER, ("products rounded",)),
    wrong("exact for sequential", ("order=exact",), exactly, ORDER),
    wrong("even terms first", ("even-numbered terms first",), in_turn(np.float32, even_first), ORDER),
]

CORRECT = [
    Correct("Hopper in integers", UNIT, hopper(), ask=ask),
    Correct("Hopper in integers, E4M3", UNIT | {"format": E4M3}, hopper(E4M3), ask=ask),
    Correct("Hopper in integers, matmul", UNIT | {"op": "matmul"}, columns(hopper()), ask=ask),
    Correct("float32, term after term", ORDER, in_turn(np.float32), ask=ask),
    Correct("pairs", ORDER | {"order": "pairwise"}, pairwise, ask=ask),
    Correct("fsum", ORDER | {"order": "exact"}, exactly, ask=ask),
    Correct("cumsum", {"format": "float32", "op": "sum"}, lambda x: np.cumsum(x)[-1], ask=ask),
]
