"""The precision policy: which tensor is rounded to which format, when, and how.

PEPPP trains with two formats.  Wherever a tensor of one of these roles is made, it is rounded:

===========================  ======  ===============================================
role                         format  when
===========================  ======  ===============================================
``input``                    high    as it enters the network
``activation``               low     at the network's rounding points
``activation gradient``      low     there too, on the way back
``logits``, their gradient   high    as they leave the network, and on the way back
``weight gradient``          low     before the optimizer uses it
``accumulator``              high    the weights the optimizer keeps, after its step
``weight``                   low     the copy of the accumulator the next pass uses
``momentum``                 high    after the step that used it unrounded
===========================  ======  ===============================================

*Source*: SOURCES 1.3 (the paper's released code and QPyTorch's OptimLP).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from refimpl.formats import FloatFormat
from refimpl.formats import format as format_of

HIGH_ROLES = frozenset({"input", "logits", "accumulator", "momentum"})
LOW_ROLES = frozenset({"activation", "weight gradient", "weight"})


@dataclass(frozen=True, kw_only=True)
class Precision:
    """Say what a training run rounds, and to what.

    Parameters
    ----------
    low, high : FloatFormat or name, optional
        The two formats of the table above; without them nothing is rounded (float32 training).
    rounding : str
        ``stochastic`` (the paper's) or ``ties_to_even``.
    overflow : str
        As in `refimpl.quantize`; the paper's formats saturate.
    loss_scale : float
        The loss is multiplied by it before the backward pass and weight gradients are divided by
        it *before* they are rounded, as the paper's code does: it protects activation gradients
        from underflow, not weight gradients.

    Raises
    ------
    ValueError
        If only one of the formats is given, for unknown names and modes, for formats beyond
        float32, in which the arithmetic runs.

    Examples
    --------
    >>> Precision(low="e4m3", high="e8m7").format_of("weight").name
    'e4m3'
    """

    low: FloatFormat | str | None = None
    high: FloatFormat | str | None = None
    rounding: str = "stochastic"
    overflow: str = "saturate"
    loss_scale: float = 1000.0

    def __post_init__(self):
        if (self.low is None) != (self.high is None):
            raise ValueError(
                f"Precision: got low={self.low}, high={self.high}; give both or neither"
            )
        if self.rounding not in ("stochastic", "ties_to_even"):
            raise ValueError(
                f"Precision: rounding {self.rounding!r} is not one of stochastic, ties_to_even"
            )
        if self.overflow not in ("overflow", "saturate", "propagate"):
            raise ValueError(
                f"Precision: overflow {self.overflow!r} is not one of overflow, saturate, propagate"
            )
        if not 0 < self.loss_scale < np.inf:
            raise ValueError(
                f"Precision: loss_scale is {self.loss_scale}; it must be finite and above 0"
            )
        for field in ("low", "high"):
            fmt = getattr(self, field)
            if fmt is not None:
                fmt = format_of(fmt)
                object.__setattr__(self, field, fmt)
                from refimpl.kernels.float_codes import fits_float32

                if not isinstance(fmt, FloatFormat) or not fits_float32(fmt):
                    raise ValueError(
                        f"Precision: {field}={fmt} cannot be trained in; it must be a signed float format "
                        "with subnormals, at most 22 mantissa bits and an exponent range within float32's"
                    )

    @property
    def rounds(self) -> bool:
        """Whether anything is rounded at all."""
        return self.low is not None

    def format_of(self, role: str) -> FloatFormat | None:
        """Return the format of a role of the table above, None in float32 training."""
        return self.high if role in HIGH_ROLES else self.low


class Rounder:
    """Round tensors by role under a policy, with random bits that depend on the seed alone.

    The i-th call uses stream i of `seed`: a run that makes the same calls rounds alike, and
    `calls` is all that must be kept to continue one.
    """

    def __init__(self, precision: Precision, seed: int):
        self.precision, self.seed, self.calls = precision, np.uint64(seed), 0
        self._targets = {}
        if precision.rounds:
            from refimpl.kernels.float_codes import float32_target

            for role in HIGH_ROLES | LOW_ROLES:
                self._targets[role] = float32_target(precision.format_of(role), precision.overflow)

    def __call__(self, x: np.ndarray, role: str) -> np.ndarray:
        """Return x (float32, any shape) rounded to the format of its role; x itself in float32 training."""
        if not self._targets:
            return x
        from refimpl.kernels import float_codes as kernel

        x = np.ascontiguousarray(x)
        out = np.empty_like(x)
        bits, result = x.reshape(-1).view(np.uint32), out.reshape(-1).view(np.uint32)
        if self.precision.rounding == "stochastic":
            kernel.quantize_stochastic(
                bits, result, self._targets[role], self.seed, np.uint64(self.calls)
            )
        else:
            kernel.quantize_ties_to_even(bits, result, self._targets[role])
        self.calls += 1
        return out
