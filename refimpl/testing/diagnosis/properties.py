"""What can be said of an input to a rounding: the properties and measures by which regions are described."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from refimpl.formats import FloatFormat, IntFormat
from refimpl.testing.diagnosis.anatomy import anatomy, has_anatomy
from refimpl.testing.diagnosis.regions import Measure, Property
from refimpl.testing.expected.behaviour import values_of

FEW = 16  # significands, of a format of so few each is a property
ODD = 1.6  # the cost of properties that code rarely asks for


def properties(behaviour, x: np.ndarray, expected: np.ndarray, itemsizes: np.ndarray) -> list[Property]:
    """Return the properties of inputs x (float64), given in dtypes of so many bytes, with the expected results."""
    with np.errstate(all="ignore"):
        found = [*_of_numbers(x, expected, itemsizes), *_of_range(behaviour.format, x, expected)]
        if has_anatomy(behaviour.format):
            found += _of_rounding(behaviour.format, x, expected)
    return [p for p in found if p.mask.any() and not p.mask.all()]


def measures(behaviour, x: np.ndarray, expected: np.ndarray) -> list[Measure]:
    """Return the measures of inputs."""
    size = np.abs(x)
    with np.errstate(all="ignore"):
        found = [Measure("of sizes", size), Measure("with results of sizes", np.abs(expected), 1.3)]
        if has_anatomy(behaviour.format):
            a = anatomy(x, behaviour.format)
            part = np.where(a.finite, a.part, np.nan)
            found.append(Measure("at parts of the step between two values", part, 1.3))
        normal = np.isfinite(x) & (x != 0)
        found.append(Measure("with significands", np.where(normal, 2 * np.abs(np.frexp(x)[0]), np.nan), 1.5))
    return found


def _of_numbers(x, expected, itemsizes) -> Iterator[Property]:
    finite = np.isfinite(x)
    yield Property("NaN inputs", np.isnan(x))
    yield Property("infinite inputs", np.isinf(x))
    yield Property("zeros", x == 0)
    yield Property("numbers", finite, 0.6)
    yield Property("inputs that are not zero", x != 0, 0.8)
    yield Property("negative inputs", np.signbit(x))
    yield Property("positive inputs", ~np.signbit(x))
    yield Property("inputs that need more than float32", finite & (x.astype(np.float32) != x), 1.2)
    yield Property("inputs that fit float32", (x.astype(np.float32) == x) | ~finite, 1.2)
    yield Property("inputs of 8 significant bits or fewer", finite & (np.ldexp(np.frexp(x)[0], 8) % 1 == 0), ODD)
    yield Property("integers", finite & (np.rint(x) == x), 1.2)
    yield Property("inputs that are no integers", finite & (np.rint(x) != x), 1.2)
    yield Property("powers of two", finite & (np.abs(np.frexp(x)[0]) == 0.5), 1.2)
    exponent = np.frexp(x)[1] - 1
    yield Property("inputs of even exponents", finite & (x != 0) & (exponent % 2 == 0), ODD)
    yield Property("inputs of odd exponents", finite & (x != 0) & (exponent % 2 == 1), ODD)
    for itemsize in np.unique(itemsizes):
        yield Property(f"inputs of float{8 * itemsize}", itemsizes == itemsize)
    bits = x.view(np.int64)
    yield Property("signaling NaNs", np.isnan(x) & (bits >> 51 & 1 == 0), 1.2)
    yield Property("quiet NaNs", np.isnan(x) & (bits >> 51 & 1 == 1), 1.2)
    yield Property("values of the format", finite & (x == expected))
    yield Property("inputs between values of the format", finite & (x != expected))
    yield Property("rounded up in size", finite & (np.abs(expected) > np.abs(x)), 1.2)
    yield Property("rounded down in size", finite & (np.abs(expected) < np.abs(x)), 1.2)


def _of_range(fmt, x, expected) -> Iterator[Property]:
    size, finite = np.abs(x), np.isfinite(x)
    largest = float(fmt.max)
    values = values_of(fmt)
    smallest = float(values[values > 0][0])
    yield Property("inputs beyond the largest value", size > largest)
    yield Property("inputs within the range", finite & (size <= largest))
    yield Property("results that are the largest value", np.abs(expected) == largest, 1.2)
    yield Property("overflows", finite & ~np.isfinite(expected))
    yield Property("inputs below the smallest value", (size < smallest) & (x != 0))
    yield Property("results that are zero", expected == 0)
    yield Property("underflows", (expected == 0) & (x != 0))
    yield Property("results that are not zero", expected != 0, 0.9)
    yield Property("results that are numbers", np.isfinite(expected), 0.9)
    yield Property("results that are powers of two", np.abs(np.frexp(expected)[0]) == 0.5, 1.2)
    yield Property("results that are the smallest value", np.abs(expected) == smallest, 1.2)
    if isinstance(fmt, FloatFormat):
        normal = fmt.smallest_normal
        yield Property("inputs below the smallest normal", (size < normal) & (x != 0))
        yield Property("results that are subnormal", (np.abs(expected) < normal) & (expected != 0))
        yield Property("results that are subnormal or zero", np.abs(expected) < normal, 0.9)
        yield Property("results that are normal", (np.abs(expected) >= normal) & np.isfinite(expected))
        yield Property("inputs from the smallest normal on", (size >= normal) & finite)
        small = (size < normal) & (np.abs(expected) == normal)
        yield Property("inputs that round up to the smallest normal", small, 1.1)


def _of_rounding(fmt, x, expected) -> Iterator[Property]:
    a, finite = anatomy(x, fmt), np.isfinite(x)
    yield Property("ties", finite & (a.part == 0.5), 0.9)
    yield Property("inputs that are no ties", finite & (a.part != 0.5))
    yield Property("inputs above a tie", finite & (a.part > 0.5))
    yield Property("inputs below a tie", finite & (a.part < 0.5) & (a.part > 0))
    yield Property("inputs just above a tie, by less than 1/16 of a step,", finite & (a.part > 0.5) & (a.part < 0.5625))
    yield Property("inputs just below a tie, by less than 1/16 of a step,", finite & (a.part < 0.5) & (a.part > 0.4375))
    yield Property("odd codes below", finite & a.odd)
    yield Property("even codes below", finite & ~a.odd)
    near = finite & (np.abs(a.part - 0.5) < 2.0**-16) & (a.part != 0.5)
    yield Property("inputs within 2^-16 of a step of a tie", near, 1.2)
    for bit in (1, 2, 3):  # of the guard bit and those behind
        has = finite & (np.floor(np.ldexp(a.part, bit)) % 2 == 1)
        name = ("the guard bit", "the bit behind the guard bit", "the second bit behind the guard bit")[bit - 1]
        yield Property(f"inputs with {name} set", has, ODD)
        yield Property(f"inputs with {name} clear", finite & ~has, ODD)
    if a.first_normal > 1:
        m = a.first_normal
        last = (a.code + 1) % m == 0
        yield Property("the last step below a power of two", finite & last)
        yield Property("the first step above a power of two", finite & (a.code % m == 0))
        carries = last & (np.abs(expected) > np.abs(x)) & finite
        yield Property("carries into the exponent", carries)
        yield Property("carries beyond the largest value", last & (a.code == a.top) & finite, 1.2)
    if a.first_normal > 1 and fmt.mantissa_bits.bit_length() and a.first_normal <= FEW:
        for k in range(a.first_normal):
            here = finite & (a.code % a.first_normal == k)
            yield Property(f"inputs in the step above the mantissa {k:0{fmt.mantissa_bits}b}", here, ODD)
        places = fmt.mantissa_bits
    else:
        places = min(fmt.bits - 1, 3) if isinstance(fmt, IntFormat) else 3
    for bit in range(1, places):
        has = finite & (a.code >> bit & 1 == 1)
        yield Property(f"bit {bit} of the code below set", has, ODD)
        yield Property(f"bit {bit} of the code below clear", finite & ~has, ODD)
