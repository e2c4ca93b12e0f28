"""How fast are arithmetic and emulated matrix products beside NumPy's own?

    python benchmarks/arithmetic.py [--size 512] [--elements 1000000] [--threads 2] [--json FILE]

Checks samples against the definitions first.  Then prints, medians of calls made in turn: an
E4M3 x E4M3 product of size^3 that is added up sequentially in float16, beside np.matmul in float32, and
the other orders and modes on a part of its rows; and nanoseconds an element of each operation.
"""

import argparse
import json
import os
import sys
from pathlib import Path

from turns import measure

FORMATS = ["float8_e4m3fn", "float16", "bfloat16", "float32", "posit8_2", "posit16_2"]
OPERATIONS = ["add", "mul", "div", "sqrt", "fma"]


def arguments():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--elements", type=int, default=1_000_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", metavar="FILE")
    return parser.parse_args()


def check_products(a, b, found):
    """Hold a few elements of the product to the definition."""
    import refimpl as rf
    from refimpl.spec import float_codes, sums

    e4m3, half = rf.format("e4m3fn"), rf.format("float16")
    for i, j in ((0, 0), (1, 2), (3, 1)):
        x, y = ([float_codes.decode(int(code), e4m3) for code in rf.encode(v, e4m3)] for v in (a[i], b[:, j]))
        if float_codes.to_float(sums.dot(x, y, half)) != found[i, j]:
            sys.exit("matmul: the kernel is not what is defined")


def check_operation(operation, name, operands, found):
    """Hold a few results to the definition."""
    import refimpl as rf
    from refimpl.spec.operations import calculate

    fmt = rf.format(name)
    codes = [rf.encode(x[:50], fmt).tolist() for x in operands]
    expected = [calculate(operation, several, fmt) for several in zip(*codes, strict=True)]
    if rf.encode(found[:50], fmt).tolist() != expected:
        sys.exit(f"{operation} {name}: the kernel is not what is defined")


def products(size, repeats):
    """Time matrix products; return records."""
    import numpy as np

    import refimpl as rf

    rng = np.random.default_rng(0)
    a, b = (rf.quantize(rng.standard_normal((size, size)).astype(np.float32), "e4m3fn") for _ in "ab")
    rows = max(size // 16, 1)
    half = {"accumulate": "float16"}
    check_products(a, b, rf.matmul(a[:4], b, "e4m3fn", **half))
    whole = {
        "np.matmul, float32": lambda: a @ b,
        "E4M3 into float16, sequential": lambda: rf.matmul(a, b, "e4m3fn", **half),
    }
    part = {
        "pairwise": {"order": "pairwise"},
        "chunks of 32": {"order": "chunked", "chunk": 32},
        "Kahan": {"order": "kahan"},
        "exact": {"order": "exact"},
        "sequential, toward zero": {"rounding": "toward_zero"},
        "sequential, stochastic": {"rounding": "stochastic", "seed": 0},
    }
    part = {
        f"{name} ({rows} rows)": lambda rules=rules: rf.matmul(a[:rows], b, "e4m3fn", **half, **rules)
        for name, rules in part.items()
    }
    times = measure(whole, repeats)
    base = times["np.matmul, float32"] / size**3
    print(f"{size} x {size} x {size}")
    records = []
    for label, seconds in {**times, **measure(part, max(repeats // 2, 1))}.items():
        steps = size**3 if label in times else rows * size**2
        step = seconds / steps
        print(f"  {label:<38} {seconds:9.3f} s {step * 1e9:9.3f} ns a step {step / base:9.1f} x np.matmul")
        records.append({"product": label, "size": size, "seconds": seconds, "steps": steps, "ratio": step / base})
    return records


def operations(n, repeats):
    """Time elementwise operations; return records."""
    import numpy as np

    import refimpl as rf

    rng = np.random.default_rng(1)
    records = []
    print(f"\n{n} elements, ns an element (in brackets, NumPy's own)")
    for name in FORMATS:
        x = [rf.quantize(rng.standard_normal(n).astype(np.float32), name).astype(np.float32) for _ in range(3)]
        if name == "float16":
            x = [v.astype(np.float16) for v in x]
        own = name in ("float16", "float32")
        shown = []
        for operation in OPERATIONS:
            operands = x[: {"sqrt": 1, "fma": 3}.get(operation, 2)]
            operands = [abs(v) for v in operands] if operation == "sqrt" else operands
            ours = getattr(rf, operation)
            call = lambda f=ours, v=operands, k=name: f(*v, k)  # noqa: E731
            check_operation(operation, name, operands, call())
            calls = {"ours": call}
            theirs = {"add": np.add, "mul": np.multiply, "div": np.divide, "sqrt": np.sqrt}
            if own and operation in theirs:
                calls["NumPy"] = lambda f=theirs[operation], v=operands: f(*v)
            times = {label: seconds * 1e9 / n for label, seconds in measure(calls, repeats).items()}
            beside = f" [{times['NumPy']:.1f}]" if "NumPy" in times else ""
            shown.append(f"{operation} {times['ours']:.0f}{beside}")
            records.append({"format": name, "operation": operation, "elements": n, "ns": times})
        print(f"  {name:<16}" + "   ".join(shown))
    return records


def main():
    """Check, time, print."""
    options = arguments()
    os.environ["NUMBA_NUM_THREADS"] = str(options.threads)
    os.environ.setdefault("OPENBLAS_NUM_THREADS", str(options.threads))
    import numpy as np

    with np.errstate(all="ignore"):
        report = {
            "threads": options.threads,
            "products": products(options.size, options.repeats),
            "operations": operations(options.elements, options.repeats),
        }
    if options.json:
        Path(options.json).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
