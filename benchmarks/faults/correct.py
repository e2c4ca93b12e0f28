"""Correct implementations: of other packages, and by hand in ways that differ."""

from __future__ import annotations

import importlib
import itertools

import numpy as np

from faults import Correct, Fault
from faults._making import FIELDS, by_scaling, by_table, rules


def _optional(package):
    try:
        return importlib.import_module(package)
    except ImportError:
        return None


def _packages():
    yield Correct("numpy float16", {}, np.float16)
    if ml_dtypes := _optional("ml_dtypes"):
        for name in FIELDS:
            if name != "float16" and hasattr(ml_dtypes, name):  # from float64 they round twice
                rule = {
                    "inputs": ["float32"],
                    "overflow": "saturate" if name.startswith(("float4", "float6")) else "overflow",
                }
                yield Correct(f"ml_dtypes {name}", rule, getattr(ml_dtypes, name))
    if torch := _optional("torch"):
        for name in ("bfloat16", "float16"):
            yield Correct(f"torch {name}", {"inputs": ["float32"]}, getattr(torch, name))
    if _optional("gfloat"):
        formats = importlib.import_module("gfloat.formats")
        for name in ("format_info_ocp_e4m3", "format_info_ocp_e5m2"):  # those without NaN refuse it
            for mode in ("ties_to_even", "ties_to_away", "toward_zero", "toward_positive", "toward_negative"):
                for overflow in ("overflow", "saturate"):
                    rule = {"rounding": mode, "overflow": overflow}
                    yield Correct(f"gfloat {name} {mode} {overflow}", rule, getattr(formats, name))


def _by_hand():
    for name, f in FIELDS.items():
        yield Correct(f"{name} by table", rules(name), by_table(f))
        yield Correct(f"{name} by scaling", rules(name), by_scaling(f))
    modes = {"zero": "toward_zero", "positive": "toward_positive", "negative": "toward_negative", "odd": "to_odd"}
    for (mode, rounding), name in itertools.product(modes.items(), ("float8_e4m3fn", "float8_e5m2", "float4_e2m1fn")):
        yield Correct(f"{name} {rounding} by table", rules(name, rounding=rounding), by_table(FIELDS[name], mode=mode))
    for name in ("float8_e5m2", "float8_e4m3fnuz"):
        make = by_table(FIELDS[name], tie="away")
        yield Correct(f"{name} ties_to_away by table", rules(name, rounding="ties_to_away"), make)


FAULTS: list[Fault] = []
CORRECT: list[Correct] = [*_packages(), *_by_hand()]
