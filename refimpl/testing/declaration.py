"""What IEEE P3109 asks an implementation to declare, written from what is implemented, as YAML.

Four files, as the working group's examples have them: Configurations (modes, block sizes, external formats, and
the operations), Profiles (the formats), Constraints and Kappas, both empty: every operation takes every
combination of formats and projections, and none is approximate.  A name of the report is spelled as in 4.0, where
the examples still have that of an earlier one (SatNone, not OvfInf).

*Source*: IEEE P3109 interim report 4.0, section 5; github.com/P3109/Public, Exemplars.
"""

from __future__ import annotations

import json
from typing import Any

from refimpl.ops import p3109
from refimpl.spec.p3109 import ROUNDINGS, SATURATIONS

REPORT = "4.0"
CONFIGURATION = "Reference"
STOCHASTIC_BITS = "(1:32)"
WIDEST = 16


def declaration(
    *, name: str, version: str, timestamp: str, provider: str = "", email: str = "", uri: str = ""
) -> dict[str, str]:
    """Return the texts of the files of a declaration, by name.

    Parameters
    ----------
    name, version, timestamp : str
        Of the implementation.
    provider, email, uri : str
        Who answers for it.

    Examples
    --------
    >>> files = declaration(name="refimpl", version="0.1.0", timestamp="2026-07-01T00:00Z")
    >>> sorted(files)
    ['Configurations.yaml', 'Constraints.yaml', 'Kappas.yaml', 'Profiles.yaml']
    >>> print(files["Kappas.yaml"].splitlines()[-1])
    Empty: true
    """
    metadata = {
        "conformance": "IEEE SA P3109",
        "version": REPORT,
        "provider": provider,
        "contact": {"email": email, "uri": uri},
        "implementation": {"name": name, "version": version, "timestamp": timestamp},
        "uri": uri,
    }
    plain = [mode for mode in ROUNDINGS if not mode.startswith("Stochastic")]
    stochastic = [{mode: {"bits": STOCHASTIC_BITS}} for mode in ROUNDINGS if mode.startswith("Stochastic")]
    configuration = {
        "IEEE754": list(p3109.EXTERNAL.values()),
        "Projections": {"Rounding": [*plain, *stochastic], "Saturation": list(SATURATIONS)},
        "BlockSizes": {"core": "(1:2^31)", "accelerated": [], "supported": "(1:2^31)"},
        "KappaApproximate": [],
        "Operations": [p3109.signature(operation) for operation in p3109.NAMES],
    }
    formats = [
        f"( 'Binary{k}p$(i){sign}{domain}' for i in 1:{k - (sign == 's')} )"
        for k in range(3, WIDEST + 1)
        for sign in "su"
        for domain in "ef"
    ]
    note = f"Formats of more than {WIDEST} bits too: exponents of up to 16 bits, precisions of up to 53."
    bodies: dict[str, Any] = {
        "Configurations": {CONFIGURATION: configuration},
        "Profiles": {CONFIGURATION: {"formats": formats, "note": note}},
        "Constraints": {"Empty": True},
        "Kappas": {"Empty": True},
    }
    return {
        f"{key}.yaml": "---\n" + "\n".join(_lines({"Metadata": metadata, **body})) + "\n"
        for key, body in bodies.items()
    }


def _lines(thing: Any, indent: str = "") -> list[str]:
    """Return a dictionary or a list, none of them empty inside another list, as lines of YAML."""
    lines = []
    items = thing.items() if isinstance(thing, dict) else ((None, value) for value in thing)
    for key, value in items:
        start = f"{indent}-" if key is None else f"{indent}{key}:"
        if isinstance(value, dict | list) and value:
            inside = _lines(value, indent + "  ")
            lines += [f"{start} {inside[0].strip()}", *inside[1:]] if key is None else [start, *inside]
        else:
            lines.append(f"{start} {json.dumps(value, ensure_ascii=False)}")
    return lines
