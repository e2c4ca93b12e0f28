"""How fast are arithmetic and emulated matrix products beside NumPy's own?

    python benchmarks/arithmetic.py [--size 512] [--elements 1000000] [--threads 2] [--json FILE]

Checks samples against the definitions first.  Then prints, medians of calls made in turn: products of
size^3 by format, accumulator, order and mode, and of integer codes, beside np.matmul in float32; and
nanoseconds an element of each operation.
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


CASES = [  # operands, accumulator, rules
    ("float8_e4m3fn", "float32", {}),
    ("bfloat16", "float32", {}),
    ("float8_e4m3fn", "float16", {}),
    ("float8_e4m3fn", "bfloat16", {}),
    ("float8_e4m3fn", "float8_e4m3fn", {}),
    ("float16", "float16", {}),
    ("bfloat16", "bfloat16", {}),
    ("posit16_2", "posit16_2", {}),
    ("float8_e4m3fn", "float16", {"rounding": "toward_zero"}),
    ("float8_e4m3fn", "float16", {"order": "chunked", "chunk": 32}),
    ("float8_e4m3fn", "float16", {"order": "pairwise"}),
    ("float8_e4m3fn", "float16", {"order": "kahan"}),
    ("float8_e4m3fn", "float16", {"rounding": "stochastic", "seed": 0}),
    ("float8_e4m3fn", "float32", {"rounding": "stochastic", "seed": 0}),
    ("float8_e4m3fn", "float16", {"order": "exact"}),
    ("float16", "float32", {"order": "exact"}),
    ("float32", "float32", {"order": "exact"}),
]


def products(size, repeats):
    """Time matrix products; return records."""
    import numpy as np

    import refimpl as rf

    rng = np.random.default_rng(0)
    wide = [rng.standard_normal((size, size)).astype(np.float32) for _ in "ab"]
    of = {name: [rf.quantize(x, name) for x in wide] for name in dict.fromkeys(name for name, _, _ in CASES)}
    a, b = of["float8_e4m3fn"]
    check_products(a, b, rf.matmul(a[:4], b, "e4m3fn", accumulate="float16"))
    bytes_, nibbles = (
        [rng.integers(0, top, (size, size)).astype(kind) - offset for _ in "ab"]
        for top, kind, offset in ((256, np.int16, 128), (16, np.uint8, 0))
    )
    bytes_ = [x.astype(np.int8) for x in bytes_]
    calls = {
        "np.matmul, float32": lambda: wide[0] @ wide[1],
        "int8 into int32": lambda: rf.matmul_int(*bytes_),
        "4-bit codes, looked up": lambda: rf.matmul_lookup(*nibbles, "nf4", "nf4"),
    }
    for name, into, rules in CASES:
        label = f"{name} into {into}" + "".join(f", {value}" for value in rules.values() if value != 0)
        calls[label] = lambda of=of[name], name=name, rules={"accumulate": into, **rules}: rf.matmul(*of, name, **rules)
    times = measure(calls, repeats)
    base = times["np.matmul, float32"] / size**3
    print(f"{size} x {size} x {size}")
    records = []
    for label, seconds in times.items():
        step = seconds / size**3
        print(f"  {label:<44} {seconds:9.3f} s {step * 1e9:9.3f} ns a step {step / base:9.1f} x np.matmul")
        records.append({"product": label, "size": size, "seconds": seconds, "steps": size**3, "ratio": step / base})
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
