"""How many nanoseconds an element takes on every road: format x mode x input x operation.

    python benchmarks/roads.py [--quick] [--only WORD ...] [--threads 1] [--elements 1000000] [--json FILE]
    python benchmarks/roads.py --compare BEFORE.json AFTER.json

A road is one way through the library, such as ``encode float8_e4m3fn toward_zero float16``; `--only`
takes those whose name has all the words.  Each is first held to the definitions of `refimpl.spec` on its
first elements.  Then it is timed in turn with np.copyto of the array of values, in one run: nanoseconds an
element (a multiply-add, of products), the smallest of several, in processor time (wall clock for more than
one thread), and how many copies that is; and so are the peers that are installed.  The ten that are
farthest above what is aimed at are named at the end.  `--compare` prints two such files as a table, and which
roads became slower.
"""

import argparse
import importlib.util
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

MODES = ["ties_to_even", "ties_to_away", "toward_zero", "toward_positive", "toward_negative", "to_odd"]
RANDOM = {
    "stochastic": {"seed": 1},
    "stochastic_a": {"seed": 1, "random_bits": 8},
    "stochastic_b": {"seed": 1, "random_bits": 8},
    "stochastic_c": {"seed": 1, "random_bits": 8},
}
FORMATS = ["float8_e4m3fn", "float8_e5m2", "e2m1fn", "binary8p3se", "float16", "bfloat16", "e6m9"]
BEYOND = ["e8m0fnu", "binary8p3ue", "e4m3_flush", "tf32", "float32"]
POSITS = ["posit8_2", "posit16_2"]
INPUTS = ["float32", "float16", "bfloat16", "float64", "int8", "int32", "int64"]
BLOCKS = ["mxfp8_e4m3", "mxfp8_e5m2", "mxfp6_e2m3", "mxfp6_e3m2", "mxfp4_e2m1", "mxint8", "nvfp4"]
BOOKS = ["nf4", "dynamic8", "dynamic8_unsigned"]
SIZE = 512  # of the matrices
SLOWER = 1.25  # times as long, and by a tenth of a nanosecond: noise makes less


class Road(NamedTuple):
    """One road: `call` takes how many elements (rows, of products) it is to answer for."""

    operation: str
    of: str
    mode: str
    input: str
    goal: float  # nanoseconds, or copies for decoding
    call: Callable[[int], Any]
    elements: int
    values: Any  # the array that np.copyto copies beside it
    steps: int = 1  # multiply-adds of an element
    sample: int = 64  # elements held to the definition
    expected: Callable[[], Any] | None = None  # those by definition, if the same call does not give them
    peers: dict[str, Callable[[], Any]] = {}

    @property
    def name(self):
        """What `--only` looks at."""
        return " ".join(filter(None, (self.operation, self.of, self.mode, self.input)))


def arguments():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer roads, fewer elements, fewer repeats")
    parser.add_argument("--only", nargs="+", default=[], metavar="WORD")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--elements", type=int)
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--compare", nargs=2, metavar=("BEFORE", "AFTER"))
    return parser.parse_args()


# -- the roads -------------------------------------------------------------------------------------


def inputs(n):
    """Return an array of each type: N(0, 1) * 2^U(-20, 20), and integers."""
    import numpy as np

    rng = np.random.default_rng(0)
    x = rng.standard_normal(n) * 2.0 ** rng.uniform(-20, 20, n)
    with np.errstate(over="ignore"):
        found = {name: x.astype(name) for name in ("float32", "float16", "float64")}
        if has("ml_dtypes"):
            import ml_dtypes

            found["bfloat16"] = x.astype(ml_dtypes.bfloat16)
    for name in ("int8", "int32", "int64"):
        most = np.iinfo(name).max
        found[name] = (rng.standard_normal(n) * min(most // 5, 2**20)).clip(-most, most).astype(name)
    return {name: found[name] for name in INPUTS if name in found}


def has(module):
    """Tell whether a peer is installed."""
    return importlib.util.find_spec(module) is not None


def part(function, *values, fixed=(), row=1, out=None, pick=None, **options):
    """Return a call of a function on the first k elements of arrays, of `row` elements each row."""

    def call(k):
        into = {} if out is None else {"out": out[: k // row]}
        result = function(*(x[: k // row] for x in values), *fixed, **options, **into)
        return result if pick is None else result[pick]

    return call


def rounding_roads(n, quick):
    """Yield the roads of quantize, encode and decode."""
    import numpy as np

    import refimpl as rf

    few = {"ties_to_even", "toward_positive", "to_odd", "stochastic"}
    for name in FORMATS + BEYOND + POSITS:
        modes = {mode: {"rounding": mode} for mode in MODES}
        modes |= {mode: rules | {"rounding": mode} for mode, rules in RANDOM.items()}
        modes |= {"saturate": {"overflow": "saturate"}, "propagate": {"overflow": "propagate"}}
        if name in BEYOND or quick:
            modes = {mode: rules for mode, rules in modes.items() if mode in few}
        if name in POSITS:
            modes = {"ties_to_even": {}}
        given = inputs(n)
        codes = rf.encode(given["float32"], name)
        for kind, x in given.items():
            out, into = np.empty(n, x.dtype if "float" in kind else np.float64), np.empty_like(codes)
            for mode, rules in modes.items():
                goal = 3.0 if name in POSITS or kind not in ("float32", "float16", "bfloat16") else 2.0
                goal = 4.0 if name in BEYOND else 2.5 if goal == 2.0 and mode in RANDOM else goal
                theirs = rounding_peers(name, x, kind) if mode == "ties_to_even" else ({}, {})
                for operation, result, peers in zip(("quantize", "encode"), (out, into), theirs, strict=True):
                    call = part(getattr(rf, operation), x, fixed=(name,), out=result, **rules)
                    yield Road(operation, name, mode, kind, goal, call, n, x, peers=peers)
        for kind in ("float32", "float64", "float16"):
            goal = 1.5 if codes.itemsize == 1 else 2.0
            call = part(rf.decode, codes, fixed=(name,), out=np.empty(n, kind), dtype=kind)
            peers = decoding_peers(name, codes, kind)
            yield Road("decode", name, "", kind, goal, call, n, np.ones(n, kind), peers=peers)


def peer_dtype(name):
    """Return NumPy's or ml_dtypes' dtype of a format, and whose it is."""
    import numpy as np

    if name in ("float16", "float32"):
        return np.dtype(name), "NumPy"
    if has("ml_dtypes"):
        import ml_dtypes

        if hasattr(ml_dtypes, name):
            return np.dtype(getattr(ml_dtypes, name)), "ml_dtypes"
    return None, ""


def rounding_peers(name, x, kind):
    """Return what others do to quantize, and to encode."""
    dtype, whose = peer_dtype(name)
    quantize, encode = {}, {}
    if dtype is not None and dtype != x.dtype:
        encode[whose] = lambda: x.astype(dtype)
        quantize[whose] = lambda: x.astype(dtype).astype(x.dtype if "float" in kind else "float64")
    if has("torch") and kind in ("float32", "float16", "float64"):
        import torch

        if hasattr(torch, name) and name != kind:
            tensor, theirs = torch.from_numpy(x), getattr(torch, name)
            encode["torch"] = lambda: tensor.to(theirs)
            quantize["torch"] = lambda: tensor.to(theirs).to(tensor.dtype)
    if has("gfloat") and name == "float8_e4m3fn" and kind == "float64":
        import gfloat
        from gfloat.formats import format_info_ocp_e4m3

        quantize["gfloat"] = lambda: gfloat.round_ndarray(format_info_ocp_e4m3, x)
    return quantize, encode


def decoding_peers(name, codes, kind):
    """Return what others do to decode."""
    dtype, whose = peer_dtype(name)
    if dtype is None or name == kind:
        return {}
    typed = codes.view(dtype)
    return {whose: lambda: typed.astype(kind)}


def scaled_roads(n, quick):
    """Yield the roads of blocks, integers and code books."""
    import numpy as np

    import refimpl as rf
    from refimpl.spec import codebooks

    row = 128
    n = n // row * row
    x = np.random.default_rng(0).standard_normal((n // row, row)).astype(np.float32)
    modes = {"ties_to_even": {}, "toward_zero": {}, "stochastic": {"seed": 1}}
    if quick:
        del modes["toward_zero"]
    for name in BLOCKS:
        scale = {"tensor_scale": 2.0**-10} if name == "nvfp4" else {}
        for mode, rules in modes.items():
            how = {"rounding": mode} | rules | scale
            call = part(rf.quantize_blocks, x, fixed=(name,), row=row, pick=0, **how)
            yield Road("quantize_blocks", name, mode, "float32", 3.0, call, n, x, sample=256)
        codes, scales, _ = rf.quantize_blocks(x, name, **scale)
        call = part(rf.decode_blocks, codes, scales, fixed=(name,), row=row, **scale)
        yield Road("decode_blocks", name, "", "float32", 1.5, call, n, x, sample=256)
    for name in ("int8", "uint8", "int4"):
        place = {"scale": 0.01, "zero_point": 3} if name == "uint8" else {"scale": 0.01}
        for mode, rules in modes.items():
            how = {"rounding": mode} | rules | place
            call = part(rf.quantize_int, x, fixed=(name,), row=row, pick=0, **how)
            yield Road("quantize_int", name, mode, "float32", 1.0, call, n, x, sample=row)
        codes = rf.quantize_int(x, name, **place)[0]
        call = part(rf.decode_int, codes, fixed=tuple(place.values()), row=row)
        yield Road("decode_int", name, "", "float32", 1.5, call, n, x, sample=row)
    scale = np.float32(4)
    for name in BOOKS:
        values, book = abs(x) if name.endswith("unsigned") else x, rf.format(name)
        first = [codebooks.encode(v, float(scale), book) for v in values[0].tolist()]
        call = part(rf.quantize_codebook, values, fixed=(name,), row=row, pick=0, scale=scale)
        goal = 1.5 if name == "nf4" else 3.0
        yield Road("quantize_codebook", name, "", "float32", goal, call, n, x, expected=first.copy)
        codes = call(n)
        first = [codebooks.decode(code, float(scale), book) for code in codes[0].tolist()]
        call = part(rf.decode_codebook, codes, fixed=(scale, name), row=row)
        yield Road("decode_codebook", name, "", "float32", 1.5, call, n, x, expected=first.copy)


def arithmetic_roads(n, quick):
    """Yield the roads of elementwise operations, on values and on codes, and of functions of one operand."""
    import numpy as np

    import refimpl as rf

    rng = np.random.default_rng(1)
    modes = {"ties_to_even": {}, "toward_zero": {}, "stochastic": {"seed": 1}}
    for name in ("float8_e4m3fn", "float8_e5m2", "float16", "bfloat16", "float32", "posit8_2", "posit16_2"):
        bits = rf.format(name).bits
        dtype = np.float16 if name == "float16" else np.float32
        x = [rf.quantize(rng.standard_normal(n).astype(np.float32), name).astype(dtype) for _ in range(3)]
        goal = {8: 4.0, 16: 5.0}.get(bits, 6.0)
        for operation in ("add", "mul") if quick else ("add", "mul", "div", "sqrt", "fma"):
            operands = x[: {"sqrt": 1, "fma": 3}.get(operation, 2)]
            operands = [abs(v) for v in operands] if operation == "sqrt" else operands
            coded = [rf.encode(v, name) for v in operands]
            for mode in ["ties_to_even"] if name.startswith("posit") else modes:
                how = {"rounding": mode} | modes[mode]
                call = part(getattr(rf, operation), *operands, fixed=(name,), **how)
                peers = arithmetic_peers(operation, name, coded) if mode == "ties_to_even" else {}
                yield Road(operation, name, mode, "values", goal, call, n, x[0], peers=peers)
                call = part(getattr(rf.codes, operation), *coded, fixed=(name,), **how)
                yield Road(operation, name, mode, "codes", 2.0 if bits == 8 else goal, call, n, coded[0])
        if name == "float32":
            continue
        for operation in ("exp",) if quick else ("exp", "tanh", "gelu", "rsqrt"):
            values = abs(x[0]) if operation == "rsqrt" else x[0]
            for kind, v, of in (("values", values, rf), ("codes", rf.encode(values, name), rf.codes)):
                call = part(getattr(of, operation), v, fixed=(name,))
                yield Road(operation, name, "ties_to_even", kind, 2.0 if bits == 8 else 3.0, call, n, v)


def arithmetic_peers(operation, name, coded):
    """Return what NumPy and ml_dtypes do."""
    import numpy as np

    theirs = {"add": np.add, "mul": np.multiply, "div": np.divide, "sqrt": np.sqrt}.get(operation)
    dtype, whose = peer_dtype(name)
    if theirs is None or dtype is None:
        return {}
    typed = [codes.view(dtype) for codes in coded]
    return {whose: lambda: theirs(*typed)}


def sum_roads(quick):
    """Yield the roads of matrix products; the goals are those for SIZE^3."""
    import numpy as np

    import refimpl as rf

    rng = np.random.default_rng(0)
    whole = {
        name: [rf.quantize(rng.standard_normal((SIZE, SIZE)).astype(np.float32), name) for _ in "ab"]
        for name in ("float8_e4m3fn", "bfloat16", "posit8_2")
    }
    ways = {
        "sequential": ({}, None),
        "sequential toward_zero": ({"rounding": "toward_zero"}, 8.0),
        "sequential stochastic": ({"rounding": "stochastic", "seed": 0}, 10.0),
        "pairwise": ({"order": "pairwise"}, 8.0),
        "chunked 32": ({"order": "chunked", "chunk": 32}, 8.0),
        "kahan": ({"order": "kahan"}, 20.0),
        "exact": ({"order": "exact"}, 3.0),
    }
    kinds = {"float8_e4m3fn": ["float32", "float16", "bfloat16", "e6m9"], "bfloat16": ["float32"]}
    cases = [
        (of, into, way)
        for of, accumulators in kinds.items()
        for into in (accumulators[:2] if quick else accumulators)
        for way in ways
    ]
    sequential = {"float32": 0.5, "float16": 0.9, "bfloat16": 0.9}
    for of, into, way in [*cases, ("posit8_2", "posit8_2", "sequential")]:
        (a, b), (rules, goal) = whole[of], ways[way]
        rules = {"accumulate": into} | rules
        yield Road(
            "matmul",
            of,
            f"{into} {way}",
            "float32",
            goal or sequential.get(into, 8.0),
            part(rf.matmul, a, fixed=(b, of), **rules),
            SIZE,
            a,
            SIZE * SIZE,
            expected=defined(part(rf.matmul, a, fixed=(b[:, :2], of), **rules), 1),
            peers={"np.matmul": matrix_product(a, b)} if way == "sequential" else {},
        )
    a, b = (rng.integers(-127, 128, (SIZE, SIZE)).astype(np.int8) for _ in "ab")
    yield Road(
        "matmul_int",
        "int8",
        "int32",
        "int8",
        0.05,
        part(rf.matmul_int, a, fixed=(b,)),
        SIZE,
        a,
        SIZE * SIZE,
        expected=matrix_product(a[:1].astype(np.int64), b.astype(np.int64)),
        peers={"np.matmul float32": matrix_product(*(m.astype(np.float32) for m in (a, b)))},
    )


def matrix_product(a, b):
    """Return a call of NumPy's product."""
    return lambda: a @ b


def defined(call, k):
    """Return a call for k elements that the definitions answer."""

    def answer():
        from refimpl.ops import definitions

        definitions.elements_left = 1 << 60
        try:
            return call(k)
        finally:
            definitions.elements_left = 0

    return answer


# -- checking and timing ---------------------------------------------------------------------------


def check(road):
    """Hold the first elements to the definition; return a line that says what is wrong, or nothing."""
    import numpy as np

    expected = np.array(road.expected() if road.expected else defined(road.call, road.sample)()).reshape(-1)
    got = np.array(road.call(road.elements if road.steps == 1 else 1)).reshape(-1)[: expected.size]
    same = (got == expected) & ((got != 0) | (np.signbit(got.astype(float)) == np.signbit(expected.astype(float))))
    same |= (got != got) & (expected != expected)
    return "" if same.all() else f"{road.name}: {got[~same][:3]}, defined as {expected[~same][:3]}"


def timed(calls, seconds, clock):
    """Return the smallest time of each call, all called in turn until that many seconds have passed."""
    best = {label: float("inf") for label in calls}
    end, rounds = time.perf_counter() + seconds, 0
    while rounds < 3 or (time.perf_counter() < end and rounds < 40):
        for label, call in calls.items():
            start = clock()
            call()
            best[label] = min(best[label], clock() - start)
        rounds += 1
    return best


def measure(road, seconds, clock):
    """Return nanoseconds an element of a road and its peers, and copies."""
    import numpy as np

    into, count = np.empty_like(road.values), road.elements
    if road.steps > 1:  # all rows only where that does not take long
        count = max(count // 32, 1)
        start = clock()
        road.call(count)
        count = road.elements if (clock() - start) * 32 < 0.5 else count
    calls = {"copy": lambda: np.copyto(into, road.values), "ours": lambda: road.call(count)}
    calls |= {f"peer {name}": call for name, call in road.peers.items()}
    found = timed(calls, seconds, clock)
    ns = found["ours"] * 1e9 / (count * road.steps)
    copy = found["copy"] * 1e9 / road.values.size
    peers = {
        label.removeprefix("peer "): round(t * 1e9 / (road.elements * road.steps), 4)
        for label, t in found.items()
        if label.startswith("peer")
    }
    keys = {"operation": road.operation, "format": road.of, "mode": road.mode, "input": road.input}
    reached = ns / copy if road.operation == "decode" else ns
    return keys | {
        "ns": round(ns, 4),
        "copy ns": round(copy, 4),
        "copies": round(ns / copy, 3),
        "of goal": reached / road.goal,
        "peers": peers,
    }


def shown(record):
    """Return a line of a record."""
    name = " ".join(filter(None, (record[key] for key in ("operation", "format", "mode", "input"))))
    beside = "".join(f"   {peer} {ns:.2f}" for peer, ns in record["peers"].items())
    return f"{name:<64}{record['ns']:9.2f} ns{record['copies']:9.2f} copies{beside}"


def run(options):
    """Check and time the roads that are asked for; print and return records."""
    n = options.elements or (1 << 17 if options.quick else 1_000_000)
    os.environ["NUMBA_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = str(options.threads)
    import numpy as np

    from refimpl.ops import definitions

    definitions.elements_left = 0  # everything by kernels
    if has("torch"):
        import torch

        torch.set_num_threads(options.threads)
    clock = time.process_time if options.threads == 1 else time.perf_counter
    roads = [rounding_roads(n, options.quick), scaled_roads(n, options.quick), arithmetic_roads(n, options.quick)]
    records, wrong = [], []
    with np.errstate(all="ignore"):
        for several in [*roads, sum_roads(options.quick)]:
            for road in several:
                if not all(word in road.name.split() for word in options.only):
                    continue
                wrong += filter(None, [check(road)])
                records.append(measure(road, 0.03 if options.quick else 0.15, clock))
                print(shown(records[-1]), flush=True)
    print("\nfarthest above the goal")
    for record in sorted(records, key=lambda record: -record["of goal"])[:10]:
        print(f"{record['of goal']:6.1f} x  {shown(record)}")
    if wrong:
        sys.exit("not what is defined:\n" + "\n".join(wrong))
    return {"elements": n, "threads": options.threads, "roads": records}


# -- comparing -------------------------------------------------------------------------------------


def compare(before, after):
    """Print a table of two files of records, and which roads became slower."""
    keys = "operation", "format", "mode", "input"
    old, new = ({tuple(record[key] for key in keys): record for record in file["roads"]} for file in (before, after))
    groups = {}
    for name in (name for name in new if name in old):
        products = name[0].startswith("matmul")
        groups.setdefault((name[0], name[2] if products else name[3]), []).append(name)
    print("| operation | input | roads | before: median, slowest | now: median, slowest |\n|---|---|---|---|---|")
    for (operation, kind), names in groups.items():
        cells = []
        for found in (old, new):
            ns = [found[name]["ns"] for name in names]
            cells.append(f"{statistics.median(ns):.2f}, {max(ns):.2f}")
        print(f"| {operation} | {kind} | {len(names)} | {cells[0]} | {cells[1]} |")
    slower = [
        (new[name]["ns"] / old[name]["ns"], name)
        for names in groups.values()
        for name in names
        if new[name]["ns"] > max(SLOWER * old[name]["ns"], old[name]["ns"] + 0.1)
    ]
    machine = statistics.median(
        new[name]["copy ns"] / old[name]["copy ns"] for names in groups.values() for name in names
    )
    print(f"\nnp.copyto took {machine:.2f} times as long in the second run as in the first")
    print(f"{len(slower)} of {sum(map(len, groups.values()))} roads take more than {SLOWER} times as long")
    for ratio, name in sorted(slower, reverse=True):
        print(f"{ratio:6.2f} x  {' '.join(filter(None, name))}: {old[name]['ns']:.2f} ns, now {new[name]['ns']:.2f}")


def main():
    """Compare, or check, time and print."""
    options = arguments()
    if options.compare:
        compare(*(json.loads(Path(file).read_text(encoding="utf-8")) for file in options.compare))
        return
    report = run(options)
    if options.json:
        Path(options.json).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
