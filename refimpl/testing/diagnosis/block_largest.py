"""Known defects of what stands for a block's largest magnitude, and of which block gets it; the likeliest first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from refimpl.testing.diagnosis.block_stages import not_finite_is_nan
from refimpl.testing.diagnosis.stages import Defect
from refimpl.testing.expected.quotients import fewer, through

LEAST = [10.0**-k for k in (4, 5, 6, 7, 8, 9, 10, 12, 15, 20, 30, 38)] + [2.0**-k for k in (10, 14, 23, 24, 30, 126)]
CLIPPED = (0.6, 0.7, 0.75, 0.8, 0.85, 0.875, 0.9, 0.95, 0.96, 0.97, 0.98, 0.99, 0.995, 0.999)
BEYOND = (1.001, 1.01, 1.02, 1.05, 1.0625, 1.1, 1.125, 1.2, 1.25, 4 / 3, 1.5)


def of_largest(dynamic: bool) -> Iterator[Defect]:
    """Yield defects of the largest magnitude; where a tensor scale is dynamic, also those that leave it right."""
    yield from _of_stages(_of_largest(), dynamic)


def of_statistics(size: int, two_levels: bool, dynamic: bool) -> Iterator[Defect]:
    """Yield defects by which something else, or a part or a multiple of it, stands for the largest magnitude."""
    yield from _of_stages(_more_of_largest(size, two_levels), dynamic)


def _of_stages(found: Iterable[tuple[str, Callable]], dynamic: bool) -> Iterator[Defect]:
    for sentence, stage in found:
        yield Defect(sentence, {"largest": lambda p, b, stage=stage: not_finite_is_nan(stage(b))})
        if dynamic:
            yield Defect(sentence, {"own": lambda p, b, a, stage=stage: np.where(np.isnan(a), a, stage(b))})


def _of_largest() -> Iterator[tuple[str, Callable]]:
    def of(name, stage):
        return name, stage

    for name in ("bfloat16", "float16", "float32"):
        yield of(f"rounds the largest magnitude to {name}", lambda b, n=name: through(_most(np.abs(b)), n))
    yield of("cuts the largest magnitude to bfloat16", lambda b: through(_most(np.abs(b)), "bfloat16", "toward_zero"))
    yield of("rounds the largest magnitude to tf32", lambda b: fewer(_most(np.abs(b)), 10))
    yield of("takes the largest value, not the largest magnitude", lambda b: np.maximum(_most(b), 0.0))
    yield of("takes the largest value, not the largest magnitude", lambda b: np.abs(_most(b)))
    yield of("takes the magnitude of the smallest value", lambda b: np.abs(b.min(axis=-1, keepdims=True)))
    yield of("takes the mean magnitude, not the largest", lambda b: np.abs(b).mean(axis=-1, keepdims=True))
    yield of("takes half the range, not the largest magnitude", lambda b: (_most(b) + _most(-b)) / 2)
    yield of("leaves the last element out of the largest magnitude", lambda b: _most(np.abs(b[..., :-1])))
    yield of("leaves the first element out of the largest magnitude", lambda b: _most(np.abs(b[..., 1:])))
    yield of("takes the magnitude of the first element", lambda b: np.abs(b[..., :1]))
    for part, word in ((2, "half"), (4, "quarter")):
        yield of(
            f"looks for the largest magnitude in the first {word} of a block alone",
            lambda b, part=part: _most(np.abs(b[..., : max(1, b.shape[-1] // part)])),
        )
    for least in LEAST:
        shown = f"2^{int(np.log2(least))}" if np.frexp(least)[0] == 0.5 else f"{least:g}"
        yield of(
            f"takes largest magnitudes below {shown} for {shown}",
            lambda b, least=least: np.maximum(_most(np.abs(b)), least),
        )
        yield of(f"adds {shown} to the largest magnitude", lambda b, least=least: _most(np.abs(b)) + least)
        yield of(
            f"takes largest magnitudes below {shown} for zero",
            lambda b, least=least: np.where(_most(np.abs(b)) < least, 0.0, _most(np.abs(b))),
        )


def _more_of_largest(size: int, two_levels: bool) -> Iterator[tuple[str, Callable]]:
    def of(name, stage):
        return name, stage

    for sentence, statistic in statistics(size).items():
        yield of(f"takes {sentence}, not the largest magnitude", statistic)
    for by in (*((2.0, 0.5, 0.25, 4.0) if two_levels else ()), *CLIPPED, *BEYOND, 3.0):
        yield of(f"takes {by:g} times the largest magnitude", lambda b, by=by: by * _most(np.abs(b)))
    for most in (1.0, 2.0, 4.0, 6.0, 8.0, 10.0, 16.0, 100.0, 127.0, 240.0, 448.0, 65504.0):
        yield of(
            f"takes largest magnitudes above {most:g} for {most:g}",
            lambda b, most=most: np.minimum(_most(np.abs(b)), most),
        )


def _most(b):
    return b.max(axis=-1, keepdims=True, initial=-np.inf)


def _rank(b, k):
    """Return the k-th largest of the last axis."""
    return np.partition(b, -k, axis=-1)[..., -k : b.shape[-1] - k + 1]


def statistics(size: int) -> dict[str, Callable]:
    """Return what else might be taken of the elements of a block, by name."""

    def kept(work):
        """Take what is computed of magnitudes, on the last axis."""
        return lambda b: work(np.abs(b))

    def mean(b):
        return b.mean(axis=-1, keepdims=True)

    def deviation(b, ddof=0):
        return b.std(axis=-1, keepdims=True, ddof=min(ddof, b.shape[-1] - 1))

    def rms(b):
        top = np.maximum(_most(np.abs(b)), 2.0**-1000)
        return np.sqrt(mean((b / top) ** 2)) * top

    found: dict[str, Callable] = {
        "the second largest magnitude": kept(lambda m: _rank(m, min(2, m.shape[-1]))),
        "the third largest magnitude": kept(lambda m: _rank(m, min(3, m.shape[-1]))),
        "the second largest magnitude (unless that is zero)": kept(
            lambda m: np.where((s := _rank(m, min(2, m.shape[-1]))) > 0, s, _most(m))
        ),
        "the largest magnitude smaller than it": kept(
            lambda m: np.where(m < _most(m), m, 0.0).max(axis=-1, keepdims=True)
        ),
        "the smallest magnitude": kept(lambda m: m.min(axis=-1, keepdims=True)),
        "the smallest magnitude above zero": kept(
            lambda m: np.where(m > 0, m, np.inf).min(axis=-1, keepdims=True, initial=np.inf)
        ),
        "the median magnitude": kept(lambda m: np.median(m, axis=-1, keepdims=True)),
        "the range, largest less smallest,": lambda b: _most(b) + _most(-b),
        "the sum of magnitudes": kept(lambda m: m.sum(axis=-1, keepdims=True)),
        "the length of the block as a vector": lambda b: rms(b) * np.sqrt(b.shape[-1]),
        "the magnitude of the last element": lambda b: np.abs(b[..., -1:]),
        "the magnitude of the sum": lambda b: np.abs(b.sum(axis=-1, keepdims=True)),
        "the larger of the largest value and the magnitude of the mean": lambda b: np.maximum(
            _most(b), np.abs(mean(b))
        ),
    }
    for k in (2, 3, 4, 5, 6):
        found[f"mean + {k} standard deviations of magnitudes"] = kept(lambda m, k=k: mean(m) + k * deviation(m))
        found[f"magnitude of the mean + {k} standard deviations"] = lambda b, k=k: np.abs(mean(b)) + k * deviation(b)
        found[f"{k} standard deviations"] = lambda b, k=k: k * deviation(b)
        for ddof in (1,):
            found[f"mean + {k} standard deviations (of n - 1) of magnitudes"] = kept(
                lambda m, k=k, d=ddof: mean(m) + k * deviation(m, d)
            )
            found[f"{k} standard deviations (of n - 1)"] = lambda b, k=k, d=ddof: k * deviation(b, d)
        found[f"mean + {k} standard deviations of magnitudes, at most the largest"] = kept(
            lambda m, k=k: np.minimum(mean(m) + k * deviation(m), _most(m))
        )
        found[f"{k} standard deviations, at most the largest magnitude"] = lambda b, k=k: np.minimum(
            k * deviation(b), _most(np.abs(b))
        )
    for by in (1, 1.5, 2, 2.5, 3, 4, 5, 6):
        found[f"{by} times the root mean square"] = lambda b, by=by: by * rms(b)
        found[f"{by} times the mean magnitude"] = kept(lambda m, by=by: by * mean(m))
    for part in (0.999, 0.995, 0.99, 0.98, 0.975, 0.97, 0.95, 0.9, 0.85, 0.8, 0.75):
        for method in ("linear", "lower", "higher", "nearest"):
            how = "" if method == "linear" else f" ({method})"
            found[f"the {100 * part:g} % percentile of magnitudes{how}"] = kept(
                lambda m, q=part, method=method: np.quantile(m, q, axis=-1, keepdims=True, method=method)
            )
    for step, first in ((2, 0), (2, 1), (4, 0), (8, 0)):
        which = "every second" if step == 2 else f"every {step}th"
        found[f"the largest magnitude of {which} element, from element {first} on"] = kept(
            lambda m, step=step, first=first: _most(m[..., first::step])
        )
    for part, word in ((2, "half"), (4, "quarter")):
        found[f"the largest magnitude of the last {word}"] = kept(
            lambda m, part=part: _most(m[..., -max(1, m.shape[-1] // part) :])
        )
    for count in (2, 4):
        found[f"the mean of the largest magnitudes of {count} parts"] = kept(
            lambda m, n=count: _of_parts(m, n, np.mean)
        )
        found[f"the smallest of the largest magnitudes of {count} parts"] = kept(
            lambda m, n=count: _of_parts(m, n, np.min)
        )
    return found


def _of_parts(m, count: int, how):
    if m.shape[-1] % count:
        return _most(m)
    parts = m.reshape(*m.shape[:-1], count, -1).max(axis=-1)
    return how(parts, axis=-1, keepdims=True)


def of_places() -> Iterator[Defect]:
    """Yield defects by which a block gets the scale of another, or of several: `of` is of (calls, rows, blocks, 1)."""
    rolled = {
        "gives a block the scale of the one before": lambda p, a: np.roll(a, 1, axis=-2),
        "gives a block the scale of the one after": lambda p, a: np.roll(a, -1, axis=-2),
        "gives all blocks of a row the scale of its first": lambda p, a: np.broadcast_to(a[..., :1, :], a.shape),
        "gives all blocks of a row the scale of its last": lambda p, a: np.broadcast_to(a[..., -1:, :], a.shape),
        "has the scales of a row in the opposite order": lambda p, a: a[..., ::-1, :],
        "swaps the scales of neighbours": lambda p, a: _swapped(a),
        "gives two neighbours the scale of the first": lambda p, a: _of_pairs(a, lambda m: m[..., :1, :]),
        "gives two neighbours the scale of the second": lambda p, a: _of_pairs(a, lambda m: m[..., -1:, :]),
        "gives a block the larger of its scale and that of the one before": lambda p, a: np.maximum(a, _before(a)),
        "gives a block the larger of its scale and that of the one after": lambda p, a: np.maximum(
            a, _before(a[..., ::-1, :])[..., ::-1, :]
        ),
        "keeps the largest magnitude of the blocks before it in a row": lambda p, a: np.maximum.accumulate(a, axis=-2),
    }
    for sentence, stage in rolled.items():
        yield Defect(sentence, {"of": stage})
    of_rows = {
        "gives a block the scale of the one before, rows after rows": lambda p, a: _in_turn(
            a, lambda f: np.roll(f, 1, 1)
        ),
        "gives a block the scale of the one after, rows after rows": lambda p, a: _in_turn(
            a, lambda f: np.roll(f, -1, 1)
        ),
        "has all scales in the opposite order": lambda p, a: _in_turn(a, lambda f: f[:, ::-1]),
        "has the scales of columns after columns, not of rows after rows": lambda p, a: _transposed(a),
        "has the scales of rows after rows where those of columns after columns are read": lambda p, a: _untransposed(
            a
        ),
        "gives a block the scale of the row before": lambda p, a: np.roll(a, 1, axis=-3),
        "gives a block the scale of the row after": lambda p, a: np.roll(a, -1, axis=-3),
        "gives all rows the scales of the first": lambda p, a: np.broadcast_to(a[..., :1, :, :], a.shape),
        "gives all blocks the scale of the first": lambda p, a: np.broadcast_to(a[..., :1, :1, :], a.shape),
        "gives the blocks of a column one scale": lambda p, a: np.broadcast_to(a.max(axis=-3, keepdims=True), a.shape),
        "gives two rows the larger of their scales": lambda p, a: _tiles(a, 2),
        "has a scale for tiles of 16 rows": lambda p, a: _tiles(a, 16),
        "has a scale for tiles of 32 rows": lambda p, a: _tiles(a, 32),
        "keeps the largest magnitude of all blocks before it": lambda p, a: _in_turn(
            a, lambda f: np.maximum.accumulate(f, axis=1)
        ),
    }
    for sentence, stage in of_rows.items():
        yield Defect(sentence, {"of": stage}, needs_all=True)


def scales_written() -> Iterator[Defect]:
    """Yield defects by which elements are right for a block's scale, but another one is written."""
    for defect in of_places():
        stage = defect.stages["of"]
        yield Defect(f"writes other scales than it divides by: {defect.sentence}", {"written": stage}, defect.needs_all)


def _before(a):
    return np.concatenate([a[..., :1, :], a[..., :-1, :]], axis=-2)


def _of_pairs(a, which):
    found = np.array(a, copy=True)
    for i in range(0, a.shape[-2], 2):
        found[..., i : i + 2, :] = which(a[..., i : i + 2, :])
    return found


def _swapped(a):
    found = np.array(a, copy=True)
    n = a.shape[-2] // 2 * 2
    found[..., 0:n:2, :], found[..., 1:n:2, :] = a[..., 1:n:2, :], a[..., 0:n:2, :]
    return found


def _in_turn(a, work):
    return work(a.reshape(a.shape[0], -1)).reshape(a.shape)


def _transposed(a):
    return np.ascontiguousarray(np.swapaxes(a, 1, 2)).reshape(a.shape)


def _untransposed(a):
    return np.swapaxes(a.reshape(a.shape[0], a.shape[2], a.shape[1], a.shape[3]), 1, 2)


def _tiles(a, rows):
    found = np.array(a, copy=True)
    for i in range(0, a.shape[1], rows):
        found[:, i : i + rows] = a[:, i : i + rows].max(axis=1, keepdims=True)
    return found
