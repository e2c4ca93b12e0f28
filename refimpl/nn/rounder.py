"""Rounding the tensors of a training run under a policy."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from refimpl import ops
from refimpl.formats import BlockFormat, CodeBook, FloatFormat, IntFormat, PositFormat
from refimpl.nn.precision import PRODUCT_ROLES, ROLES, SCALINGS, SUM_ROLES, Precision, Rounding

if TYPE_CHECKING:
    from refimpl.kernels._by_address import Address

COUNTED_STEPS = 16  # overflow and underflow are counted on one step in this many

_ROLES = [*ROLES, *PRODUCT_ROLES]
_LARGEST = float(np.finfo(np.float32).max)


class Blocks(NamedTuple):
    """A tensor in blocks: float32 elements (..., k) and scales (..., blocks), times the scale of the tensor."""

    format: BlockFormat
    elements: np.ndarray
    scales: np.ndarray
    tensor_scale: float


class Rounder:
    """Round tensors by role under a policy, with random bits that depend on the seed alone.

    The i-th call that rounds uses stream i of `seed`, element j of the tensor its word j: a run
    that makes the same calls rounds alike, and `calls` (with the magnitudes that delayed scaling
    keeps) is all that must be kept to continue one.

    Attributes
    ----------
    calls : int
        Tensors rounded so far.
    counting : bool
        Whether to count overflow and underflow, in `counts`.
    counts : dict of role to ndarray of int64, shape (3,)
        Elements rounded; those above the format's largest value; those that became zero.
    plan : dict, optional
        Where set to a dictionary, receives what each tensor's rounding was.
    watch : callable, optional
        Where set, is given every `refimpl.nn.products.Product` of the backward pass.
    noise : ndarray of uint64
        What kernels that round know of this rounder, see `refimpl.nn.engine.rounding`.
    magnitudes : dict of str to ndarray of float32
        The largest magnitudes seen last where scales are delayed, the latest last; -1 where there were fewer.
    """

    def __init__(self, precision: Precision, seed: int):
        self.precision, self.seed, self.calls = precision, np.uint64(seed), 0
        self.counting = False
        self.counts: dict[str, np.ndarray] = {}
        self.plan: dict[int, tuple] | None = None
        self.watch: Callable | None = None
        self.noise = np.zeros(3 + 3 * len(_ROLES), np.uint64)
        self.magnitudes: dict[str, np.ndarray] = {}
        self._roundings: dict[tuple[str, str], TensorRounding | None] = {}

    def rounding(self, role: str, layer: str = "") -> TensorRounding | None:
        """Return how a role is rounded in a layer, ready to use; None where it is not."""
        key = role, layer
        if key not in self._roundings:
            rounding = self.precision.rounding_of(role, layer)
            self._roundings[key] = None if rounding is None else TensorRounding(rounding)
        return self._roundings[key]

    def rounds_products(self, layer: str) -> bool:
        """Tell whether operands or gradients of a layer's products are rounded, or their sums."""
        return self.rounds_sums(layer) or any(self.rounding(role, layer) is not None for role in PRODUCT_ROLES)

    def rounds_sums(self, layer: str) -> bool:
        """Tell whether sums of a layer's products are rounded."""
        return any(self.precision.accumulator_of(role, layer) is not None for role in SUM_ROLES)

    def override(self, role: str, layer: str, **changes) -> None:
        """Change how a role is rounded in a layer, where it is rounded."""
        known = self.rounding(role, layer)
        if known is not None:
            self._roundings[role, layer] = TensorRounding(replace(known.rule, **changes))

    def past(self, place: str) -> np.ndarray:
        """Return the magnitudes remembered of a place; kernels know them by their address."""
        from refimpl.nn.engine.rounding import REMEMBERED

        return self.magnitudes.setdefault(place, np.full(REMEMBERED, -1, np.float32))

    def restore(self, calls: int, magnitudes: dict[str, list[float]]) -> None:
        """Continue from the calls and magnitudes of another."""
        self.calls = calls
        for place, kept in magnitudes.items():
            past = self.past(place)
            past[max(past.size - len(kept), 0) :] = kept[-past.size :]

    def site(self, role: str, layer: str = "", which: str = "") -> np.ndarray | None:
        """Return how a role is rounded in a layer as a record of `refimpl.nn.engine.rounding.SITE`.

        Its `how` is 0 where nothing is rounded.  None where kernels do not know how.
        """
        from refimpl.nn.engine.rounding import SITE, STOCHASTIC

        known = self.rounding(role, layer)
        if known is None:
            return np.zeros(1, SITE)
        in_blocks = isinstance(known.rule.format, BlockFormat)
        if known.site is None or known.rule.per != "tensor" and not in_blocks:
            return None
        site = known.site.copy()
        site["role"], site["scaling"] = _ROLES.index(role), 0 if in_blocks else SCALINGS.index(known.rule.scaling)
        if known.rule.scaling == "delayed":
            site["past"] = self.past(f"{role} {layer} {which}").ctypes.data
        if self.precision.always_stochastic:  # `round_part` is the kernel that knows nothing else
            assert site["how"][0] == STOCHASTIC and not site["scaling"][0], f"{role} {layer}: {known.rule}"
        return site

    @cached_property
    def round_part(self) -> Address:
        """The kernel that rounds parts of tensors; where all is rounded stochastically, one that compiles sooner."""
        from refimpl.nn.engine.rounding import ROUND_PART, ROUND_STOCHASTIC_PART

        return ROUND_STOCHASTIC_PART if self.precision.always_stochastic else ROUND_PART

    @contextmanager
    def drawing(self, streams: int) -> Iterator[Callable[[int], None]]:
        """Let kernels draw this number of streams, or what the function then given is told, and count, by `noise`."""
        self.noise[:3], self.noise[3:] = (self.seed, self.calls, self.counting), 0
        drawn = [streams]
        yield drawn.append
        self.calls += drawn[-1]
        if self.counting:
            for role, counted in zip(_ROLES, self.noise[3:].astype(np.int64).reshape(-1, 3), strict=True):
                if counted.any():
                    self.counts[role] = self.counts.get(role, 0) + counted

    def __call__(
        self, x: np.ndarray, role: str, layer: str = "", *, out: np.ndarray | None = None, which: str = ""
    ) -> np.ndarray:
        """Return x (float32, any shape) rounded; x itself where its role is not rounded.

        `out` receives the result in any case; it is another array than x (over itself, a kernel
        cannot use vectors).  `which` tells tensors of one role and layer apart, such as weight and
        bias: each has its own past to take a delayed scale from.
        """
        rounding = self.rounding(role, layer)
        if rounding is None:
            if out is None:
                return x
            out[...] = x
            return out
        x = np.ascontiguousarray(x)
        out = np.empty_like(x) if out is None else out
        scale = self._round(x, out, role, rounding, f"{role} {layer} {which}", self.calls)
        if self.plan is not None:
            self.plan[self.calls] = (role, layer, x.shape, rounding.rule, scale)
        self.calls += 1
        return out

    def blocks(self, x: np.ndarray, role: str, layer: str) -> Blocks:
        """Return x, float32 (..., k), rounded to the role's block format, cut along its last axis."""
        rounding = self.rounding(role, layer)
        assert rounding is not None
        rule, fmt = rounding.rule, rounding.rule.format
        codes = ops.quantize_blocks(x, fmt, rounding=rule.rounding, seed=int(self.seed), stream=self.calls)
        elements, scales = ops.decode(codes.codes, fmt.element), ops.decode(codes.scales, fmt.scale)
        if self.counting:
            before, after = (self._census(v.reshape(-1), rounding) for v in (x, elements))
            self._count(role, x.size, before, after)
        if self.plan is not None:
            self.plan[self.calls] = (role, layer, x.shape, rule, math.nan)
        self.calls += 1
        return Blocks(fmt, elements, scales, codes.tensor_scale)

    def within(self, x: np.ndarray, out: np.ndarray, role: str, layer: str, stream: int) -> None:
        """Round x into out, which may be x, as one of the calls of a pass of kernels, from its stream-th stream."""
        rounding = self.rounding(role, layer)
        assert rounding is not None
        source = x.copy() if np.shares_memory(x, out) else x
        self._round(source, out, role, rounding, f"{role} {layer} ", self.calls + stream)

    def _round(self, x, out, role: str, rounding: TensorRounding, place: str, stream: int) -> float:
        """Round x into another array; return the scale, NaN where there are many."""
        flat, result = x.reshape(-1), out.reshape(-1)
        if self.counting:
            before = self._census(flat, rounding)
        scale = 1.0
        if rounding.rule.per != "tensor" or isinstance(rounding.format, CodeBook):
            scale = math.nan  # there are many
            rounding.by_vectors(x, out, self.seed, stream)
        elif rounding.rule.scaling == "none":
            rounding(flat, result, self.seed, stream)
        else:
            found = rounding.scales(np.array(self._largest(flat, rounding.rule.scaling, place)))
            scale = float(found)
            rounding.scaled(flat, result, found, self.seed, stream)
        if self.counting:
            self._count(role, flat.size, before, self._census(result, rounding))
        return scale

    def _largest(self, flat, scaling, place) -> float:
        largest = float(np.abs(flat).max(initial=0)) if flat.size else 0.0
        if scaling == "current":
            return largest
        past = self.past(place)
        known = float(past.max())
        past[:-1] = past[1:].copy()
        past[-1] = largest if math.isfinite(largest) else 0.0
        return known if known >= 0 else largest  # the first time there is nothing to go by

    def _census(self, flat, rounding):
        from refimpl.nn.engine.rounding import census

        return census(flat, rounding.largest_bits)

    def _count(self, role, size, before, after):
        counts = self.counts.setdefault(role, np.zeros(3, np.int64))
        counts += (size, before[0], after[1] - before[1])


class TensorRounding:
    """A Rounding with what the kernels need to know about it.

    NaN stays NaN, in formats without one too: training has to see that it diverged.
    """

    def __init__(self, rounding: Rounding):
        from refimpl.kernels.float32_codes import fits_float32, float32_target
        from refimpl.nn.engine.rounding import SITE, STOCHASTIC, TO_EVEN

        self.rule = rounding
        fmt = rounding.format
        if isinstance(fmt, (IntFormat, BlockFormat)):
            fmt = fmt.grid
        self.format, self.largest = fmt, fmt.max
        self.unscaled = rounding.scaling == "none"
        with np.errstate(over="ignore"):
            largest = np.float32(fmt.max if self.unscaled else np.inf)
        self.largest_bits = largest.view(np.uint32)
        self.site: np.ndarray | None = None  # what kernels want to know, if there is one for this rounding
        if isinstance(fmt, FloatFormat) and rounding.rounding in ("ties_to_even", "stochastic") and fits_float32(fmt):
            how = STOCHASTIC if rounding.rounding == "stochastic" else TO_EVEN
            target = float32_target(fmt, rounding.overflow)
            target = target._replace(nan_bits=np.float32(np.nan).view(np.uint32), nan_sign_flip=np.uint32(0))
            site = np.zeros(1, SITE)
            for name, value in {"how": how, "largest": self.largest_bits, **target._asdict()}.items():
                site[name] = value
            site["integer"], site["top"] = isinstance(rounding.format, IntFormat), self.largest
            if not isinstance(rounding.format, BlockFormat) or self._in_blocks(rounding.format, site):
                self.site = site

    def _in_blocks(self, fmt: BlockFormat, site: np.ndarray) -> bool:
        """Tell kernels of a block format, and whether they serve it."""
        from refimpl.kernels.block_quotients import fits
        from refimpl.kernels.float32_codes import fits_float32, float32_target
        from refimpl.nn.engine.rounding import round_blocks, round_two_levels

        site["block"], site["top_exponent"] = fmt.block_size, fmt.max_exponent
        site["zero_sign_mask"] *= not isinstance(fmt.element, IntFormat)  # in two's complement no zero has a sign
        if not fmt.tensor_scale:
            self.in_blocks = round_blocks
            return fmt.scale.maxexp == 128
        self.in_blocks = round_two_levels
        if not (fits_float32(fmt.scale) and fits(fmt.grid, fmt.scale) and fits(fmt.scale, fmt.scale)):
            return False
        site["top_scale"] = fmt.scale.max
        for name, value in float32_target(fmt.scale, "saturate")._asdict().items():
            site["of_scales"][name] = value
        return True

    def __call__(self, flat: np.ndarray, result: np.ndarray, seed: np.uint64, stream: int) -> None:
        """Round, without a scale."""
        if self.site is not None:
            from refimpl.nn.engine.rounding import round_part

            round_part(flat, result, 0, self.site, np.array([seed, stream, 0], np.uint64))
        else:
            is_posit = isinstance(self.format, PositFormat)
            ops.quantize(
                flat,
                self.format,
                rounding=self.rule.rounding,
                overflow="overflow" if is_posit else self.rule.overflow,
                seed=int(seed),
                stream=stream,
                out=result,
            )
            if self.rule.underflow == "zero":
                result[np.abs(flat) <= self.format.smallest / 2] = 0
            if not is_posit and self.format.nan_code is None:
                result[np.isnan(flat)] = np.nan

    def scaled(self, flat, result, scale, seed, stream) -> None:
        """Round x scale, and divide by scale again; one scale, or one for each element."""
        # in float32, which is faster and gives the same bits, where it holds all scales
        scale = scale.astype(np.float32) if np.all(_in_float32(scale)) else scale
        self((flat * scale).astype(np.float32, copy=False), result, seed, stream)
        np.divide(result, scale, out=result, casting="same_kind")

    def scales(self, magnitudes: np.ndarray) -> np.ndarray:
        """Return what brings each magnitude to the top of the format: float64, but rounded to float32 if that holds it.

        For floats they are powers of two, so that scaling is exact.
        """
        usual = (magnitudes > 0) & (magnitudes < math.inf)
        wide = np.where(usual, magnitudes, 1).astype(np.float64)
        if isinstance(self.rule.format, IntFormat):
            found = self.largest / wide
        else:
            exponent = math.floor(math.log2(self.largest)) - np.frexp(wide)[1] + 1
            exponent -= np.ldexp(wide, exponent) > self.largest
            found = np.ldexp(1.0, exponent)
        found = np.where(usual, found, 1.0)
        return np.where(_in_float32(found), np.minimum(found, _LARGEST).astype(np.float32), found)

    def by_vectors(self, x, result, seed, stream) -> None:
        """Round vectors along the last axis, or blocks of neighbours in them, each by its own scale."""
        if isinstance(self.rule.format, BlockFormat) and self.site is not None:
            from refimpl.nn.engine.rounding import ROUND_PART

            vectors = -1, x.shape[-1] if x.ndim else 1
            self.in_blocks(
                x.reshape(vectors),
                result.reshape(vectors),
                self.site,
                np.array([seed, stream, 0], np.uint64),
                ROUND_PART.value,
            )
            return
        if isinstance(self.rule.format, BlockFormat):
            codes = ops.quantize_blocks(x, self.rule.format, rounding=self.rule.rounding, seed=int(seed), stream=stream)
            result[...] = ops.decode_blocks(*codes[:2], self.rule.format, tensor_scale=codes.tensor_scale)
            return
        if isinstance(self.format, CodeBook):
            finite, per = np.isfinite(x), self.rule.per
            of: dict = {} if per == "tensor" else {"axis": 0} if per == "row" else {"axis": -1, "block_size": per}
            rows = np.where(finite, x, np.float32(0)).reshape(-1, x.shape[-1] if x.ndim else 1)
            found = ops.decode_codebook(*ops.quantize_codebook(rows, self.format, **of), self.format, **of)
            result[...] = np.where(finite, found.reshape(x.shape), np.nan)
            return
        length = x.shape[-1]
        size = length if self.rule.per == "row" else min(self.rule.per, length)
        starts = np.arange(0, length, size)
        largest = np.maximum.reduceat(np.abs(x), starts, axis=-1)
        scale = np.repeat(self.scales(largest), np.diff([*starts, length]), axis=-1)
        self.scaled(x.reshape(-1), result.reshape(-1), scale.reshape(-1), seed, stream)


def _in_float32(scale: np.ndarray) -> np.ndarray:
    """Tell which scales are, in all their bits, float32's."""
    return (scale >= 2.0**-126) & (scale <= _LARGEST)
