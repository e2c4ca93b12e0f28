"""How fast are quantize, encode and decode beside copying memory, ml_dtypes and gfloat?

    python benchmarks/formats.py [--elements 1000000 10000000] [--threads 1] [--json FILE]

Checks the kernels against the definitions on a sample first.  Then times each operation in turn with
np.copyto of the same float32 array, in the same run, and prints medians in milliseconds and ratios
to the copy.  Values are N(0, 1) * 2^U(-20, 20).
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

from turns import measure

FORMATS = ["float8_e4m3fn", "float8_e5m2", "float16", "bfloat16", "e3m4b5", "e6m9"]


def arguments():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--elements", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--json", metavar="FILE")
    return parser.parse_args()


def check(x):
    """Hold the kernels to the definitions on a sample."""
    from refimpl import ops
    from refimpl.formats import format as format_of
    from refimpl.spec import float_codes as spec
    from refimpl.spec.random_bits import random_word

    for name in FORMATS:
        fmt = format_of(name)
        for rounding in ("ties_to_even", "stochastic"):
            key = {"rounding": rounding, "seed": 1} if rounding == "stochastic" else {}
            codes = [
                spec.encode(spec.from_float(float(v)), fmt, rounding, random=random_word(i, 1, 0))
                for i, v in enumerate(x)
            ]
            values = [spec.to_float(spec.decode(code, fmt)) for code in codes]
            same = ops.encode(x, fmt, **key).tolist() == codes
            got = ops.quantize(x, fmt, **key).tolist()
            same &= all(a == b or a != a and b != b for a, b in zip(got, values, strict=True))
            got = ops.decode(ops.encode(x, fmt, **key), fmt).tolist()
            same &= all(a == b or a != a and b != b for a, b in zip(got, values, strict=True))
            if not same:
                sys.exit(f"{name} {rounding}: the kernel is not what is defined")


def operations(x, name, peers):
    """Return a call for each operation on x, ours and the peers'."""
    import numpy as np

    from refimpl import ops

    key = {"rounding": "stochastic", "seed": 1}
    out, codes = np.empty_like(x), ops.encode(x, name)
    into, values = np.empty_like(codes), np.empty(x.shape)
    calls = {
        "quantize": lambda: ops.quantize(x, name, out=out),
        "encode": lambda: ops.encode(x, name, out=into),
        "decode to float32": lambda: ops.decode(codes, name, dtype=np.float32, out=out),
        "decode to float64": lambda: ops.decode(codes, name, out=values),
        "quantize stochastic": lambda: ops.quantize(x, name, out=out, **key),
    }
    dtype = getattr(np, name, None) if name == "float16" else None
    if dtype is None and peers["ml_dtypes"]:
        import ml_dtypes

        dtype = getattr(ml_dtypes, name, None)
    if dtype is not None:
        label = "NumPy" if name == "float16" else "ml_dtypes"
        typed = codes.view(dtype)
        calls[f"quantize: {label}"] = lambda: x.astype(dtype).astype(np.float32)
        calls[f"encode: {label}"] = lambda: x.astype(dtype)
        calls[f"decode to float32: {label}"] = lambda: typed.astype(np.float32)
    if peers["gfloat"] and name == "float8_e4m3fn" and x.size <= 1_000_000:
        import gfloat
        from gfloat.formats import format_info_ocp_e4m3

        wide = x.astype(np.float64)
        calls["quantize: gfloat"] = lambda: gfloat.round_ndarray(format_info_ocp_e4m3, wide)
    return calls


def start_up():
    """Return seconds for importing NumPy, importing refimpl, and first calls with a warm cache."""
    timed = "import time; t = time.perf_counter(); {}; print(time.perf_counter() - t)"
    first = (
        "import numpy as np, numba, refimpl; from refimpl import ops; x = np.ones(8, np.float32); "
        "from numba import njit; ops.encode(x, 'e4m3fn'); "  # Numba itself is awake now
        "import time; t = time.perf_counter(); {}; print(time.perf_counter() - t)"
    )
    cases = {
        "import numpy": timed.format("import numpy"),
        "import refimpl": timed.format("import refimpl"),
        "first quantize": first.format("ops.quantize(x, 'e4m3fn')"),
        "first quantize, general path": first.format("ops.quantize(x, 'e4m3fn', rounding='to_odd')"),
        "first quantize stochastic": first.format("ops.quantize(x, 'e4m3fn', rounding='stochastic', seed=1)"),
        "first decode": first.format("ops.decode(np.zeros(300, np.uint8), 'e4m3fn')"),
        "first posit": first.format("ops.encode(x, 'posit8_2')"),
    }
    seconds = {}
    for label, code in cases.items():
        runs = [
            float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
            for _ in range(4)
        ]
        seconds[label] = min(runs)
    return seconds


def main():
    """Check, time, print."""
    options = arguments()
    os.environ["NUMBA_NUM_THREADS"] = str(options.threads)
    import numpy as np

    peers = {name: importlib.util.find_spec(name) is not None for name in ("ml_dtypes", "gfloat")}
    rng = np.random.default_rng(0)
    report = {"threads": options.threads, "start up": start_up(), "operations": []}
    for label, seconds in report["start up"].items():
        print(f"{label:<32} {seconds * 1e3:8.1f} ms")
    for n in options.elements:
        x = (rng.standard_normal(n) * 2.0 ** rng.uniform(-20, 20, n)).astype(np.float32)
        check(x[:300])
        out = np.empty_like(x)
        for name in FORMATS:
            calls = {"np.copyto": lambda: np.copyto(out, x)}  # noqa: B023
            times = measure({**calls, **operations(x, name, peers)}, options.repeats)
            copy = times["np.copyto"]
            print(f"\n{name}, {n} elements, {options.threads} threads")
            for label, seconds in times.items():
                print(f"  {label:<34} {seconds * 1e3:9.2f} ms {seconds / copy:8.2f} x np.copyto")
                report["operations"].append(
                    {"format": name, "elements": n, "operation": label, "seconds": seconds, "ratio": seconds / copy}
                )
    if options.json:
        Path(options.json).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
