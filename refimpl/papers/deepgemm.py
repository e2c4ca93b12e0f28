"""DeepGEMM (Ganji et al., arXiv 2304.09049): products of codes of one to four bits, looked up in a table.

What a table holds is exact whatever the codes stand for; what is won by it is time, on machines that look up sixteen
entries in one instruction.  Here a lookup is a load, and the time is measured as it is.
"""

from __future__ import annotations

import numpy as np

import refimpl as rf
from refimpl.formats import CodeBook, IntFormat
from refimpl.papers.claim import Bench, Chart, Claim, Finding, Paper, less, paired, table, worst
from refimpl.papers.stopwatch import ratio, seconds

INTEGERS = ("uint2", "int2", "int2_full", "uint3", "int3_full", "uint4", "int4", "int4_full")
OTHERS = ("float4_e2m1fn", "e2m0", "e1m1", "posit4_0", "posit4_1", "nf4")


def random_book(bits: int, rng: np.random.Generator) -> CodeBook:
    """Return values at random places: as far from uniform as a code book may be.

    >>> random_book(2, np.random.default_rng(0)).bits
    2
    """
    values = np.sort(rng.uniform(-1, 1, 1 << bits).astype(np.float32))
    return CodeBook(f"random {bits}", tuple(values.tolist()))


def formats(bench: Bench) -> list:
    """Return one format after the other: integers, floats, posits, and books, of 1 to 4 bits."""
    rng = np.random.default_rng(bench.seed)
    return [*map(rf.format, INTEGERS + OTHERS), *(random_book(bits, rng) for bits in (1, 2, 3, 4))]


def some(fmt, shape: tuple[int, int], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return random codes of a format and what they stand for."""
    if isinstance(fmt, IntFormat):
        codes = rng.integers(fmt.min, fmt.max, shape, endpoint=True)
        return codes, codes.astype(np.int32)
    count = len(fmt.book) if isinstance(fmt, CodeBook) else 1 << fmt.bits
    codes = rng.integers(0, count, shape)
    if isinstance(fmt, CodeBook):
        return codes, np.array(fmt.book, np.float32)[codes]
    return codes, rf.decode(codes.astype(np.uint8), fmt, dtype=np.float32)


def plain(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Multiply and add one after the other, in the dtype of the values."""
    if x.dtype != y.dtype:
        x, y = x.astype(np.float32), y.astype(np.float32)
    total = np.zeros((len(x), y.shape[1]), x.dtype)
    with np.errstate(invalid="ignore"):
        for k in range(x.shape[1]):
            total += x[:, k, None] * y[k]
    return total


def exact(bench: Bench) -> Finding:
    """Multiply every format by every other, by lookups and plainly, and compare bits."""
    every, size = formats(bench), 32 if bench.quick else 64
    rng = np.random.default_rng(bench.seed)
    alike = np.zeros((len(every), len(every)))
    for i, one in enumerate(every):
        for j, other in enumerate(every):
            (a, x), (b, y) = some(one, (size, 4 * size), rng), some(other, (4 * size, size), rng)
            got, wanted = rf.matmul_lookup(a, b, one, other), plain(x, y)
            nan = np.isnan(got) & np.isnan(wanted)  # of posits' NaR and infinities; its bits say nothing
            alike[i, j] = np.mean((got.view(np.uint32) == wanted.view(np.uint32)) | nan)
    count, good, names = alike.size, int((alike == 1).sum()), [fmt.name for fmt in every]
    why = f"{good} of {count} pairs of formats bit for bit, of {size} x {4 * size} by {4 * size} x {size} codes"
    numbers = {"formats": names, "different": [[names[i], names[j]] for i, j in np.argwhere(alike < 1)]}
    left_out = "larger matrices" if bench.quick else ""
    title, axis = f"Products looked up: {good} of {count} pairs alike", "format of the other operand"
    shown = {"part of the results alike, bit for bit": alike}
    chart = Chart("pairs", title, shown, "grid", x=axis, y="format of one operand", labels=names)
    return Finding("holds" if good == count else "does not hold here", why, numbers, (), (chart,), left_out)


def sizes(bench: Bench) -> Finding:
    """Count entries of tables, and bytes of codes side by side, for all pairs of widths."""
    rng, rows, good = np.random.default_rng(bench.seed), [], True
    books = {bits: random_book(bits, rng) for bits in (1, 2, 3, 4)}
    for w, first in books.items():
        for a, second in books.items():
            made = rf.product_table(first, second)
            codes = rng.integers(0, 1 << w, (4, 96))
            packed = rf.pack_bits(codes, w)
            good &= made.size == 2 ** (w + a) and packed.nbytes * 8 == codes.size * w
            good &= bool((rf.unpack_bits(packed, w, 96) == codes).all())
            rows.append((w, a, made.size, f"{8 / w:g}"))
    heads = ("bits of weights", "of activations", "entries", "weights a byte")
    shown = table("Tables of products", heads, rows, "16 entries are what a vector unit looks up in one instruction.")
    why = "2^(b_w + b_a) entries, 16 for 2 by 2 bits, 256 for 4 by 4; 8 / b weights in a byte, read back as they were"
    why = why if good else f"not {why}"
    entries = np.array([row[2] for row in rows]).reshape(4, 4)
    series: dict[str, tuple] = {f"activations of {a} bits": ([*books], entries[:, a - 1]) for a in books}
    series["one vector instruction"] = ([*books], [16] * len(books))
    title = "Entries of a table of products"
    chart = Chart("entries", title, series, x="bits of a weight", y="entries", log="y")
    return Finding("holds" if good else "does not hold here", why, {"rows": rows}, (shown,), (chart,))


def bound(bench: Bench) -> Finding:
    """Add products of the largest magnitude in 16 bits: as many as the bound allows, and one more."""
    rows, good, limit = [], True, 2**15
    for one, other in (
        ("uint2", "int2_full"),
        ("int2_full", "int2_full"),
        ("uint3", "int3_full"),
        ("uint4", "int4_full"),
    ):
        products = rf.product_table(one, other)
        largest = int(abs(products).max())
        i, j = np.argwhere(abs(products) == largest)[0]
        terms = (limit - 1) // largest
        a, b = (_code(rf.format(fmt), pattern) for fmt, pattern in ((one, i), (other, j)))
        sums = []
        for count in (terms, terms + 2):
            x, y = np.full((1, count), a), np.full((count, 1), b)
            wide = int(rf.matmul_lookup(x, y, one, other)[0, 0])
            with np.errstate(over="ignore"):
                narrow = int(np.full(count, products[i, j], np.int16).cumsum(dtype=np.int16)[-1])
            sums += [wide, narrow]
        good &= sums[0] == sums[1] and sums[2] != sums[3]
        rows.append((f"{one} x {other}", largest, terms, *sums))
    heads = ("", "largest product", "terms allowed", "their sum", "in 16 bits", "two terms more", "in 16 bits")
    shown = table("Sums of the worst products, K max |product| < 2^15", heads, rows)
    why = ", ".join(f"{name}: {terms} terms" for name, _, terms, *_ in rows)
    why += " are exact in 16 bits, two more wrap" if good else " and two more: not all as the bound says"
    parts = ("as many as allowed", "the same in 16 bits", "two more", "two more in 16 bits")
    series = {part: [row[3 + i] for row in rows] for i, part in enumerate(parts)}
    chart = Chart("sums", shown.title, series, "bars", y="sum", labels=[str(row[0]) for row in rows])
    return Finding("holds" if good else "does not hold here", why, {"rows": rows}, (shown,), (chart,))


def _code(fmt, pattern: int) -> int:
    return int(pattern) - (1 << fmt.bits) * int(fmt.signed and pattern >= 1 << (fmt.bits - 1))


def times(bench: Bench) -> Finding:
    """Time 2-bit lookups, 8-bit products, and NumPy's product of float32, one thread each."""
    rng, repeats = np.random.default_rng(bench.seed), 7 if bench.quick else 25
    shapes = ((64, 256, 64), (128, 512, 128)) if bench.quick else ((64, 256, 64), (128, 512, 128), (256, 1024, 256))
    rows, numbers, judged = [], {}, []
    series: dict[str, list] = {}
    for m, k, n in shapes:
        a, b = rng.integers(0, 3, (m, k), np.uint8, True), rng.integers(-2, 1, (k, n), np.int8, True)
        x, y = rng.standard_normal((m, k), np.float32), rng.standard_normal((k, n), np.float32)
        p, q = rng.integers(0, 255, (m, k), np.uint8, True), rng.integers(-127, 127, (k, n), np.int8, True)
        ways = {
            "looked up, 2 by 2 bits": lambda a=a, b=b: rf.matmul_lookup(a, b, "uint2", "int2_full"),
            "8 bits, matmul_int": lambda p=p, q=q: rf.matmul_int(p, q),
            "float32, np.matmul": lambda x=x, y=y: x @ y,
        }
        found = seconds(ways, repeats)
        mine = found["looked up, 2 by 2 bits"]
        judged.append(worst([less(paired(np.log(mine), np.log(of))) for of in found.values() if of is not mine]))
        numbers[f"{m} x {k} x {n}"] = {name: ratio(of, mine) for name, of in found.items()}
        for name, of in found.items():
            times_as_long, low, high = ratio(of, mine)
            rows.append((f"{m} x {k} x {n}", name, f"{1e3 * np.median(of):.3f}", f"{times_as_long:.3f}"))
            series.setdefault(name, []).append((m * k * n, 1e9 * np.median(of) / (m * k * n)))
    last = list(numbers.values())[-1]
    others = ", ".join(
        f"{name} takes {x:.3f} times as long ({low:.3f} to {high:.3f})"
        for name, (x, low, high) in last.items()
        if x != 1
    )
    why = f"beside lookups, {others}: a lookup here is a load, not one instruction for sixteen"
    heads = ("", "way", "milliseconds", "as long as lookups")
    shown = table(f"Products of matrices, one thread, median of {repeats}", heads, rows)
    drawn = {name: tuple(zip(*points, strict=True)) for name, points in series.items()}
    chart = Chart("times", "Time of one product and sum", drawn, x="products", y="nanoseconds", log="xy")
    return Finding(worst(judged), why, numbers, (shown,), (chart,), "a larger matrix" if bench.quick else "")


PAPER = Paper(
    "deepgemm",
    "DeepGEMM: products looked up",
    "arXiv 2304.09049",
    (
        Claim("exact", "a table gives the products of codes of few bits, whatever the codes stand for", exact),
        Claim("table-size", "a table has 2^(b_w + b_a) entries: 16 for 2-bit weights and activations", sizes),
        Claim("accumulator", "sums of so small products fit accumulators of 16 bits", bound),
        Claim("faster", "2-bit products by lookups are up to 1.74 times as fast as 8-bit ones (on x86)", times),
    ),
)
