"""Floats on their bits, without branches: every format that lies within float32 or float64, in every mode.

One loop from floats to codes and one back; what format and mode ask for is data.  Both are compiled for
words of 32 and of 64 bits, the bits of float32 and float64: all arithmetic here is that of the word, so
that as many elements as fit a vector register are worked on at a time.  All else, and what these loops are
held to, is in `refimpl.kernels.float_codes`.

*Notation*: a magnitude is significand * 2^exponent with an integer significand; `dropped` is how many of
its low bits the format has no room for.  A magnitude in the normal range of the format is rounded where it
stands, exponent and all: a carry out of the significand is the next binade.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types

from refimpl.kernels._compiled import compiled, intrinsic

FAST_PATH_OF = "float_codes"

LAYOUTS: dict[str, tuple[Any, int, int]] = {
    "float32": (np.uint32, 23, 127),
    "float64": (np.uint64, 52, 1023),
}  # word, mantissa bits, bias


class Target(NamedTuple):
    """A format seen from float32 or float64: words alike; a pair is one for positive and one for negative x."""

    one: Any
    last: Any  # the number of the word's highest bit
    sign: Any
    magnitude: Any  # all bits but the sign
    infinity: Any
    hidden: Any
    top: Any  # mantissa bits of the float
    dropped: Any  # in the normal range of the format
    dropped_below: Any  # just below it
    most_dropped: Any  # where everything is far below half of the smallest value
    lowest: Any  # exponent field of the float where the normal range begins
    lowest_bits: Any  # the least magnitude rounded where it stands; 0 where the float begins there too
    mantissa_bits: Any
    flushed: Any  # mantissa_bits where there are no subnormals, else 0: the lowest value is 1 << flushed
    offset: Any  # of the code, counted where the magnitude stands
    without_zero: Any  # 1 where there is no zero: all that is not zero is at least the lowest value
    first: Any  # by how much codes are lower than where they would be counted from zero
    power: Any  # bits of the float whose spacing is the smallest value
    sign_bit: Any  # of the codes; 0 where there is none
    max_code: Any
    infinity_code: Any  # or all ones: none
    max_codes: tuple[Any, Any]  # the largest that x may round to, in codes counted from zero
    beyond_codes: tuple[Any, Any]  # what finite x becomes beyond that
    zero_codes: tuple[Any, Any]
    infinity_codes: tuple[Any, Any]
    nan_codes: tuple[Any, Any]
    zero_bits: tuple[Any, Any]  # the float of code zero, and of the sign bit alone


class Rule(NamedTuple):
    """A rounding mode as words: what is added to the bits that are dropped before they are."""

    nearest: Any  # all ones, and up and down 0; or 0
    always_up: Any  # 1 where ties go up from even codes too
    up: tuple[Any, Any]  # all ones where the magnitude goes up
    from_odd: Any  # 0 where it does so from even codes alone
    spare: Any  # bits by which a word is longer than a random one
    kept: Any  # of the random word: what counts, the N leading bits
    half: Any  # of the word: what stands for the rest
    tie: Any  # 1 where odd integers do not go up at a tie
    tie_bit: Any  # the number of the bit of the random word that says which are odd


def fits(fmt, name: str) -> bool:
    """Tell whether a FloatFormat lies within a float type, so that these loops serve.

    Its subnormals have to be normal numbers of the type, which no machine flushes to zero, or to
    begin where those of the type begin, so that they need no arithmetic.
    """
    word, mantissa_bits, bias = LAYOUTS[name]
    least, m = 1 - bias, fmt.mantissa_bits
    begins_alike = fmt.min_exponent == least and fmt.has_subnormals and fmt.has_zero
    return (
        fmt.bits <= 8 * word(0).itemsize
        and m <= mantissa_bits
        and fmt.maxexp <= bias + 1
        and (begins_alike or (fmt.min_exponent - m >= least and fmt.min_exponent - m + mantissa_bits <= bias))
    )


@lru_cache(maxsize=256)
def target(fmt, name: str, specials: tuple[tuple[int, int], ...]) -> Target:
    """Return the Target of a FloatFormat that `fits`.

    specials: the codes of zero, infinity, NaN and of a finite number beyond all, for both signs.
    """
    word, top, bias = LAYOUTS[name]
    last, m = 8 * word(0).itemsize - 1, fmt.mantissa_bits
    lowest = fmt.min_exponent + bias
    flushed = 0 if fmt.has_zero and fmt.has_subnormals else m
    first = 0 if fmt.has_zero else 1 << m
    zero, infinity, nan, beyond = ((word(plus), word(minus)) for plus, minus in specials)
    canonical_nan = ((2 * bias + 1) << top) | 1 << (top - 1)
    minus_zero = canonical_nan if fmt.nan_code == fmt.sign_mask else 1 << last
    numbers = {
        "one": 1,
        "last": last,
        "sign": 1 << last,
        "magnitude": (1 << last) - 1,
        "infinity": (2 * bias + 1) << top,
        "hidden": 1 << top,
        "top": top,
        "dropped": top - m,
        "dropped_below": top - m + flushed,
        "most_dropped": top + 2,
        "lowest": lowest,
        "lowest_bits": 0 if lowest == 1 and fmt.has_subnormals and fmt.has_zero else lowest << top,
        "mantissa_bits": m,
        "flushed": flushed,
        "offset": (lowest - 1) << m,
        "without_zero": 0 if fmt.has_zero else 1,
        "first": first,
        "power": (lowest + top - (m - flushed)) << top if lowest > 1 else 0,
        "sign_bit": fmt.sign_mask,
        "max_code": fmt.max_code,
        "infinity_code": ~0 if fmt.infinity_code is None else fmt.infinity_code,
    }
    return Target(
        **{key: word(value % (1 << (last + 1))) for key, value in numbers.items()},
        max_codes=(word(fmt.max_code + first), word(fmt.max_code + first if fmt.signed else 0)),
        zero_codes=zero,
        infinity_codes=infinity,
        nan_codes=nan,
        beyond_codes=beyond,
        zero_bits=(word(0), word(minus_zero)),
    )


@lru_cache(maxsize=64)
def rule(mode: str, random_bits: int, name: str) -> Rule | None:
    """Return the Rule of a rounding mode, or None where it takes more bits than the word has."""
    word = LAYOUTS[name][0]
    none, every = word(0), ~word(0)
    length, n = 8 * none.itemsize, random_bits
    halves = mode in ("stochastic_b", "stochastic_c")
    if halves and n == length:
        return None
    up = {"toward_positive": (every, none), "toward_negative": (none, every), "to_odd": (every, every)}
    return Rule(
        nearest=every if mode in ("ties_to_even", "ties_to_away") else none,
        always_up=word(mode == "ties_to_away"),
        up=up.get(mode, (none, none)),
        from_odd=none if mode == "to_odd" else every,
        spare=word(length - 32),
        kept=word((1 << 32) - (1 << (32 - n))),
        half=word(1 << (length - 1 - n) if halves else 0),
        tie=word(mode == "stochastic_c"),
        tie_bit=word((32 - n) % 32),
    )


# -- arithmetic of words -----------------------------------------------------------------------------
# Numba computes with 64 bits whatever the operands; these keep to the word of the first.


def _word_operation(name, in_python):
    @intrinsic(in_python)
    def operation(typing, a, b):
        def generate(context, builder, signature, arguments):
            return getattr(builder, name)(*arguments)

        return a(a, a), generate

    return operation


plus = _word_operation("add", lambda a, b: a + b)
minus = _word_operation("sub", lambda a, b: a - b)
both = _word_operation("and_", lambda a, b: a & b)
either = _word_operation("or_", lambda a, b: a | b)
left = _word_operation("shl", lambda a, b: a << b)  # by less than the word has bits
right = _word_operation("lshr", lambda a, b: a >> b)


def _exceeds_in_python(a, b):
    return a > b


@intrinsic(_exceeds_in_python)
def exceeds(typing, a, b):
    """Tell whether a > b, of words whose highest bit is 0: vectors compare signed integers alone."""

    def generate(context, builder, signature, arguments):
        return builder.icmp_signed(">", *arguments)

    return types.boolean(a, a), generate


@intrinsic(lambda a, like: type(like)(a))
def widened(typing, a, like):
    """Return a word as one that is as long or longer."""

    def generate(context, builder, signature, arguments):
        return arguments[0] if like.bitwidth == a.bitwidth else builder.zext(arguments[0], ir.IntType(like.bitwidth))

    return like(a, like), generate


def _distance_in_python(a, b):
    kind = f"f{a.itemsize}"
    return (a.view(kind) - b.view(kind)).view(a.dtype)


@intrinsic(_distance_in_python)
def _distance(typing, a, b):
    """Return the bits of the difference of two floats, given by their bits."""

    def generate(context, builder, signature, arguments):
        kind, word = (ir.FloatType(), 32) if a.bitwidth == 32 else (ir.DoubleType(), 64)
        x, y = (builder.bitcast(value, kind) for value in arguments)
        return builder.bitcast(builder.fsub(x, y), ir.IntType(word))

    return a(a, a), generate


# -- floats to codes ---------------------------------------------------------------------------------


@compiled
def _placed(bits, t):
    """Return the magnitude, what is to be rounded of it, how many bits are dropped, and the code's offset."""
    magnitude = both(bits, t.magnitude)
    if not exceeds(t.lowest_bits, magnitude):
        return magnitude, magnitude, t.dropped, t.offset
    field = right(magnitude, t.top)
    significand = both(magnitude, minus(t.hidden, t.one))
    if field != minus(t.one, t.one):
        significand = plus(significand, t.hidden)
    else:  # a subnormal has no hidden bit, and the exponent of the next field
        field = t.one
    return magnitude, significand, minus(plus(t.dropped_below, t.lowest), field), minus(t.one, t.one)


@compiled
def _code(bits, magnitude, rounded, offset, t):
    """Return the code of a rounded number; `rounded` counts from the offset, or the smallest value if that is 0."""
    negative = right(bits, t.last) != minus(t.one, t.one)
    code = minus(rounded, offset)
    if exceeds(t.lowest_bits, magnitude):
        if magnitude != minus(t.one, t.one):
            rounded = either(rounded, t.without_zero)
        code = left(rounded, t.flushed)
    signed = either(minus(code, t.first), t.sign_bit if negative else minus(t.one, t.one))
    if exceeds(code, t.max_codes[1] if negative else t.max_codes[0]):
        signed = t.beyond_codes[1] if negative else t.beyond_codes[0]
    if code == minus(t.one, t.one):
        signed = t.zero_codes[1] if negative else t.zero_codes[0]
    if magnitude == t.infinity:
        signed = t.infinity_codes[1] if negative else t.infinity_codes[0]
    if exceeds(magnitude, t.infinity):
        signed = t.nan_codes[1] if negative else t.nan_codes[0]
    return signed


@compiled
def encode_words(x, codes, t, rule):
    """Write the code of each x (bits of floats, words (n,)) into codes (words alike, apart from x)."""
    for i in range(x.size):
        magnitude, base, dropped, offset = _placed(x[i], t)
        dropped = t.most_dropped if exceeds(dropped, t.most_dropped) else dropped
        mask = minus(left(t.one, dropped), t.one)
        odd = both(either(minus(right(base, dropped), offset), t.without_zero), t.one)
        up = rule.up[1] if right(x[i], t.last) != minus(t.one, t.one) else rule.up[0]
        near = both(plus(right(mask, t.one), either(odd, rule.always_up)), rule.nearest)
        directed = both(up, either(minus(odd, t.one), rule.from_odd))
        rounded = right(plus(base, both(mask, either(near, directed))), dropped)
        codes[i] = _code(x[i], magnitude, rounded, offset, t)


@compiled
def encode_words_stochastic(x, random, codes, t, rule):
    """Do likewise with a random word (uint32 (n,)) for each x.

    P3109's B adds half a unit to the integer R of N bits, and C, which rounds to N bits first, too: it then
    goes up from a sum above one, and from one where R is even.  A unit of the word less is above, unless
    there is something below that unit.
    """
    none = minus(t.one, t.one)
    for i in range(x.size):
        magnitude, base, dropped, offset = _placed(x[i], t)
        word = widened(random[i], t.one)
        odd = both(right(word, rule.tie_bit), rule.tie)
        noise = minus(either(left(both(word, rule.kept), rule.spare), rule.half), odd)
        near = t.last if exceeds(dropped, t.last) else dropped
        rounded = right(plus(base, right(right(noise, t.one), minus(t.last, near))), near)
        if exceeds(dropped, t.last):  # the whole significand lies below the word's last bits
            far = minus(minus(dropped, t.last), t.one)
            far = t.last if exceeds(far, t.last) else far
            head = right(base, far)
            if left(head, far) != base:
                head = plus(head, odd)
            # a carry: the highest bit of the noise is lost, for the other's is 0
            rounded = right(both(noise, minus(minus(none, t.one), plus(noise, head))), t.last)
        codes[i] = _code(x[i], magnitude, rounded, offset, t)


@compiled
def decode_words(codes, x, t):
    """Write the value of each code (words (n,), shorter ones too) into x (bits of floats), all of which it holds."""
    nan = either(t.infinity, right(t.hidden, t.one))
    none = minus(t.one, t.one)
    for i in range(codes.size):
        word = widened(codes[i], t.one)
        sign = both(word, t.sign_bit) != none
        code = both(word, minus(minus(none, t.one), t.sign_bit))
        place = plus(code, t.first)
        # in the subnormal range: the float of so many smallest values, from the distance to a power of two
        bits = left(plus(place, t.offset), t.dropped)
        if t.lowest_bits != none and exceeds(left(t.one, t.mantissa_bits), place):
            bits = _distance(plus(t.power, right(place, t.flushed)), t.power)
        if exceeds(code, t.max_code):
            bits = t.infinity if code == t.infinity_code else nan
        if place == none:
            bits = t.zero_bits[1] if sign else t.zero_bits[0]
        elif sign:
            bits = either(bits, t.sign)
        x[i] = bits
