"""Checks: one case group or law put to an implementation.

Each is a function of a `Probe` that returns what it came to, and the observations (input, expected,
got) on which the diagnosis rests.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import numpy as np

from refimpl.formats import IntFormat
from refimpl.testing.checks import arrays, probability
from refimpl.testing.checks.report import CheckResult, Failure
from refimpl.testing.expected.behaviour import alike, decode, values_of
from refimpl.testing.expected.cases import CaseGroup, case_groups, distinct, evenly
from refimpl.testing.expected.explain import explain, shortest, value_of_code
from refimpl.testing.expected.laws import Law, laws
from refimpl.testing.implementations import packing
from refimpl.testing.implementations.findings import Finding, call
from refimpl.testing.implementations.probe import Probe


class Seen(NamedTuple):
    """Observations of one route (a function asked): inputs in their dtype, expected and got (float64)."""

    route: str
    x: np.ndarray
    expected: np.ndarray
    got: np.ndarray


KEPT = 20  # failing cases of a check that are explained


@dataclass
class Tally:
    """Counts cases and keeps the simplest failures, and how complex each is."""

    tried: int = 0
    failed: int = 0
    simplest: list[tuple[float, Failure]] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    hints: list[str] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    hung: bool = False
    skipped: str | None = None

    @property
    def failure(self) -> Failure | None:
        """The simplest failure."""
        return self.simplest[0][1] if self.simplest else None

    @property
    def more(self) -> tuple[Failure, ...]:
        """The failures after the simplest."""
        return tuple(failure for _, failure in self.simplest[1:])

    def count(self, route, x, bad, explanation: Callable[[int], str]) -> None:
        """Count the cases x (any array) of which some are bad."""
        self.tried += x.size
        wrong = np.flatnonzero(bad)
        self.failed += wrong.size
        if not wrong.size:
            return
        size = complexity(x[wrong])
        for i in np.argsort(size, kind="stable")[:KEPT]:
            if len(self.simplest) == KEPT and size[i] >= self.simplest[-1][0]:
                break
            at = int(wrong[i])
            self._keep(float(size[i]), Failure(route, x.dtype.name, bits_of(x[at : at + 1]), explanation(at)))

    def _keep(self, size: float, failure: Failure) -> None:
        if all(kept.explanation != failure.explanation for _, kept in self.simplest):
            self.simplest = sorted([*self.simplest, (size, failure)], key=lambda kept: kept[0])[:KEPT]

    @contextlib.contextmanager
    def noting(self, route) -> Iterator[None]:
        """Count a Finding, which ends the block, as one failed case."""
        try:
            yield
        except Finding as found:
            self.find(route, found)

    def find(self, route, finding: Finding) -> None:
        """Count a finding as one failed case."""
        self.tried += 1
        self.failed += 1
        self.hung |= finding.hangs
        x = finding.input
        said = f"{route} {finding.text}"
        if x is not None and x.ndim > 1:
            said += f"\nfor a row that begins {', '.join(shortest(float(value)) for value in x[0][:8])}"
            x = None
        elif x is not None:
            said += f"\nfor input {x.dtype} 0x{bits_of(x)} = {shortest(float(x[0]))}"
        dtype, bits = (None, None) if x is None else (x.dtype.name, bits_of(x))
        self._keep(math.inf, Failure(route, dtype, bits, said))
        known = "" if x is None or x.dtype.kind != "f" else f", for input {shortest(float(x[0]))}"
        self.findings.append(f"{route} {finding.text}{known}")


def complexity(x: np.ndarray) -> np.ndarray:
    """Return how hard each number is to read: few significant bits, near one, positive is easy."""
    if x.dtype.kind != "f":
        return np.asarray(x, np.float64)
    with np.errstate(all="ignore"):
        fraction, exponent = np.frexp(x.astype(np.float64))
        significand = np.ldexp(np.abs(np.nan_to_num(fraction)), 53).astype(np.uint64)
        lowest = np.log2((significand & (~significand + np.uint64(1))).astype(np.float64) + (significand == 0))
    length = np.where(significand == 0, 0, 53 - lowest)
    size = 16.0 * length + 8 * np.abs(exponent - 1) + np.signbit(x)
    return np.where(np.isfinite(x), size, np.signbit(x))


def bits_of(x: np.ndarray) -> str:
    """Return the bits of the one element of x in hexadecimal."""
    bits = x.view(f"u{x.dtype.itemsize}")[0]
    return f"{bits:0{2 * x.dtype.itemsize}x}"


_ROUND_TRIP = next(group for group in case_groups() if group.name == "round_trip")


class Check(NamedTuple):
    """A named check; `run(probe)` returns its Tally, `skipped` says why it cannot be run."""

    name: str
    kind: str
    statement: str
    run: Callable
    skipped: str | None = None

    def result(self, probe: Probe) -> tuple[CheckResult, Tally]:
        """Run the check; whatever the implementation does becomes part of the result."""
        tally, begun = Tally(), time.perf_counter()
        if self.skipped is None:
            with np.errstate(all="ignore"):
                self.run(probe, tally)
        return CheckResult(
            self.name,
            self.kind,
            self.statement,
            tally.tried,
            tally.failed,
            tally.failure,
            self.skipped or tally.skipped,
            tally.more,
            time.perf_counter() - begun,
        ), tally


def checks_for(probe: Probe) -> list[Check]:
    """Return the checks for an implementation: its use, the case groups, the laws."""
    behaviour = probe.behaviour
    found = [check_of_use(probe, returns), check_of_keeping(probe, lambda dtype: _mixed(probe, dtype))]
    for group in case_groups():
        run, why = _of_group(group, probe)
        why = why if group.applies(behaviour.format) else f"{behaviour.format} has none"
        found.append(Check(group.name, "case group", group.statement, run, why))
    for law in laws():
        why = probe.takes_no_values if law.applies(behaviour) else f"not a law for {behaviour}"
        found.append(Check(law.name, "law", law.statement, _of_law(law), why))
    return [*found, check_of_arrays(probe, lambda dtype: _mixed(probe, dtype), partial(_explained, behaviour))]


def _mixed(probe: Probe, dtype: str) -> np.ndarray:
    """Return inputs, hard ones and simple ones in turn."""
    everything = _returnable(pool(probe.behaviour.format, dtype), probe.behaviour.format)
    return arrays.mixed(everything, np.argsort(complexity(everything), kind="stable"))


def _explained(behaviour, x: np.ndarray, i: int, got: float) -> str:
    return explain(behaviour, x[i : i + 1], got)


def narrow(behaviour, values: np.ndarray, route: str, dtype) -> np.ndarray:
    """Return expected results (float64) as a quantizer of narrow floats can return them."""
    if hasattr(behaviour, "narrow"):
        return behaviour.narrow(values, route, dtype)
    return values.astype(dtype).astype(np.float64) if route == "quantize" else values


def check_of_use(probe: Probe, run: Callable) -> Check:
    """Return the check of what quantize returns."""
    why = None if probe.implementation.has("quantize") else "has no quantize"
    return Check("returns", "use", "a result has the shape and a dtype of the input", run, why)


def check_of_keeping(probe: Probe, inputs: Callable) -> Check:
    """Return the check that a call leaves the result of the last one alone; `inputs(dtype)` is an array."""

    def run(probe: Probe, tally: Tally) -> None:
        x = inputs(probe.inputs[0])
        for route in asked:
            with tally.noting(route):
                more = probe.random_integers(x.shape, 0)
                arrays.keeps(probe.implementation.function(route), (x, *more), probe.time_limit)
                tally.tried += 1
        if decodes:
            codes = _ROUND_TRIP(probe.behaviour.format)
            with tally.noting("decode"):
                arrays.keeps(
                    probe.implementation.function("decode"), (codes[:: -(-codes.size // 64)],), probe.time_limit
                )
                tally.tried += 1

    asked = [r for r in probe.routes if not _is_program(probe, r)]
    scaled = hasattr(probe.behaviour, "groups")  # whose decoders take scales, too
    decodes = probe.implementation.has("decode") and not _is_program(probe, "decode") and not scaled
    why = None if asked or decodes else "a program has no arrays" if probe.routes else "has no function for it"
    return Check("kept", "use", "a result stays as it is when the next one is asked for", run, why)


def _is_program(probe: Probe, route: str) -> bool:
    return hasattr(probe.implementation.function(route), "limited")


def check_of_arrays(probe: Probe, inputs: Callable, explained: Callable) -> Check:
    """Return the check that arrays of every length and layout give the same results.

    `inputs(dtype)` are `arrays.LONG` inputs, `explained(x, i, got)` explains one result.
    """
    why = probe.takes_no_values
    if any(_is_program(probe, route) for route in probe.routes):
        why = "a program has no arrays"
    if probe.behaviour.is_stochastic or probe.behaviour.random_bits:
        why = why or "rounding is not deterministic"
    run = partial(_arrays, inputs=inputs, explained=explained)
    return Check("arrays", "use", "results depend on no length, position or layout of an array", run, why)


def _arrays(probe: Probe, tally: Tally, inputs: Callable, explained: Callable) -> None:
    """Ask for the results of arrays of many lengths and layouts, and compare them with the definition."""
    behaviour = probe.behaviour
    for dtype in probe.inputs:
        x = inputs(dtype)
        exact = behaviour.values(x)
        for route in probe.routes:
            known: dict = {}
            right = narrow(behaviour, exact, route, dtype)
            with tally.noting(route):
                for words, where, got in arrays.results(probe.implementation.function(route), [x], probe.time_limit):
                    given, wanted, y = x[where], right[where], probe.read(route, got)
                    if hasattr(behaviour, "narrow"):
                        y = behaviour.narrow(y, route, dtype)
                    bad = ~behaviour.same(given.astype(np.float64), wanted, y)

                    def text(i, given=given, y=y, words=words):
                        return f"{explained(given, i, float(y[i]))}\nin     {words}"

                    tally.count(route, given, bad, text)
                    hint = arrays.unequal(words, [given], bad, known)
                    tally.hints += [hint] if hint else []
                    if words.endswith(("element", "elements")) and (hint or given.size < arrays.HUGE):
                        tally.seen.append(Seen(route, given, wanted, y))


def _of_group(group: CaseGroup, probe: Probe) -> tuple[Callable, str | None]:
    """Return what runs the check of a group, and why it cannot be run, or None."""

    def lacks(*verbs):
        return None if any(map(probe.implementation.has, verbs)) else f"has no {' or '.join(verbs)}"

    stochastic = probe.behaviour.is_stochastic
    check, why = {
        "stochastic": (probability.check, None if stochastic else "rounding is not stochastic"),
        "packing": (packing.check, lacks("pack", "unpack")),
        "codes": (_round_trip, lacks("encode", "decode")),
        "values": (probability.certain if stochastic else _values, None),
    }[group.kind]
    if group.kind in ("stochastic", "values"):
        why = why or probe.takes_no_values
    return lambda p, tally: check(p, tally, group), why


def _values(probe: Probe, tally: Tally, group: CaseGroup) -> None:
    """Compare the results of a group of inputs with the definition."""
    behaviour = probe.behaviour
    for dtype in probe.inputs:
        x = group(behaviour.format, dtype)
        if not x.size:
            continue
        expected, wide = behaviour.values(x), x.astype(np.float64)
        for route in probe.routes:
            with tally.noting(route):
                got = probe.ask(route, x)
                # a quantizer of narrow floats cannot return what its dtype cannot hold
                wanted = expected.astype(dtype).astype(np.float64) if route == "quantize" else expected

                def text(i, x=x, got=got):
                    return explain(behaviour, x[i : i + 1], got[i])

                tally.count(route, x, ~behaviour.same(wide, wanted, got), text)
                tally.seen.append(Seen(route, x, wanted, got))


def _round_trip(probe: Probe, tally: Tally, group: CaseGroup) -> None:
    """Compare decode with the definition, and encode(decode(code)) with the code."""
    fmt = probe.behaviour.format
    codes = group(fmt)
    values = decode(codes, fmt)
    integer = isinstance(fmt, IntFormat)

    def text(i, said):
        right = value_of_code(int(codes[i]), fmt)
        return f"code   0x{int(codes[i]) & ((1 << fmt.bits) - 1):x} of {fmt}\nright  {shortest(right)}\ngot    {said}"

    if probe.implementation.has("decode"):
        try:
            read = probe.decode(codes.copy())
        except Finding as found:
            found.input = None
            tally.find("decode", found)
            return
        tally.count("decode", codes, ~alike(read, values), lambda i: text(i, f"decode gives {shortest(read[i])}"))
        tally.seen.append(Seen("decode", codes, values, read))
    if not probe.implementation.has("encode") or probe.behaviour.is_stochastic:
        return
    dtype = next((d for d in reversed(probe.inputs) if (values.astype(d) == values)[np.isfinite(values)].all()), None)
    if dtype is None:
        return
    canonical = np.isfinite(values)
    if not integer:  # several codes may be read as zero; infinity may be asked to saturate
        canonical &= (values != 0) | (codes == 0) | (codes == getattr(fmt, "sign_mask", 0))
    with tally.noting("encode"):
        again = probe.codes(values.astype(dtype)[canonical])
        kept, where = codes[canonical].astype(again.dtype), np.flatnonzero(canonical)
        tally.count("encode", kept, again != kept, lambda i: text(where[i], f"encode gives 0x{int(again[i]):x}"))


def _of_law(law: Law):
    def run(probe: Probe, tally: Tally) -> None:
        behaviour = probe.behaviour
        for dtype in probe.inputs:
            everything = pool(behaviour.format, dtype)
            for route in probe.routes:
                x = everything if route == "encode" else _returnable(everything, behaviour.format)

                def q(v, route=route):
                    return probe.ask(route, v, *probe.random_integers(v.shape, 0))

                try:
                    y, bad, wanted = law.broken(q, behaviour, x)
                except Finding as found:
                    tally.find(route, found)
                    return

                def text(i, x=x, y=y, wanted=wanted):
                    return f"{explain(behaviour, x[i : i + 1], y[i])}\nwanted {wanted}"

                tally.count(route, x, bad, text)

    return run


def pool(fmt, dtype: str, most: int = 20_000) -> np.ndarray:
    """Return the inputs of all value groups, thinned evenly to `most`, for the laws."""
    groups = [group(fmt, dtype) for group in case_groups() if group.kind == "values"]
    x = distinct(np.concatenate(groups))
    return evenly(x, most).copy()


def _returnable(x: np.ndarray, fmt) -> np.ndarray:
    """Return the inputs without those whose results their own dtype may not hold."""
    largest = float(np.finfo(x.dtype).max)
    if values_of(fmt)[-1] <= largest:
        return x
    return x[~(np.abs(x) > largest / 4)]


def returns(probe: Probe, tally: Tally, example=(1.0, 0.5)) -> None:
    """Look at the dtype that quantize returns, and at what it does with nothing."""
    for dtype in probe.inputs:
        x = np.array(example, dtype)
        more = probe.random_integers(x.shape, 0)
        try:
            quantize, limit = probe.implementation.function("quantize"), probe.time_limit
            got = call(quantize, x, *more, time_limit=limit).dtype
            call(quantize, x[:0], *(m[:0] for m in more), time_limit=limit)
        except Finding as found:
            tally.find("quantize", found)
            continue
        own = got.name == probe.behaviour.format.name or (
            isinstance(probe.behaviour.format, IntFormat) and got.kind in "iu"
        )
        if got == x.dtype or own:
            tally.tried += 1
        else:
            said = f"returned {got} for {x.dtype}; return the dtype of the input, or the format's own"
            tally.find("quantize", Finding(said))
