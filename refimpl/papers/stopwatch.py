"""Times of several ways to do the same, taken in turn, so that what slows the machine slows all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np
from threadpoolctl import threadpool_limits

from refimpl.papers.claim import paired, sure

__all__ = ["ratio", "seconds"]


def seconds(
    ways: Mapping[str, Callable[[], object]], repeats: int, least: float = 0.02, *, threads: int = 1
) -> dict[str, np.ndarray]:
    """Return the seconds that one call of each takes, BLAS in so many threads, (repeats,).

    A call is repeated within a measurement until that takes `least` seconds; compiling is not counted.

    >>> seconds({"nothing": lambda: None}, 3, least=1e-4)["nothing"].shape
    (3,)
    """
    with threadpool_limits(threads):
        calls = {}
        for name, way in ways.items():
            way()  # compiles
            begun = time.perf_counter()
            way()
            calls[name] = max(1, int(least / max(time.perf_counter() - begun, 1e-7)))
        found = {name: np.empty(repeats) for name in ways}
        for i in range(repeats):
            for name, way in ways.items():
                begun = time.perf_counter()
                for _ in range(calls[name]):
                    way()
                found[name][i] = (time.perf_counter() - begun) / calls[name]
    return found


def ratio(of: np.ndarray, to: np.ndarray) -> tuple[float, float, float]:
    """Return how many times longer one takes than another (geometric mean), and its ends as far off as `sure` says.

    >>> [round(x, 6) for x in ratio(np.array([2.0, 8.0]), np.array([1.0, 4.0]))]
    [2.0, 2.0, 2.0]
    """
    mean, error, repeats = paired(np.log(of), np.log(to))
    off = sure(repeats) * error
    return float(np.exp(mean)), float(np.exp(mean - off)), float(np.exp(mean + off))
