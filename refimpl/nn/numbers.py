"""Numbers that users give: each is looked at once, where it comes in."""

from __future__ import annotations

import math
import operator
from numbers import Real

import numpy as np

SMALLEST, LARGEST = 2.0**-126, 2.0**127  # float32, in which training computes, holds these in full


def whole(owner: str, name: str, value, least: float = -math.inf) -> int:
    """Return a whole number as int; TypeError for what is none, ValueError below `least`."""
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{owner}: {name} is {value!r}; it must be a whole number (an int)")
    if number < least:
        raise ValueError(f"{owner}: {name} is {number}; it must be at least {least}")
    return number


def real(owner: str, name: str, value, allowed: str, holds) -> float:
    """Return a finite number for which `holds` is true; TypeError for what is none, else ValueError."""
    if not isinstance(value, (Real, np.floating)) or isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{owner}: {name} is {value!r}; it must be a number, {allowed}")
    if not (math.isfinite(value) and holds(value)):
        raise ValueError(f"{owner}: {name} is {value}; it must be {allowed}")
    return float(value)


def rate(owner: str, name: str, value) -> float:
    """Return a factor above 0; ValueError where float32 makes 0 or infinity of it."""
    allowed = "finite and above 0, within float32's range"
    return real(owner, name, value, allowed, lambda x: SMALLEST <= x <= LARGEST)


def share(owner: str, name: str, value) -> float:
    """Return a number of at least 0 and below 1, such as a momentum."""
    return real(owner, name, value, "at least 0 and below 1", lambda x: 0 <= x < 1)


def not_negative(owner: str, name: str, value) -> float:
    """Return a finite number of at least 0."""
    return real(owner, name, value, "finite and at least 0", lambda x: 0 <= x <= LARGEST)
