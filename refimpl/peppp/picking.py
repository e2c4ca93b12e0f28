"""What to pick under a memory cap, and what it costs to have picked wrongly.

Every function takes one number per configuration for memory (any unit, the same throughout) and
for error (in [0, 1]); smaller is better for both.
"""

import math

import numpy as np
from numpy.typing import ArrayLike

from refimpl.peppp.arguments import mask, number, vectors, whole

__all__ = ["budget_regret", "recommend", "regret"]


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
    cap = number("recommend", "cap", cap, "that is not nan", lambda x: not math.isnan(x))
    if not (memory <= cap).any():
        raise ValueError(
            f"recommend: got cap {cap:g}; allowed is at least {memory.min():g}, the memory of the "
            f"smallest configuration (index {memory.argmin()}); raise the cap"
        )
    return _pick(memory, predicted, cap)


def _pick(memory, predicted, cap) -> int:
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
    allowed = mask("regret", allowed, len(true))
    chosen = whole("regret", "chosen", chosen, 0, len(true) - 1)
    if not allowed[chosen]:
        raise ValueError(
            f"regret: got chosen = {chosen}; allowed are the {np.count_nonzero(allowed)} indices "
            "marked in allowed; choose among them"
        )
    return float(true[chosen] - true[allowed].min())


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
