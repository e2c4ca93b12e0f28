"""Quantizers on bits with guard and sticky bits, as circuits round."""

from __future__ import annotations

from faults import Correct, Fault
from faults._making import FIELDS, FLAWS, as_hardware, rules

FORMATS = ("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float16", "float6_e3m2fn")
ABSENT = {("NaN overflows", "float6_e3m2fn"), ("wraps", "float8_e4m3fnuz")}

FAULTS = [
    Fault(f"{name}: {flaw}", rules(name), as_hardware(FIELDS[name], flaw), right)
    for k, (flaw, right) in enumerate(FLAWS.items())
    for name in (FORMATS[k % 5], FORMATS[(k + 1) % 5], "float8_e4m3fn")[: 3 if k % 5 not in (0, 4) else 2]
    if (flaw, name) not in ABSENT
]
CORRECT = [Correct(f"{name}, as hardware", rules(name), as_hardware(f)) for name, f in FIELDS.items()]
