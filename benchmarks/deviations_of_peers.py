"""Where ml_dtypes, gfloat, PyTorch and NumPy deviate from the definition, each with its smallest case.

Needs the extra ``peers``; PyTorch's types are tried where it is installed.  The expected behaviour is
the one each of them states: ml_dtypes' and PyTorch's default casts, gfloat's rounding modes, saturating
where a format has neither infinity nor NaN.  Run it as

    python benchmarks/deviations_of_peers.py [--only TEXT] [--json FILE]

It prints a report for each type, then a table: the case groups, what is on record against a
peer there, and in which types it was found today.  Takes half a minute.
"""

import argparse
import importlib
import json
from importlib.metadata import version
from pathlib import Path

import ml_dtypes
import numpy as np
from gfloat import formats as gfloat_formats

import refimpl as rf

DTYPES = [
    "float8_e3m4",
    "float8_e4m3",
    "float8_e4m3b11fnuz",
    "float8_e4m3fn",
    "float8_e4m3fnuz",
    "float8_e5m2",
    "float8_e5m2fnuz",
    "float8_e8m0fnu",
    "float4_e2m1fn",
    "float6_e2m3fn",
    "float6_e3m2fn",
    "int4",
    "uint4",
]
GFLOATS = ["ocp_e4m3", "ocp_e5m2", "ocp_e2m3", "ocp_e3m2", "ocp_e2m1", "ocp_e8m0"]
MODES = ["ties_to_even", "ties_to_away", "toward_zero", "toward_positive", "toward_negative"]
TORCH = ["float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu", "float16", "bfloat16"]
RECORD = {  # what has been reported about a peer in each case group, with the issue
    1: "float64 is rounded twice: ml_dtypes #401, triton #2583, flashinfer #5128",
    2: "464, 61440, 65520: ml_dtypes #260, #400",
    3: "directed modes overflow: saturn-vectors #101",
    4: "infinity as finite overflow: onnx #6220; E4M3FN: PyTorch saturates, ml_dtypes gives NaN",
    5: "a payload in dropped bits becomes infinity: cpfloat",
    6: "NaN where there is none: ml_dtypes E2M1 gives zeros, gfloat raises for the whole array",
    7: "minus zero in fnuz formats: onnx #5764, triton #10745, xla #17487",
    8: "half the smallest value; subnormal inputs",
    9: "before powers of two in directed modes: pychop",
    10: "to-odd moves exact values: pychop",
    11: "encode(decode(code)) fails for 132 of 256: tt-metal #51971",
    12: "E8M0: ml_dtypes #298, #398; PyTorch, onnx and gfloat differ too",
    13: "stochastic rounding: oneDNN #2903, llvm-project (ROCm) #3275, StochasticRounding.jl #74",
    14: "int4 truncates and wraps: ml_dtypes; onnxruntime #18576",
    15: "packing order: torchao #2939",
    16: "through a type that keeps few bits more, such as bfloat16: as group 1",
    17: "numbers of every size: none but what the groups above find",
}


def runs():
    """Yield (peer, what, a function that returns the report) for each format, mode and input type."""
    for name in DTYPES:
        for dtype in ("float32", "float64"):
            yield (
                f"ml_dtypes {version('ml_dtypes')}",
                f"{name} from {dtype}",
                lambda n=name, d=dtype: rf.testing.conform(getattr(ml_dtypes, n), inputs=[d]),
            )
    yield f"numpy {np.__version__}", "float16", lambda: rf.testing.conform(np.float16)
    for name in GFLOATS:
        info = getattr(gfloat_formats, f"format_info_{name}")
        overflow = "overflow" if info.num_nans else "saturate"
        for mode in MODES:
            yield (
                f"gfloat {version('gfloat')}",
                f"{name} {mode}",
                lambda i=info, m=mode, o=overflow: rf.testing.conform(i, rounding=m, overflow=o, inputs=["float64"]),
            )
    try:
        torch = importlib.import_module("torch")
    except ImportError:
        print("PyTorch is not installed: its types are left out")
        return
    for name in TORCH:
        for dtype in ("float32", "float64"):
            yield (
                f"torch {version('torch')}",
                f"{name} from {dtype}",
                lambda n=name, d=dtype: rf.testing.conform(getattr(torch, n), inputs=[d]),
            )


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", metavar="TEXT", default="", help="only lines with this text")
    parser.add_argument("--json", metavar="FILE", help="also write the table as JSON")
    options = parser.parse_args()
    table, numbers = [], {group.name: group.number for group in rf.testing.case_groups()}
    for peer, what, run in runs():
        if options.only not in f"{peer} {what}":
            continue
        report = run()
        verdict = "conforms" if report.passed else f"fails {len(report.failures)} groups and laws"
        print(f"{peer:<18} {what:<34} {verdict}", flush=True)
        row = {"peer": peer, "what": what, "passed": report.passed, "diagnosis": report.diagnosis}
        if not report.passed:
            groups = [result for result in report.failures if result.kind != "law"]
            row["failures"] = {result.name: result.failure.explanation for result in report.failures}
            print(f"    {report.diagnosis}")
            for result in (groups or list(report.failures))[:1]:
                print(f"    smallest case of {result.name}, {result.failed} of {result.tried}:")
                print("      " + result.failure.explanation.replace("\n", "\n      "))
        table.append(row)
    print("\ncase group, what is on record, and the types that deviate today (of those tried)")
    for name, number in numbers.items():
        found = [f"{row['peer'].split()[0]} {row['what']}" for row in table if name in row.get("failures", {})]
        print(f"{number:>3} {name:<26}{RECORD[number]}")
        print(f"    found in {len(found)}: " + shortened(found) if found else "    found in none")
    if options.json:
        Path(options.json).write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


def shortened(found, most=6):
    """Return the first of some names, and how many more there are."""
    rest = f" and {len(found) - most} more" if len(found) > most else ""
    return "; ".join(found[:most]) + rest


if __name__ == "__main__":
    main()
