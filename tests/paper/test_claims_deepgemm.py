"""DeepGEMM: each claim's machinery, and what turns its verdict."""

import numpy as np
import pytest

import refimpl as rf
from refimpl.papers import deepgemm, stopwatch
from refimpl.papers.claim import Bench

QUICK = Bench(quick=True)


def test_sums_of_values_one_after_the_other_are_the_plain_road():
    x, y = np.array([[1, -2], [3, 0]], np.int32), np.array([[5], [7]], np.int32)
    assert deepgemm.plain(x, y).tolist() == [[-9], [15]]
    big = np.array([[2.0**24, 1, 1]], np.float32)
    assert deepgemm.plain(big, np.ones((3, 1), np.float32)) == 2.0**24  # each sum rounded


def test_lookups_are_exact_for_every_pair_and_a_table_off_by_a_bit_is_found(monkeypatch):
    monkeypatch.setattr(deepgemm, "INTEGERS", ("uint2", "int3_full"))
    monkeypatch.setattr(deepgemm, "OTHERS", ("nf4",))
    assert deepgemm.exact(QUICK).verdict == "holds"
    right = rf.matmul_lookup
    monkeypatch.setattr(
        rf,
        "matmul_lookup",
        lambda a, b, *formats: (
            np.nextafter(right(a, b, *formats), np.inf) if "nf4" in map(str, formats) else right(a, b, *formats)
        ),
    )
    found = deepgemm.exact(QUICK)
    assert found.verdict == "does not hold here"
    assert (found.charts[0].series["part of the results alike, bit for bit"] < 1).sum() == 13
    assert len(found.numbers["different"]) == 13 and all("nf4" in pair for pair in found.numbers["different"])


def test_tables_of_another_size_are_found(monkeypatch):
    found = deepgemm.sizes(QUICK)
    assert found.verdict == "holds"
    drawn = {name: list(y) for name, (_, y) in found.charts[0].series.items()}
    assert drawn == {f"activations of {a} bits": [2 ** (w + a) for w in (1, 2, 3, 4)] for a in (1, 2, 3, 4)} | {
        "one vector instruction": [16] * 4
    }
    monkeypatch.setattr(rf, "product_table", lambda one, other: np.zeros((16, 16)))
    assert deepgemm.sizes(QUICK).verdict == "does not hold here"


def test_the_bound_of_16_bit_sums_is_sharp_and_one_from_smaller_products_is_refuted(monkeypatch):
    found = deepgemm.bound(QUICK)
    assert found.verdict == "holds"
    assert [row[2] for row in found.numbers["rows"]] == [5461, 8191, 1170, 273]  # (2^15 - 1) // 6, 4, 28, 120
    wide = rf.matmul_lookup
    monkeypatch.setattr(rf, "matmul_lookup", lambda *given: wide(*given).astype(np.int16))  # wraps with them
    assert deepgemm.bound(QUICK).verdict == "does not hold here"


@pytest.mark.parametrize(("lookups", "verdict"), [(0.5, "holds"), (2.0, "does not hold here")])
def test_the_verdict_on_time_follows_from_the_times(monkeypatch, lookups, verdict):
    def made_up(ways, repeats):
        return {name: np.linspace(1, 1.1, repeats) * (lookups if "looked" in name else 1) for name in ways}

    monkeypatch.setattr(deepgemm, "seconds", made_up)
    assert deepgemm.times(QUICK).verdict == verdict


def test_a_stopwatch_takes_the_longer_for_longer():
    found = stopwatch.seconds({"short": lambda: sum(range(100)), "long": lambda: sum(range(10_000))}, 5, 1e-3)
    times, low, high = stopwatch.ratio(found["long"], found["short"])
    assert 1 < low <= times <= high
