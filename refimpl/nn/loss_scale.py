"""Loss scaling, constant and dynamic.

Small gradients vanish in narrow formats.  The loss is multiplied by a scale before the backward
pass, which multiplies every gradient; the optimizer divides by it.
"""

from __future__ import annotations

from dataclasses import dataclass

from refimpl import _arguments as check


@dataclass(frozen=True, kw_only=True)
class LossScale:
    """A loss scale that may adapt: backs off when gradients overflow, grows after a good stretch.

    A step in which a weight gradient is infinite or NaN is skipped and the scale multiplied by
    `backoff`; after `patience` steps without that it is multiplied by `growth`.  With `backoff` 1
    and `growth` 1 the scale is constant, and no step is skipped.

    Parameters
    ----------
    initial : float
    growth, backoff : float
        At least 1; above 0 and at most 1.
    patience : int
        At least 1.
    smallest, largest : float
        The scale stays between them.

    Raises
    ------
    ValueError, TypeError
        For settings outside these ranges or float32's.

    Examples
    --------
    >>> scale = LossScale.dynamic(patience=2).start()
    >>> for overflowed in (True, False, False):
    ...     scale.after(overflowed)
    >>> scale.value
    65536.0
    """

    initial: float = 1.0
    growth: float = 1.0
    backoff: float = 1.0
    patience: int = 2000
    smallest: float = 2.0**-24
    largest: float = 2.0**24

    def __post_init__(self):
        check.number("Precision", "loss_scale", self.initial, check.FLOAT32)
        check.number("LossScale", "smallest", self.smallest, check.FLOAT32)
        check.number("LossScale", "largest", self.largest, check.FLOAT32)
        check.number("LossScale", "growth", self.growth, check.Interval(1))
        check.number("LossScale", "backoff", self.backoff, check.Interval(0, 1, open_low=True))
        check.integer("LossScale", "patience", self.patience, check.Interval(1))
        if self.adapts:
            check.number("LossScale", "initial", self.initial, check.Interval(self.smallest, self.largest))

    @classmethod
    def dynamic(
        cls, initial: float = 2.0**16, *, growth: float = 2.0, backoff: float = 0.5, patience: int = 2000
    ) -> LossScale:
        """Return the scale customary in mixed-precision training."""
        return cls(initial=initial, growth=growth, backoff=backoff, patience=patience)

    @classmethod
    def of(cls, given: float | LossScale) -> LossScale:
        """Return the LossScale meant by a number or a LossScale."""
        return given if isinstance(given, LossScale) else cls(initial=given)

    @property
    def adapts(self) -> bool:
        """Whether the scale moves at all."""
        return self.growth != 1 or self.backoff != 1

    def start(self) -> LossScaleState:
        """Return a scale that moves."""
        return LossScaleState(self, float(self.initial))


@dataclass
class LossScaleState:
    """A loss scale's value, and the number of good steps since it moved."""

    rule: LossScale
    value: float
    good: int = 0

    def after(self, overflowed: bool) -> None:
        """Move as the rule says after a step."""
        self.good = 0 if overflowed else self.good + 1
        if overflowed:
            self.value = max(self.value * self.rule.backoff, self.rule.smallest)
        elif self.good == self.rule.patience:
            self.value, self.good = min(self.value * self.rule.growth, self.rule.largest), 0
