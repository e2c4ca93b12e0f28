"""The first few elements a process asks about are answered by the definitions of `refimpl.spec`.

To load a kernel takes half a second, to compile it the first time some seconds; a definition takes a
tenth of a millisecond or two an element, and gives the same bits.  So `kernels` hands out, instead of the
modules of `refimpl.kernels`, the classes of this file, of the same names and functions, until
definitions have taken about as long as loading would.  What kernels know as records of integers
(formats, modes) definitions know as they are.
"""

from __future__ import annotations

import importlib
from fractions import Fraction
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from refimpl.formats import QUOTIENTS, SCALE_RULES, PositFormat
from refimpl.spec import arithmetic as spec_arithmetic
from refimpl.spec import blocks as spec_blocks
from refimpl.spec import float_codes as spec_floats
from refimpl.spec import integers as spec_integers
from refimpl.spec import operations as spec_operations
from refimpl.spec import posits as spec_posits
from refimpl.spec import random_bits as spec_random_bits
from refimpl.spec import sums as spec_sums
from refimpl.spec.float_codes import Value

elements_left = 2_000
"""How many more elements, in this process, definitions answer for."""


def kernels(elements: int) -> Any:
    """Return what computes on this many elements: an object with the modules of kernels, or those of this file."""
    global elements_left
    if elements <= elements_left:
        elements_left -= elements
        return DEFINITIONS
    return KERNELS


class _Kernels:
    def __getattr__(self, name):
        if name.startswith("__"):  # what doctest and inspect ask of everything
            raise AttributeError(name)
        return importlib.import_module(f"refimpl.kernels.{name}")


KERNELS = _Kernels()


class Mode(NamedTuple):
    """How to round, by names; see `refimpl.spec.float_codes.encode`."""

    rounding: str
    overflow: str
    nan: str
    random_bits: int

    def random(self, words, i) -> int:
        """Return the random integer of element i."""
        return int(words[i]) >> (32 - self.random_bits) if self.rounding.startswith("stochastic") else 0


_NEAREST = Mode("ties_to_even", "overflow", "zero", 32)
_SINGLE = np.float32


def _decode(code, fmt) -> Value:
    return (spec_posits if isinstance(fmt, PositFormat) else spec_floats).decode(int(code), fmt)


def _encode(value: Value, fmt, mode: Mode = _NEAREST, random: int = 0) -> int:
    if isinstance(fmt, PositFormat):
        return spec_posits.encode(value, fmt)
    return spec_floats.encode(value, fmt, mode.rounding, mode.overflow, mode.nan, random, mode.random_bits)


def _itself(fmt):
    return fmt


class Codes:
    """`kernels.float_codes` and `kernels.posits`; `source` and `target` are the formats of the machine's floats."""

    fields = staticmethod(_itself)
    mode = Mode

    @staticmethod
    def encode(x, codes, source, fmt, mode, words):
        """Write the code of each x."""
        for i, bits in enumerate(x):
            codes[i] = _encode(_decode(bits, source), fmt, mode, mode.random(words, i))

    @staticmethod
    def encode_integers(x, codes, fmt, mode, words):
        """Write the code of each integer."""
        for i, value in enumerate(x.tolist()):
            exact = Value("finite", value < 0, Fraction(abs(value)))
            codes[i] = _encode(exact, fmt, mode, mode.random(words, i))

    @staticmethod
    def decode(codes, x, fmt, target):
        """Write the value of each code, rounded to the target."""
        for i, code in enumerate(codes):
            x[i] = _encode(_decode(code, fmt), target)

    @staticmethod
    def quantize(x, out, source, fmt, mode, words):
        """Round each x to the format."""
        for i, bits in enumerate(x):
            code = _encode(_decode(bits, source), fmt, mode, mode.random(words, i))
            out[i] = _encode(_decode(code, fmt), source)

    @staticmethod
    def first_beyond(codes, fmt, target):
        """Return the index of the first finite code whose value the target does not hold, or -1."""
        for i, code in enumerate(codes):
            value = _decode(code, fmt)
            if value.kind == "finite" and _decode(_encode(value, target), target).magnitude != value.magnitude:
                return i
        return -1


class Arithmetic:
    """`kernels.arithmetic`."""

    OPERATIONS = ("add", "sub", "mul", "div", "sqrt", "fma")

    @staticmethod
    def layout(fmt, p3109=False):
        """Return the format as it is."""
        return fmt

    @staticmethod
    def calculate(operation, a, b, c, codes, fa, fb, fc, fmt, mode, words, p3109):
        """Write the codes of results; return the index of the first that is NaN, or -1."""
        name = Arithmetic.OPERATIONS[operation]
        count = spec_operations.OPERATIONS[name].operands
        first_nan = -1
        for i in range(codes.size):
            operands = [spec_operations.decode(int(x[i]), f, p3109) for x, f in ((a, fa), (b, fb), (c, fc))[:count]]
            exact = spec_operations.exact(name, tuple(operands), mode.rounding, p3109)
            how = mode.rounding, mode.overflow, mode.nan, mode.random(words, i), mode.random_bits
            codes[i] = spec_operations.encode(exact, fmt, *how, p3109)
            if exact.kind == "nan" and first_nan < 0:
                first_nan = i
        return first_nan

    @staticmethod
    def relations(a, b, out, fa, fb):
        """Write the relation of codes: 0 to 3 for less, equal, greater, unordered."""
        posit = isinstance(fa, PositFormat) or isinstance(fb, PositFormat)
        for i in range(out.size):
            relation = spec_arithmetic.relation(_decode(a[i], fa), _decode(b[i], fb), posit=posit)
            out[i] = ("<", "==", ">", "unordered").index(relation)


class Sums:
    """`kernels.sums`."""

    @staticmethod
    def products(a, b, out, first_row, fa, fb, fmt, mode, order, chunk, seed, stream, given, lowest, limbs):
        """Write the code of the sum of a[i, :] * b[j, :] into out[i, j]."""
        order, n = spec_sums.ORDERS[order], len(b)
        count = spec_sums.roundings(order, a.shape[1], chunk)
        stochastic = mode.rounding.startswith("stochastic")
        rows, columns = ([[_decode(code, f) for code in row] for row in x] for x, f in ((a, fa), (b, fb)))
        for i, x in enumerate(rows):
            for j, y in enumerate(columns):
                first = -(-count // 4) * 4 * ((first_row + i) * n + j)
                drawn = given[i, j].tolist() if len(given) else (_word(first + k, seed, stream) for k in range(count))
                words = [word >> (32 - mode.random_bits) for word in drawn] if stochastic else []
                total = spec_sums.dot(x, y, fmt, order, chunk, mode.rounding, mode.overflow, words, mode.random_bits)
                out[i, j] = _encode(total, fmt)


class Blocks:
    """`kernels.blocks`."""

    SCALE_RULES = SCALE_RULES
    GIVEN = len(SCALE_RULES)
    block_fields = staticmethod(_itself)

    @staticmethod
    def encode(x, codes, scales, source, fmt, rule, mode, words, tensor_scale=1.0, given=False, least=0):
        """Write element codes and scale codes of each row."""
        for row, values in enumerate(x):
            randoms = [mode.random(words[row], i) for i in range(len(values))]
            scales[row], codes[row] = spec_blocks.encode_block(
                [_decode(bits, source) for bits in values],
                fmt,
                (*SCALE_RULES, "")[rule],
                tensor_scale,
                mode.rounding,
                randoms,
                mode.random_bits,
                int(scales[row]) if given or rule == Blocks.GIVEN else None,
                least,
            )

    @staticmethod
    def scale_of_tensor(x, fmt, source, single):
        """Return the float32 scale of a tensor, from its rows that are finite."""
        rows = [[_decode(bits, source) for bits in values] for values in x]
        finite = [row for row in rows if all(value.kind == "finite" for value in row)]
        largest = max((value.magnitude for row in finite for value in row), default=Fraction(0))
        return _SINGLE(spec_blocks.tensor_scale(largest, fmt))

    @staticmethod
    def encode_two_levels(x, codes, scales, source, fmt, tensor_bits, one, least, given, mode, words):
        """Write them under a tensor scale, or without one."""
        scale = float(np.uint32(tensor_bits).view(_SINGLE)) or 1.0
        for row in range(len(x)):
            part = slice(row, row + 1)
            known = bool(given)
            if tensor_bits == 0 and not known and all(_decode(bits, source).magnitude == 0 for bits in x[row]):
                scales[row], known = one, True
            Blocks.encode(
                x[part], codes[part], scales[part], source, fmt, 0, mode, words[part], scale, known, int(least)
            )

    @staticmethod
    def decode(codes, scales, x, fmt, tensor_bits, target):
        """Write tensor scale * block scale * element."""
        scale = float(np.uint32(tensor_bits).view(_SINGLE))
        for row, elements in enumerate(codes.tolist()):
            values = spec_blocks.decode_block(int(scales[row]), elements, fmt, scale)
            x[row] = [_encode(value, target) for value in values]


class Integers:
    """`kernels.integers`; `smallest` and `largest` are the codes of the format."""

    @staticmethod
    def scale(x, scales, largest):
        """Write the scale of each row."""
        for row, values in enumerate(x.tolist()):
            scales[row] = spec_integers.scale(max(map(abs, values), default=0.0), _range(0, largest))

    @staticmethod
    def affine(low, high, scales, zero_points, smallest, largest):
        """Write scale and zero point of each row."""
        for row, ends in enumerate(zip(low.tolist(), high.tolist(), strict=True)):
            scales[row], zero_points[row] = spec_integers.affine(*ends, _range(smallest, largest))

    @staticmethod
    def encode(x, codes, scales, zero_points, smallest, largest):
        """Write the codes of each row."""
        for row, values in enumerate(x.tolist()):
            place = float(scales[row]), int(zero_points[row])
            codes[row] = [spec_integers.encode(value, _range(smallest, largest), *place) for value in values]

    QUOTIENTS = QUOTIENTS

    @staticmethod
    def encode_as(x, codes, scales, zero_points, smallest, largest, quotient, mode, words):
        """Write the codes of each row, of a quotient in a mode."""
        fmt, how = _range(smallest, largest), QUOTIENTS[quotient]
        for row, values in enumerate(x.tolist()):
            place = float(scales[row]), int(zero_points[row]), mode.rounding, how
            randoms = [mode.random(words[row], i) for i in range(len(values))]
            codes[row] = [
                spec_integers.encode(value, fmt, *place, random, mode.random_bits)
                for value, random in zip(values, randoms, strict=True)
            ]

    @staticmethod
    def decode(codes, x, scales, zero_points):
        """Write the values of each row."""
        for row, values in enumerate(codes.tolist()):
            x[row] = [spec_integers.decode(code, float(scales[row]), int(zero_points[row])) for code in values]


def _range(smallest: int, largest: int) -> Any:
    """Return what `refimpl.spec.integers` reads of a format."""
    return SimpleNamespace(min=smallest, max=largest)


def _word(index: int, seed, stream) -> int:
    return spec_random_bits.random_word(index, int(seed), int(stream))


class RandomBits:
    """`kernels.random_bits`."""

    @staticmethod
    def random_words_from(words, seed, stream, first_counter):
        """Fill words with elements 4 * first_counter, ... of the stream."""
        for i in range(words.size):
            words[i] = _word(4 * int(first_counter) + i, seed, stream)


DEFINITIONS = SimpleNamespace(
    float_codes=Codes,
    posits=Codes,
    arithmetic=Arithmetic,
    sums=Sums,
    blocks=Blocks,
    integers=Integers,
    random_bits=RandomBits,
)
