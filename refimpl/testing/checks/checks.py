"""Checks: one case group or law put to an implementation.

Each is a function of a `Probe` that returns what it came to, and the observations (input, expected,
got) on which the diagnosis rests.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from refimpl.formats import IntFormat
from refimpl.testing.checks import probability
from refimpl.testing.checks.report import CheckResult, Failure
from refimpl.testing.expected.behaviour import decode, values_of
from refimpl.testing.expected.cases import CaseGroup, case_groups, distinct
from refimpl.testing.expected.explain import explain, number, value_of_code
from refimpl.testing.expected.laws import Law, laws
from refimpl.testing.implementations import packing
from refimpl.testing.implementations.findings import Finding, call
from refimpl.testing.implementations.probe import Probe


class Seen(NamedTuple):
    """Observations of one route: inputs in their dtype, expected and got (float64)."""

    route: str
    x: np.ndarray
    expected: np.ndarray
    got: np.ndarray


@dataclass
class Tally:
    """Counts cases and keeps the smallest failure."""

    tried: int = 0
    failed: int = 0
    smallest: tuple = ()
    failure: Failure | None = None
    seen: list = field(default_factory=list)
    hints: list = field(default_factory=list)
    hung: bool = False

    def count(self, route, x, bad, explanation: Callable[[int], str]) -> None:
        """Count the cases x (any array) of which some are bad."""
        self.tried += x.size
        wrong = np.flatnonzero(bad)
        self.failed += wrong.size
        if not wrong.size:
            return
        at = int(wrong[np.argmin(complexity(x[wrong]))])
        size = complexity(x[at : at + 1])[0]
        if self.failure is None or size < self.smallest:
            self.smallest = size
            self.failure = Failure(route, x.dtype.name, bits_of(x[at : at + 1]), explanation(at))

    def find(self, route, found: Finding) -> None:
        """Count a finding as one failed case."""
        self.tried += 1
        self.failed += 1
        self.hung |= found.hangs
        x = found.input
        said = f"{route} {found.text}"
        if x is not None:
            said += f"\nfor input {x.dtype} 0x{bits_of(x)} = {number(float(x[0]))}"
        if self.failure is None:
            self.failure = Failure(route, None if x is None else x.dtype.name, None if x is None else bits_of(x), said)
        self.hints.append(f"{route} {found.text}")


def complexity(x: np.ndarray) -> np.ndarray:
    """Return how hard each number is to read: few significant bits, near one, positive is easy."""
    if x.dtype.kind != "f":
        return np.asarray(x, np.float64)
    with np.errstate(all="ignore"):
        fraction, exponent = np.frexp(x.astype(np.float64))
        whole = np.ldexp(np.abs(np.nan_to_num(fraction)), 53).astype(np.uint64)
        lowest = np.log2((whole & (~whole + np.uint64(1))).astype(np.float64) + (whole == 0))
    length = np.where(whole == 0, 0, 53 - lowest)
    size = 16.0 * length + 8 * np.abs(exponent - 1) + np.signbit(x)
    return np.where(np.isfinite(x), size, np.signbit(x))


def bits_of(x: np.ndarray) -> str:
    """Return the bits of the one element of x in hexadecimal."""
    bits = x.view(f"u{x.dtype.itemsize}")[0]
    return f"{bits:0{2 * x.dtype.itemsize}x}"


class Check(NamedTuple):
    """A named check; `run(probe)` returns its Tally, `skipped` says why it cannot be run."""

    name: str
    kind: str
    statement: str
    run: Callable
    skipped: str | None = None

    def result(self, probe: Probe) -> tuple[CheckResult, Tally]:
        """Run the check; whatever the implementation does becomes part of the result."""
        tally = Tally()
        if self.skipped is None:
            with np.errstate(all="ignore"):
                self.run(probe, tally)
        return CheckResult(
            self.name, self.kind, self.statement, tally.tried, tally.failed, tally.failure, self.skipped
        ), tally


def checks_for(probe: Probe) -> list[Check]:
    """Return the checks for an implementation: its use, the fifteen case groups, the laws."""
    fmt = probe.behaviour.format
    found = [
        Check(
            "returns",
            "use",
            "a result has the shape and a dtype of the input",
            returns,
            None if probe.implementation.has("quantize") else "has no quantize",
        )
    ]
    for group in case_groups():
        why = None if group.applies(fmt) else f"{fmt} has none"
        found.append(Check(group.name, "case group", group.statement, *_of_group(group, probe, why)))
    for law in laws():
        why = None if probe.routes else "takes no values"
        if not law.applies(probe.behaviour):
            why = f"not a law for {probe.behaviour}"
        found.append(Check(law.name, "law", law.statement, _of_law(law), why))
    return found


def _of_group(group: CaseGroup, probe: Probe, why):
    has = probe.implementation.has
    if group.kind == "stochastic":
        if not probe.behaviour.is_stochastic:
            why = why or "rounding is not stochastic"
        return lambda p, tally: probability.check(p, tally, group), why or (None if probe.routes else "takes no values")
    if group.kind == "packing":
        return lambda p, tally: packing.check(p, tally, group), why or (
            None if has("pack") or has("unpack") else "has no pack or unpack"
        )
    if group.kind == "codes":
        return lambda p, tally: _round_trip(p, tally, group), why or (
            None if has("decode") or has("encode") else "has no encode or decode"
        )
    if probe.behaviour.is_stochastic:
        return lambda p, tally: probability.certain(p, tally, group), why
    return lambda p, tally: _values(p, tally, group), why or (None if probe.routes else "takes no values")


def _values(probe: Probe, tally: Tally, group: CaseGroup) -> None:
    """Compare the results of a group of inputs with the definition."""
    behaviour = probe.behaviour
    for dtype in probe.inputs:
        x = group(behaviour.format, dtype)
        if not x.size:
            continue
        expected, wide = behaviour.values(x), x.astype(np.float64)
        for route in probe.routes:
            try:
                got = probe.ask(route, x)
            except Finding as found:
                tally.find(route, found)
                continue
            # a quantizer of narrow floats cannot return what its dtype cannot hold
            wanted = expected.astype(dtype).astype(np.float64) if route == "quantize" else expected
            bad = ~behaviour.same(wide, wanted, got)
            tally.count(route, x, bad, lambda i, x=x, got=got: explain(behaviour, x[i : i + 1], got[i]))
            tally.seen.append(Seen(route, x, wanted, got))


def _round_trip(probe: Probe, tally: Tally, group: CaseGroup) -> None:
    """Compare decode with the definition, and encode(decode(code)) with the code."""
    fmt = probe.behaviour.format
    codes = group(fmt)
    values = decode(codes, fmt)
    integer = isinstance(fmt, IntFormat)

    def text(i, said):
        right = value_of_code(int(codes[i]), fmt)
        return f"code   0x{int(codes[i]) & ((1 << fmt.bits) - 1):x} of {fmt}\nright  {number(right)}\ngot    {said}"

    read = values
    if probe.implementation.has("decode"):
        try:
            read = probe.decode(codes.copy())
        except Finding as found:
            found.input = None
            tally.find("decode", found)
            return
        bad = ~((read == values) & (np.signbit(read) == np.signbit(values)) | np.isnan(read) & np.isnan(values))
        tally.count("decode", codes, bad, lambda i: text(i, f"decode gives {number(read[i])}"))
        tally.seen.append(Seen("decode", codes, values, read))
    if not probe.implementation.has("encode") or probe.behaviour.is_stochastic:
        return
    dtype = next((d for d in reversed(probe.inputs) if (values.astype(d) == values)[np.isfinite(values)].all()), None)
    if dtype is None:
        return
    canonical = np.isfinite(values)
    if not integer:  # several codes may be read as zero; infinity may be asked to saturate
        canonical &= (values != 0) | (codes == 0) | (codes == getattr(fmt, "sign_mask", 0))
    back = values.astype(dtype)[canonical]
    try:
        again = probe.codes(back)
    except Finding as found:
        tally.find("encode", found)
        return
    kept = codes[canonical].astype(again.dtype)
    where = np.flatnonzero(canonical)
    tally.count("encode", kept, again != kept, lambda i: text(where[i], f"encode gives 0x{int(again[i]):x}"))


def _of_law(law: Law):
    def run(probe: Probe, tally: Tally) -> None:
        behaviour = probe.behaviour
        for dtype in probe.inputs:
            everything = pool(behaviour.format, dtype)
            for route in probe.routes:
                x = everything if route == "encode" else _returnable(everything, behaviour.format)
                if behaviour.random_bits:  # takes its random integers: give it zeros
                    q = lambda v, r=route: probe.ask(r, v, np.zeros(v.shape, np.uint32))  # noqa: E731
                else:
                    q = lambda v, r=route: probe.ask(r, v)  # noqa: E731
                try:
                    y, bad, wanted = law.broken(q, behaviour, x)
                except Finding as found:
                    tally.find(route, found)
                    return
                tally.count(
                    route,
                    x,
                    bad,
                    lambda i, x=x, y=y, wanted=wanted: f"{explain(behaviour, x[i : i + 1], y[i])}\nwanted {wanted}",
                )

    return run


def pool(fmt, dtype: str, most: int = 20_000) -> np.ndarray:
    """Return the inputs of all value groups, thinned evenly to so many, for the laws."""
    groups = [group(fmt, dtype) for group in case_groups() if group.kind == "values"]
    x = distinct(np.concatenate(groups))
    return x[:: max(1, -(-x.size // most))].copy()


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
        more = () if not probe.behaviour.random_bits else (np.zeros(2, np.uint32),)
        try:
            function, limit = probe.implementation.quantize, probe.time_limit
            got = call(function, x, *more, time_limit=limit).dtype
            call(function, x[:0], *(m[:0] for m in more), time_limit=limit)
        except Finding as found:
            tally.find("quantize", found)
            continue
        own = got.name == probe.behaviour.format.name or (
            isinstance(probe.behaviour.format, IntFormat) and got.kind in "iu"
        )
        if got == x.dtype or own:
            tally.tried += 1
        else:
            tally.find(
                "quantize", Finding(f"returned {got} for {x.dtype}; return the dtype of the input, or the format's own")
            )
