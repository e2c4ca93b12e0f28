"""The papers there are, and what came of the full run of their claims."""

from __future__ import annotations

import datetime
import json
import platform
from importlib import import_module
from pathlib import Path
from typing import Any

import refimpl
from refimpl._arguments import choice
from refimpl.papers.claim import Bench, Claim, Finding, Paper

__all__ = ["NAMES", "claims", "paper", "report", "results", "verdicts", "when"]

NAMES = (
    "peppp",
    "bfloat16",
    "deepgemm",
    "eight-bit-optimizers",
    "fbgemm",
    "fp8-formats",
    "metric-driven",
    "sixteen-bit",
    "maple",
    "positnn",
    "kbit",
    "bf16-or-death",
)
"""Each has a file of this room, with underlines for hyphens, that defines ``PAPER``."""


def paper(name: str) -> Paper:
    """Return a paper by name.

    Raises
    ------
    ValueError
        For an unknown one.
    """
    choice("reproduce", "PAPER", name, NAMES)
    return import_module(f"refimpl.papers.{name.replace('-', '_')}").PAPER


def claims(of: Paper, only: list[str] | None = None) -> list[Claim]:
    """Return the claims of a paper, or those of them that are named.

    Raises
    ------
    ValueError
        For an unknown one.
    """
    known = {claim.name: claim for claim in of.claims}
    for name in only or ():
        choice("reproduce", f"claim of {of.name}", name, known)
    return [claim for name, claim in known.items() if not only or name in only]


def report(of: Paper, bench: Bench, found: dict[str, tuple[Finding, float]]) -> dict[str, Any]:
    """Return what came of claims, each with its seconds, in types that JSON can hold, and when and where it did."""
    published = {claim.name: claim.published for claim in of.claims}
    return {
        "paper": of.name,
        "date": datetime.date.today().isoformat(),
        "version": refimpl.__version__,
        "machine": f"{platform.machine()}, {platform.system()}, Python {platform.python_version()}",
        "seed": bench.seed,
        "quick": bench.quick,
        "claims": {
            name: {
                "published": published[name],
                "verdict": finding.verdict,
                "why": finding.why,
                "seconds": round(seconds, 1),
                "numbers": finding.numbers,
            }
            for name, (finding, seconds) in found.items()
        },
    }


def results(name: str) -> dict[str, Any]:
    """Return what a full run of a paper's claims found and when, as it ships; empty where none does.

    As `report` returns it; claims that were run apart have a ``date`` and a ``version`` of their own.
    """
    path = Path(__file__).parent / "results" / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def when(name: str) -> str:
    """Return when a paper's claims were run in full, of which version and seed, as text; empty where none was.

    >>> when("deepgemm")
    'run of 2026-11-26, version 0.1.0, seed 0'
    """
    found = results(name)
    if not found:
        return ""
    later: dict[str, list[str]] = {}
    for claim, of in found["claims"].items():
        if "date" in of:
            later.setdefault(f"{of['date']}, version {of['version']}", []).append(claim)
    apart = [f"; {', '.join(claims)} of {run}" for run, claims in later.items()]
    return f"run of {found['date']}, version {found['version']}, seed {found['seed']}" + "".join(apart)


def verdicts() -> list[tuple[str, str, str, str]]:
    """Return paper, claim, verdict and why, of every claim of every paper, as the full run ended that ships."""
    rows = []
    for name in NAMES:
        found = results(name).get("claims", {})
        for claim in paper(name).claims:
            of = found.get(claim.name, {})
            rows.append((name, claim.name, of.get("verdict", "not run yet"), of.get("why", "")))
    return rows
