"""Ways to add that are known, and known ways to go wrong: each computes products of matrices, and says how in words.

*Notation*: a (m, k) and b (k, n) operands, c (m, n) first accumulators or None, p (m * n, k) the terms of every sum.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from refimpl import ops
from refimpl.formats import FloatFormat
from refimpl.formats import format as format_of
from refimpl.formats.units import ALIGNMENTS, CUTS, FP22, UNITS, MatrixUnit
from refimpl.testing.operations.summed import Sums

ORDERS: tuple[dict[str, Any], ...] = (
    *({"order": order} for order in ("sequential", "pairwise", "kahan", "exact")),
    *({"order": "chunked", "chunk": n} for n in (2, 4, 8, 16, 32, 64, 128)),
)
Operands = tuple[np.ndarray, np.ndarray, Any]


class Way(NamedTuple):
    """A way to add: `how` are arguments of `refimpl.matmul`, ``then`` a last rounding; None: as is expected.

    `before` changes operands and first accumulators, `scales` those of blocks, `after` results; `work` computes all.
    An order takes operands times their scales.
    """

    words: str
    how: dict[str, Any] | None = None
    before: Callable[..., Operands] | None = None
    after: Callable | None = None
    work: Callable | None = None
    scales: Callable | None = None

    def results(self, expected: Sums, a, b, c) -> np.ndarray:
        """Return the product in this way, float64."""
        if self.work is not None:
            return self.work(a, b, c)
        first = c
        if self.before is not None:
            a, b, c = self.before(a, b, c)
        how = dict(expected.how if self.how is None else self.how)
        into, factors = how.pop("then", None), expected.how.get("scales")
        if factors is not None and self.scales is not None:
            factors = self.scales(*factors)
        if factors is not None and "unit" in how:
            how = {"scale_format": expected.how["scale_format"]} | how | {"scales": factors}
        elif factors is not None:
            a, b, expected = *_multiplied(a, b, factors), replace(expected, fmt=format_of("float32"))
        if c is not None and "unit" not in how:
            if np.any(c):
                raise ValueError("an order has no first accumulator")
            c = None
        y = expected.results(a, b, c, **how)
        if into is not None:
            y = np.asarray(ops.quantize(y, into), np.float64)
        return y if self.after is None else self.after(y, first)


def together(one: Way, other: Way) -> Way | None:
    """Return two ways in one, None where both are of the same stage."""
    if one.work or other.work or any(x is not None and y is not None for x, y in zip(one[1:], other[1:], strict=True)):
        return None
    stages: Any = (x if x is not None else y for x, y in zip(one[1:], other[1:], strict=True))
    return Way(f"{one.words} and {other.words}", *stages)


def ways_of(expected: Sums) -> Iterator[Way]:
    """Yield ways to add: faults of the unit, other units, orders; then wrong operands, terms and results."""
    unit, fmt = expected.unit, expected.fmt
    accumulate = expected.how.get("accumulate")
    if unit is not None:
        for words, changed in _faults(unit):
            yield Way(f"is the unit, but for: {words}", {"unit": changed, "accumulate": accumulate})
        other = {"float32": "float16"}.get(accumulate or "float32", "float32")
        yield Way(f"accumulates in {other}", {"unit": unit, "accumulate": other})
    for name, known in UNITS.items():
        if fmt.name in known.operands and bool(known.scales) == expected.scaled and known != unit:
            yield Way(f"is the unit {name}", {"unit": known})
            if known.float16:
                yield Way(f"is the unit {name} into float16", {"unit": known, "accumulate": "float16"})
    into = format_of(accumulate or ("float32" if unit is not None else fmt))
    names = dict.fromkeys((into.name, "float32", "float16", "bfloat16", fmt.name))
    for rounding in ("ties_to_even", "toward_zero", "ties_to_away", "toward_negative", "to_odd"):
        for order in ORDERS:
            for name in names:
                how = {**order, "accumulate": name, "rounding": rounding, "then": None if name == into.name else into}
                words = f"order={order['order']}" + (f" of {order['chunk']}" if "chunk" in order else "")
                words += f" in {name}" + ("" if rounding == "ties_to_even" else f", rounded {rounding}")
                yield Way("multiplies operands by their scales, and " * expected.scaled + f"adds with {words}", how)
    if expected.scaled:
        yield from _of_scales(expected)
    yield from _of_terms(expected)
    yield from _of_operands(expected)
    yield from _of_accumulators(expected)
    yield from _of_results(expected, into)
    yield from _of_products(expected)
    yield from _of_skips(expected)
    yield from _of_compensation(expected, into)
    yield from _in_parts(expected)


def _multiplied(a, b, factors) -> tuple[np.ndarray, np.ndarray]:
    """Return operands times the scales of their blocks, float32's values in float64."""
    with np.errstate(all="ignore"):
        x, y = (np.repeat(s, v.shape[i] // s.shape[i], i) for s, v, i in zip(factors, (a, b), (1, 0), strict=True))
        return (a * x).astype(np.float32).astype(np.float64), (b * y).astype(np.float32).astype(np.float64)


def _of_scales(expected: Sums) -> Iterator[Way]:
    """Yield scales left out, of another block, row or sign of the exponent, cut to powers of two."""

    def one(x):
        return np.ones_like(x)

    def power(x):
        return np.where((x > 0) & np.isfinite(x), 2.0 ** np.floor(np.log2(np.where(x > 0, x, 1))), x)

    fmt = format_of(expected.how["scale_format"])
    assert isinstance(fmt, FloatFormat)

    def inverse(x):
        return np.asarray(ops.quantize(1 / np.where(x == 0, 1, x), fmt, overflow="saturate"), np.float64)

    changes: dict[str, Callable] = {
        "leaves out the scales of {}": lambda x, axis: one(x),
        "divides by the scales of {}": lambda x, axis: inverse(x),
        "cuts the scales of {} to powers of two": lambda x, axis: power(x),
        "takes NaN in the scales of {} for 1": lambda x, axis: np.where(np.isnan(x), 1.0, x),
        "has the scale of the next block of {}": lambda x, axis: np.roll(x, -1, axis),
        "has the scale of the block before of {}": lambda x, axis: np.roll(x, 1, axis),
        "has the scale of the first block of {} for all": lambda x, axis: np.repeat(
            np.take(x, [0], axis), x.shape[axis], axis
        ),
        "has scales of {} for two blocks each": lambda x, axis: np.take(x, np.arange(x.shape[axis]) // 2 * 2, axis),
        "has the scales of the first row or column of {} for all": lambda x, axis: np.broadcast_to(
            np.take(x, [0], 1 - axis), x.shape
        ),
        "takes subnormal scales of {} for zero": lambda x, axis: np.where(x < float(fmt.smallest_normal), 0.0, x),
        "takes scales of zero of {} for 1": lambda x, axis: np.where(x == 0, 1.0, x),
    }
    for words, work in changes.items():
        yield Way(words.format("both operands"), scales=lambda x, y, w=work: (w(x, 1), w(y, 0)))
        yield Way(words.format("the first operand"), scales=lambda x, y, w=work: (w(x, 1), y))
        yield Way(words.format("the second operand"), scales=lambda x, y, w=work: (x, w(y, 0)))


def _faults(unit: MatrixUnit) -> Iterator[tuple[str, MatrixUnit]]:
    """Yield units that differ from one in one thing, in words."""

    def changed(words, **fields):
        with contextlib.suppress(ValueError, TypeError):
            new = replace(unit, **fields)
            if new != unit:
                yield words, new

    if unit.sum == "aligned":
        near = [unit.fraction_bits + by for by in (-1, 1, -2, 2, -3, 3, -4, 4)]
        for kept in dict.fromkeys((*near, 13, 23, 24, 25)):
            yield from changed(f"keeps {kept} bits behind the point, not {unit.fraction_bits}", fraction_bits=kept)
        for cut in CUTS:
            yield from changed(f"bits below are cut {cut}, not {unit.cut}", cut=cut)
        for align in ALIGNMENTS:
            yield from changed(f"aligns by the exponents of {align}, not of {unit.align}", align=align)
        for bits in (None, 0, 1, 2, 3, 4):
            words = "no limit of carries" if bits is None else f"{bits} bits for carries: more wrap around"
            yield from changed(words, carry_bits=bits)
        for rounding in ("toward_zero", "ties_to_even"):
            yield from changed(
                f"rounds what goes into the accumulator {rounding}, not {unit.rounding}", rounding=rounding
            )
        yield from changed("the accumulator joins the products' sum later", joined=(31, 24))
        yield from changed("the accumulator is one of the terms", joined=None, reach=None)
        yield from changed(
            "even and odd terms are summed " + ("together" if unit.halves else "apart"), halves=not unit.halves
        )
        yield from changed("the sign of a zero sum", minus_zero=not unit.minus_zero)
        for name in ("float32", "float16", "bfloat16"):
            yield from changed(f"its accumulator is {name}", into=format_of(name))
        yield from changed("its accumulator has 13 bits (FP22)", into=FP22)
    for inner in (1, 8, 16, 32, 64) if unit.scales else ():
        words = "each product" if inner == 1 else f"exact sums of {inner} products"
        yield from changed(f"scales {words}, not sums of {unit.inner}", inner=inner)
    for terms in (1, 2, 4, 8, 16, 32, 64, 128):
        yield from changed(f"takes {terms} terms at a time, not {unit.terms}", terms=terms, promote=None)
    yield from changed("subnormals count as 0" if not unit.flush else "subnormals are numbers", flush=not unit.flush)
    nearby = (
        (unit.promote - unit.terms, unit.promote + unit.terms, unit.promote // 2, 2 * unit.promote)
        if unit.promote
        else ()
    )
    for after in (None, *nearby, unit.terms, 2 * unit.terms, 4 * unit.terms, 128):
        words = "its sums are never promoted" if after is None else f"its sums are promoted after {after} products"
        yield from changed(words, promote=after)


# -- terms: left out, twice, in another order --------------------------------------------------------


def _of_terms(expected: Sums) -> Iterator[Way]:
    k = expected.terms
    unit = expected.unit
    group = unit.terms if unit is not None else expected.how.get("chunk")
    place = np.arange(k)

    def scaled(words: str, factor: Callable) -> Way:
        def before(a, b, c):
            return a * factor(a.shape[1]), b, c

        return Way(words, before=before)

    def without(words: str, which: Callable) -> Iterator[Way]:
        def before(a, b, c):
            out = which(a.shape[1])
            if out.any() and out[int(out.argmax()) :].all():  # the last ones
                return a[:, ~out], b[~out], c
            return np.where(out, 0.0, a), np.where(out[:, None], 0.0, b), c

        yield Way(f"leaves out {words}", before=before)

    yield from without("the last term", lambda n: np.arange(n) == n - 1)
    yield from without("the first term", lambda n: np.arange(n) == 0)
    sizes = [n for n in dict.fromkeys((group, 2, 4, 8, 16, 32, 64, 128)) if n and n < k]
    for n in sizes:
        if k % n:
            yield from without(f"what is left after groups of {n} terms", lambda m, n=n: np.arange(m) >= m // n * n)
            if n > 2:
                yield from without(
                    f"the last term of what is left after groups of {n}",
                    lambda m, n=n: (np.arange(m) == m - 1) & (m % n != 0),
                )
        yield from without(f"the last term of every {n}", lambda m, n=n: np.arange(m) % n == n - 1)
        yield from without(f"the first term of every {n}", lambda m, n=n: np.arange(m) % n == 0)
        yield from without(
            f"all terms before the last {n}, or what is left of so many", lambda m, n=n: np.arange(m) < (m - 1) // n * n
        )
        yield from without(f"all but the first {n} terms", lambda m, n=n: np.arange(m) >= n)
        yield from without(f"the first {n} terms", lambda m, n=n: np.arange(m) < n)
        yield from without(f"the last {n} terms", lambda m, n=n: np.arange(m) >= m - n)
    power = "all but the first terms, as many as the largest power of two in their number"
    yield from without(power, lambda m: np.arange(m) >= 1 << max(m.bit_length() - 1, 0))
    for i in place[1 : expected.unit.terms if expected.unit and expected.scaled else -1]:
        yield from without(f"term {i} (counted from 0)", lambda m, i=i: np.arange(m) == i)
    for words, where in (("first", lambda n: np.arange(n) == 0), ("last", lambda n: np.arange(n) == n - 1)):
        yield scaled(f"adds the {words} term twice", lambda n, where=where: np.where(where(n), 2.0, 1.0))
        for side, order in (("before", 1), ("after", -1)):

            def again(a, b, c, i=0 if words == "first" else -1, order=order):
                return np.concatenate([a[:, [i]], a][::order], 1), np.concatenate([b[[i]], b][::order], 0), c

            yield Way(f"adds the {words} term once more, {side} all others", before=again)
    if expected.kind != "sum":
        yield Way("subtracts every second product", before=lambda a, b, c: (a * _signs(a.shape[1]), b, c))

    def ordered(words: str, order: Callable) -> Way:
        def before(a, b, c):
            at = order(np.arange(a.shape[1]))
            return a[:, at], b[at], c

        return Way(words, before=before)

    yield ordered("adds the terms in the opposite order", lambda i: i[::-1])
    yield ordered("adds even-numbered terms first, then odd ones", lambda i: np.concatenate([i[::2], i[1::2]]))
    yield ordered("adds odd-numbered terms first, then even ones", lambda i: np.concatenate([i[1::2], i[::2]]))
    yield ordered("takes terms from both halves in turn", lambda i: np.argsort(i % -(-len(i) // 2), kind="stable"))
    yield ordered("takes terms from both ends in turn", _from_ends)
    yield ordered("begins with the second term, and adds the first last", lambda i: np.roll(i, -1))
    yield ordered("begins with the last term", lambda i: np.roll(i, 1))
    for n in sizes:
        yield ordered(
            f"adds groups of {n} terms in the opposite order", lambda i, n=n: np.argsort(-(i // n), kind="stable")
        )
        yield ordered(
            f"adds the terms within groups of {n} in the opposite order",
            lambda i, n=n: np.concatenate([i[j : j + n][::-1] for j in range(0, len(i), n)]),
        )
        yield ordered(f"takes every {n}th term together", lambda i, n=n: np.argsort(i % n, kind="stable"))
        if k % n:
            yield ordered(f"begins with what is left after groups of {n} terms", lambda i, n=n: np.roll(i, len(i) % n))
    if expected.kind != "sum":
        yield Way("meets the terms of one operand in the opposite order", before=lambda a, b, c: (a, b[::-1], c))
        yield Way(
            "multiplies a term of one operand with the next of the other",
            before=lambda a, b, c: (a, np.roll(b, -1, 0), c),
        )


def _signs(n: int) -> np.ndarray:
    return np.where(np.arange(n) % 2, -1.0, 1.0)


def _from_ends(i):
    found = np.empty_like(i)
    found[::2], found[1::2] = i[: -(-len(i) // 2)], i[::-1][: len(i) // 2]
    return found


# -- operands, first accumulators, results -----------------------------------------------------------


def _transposed(x: np.ndarray) -> np.ndarray:
    return x.T if len(x) == x.shape[1] else x


def _of_operands(expected: Sums) -> Iterator[Way]:
    fmt = expected.fmt
    normal = float(fmt.smallest_normal)

    def flushed(x):
        return np.where(np.abs(x) < normal, np.copysign(0.0, x), x)

    changes: dict[str, Callable] = {
        "takes subnormal {} for zero": flushed,
        "loses the sign of {}": np.abs,
        "turns the sign of {}": np.negative,
        "takes NaN in {} for zero": lambda x: np.where(np.isnan(x), 0.0, x),
        "takes infinities in {} for the largest value": lambda x: np.clip(x, -fmt.max, fmt.max),
        "takes infinities in {} for NaN": lambda x: np.where(np.isinf(x), np.nan, x),
        "loses the lowest bit of {}": lambda x: _cut(x, fmt.mantissa_bits - 1, np.trunc),
        "rounds {} to one bit less": lambda x: _cut(x, fmt.mantissa_bits - 1, np.rint),
        "takes the largest {} for infinity": lambda x: np.where(np.abs(x) == fmt.max, np.copysign(np.inf, x), x),
    }
    if fmt.nan_code is None or fmt.infinity_code is None:
        changes = {words: work for words, work in changes.items() if "infinit" not in words}
    for name in ("float16", "bfloat16", "tf32", "float8_e4m3fn", "float8_e5m2"):
        other = format_of(name)
        if isinstance(other, FloatFormat) and other.mantissa_bits < fmt.mantissa_bits:
            changes[f"rounds {{}} to {name}"] = lambda x, of=other: _within(x, of, fmt)
    if expected.kind == "matmul":
        changes["reads {} transposed where square"] = _transposed
        yield Way("writes the result transposed where square", after=lambda y, c: _transposed(y))
    for words, work in changes.items():
        if expected.kind == "sum":
            yield Way(words.format("terms"), before=lambda a, b, c, w=work: (w(a), b, c))
            continue
        yield Way(words.format("operands"), before=lambda a, b, c, w=work: (w(a), w(b), c))
        yield Way(words.format("the first operand"), before=lambda a, b, c, w=work: (w(a), b, c))
        yield Way(words.format("the second operand"), before=lambda a, b, c, w=work: (a, w(b), c))


def _within(x, of, fmt):
    return np.asarray(ops.quantize(np.asarray(ops.quantize(x, of), np.float64), fmt), np.float64)


def _cut(x, bits: int, how: Callable):
    m, e = np.frexp(x)
    return np.where(np.isfinite(x), np.ldexp(how(np.ldexp(m, bits + 1)), e - bits - 1), x)


def _of_accumulators(expected: Sums) -> Iterator[Way]:
    if expected.unit is None:
        return

    def first(words: str, work: Callable) -> Way:
        return Way(words, before=lambda a, b, c: (a, b, None if c is None else work(c)))

    yield first("leaves the first accumulator out", lambda c: 0 * c)
    yield first("adds the first accumulator twice", lambda c: 2 * c)
    yield first("subtracts the first accumulator", lambda c: -c)
    yield first("loses the sign of first accumulators", np.abs)
    for name in dict.fromkeys(("float16", "bfloat16", "tf32", expected.fmt.name)):
        yield first(
            f"rounds the first accumulator to {name}",
            lambda c, name=name: np.asarray(ops.quantize(c, name, overflow="saturate"), np.float64),
        )
    yield first("has the first accumulator of the first row for all", lambda c: np.broadcast_to(c[:1], c.shape))
    yield first("has the first accumulator of the first column for all", lambda c: np.broadcast_to(c[:, :1], c.shape))
    yield first("has the first accumulator of the row before", lambda c: np.roll(c, 1, axis=0))
    yield first("has the first accumulator of the column before", lambda c: np.roll(c, 1, axis=1))

    def later(a, b, c):
        return a, b, None if c is None else 0 * c

    for name in ("float32", "float16", "bfloat16"):
        yield Way(
            f"adds the first accumulator last, in {name}",
            before=later,
            after=lambda y, c, name=name: y if c is None else _rounded(y + c, name),
        )
    yield Way(
        "adds the first accumulator last, cut to float32",
        before=later,
        after=lambda y, c: y if c is None else _rounded(y + c, "float32", "toward_zero"),
    )
    yield Way(
        "adds the first accumulator once more at the end",
        after=lambda y, c: y if c is None else _rounded(y + c, "float32"),
    )


def _rounded(x, name, rounding="ties_to_even"):
    return np.asarray(ops.quantize(np.asarray(x, np.float64), name, rounding=rounding), np.float64)


def _of_results(expected: Sums, into) -> Iterator[Way]:
    changes: dict[str, Callable] = {
        "loses the sign of results": np.abs,
        "turns the sign of results": np.negative,
        "takes negative results for zero": lambda y: np.where(y < 0, 0.0, y),
        "loses the sign of zero results": lambda y: y + 0.0,
        "takes subnormal results for zero": lambda y: np.where(
            np.abs(y) < float(into.smallest_normal), np.copysign(0.0, y), y
        ),
        "takes NaN results for zero": lambda y: np.where(np.isnan(y), 0.0, y),
        "takes infinite results for NaN": lambda y: np.where(np.isinf(y), np.nan, y),
        "takes infinite results for the largest value": lambda y: np.clip(y, -float(into.max), float(into.max)),
        "has results twice too large": lambda y: 2 * y,
        "has results half as large": lambda y: y / 2,
    }
    for name in dict.fromkeys(("float16", "bfloat16", "tf32", expected.fmt.name)):
        for rounding in ("ties_to_even", "toward_zero"):
            word = "rounds" if rounding == "ties_to_even" else "cuts"
            changes[f"{word} results to {name}"] = lambda y, n=name, r=rounding: _rounded(y, n, r)
            changes[f"{word} results to {name}, saturating"] = lambda y, n=name, r=rounding: np.where(
                np.isfinite(y), np.asarray(ops.quantize(y, n, rounding=r, overflow="saturate"), np.float64), y
            )
    for words, work in changes.items():
        yield Way(words, after=lambda y, c, work=work: work(y))


# -- products rounded first; parts -------------------------------------------------------------------


def _of_products(expected: Sums) -> Iterator[Way]:
    """Yield ways that round each product before it is added; every sum is computed apart."""
    if expected.kind == "sum":
        return
    unit, fmt = expected.unit, expected.fmt
    wide = format_of("float32")
    how: dict[str, Any] = dict(expected.how)
    if unit is not None:
        how["unit"] = replace(unit, operands=("float32",), align="products", operand_bits=None)
    elif how.get("accumulate") is None:
        how["accumulate"] = fmt.name
    apart = Sums(expected.kind, wide, how)
    for name in dict.fromkeys((fmt.name, "float16", "bfloat16", "float32")):
        for rounding in ("ties_to_even", "toward_zero"):
            word = "rounds" if rounding == "ties_to_even" else "cuts"

            def work(a, b, c, name=name, rounding=rounding):
                with np.errstate(all="ignore"):
                    p = (a[:, None, :] * b.T[None, :, :]).reshape(-1, a.shape[1])
                    p = _rounded(_rounded(p, name, rounding), "float32")
                    y = apart.results(p, np.ones((a.shape[1], 1)), None if c is None else c.reshape(-1, 1))
                return y.reshape(len(a), -1)

            yield Way(f"{word} products to {name} before they are added", work=work)


def _of_skips(expected: Sums) -> Iterator[Way]:
    """Yield ways that take a product with a zero operand for nothing, whatever the other operand is."""

    def work(a, b, c, sides):
        y = expected.results(a, b, c)
        skip = np.zeros((len(a), b.shape[1]), bool)
        if "first" in sides:
            skip |= (a == 0).astype(float) @ ~np.isfinite(b) > 0
        if "second" in sides:
            skip |= (~np.isfinite(a)).astype(float) @ (b == 0) > 0
        for i, j in np.argwhere(skip):
            out = (a[i] == 0) & ("first" in sides) | (b[:, j] == 0) & ("second" in sides)
            x, z = np.where(out, 0.0, a[i])[None], np.where(out, 0.0, b[:, j])[:, None]
            y[i, j] = expected.results(x, z, None if c is None else c[i : i + 1, j : j + 1])[0, 0]
        return y

    if expected.kind != "sum":
        for words, sides in (
            ("either operand", ("first", "second")),
            ("the first operand", ("first",)),
            ("the second operand", ("second",)),
        ):
            text = f"skips terms that are zero in {words}: 0 * infinity and 0 * NaN count as nothing"
            yield Way(text, work=lambda a, b, c, sides=sides: work(a, b, c, sides))


def _of_compensation(expected: Sums, into) -> Iterator[Way]:
    """Yield Kahan's summation with a sign wrong, or without what it is for."""
    if expected.how.get("order") != "kahan":
        return

    def work(a, b, c, used, kept):
        def r(x):
            return _rounded(x, into)

        total = lost = np.zeros((len(a), b.shape[1]))
        for i in range(a.shape[1]):
            with np.errstate(all="ignore"):
                y = r(r(a[:, i : i + 1] * b[i]) + used * lost)
                t = r(total + y)
                lost, total = kept * r(r(t - total) - y), t
        return total

    for words, used, kept in (
        ("adds the compensation instead of subtracting it", 1, 1),
        ("adds in turn, and never uses the compensation", 0, 1),
    ):
        yield Way(f"Kahan's sum, but {words}", work=lambda a, b, c, u=used, k=kept: work(a, b, c, u, k))


def _in_parts(expected: Sums) -> Iterator[Way]:
    """Yield ways that sum parts of the terms apart, and add the parts in turn."""
    unit = expected.unit
    how = dict(expected.how)
    sizes = [16, 32, 64, 128, expected.terms // 2, expected.terms // 4]
    group = unit.terms if unit is not None else int(how.get("chunk") or 0)
    if unit is not None:
        how["unit"] = replace(unit, promote=None)
        if unit.promote:
            p = unit.promote
            sizes = [p - 1, p + 1, p, p - unit.terms, p + unit.terms, 2 * p, p // 2, *sizes]
    said = (
        "promotes its sums after {} products" if unit is not None and unit.promote else "sums parts of {} terms apart"
    )
    k = expected.terms
    for size in dict.fromkeys(n for n in sizes if 0 < n < k):
        for name, rounding in (
            ("float32", "ties_to_even"),
            ("float32", "toward_zero"),
            ("float64", "ties_to_even"),
            ("float16", "ties_to_even"),
            ("bfloat16", "ties_to_even"),
        ):

            def work(a, b, c, size=size, name=name, rounding=rounding):
                total = np.zeros((len(a), b.shape[1])) if c is None else c
                for i in range(0, a.shape[1], size):
                    part = expected.results(a[:, i : i + size], b[i : i + size], None, **how)
                    with np.errstate(all="ignore"):
                        total = _rounded(total + part, name, rounding)
                return _rounded(total, "float32") if name == "float64" else total

            words = f"{said.format(size)}, and adds them in {name}"
            yield Way(words + (", cut" if rounding == "toward_zero" else ""), work=work)
    if not group or k % group == 0:
        return
    for words, name, each in (
        ("adds what is left after groups of {} terms one by one, in float32", "float32", True),
        ("sums what is left after groups of {} terms apart, and adds it in float32", "float32", False),
    ):

        def tail(a, b, c, name=name, each=each):
            whole = a.shape[1] // group * group
            y = expected.results(a[:, :whole], b[:whole], c)
            with np.errstate(all="ignore"):
                if not each:
                    return _rounded(y + expected.results(a[:, whole:], b[whole:], None), name)
                for i in range(whole, a.shape[1]):
                    y = _rounded(y + a[:, i : i + 1] * b[i], name)
            return y

        yield Way(words.format(group), work=tail)
