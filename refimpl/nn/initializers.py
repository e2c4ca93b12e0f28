"""How weights are drawn, by name.

With `fan_in` and `fan_out` the number of inputs and outputs of one weight's layer (for filters,
times their area):

=============  ================================================================
``peppp``      N(0, 2 / fan_out): He's rule by outputs, as PEPPP's networks
``he``         N(0, 2 / fan_in): keeps the variance through ReLU
``xavier``     uniform within +-sqrt(6 / (fan_in + fan_out))
``pytorch``    uniform within +-1 / sqrt(fan_in)
=============  ================================================================

*Source*: PEPPP's released code for ``peppp``; He et al. 2015 (1502.01852); Glorot and Bengio 2010.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import numpy as np

from refimpl._arguments import choice

Rule = Literal["peppp", "he", "xavier", "pytorch"]
RULES: tuple[Rule, ...] = get_args(Rule)


def draw(rule: Rule, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Draw the weights of a layer, float32.

    Parameters
    ----------
    rule : Rule
    shape : tuple of int
        (..., inputs, outputs); what is before is the area of filters.

    Raises
    ------
    ValueError
        For an unknown rule.

    Examples
    --------
    >>> draw("xavier", (3, 3, 16, 32), np.random.default_rng(0)).shape
    (3, 3, 16, 32)
    """
    choice("draw", "initializer", rule, RULES)
    area = math.prod(shape[:-2])
    fan_in, fan_out = area * shape[-2], area * shape[-1]
    if rule in ("peppp", "he"):
        deviation = math.sqrt(2 / (fan_out if rule == "peppp" else fan_in))
        return rng.standard_normal(shape, np.float32) * np.float32(deviation)
    bound = math.sqrt(6 / (fan_in + fan_out)) if rule == "xavier" else 1 / math.sqrt(fan_in)
    return rng.uniform(-bound, bound, shape).astype(np.float32)
