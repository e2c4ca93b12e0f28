"""Rounding the tensors of a training run under a policy."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from refimpl import ops
from refimpl.formats import IntFormat
from refimpl.nn.precision import ROLES, Precision, Rounding

REMEMBERED = 16  # largest magnitudes kept for delayed scaling
COUNTED_STEPS = 16  # overflow and underflow are counted on one step in this many

_ROLES = list(ROLES)
_UNCOUNTED = np.empty((len(_ROLES), 0), np.int64)


class Rounder:
    """Round tensors by role under a policy, with random bits that depend on the seed alone.

    The i-th call that rounds uses stream i of `seed`, element j of the tensor its word j: a run
    that makes the same calls rounds alike, and `calls` (with the magnitudes that delayed scaling
    remembers) is all that must be kept to continue one.

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
        Where set, is given every `refimpl.nn.products.Product` on its way back.
    """

    def __init__(self, precision: Precision, seed: int):
        from refimpl.kernels.machine import Noise

        self._noise = Noise
        self.precision, self.seed, self.calls = precision, np.uint64(seed), 0
        self.counting, self.counts, self.plan = False, {}, None
        self.watch = None
        self.magnitudes: dict[str, list[float]] = {}
        self._ways: dict[tuple[str, str], _Way | None] = {}

    def way(self, role: str, layer: str = "") -> _Way | None:
        """Return how a role is rounded in a layer, ready to use; None where it is not."""
        key = role, layer
        if key not in self._ways:
            rounding = self.precision.rounding_of(role, layer)
            self._ways[key] = None if rounding is None else _Way(rounding)
        return self._ways[key]

    def override(self, role: str, layer: str, **changes) -> None:
        """Change how a role is rounded in a layer, where it is rounded."""
        way = self.way(role, layer)
        if way is not None:
            self._ways[role, layer] = _Way(replace(way.rounding, **changes))

    def site(self, role: str, layer: str = "") -> tuple | None:
        """Return how a role is rounded in a layer as a row of `refimpl.kernels.machine.SITE`.

        Its first number is 0 where nothing is rounded.  None where the machine does not know how.
        """
        way = self.way(role, layer)
        if way is None:
            return (0,) * 15
        if not way.plain:
            return None
        return (way.how, _ROLES.index(role), way.largest_bits, *way.target)

    def noise(self):
        """Return what the machine needs for the next roundings; `drawn` must follow."""
        counts = np.zeros((len(_ROLES), 3), np.int64) if self.counting else _UNCOUNTED
        return self._noise(self.seed, np.uint64(self.calls), counts)

    def drawn(self, noise, streams: int) -> None:
        """Note that the machine has drawn so many streams from `noise`, and what it has counted."""
        self.calls += streams
        if self.counting:
            for role, found in zip(_ROLES, noise.counts, strict=True):
                if found.any():
                    self.counts[role] = self.counts.get(role, 0) + found

    def __call__(
        self, x: np.ndarray, role: str, layer: str = "", *, out: np.ndarray | None = None, which: str = ""
    ) -> np.ndarray:
        """Return x (float32, any shape) rounded; x itself where its role is not rounded.

        `out` receives the result in any case; it is another array than x (over itself, a kernel
        cannot use vectors).  `which` tells tensors of one role and layer apart, such as weight and
        bias: each has its own past to take a delayed scale from.
        """
        way = self.way(role, layer)
        if way is None:
            if out is None:
                return x
            out[...] = x
            return out
        x = np.ascontiguousarray(x)
        out = np.empty_like(x) if out is None else out
        flat, result = x.reshape(-1), out.reshape(-1)
        if self.counting:
            before = self._census(flat, way)
        scale = 1.0
        if way.rounding.per != "tensor":
            scale = math.nan  # there are many
            way.by_vectors(x, out, self.seed, self.calls)
        elif way.rounding.scaling == "none":
            way(flat, result, self.seed, self.calls)
        else:
            scale = way.scale(self._largest(flat, way.rounding.scaling, f"{role} {layer} {which}"))
            way.scaled(flat, result, scale, self.seed, self.calls)
        if self.plan is not None:
            self.plan[self.calls] = (role, layer, x.shape, way.rounding, scale)
        self.calls += 1
        if self.counting:
            self._count(role, flat.size, before, self._census(result, way))
        return out

    def _largest(self, flat, scaling, place) -> float:
        largest = float(np.abs(flat).max(initial=0)) if flat.size else 0.0
        if scaling == "current":
            return largest
        known = self.magnitudes.setdefault(place, [])
        known.append(largest if math.isfinite(largest) else 0.0)
        del known[: -REMEMBERED - 1]
        return max(known[:-1], default=largest)  # the first time there is nothing to go by

    def _census(self, flat, way):
        from refimpl.kernels.rounding_passes import census

        return census(flat, way.largest_bits)

    def _count(self, role, size, before, after):
        counts = self.counts.setdefault(role, np.zeros(3, np.int64))
        counts += (size, before[0], after[1] - before[1])


class _Way:
    """A Rounding with what the kernels need to know about it."""

    def __init__(self, rounding: Rounding):
        from refimpl.kernels.float_codes import fits_float32, float32_target

        self.rounding = rounding
        fmt = rounding.format
        if isinstance(fmt, IntFormat):
            fmt = fmt.grid
        self.format, self.largest = fmt, fmt.max
        unscaled = rounding.scaling == "none"
        with np.errstate(over="ignore"):
            largest = np.float32(fmt.max if unscaled else np.inf)
        self.largest_bits = largest.view(np.uint32)
        self.target = None
        if rounding.rounding in ("ties_to_even", "stochastic") and fits_float32(fmt):
            self.target = float32_target(fmt, rounding.overflow)
        self.stochastic = rounding.rounding == "stochastic"
        self.plain = self.target is not None and unscaled
        self.how = 2 if self.stochastic else 1  # as in refimpl.kernels.fused_passes

    def __call__(self, flat, result, seed, stream) -> None:
        """Round, without a scale."""
        if self.target is not None:
            from refimpl.kernels.rounding_passes import round_tensor

            round_tensor(flat, result, self.target, self.stochastic, seed, np.uint64(stream))
        else:
            ops.quantize(
                flat,
                self.format,
                rounding=self.rounding.rounding,
                overflow=self.rounding.overflow,
                seed=int(seed),
                stream=stream,
                out=result,
            )

    def scale(self, magnitude: float) -> float:
        """Return what to multiply by, so that this magnitude is within the format."""
        if not 0 < magnitude < math.inf:
            return 1.0
        if isinstance(self.rounding.format, IntFormat):
            return min(self.largest / magnitude, 2.0**100)  # float32 must hold it
        # a power of two, so that scaling is exact; 2^100 away from what float32 cannot hold
        exponent = math.floor(math.log2(self.largest)) - math.frexp(magnitude)[1] + 1
        if math.ldexp(magnitude, exponent) > self.largest:
            exponent -= 1
        return 2.0 ** max(-100, min(100, exponent))

    def scaled(self, flat, result, scale: float, seed, stream) -> None:
        """Round x scale, and divide by scale again."""
        self(flat * np.float32(scale), result, seed, stream)
        result /= np.float32(scale)

    def scales(self, magnitudes: np.ndarray) -> np.ndarray:
        """Return `scale` of each magnitude, as float32."""
        usual = (magnitudes > 0) & (magnitudes < math.inf)
        wide = np.where(usual, magnitudes, 1).astype(np.float64)
        if isinstance(self.rounding.format, IntFormat):
            found = np.minimum(self.largest / wide, 2.0**100)
        else:
            exponent = math.floor(math.log2(self.largest)) - np.frexp(wide)[1] + 1
            exponent -= np.ldexp(wide, exponent) > self.largest
            found = np.ldexp(1.0, np.clip(exponent, -100, 100))
        return np.where(usual, found, 1).astype(np.float32)

    def by_vectors(self, x, result, seed, stream) -> None:
        """Round vectors along the last axis, or blocks of neighbours in them, each by its own scale."""
        length = x.shape[-1]
        size = length if self.rounding.per == "row" else min(self.rounding.per, length)
        starts = np.arange(0, length, size)
        largest = np.maximum.reduceat(np.abs(x), starts, axis=-1)
        scale = np.repeat(self.scales(largest), np.diff([*starts, length]), axis=-1)
        self((x * scale).reshape(-1), result.reshape(-1), seed, stream)
        result /= scale
