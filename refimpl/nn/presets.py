"""Precision policies by name: what people train in.

==============  ==================================================================================
``float32``     nothing is rounded
``peppp``       PEPPP's: a low and a high format, stochastic rounding, loss scale 1000
``mixed``       weights, activations and gradients in a 16-bit format, float32 master weights and
                optimizer; for float16 a dynamic loss scale
``pure16``      every tensor a step keeps, optimizer state too, in one 16-bit format, to nearest, no
                loss scale; sums, normalization, the loss and the optimizer's update are computed in
                float32, unless every operation is to be rounded
``fp8``         weights, inputs and activations E4M3, gradients E5M2, each tensor scaled (currently
                or delayed); weight gradients and optimizer in float32
``nvfp4``       operands of products NVFP4 to nearest, gradients NVFP4 stochastically, what is summed for weight
                gradients rotated at random; optimizer and everything else in float32
``int8``        weights and activations int8 to nearest, gradients int8 stochastically, each tensor
                scaled; optimizer in float32
==============  ==================================================================================

*Source*: PEPPP (arXiv 2106.09686); standalone 16-bit training (2305.10947); FP8 formats (2209.05433).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

from refimpl._arguments import choice, flag
from refimpl.formats import RoundingMode
from refimpl.nn.loss_scale import LossScale
from refimpl.nn.precision import OPERATION_ROLES, SUM_ROLES, Accumulator, Precision, Rounding, Scaling


def float32() -> Precision:
    """Return the policy that rounds nothing.

    Examples
    --------
    >>> float32() == preset("float32")
    True
    """
    return Precision(loss_scale=1.0)


def peppp(low: str = "e4m3", high: str = "e8m7", *, loss_scale: float = 1000.0) -> Precision:
    """Return PEPPP's policy.

    >>> peppp("e5m2", "e8m9").format_of("master weight").name
    'e8m9'
    """
    return Precision(low=low, high=high, loss_scale=loss_scale)


def mixed(format: str = "float16") -> Precision:
    """Return mixed precision in a 16-bit format, ``float16`` or ``bfloat16``.

    >>> mixed("bfloat16").format_of("master weight") is None
    True
    """
    narrow = Rounding(format=format, overflow="overflow")
    roles = ("input", "activation", "activation gradient", "logits", "logits gradient", "weight", "weight gradient")
    return Precision(
        roles=dict.fromkeys(roles, narrow),
        loss_scale=LossScale.dynamic() if narrow.format.max < 1e6 else 1.0,
        gradients_rounded="scaled",
    )


def pure16(
    format: str = "float16", *, rounding: RoundingMode = "ties_to_even", every_operation: bool = False
) -> Precision:
    """Return training with every tensor in one 16-bit format.

    With `every_operation`, sums of products are rounded after every addition, and normalization, softmax, GELU,
    means, the loss and the optimizer's update after every operation.  What then still runs in float32 and is rounded
    at its end: the sum of the gradients of a tensor that goes into several places (queries, keys and values; a
    residual's two ways), or into each of a batch (positions, an embedding).

    >>> pure16("bfloat16").format_of("momentum").name
    'bfloat16'
    >>> pure16(every_operation=True).accumulator_of("loss").format.name
    'float16'
    """
    every = (*SUM_ROLES, *OPERATION_ROLES) if flag("pure16", "every_operation", every_operation) else ()
    return Precision(
        low=format,
        high=format,
        rounding=rounding,
        overflow="overflow",
        loss_scale=1.0,
        roles={role: Accumulator(format=format) for role in every},
    )


def _scaled(values: Rounding, gradients: Rounding) -> Precision:
    """Return the policy that rounds what is multiplied, forward and backward, and keeps the optimizer in float32."""
    forward = dict.fromkeys(("input", "activation", "weight"), values)
    backward = dict.fromkeys(("activation gradient", "logits gradient"), gradients)
    return Precision(roles={**forward, **backward}, loss_scale=1.0)


def fp8(scaling: Scaling = "current") -> Precision:
    """Return FP8 training with per-tensor scaling, ``current`` or ``delayed``.

    >>> fp8("delayed").rounding_of("activation gradient").scaling
    'delayed'
    """
    values = Rounding(format="float8_e4m3fn", scaling=scaling)
    gradients = Rounding(format="float8_e5m2", scaling=scaling)
    return _scaled(values, gradients)


def nvfp4(hadamard: int | None = 16) -> Precision:
    """Return NVFP4 training, with a random Hadamard transform of blocks of this size, None for none.

    As published recipes have it but for the scales of weights, which they share among squares of 16 x 16.

    >>> nvfp4().rounding_of("product gradient").rounding, nvfp4().accumulator_of("right gradient").hadamard
    ('stochastic', 16)
    """
    operand = Rounding(format="nvfp4")
    roles: dict = {
        "left operand": operand,
        "right operand": operand,
        "product gradient": Rounding(format="nvfp4", rounding="stochastic"),
    }
    if hadamard is not None:
        roles["right gradient"] = Accumulator(format="float32", hadamard=hadamard)
    return Precision(roles=roles, loss_scale=1.0)


def int8() -> Precision:
    """Return training with int8 weights, activations and activation gradients.

    >>> int8().format_of("weight").bits
    8
    """
    values = Rounding(format="int8")
    gradients = Rounding(format="int8", rounding="stochastic")
    return _scaled(values, gradients)


Preset = Literal["float32", "peppp", "mixed", "pure16", "fp8", "nvfp4", "int8"]
PRESETS: dict[Preset, Callable[..., Precision]] = {name: globals()[name] for name in get_args(Preset)}
"""Every preset by name."""


def preset(name: Preset, *arguments, **named) -> Precision:
    """Return a policy by its name; what else is given goes to the function of that name.

    Raises
    ------
    ValueError
        For a name that is not one of `PRESETS`; the nearest is proposed.

    Examples
    --------
    >>> preset("peppp", "e4m3", "e8m7") == peppp("e4m3", "e8m7")
    True
    >>> preset("pure16", every_operation=True) == pure16(every_operation=True)
    True
    """
    choice("preset", "policy", name, PRESETS)
    return PRESETS[name](*arguments, **named)
