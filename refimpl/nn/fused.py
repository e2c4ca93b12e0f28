"""The fast road through a sequence of layers: the same bits, fewer passes over memory.

A run of layers [Round] BatchNorm [ReLU] [Round] becomes one step of four passes, two forward and
two back (`refimpl.kernels.fused_passes`), wherever its roundings are of the plain kind: a format
that float32 holds, to even or stochastically, without scales, and nobody counting.  Everywhere
else, the layers run one by one; the tests hold the one to the other, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from refimpl.autodiff import Tensor
from refimpl.autodiff.tensor import primitive
from refimpl.nn.layers import BatchNorm, Layer, ReLU, Round


def steps(layers: list[Layer]) -> list[Callable]:
    """Return the steps of a sequence, runs of layers joined where that is possible."""
    found, i = [], 0
    while i < len(layers):
        first = i
        before = after = None
        if isinstance(layers[i], Round) and isinstance(_at(layers, i + 1), BatchNorm):
            before, i = layers[i], i + 1
        if not isinstance(layers[i], BatchNorm):
            found.append(layers[i])
            i += 1
            continue
        norm, i = layers[i], i + 1
        relu = isinstance(_at(layers, i), ReLU)
        i += relu
        if isinstance(_at(layers, i), Round):
            after, i = layers[i], i + 1
        # Rounding what came before happens in place: only a convolution's output is nobody else's.
        owned = before is None or (first > 0 and type(layers[first - 1]).__name__ == "Convolution")
        found += [Joined(before, norm, relu, after, layers[first:i])] if owned else layers[first:i]
    return found


def _at(layers, i):
    return layers[i] if i < len(layers) else None


@dataclass
class Joined:
    """Layers that run as one step."""

    before: Round | None
    norm: BatchNorm
    relu: bool
    after: Round | None
    layers: list[Layer]

    def __call__(self, x: Tensor, run) -> Tensor:
        rounder = run.rounder
        sites = [
            _site(rounder, point, back) for point in (self.before, self.after) for back in (0, 1)
        ]
        if x.data.dtype != np.float32 or rounder.watched or None in sites:
            for layer in self.layers:
                x = layer(x, run)
            return x
        parameters = self.norm.parameters
        return joined(x, parameters["scale"], parameters["shift"], norm=self.norm, relu=self.relu,
                      training=run.training, rounder=rounder, sites=sites)  # fmt: skip


NO_ROUNDING = ()


def _site(rounder, point, back):
    """Return the _Way of a rounding point, () where nothing is rounded, None where it is not plain."""
    if point is None:
        return NO_ROUNDING
    way = rounder.way(f"{point.role} gradient" if back else point.role, point.name)
    if way is None:
        return NO_ROUNDING
    return way if way.plain else None


@primitive
def joined(x, scale, shift, *, norm, relu, training, rounder, sites):
    """Round x (in place), normalize, ReLU, round; and likewise back."""
    from refimpl.kernels import fused_passes as kernel

    first, first_back, last, last_back = sites
    rows = x.reshape(-1, x.shape[-1])
    own = kernel.round_and_moments(rows, *rounder.next(first))
    mean, variance = norm.statistics(*own, len(rows), training)
    inverse = 1 / np.sqrt(variance + np.float32(norm.epsilon))
    y = kernel.normalize_and_round(rows, mean, inverse, scale, shift, relu, *rounder.next(last))

    def vjp(dy):
        dy = np.ascontiguousarray(dy).reshape(rows.shape)
        dx, dscale, dshift = kernel.round_and_gradient_sums(
            rows, dy, mean, inverse, scale, shift, relu, *rounder.next(last_back)
        )
        kernel.gradient_and_round(
            rows, dx, mean, inverse, scale, dscale, dshift, training, *rounder.next(first_back)
        )
        return dx.reshape(x.shape), dscale, dshift

    return y.reshape(x.shape), vjp
