"""One sum explained, term by term: products, their shifts, what was cut."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

from refimpl.formats import format as format_of
from refimpl.formats.units import MatrixUnit
from refimpl.spec import units as spec
from refimpl.spec.float_codes import Value, from_float, to_float
from refimpl.testing.expected.explain import shortest
from refimpl.testing.operations.summed import Sums

MOST_LINES = 12  # of an explanation, after which terms are only counted


def explain_sum(expected: Sums, a, b, first: float, right: float, got: float) -> str:
    """Return the explanation of one sum, term by term: products, their shifts, what was cut.

    >>> from refimpl.formats import format
    >>> hopper = Sums("dot", format("float8_e5m2"), {"unit": "hopper-fp8"})
    >>> print(explain_sum(hopper, np.array([1.0, 2.0**-14]), np.ones(2), 0.0, 1.0, 1.00006103515625))
    group 1: aligned to 2^0, 13 bits kept behind the point, the rest cut toward_zero
      term 0  1 * 1 = 1                           shifted by 0
      term 1  6.10351562e-05 * 1 = 6.10351562e-05 shifted by 14, cut to 0: 6.10351562e-05 lost
      sum     1 -> 1
    right  1
    got    1.00006103515625
    """
    unit, scales = expected.unit, expected.how.get("scales") or ()
    shown = [i for i in range(len(a)) if a[i] != 0 and b[i] != 0]
    lines = []
    if unit is not None and unit.sum == "aligned" and all(np.isfinite(x).all() for x in (a, b, *scales)):
        lines = _aligned_lines(expected, unit, a, b, first, scales)
    else:
        for side, which in zip(scales, ("first", "second"), strict=False):
            lines += [f"  scale of block {i} of the {which} operand: {side[i]}" for i in np.flatnonzero(np.isnan(side))]
        total = Fraction(0)
        for i in shown[:8]:
            x, y = float(a[i]), float(b[i])
            exact = from_float(x), from_float(y)
            if all(v.kind == "finite" for v in exact):
                total += Fraction(x) * Fraction(y)
            lines.append(f"  term {i}  {shortest(x)} * {shortest(y)} = {shortest(x * y)}")
        lines += [f"  ... and {len(shown) - 8} more"] * (len(shown) > 8)
        if np.isfinite(a).all() and np.isfinite(b).all():
            exact_sum = sum((Fraction(float(x)) * Fraction(float(y)) for x, y in zip(a, b, strict=True)), Fraction(0))
            lines.append(f"exact  {exact_sum} = {shortest(float(exact_sum))}")
            lines += _partial_sums(expected, a, b) if expected.how.get("order", "sequential") == "sequential" else []
    return "\n".join([*lines, f"right  {shortest(right)}", f"got    {shortest(got)}"])


def _partial_sums(expected: Sums, a, b) -> list[str]:
    """Return the accumulator after each term, of a sum in turn."""
    if expected.unit is not None:
        return []
    shown = [i for i in range(len(a)) if a[i] != 0 and b[i] != 0][:8]
    each = [float(expected.results(a[None, : i + 1], b[: i + 1, None])[0, 0]) for i in shown]
    return [f"  after term {i}: {shortest(x)}" for i, x in zip(shown, each, strict=True)]


def _aligned_lines(expected: Sums, unit: MatrixUnit, a, b, first: float, scales) -> list[str]:
    lines = []
    fmt = expected.fmt
    of_scales: Any = format_of(expected.how["scale_format"]) if scales else None
    factors = [[from_float(float(v)) for v in side] for side in scales]
    total: Value = from_float(first)
    x, y = ([spec._operand(from_float(float(v)), fmt, unit) for v in side] for side in (a, b))
    register = None
    if unit.promote:
        register, total = total, spec.ZERO
    for start in range(0, len(a), unit.terms):
        parts = x[start : start + unit.terms], y[start : start + unit.terms]
        if total.magnitude == 0 and all(p.magnitude == 0 or q.magnitude == 0 for p, q in zip(*parts, strict=True)):
            continue
        sides = [spec.terms_of(side, fmt) for side in parts]
        terms = [(s * t, e + f) for (s, e), (t, f) in zip(*sides, strict=True)]
        blocks = [side[start // unit.block : (start + unit.terms) // unit.block] for side in factors]
        if blocks:
            terms = spec._scaled(terms, unit, [spec.terms_of(side, of_scales) for side in blocks])
        accumulator = spec.terms_of([total], unit.into) if total.kind == "finite" else []
        together = terms + (accumulator if unit.joined is None else [])
        if unit.align == "products":
            together = [spec._normalised(term) for term in together]
        top = max(e for _, e in together)
        bits = unit.fraction_bits
        lines.append(
            f"group {start // unit.terms + 1}: aligned to 2^{top}, {bits} bits kept behind the point, "
            f"the rest cut {unit.cut}"
        )
        hidden = 0
        for i, (s, e) in enumerate(together):
            if s == 0:
                continue
            exact = s * Fraction(2) ** e
            kept = Fraction(spec.cut(s * Fraction(2) ** (bits + e - top), unit.cut)) * Fraction(2) ** (top - bits)
            what, said = "accumulator", _short(exact)
            if i < len(terms):
                at = i * unit.inner
                what = f"term {start + at}" if unit.inner == 1 else f"terms {start + at}-{start + at + unit.inner - 1}"
                by = [_short(side[at // unit.block].magnitude) for side in blocks]
                if unit.inner == 1:
                    by = [_short(_signed(side[at])) for side in parts] + by
                else:
                    by = [f"sum {_short(_sum(*(side[at : at + unit.inner] for side in parts)))}", *by]
                said = f"{' * '.join(by)} = {said}"
            if len(lines) > MOST_LINES and i < len(terms):
                hidden += 1
                continue
            lost = "" if kept == exact else f", cut to {_short(kept)}: {_short(exact - kept)} lost"
            lines.append(f"  {what:<7} {said:<35} shifted by {top - e}{lost}")
        lines += [f"  ... and {hidden} terms more"] * bool(hidden)
        before = total
        total = spec.group(*parts, total, unit, (fmt, fmt), blocks, of_scales)
        extra = f", joined with the accumulator {_short(_signed(before))}" if unit.joined is not None else ""
        exact_sum = sum(
            Fraction(spec.cut(s * Fraction(2) ** (bits + e - top), unit.cut)) * Fraction(2) ** (top - bits)
            for s, e in together
        )
        lines.append(f"  sum     {_short(Fraction(exact_sum))}{extra} -> {shortest(to_float(total))}")
    if register is not None:
        lines.append(f"  sums are added to a float32 register every {unit.promote} products")
    return lines


def _sum(a, b) -> Fraction:
    return sum((_signed(x) * _signed(y) for x, y in zip(a, b, strict=True)), Fraction(0))


def _signed(value: Value) -> Fraction:
    return -value.magnitude if value.negative else value.magnitude


def _short(x: Fraction) -> str:
    return f"{float(x):.9g}"
