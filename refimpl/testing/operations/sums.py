"""Hold sums, dot products and products of matrices to a matrix unit or an order of summation.

Cases are rows of A and columns of B, all of which meet: two terms at every distance of exponents, terms that cancel
and leave what alignment kept, full significands that carry, results half way between two values, NaN, infinities and
zeros, random terms; at the start of a group of terms, across two and at the end; and first accumulators, where the
implementation takes a third argument.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np

from refimpl import _arguments, ops
from refimpl.formats import FloatFormat
from refimpl.formats import format as format_of
from refimpl.formats.units import ALIGNMENTS, CUTS, FP22, UNITS, MatrixUnit
from refimpl.formats.units import unit as named
from refimpl.spec import units as spec
from refimpl.spec.float_codes import Value, from_float, to_float
from refimpl.testing.checks.report import CheckResult, Failure, Report
from refimpl.testing.expected.behaviour import alike
from refimpl.testing.expected.explain import shortest
from refimpl.testing.implementations.findings import Finding, call
from refimpl.testing.implementations.programs import Program
from refimpl.testing.summation import identify_sum

KINDS = ("sum", "dot", "matmul")
MOST_LINES = 12  # of an explanation, after which terms are only counted
CALLS = 50  # sums and dot products that are given the time of one call
ROWS = 40  # of A and columns of B in a group of cases
ORDERS: tuple[dict[str, Any], ...] = (
    *({"order": order} for order in ("sequential", "pairwise", "kahan", "exact")),
    *({"order": "chunked", "chunk": n} for n in (2, 4, 8, 16, 32, 64, 128)),
)


@dataclass(frozen=True)
class Sums:
    """What a sum is expected to do: ``sum``, ``dot`` or ``matmul`` in a format, with arguments of `refimpl.matmul`."""

    kind: str
    fmt: Any
    how: dict[str, Any]

    @property
    def unit(self) -> MatrixUnit | None:
        """The matrix unit, if it is one."""
        return named(self.how["unit"]) if self.how.get("unit") is not None else None

    @property
    def terms(self) -> int:
        """How many terms the cases have: two groups of a unit, and a part of a third."""
        unit = self.unit
        if unit is None:
            return max(16, 2 * self.how.get("chunk", 0) + 3)
        if unit.promote:
            return unit.promote + unit.terms
        return 2 * unit.terms + max(2, unit.terms // 2)

    def results(self, a: np.ndarray, b: np.ndarray, c: np.ndarray | None = None, **other) -> np.ndarray:
        """Return the product of values (m, k) and (k, n), float64; `other` replaces arguments."""
        how = {name: value for name, value in (other or self.how).items() if value is not None}
        if c is not None and "unit" in how:
            how["initial"] = c
        with np.errstate(all="ignore"):
            return np.asarray(ops.matmul(a, b, self.fmt, **how)).astype(np.float64)

    def __str__(self) -> str:
        how = ", ".join(
            f"{name}={value if isinstance(value, str | int) else type(value).__name__}"
            for name, value in self.how.items()
        )
        return f"{self.kind} {self.fmt.name}" + (f", {how}" if how else "")


def conform_sum(implementation: Callable, kind: str, fmt, *, time_limit: float = 10.0, **how) -> Report:
    """Return the report of a function that sums; `refimpl.testing.conform` describes it."""
    _arguments.function("conform", "implementation", implementation, "a function of arrays, or a Program")
    if isinstance(implementation, Program) and implementation.operation != kind:
        raise _arguments.wrong_value("conform", "op", kind, f"{implementation.operation!r}, what the program does")
    found = format_of(fmt)
    if not isinstance(found, FloatFormat) or not found.fits_float64:
        raise _arguments.wrong_kind("conform", "format of a sum", str(found), "a float format within float64")
    expected = Sums(kind, found, {name: value for name, value in how.items() if value is not None})
    if expected.unit is not None and expected.unit.scales:
        raise _arguments.wrong_value("conform", "unit", how["unit"], "one without block scales")
    expected.results(np.zeros((1, 2)), np.zeros((2, 1)))  # what cannot be asked is refused here
    takes_initial = expected.unit is not None and kind != "sum" and _third_argument(implementation)
    results, seen, hints = [], [], []
    for name, statement, a, b, c in _groups(expected, takes_initial):
        if takes_initial and c is None:
            c = np.zeros((len(a), b.shape[1]))
        right = expected.results(a, b, c)
        try:
            got = _asked(implementation, kind, found, a, b, c, time_limit)
        except Finding as finding:
            hints.append(f"{kind} {finding.text}")
            failure = Failure(kind, None, None, f"{kind} {finding.text}")
            results.append(CheckResult(name, "case group", statement, 1, 1, failure))
            if finding.hangs:
                break
            continue
        seen.append((a, b, c, got))
        bad = ~_alike(expected, right, got)
        said = None
        if bad.any():
            i, j = _smallest(a, b, c, bad)
            first = 0.0 if c is None else float(c[i, j])
            said = Failure(kind, found.name, None, explain_sum(expected, a[i], b[:, j], first, right[i, j], got[i, j]))
        results.append(CheckResult(name, "case group", statement, right.size, int(bad.sum()), said))
    failed = [result.name for result in results if result.failed]
    diagnoses: tuple[str, ...] = tuple(_diagnoses(expected, implementation, seen)) if failed and not hints else ()
    diagnoses = diagnoses or tuple(dict.fromkeys(hints))[:1]
    hint = f"no unit or order known by name agrees with it: {', '.join(failed)}" if failed and not diagnoses else ""
    own = type(implementation).__name__
    name = str(implementation) if isinstance(implementation, Program) else getattr(implementation, "__name__", own)
    return Report(name, str(expected), tuple(results), diagnoses, hint)


def _alike(expected: Sums, a, b) -> np.ndarray:
    """Tell where results are the same; the sign of a zero counts on units alone, for an order does not say it."""
    return alike(a, b) if expected.unit is not None else (a == b) | np.isnan(a) & np.isnan(b)


def _third_argument(function: Callable) -> bool:
    try:
        kinds = [p.kind for p in inspect.signature(function).parameters.values() if p.default is p.empty]
    except (TypeError, ValueError):
        return False
    return kinds.count(inspect.Parameter.POSITIONAL_OR_KEYWORD) + kinds.count(inspect.Parameter.POSITIONAL_ONLY) > 2


def _asked(function, kind: str, fmt, a, b, c, time_limit: float) -> np.ndarray:
    """Return what the function gives for every row of a and column of b, float64 (m, n)."""
    dtype = np.float32 if all((x.astype(np.float32) == x)[np.isfinite(x)].all() for x in (a, b)) else np.float64
    x, y = a.astype(dtype), b.astype(dtype)
    shape = len(x), y.shape[1]
    if isinstance(function, Program):
        pairs = [(x[i], y[:, j]) for i, j in np.ndindex(shape)]
        cases: list = [(x, y)] if kind == "matmul" else [pair[: 1 + (kind == "dot")] for pair in pairs]
        return np.concatenate(function.limited(time_limit).sums(cases, fmt)).reshape(shape)

    def everything(_):
        if kind == "matmul":
            return np.asarray(function(x, y) if c is None else function(x, y, c.astype(dtype)), np.float64)
        found = np.empty(shape)
        for i, j in np.ndindex(shape):
            if kind == "sum":
                found[i, j] = function(x[i])
            else:
                found[i, j] = function(x[i], y[:, j]) if c is None else function(x[i], y[:, j], dtype(c[i, j]))
        return found

    longer = 1 if kind == "matmul" else len(x) * y.shape[1] / CALLS  # a call of which is one
    return call(everything, np.zeros(shape), time_limit=time_limit * max(1, longer))


def _smallest(a, b, c, bad) -> tuple[int, int]:
    """Return the failing row and column of the fewest terms, and of these the one nearest to few bits."""
    rows, columns = np.nonzero(bad)
    products = (a[rows] != 0) & (b[:, columns].T != 0)
    size = products.sum(axis=1) + (0 if c is None else (c[rows, columns] != 0))
    finite = np.isfinite(a[rows]).all(axis=1) & np.isfinite(b[:, columns]).all(axis=0)
    at = int(np.lexsort((np.abs(a[rows]).sum(axis=1), size, ~finite))[0])
    return int(rows[at]), int(columns[at])


# -- cases -----------------------------------------------------------------------------------------


def _groups(expected: Sums, takes_initial: bool) -> Iterator[tuple[str, str, np.ndarray, np.ndarray, Any]]:
    fmt, k = expected.fmt, expected.terms
    rng = np.random.default_rng(0)
    ones = np.ones((k, 1))

    def values(x):
        with np.errstate(all="ignore"):
            return np.asarray(ops.quantize(np.clip(x, fmt.min, fmt.max), fmt), np.float64)

    pairs = [(0, 1), (0, k - 1), (k // 2, 1), (k - 2, k - 1)]
    low, high = fmt.min_exponent - fmt.mantissa_bits, fmt.maxexp - 1
    top = min(high, 6)
    gaps = range(min(top - low, 60) + 1)
    full = 2 - 2.0**-fmt.mantissa_bits

    def two(first, second, more=None):
        """Rows of two terms, or three, at some places."""
        rows = []
        for n, gap in enumerate(gaps):
            row = np.zeros(k)
            i, j = pairs[n % len(pairs)]
            row[i], row[j] = first * 2.0**top, second * 2.0 ** (top - gap)
            if more is not None:
                row[next(x for x in range(k) if x not in (i, j))] = more * 2.0**top
            rows.append(row)
        return rows

    columns = np.concatenate([ones, ones * 2.0 ** max(low, -6), full * ones, -ones, _alternating(k, fmt)], axis=1)
    if expected.kind == "sum":
        columns = ones
    columns = values(columns)
    for name, statement, rows in (
        ("exponent_gaps", "terms of different sizes meet without more lost than is", [*two(1, 1), *two(full, full),
         *two(1, -1), *two(-full, 1)]),
        ("cancellation", "what is left when terms cancel is what alignment kept", [*two(1, 1, -1), *two(1, full, -1),
         *two(-1, -full, 1)]),
        ("carries", "full significands carry into as many bits as they need", [full * 2.0 ** (top - g) * np.ones(k)
         for g in range(4)] + [-full * 2.0**top * np.ones(k)]),
        ("order", "terms are added in their order, in groups as they are", _swallowed(k, top, low)),
        ("ties", "results half way between two values of the accumulator go by its rounding",
         _near_ties(expected, k, low)),
        ("range", "sums beyond the accumulator, and below its smallest values", [fmt.max * np.ones(k),
         fmt.smallest_subnormal * np.ones(k), *np.eye(k)[:3] * fmt.max, *np.eye(k)[:3] * fmt.smallest_subnormal]),
        ("random", "random terms", list(rng.standard_normal((ROWS, k)) * 2.0 ** rng.integers(-6, 4, (ROWS, k)))),
    ):  # fmt: skip
        more = values(rng.standard_normal((k, 6)) * 2.0 ** rng.integers(-4, 3, (k, 6)))
        b = columns if expected.kind == "sum" else np.concatenate([columns, more], axis=1)
        if expected.kind == "dot":
            b = np.concatenate([columns[:, :3], more[:, :2]], axis=1)
        if name == "range" and expected.kind != "sum":
            b = np.concatenate([b, values(fmt.max * ones), values(fmt.smallest_subnormal * ones)], axis=1)
        yield name, statement, values(np.array(rows)), b, None
    yield "special_values", "NaN, infinities and zeros give what they should", *_specials(fmt, k, columns), None
    if takes_initial:
        a = values(np.array(two(1, 1) + list(rng.standard_normal((ROWS, k)))))
        into: Any = expected.unit.into if expected.unit is not None else fmt
        c = rng.standard_normal((len(a), columns.shape[1])) * 2.0 ** rng.integers(-20, 20, (len(a), 1))
        c = np.asarray(ops.quantize(c, format_of("float32") if into == FP22 else into), np.float64)
        yield "initial", "the first accumulator is a term like others, or as the unit has it", a, columns, c


def _alternating(k: int, fmt) -> np.ndarray:
    return np.where(np.arange(k) % 2, -1.0, 1.0)[:, None] * np.ones((1, 1))


def _swallowed(k: int, top: int, low: int) -> list[np.ndarray]:
    """Return rows of ones with a large term and its opposite, at every distance."""
    small = 2.0 ** max(low, top - 30)
    rows = []
    for i in range(0, k, max(1, k // 8)):
        for j in range(i + 1, k, max(1, k // 6)):
            row = np.full(k, small)
            row[i], row[j] = 2.0**top, -(2.0**top)
            rows.append(row)
    return rows


def _near_ties(expected: Sums, k: int, low: int) -> list[np.ndarray]:
    into = (
        expected.unit.into if expected.unit is not None else format_of(expected.how.get("accumulate") or expected.fmt)
    )
    bits = getattr(into, "mantissa_bits", 8)
    rows = []
    for top in {min(expected.fmt.maxexp - 1, 6), min(expected.fmt.maxexp - 1, low + bits + 1)}:
        for half in (1.0, 1.5, 0.5, 0.75):
            for sign in (1.0, -1.0):
                row = np.zeros(k)
                row[0], row[1] = sign * 2.0**top, sign * half * 2.0 ** (top - bits)
                rows.append(row.copy())
                row[2] = 2.0**low
                rows.append(row.copy())
                row[2] = -(2.0**low)
                rows.append(row)
    return rows


def _specials(fmt, k: int, columns) -> tuple[np.ndarray, np.ndarray]:
    special = [0.0, -0.0, 1.0, fmt.max]
    special += [np.inf, -np.inf] if fmt.infinity_code is not None else []
    special += [np.nan] if fmt.nan_code is not None else []
    rows = [np.zeros(k), -np.zeros(k)]
    for x in special:
        for y in special:
            row = np.zeros(k)
            row[0], row[k - 1] = x, y
            rows.append(row)
    b = columns
    if columns.shape[1] > 1:
        b = np.concatenate([columns, np.zeros((k, 1)), -np.zeros((k, 1))], axis=1)
    return np.asarray(ops.quantize(np.array(rows), fmt), np.float64), b


# -- diagnosis -------------------------------------------------------------------------------------


def _diagnoses(expected: Sums, function, seen) -> Iterator[str]:
    """Yield the units and orders that give all that was got; else what `identify_sum` makes of the function."""
    found = 0
    for words, how in _candidates(expected):
        with contextlib.suppress(ValueError, TypeError, OverflowError):
            if _agrees(expected, how, seen):
                yield words
                found += 1
                if found == 3:
                    return
    if found:
        return
    with contextlib.suppress(ValueError, TypeError, Finding):
        told = identify_sum(function, kind=expected.kind, terms=expected.terms, fmt=expected.fmt)  # type: ignore[arg-type]
        if told.tree is not None or told.known:
            yield f"adds otherwise: {told.order}" + (f", as {told.known[0]}" if told.known else "")


def _agrees(expected: Sums, how: dict[str, Any], seen) -> bool:
    for a, b, c, got in sorted(seen, key=lambda s: s[3].size):
        if c is not None and "unit" not in how and np.any(c):
            continue
        into = how.pop("then", None)
        y = expected.results(a, b, c, **how)
        if into is not None:
            how["then"] = into
            y = np.asarray(ops.quantize(y, into), np.float64)
        if not _alike(expected, y, got).all():
            return False
    return True


def _candidates(expected: Sums) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield words and arguments of `refimpl.matmul`: faults of the unit, then other units, then orders."""
    unit, fmt = expected.unit, expected.fmt
    accumulate = expected.how.get("accumulate")
    if unit is not None:
        for words, changed in _faults(unit):
            yield f"is the unit, but for: {words}", {"unit": changed, "accumulate": accumulate}
        other = {"float32": "float16"}.get(accumulate or "float32", "float32")
        yield f"accumulates in {other}", {"unit": unit, "accumulate": other}
    for name, known in UNITS.items():
        if fmt.name in known.operands and not known.scales and known != unit:
            yield f"is the unit {name}", {"unit": known}
            if known.float16:
                yield f"is the unit {name} into float16", {"unit": known, "accumulate": "float16"}
    into = format_of(accumulate or ("float32" if unit is not None else fmt))
    names = dict.fromkeys((into.name, "float32", "float16", "bfloat16", fmt.name))
    for rounding in ("ties_to_even", "toward_zero", "ties_to_away", "toward_negative", "to_odd"):
        for order in ORDERS:
            for name in names:
                how = {**order, "accumulate": name, "rounding": rounding, "then": None if name == into.name else into}
                words = f"order={order['order']}" + (f" of {order['chunk']}" if "chunk" in order else "")
                words += f" in {name}" + ("" if rounding == "ties_to_even" else f", rounded {rounding}")
                yield f"adds with {words}", how


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
    for terms in (1, 2, 4, 8, 16, 32, 64, 128):
        yield from changed(f"takes {terms} terms at a time, not {unit.terms}", terms=terms, promote=None)
    yield from changed("subnormals count as 0" if not unit.flush else "subnormals are numbers", flush=not unit.flush)
    for after in (None, 2 * unit.terms, 4 * unit.terms, 128):
        words = "its sums are never promoted" if after is None else f"its sums are promoted after {after} products"
        yield from changed(words, promote=after)


# -- explanation -----------------------------------------------------------------------------------


def explain_sum(expected: Sums, a, b, first: float, right: float, got: float) -> str:
    """Return the explanation of one sum, term by term: products, their shifts, what was cut.

    >>> hopper = Sums("dot", format_of("float8_e5m2"), {"unit": "hopper-fp8"})
    >>> print(explain_sum(hopper, np.array([1.0, 2.0**-14]), np.ones(2), 0.0, 1.0, 1.00006103515625))
    group 1: aligned to 2^0, 13 bits kept behind the point, the rest cut toward_zero
      term 0  1 * 1 = 1                           shifted by 0
      term 1  6.10351562e-05 * 1 = 6.10351562e-05 shifted by 14, cut to 0: 6.10351562e-05 lost
      sum     1 -> 1
    right  1
    got    1.00006103515625
    """
    unit = expected.unit
    shown = [i for i in range(len(a)) if a[i] != 0 and b[i] != 0]
    lines = []
    if unit is not None and unit.sum == "aligned" and np.isfinite(a).all() and np.isfinite(b).all():
        lines = _aligned_lines(expected.fmt, unit, a, b, first)
    else:
        total = Fraction(0)
        for i in shown[:8]:
            x, y = float(a[i]), float(b[i])
            exact = from_float(x), from_float(y)
            if all(v.kind == "finite" for v in exact):
                total += Fraction(x) * Fraction(y)
            lines.append(f"  term {i}  {shortest(x)} * {shortest(y)} = {shortest(x * y)}")
        lines += [f"  ... and {len(shown) - 8} more"] * (len(shown) > 8)
        if np.isfinite(a).all() and np.isfinite(b).all():
            exact_sum = sum((Fraction(float(x)) * Fraction(float(y)) for x, y in zip(a, b, strict=True)), Fraction(0))
            lines.append(f"exact  {exact_sum} = {shortest(float(exact_sum))}")
            lines += _partial_sums(expected, a, b) if expected.how.get("order", "sequential") == "sequential" else []
    return "\n".join([*lines, f"right  {shortest(right)}", f"got    {shortest(got)}"])


def _partial_sums(expected: Sums, a, b) -> list[str]:
    """Return the accumulator after each term, of a sum in turn."""
    if expected.unit is not None:
        return []
    shown = [i for i in range(len(a)) if a[i] != 0 and b[i] != 0][:8]
    each = [float(expected.results(a[None, : i + 1], b[: i + 1, None])[0, 0]) for i in shown]
    return [f"  after term {i}: {shortest(x)}" for i, x in zip(shown, each, strict=True)]


def _aligned_lines(fmt, unit: MatrixUnit, a, b, first: float) -> list[str]:
    lines = []
    total: Value = from_float(first)
    x, y = ([spec._operand(from_float(float(v)), fmt, unit) for v in side] for side in (a, b))
    register = None
    if unit.promote:
        register, total = total, spec.ZERO
    for start in range(0, len(a), unit.terms):
        parts = x[start : start + unit.terms], y[start : start + unit.terms]
        if total.magnitude == 0 and all(p.magnitude == 0 or q.magnitude == 0 for p, q in zip(*parts, strict=True)):
            continue
        sides = [spec.terms_of(side, fmt) for side in parts]
        terms = [(s * t, e + f) for (s, e), (t, f) in zip(*sides, strict=True)]
        accumulator = spec.terms_of([total], unit.into) if total.kind == "finite" else []
        together = terms + (accumulator if unit.joined is None else [])
        if unit.align == "products":
            together = [spec._normalised(term) for term in together]
        top = max(e for _, e in together)
        bits = unit.fraction_bits
        lines.append(
            f"group {start // unit.terms + 1}: aligned to 2^{top}, {bits} bits kept behind the point, "
            f"the rest cut {unit.cut}"
        )
        hidden = 0
        for i, (s, e) in enumerate(together):
            if s == 0:
                continue
            exact = s * Fraction(2) ** e
            kept = Fraction(spec.cut(s * Fraction(2) ** (bits + e - top), unit.cut)) * Fraction(2) ** (top - bits)
            what = f"term {start + i}" if i < len(terms) else "accumulator"
            said = _short(exact)
            if i < len(terms):
                said = f"{_short(_signed(parts[0][i]))} * {_short(_signed(parts[1][i]))} = {said}"
            if len(lines) > MOST_LINES and i < len(terms):
                hidden += 1
                continue
            lost = "" if kept == exact else f", cut to {_short(kept)}: {_short(exact - kept)} lost"
            lines.append(f"  {what:<7} {said:<35} shifted by {top - e}{lost}")
        lines += [f"  ... and {hidden} terms more"] * bool(hidden)
        before = total
        total = spec.group(*parts, total, unit, (fmt, fmt))
        extra = f", joined with the accumulator {_short(_signed(before))}" if unit.joined is not None else ""
        exact_sum = sum(
            Fraction(spec.cut(s * Fraction(2) ** (bits + e - top), unit.cut)) * Fraction(2) ** (top - bits)
            for s, e in together
        )
        lines.append(f"  sum     {_short(Fraction(exact_sum))}{extra} -> {shortest(to_float(total))}")
    if register is not None:
        lines.append(f"  sums are added to a float32 register every {unit.promote} products")
    return lines


def _signed(value: Value) -> Fraction:
    return -value.magnitude if value.negative else value.magnitude


def _short(x: Fraction) -> str:
    return f"{float(x):.9g}"
