"""Learning-rate schedules: functions from the fraction of training done, in [0, 1), to a factor.

>>> linear(0.05)(0.5)
0.525
"""

from __future__ import annotations

import math
from collections.abc import Callable

from refimpl._arguments import Interval, number

Schedule = Callable[[float], float]


def constant() -> Schedule:
    """Return the schedule that keeps the rate.

    Examples
    --------
    >>> constant()(0.5)
    1.0
    """
    return lambda done: 1.0


def linear(final: float = 0.05) -> Schedule:
    """Return a straight line from 1 to `final`.

    Examples
    --------
    >>> linear(0.5)(0.0), linear(0.5)(1.0)
    (1.0, 0.5)
    """
    return lambda done: 1 - (1 - final) * done


def cosine(final: float = 0.0) -> Schedule:
    """Return half a cosine from 1 to `final`.

    >>> round(cosine()(0.5), 12)
    0.5
    """
    return lambda done: final + (1 - final) * (1 + math.cos(math.pi * done)) / 2


def steps(*at: float, factor: float = 0.1) -> Schedule:
    """Return the schedule multiplied by `factor` at each of these fractions of training.

    >>> steps(0.5, 0.75)(0.8) == 0.1**2
    True
    """
    return lambda done: factor ** sum(done >= fraction for fraction in at)


def warm_up(fraction: float, then: Schedule) -> Schedule:
    """Return a schedule that rises linearly from 0 during a fraction of training, times another.

    The fraction is above 0 and at most 1; ValueError otherwise.

    >>> warm_up(0.1, constant())(0.05)
    0.5
    """
    number("warm_up", "fraction", fraction, Interval(0, 1, open_low=True))
    return lambda done: min(done / fraction, 1.0) * then(done)
