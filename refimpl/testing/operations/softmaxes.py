"""Hold a softmax over the last axis to the steps of `refimpl.softmax`, and name the step that is another.

*Notation*: x (n, k) values; every step is a function of arrays, its results values of a format, in float64.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np

from refimpl import _arguments, ops
from refimpl.formats import FloatFormat
from refimpl.formats import format as format_of
from refimpl.testing.checks.report import CheckResult, Failure, Report
from refimpl.testing.expected.behaviour import alike
from refimpl.testing.expected.explain import shortest
from refimpl.testing.implementations.findings import Finding, once
from refimpl.testing.operations.summed import dtype_of

ROWS = 24
LENGTHS = (*range(1, 18), 31, 32, 33, 63, 64, 65, 127, 128, 129, 1000)
MOST = 3  # sentences
SHOWN = 6  # elements of an explanation
OTHERS = ("float16", "bfloat16", "float32", "float64")


@dataclass(frozen=True)
class Steps:
    """A softmax: the format of x, of the steps and of the result; and how it may be another.

    `shifted`: by how much, of rows; `power`: e^x; `added` and `divided` are formats where they are not that of steps.
    """

    of: FloatFormat
    steps: FloatFormat
    into: FloatFormat
    shifted: Callable[[np.ndarray], np.ndarray] | None = None
    base: Literal["e", "2"] = "e"
    order: Literal["sequential", "pairwise", "exact"] = "sequential"
    added: FloatFormat | None = None
    divided: FloatFormat | None = None
    reciprocal: bool = False
    without: int = 0  # last elements that are left out of the sum

    def each(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return x less the largest of its row, the exponentials, their sum (n, 1), and the quotients."""
        steps, into = self.steps, self.into
        top = x.max(axis=-1, keepdims=True) if self.shifted is None else self.shifted(x)
        less = ops.sub(x, top, (self.of, self.of), out_format=steps)
        power: Any = {"e": ops.exp, "2": ops.exp2}[self.base]
        powers = power(less, steps)
        added = self.added or steps
        summed = ops.quantize(powers, added)[:, : max(x.shape[1] - self.without, 1)]
        total = ops.quantize(ops.sum(summed, added, axis=-1, order=self.order), steps)[:, None]
        if self.reciprocal:
            one = ops.div(1.0, total, (steps, steps))
            y = ops.mul(powers, one, (steps, steps), out_format=self.divided or into)
        else:
            y = ops.div(powers, total, (steps, steps), out_format=self.divided or into)
        found = less, powers, total, ops.quantize(y, into)
        return tuple(np.asarray(part, np.float64) for part in found)  # type: ignore[return-value]

    def __call__(self, x: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            return self.each(x)[-1]

    def __str__(self) -> str:
        how = f", accumulate={self.steps.name}" * (self.steps != self.of)
        return f"softmax {self.of.name}{how}" + f", into {self.into.name}" * (self.into != self.of)


def conform_softmax(implementation: Callable, fmt, accumulate, out_format, time_limit: float = 10.0) -> Report:
    """Return the report of a function of rows of values; `refimpl.testing.conform` describes it."""
    _arguments.function("conform", "implementation", implementation, "a function of arrays (n, k)")
    of = format_of(fmt)
    steps = of if accumulate is None else format_of(accumulate)
    into = of if out_format is None else format_of(out_format)
    for what, one in (("format", of), ("accumulate", steps), ("out_format", into)):
        if not isinstance(one, FloatFormat) or not one.fits_float64:
            raise _arguments.wrong_kind("conform", f"{what} of softmax", str(one), "a float format within float64")
    expected = Steps(of, steps, into)
    results: list[CheckResult] = []
    seen, hints, hung = [], [], False
    for name, statement, arrays in groups_of(of):
        tried = failed = 0
        failure = None
        for x in [] if hung else arrays:
            right = expected(x)
            try:
                got = np.asarray(once(implementation, x.astype(dtype_of(x)), time_limit=time_limit), np.float64)
            except Finding as found:
                hints.append(f"softmax {found.text}")
                failure, tried, failed = Failure("softmax", of.name, None, hints[-1]), tried + 1, failed + 1
                hung = found.hangs
                if hung:
                    break
                continue
            bad = ~alike(right, got)
            if bad.any() and failure is None:
                failure = Failure("softmax", of.name, None, _explained(expected, x, right, got, bad))
            seen.append((x, right, got))
            tried, failed = tried + right.size, failed + int(bad.sum())
        skipped = None if tried else "not tried: the implementation hangs"
        results.append(CheckResult(name, "case group", statement, tried, failed, failure, skipped))
    diagnoses, hint = diagnose(expected, seen) if any(r.failed for r in results) and not hints else ((), "")
    name = getattr(implementation, "__name__", type(implementation).__name__)
    return Report(name, str(expected), tuple(results), diagnoses or tuple(dict.fromkeys(hints))[:1], hint)


def groups_of(fmt: FloatFormat) -> Iterator[tuple[str, str, list[np.ndarray]]]:
    """Yield name, statement and arrays of values (n, k) of groups of cases."""
    rng = np.random.default_rng(0)

    def values(x):
        with np.errstate(all="ignore"):
            return np.asarray(ops.quantize(np.clip(x, fmt.min, fmt.max), fmt), np.float64)

    random = [values(3 * rng.standard_normal((4, k))) for k in LENGTHS]
    yield "lengths", "rows of any length are summed whole, one element after the other", random
    yield "square", "of a square, rows are taken, not columns", [values(2 * rng.standard_normal((19, 19)))]
    equal = [np.full((1, k), v) for k in (1, 2, 3, 7, 10, 100) for v in values([0.0, 1.0, -3.0, fmt.max, fmt.min])]
    yield "equal", "of k equal values each is 1/k, however large they are", equal
    gaps = -np.arange(ROWS * 8).reshape(ROWS, 8) * (fmt.max if fmt.max < 200 else 200) / (ROWS * 8)
    yield (
        "gaps",
        "exponentials of every size are right, down to those that vanish",
        [values(gaps - gaps[:, :1] + 0.0), values(gaps)],
    )
    large = values(np.geomspace(1, fmt.max, ROWS)[:, None] * rng.uniform(-1, 1, (ROWS, 9)))
    yield "large", "values whose exponential overflows are no more than others", [large, np.abs(large), -np.abs(large)]
    masked = values(rng.standard_normal((ROWS, 12)))
    if fmt.infinity_code is not None and fmt.signed:
        masked[rng.random(masked.shape) < 0.5] = -np.inf
        masked[0, :11], masked[0, 11], masked[1, 0] = -np.inf, 1, -np.inf
        kept = masked[(masked > -np.inf).any(axis=1)]
        yield "masked", "where some are -inf, their results are 0 and the others are those without them", [kept]
        yield "all_masked", "a row of -inf is NaN: -inf - -inf is", [np.full((2, 5), -np.inf)]
        infinite = values(rng.standard_normal((3, 4)))
        infinite[0, 0] = infinite[1, 3] = infinite[2, 1] = np.inf
        yield "infinite", "a row with +inf is NaN: inf - inf is, and so is the sum", [infinite]
    if fmt.nan_code is not None:
        spoilt = values(rng.standard_normal((3, 4)))
        spoilt[0, 0] = spoilt[1, 3] = spoilt[2, 1] = np.nan
        yield "nan", "a row with NaN is NaN", [spoilt]


def ways_of(expected: Steps) -> Iterator[tuple[str, Callable[[np.ndarray], np.ndarray]]]:
    """Yield other ways, and what they are in words."""
    of, steps, into = expected.of, expected.steps, expected.into
    others = [fmt for fmt in dict.fromkeys([of, into, *map(format_of, OTHERS)]) if isinstance(fmt, FloatFormat)]
    single: dict[str, dict[str, Any]] = {
        "does not subtract the largest value of a row": {"shifted": lambda x: np.zeros((len(x), 1))},
        "subtracts the largest value of all rows": {"shifted": lambda x: np.full((len(x), 1), x.max())},
        "subtracts the mean of a row, not its largest value": {
            "shifted": lambda x: np.asarray(ops.quantize(x.mean(axis=1, keepdims=True), of), np.float64)
        },
        "takes powers of 2, not of e": {"base": "2"},
        "multiplies by the reciprocal of the sum, which is rounded": {"reciprocal": True},
        **{f"adds in {fmt.name}": {"added": fmt} for fmt in others if fmt != steps},
        "adds pairwise": {"order": "pairwise"},
        "adds exactly": {"order": "exact"},
        **{f"rounds quotients to {fmt.name} first: twice": {"divided": fmt} for fmt in others if fmt != into},
        "leaves the last element out of the sum": {"without": 1},
    }
    for words, changed in single.items():
        yield words, replace(expected, **changed)
    for fmt in others:
        if fmt != steps:
            yield f"takes all steps in {fmt.name}", replace(expected, steps=fmt)
            yield f"takes all steps in {fmt.name} and rounds twice", replace(expected, steps=fmt, divided=fmt)
    pairs = [(a, b) for a in single for b in single if a < b and not set(single[a]) & set(single[b])]
    for a, b in pairs:
        yield f"{a} and {b}", replace(expected, **single[a], **single[b])
    yield "is taken over columns", lambda x: expected(x.T).T


def diagnose(expected: Steps, seen) -> tuple[tuple[str, ...], str]:
    """Return ways that explain every result; else how far results of finite rows lie from the right ones."""
    ordinary = [s for s in seen if np.isfinite(s[0]).all()]
    found: list[str] = []
    right = all(_explains(expected, *s) for s in ordinary)
    for words, way in [("", expected)] if right else ways_of(expected):
        if len(found) == MOST or any(simpler in words for simpler in found):
            continue
        if all(_explains(way, *s) for s in ordinary):
            for more, changed in (("", None), *_special(expected)):
                if all(_explains(way if changed is None else partial(changed, way), *s) for s in seen):
                    found.append(" and ".join(filter(None, (words, more))))
                    break
    if found:
        return tuple(found), ""
    if all((got <= 0).all() for _, _, got in ordinary):
        return (), "gives no positive results: those of log(softmax)?"
    with np.errstate(all="ignore"):
        off = np.concatenate([(np.abs(got - y) / _step(y, expected.into)).ravel() for _, y, got in ordinary])
    if not np.isfinite(off).all():
        return (), "gives NaN or infinities for finite rows"
    wrong = {x.shape[1] for x, y, got in ordinary if not alike(y, got).all()}
    first = min(wrong)
    where = f"rows of {first} elements or more" if first > 2 else "finite rows"
    return (), f"{where}: results lie up to {off.max():.3g} steps of {expected.into.name} from the right ones"


def _special(expected: Steps):
    """Yield what may become of NaN and of rows of -inf, whatever becomes of finite rows: functions of a way and x."""
    for words, value in (
        ("gives 0", lambda k: 0.0),
        ("gives 1/k", lambda k: float(ops.quantize(1 / k, expected.into))),
    ):
        yield (
            f"{words} for a row of k times -inf, not NaN",
            lambda way, x, value=value: np.where((x == -np.inf).all(axis=1, keepdims=True), value(x.shape[1]), way(x)),
        )
    yield "takes NaN for -inf", lambda way, x: way(np.where(np.isnan(x), -np.inf, x))


def _explains(way, x, right, got) -> bool:
    with contextlib.suppress(ValueError, TypeError, OverflowError), np.errstate(all="ignore"):
        y = way(x)
        return y.shape == got.shape and bool(alike(y, got).all())
    return False


def _step(y: np.ndarray, fmt: FloatFormat) -> np.ndarray:
    exponents = np.maximum(np.frexp(np.where(np.isfinite(y), y, 0.0))[1] - 1, fmt.min_exponent)
    return np.ldexp(1.0, exponents - fmt.mantissa_bits)


def _explained(expected: Steps, x, right, got, bad) -> str:
    """Return the steps of the shortest wrong row of an array, to its first wrong element."""
    row = int(np.argmax(bad.any(axis=1)))
    j = int(np.argmax(bad[row]))
    with np.errstate(all="ignore"):
        less, powers, total, _ = expected.each(x[row : row + 1])
    shown = [("row", x[row]), ("less its largest", less[0]), ("exponentials", powers[0])]
    lines = [f"{what:<16} {', '.join(map(shortest, v[:SHOWN]))}{', ...' * (v.size > SHOWN)}" for what, v in shown]
    lines += [f"{'their sum':<16} {shortest(total[0, 0])}, one after the other in {expected.steps.name}"]
    lines += [f"element {j:<8} {shortest(powers[0, j])} / {shortest(total[0, 0])}, rounded to {expected.into.name}"]
    return "\n".join(
        [*lines, f"right            {shortest(right[row, j])}", f"got              {shortest(got[row, j])}"]
    )
