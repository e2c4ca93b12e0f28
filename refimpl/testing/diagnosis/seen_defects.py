"""Ways to be wrong read off the failures: what all of them have in common is a defect that may hold in a region.

*Notation*: y are right results (float64), s numbers whose signs results may take: inputs, or the results themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from refimpl.formats import FloatFormat
from refimpl.testing.diagnosis.anatomy import MODES, anatomy, has_anatomy, value_of, with_codes
from refimpl.testing.diagnosis.defects import SIGN, Defect, on_steps
from refimpl.testing.expected.behaviour import Behaviour, alike, values_of

Change = Callable[[np.ndarray, np.ndarray], np.ndarray]
MOST_PLACES = 2  # bits of a code that are wrong together


def of_failures(behaviour, x: np.ndarray, expected: np.ndarray, got: np.ndarray) -> Iterator[Defect]:
    """Yield defects that predict what was got for the failures x (all float64)."""
    fmt = behaviour.format
    for sentence, change in of_results(fmt, x, expected, got):
        yield Defect(sentence, after=lambda x, y, b, change=change: change(x, y), stage=SIGN)
    if alike(got, x).all():
        yield Defect("gives the input as it is, not rounded", after=lambda x, y, b: x)
    if has_anatomy(fmt):
        yield from _neighbours()
        for fewer in (1, 2, 3):
            if isinstance(fmt, FloatFormat) and fewer <= fmt.mantissa_bits:
                text = f"rounds to {fewer} bit{'s' * (fewer > 1)} fewer: to multiples of {2**fewer} units"
                yield Defect(text, after=on_steps(np.rint, -fewer))
                yield Defect(text.replace("rounds", "cuts"), after=on_steps(np.trunc, -fewer))


def of_results(fmt, s: np.ndarray, expected: np.ndarray, got: np.ndarray) -> Iterator[tuple[str, Change]]:
    """Yield sentences with functions of signs and right results that give what was got for the failures."""
    with np.errstate(all="ignore"):
        yield from _constants(fmt, s, got)
        yield from _signs(expected, got)
        yield from _steps(fmt, expected, got)
        yield from _multiples(expected, got)
        if fmt is not None and fmt.bits <= 16 and isinstance(fmt, FloatFormat):
            yield from _bits(fmt, expected, got)


def _constants(fmt, s, got) -> Iterator[tuple[str, Change]]:
    size = np.abs(got)
    if not (np.isnan(got).all() or (size == size[0]).all()):
        return
    value = float(size[0])
    names = {0.0: "zero", np.inf: "infinity"} | (
        {} if fmt is None else {float(fmt.max): f"the largest value ({fmt.max:g})"}
    )
    text = "NaN" if np.isnan(value) else names.get(value, f"{value:.9g}")
    if (np.signbit(got) == np.signbit(s)).all() or np.isnan(value):
        yield f"gives {text}", lambda s, y: np.copysign(value, s)
    if (np.signbit(got) == np.signbit(got[0])).all() and not np.isnan(value):
        signed = float(np.copysign(value, got[0]))
        text = f"-{text}" if value and signed < 0 else "minus zero" if np.signbit(signed) else text
        yield f"gives {text} whatever the sign", lambda s, y: np.full(y.shape, signed)


def _signs(expected, got) -> Iterator[tuple[str, Change]]:
    if (np.abs(got) == np.abs(expected)).all():
        yield "loses the sign", lambda s, y: np.abs(y)
        what = "gives a zero of the wrong sign" if (got == 0).all() else "gives the wrong sign"
        yield what, lambda s, y: -y
        yield "gives a negative sign to all", lambda s, y: -np.abs(y)


def _steps(fmt, expected, got) -> Iterator[tuple[str, Change]]:
    """Results that are some codes further from zero or nearer, or above or below."""
    if fmt is None or fmt.bits > 16 or not (np.isfinite(got) & np.isfinite(expected)).all():
        return
    values = values_of(fmt)
    if not np.isin(got, values).all():
        return
    for signed in (False, True):
        a, b = (v if signed else np.abs(v) for v in (expected, got))
        steps = np.searchsorted(values, b) - np.searchsorted(values, a)
        if not (steps == steps[0]).all() or steps[0] == 0:
            continue
        by = int(steps[0])
        units = "one unit" if abs(by) == 1 else f"{abs(by)} units"
        if signed:
            word = "too large (toward +infinity)" if by > 0 else "too small (toward -infinity)"
        else:
            word = "too far from zero" if by > 0 else "too near to zero"

        def moved(s, y, by=by, signed=signed):
            size = y if signed else np.abs(y)
            at = np.searchsorted(values, np.where(np.isfinite(size), size, 0.0)) + by
            found = np.where((at < 0) | (at >= len(values)), np.nan, values[np.clip(at, 0, len(values) - 1)])
            return np.where(np.isfinite(y), found if signed else np.copysign(found, y), y)

        yield f"gives results {units} {word}", moved


def _multiples(expected, got) -> Iterator[tuple[str, Change]]:
    ratio, difference = got / expected, got - expected
    if np.isfinite(ratio[0]) and (ratio == ratio[0]).all() and ratio[0] not in (0, 1, -1):
        by = float(ratio[0])
        text = {2.0: "twice the right results", 0.5: "half the right results"}.get(
            by, f"{by:.9g} times the right results"
        )
        yield f"gives {text}", lambda s, y: y * by
    away = difference * np.where(np.signbit(expected), -1.0, 1.0)
    more = float(away[0])
    if np.isfinite(more) and (away == more).all() and more:
        text = f"gives results {abs(more):.9g} too {'far from' if more > 0 else 'near to'} zero"
        yield text, lambda s, y: y + np.copysign(more, y)
    up = float(difference[0])
    if np.isfinite(up) and (difference == up).all() and up:
        yield f"gives results {abs(up):.9g} too {'large' if up > 0 else 'small'}", lambda s, y: y + up


def _neighbours() -> Iterator[Defect]:
    """The other of the two values on either side of the input, or always the nearer to zero, or the farther."""

    def other(x, y, b):
        a = anatomy(x, b.format)
        up = np.abs(y) > value_of(a.code, b.format)
        return with_codes(a, a.code + ~up, y, b)

    yield Defect("goes to the wrong one of the two values on either side", after=other)
    for name in ("toward_zero", "away from zero"):
        yield Defect(name, after=lambda x, y, b, mode=MODES[name]: _by_mode(x, y, b, mode))


def _by_mode(x, y, b, mode):
    a = anatomy(x, b.format)
    return with_codes(a, a.code + mode(a), y, b)


def _bits(fmt, expected, got) -> Iterator[tuple[str, Change]]:
    """Bits of the code that stick, or are inverted."""
    plain = Behaviour(fmt)
    if np.isnan(got).any() or not np.isin(got, np.append(values_of(fmt), [np.inf, -np.inf])).all():
        return
    right, came = (plain.codes(np.asarray(v)).astype(np.int64) for v in (expected, got))
    flipped = right ^ came
    mask = int(flipped[0])
    if not (flipped == mask).all() or not 0 < mask.bit_count() <= MOST_PLACES:
        return
    name = " and ".join(f"bit {k}" for k in range(fmt.bits) if mask >> k & 1)
    ways: dict[str, Callable] = {}
    if (right & mask == 0).all():
        ways[f"has {name} of the code stuck at one"] = lambda code: code | mask
    if (right & mask == mask).all():
        ways[f"has {name} of the code stuck at zero"] = lambda code: code & ~mask
    ways[f"has {name} of the code inverted"] = lambda code: code ^ mask
    for text, change in ways.items():

        def written(s, y, change=change):
            return plain.read(change(plain.codes(y).astype(np.int64)).astype(np.uint16))

        yield text, written
