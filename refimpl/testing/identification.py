"""Identify an unknown quantizer from its answers alone.

Three questions fix almost everything: which powers of two does it keep (the range), which is the
largest value it keeps (the special codes), does it answer the same question the same way (stochastic).
Every format of at most 16 bits that fits the answers, in every mode, is then a candidate; all of them
predict what becomes of points that tell formats and modes apart, and those that are wrong once are out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from refimpl.formats import NAN_RULES, OVERFLOWS, FloatFormat, IntFormat, PositFormat, RoundingMode, names
from refimpl.formats.modes import FAMILIES
from refimpl.testing.checks.checks import Seen, pool
from refimpl.testing.checks.probability import probability, steps
from refimpl.testing.diagnosis.diagnosis import diagnose
from refimpl.testing.expected.behaviour import COUNTED, DETERMINISTIC, OF_INTEGERS, Behaviour, step_above
from refimpl.testing.expected.explain import shortest
from refimpl.testing.implementations.findings import call
from refimpl.testing.implementations.implementations import implementation_of
from refimpl.testing.operations.judging import identify_operation
from refimpl.testing.operations.operation import Operation

LARGEST = 16  # bits
LIKE = 0.6  # of the answers: what fewer speak for is not taken for what is meant


@dataclass(frozen=True, repr=False)
class Identification:
    """What `identify` found out.

    `behaviour` (None if nothing fits) with `.format`, `.rounding`, `.overflow`, `.nan` and
    `.random_bits` also found here; `scale`, by which values of an integer format are multiplied;
    `calls`, how many were made; `alternatives`, other behaviours that fit every answer; and
    `apart`, for each of them an input (float64) that would tell it from `behaviour`, or None where
    no input does; `nearest`, where nothing fits, the best candidate and an input it gets wrong, and `diagnosis`, what
    an implementation of that candidate has wrong by all answers, as `conform` says it (nothing if that is most).

    Examples
    --------
    >>> import refimpl as rf
    >>> found = rf.testing.identify(lambda x: rf.quantize(x, "bfloat16", rounding="toward_zero"))
    >>> found.format.name, found.rounding
    ('bfloat16', 'toward_zero')
    >>> saturates = lambda x: np.where(x < -448, -448, rf.quantize(x, "e4m3fn"))
    >>> print(rf.testing.identify(saturates).diagnosis.rpartition(" (")[0])
    gives the largest value for values, infinity too, that overflow, only for negative inputs
    """

    behaviour: Behaviour | None
    calls: int
    alternatives: tuple[Behaviour, ...] = ()
    apart: tuple[float | None, ...] = ()
    scale: float = 1.0
    nearest: tuple[Behaviour, float] | None = None
    diagnosis: str = ""

    format = property(lambda self: self.behaviour and self.behaviour.format)
    rounding = property(lambda self: self.behaviour and self.behaviour.rounding)
    overflow = property(lambda self: self.behaviour and self.behaviour.overflow)
    nan = property(lambda self: self.behaviour and self.behaviour.nan)
    random_bits = property(lambda self: self.behaviour and self.behaviour.random_bits)

    def __repr__(self) -> str:
        return f"<Identification: {str(self).splitlines()[0]}>"

    def __str__(self) -> str:
        if self.behaviour is None:
            text = f"no format of at most {LARGEST} bits explains it ({self.calls} calls)"
            if self.nearest:
                text += f"\nnearest {self.nearest[0]}, wrong at input {self.nearest[1]!r}"
            return text + f"\nif that is meant: {self.diagnosis}" * bool(self.diagnosis)
        scaled = f", scaled by {shortest(self.scale)}" if self.scale != 1 else ""
        lines = [f"{self.behaviour}{scaled} ({self.calls} calls)"]
        for other, x in zip(self.alternatives, self.apart, strict=True):
            how = "the same for every value" if x is None else f"input {x!r} would tell"
            lines.append(f"  or {other}: {how}")
        return "\n".join(lines)


def identify(
    implementation,
    *,
    op: str | None = None,
    format=None,
    out_format=None,
    scalar: bool = False,
    time_limit: float = 10.0,
):
    """Find out which format and rounding an implementation has.

    Parameters
    ----------
    implementation : callable on float64 arrays (n,), or anything `conform` takes
        Of a pair, the decoded codes are looked at.
    op, format, out_format : str and formats, optional
        Of an operation such as ``add``, as for `conform`: then which rounding and overflow it has, or which known
        defect, is told.
    scalar : bool
        The callable takes and returns one float.
    time_limit : float
        Seconds a call may take.

    Returns
    -------
    Identification, or with `op` an IdentifiedOperation

    Raises
    ------
    Finding
        If the implementation raises, hangs, or returns something else than numbers.

    Notes
    -----
    Fewer than 200 calls on arrays, or 20,000 on scalars.  Formats of more than 16 bits are not
    identified, nor stochastic rounding with more than 8 random bits told from the ideal one.

    Examples
    --------
    >>> from refimpl import ops
    >>> found = identify(lambda x: ops.quantize(x, "float8_e5m2", rounding="ties_to_away"))
    >>> found.format.name, found.rounding, found.overflow
    ('float8_e5m2', 'ties_to_away', 'overflow')
    """
    if op is not None:
        return identify_operation(implementation, Operation(op, format, out_format), time_limit)
    asked = _Asked(implementation, scalar, time_limit)
    exponents = np.arange(-1074, 1024)
    powers = np.ldexp(1.0, exponents)
    kept = asked(powers)
    exact = kept == powers
    if not exact.any():
        asked.scale = _scale(kept) or 1.0
        exact = asked(powers) == powers
        if not exact.any():
            return Identification(None, asked.calls)
    scale = asked.scale
    low, high = (int(exponents[exact][i]) for i in (0, -1))
    largest = _largest(asked, 2.0**high)
    signed = bool(asked(np.array([-(2.0**high)]))[0] < 0)
    stochastic = _is_stochastic(asked, 2.0**low, largest)
    formats = list(dict.fromkeys(_formats(low, largest, signed, scale)))
    candidates = [b for fmt in formats for b in _modes(fmt, stochastic)]
    x = _questions(low, high, largest, signed)
    if scale != 1:  # products with the scale round: keep away from ties
        with np.errstate(invalid="ignore"):
            left = np.abs(x * 2 - np.rint(x * 2))
        x = x[(left > 1e-6) | (np.abs(x) > 1e6) | np.isnan(x)]
    answers = asked(x)
    candidates, best = _fitting(candidates, x, answers)
    if stochastic and candidates:
        candidates = _with_random_bits(asked, candidates)
    candidates.sort(key=_plainness)
    candidates, apart = _told_apart(asked, candidates, ask=scale == 1 and not stochastic)
    if not candidates:
        said = _diagnosed(best[0], x, answers) if best and not stochastic and scale == 1 else ""
        return Identification(None, asked.calls, nearest=best, diagnosis=said)
    return Identification(candidates[0], asked.calls, tuple(candidates[1:]), tuple(apart), scale)


def _diagnosed(behaviour: Behaviour, x: np.ndarray, answers: np.ndarray) -> str:
    """Return what an implementation of the nearest candidate has wrong, nothing if that is most."""
    with np.errstate(all="ignore"):
        right = behaviour.values(x)
        if behaviour.same(x, right, answers).mean() < LIKE:
            return ""
        diagnoses, description = diagnose(behaviour, [Seen("quantize", x, right, answers)])
    return "; or: ".join(diagnoses) or description


class _Asked:
    """The implementation, counting its calls; values are divided by the scale."""

    def __init__(self, implementation, scalar, time_limit):
        self.tested = implementation_of(implementation, Behaviour("float64"))  # only to find the functions
        self.scalar, self.time_limit, self.calls, self.scale = scalar, time_limit, 0, 1.0

    def __call__(self, x: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            y = self._ask(x if self.scale == 1 else x * self.scale)
            if self.scale == 1:
                return y
            y = y / self.scale
            near = np.abs(y - np.rint(y)) < 1e-6 * np.maximum(1, np.abs(y))
            return np.where(near, np.rint(y), y)

    def _ask(self, x):
        limit = self.time_limit
        if self.scalar:
            self.calls += x.size
            function = self.tested.function("quantize")
            return call(lambda v: np.array([float(function(float(one))) for one in v]), x, time_limit=limit)
        self.calls += 1
        if self.tested.has("quantize"):
            return call(self.tested.function("quantize"), x, time_limit=limit).astype(np.float64)
        codes = call(self.tested.function("encode"), x, time_limit=limit)
        return call(self.tested.function("decode"), codes, time_limit=limit).astype(np.float64)


def _scale(y: np.ndarray) -> float | None:
    """Return the smallest value above zero that powers of two become, if all are multiples of it."""
    found = np.unique(np.abs(y[np.isfinite(y) & (y != 0)]))
    if not found.size or found[-1] / found[0] >= 2**LARGEST:
        return None
    ratio = found / found[0]
    return float(found[0]) if np.allclose(ratio, np.rint(ratio), rtol=1e-6) else None


def _largest(asked, power: float) -> float:
    """Return the largest value that is kept, which starts with this power of two."""
    value = power
    for step in range(1, LARGEST + 1):
        more = value + power * 2.0**-step
        if asked(np.array([more]))[0] == more:
            value = more
    return value


def _is_stochastic(asked, smallest: float, largest: float) -> bool:
    points = [smallest * (1 + part) for part in (1 / 3, 0.55, 0.7)]
    points = [p for p in points if p < largest] or [smallest / 3, smallest * 0.55]
    answers = asked(np.repeat(points, 48)).reshape(len(points), 48)
    return bool((answers != answers[:, :1]).any())


def _formats(low: int, largest: float, signed: bool, scale: float) -> Iterator:
    """Yield the formats whose smallest value is 2^low and whose largest is this."""
    if low == 0 and largest == int(largest):
        for bits in range(1, LARGEST + 1):
            for symmetric in (True, False):
                if bits > 1 or not (symmetric and signed):
                    of_integers = IntFormat(bits=bits, signed=signed, symmetric=symmetric and signed)
                    if of_integers.max == largest:
                        yield of_integers
    if scale != 1:
        return
    for bits in range(3, LARGEST + 1):
        for exponent_bits in range(6):
            top = (bits - 2) << exponent_bits
            if low == -top and largest == 2.0**top and signed:
                yield PositFormat(bits, exponent_bits)
    for exponent_bits in range(12):
        for mantissa_bits in range(LARGEST - exponent_bits + 1):
            for family in FAMILIES:
                for subnormals in (True, False):
                    fmt = _float(exponent_bits, mantissa_bits, family, subnormals, signed, low)
                    if fmt is not None and fmt.bits <= LARGEST and fmt.fits_float64:
                        if fmt.max == largest:
                            yield fmt


def _float(exponent_bits, mantissa_bits, family, subnormals, signed, low) -> FloatFormat | None:
    """Return the float format of these fields whose smallest value is 2^low, if there is one."""
    steps_down = mantissa_bits if subnormals and family != "e8m0" else 0
    bias = (0 if family == "e8m0" else 1) - (low + steps_down)
    try:
        return FloatFormat(
            exponent_bits=exponent_bits,
            mantissa_bits=mantissa_bits,
            bias=bias,
            signed=signed,
            specials=family,
            has_subnormals=subnormals,
        )
    except ValueError:
        return None


def _modes(fmt, stochastic: bool) -> Iterator[Behaviour]:
    if isinstance(fmt, PositFormat):
        if not stochastic:
            yield Behaviour(fmt)
        return
    if isinstance(fmt, IntFormat):
        if not stochastic:
            yield from (Behaviour(fmt, mode) for mode in OF_INTEGERS)
        return
    rules = NAN_RULES[:2] if fmt.nan_code is None else NAN_RULES[:1]
    modes: tuple[RoundingMode, ...] = ("stochastic",) if stochastic else DETERMINISTIC
    for mode in modes:
        for overflow in OVERFLOWS:
            yield from (Behaviour(fmt, mode, overflow, nan) for nan in rules)


def _questions(low: int, high: int, largest: float, signed: bool) -> np.ndarray:
    """Return points that tell formats and modes apart, about 8,000."""
    span = max(1, (high - low) // 12)
    near = {*range(low - 1, low + 9), *range(high - 2, high + 1), *range(low, high, span)}
    exponents = np.array(sorted(k for k in near if -1060 < k < 1020))
    tiny = 2.0**-40
    offsets = {0.0, tiny, 1 - 2.0**-30}
    for j in range(1, LARGEST + 2):
        for odd in (1, 3, 5):
            tie = odd * 2.0 ** -(j + 1)
            if tie < 1:
                offsets |= {tie, tie - tiny, tie + tiny}
    x = np.ldexp(1 + np.array(sorted(offsets)), exponents[:, None])
    negative = -x[::3].ravel() if signed else -x[::9, ::9].ravel()
    top = 2.0 ** (high - np.arange(1, LARGEST + 1))
    with np.errstate(over="ignore"):
        edge = largest + np.concatenate([top * part for part in (0.25, 0.5, 0.75, 1, 1.5, 2, 4)])
    edge = np.concatenate([edge, np.nextafter(edge, 0), np.nextafter(edge, np.inf), [largest * 8]])
    below = 2.0**low * np.array([0.25, 0.5, 0.75, 0.5 + tiny, 0.5 - tiny, 2.0**-60])
    special = [0.0, -0.0, np.inf, -np.inf, np.nan, largest, -largest, -largest - 1, -largest - 2]
    edge = edge[np.isfinite(edge)]
    x = np.concatenate([x.ravel(), negative, edge, -edge, below, -below, special])
    bits = np.unique(x.view(np.uint64))
    return bits.view(np.float64)


def _fitting(candidates, x, answers):
    """Return the candidates that predict every answer, and the best of the others with an input."""
    fitting, best, fewest = [], None, x.size + 1
    for behaviour in candidates:
        wrong = ~_predicts(behaviour, x, answers)
        count = int(wrong.sum())
        if not count:
            fitting.append(behaviour)
        elif count < fewest:
            fewest, best = count, (behaviour, float(x[np.argmax(wrong)]))
    return fitting, best


def _predicts(behaviour: Behaviour, x, answers) -> np.ndarray:
    with np.errstate(all="ignore"):
        if not behaviour.is_stochastic:
            return behaviour.same(x, behaviour.values(x), answers)
        either = np.zeros(x.shape, bool)
        for mode in ("toward_positive", "toward_negative", "ties_to_even"):
            other = replace(behaviour, rounding=mode, random_bits=None)
            either |= other.same(x, other.values(x), answers)
        # beyond the largest value by less than a step, overflow is random
        fmt = behaviour.format
        beyond = replace(behaviour, rounding="ties_to_even").values(np.copysign(np.inf, x))
        if behaviour.overflow != "overflow":
            beyond = replace(behaviour, rounding="toward_zero").values(x)
        near = (np.abs(x) > fmt.max) & (np.abs(x) < fmt.max + step_above(fmt))
        either |= near & behaviour.same(x, beyond, answers)
        # far beyond, all is certain
        far = np.isfinite(x) & (np.abs(x) >= fmt.max + step_above(fmt))
        return np.where(far, behaviour.same(x, beyond, answers), either)


def _with_random_bits(asked, candidates) -> list[Behaviour]:
    """Choose between stochastic rounding with few random bits, of kind A, B or C, and many."""
    fmt = candidates[0].format
    grain = np.array([1, 3, 5, 12, 24, 40, 56, 64, 80, 96, 112, 120, 127]) / 128
    grain = np.concatenate([grain, 2.0 ** -np.arange(2, 10)])  # where B and C differ
    base = fmt.max / 2 if fmt.mantissa_bits else fmt.smallest_normal
    base = 2.0 ** np.floor(np.log2(base))
    step = base * 2.0**-fmt.mantissa_bits
    if fmt.max < base + step:
        return candidates
    x = base + step * grain
    draws = 300 if asked.scalar else 1 << 14
    answers = asked(np.repeat(x, draws)).reshape(x.size, draws)
    _, high, nu = steps(x, fmt)
    up = (np.abs(answers) == high[:, None]).mean(axis=1)
    chosen: tuple[RoundingMode, int | None] = ("stochastic", None)
    best, several = -np.inf, [chosen, *((kind, n) for n in range(1, 9) for kind in COUNTED)]
    for kind, bits in several:
        p = np.array([probability(kind, bits, float(v)) for v in nu])
        with np.errstate(all="ignore"):
            likely = np.where(up > 0, up * np.log(p), 0) + np.where(up < 1, (1 - up) * np.log1p(-p), 0)
        score = draws * likely.sum() if not np.isnan(likely).any() else -np.inf
        if score > best + 1e-9 + (2 if chosen[0] == "stochastic" else 0):
            best, chosen = score, (kind, bits)
    return [replace(b, rounding=chosen[0], random_bits=chosen[1]) for b in candidates]


def _plainness(behaviour: Behaviour):
    """Sort named formats before others, short before long, usual rules before unusual ones."""
    fmt = behaviour.format
    usual = getattr(fmt, "specials", "") in ("none", "ieee", "fn")
    return (
        fmt.name not in names(),
        isinstance(fmt, FloatFormat) and not fmt.has_subnormals,
        fmt.bits,
        not usual,
        getattr(fmt, "exponent_bits", 0),
        behaviour.rounding != "ties_to_even",
        OVERFLOWS.index(behaviour.overflow),
        behaviour.nan,
        fmt.name,
        behaviour.rounding,
    )


def _told_apart(asked, candidates, *, ask: bool):
    """Put to the implementation what tells the first candidate from others, and drop the wrong ones."""
    apart: list = []
    rounds = 0
    while len(candidates) > 1:
        with np.errstate(all="ignore"):
            apart = [_difference(candidates[0], other) for other in candidates[1:]]
        open_points = {point for point in apart if point is not None}
        rounds += 1
        if not open_points or not ask or rounds > 20:
            break
        x = np.array(sorted(open_points))
        candidates, _ = _fitting(candidates, x, asked(x))
        apart = []
    return candidates, apart[: max(0, len(candidates) - 1)]


def _difference(a: Behaviour, b: Behaviour) -> float | None:
    """Return an input for which two behaviours give different values, None if none is found."""
    if a.is_stochastic or b.is_stochastic:
        a, b = (replace(v, rounding="toward_zero", random_bits=None) for v in (a, b))
    x = np.concatenate([pool(v.format, "float64", most=3000) for v in (a, b)])
    different = ~a.same(x, a.values(x), b.values(x))
    return float(x[np.argmax(different)]) if different.any() else None
