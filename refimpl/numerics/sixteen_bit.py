"""How training in 16 bits fails, and is cured: Adam's epsilon, batch norm's variance, lost updates.

The trainer of `refimpl.nn` computes in float32 and rounds tensors.  Here *every operation* is rounded
to the format, as hardware without anything wider does: that is where these failures come from.
Each operation is done in float64 and rounded once more, which is the rounding of the exact result
for formats of at most 25 bits of precision (Figueroa: 53 >= 2 p + 2).

*Source*: Yun et al., Standalone 16-bit training (arXiv 2305.10947) and Hidden power of pure 16-bit
(arXiv 2301.12809) for epsilon and batch norm; Zamirai et al., Revisiting BFloat16 training (arXiv
2010.06192) for the halting radius.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, get_args

import numpy as np

from refimpl import _arguments as check
from refimpl import ops
from refimpl.formats import FloatFormat
from refimpl.formats import format as format_of
from refimpl.nn.optimizer import Adam

Formula = Literal["moments", "centred"]


def _rounder(caller: str, format: FloatFormat | str):
    fmt = format_of(format)
    if not isinstance(fmt, FloatFormat) or fmt.mantissa_bits > 24:
        allowed = "a floating-point format of at most 25 bits of precision, such as float16"
        raise check.wrong_value(caller, "format", str(fmt), allowed)
    return lambda x: ops.quantize(np.asarray(x, np.float64), fmt)


def in_format(rule: Adam, format: FloatFormat | str) -> Adam:
    """Return Adam with its constants as a 16-bit optimizer holds them: rounded to its format.

    Examples
    --------
    >>> in_format(Adam(), "float16").epsilon, in_format(Adam(), "bfloat16").beta2
    (0.0, 1.0)
    """
    check.instance("in_format", "rule", rule, Adam, "a refimpl.nn.Adam")
    r = _rounder("in_format", format)
    given = rule.beta1, rule.beta2, rule.epsilon, rule.weight_decay
    beta1, beta2, epsilon, weight_decay = (float(r(value)) for value in given)
    return replace(rule, beta1=beta1, beta2=beta2, epsilon=epsilon, weight_decay=weight_decay)


def first_adam_step(
    gradient, format: FloatFormat | str, *, epsilon: float = 1e-8, beta1: float = 0.9, beta2: float = 0.999
) -> np.ndarray:
    """Return Adam's first step over its rate, m / (sqrt(v) + epsilon), every operation rounded.

    Without the correction for starting from 0: in exact arithmetic it is about (1 - beta1) /
    sqrt(1 - beta2) = 3.16 times the gradient's sign.

    Parameters
    ----------
    gradient : array_like of float
    format : FloatFormat or name
        Of at most 25 bits of precision.
    epsilon, beta1, beta2 : float
        Rounded to the format first.

    Returns
    -------
    ndarray of float64

    Examples
    --------
    >>> first_adam_step(1e-4, "float32").round(3), first_adam_step(1e-4, "float16")
    (np.float64(3.152), array(inf))
    """
    caller = "first_adam_step"
    r = _rounder(caller, format)
    constants = {"epsilon": epsilon, "beta1": beta1, "beta2": beta2}
    epsilon, beta1, beta2 = (r(check.number(caller, name, value)) for name, value in constants.items())
    g = r(check.numbers(caller, "gradient", gradient))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        m = r(r(1 - beta1) * g)
        v = r(r(1 - beta2) * r(g * g))
        return r(m / r(r(np.sqrt(v)) + epsilon))


def batch_norm(
    x,
    format: FloatFormat | str,
    *,
    epsilon: float = 1e-5,
    formula: Formula = "moments",
    statistics: FloatFormat | str | None = None,
) -> np.ndarray:
    """Normalize columns to mean 0 and variance 1, every operation rounded, sums one after the other.

    Parameters
    ----------
    x : array_like of float, shape (n, channels)
    format : FloatFormat or name
        Of at most 25 bits of precision.
    epsilon : float
        Added to the variance.
    formula : str
        ``moments``: the variance as E[x^2] - E[x]^2; ``centred``: as E[(x - E[x])^2].
    statistics : FloatFormat or name, optional
        Compute mean, variance and its root in this format instead.

    Returns
    -------
    ndarray of float64, shape (n, channels)

    Raises
    ------
    ValueError
        For another formula, shape or format.

    Examples
    --------
    >>> x = [[299.0], [301.0]]  # 299^2 is beyond float16
    >>> batch_norm(x, "float16").tolist(), batch_norm(x, "float16", formula="centred").tolist()
    ([[nan], [nan]], [[-1.0], [1.0]])
    """
    check.choice("batch_norm", "formula", formula, get_args(Formula))
    check.number("batch_norm", "epsilon", epsilon, check.NOT_NEGATIVE)
    r = _rounder("batch_norm", format)
    s = r if statistics is None else _rounder("batch_norm", statistics)
    x = r(check.numbers("batch_norm", "x", x, (None, None)))
    if not len(x):
        raise check.wrong_value("batch_norm", "x", x, "at least one row")

    def mean_of(rows):
        total = np.zeros(x.shape[1])
        for row in rows:
            total = s(total + row)
        return s(total / len(x))

    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        mean = mean_of(x)
        if formula == "moments":
            variance = s(mean_of(s(x * x)) - s(mean * mean))
        else:
            centred = s(x - mean)
            variance = mean_of(s(centred * centred))
        inverse = s(1 / s(np.sqrt(s(variance + s(epsilon)))))
        return r(r(x - r(mean)) * r(inverse))


def halting_radius(
    rate: float, weight: float, format: FloatFormat | str = "bfloat16", *, curvature: float = 1.0
) -> float:
    """Return how far from the best weight gradient descent must stop, if updates round to nearest.

    An update is lost once it is below half the distance to the next number.  With u the unit
    roundoff and |gradient| <= L |w - w*|, that is so within u |w*| / (2 rate L + u) of w*, so that
    coming from outside it cannot end nearer: the smaller the rate, the farther.

    Parameters
    ----------
    rate : float
        Learning rate, above 0.
    weight : float
        The best weight w*.
    format : FloatFormat or name
    curvature : float
        L, above 0.

    Returns
    -------
    float

    Notes
    -----
    *Source*: the form of the theorem in arXiv 2010.06192; this constant is derived from half gaps.

    Examples
    --------
    >>> [round(halting_radius(rate, 1.37), 3) for rate in (0.1, 0.01, 0.001)]
    [0.026, 0.224, 0.906]
    """
    caller = "halting_radius"
    check.number(caller, "rate", rate, check.POSITIVE)
    check.number(caller, "curvature", curvature, check.POSITIVE)
    check.number(caller, "weight", weight)
    unit = check.instance(caller, "format", format_of(format), FloatFormat, "a floating-point format").eps / 2
    return unit * abs(weight) / (2 * rate * curvature + unit)
