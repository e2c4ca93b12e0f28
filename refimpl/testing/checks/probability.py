"""Stochastic rounding: exact where the implementation takes its random integers, bounded otherwise.

*Bound*: the fraction of n independent draws lies farther than t from its probability with a probability
of at most 2 exp(-2 n t^2) (Hoeffding).  With n = 2^14 draws and t = 1/32 this is below 3e-14 an input, so
that a correct implementation is not accused, and a bias of 1/16 of a step is found.

*Independence*: an input half way between two values is asked for 2^14 times in each of two calls.  As +1 and -1
the roundings are fair and independent coins, and so are the products of those L places apart, of which there are
2^14 or more for each L up to 2^14: a mean beyond r has a probability of at most 2 exp(-2^13 r^2) (Hoeffding), and
of one of the 2^14 L of at most `FALSE_ALARM`.  L = 2^14 compares equal positions of the two calls.
"""

from __future__ import annotations

import numpy as np

from refimpl.spec import float_codes
from refimpl.testing.expected.behaviour import COUNTED, DETERMINISTIC, Behaviour, values_of
from refimpl.testing.expected.cases import distinct
from refimpl.testing.expected.explain import explain, shortest, value_of_code
from refimpl.testing.implementations.findings import Finding

DRAWS, TOLERANCE = 1 << 14, 1 / 32
MOVES = "moves values that are exact"
FAIR = 0.2  # mean of roundings of +1 or -1 from which the probabilities are wrong, not the independence
FALSE_ALARM = 1e-9  # probability of finding dependence in an implementation that has none


def check(probe, tally, group) -> None:
    """Hold the decisions of stochastic rounding to their probabilities."""
    for dtype in probe.inputs:
        x = group(probe.behaviour.format, dtype)
        for route in probe.routes:
            with tally.noting(route):
                (_enumerated if probe.behaviour.random_bits else _sampled)(probe, tally, route, x)


def _enumerated(probe, tally, route, x) -> None:
    """Put every random integer to every input, and to some of fractions between what random integers tell apart."""
    behaviour = probe.behaviour
    count = 1 << behaviour.random_bits
    x = distinct(np.concatenate([x, _between(x, behaviour.format, count)]))
    every = np.repeat(x, count)
    random = np.tile(np.arange(count, dtype=np.uint32), x.size)
    got = probe.ask(route, every, random)
    fmt = behaviour.format
    expected = np.array(
        [value_of_code(behaviour.code_by_definition(float(v), int(r)), fmt) for v, r in zip(every, random, strict=True)]
    )
    bad = ~behaviour.same(every.astype(np.float64), expected, got)

    def text(i):
        said = explain(behaviour, every[i : i + 1], got[i], right=float(expected[i]))
        return f"{said}\nwith   random integer {random[i]} of {count}"

    tally.count(route, every, bad, text)
    if bad.any():
        tally.hints.append(_decided_wrongly(behaviour, x, got.reshape(-1, count)))


def _between(x, fmt, count: int) -> np.ndarray:
    """Return inputs of fractions (k + 1/4, 1/2 and 3/4) / count, which tell stochastic A, B and C apart.

    >>> from refimpl.formats import format
    >>> (_between(np.array([1, 1.125], np.float32), format("e4m3fn"), 4) - 1).tolist()[:3]
    [0.0078125, 0.015625, 0.0234375]
    """
    low, high, nu = steps(x, fmt)
    at = np.flatnonzero((nu == 0) & (low > 0) & (low < fmt.max))
    if not at.size:
        return x[:0]
    at = at[[0, at.size // 2, -1]]  # exact values, of which all that is needed is the step above
    size = np.abs(x[at].astype(np.float64))
    above = steps(np.nextafter(x[at], np.copysign(x.dtype.type(np.inf), x[at])), fmt)[1]
    parts = np.array([k + part for k in {0, 1, count // 2, count - 1} if k < count for part in (0.25, 0.5, 0.75)])
    found = np.copysign(size[:, None] + (above - size)[:, None] * parts / count, x[at][:, None]).ravel()
    narrow = found.astype(x.dtype)
    return narrow[narrow == found]


def _sampled(probe, tally, route, x) -> None:
    """Draw many times, a chunk of inputs at a time."""
    fmt = probe.behaviour.format
    chunks = [np.repeat(x[k : k + 16], DRAWS) for k in range(0, x.size, 16)]
    got = np.concatenate([probe.ask(route, chunk) for chunk in chunks]).reshape(x.size, DRAWS)
    low, high, nu = steps(x, fmt)
    size = np.abs(got)
    stray = ~((size == low[:, None]) | (size == high[:, None])).all(axis=1)
    upward = (size == high[:, None]).mean(axis=1)
    moved = (nu == 0) & ~(size == low[:, None]).all(axis=1)
    bad = stray | moved | (np.abs(upward - nu) > TOLERANCE) & (nu > 0)

    def text(i):
        other = got[i][size[i] != low[i]] if moved[i] else got[i]
        return (
            explain(probe.behaviour, x[i : i + 1], float(other[0]))
            + f"\nwanted away from zero with probability {shortest(nu[i])}"
            + f"\nseen   {shortest(upward[i])} of {DRAWS} draws"
        )

    tally.count(route, x, bad, text)
    _independent(probe, tally, route, x.dtype)
    if bad.any():
        alone = (got == got[:, :1]).all() and any((probe.ask(route, x) != got[:, 0]).any() for _ in range(8))
        one = "draws one random number for all elements of a call"
        tally.hints.append(one if alone else _drawn_wrongly(x, got, fmt))


def _independent(probe, tally, route, dtype) -> None:
    """Hold the roundings of one value half way to independence, in a call and from call to call."""
    values = values_of(probe.behaviour.format)
    low = int(np.searchsorted(values, 1.0 if values[-1] > 1 else values[-2]))
    half = np.full(DRAWS, (values[low] + values[low + 1]) / 2, dtype)
    if not values[low] < half[0] < values[low + 1]:
        return
    got = np.concatenate([probe.ask(route, half) for _ in range(2)])
    sign = np.where(got == values[low + 1], 1.0, -1.0)
    if abs(sign.mean()) > FAIR or np.all(got[:DRAWS] == got[0]):
        return  # its probabilities are wrong, or all elements share a number: `_sampled` says so
    spectrum = np.fft.rfft(sign, 2 * sign.size)
    products = np.fft.irfft(np.abs(spectrum) ** 2)[1 : DRAWS + 1]
    agreement = products / (sign.size - np.arange(1, DRAWS + 1))
    most = np.sqrt(2 / DRAWS * np.log(2 * DRAWS / FALSE_ALARM))
    dependent = np.flatnonzero(np.abs(agreement) > most) + 1
    said = _shared(sign, dependent, agreement) if dependent.size else ""

    def text(i):
        return (
            f"input  {half.dtype} {shortest(float(half[0]))}, half way, {DRAWS} times in each of two calls\n"
            f"wanted roundings that are independent (a false alarm has a probability of at most {FALSE_ALARM:g})\n"
            f"got    it {said}"
        )

    tally.count(route, half[:1], np.array([bool(said)]), text)
    tally.hints += [said] * bool(said)


def _shared(sign, dependent, agreement) -> str:
    """Say how roundings (+1 or -1) depend on one another, `dependent` are distances at which they do."""
    calls = sign.reshape(2, -1)
    if dependent[-1] == DRAWS and (calls[0] == calls[1]).all():
        return "draws the same random numbers in every call"
    for together in (2**k for k in range(13, 0, -1)):
        groups = sign.reshape(-1, together)
        if (groups == groups[:, :1]).all():
            return f"draws one random number for {together} neighbours (positions {together} at a time)"
    apart = int(dependent[np.argmax(np.abs(agreement[dependent - 1]).round(6))])
    same = (1 + agreement[apart - 1]) / 2
    return f"does not round independently: results {apart} places apart agree in {100 * same:.1f} %, not in 50 %"


def certain(probe, tally, group) -> None:
    """Check what stochastic rounding leaves no choice about: representable values and NaN."""
    behaviour = probe.behaviour
    for dtype in probe.inputs:
        x = group(behaviour.format, dtype)
        down, up = (
            Behaviour(behaviour.format, mode, behaviour.overflow, behaviour.nan).values(x)
            for mode in ("toward_negative", "toward_positive")
        )
        wide = x.astype(np.float64)
        sure = behaviour.same(wide, down, up)
        # beyond the largest value the carry decides: only infinity and exact values are certain
        largest = values_of(behaviour.format)[-1]
        sure &= ~np.isfinite(wide) | (np.abs(wide) <= largest)
        for route in probe.routes:
            try:
                got = probe.ask(route, x, *probe.random_integers(x.shape, (1 << (behaviour.random_bits or 0)) - 1))
            except Finding as found:
                tally.find(route, found)
                continue
            either = behaviour.same(wide, down, got) | behaviour.same(wide, up, got)
            inside = np.abs(wide) <= largest
            bad = sure & ~behaviour.same(wide, down, got) | inside & ~either & (got != 0)

            def text(i, x=x, got=got, down=down):
                return explain(behaviour, x[i : i + 1], got[i], right=down[i])

            tally.count(route, x, bad, text)
            moved = sure & (got != down) & np.isfinite(wide)
            if moved.any():
                tally.hints.append(MOVES)
            for what, where in (("infinity", np.isinf(wide)), ("NaN", np.isnan(wide))):
                if (bad & where).any():
                    tally.hints.append(f"gives {shortest(float(got[bad & where][0]))} for {what}")


def steps(x: np.ndarray, fmt) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the magnitudes either side of x and the fraction of the step between, from the definition."""
    found: list[tuple[float, float, float]] = []
    for v in x:
        exact = float_codes.from_float(float(v)).magnitude
        if exact == 0:
            found.append((0.0, 0.0, 0.0))
            continue
        code = float_codes.round_to_precision(exact, False, fmt, "toward_zero")
        below, above = (float_codes.magnitude(c, fmt) for c in (code, code + 1))
        if not fmt.has_subnormals and below == 0:
            above = float_codes.magnitude(1 << fmt.mantissa_bits, fmt)
        part = (exact - below) / (above - below)
        found.append((float(below), float(above if part else below), float(part)))
    low, high, nu = np.array(found).T
    return low, high, nu


def probability(kind: str, bits: int | None, nu: float) -> float:
    """Return the probability of going up for a fraction nu, as IEEE P3109 has it."""
    if bits is None:
        return nu
    count = 1 << bits
    return float(decides(kind, bits, np.array([nu]), np.arange(count)[:, None]).mean())


def decides(kind: str, bits: int, nu: np.ndarray, random: np.ndarray) -> np.ndarray:
    """Tell where stochastic A, B or C goes up for fractions and random integers below 2^bits."""
    count = 1 << bits
    if kind == "stochastic_a":
        return np.floor(nu * count) + random >= count
    if kind == "stochastic_b":
        return np.floor(nu * 2 * count) + 2 * random + 1 >= 2 * count
    return np.rint(nu * count) + random >= count


def _drawn_wrongly(x, got, fmt) -> str:
    """Name the defect that the fractions of results (inputs, draws) show."""
    low, high, nu = steps(x, fmt)
    size, negative = np.abs(got), np.signbit(x)
    up = (size == high[:, None]).mean(axis=1)
    exact = nu == 0
    if (size[exact] != low[exact, None]).any():
        return MOVES + _shifted(low, high, nu, size)
    inner = ~exact
    if not inner.any():
        return "breaks its probabilities"
    stray = ~((size[inner] == low[inner, None]) | (size[inner] == high[inner, None]))
    if (got == got[:, :1]).all() and not stray.any():
        return f"rounds deterministically, not stochastically{_mode_of(x, got[:, 0], fmt)}"
    if stray.any():
        return "gives values that are not next to the input"
    nu, up, negative = nu[inner], up[inner], negative[inner]
    small = low[inner] < fmt.smallest_normal

    def is_near(p, where=True):
        return np.abs(up - p)[np.broadcast_to(where, up.shape)].max(initial=0) < TOLERANCE

    ways = dict(_ways(nu))
    for sentence, p in ways.items():
        if is_near(p):
            return f"goes up {sentence}"
    for region, where in (
        ("negative values", negative),
        ("positive values", ~negative),
        ("values below the smallest", low[inner] == 0),
        ("subnormals", small),
        ("normal values", ~small),
    ):
        if is_near(nu, ~where):
            said = next((f": goes up {sentence}" for sentence, p in ways.items() if is_near(p, where)), "")
            return f"breaks its probabilities among {region} alone{said}"
    bias = float(np.median(up - nu))
    direction = "too often" if bias > 0 else "too seldom"
    return f"goes away from zero {direction}, by {abs(bias):.3f} of a step"


def _shifted(low, high, nu, size) -> str:
    """Say by how much of a step results lie from their inputs in the mean, where that is alike for most."""
    inner = (low > 0) & (nu > 0)
    off = ((size - low[:, None]) / (high - low)[:, None])[inner].mean(axis=1) - nu[inner]
    off = off[np.isfinite(off)]
    if not off.size or abs(mean := float(np.median(off))) < TOLERANCE:
        return ""
    direction = "far from zero" if mean > 0 else "near to zero"
    about = "half a step" if abs(abs(mean) - 0.5) < TOLERANCE else f"{abs(mean):.3f} of a step"
    return f", and gives results {about} too {direction} in the mean"


def _ways(nu):
    """Yield wrong ways to go up, and their probabilities for the fractions nu."""
    yield "with probability one half, whatever the fraction", np.full(nu.shape, 0.5)
    yield "with the other probability, 1 - fraction", 1 - nu
    yield "never", np.zeros(nu.shape)
    yield "always", np.ones(nu.shape)
    yield "from one half on, as to nearest", np.where(nu == 0.5, 0.5, nu > 0.5)
    yield "above one half alone, as to nearest", 1.0 * (nu > 0.5)
    for bits in range(1, 6):
        for kind in ("stochastic_a", "stochastic_b", "stochastic_c"):
            p = np.array([probability(kind, bits, float(v)) for v in nu])
            yield f"as with {bits} random bits of {kind}", p
    yield "twice too often", np.minimum(2 * nu, 1)
    yield "half as often as it should", nu / 2
    yield "with the square of the fraction as probability", nu * nu
    yield "with the root of the fraction as probability", np.sqrt(nu)


def _mode_of(x, got, fmt) -> str:
    for mode in DETERMINISTIC:
        if (Behaviour(fmt, mode).values(x) == got).all():
            return f": {mode}"
    return ""


def _decided_wrongly(behaviour, x, got) -> str:
    """Name the defect of an implementation that is given every random integer (inputs, integers)."""
    fmt, bits = behaviour.format, behaviour.random_bits
    low, high, nu = steps(x, fmt)
    size = np.abs(got)
    up, nu = size == high[:, None], nu[:, None]
    inner = (nu[:, 0] > 0) & (high <= fmt.max)
    if (size[nu[:, 0] == 0] != low[nu[:, 0] == 0, None]).any():
        moved = MOVES
    else:
        moved = ""
    r = np.arange(1 << bits)[None, :]
    backwards = np.array([int(f"{k:0{bits}b}"[::-1], 2) for k in range(1 << bits)])[None, :]
    if (got == got[:, :1]).all():
        return f"ignores the random integer{_mode_of(x, got[:, 0], fmt)}"
    own = behaviour.rounding
    ways = [(f"decides as {kind}", decides(kind, bits, nu, r)) for kind in COUNTED if kind != own]
    for kind in (own, *(k for k in COUNTED if k != own)):
        also = "" if kind == own else f", as {kind}"
        ways += [
            (f"takes the complement of the random integer{also}", decides(kind, bits, nu, (1 << bits) - 1 - r)),
            (f"takes the bits of the random integer in reverse{also}", decides(kind, bits, nu, backwards)),
            (f"goes up one random integer too often{also}", decides(kind, bits, nu, r + 1)),
            (f"goes up one random integer too seldom{also}", decides(kind, bits, nu, r - 1)),
        ]
        for fewer in range(1, bits):
            left = bits - fewer
            what = f"uses {left} random bit{'s' * (left > 1)}"
            ways.append((f"{what}, the highest of them{also}", decides(kind, left, nu, r >> fewer)))
            ways.append((f"{what}, the lowest of them{also}", decides(kind, left, nu, r & (1 << left) - 1)))
    right = decides(own, bits, nu, r)
    negative = np.signbit(x)
    for region, where in (("", inner), (" among negative values", negative), (" among positive values", ~negative)):
        if (up == right)[inner & ~where].all():
            for sentence, decided in ways:
                if (up == decided)[inner & where].all():
                    return sentence + region
    return moved or "breaks the rule by which random integers decide"
