"""What a sum, a dot product or a product of matrices is expected to do."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from refimpl import _arguments, ops
from refimpl.formats import BlockFormat, FloatFormat
from refimpl.formats import format as format_of
from refimpl.formats.units import MatrixUnit
from refimpl.formats.units import unit as named
from refimpl.testing.expected.behaviour import alike


@dataclass(frozen=True)
class Sums:
    """What a sum is expected to do: ``sum``, ``dot`` or ``matmul`` in a format, with arguments of `refimpl.matmul`.

    `how` has scales where they are those of a case.
    """

    kind: str
    fmt: Any
    how: dict[str, Any]

    @property
    def unit(self) -> MatrixUnit | None:
        """The matrix unit, if it is one."""
        return named(self.how["unit"]) if self.how.get("unit") is not None else None

    @classmethod
    def of(cls, kind: str, fmt, how: dict[str, Any]) -> Sums:
        """Return what the arguments of `refimpl.testing.conform` ask for; of a unit's block format, its elements."""
        given = {name: value for name, value in how.items() if value is not None}
        found: Any = format_of(fmt)
        unit = cls(kind, found, given).unit
        if unit is not None and unit.scales:
            _arguments.choice("conform", "op of a unit with block scales", kind, ("dot", "matmul"))
            given["scale_format"] = unit.scales[0]
            if isinstance(found, BlockFormat):
                if found.block_size != unit.block:
                    allowed = f"one with blocks of {unit.block}, those of {how['unit']!r}"
                    raise _arguments.wrong_value("conform", "format", str(found), allowed)
                given["scale_format"], found = found.scale.name, found.element
        if not isinstance(found, FloatFormat) or not found.fits_float64:
            raise _arguments.wrong_kind("conform", "format of a sum", str(found), "a float format within float64")
        return cls(kind, found, given)

    @property
    def scaled(self) -> bool:
        """Whether it is a unit with block scales."""
        return self.unit is not None and bool(self.unit.scales)

    def by(self, scales) -> Sums:
        """Return what is expected under scales, (m, blocks) and (blocks, n); itself for None."""
        return self if scales is None else replace(self, how=self.how | {"scales": scales})

    @property
    def terms(self) -> int:
        """How many terms the cases have: no whole number of groups, two of them and a part of a third at least."""
        unit = self.unit
        if unit is None:
            return max(35, 2 * self.how.get("chunk", 0) + 3)
        if unit.promote:
            return unit.promote + unit.terms
        if unit.scales:
            return 3 * unit.terms
        return 2 * unit.terms + max(2, unit.terms // 2)

    @property
    def many(self) -> int:
        """How many terms a few long sums have, which loops over large tiles would cut."""
        unit = self.unit
        if unit is not None and unit.scales:
            return 5 * unit.terms
        return max(131, self.terms + 3) if unit is None else 2 * (unit.promote or 2 * unit.terms) + unit.terms + 3

    def results(self, a: np.ndarray, b: np.ndarray, c: np.ndarray | None = None, **other) -> np.ndarray:
        """Return the product of values (m, k) and (k, n), float64; `other` replaces arguments."""
        how = {name: value for name, value in (other or self.how).items() if value is not None}
        if c is not None and "unit" in how:
            how["initial"] = c
        with np.errstate(all="ignore"):
            return np.asarray(ops.matmul(a, b, self.fmt, **how)).astype(np.float64)

    def __str__(self) -> str:
        how = ", ".join(
            f"{name}={value if isinstance(value, str | int) else type(value).__name__}"
            for name, value in self.how.items()
            if name != "scales"
        )
        return f"{self.kind} {self.fmt.name}" + (f", {how}" if how else "")


def dtype_of(*operands: np.ndarray) -> type:
    """Return the dtype that a function is given operands in: float32 where it holds all of them, else float64."""
    fits = all((x.astype(np.float32) == x)[np.isfinite(x)].all() for x in operands)
    return np.float32 if fits else np.float64


def same_sums(expected: Sums, a, b) -> np.ndarray:
    """Tell where results are the same; the sign of a zero counts on units alone, for an order does not say it."""
    return alike(a, b) if expected.unit is not None else (a == b) | np.isnan(a) & np.isnan(b)
