"""The grammar of known defects: ways of computing wrong results on purpose, a stage of the computation each.

An implementation changes its input (or rounds it a first time), knows the format and the rules, rounds, treats
subnormals, what overflows, special values, and signs, in this order.  A defect belongs to one stage, so that any
two of them can be put together.  `diagnosis` compares what they predict with what was seen.
"""

from __future__ import annotations

from refimpl.formats import FloatFormat, IntFormat, PositFormat
from refimpl.testing.diagnosis import defects, ranges, subnormals, twice
from refimpl.testing.diagnosis.anatomy import has_anatomy
from refimpl.testing.diagnosis.defects import Defect, Facts
from refimpl.testing.expected.behaviour import Behaviour


def defects_of(behaviour: Behaviour, facts: Facts | None = None) -> tuple[Defect, ...]:
    """Return the known defects that make sense for a format and mode, the simplest first."""
    facts, fmt = facts or Facts(), behaviour.format
    found = [*twice.of_dtypes(fmt)]
    if isinstance(fmt, FloatFormat):
        found += [*defects.of_rules(behaviour, fmt), *ranges.of_overflow(behaviour, fmt, facts)]
    elif isinstance(fmt, IntFormat):
        found += [*defects.of_integers(behaviour, fmt), *ranges.of_integers(fmt, facts)]
    if isinstance(fmt, IntFormat):
        found += [d for d in defects.of_special(behaviour, facts) if "infinity" in d.sentence.split(" for ")[-1]]
    else:
        found += [*defects.of_special(behaviour, facts), *defects.of_signs(fmt)]
    found += [*defects.of_formats(behaviour)]
    if isinstance(fmt, FloatFormat):
        found += [*subnormals.of_floats(fmt)]
    if has_anatomy(fmt):
        found += [*defects.of_modes(behaviour), *defects.of_carries(fmt)]
    if isinstance(fmt, PositFormat) and fmt.bits <= 16:
        found += [*defects.of_posits(fmt)]
    return (*found, *twice.of_bits(fmt), *twice.of_decimals(fmt))
