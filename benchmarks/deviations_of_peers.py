"""Where ml_dtypes, gfloat and NumPy deviate from the definition today, each with its smallest case.

Needs the extra ``peers``.  Nothing of the peers is changed or configured; the expected behaviour is
the one each of them states: ml_dtypes' default casts, gfloat's rounding modes and saturation.  Run it as

    python benchmarks/deviations_of_peers.py [--json FILE]
"""

import argparse
import json
from importlib.metadata import version

import ml_dtypes
import numpy as np
from gfloat import formats as gfloat_formats

import refimpl as rf

DTYPES = ["float8_e3m4", "float8_e4m3", "float8_e4m3b11fnuz", "float8_e4m3fn", "float8_e4m3fnuz",
          "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu", "float4_e2m1fn", "float6_e2m3fn",
          "float6_e3m2fn", "int4", "uint4"]  # fmt: skip
GFLOATS = ["ocp_e4m3", "ocp_e5m2", "ocp_e2m3", "ocp_e3m2", "ocp_e2m1", "ocp_e8m0"]
MODES = ["ties_to_even", "ties_to_away", "toward_zero", "toward_positive", "toward_negative"]


def runs():
    """Yield (peer, what, report) for each peer, format, mode and input type."""
    for name in DTYPES:
        for dtype in ("float32", "float64"):
            yield f"ml_dtypes {version('ml_dtypes')}", f"{name} from {dtype}", rf.testing.conform(
                getattr(ml_dtypes, name), inputs=[dtype])  # fmt: skip
    yield f"numpy {np.__version__}", "float16", rf.testing.conform(np.float16)
    for name in GFLOATS:
        info = getattr(gfloat_formats, f"format_info_{name}")
        for mode in MODES:
            yield f"gfloat {version('gfloat')}", f"{name} {mode}", rf.testing.conform(
                info, rounding=mode, inputs=["float64"])  # fmt: skip


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", metavar="FILE", help="also write the table as JSON")
    options = parser.parse_args()
    table = []
    for peer, what, report in runs():
        verdict = "conforms" if report.passed else f"fails {len(report.failures)} groups and laws"
        print(f"{peer:<18} {what:<34} {verdict}", flush=True)
        row = {"peer": peer, "what": what, "passed": report.passed, "diagnosis": report.diagnosis}
        if not report.passed:
            groups = [result for result in report.failures if result.kind != "law"]
            row["failures"] = {
                result.name: result.failure.explanation for result in report.failures
            }
            print(f"    {report.diagnosis}")
            for result in (groups or list(report.failures))[:1]:
                print(f"    smallest case of {result.name}, {result.failed} of {result.tried}:")
                print("      " + result.failure.explanation.replace("\n", "\n      "))
        table.append(row)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(table, file, indent=1)


if __name__ == "__main__":
    main()
