"""The trade of memory against error: frontiers, and how good an estimated one is.

Every function takes one number per configuration for memory (any unit, the same throughout) and
for error (in [0, 1]); smaller is better for both. Point i *dominates* point j if it is no worse in
both and better in one. The *frontier* is the set of points that none dominates. Three numbers
compare a predicted frontier with the true one. What to pick under a memory cap, and what it costs
to have picked wrongly, is at the end.

*Source*: Pareto optimality; PEPPP (arXiv 2106.09686) for the metrics, and for frontiers of which
exact duplicates eliminate each other.
"""

import math
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from refimpl._arguments import Interval, choice, finite, integer, message, number, numbers
from refimpl.peppp.checks import mask, vectors

__all__ = [
    "DUPLICATES",
    "budget_regret",
    "convergence",
    "hyper_diff",
    "hypervolume",
    "inverted_distance",
    "knee",
    "non_dominated",
    "recommend",
    "regret",
]

Duplicates = Literal["keep", "eliminate"]
DUPLICATES = ("keep", "eliminate")
"""What may happen to frontier points that are equal in both memory and error."""


def non_dominated(memory: ArrayLike, error: ArrayLike, *, duplicates: Duplicates = "keep") -> NDArray[np.bool_]:
    """Mark the points that no other point dominates.

    Parameters
    ----------
    memory, error : array_like of float, shape (n,)
        Memory and error of each configuration.
    duplicates : {"keep", "eliminate"}, default "keep"
        What happens to frontier points equal in both memory and error. "keep": all are on the
        frontier, since none dominates another. "eliminate": all are dropped, as the code released
        with the paper does; then a frontier can even be empty.

    Returns
    -------
    ndarray of bool, shape (n,)
        True on the frontier.

    Raises
    ------
    ValueError
        If lengths differ, a number is not finite, or `duplicates` is neither word.

    Notes
    -----
    Exact: only comparisons.

    Examples
    --------
    >>> non_dominated([1, 2, 2, 3], [0.5, 0.2, 0.4, 0.2])
    array([ True,  True, False, False])
    """
    memory, error = vectors("non_dominated", memory=memory, error=error)
    choice("non_dominated", "duplicates", duplicates, DUPLICATES)
    levels, level = np.unique(memory, return_inverse=True)
    best = np.full(len(levels), np.inf)  # smallest error at each memory level ...
    np.minimum.at(best, level, error)
    cheaper = np.minimum.accumulate(np.append(np.inf, best[:-1]))  # ... and at any level below it
    kept = (error == best[level]) & (error < cheaper[level])
    if duplicates == "eliminate":  # kept points of one memory level are equal in error as well
        kept &= np.bincount(level, weights=kept)[level] == 1
    return kept


def knee(memory: ArrayLike, error: ArrayLike) -> int:
    """Find the frontier point after which more memory buys little.

    Scale the frontier's memory and error each to [0, 1]. The chord joins its end points, (0, 1)
    and (1, 0); the knee is the frontier point farthest below it, the largest 1 - memory - error.

    Parameters
    ----------
    memory, error : array_like of float, shape (n,)
        Memory and error of each configuration; dominated points are ignored.

    Returns
    -------
    int
        Index of the knee. If no point is below the chord, in particular if the frontier has only
        one or two distinct points, it is the frontier point of smallest memory. Ties (to a
        relative 1e-9) go to the smaller memory, then to the lower index.

    Raises
    ------
    ValueError
        If lengths differ or a number is not finite.

    Notes
    -----
    *Source*: the greatest-distance-to-chord rule. Exact up to rounding of the scaled points.

    Examples
    --------
    >>> knee([0, 1, 4], [0.9, 0.2, 0.1])
    1
    """
    memory, error = vectors("knee", memory=memory, error=error)
    front = np.flatnonzero(non_dominated(memory, error))
    front = front[np.lexsort((front, memory[front]))]
    memory, error = memory[front], error[front]
    if memory[0] == memory[-1]:
        return int(front[0])
    x = (memory - memory[0]) / (memory[-1] - memory[0])
    y = (error - error[-1]) / (error[0] - error[-1])
    depth = np.maximum(1 - x - y, 0)
    return int(front[np.argmax(depth >= depth.max() * (1 - 1e-9))])


def hypervolume(memory: ArrayLike, error: ArrayLike, reference: tuple[float, float]) -> float:
    """Measure the area that the points dominate, up to a reference point.

    Parameters
    ----------
    memory, error : array_like of float, shape (n,)
        Memory and error of each configuration, in any order, dominated or not.
    reference : tuple of float
        Memory and error of the reference point; points that are not below it in both add nothing.

    Returns
    -------
    float
        The area of the union of rectangles [memory_i, reference_0] x [error_i, reference_1].

    Raises
    ------
    ValueError
        If lengths differ or a number is not finite.

    Notes
    -----
    *Source*: Zitzler and Thiele's hypervolume, in two dimensions; the code released with PEPPP
    (arXiv 2106.09686) takes points in the wrong order. A correctly rounded sum of rounded
    rectangles: relative error at most 2^-51 apart from underflow, and bit for bit the same for
    any order of the points and whatever dominated or repeated points are among them.

    Examples
    --------
    >>> hypervolume([2, 1], [0.25, 0.5], reference=(4, 1))
    2.0
    """
    memory, error = vectors("hypervolume", memory=memory, error=error)
    corner = finite("hypervolume", "reference", numbers("hypervolume", "reference", reference, (2,)))
    width, height = corner
    order = np.lexsort((error, memory))
    memory = np.minimum(memory[order], width)
    lowest = np.minimum.accumulate(np.append(height, error[order]))
    return math.fsum((width - memory) * (lowest[:-1] - lowest[1:]))


# An estimated frontier beside the true one


def convergence(
    memory: ArrayLike,
    true: ArrayLike,
    predicted: ArrayLike,
    *,
    memory_scale: float | None = None,
    duplicates: Duplicates = "keep",
) -> float:
    """Average the distance from the predicted frontier to the true one.

    Points are (memory / memory_scale, error / largest error), where the largest error is
    max(1, largest predicted error). For each point of the frontier of (memory, predicted) take the
    Euclidean distance to the nearest point of the frontier of (memory, true); average.

    Parameters
    ----------
    memory, true, predicted : array_like of float, shape (n,)
        Memory, true error and predicted error of each configuration.
    memory_scale : float, optional
        Divisor of memory; default its largest value. The paper divides every data set's memory by
        the largest one of the whole matrix.
    duplicates : {"keep", "eliminate"}, default "keep"
        See `non_dominated`.

    Returns
    -------
    float
        A distance >= 0; 0 if every predicted frontier point lies on the true frontier. Low values
        alone prove little, since a one-point frontier can have them: report `hyper_diff` too.

    Raises
    ------
    ValueError
        If lengths differ, a number is not finite, the scale is below the largest memory, or
        "eliminate" leaves no frontier.

    Notes
    -----
    *Source*: PEPPP (arXiv 2106.09686). Exact up to rounding of the distances.

    Examples
    --------
    >>> convergence([1, 2], true=[0.5, 0.25], predicted=[0.5, 0.375])
    0.0625
    """
    distance = _distances("convergence", memory, true, predicted, memory_scale, duplicates)
    return float(distance.min(axis=1).mean())


def inverted_distance(
    memory: ArrayLike,
    true: ArrayLike,
    predicted: ArrayLike,
    *,
    memory_scale: float | None = None,
    duplicates: Duplicates = "keep",
) -> float:
    """Average the distance from the true frontier to the predicted one.

    The inverted generational distance of Coello Coello and Reyes Sierra (2004): `convergence` with
    the two frontiers exchanged, so that a predicted frontier which leaves out part of the true one
    shows. Parameters, errors raised and exactness are those of `convergence`.

    Returns
    -------
    float
        A distance >= 0; 0 if every true frontier point lies on the predicted frontier.

    Examples
    --------
    >>> inverted_distance([1, 2], true=[0.5, 0.25], predicted=[0.5, 0.75])
    0.2795084971874737
    """
    distance = _distances("inverted_distance", memory, true, predicted, memory_scale, duplicates)
    return float(distance.min(axis=0).mean())


def hyper_diff(
    memory: ArrayLike,
    true: ArrayLike,
    predicted: ArrayLike,
    *,
    memory_scale: float | None = None,
    duplicates: Duplicates = "keep",
) -> float:
    """Compare the hypervolumes of the predicted and of the true frontier.

    HyperDiff = ``|HV(predicted frontier) - HV(true frontier)|``, memory divided by `memory_scale`,
    reference point (1, max(1, largest predicted error)). Parameters and errors raised are those of
    `convergence`, except that an empty frontier has area 0.

    Returns
    -------
    float
        An area >= 0; at most 1 when all errors are in [0, 1].

    Notes
    -----
    *Source*: PEPPP (arXiv 2106.09686), with `hypervolume` independent of order. Error at most
    2^-50 times the larger of the two volumes.

    Examples
    --------
    >>> hyper_diff([1, 2], true=[0.5, 0.25], predicted=[0.75, 0.25])
    0.125
    """
    memory, true, predicted = vectors("hyper_diff", memory=memory, true=true, predicted=predicted)
    scale = _scale("hyper_diff", memory, memory_scale)
    reference = (1.0, max(1.0, float(predicted.max())))
    volumes = []
    for error in (predicted, true):
        front = non_dominated(memory, error, duplicates=duplicates)
        points = memory[front] / scale, error[front]
        volumes.append(hypervolume(*points, reference) if front.any() else 0.0)
    return abs(volumes[0] - volumes[1])


def _distances(caller, memory, true, predicted, memory_scale, duplicates) -> NDArray[np.float64]:
    """Distances between the points of the predicted frontier (rows) and of the true one."""
    memory, true, predicted = vectors(caller, memory=memory, true=true, predicted=predicted)
    scale = _scale(caller, memory, memory_scale)
    largest = max(1.0, predicted.max())
    fronts = []
    for error in (predicted, true):
        front = non_dominated(memory, error, duplicates=duplicates)
        if not front.any():
            hint = "use duplicates='keep'"
            raise ValueError(
                message(caller, "the frontier", "empty, duplicates eliminated", "at least one point", hint)
            )
        fronts.append(np.column_stack([memory[front] / scale, error[front] / largest]))
    estimated, actual = fronts
    return np.linalg.norm(estimated[:, None, :] - actual[None, :, :], axis=2)


def _scale(caller: str, memory: NDArray[np.float64], memory_scale: float | None) -> float:
    """Return what memory is divided by: `memory_scale`, or the largest memory."""
    largest = float(memory.max())
    if memory.min() < 0 or largest <= 0:
        raise ValueError(message(caller, "memory", f"from {memory.min():g} to {largest:g}", "at least 0, not all 0"))
    return largest if memory_scale is None else number(caller, "memory_scale", memory_scale, Interval(largest))


# What to pick, and what it costs to have picked wrongly


def recommend(memory: ArrayLike, predicted: ArrayLike, cap: float | None = None) -> int:
    """Pick the configuration of smallest predicted error within a memory cap.

    Parameters
    ----------
    memory, predicted : array_like of float, shape (n,)
        Memory and predicted (where measured: measured) error of each configuration.
    cap : float, optional
        Largest memory allowed, in the unit of `memory`; default none.

    Returns
    -------
    int
        An index. Ties go to the smaller memory, then to the lower index.

    Raises
    ------
    ValueError
        If lengths differ, a number is not finite, or no configuration fits under the cap.

    Notes
    -----
    *Source*: PEPPP (arXiv 2106.09686), final selection. Exact: only comparisons.

    Examples
    --------
    >>> recommend([3, 1, 2], [0.1, 0.3, 0.2], cap=2)
    2
    """
    memory, predicted = vectors("recommend", memory=memory, predicted=predicted)
    if cap is None:
        return _pick(memory, predicted, math.inf)
    smallest = f"index {memory.argmin()} takes least memory"
    return _pick(memory, predicted, number("recommend", "cap", cap, Interval(float(memory.min())), smallest))


def _pick(memory: NDArray[np.float64], predicted: NDArray[np.float64], cap: float) -> int:
    allowed = np.flatnonzero(memory <= cap)
    order = np.lexsort((allowed, memory[allowed], predicted[allowed]))
    return int(allowed[order[0]])


def regret(true: ArrayLike, chosen: int, allowed: ArrayLike | None = None) -> float:
    """Measure how much worse a chosen configuration is than the best allowed one.

    Parameters
    ----------
    true : array_like of float, shape (n,)
        True error of each configuration.
    chosen : int
        Index of the chosen one, allowed.
    allowed : array_like of bool, shape (n,), optional
        Configurations it competes with, such as those under a memory cap; default all.

    Returns
    -------
    float
        ``true[chosen]`` minus the smallest true error among the allowed ones, >= 0.

    Raises
    ------
    ValueError
        If a number is not finite or `chosen` is not allowed.

    Notes
    -----
    *Source*: simple regret. Rounded once.

    Examples
    --------
    >>> regret([0.25, 0.5, 0.125], chosen=1)
    0.375
    """
    (true,) = vectors("regret", true=true)
    among = mask("regret", allowed, len(true))
    chosen = integer("regret", "chosen", chosen, Interval(0, len(true) - 1))
    if not among[chosen]:
        raise ValueError(message("regret", "chosen", f"{chosen}", "an index marked in `allowed`"))
    return float(true[chosen] - true[among].min())


def budget_regret(memory: ArrayLike, true: ArrayLike, predicted: ArrayLike) -> float:
    """Average the regret of the recommendation over all memory caps that matter.

    The caps are the distinct values of `memory`: between two of them the choice does not change.

    Parameters
    ----------
    memory, true, predicted : array_like of float, shape (n,)
        Memory, true error, and predicted (where measured: measured) error of each configuration.

    Returns
    -------
    float
        Mean over caps of ``regret(true, recommend(memory, predicted, cap), memory <= cap)``, in
        [0, 1].

    Raises
    ------
    ValueError
        If lengths differ or a number is not finite.

    Notes
    -----
    *Source*: a decision metric of this package; the paper (arXiv 2106.09686) has none. Exact up
    to rounding of the mean.

    Examples
    --------
    >>> budget_regret([1, 2, 3], true=[0.5, 0.25, 0.125], predicted=[0.5, 0.625, 0.125])
    0.08333333333333333
    """
    memory, true, predicted = vectors("budget_regret", memory=memory, true=true, predicted=predicted)
    caps = np.unique(memory)
    lost = [true[_pick(memory, predicted, cap)] - true[memory <= cap].min() for cap in caps]
    return math.fsum(lost) / len(lost)
