"""Code books (NF4, FP4, dynamic maps) in blocks of neighbours: what a quantizer of rows should do.

The expected side is `refimpl.spec.codebooks`: of a sample of every group, and of every result that is explained; in
bulk it is `refimpl.quantize_codebook`, which tests hold to it.  Codes are in the order of the book.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from refimpl import ops
from refimpl._arguments import Interval, choice, integer
from refimpl.formats import CodeBook, RoundingMode
from refimpl.spec import codebooks
from refimpl.testing.checks.checks import Check, Seen, Tally
from refimpl.testing.checks.scaled import Group, Scaled, ScaledLaw
from refimpl.testing.diagnosis.books import diagnose
from refimpl.testing.expected.explain import shortest
from refimpl.testing.implementations.findings import Finding, call, once

ROWS = 16  # of a call, at least
LARGE = 2.0**127 * (2 - 2.0**-23)


@dataclass(frozen=True)
class ScaledBooks(Scaled):
    """Describe what a quantizer of rows to a code book is expected to do.

    Parameters
    ----------
    format : CodeBook
    block_size : int
        Neighbours along the last axis that share a scale, their largest magnitude; the last block may be shorter.
    rounding : str
        ``ties_to_even``, the default of all formats, which here means to the nearest, of two the lower.

    Examples
    --------
    >>> from refimpl.formats import format
    >>> ScaledBooks(format("nf4"), 2).values(np.array([[4.0, 1.0, -2.0]])).round(4).tolist()
    [[4.0, 0.9844, -2.0]]
    """

    format: CodeBook
    block_size: int
    rounding: RoundingMode = "ties_to_even"

    def __post_init__(self):
        choice("testing", f"rounding of {self.format}", self.rounding, ("ties_to_even",))
        integer("testing", f"block_size of {self.format}", self.block_size, Interval(1))

    def __str__(self) -> str:
        return f"{self.format}, blocks of {self.block_size}"

    @property
    def has_arrays(self) -> bool:
        """Inputs are rows of blocks."""
        return True

    def values(self, x):
        """Return the expected results of x, float64; see `Scaled`."""
        how = {"axis": -1, "block_size": self.block_size}
        codes, scales = ops.quantize_codebook(x, self.format, **how)
        return ops.decode_codebook(codes, scales, self.format, **how).astype(np.float64)

    def same(self, x, a, b):
        """Tell where results are one and the same; a zero has no sign in a book."""
        return (a == b) | np.isnan(a) & np.isnan(b)

    def ask(self, probe, route, x):
        """Return what an implementation makes of x; what it encodes is read by the definition."""
        if route == "quantize":
            return probe.ask(route, x)

        def read(x):
            codes, scales = self._parts(probe.implementation.encode(x), x)
            book = np.resize(np.array(self.format.book), 1 << self.format.bits)
            book[len(self.format.book) :] = np.nan
            each = np.repeat(scales.astype(np.float64), self.block_size, axis=-1)[:, : x.shape[-1]]
            with np.errstate(all="ignore"):
                return (book[codes] * each).astype(np.float32).astype(np.float64)

        return call(read, x, time_limit=probe.time_limit)

    def _parts(self, result, x) -> tuple[np.ndarray, np.ndarray]:
        """Return codes (rows, n), one a place, and scales (rows, blocks), float32."""
        if not isinstance(result, tuple | list) or len(result) != 2:
            raise Finding(f"returned a {type(result).__name__}; an encoder returns (codes, scales)", about_input=False)
        codes, scales = np.asarray(result[0]), np.asarray(result[1])
        blocks = (*x.shape[:-1], -(-x.shape[-1] // self.block_size))
        if codes.shape != x.shape or codes.dtype.kind not in "iu":
            said = f"returned codes of shape {codes.shape} and dtype {codes.dtype} for {x.shape}"
            raise Finding(f"{said}; one integer an element, not packed", about_input=False)
        if scales.size != np.prod(blocks) or scales.dtype.kind != "f":
            said = f"returned scales of shape {scales.shape} and dtype {scales.dtype}"
            raise Finding(f"{said}; floats of shape {blocks} are needed", about_input=False)
        if ((codes < 0) | (codes >= 1 << self.format.bits)).any():
            raise Finding(
                f"returned codes {codes.min()} to {codes.max()}; those of {self.format} have {self.format.bits} bits"
            )
        return codes, scales.reshape(blocks)

    # -- cases ---------------------------------------------------------------------------------------

    def groups(self):
        """Return the case groups; see `Scaled`."""
        return tuple(
            Group(name, statement, lambda dtype, make=make: make(np.dtype(dtype)), name == "tails")
            for name, statement, make in (
                ("values", "what codes stand for stays", self._values),
                (
                    "boundaries",
                    "numbers on both sides of each boundary, and on it, go where they must",
                    self._boundaries,
                ),
                ("every_binade", "a block is right whatever its largest magnitude", self._binades),
                ("one_large", "the scale is the largest magnitude, wherever and of whatever sign", self._one_large),
                ("zeros", "zeros stay, and a block of them does no harm", self._zeros),
                ("blocks_apart", "a block's scale comes from that block alone", self._apart),
                ("any", "numbers of any size", self._any),
                ("long_rows", "blocks are right wherever they stand in a long row", self._long),
                ("tails", "a row may end in a part of a block", self._tails),
            )
        )

    def _scales(self, dtype) -> np.ndarray:
        if dtype.itemsize == 2:
            return np.array([1.0, 0.3701171875, 2.0**-12, 60000.0])
        return np.array([1.0, np.float32(0.37), np.float32(1 / 3), 2.0**-40, 1e-38, LARGE, 3.0, 117.25]).astype(
            np.float32
        )

    def _calls(self, blocks, dtype) -> list[np.ndarray]:
        """Return blocks (n, size) in rows of two; numbers are float32's, and of the dtype."""
        with np.errstate(over="ignore"):
            x = np.clip(np.asarray(blocks, np.float64), -LARGE, LARGE).astype(np.float32).astype(dtype)
        x = x[np.isfinite(x).all(axis=1)]
        x = np.resize(x, (-(-len(x) // (2 * ROWS)) * 2 * ROWS, self.block_size))
        return [x.reshape(-1, 2 * self.block_size)]

    def _beside(self, scale, others) -> np.ndarray:
        """Return blocks of others that hold the scale, or its negative, somewhere."""
        size, room = self.block_size, max(self.block_size - 1, 1)
        cells = np.resize(others, (-(-len(others) // room), room))
        signs = (-1.0) ** np.arange(len(cells))
        return np.array([np.insert(c[: size - 1], 5 * i % size, scale * signs[i]) for i, c in enumerate(cells)])

    def _values(self, dtype):
        book = np.array(self.format.values())
        return self._calls(np.concatenate([self._beside(s, s * book) for s in self._scales(dtype)]), dtype)

    def _boundaries(self, dtype):
        ends = np.array(self.format.boundaries)
        ascending = np.array(self.format.values())
        exact = (ascending[1:] + ascending[:-1]) / 2

        def near(scale):
            with np.errstate(all="ignore"):
                at = np.concatenate([scale * ends, scale * exact]).astype(dtype)
                beside = [np.nextafter(at, dtype.type(way)) for way in (-np.inf, np.inf)]
                further = [np.nextafter(b, dtype.type(way)) for b, way in zip(beside, (-np.inf, np.inf), strict=True)]
            x = np.concatenate([at, *beside, *further]).astype(np.float64)
            return x[np.abs(x) <= scale]

        return self._calls(np.concatenate([self._beside(s, near(float(s))) for s in self._scales(dtype)]), dtype)

    def _binades(self, dtype):
        low, high = (-20, 15) if dtype.itemsize == 2 else (-140, 127)
        rng, powers = np.random.default_rng(1), 2.0 ** np.arange(low, high)
        x = rng.uniform(-1, 1, (len(powers), self.block_size)) * 1.9
        return self._calls(x * powers[:, None], dtype)

    def _one_large(self, dtype):
        rng, size = np.random.default_rng(2), self.block_size
        x = rng.standard_normal((min(size, 64) * 2, size)) * 0.1
        x[np.arange(len(x)), np.linspace(0, size - 1, len(x)).astype(int)] = np.where(np.arange(len(x)) % 2, -3.7, 3.7)
        return self._calls(x, dtype)

    def _zeros(self, dtype):
        x = np.zeros((8, self.block_size))
        x[1], x[2, 0], x[3, -1], x[4, 0] = -0.0, 1.0, -1.0, 2.0**-20
        return self._calls(x, dtype)

    def _apart(self, dtype):
        rng, least = np.random.default_rng(3), -8 if dtype.itemsize == 2 else -60
        return self._calls(rng.standard_normal((64, self.block_size)) * 2.0 ** rng.integers(least, 8, (64, 1)), dtype)

    def _any(self, dtype):
        rng = np.random.default_rng(4)
        return self._calls(rng.standard_normal((128, self.block_size)) * 2.0 ** rng.integers(-6, 6, (128, 1)), dtype)

    def _long(self, dtype):
        x = np.random.default_rng(5).standard_normal((2, 37 * self.block_size))
        return [x.astype(np.float32).astype(dtype)]

    def _tails(self, dtype):
        rng = np.random.default_rng(6)
        lengths = {self.block_size + max(self.block_size // 4, 1), 2 * self.block_size - 1, 1} - {self.block_size}
        return [rng.standard_normal((4, n)).astype(np.float32).astype(dtype) for n in sorted(lengths)]

    def code_checks(self):
        """Return the check of a decoder: every code, with scales of many sizes."""

        def decode(probe, tally: Tally) -> None:
            read = probe.implementation.decode
            count, size = len(self.format.book), self.block_size
            codes = np.resize(np.arange(count), -(-count // size) * size)
            scales = self._scales(np.dtype(np.float32)).astype(np.float32)
            width = len(codes)
            codes = np.tile(codes.astype(np.uint8), (len(scales), 1))
            blocks = np.repeat(scales[:, None], width // size, axis=1)
            row = codes[0].tolist()
            exact = np.array([[codebooks.decode(c, s, self.format) for c in row] for s in scales.tolist()])
            with tally.noting("decode"):
                try:
                    got = once(lambda c: read(c, blocks.copy()), codes, time_limit=probe.time_limit)
                except Finding as found:
                    found.input = None
                    raise
                got = np.asarray(got, np.float64)

                def text(i):
                    code, scale = codes.reshape(-1)[i], scales[i // width]
                    right, came = shortest(float(exact.reshape(-1)[i])), shortest(float(got.reshape(-1)[i]))
                    return f"code   {code} with the scale {shortest(float(scale))}\nright  {right}\ngot    {came}"

                tally.count("decode", codes.reshape(-1), (got != exact).reshape(-1), text)

        return (Check("decode", "case group", "every code stands for its value times the scale", decode, "decode"),)

    def laws(self):
        """Return the laws; see `Scaled`."""

        def determinism(q, x):
            y = q(x)
            return y, ~self.same(x, y, q(x))

        def scaling(q, x):
            y, size = q(x), np.abs(x)
            inside = (size.max() < np.finfo(x.dtype).max / 4) & (size.max() < 2.0**126)
            each = np.where(size > 0, size, np.inf).min() > np.finfo(np.float32).tiny * 2.0**24
            if not inside or not each or x.dtype.itemsize == 2:
                return y, np.zeros(x.shape, bool)
            return y, ~self.same(x, 2 * y, q(x * x.dtype.type(2)))

        def independence(q, x):
            y, size = q(x), self.block_size
            if x.shape[-1] % size:
                return y, np.zeros(x.shape, bool)
            return y, ~self.same(x, y, np.roll(q(np.roll(x, size, axis=-1)), -size, axis=-1))

        return (
            ScaledLaw("determinism", "the same input gives the same result", determinism),
            ScaledLaw("scaling_by_two", "doubling the input doubles the result", scaling),
            ScaledLaw("independence", "a block does not depend on its neighbours", independence),
        )

    # -- the definition ------------------------------------------------------------------------------

    def hold_to_the_definition(self):
        """Compare the bulk of the expected side with the definition: some elements of a block of each group."""
        for group in self.groups():
            block = group.arrays(np.dtype(np.float32))[0][0, : self.block_size]
            scale, _ = codebooks.encode_block([float(np.abs(block).max())], self.format)
            found = self.values(block[None])[0]
            for i in range(0, block.size, max(1, block.size // 4)):
                code = codebooks.encode(float(block[i]), scale, self.format)
                if codebooks.decode(code, scale, self.format) != found[i]:
                    said = f"refimpl's kernels and its definition disagree about a block of {self}, {group.name}"
                    raise RuntimeError(f"{said}; please report this")

    def explain(self, x, at, got):
        """Explain one element by the definition of its block; see `Scaled`."""
        row, column = divmod(at, x.shape[-1])
        first = column // self.block_size * self.block_size
        block = x[row, first : first + self.block_size].astype(np.float32).tolist()
        value = block[column - first]
        scale, _ = codebooks.encode_block([max(map(abs, block))], self.format)
        code = codebooks.encode(value, scale, self.format)
        places = self.format.values()
        k = places.index(self.format.book[code])
        over = float(Fraction(value) / Fraction(scale))
        lines = [
            f"row {row}, element {column}: {x.dtype} {shortest(value)}",
            f"its block's largest magnitude, the scale, is {shortest(scale)}; over it {shortest(over)}",
        ]
        for name, i in (("below", k - 1), ("above", k)):
            if 0 <= i < len(self.format.boundaries):
                a, b, end = places[i], places[i + 1], self.format.boundaries[i]
                lines.append(f"{name}  {shortest(end)}, where {shortest(a)} becomes {shortest(b)}")
        right = codebooks.decode(code, scale, self.format)
        lines.append(f"right  code {code} = {shortest(self.format.book[code])}, times the scale {shortest(right)}")
        return "\n".join([*lines, f"got    {shortest(got)}"])

    def diagnose(self, seen: list[Seen]):
        """Return the defects that explain everything seen; see `Scaled`."""
        return diagnose(self, seen)
