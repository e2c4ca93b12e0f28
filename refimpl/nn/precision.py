"""The precision policy: which tensor is rounded to which format, when, and how.

Wherever a tensor of one of these roles is made, it is rounded; under PEPPP's policy, the default,
to one of two formats:

======================  ======  =================================================================
role                    format  when
======================  ======  =================================================================
``input``               high    as it enters the network
``activation``          low     at the network's rounding points
``activation gradient`` low     there too, backward
``logits``              high    as they leave the network
``logits gradient``     high    as it enters the network from behind
``weight gradient``     low     before the optimizer uses it, the loss scale taken off already
``master weight``       high    the weights the optimizer keeps, after its step
``weight``              low     the copy of the master weights that the next pass uses
``momentum``            high    all optimizer state, after the step that used it unrounded
======================  ======  =================================================================

Three more roles belong to products of two tensors (convolution, linear layer, attention's two) and
are rounded only where a policy says so, right where they are multiplied and nowhere else:

====================  ==================================================================================
``left operand``      what comes in: activations, queries, attention's weights
``right operand``     what it is multiplied by: weights, keys, values
``product gradient``  the gradient of their product, before the two products it goes into
====================  ==================================================================================

Sums of products run in float32: it is what goes into them and comes out that is rounded, unless a policy
gives the role of a sum an `Accumulator`:

==================  ====================================================================================
``product``         each value of a product, a layer's bias the last of its terms
``left gradient``   of the left operand: each value is one sum, of all outputs it went into
``right gradient``  of the right operand: over the batch, and over the positions of images and sequences
==================  ====================================================================================

An `Accumulator` of one more role rounds every operation of it, forward and backward, to its format; left alone they
are computed in float32 and float64:

==============  ========================================================================================
``batch norm``  with its running statistics
``layer norm``
``softmax``     attention's, and the factor 1/sqrt(d) before it
``gelu``
``mean``        over an image's pixels, or a sequence's places
``loss``
``optimizer``   what becomes of gradient, weights and state, up to the update.  To add that to the weights is
                the last operation, and is rounded as the role ``master weight`` says
==============  ========================================================================================

*Source*: PEPPP's released code and QPyTorch's OptimLP.
"""

from __future__ import annotations

import fnmatch
import hashlib
from collections.abc import Mapping
from dataclasses import InitVar, dataclass, field, fields, replace
from typing import Any, Literal, get_args

from refimpl import _arguments as check
from refimpl.formats import (
    OTHER_NAMES,
    OVERFLOWS,
    ROUNDINGS,
    BlockFormat,
    CodeBook,
    FloatFormat,
    IntFormat,
    Overflow,
    PositFormat,
    RoundingMode,
)
from refimpl.formats import format as format_of
from refimpl.formats.blocks import BLOCKS
from refimpl.formats.floats import FLOATS
from refimpl.formats.units import MatrixUnit
from refimpl.formats.units import unit as unit_of
from refimpl.nn.loss_scale import LossScale

ROLES = {
    "input": "high",
    "activation": "low",
    "activation gradient": "low",
    "logits": "high",
    "logits gradient": "high",
    "weight gradient": "low",
    "master weight": "high",
    "weight": "low",
    "momentum": "high",
}
"""The roles, and which of PEPPP's two formats each takes."""

TRAINABLE = (
    "a signed integer format, a code book, or a floating-point format with a sign and a zero or a posit, of at most 23 "
    "mantissa bits and a range within float32's, in which training computes"
)

PRODUCT_ROLES = ("left operand", "right operand", "product gradient")
"""The roles of what is multiplied, see `refimpl.nn.products`."""

SUM_ROLES = ("product", "left gradient", "right gradient")
"""The roles of the sums of products, forward and backward."""

OPERATION_ROLES = ("batch norm", "layer norm", "softmax", "gelu", "mean", "loss", "optimizer")
"""The roles of what is computed, backward too, with every operation rounded: see `refimpl.nn.every_operation`."""

Scaling = Literal["none", "current", "delayed"]
SCALINGS: tuple[Scaling, ...] = get_args(Scaling)
Underflow = Literal["minpos", "zero"]
GradientsRounded = Literal["unscaled", "scaled"]
Format = FloatFormat | IntFormat | PositFormat | BlockFormat | CodeBook


@dataclass(frozen=True, kw_only=True)
class Rounding:
    """Say how tensors of one role are rounded.

    Parameters
    ----------
    format : FloatFormat, IntFormat, PositFormat, BlockFormat, CodeBook or name
        Blocks (MX, NVFP4) are for the roles of products, cut along the vectors that are summed.  Code books
        (``nf4``, ``dynamic8``, one of `refimpl.quantile_codebook`) take the nearest of their values times the
        largest magnitude, in float32, of what shares a scale.
    rounding : RoundingMode
        Integers take ``ties_to_even`` and ``stochastic``, posits and code books ``ties_to_even``.
    overflow : str
        As in `refimpl.quantize`.  Posits have but one way: numbers saturate, infinities become NaR.  NaN (and
        NaR, which float32 holds as NaN) stays NaN in every format, so that training says that it diverged.
    scaling : str
        ``none``; ``current``: each tensor is multiplied by the power of two that brings its
        largest magnitude to the top binade of the format, rounded, and divided again, both
        exactly; ``delayed``: likewise, by the largest magnitude of the last 16 tensors rounded at
        the same place, so that the scale is known before the tensor is.  Integers always scale:
        the largest magnitude (of the tensor, or of the last 16) becomes the largest code.
    per : str or int
        What shares a scale: the ``tensor``; each ``row``, the vectors whose products are summed;
        or a number of neighbours in such a vector.  All but the first are for the roles of
        products alone, and always scale by the current magnitude.
    underflow : str, optional
        Of posits alone.  ``minpos``, the default and the standard: below the smallest value all but
        zero becomes that.  ``zero``: up to its half they become zero, as they do in floats.

    Raises
    ------
    ValueError
        For unknown names and modes.

    Examples
    --------
    >>> Rounding(format="e4m3fn", scaling="current").format.max
    448.0
    """

    format: Any  # a name where it is given, the format of that name afterwards
    rounding: RoundingMode = "ties_to_even"
    overflow: Overflow = "saturate"
    scaling: Scaling = "none"
    per: Literal["tensor", "row"] | int = "tensor"
    underflow: Underflow | None = None

    def __post_init__(self):
        object.__setattr__(self, "format", format_of(self.format))
        check.choice("Rounding", "rounding", self.rounding, ROUNDINGS, meant=OTHER_NAMES)
        for name, allowed in (("overflow", OVERFLOWS), ("scaling", SCALINGS)):
            check.choice("Rounding", name, getattr(self, name), allowed)
        by_name = isinstance(self.per, str) and self.per in ("tensor", "row")
        if not by_name and not (check.is_integer(self.per) and int(self.per) >= 1):
            such = "tensor, row, or the size of a block, an integer above 0"
            raise check.wrong_value("Rounding", "per", self.per, such)
        if self.per != "tensor":
            if self.scaling == "delayed":
                raise check.wrong_value("Rounding", "scaling", self.scaling, "current, for rows and blocks")
            object.__setattr__(self, "scaling", "current")
        if isinstance(self.format, BlockFormat):
            self._of_blocks(self.format.block_size)
        elif isinstance(self.format, IntFormat):
            if not self.format.signed:
                raise check.wrong_value("Rounding", "format", self.format.name, TRAINABLE)
            check.choice("Rounding", f"rounding of {self.format}", self.rounding, ("ties_to_even", "stochastic"))
            if self.scaling == "none":
                object.__setattr__(self, "scaling", "current")
        elif isinstance(self.format, CodeBook):
            self._of_books(self.format)
        elif not within_float32(self.format):
            raise check.wrong_value("Rounding", "format", str(self.format), TRAINABLE)
        if not isinstance(self.format, PositFormat):
            if self.underflow is not None:
                raise check.wrong_value("Rounding", "underflow", self.underflow, f"None for {self.format}, no posit")
            return
        for name, only in (("rounding", "ties_to_even"), ("scaling", "none")):
            if (got := getattr(self, name)) != only:
                hint = "posits round to even on their codes" if name == "rounding" else "posits are densest around 1"
                raise check.wrong_value("Rounding", f"{name} of {self.format}", got, only, hint)
        if self.underflow is not None:
            check.choice("Rounding", "underflow", self.underflow, get_args(Underflow))

    def _of_books(self, book: CodeBook) -> None:
        """Check what a code book leaves to say: its scale is the largest magnitude."""
        if not book.min < 0 < book.max:
            raise check.wrong_value("Rounding", "format", book.name, "a code book with values of both signs")
        for name, allowed in (("rounding", "ties_to_even"), ("overflow", "saturate")):
            check.choice("Rounding", f"{name} of {book.name}", getattr(self, name), (allowed,))
        if self.scaling == "delayed":
            raise check.wrong_value("Rounding", f"scaling of {book.name}", "delayed", "current, or left out")
        object.__setattr__(self, "scaling", "current")

    def _of_blocks(self, size: int) -> None:
        """Check what a block format leaves to say, and set its `per`."""
        if self.per not in ("tensor", size):
            raise check.wrong_value("Rounding", f"per of {self.format}", self.per, f"its {size}, or left out")
        if self.scaling == "delayed" or self.overflow != "saturate":
            hint = "each block is scaled by its largest, and saturates"
            got = (self.scaling, self.overflow)
            raise check.wrong_value("Rounding", f"(scaling, overflow) of {self.format}", got, "left out", hint)
        object.__setattr__(self, "per", size)
        object.__setattr__(self, "scaling", "current")

    def __repr__(self) -> str:
        return _text(self)

    def __str__(self) -> str:
        scaling = "" if self.scaling == "none" else f", {self.scaling} scale"
        per = "" if self.per == "tensor" else f" per {'' if self.per == 'row' else 'block of '}{self.per}"
        underflow = "" if self.underflow is None else f", underflow to {self.underflow}"
        return f"{self.format.name}, {self.rounding}, {self.overflow}{scaling}{per}{underflow}"


@dataclass(frozen=True, kw_only=True)
class Accumulator:
    """Say how sums of products are added up: what `refimpl.matmul` calls `accumulate` and `order`.

    What is added to the sum is rounded to nearest, as `products` says before that too.

    Parameters
    ----------
    format : FloatFormat, PositFormat or name
        Of the sum, so also of the result: one that float32 holds, with NaN or NaR.
    order : str
        ``sequential``: rounded after every addition; ``exact``: the true sum, rounded once (for
        posits: the quire); ``pairwise`` and ``kahan``.
    products : str
        ``exact``: added as they are, one fused multiply-add each; ``rounded``: each rounded to the format before it
        is added, as units that multiply and add apart do.
    hadamard : int, optional
        Blocks of so many neighbours, a power of 2, of what is summed are rotated in both operands before these are
        rounded: random signs, drawn from the policy's seed, then the Hadamard matrix of that size, over its root.
        It is orthogonal: the product is the same but for rounding, and outliers are spread over their block.
        Where one of a layer's sums says so, each of its three products rounds its two operands itself, along what
        it sums (else each tensor is rounded once, and goes into two products), and its bias is added afterwards,
        in float32.
    unit : str or MatrixUnit, optional
        A matrix unit, as `refimpl.matmul` has it, which decides all this but `format`, ``float32`` or ``float16``.
        What it multiplies is rounded to formats that it takes, per tensor; a power of two that scales a tensor is
        taken off before and put back behind, and a layer's bias is added in float32.
        With block scales, operands take block formats of its own (`mxfp8_e4m3` for ``blackwell-mxfp8``, `nvfp4` for
        ``blackwell-nvfp4``), and each product of the layer cuts its two operands into blocks itself, as above, filled
        up with zeros to whole groups; what the unit makes is multiplied, in float32, by the product of the scales of
        both tensors, where these have one.

    Raises
    ------
    ValueError, TypeError
        For other formats and orders.

    Notes
    -----
    Ten to a hundred times as slow as training with float32's sums.

    Examples
    --------
    >>> quire = Accumulator(format="posit8_2", order="exact")
    >>> policy = Precision(low="posit8_2", high="posit16_2", rounding="ties_to_even", loss_scale=1.0,
    ...                    roles=dict.fromkeys(SUM_ROLES, quire))
    >>> policy.accumulator_of("left gradient").order
    'exact'
    >>> Accumulator(unit="hopper-fp8").format.name
    'float32'
    """

    format: Any = "float32"  # a name where it is given, the format of that name afterwards
    order: Literal["sequential", "pairwise", "kahan", "exact"] = "sequential"
    products: Literal["exact", "rounded"] = "exact"
    hadamard: int | None = None
    unit: str | MatrixUnit | None = None

    def __post_init__(self):
        object.__setattr__(self, "format", format_of(self.format))
        if self.unit is not None:
            self._of_unit(unit_of(self.unit, "Accumulator"))
        check.choice("Accumulator", "order", self.order, ("sequential", "pairwise", "kahan", "exact"))
        check.choice("Accumulator", "products", self.products, ("exact", "rounded"))
        if self.hadamard is not None:
            size = check.integer("Accumulator", "hadamard", self.hadamard, check.Interval(2, 1024))
            if size & (size - 1):
                raise check.wrong_value("Accumulator", "hadamard", size, "a power of 2")
        has_nan = isinstance(self.format, PositFormat) or getattr(self.format, "nan_code", None) is not None
        if not (within_float32(self.format) and has_nan):
            allowed = (
                "a floating-point format with NaN that float32 holds, such as float16, or a posit, such as posit8_2"
            )
            raise check.wrong_value("Accumulator", "format", str(self.format), allowed)

    def _of_unit(self, unit: MatrixUnit) -> None:
        """Refuse what a unit decides, or cannot do."""
        for name, only in (("order", "sequential"), ("products", "exact"), ("hadamard", None)):
            if getattr(self, name) != only:
                raise check.wrong_value("Accumulator", name, getattr(self, name), "left out: the unit decides it")
        if unit.into.bits > 32:
            such = "a unit that accumulates in float32, such as 'hopper-fp8'"
            raise check.wrong_value("Accumulator", "unit", self.unit, such)
        formats = ("float32", *["float16"] * unit.float16)
        if self.format.name not in formats:
            raise check.wrong_value("Accumulator", "format", str(self.format), f"{' or '.join(formats)} on this unit")

    def __repr__(self) -> str:
        return _text(self)


def multiplies(unit: MatrixUnit, rounding: Rounding | None) -> bool:
    """Tell whether a unit multiplies what is rounded so (None: float32): whole tensors, or blocks if it has scales."""
    fmt = FLOATS["float32"] if rounding is None else rounding.format
    if unit.scales:
        return isinstance(fmt, BlockFormat) and _has(unit, fmt)
    return fmt.name in unit.operands and (rounding is None or rounding.per == "tensor")


def multiplied(unit: MatrixUnit) -> str:
    """Say what a unit multiplies in training.

    >>> multiplied(unit_of("hopper-fp8")), multiplied(unit_of("blackwell-nvfp4"))
    ('float8_e4m3fn, float8_e5m2, per tensor', 'nvfp4')
    """
    if not unit.scales:
        return f"{', '.join(unit.operands)}, per tensor"
    blocks = f"blocks of {unit.block} of {', '.join(unit.operands)} scaled by {' or '.join(unit.scales)}"
    return ", ".join(name for name, fmt in BLOCKS.items() if _has(unit, fmt)) or blocks


def _has(unit: MatrixUnit, fmt: BlockFormat) -> bool:
    """Tell whether a block format is one of a unit's."""
    sizes = fmt.block_size == unit.block
    return sizes and fmt.element.name in unit.operands and fmt.scale.name in unit.scales


_LATER = {"underflow", "products", "hadamard", "unit"}


def _text(record) -> str:
    """Name all settings of a record, those that came later only where they are used: noise is drawn from this text."""
    named = [f.name for f in fields(record) if f.name not in _LATER or getattr(record, f.name) != f.default]
    return f"{type(record).__name__}({', '.join(f'{name}={getattr(record, name)!r}' for name in named)})"


def within_float32(fmt) -> bool:
    """Tell whether float32, in which training computes, holds a float (but for its top binade) or a posit."""
    if isinstance(fmt, PositFormat):
        return fmt.bits - 3 - fmt.exponent_bits <= 23 and fmt.max <= 2.0**127
    return (
        isinstance(fmt, FloatFormat)
        and fmt.signed
        and fmt.has_zero
        and fmt.mantissa_bits <= 23
        and fmt.max < 2.0**129
        and fmt.min_exponent - fmt.mantissa_bits >= -149
    )


def _rounding(given, default: Rounding | None = None) -> Rounding | None:
    """Return the Rounding meant by a Rounding, a format or its name, or None for float32."""
    if given is None or isinstance(given, Rounding):
        return given
    return Rounding(format=given) if default is None else replace(default, format=given)


@dataclass(frozen=True, kw_only=True)
class Precision:
    """Say what a training run rounds, and to what.

    Parameters
    ----------
    low, high : FloatFormat, IntFormat, PositFormat or name, optional
        The two formats of the table above; without them nothing is rounded but what `roles` says.
    rounding, overflow : str
        Of `low` and `high`: the paper's formats round stochastically and saturate.  Posits want
        ``ties_to_even``.
    loss_scale : float or LossScale
        The loss is multiplied by it before the backward pass, and weight gradients are divided by
        it again.  A number is a constant scale.
    gradients_rounded : str
        ``unscaled``: weight gradients are divided by the loss scale *before* they are rounded, as
        the paper's code does, so that the scale protects activation gradients alone;
        ``scaled``: after, as mixed-precision training does, so that it protects both.
    roles : mapping of role to Rounding, format, name or None
        What single roles do instead; None leaves them in float32.  The roles of sums take an
        `Accumulator`.
    layers : mapping of pattern to such a mapping
        What single layers do instead.  Patterns are those of the shell, for layers' names as
        `refimpl.nn.rounding_plan` prints them, such as ``"1 Convolution"`` or ``"*Linear"``;
        where several fit, the last one counts.
    products : str or MatrixUnit, optional
        A matrix unit, for ``Accumulator(unit=products)`` in the three roles of sums where `roles` says nothing else:
        all products, forward and backward, are the unit's.

    Raises
    ------
    ValueError
        If only one of low and high is given, for unknown roles, names, modes and units.

    Examples
    --------
    >>> Precision(low="e4m3", high="e8m7").format_of("weight").name
    'e4m3'
    >>> policy = Precision(low="e4m3", high="e8m7", roles={"momentum": "e5m10"},
    ...                    layers={"*Linear": {"weight": None}})
    >>> policy.format_of("momentum").name, policy.format_of("weight", "11 Linear")
    ('e5m10', None)
    """

    low: Format | str | None = None
    high: Format | str | None = None
    rounding: RoundingMode = "stochastic"
    overflow: Overflow = "saturate"
    loss_scale: float | LossScale = 1000.0
    gradients_rounded: GradientsRounded = "unscaled"
    roles: Mapping[str, Rounding | Accumulator | Format | str | None] = field(default_factory=dict)
    layers: Mapping[str, Mapping[str, Rounding | Accumulator | Format | str | None]] = field(default_factory=dict)
    products: InitVar[str | MatrixUnit | None] = None

    def __post_init__(self, products):
        if products is not None:
            given = check.instance("Precision", "roles", self.roles, Mapping, "a dict of roles")
            object.__setattr__(self, "roles", dict.fromkeys(SUM_ROLES, Accumulator(unit=products)) | dict(given))
        if (self.low is None) != (self.high is None):
            raise check.wrong_value("Precision", "(low, high)", (self.low, self.high), "both or neither")
        check.choice("Precision", "gradients_rounded", self.gradients_rounded, get_args(GradientsRounded))
        LossScale.of(self.loss_scale)  # raises where the scale makes no sense
        # raises for unknown modes, with formats or without
        default = Rounding(format="float32", rounding=self.rounding, overflow=self.overflow)
        for name in ("low", "high"):
            if getattr(self, name) is not None:
                of_role = replace(default, format=getattr(self, name))
                if of_role.per != "tensor":
                    allowed = f"a format of whole tensors; {of_role.format} is for {', '.join(PRODUCT_ROLES)} in roles="
                    raise check.wrong_value("Precision", name, str(of_role.format), allowed)
                object.__setattr__(self, name, of_role.format)
        such = "a dict of patterns, such as {'*Linear': {'weight': None}}"
        accumulated = (*SUM_ROLES, *OPERATION_ROLES)
        layers = check.instance("Precision", "layers", self.layers, Mapping, such)
        for where, mapping in (("roles", self.roles), *((f"layers[{k!r}]", v) for k, v in layers.items())):
            check.instance("Precision", where, mapping, Mapping, "a dict of roles, such as {'momentum': 'float16'}")
            for role, given in mapping.items():
                check.choice("Precision", f"role in {where}", role, (*ROLES, *PRODUCT_ROLES, *accumulated))
                if role in accumulated or isinstance(given, Accumulator):
                    kinds = (Accumulator, type(None)) if role in accumulated else (Rounding,)
                    allowed = "an Accumulator"
                    if role in OPERATION_ROLES and getattr(given, "hadamard", None):
                        raise check.wrong_value(
                            "Precision", f"hadamard of {role} in {where}", given.hadamard, f"of {', '.join(SUM_ROLES)}"
                        )
                    if role not in accumulated:
                        allowed = f"a Rounding; an Accumulator is for {', '.join(accumulated)}"
                    check.instance("Precision", f"{role} in {where}", given, kinds, allowed)
                    continue
                rounding = _rounding(given, default)
                if rounding is not None and rounding.per != "tensor" and role in ROLES:
                    allowed = f"tensor, for all roles but {', '.join(PRODUCT_ROLES)}"
                    raise check.wrong_value("Precision", f"per of {role} in {where}", rounding.per, allowed)

    @property
    def rounds(self) -> bool:
        """Whether anything may be rounded at all."""
        return self.low is not None or bool(self.roles) or bool(self.layers)

    @property
    def always_stochastic(self) -> bool:
        """Whether it is certain that all that is rounded is rounded stochastically, and without scales.

        A format alone that is given for a layer is rounded to even where nothing else is said of its role.
        """
        default = Rounding(format="float32", rounding=self.rounding)
        of_roles = [(given, default) for given in (self.low, self.high, *self.roles.values())]
        of_layers = [(given, None) for mapping in self.layers.values() for given in mapping.values()]
        found = [_rounding(*each) for each in of_roles + of_layers if not isinstance(each[0], Accumulator)]
        return all(r is None or (r.rounding, r.scaling) == ("stochastic", "none") for r in found)

    def rounding_of(self, role: str, layer: str = "") -> Rounding | None:
        """Return how a role is rounded in a layer, None where it stays in float32."""
        fmt = getattr(self, ROLES[role]) if role in ROLES else None
        default = None
        if fmt is not None or role in self.roles:
            default = Rounding(format=fmt or "float32", rounding=self.rounding, overflow=self.overflow)
        found = default if fmt is not None else None
        if role in self.roles:
            found = _rounding(self.roles[role], default)
        for pattern, mapping in self.layers.items():
            if role in mapping and fnmatch.fnmatchcase(layer, pattern):
                found = _rounding(mapping[role], found)
        return found

    def accumulator_of(self, role: str, layer: str = "") -> Accumulator | None:
        """Return the Accumulator of a role of `SUM_ROLES` or `OPERATION_ROLES` in a layer, None for float32."""
        found = self.roles.get(role)
        for pattern, mapping in self.layers.items():
            if role in mapping and fnmatch.fnmatchcase(layer, pattern):
                found = mapping[role]
        return found  # type: ignore[return-value]  # __post_init__ saw to it

    def format_of(self, role: str, layer: str = "") -> Format | None:
        """Return the format of a role in a layer, None where it stays in float32."""
        rounding = self.rounding_of(role, layer)
        return None if rounding is None else rounding.format

    def seed(self, seed: int) -> int:
        """Return the 64-bit seed of a run's rounding noise, different for every policy.

        Without the formats in it, configurations whose high formats differ only in unused
        exponents would round alike to the last bit, and 99 configurations would be but 33.
        """
        text = f"{seed} {self.low} {self.high}"
        if self.roles or self.layers:
            text += f" {sorted(self.roles.items())} {list(self.layers.items())}"
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")
