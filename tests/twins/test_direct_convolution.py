"""The direct path computes each output as one stated chain of float32 operations, bit for bit.

And it agrees with the path through patches: exactly on integers, whose sums are exact in any
order, and within the bound of float32 sums otherwise.
"""

from fractions import Fraction

import numpy as np
import pytest

from refimpl.autodiff import Tensor
from refimpl.autodiff import primitives as p
from refimpl.kernels import direct_convolution as kernel
from refimpl.spec.convolution import chain, source_of_patch

SHAPES = [  # batch height width channels rows columns filters stride padding
    (2, 5, 4, 3, 3, 3, 16, 1, 1),
    (1, 6, 5, 16, 3, 3, 20, 2, 1),
    (2, 4, 7, 1, 2, 3, 33, 2, 0),
    (1, 9, 9, 2, 3, 3, 3, 1, 1),
    (2, 5, 5, 4, 1, 1, 8, 2, 0),
    (1, 7, 6, 2, 5, 5, 4, 3, 2),
    (1, 4, 18, 2, 3, 3, 48, 1, 1),
    (2, 8, 8, 3, 3, 3, 16, 1, 1),  # two lines of eight at a time
    (9, 4, 4, 2, 3, 3, 16, 1, 1),  # eight images at a time
    (2, 20, 20, 3, 3, 3, 16, 1, 1),  # six lines of an image at a time
    (1, 38, 34, 2, 3, 3, 16, 2, 1),
    (1, 5, 5, 40, 3, 3, 32, 1, 1),  # one row of the filters at a time
]


def make(shape, draw):
    batch, height, width, channels, rows, columns, filters, stride, padding = shape
    x = draw((batch, height, width, channels)).astype(np.float32)
    weight = draw((rows, columns, channels, filters)).astype(np.float32)
    down, across = kernel.forward(x, weight, stride, padding).shape[1:3]
    return x, weight, draw((batch, down, across, filters)).astype(np.float32)


def both(x, weight, dy, stride, padding):
    """Return output and gradients by both paths."""
    for by_patches in (False, True):
        tensors = [Tensor(a, requires_grad=True) for a in (x, weight)]
        y = p.convolve(*tensors, stride=stride, padding=padding, by_patches=by_patches)
        (y * Tensor(dy)).sum().backward()
        yield y.data, tensors[0].grad, tensors[1].grad


@pytest.mark.parametrize("shape", SHAPES)
def test_both_paths_agree_exactly_on_integers(shape):
    rng = np.random.default_rng(0)
    arrays = make(shape, lambda s: rng.integers(-8, 9, s))
    for direct, plain in zip(*both(*arrays, *shape[-2:]), strict=True):
        assert np.array_equal(direct, plain)


@pytest.mark.parametrize("shape", SHAPES)
def test_both_paths_agree_within_the_bound_of_float32_sums(shape):
    """|error| <= n u sum |a b| for a sum of n products in any order, u = 2^-24 (Higham, 3.1)."""
    rng = np.random.default_rng(1)
    x, weight, dy = make(shape, rng.standard_normal)
    exact = list(both(*(a.astype(np.float64) for a in (x, weight, dy)), *shape[-2:]))[1]
    sizes = list(both(*(abs(a).astype(np.float64) for a in (x, weight, dy)), *shape[-2:]))[1]
    products = max(weight[..., 0].size, weight[:, :, 0].size, dy[..., 0].size)
    for direct, true, size in zip(next(both(x, weight, dy, *shape[-2:])), exact, sizes, strict=True):
        assert (abs(direct - true) <= products * 2.0**-24 * 1.01 * size).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_every_output_is_the_stated_chain_of_fused_multiply_adds(shape):
    batch, height, width, channels, rows, columns, filters, stride, padding = shape
    rng = np.random.default_rng(2)
    x, weight, dy = make(shape, rng.standard_normal)
    down, across = dy.shape[1:3]

    def read(b, i, j, r, c, k):
        at = source_of_patch((b, i, j), (r, c, k), height, width, stride, padding)
        return Fraction(0) if at is None else Fraction(float(x[at]))

    exact = {id(a): np.vectorize(lambda v: Fraction(float(v)), otypes=[object])(a) for a in (weight, dy)}
    w, g = exact[id(weight)], exact[id(dy)]
    y = kernel.forward(x, weight, stride, padding)
    dw = kernel.weight_gradient(x, dy, rows, columns, stride, padding)
    dx = kernel.input_gradient(weight, dy, height, width, stride, padding)
    for _ in range(12):
        b, i, j, f = (rng.integers(n) for n in dy.shape)
        pairs = [
            (read(b, i, j, r, c, k), w[r, c, k, f])
            for r in range(rows)
            for c in range(columns)
            for k in range(channels)
        ]
        assert y[b, i, j, f] == chain(pairs)

        r, c, k, f = (rng.integers(n) for n in weight.shape)
        pairs = [
            (read(b, i, j, r, c, k), g[b, i, j, f]) for b in range(batch) for i in range(down) for j in range(across)
        ]
        assert dw[r, c, k, f] == chain(pairs)

        b, m, n, k = (rng.integers(s) for s in x.shape)
        pairs = []
        for r in reversed(range(rows)):
            for c in reversed(range(columns)):
                i, j = divmod(m + padding - r, stride), divmod(n + padding - c, stride)
                if i[1] == j[1] == 0 and 0 <= i[0] < down and 0 <= j[0] < across:
                    pairs += [(g[b, i[0], j[0], f], w[r, c, k, f]) for f in range(filters)]
        assert dx[b, m, n, k] == chain(pairs)


def test_which_block_computes_an_element_does_not_change_its_bits():
    """Which block computes an element does not change it: blocks of one row against blocks of many."""
    rng = np.random.default_rng(3)
    x, w = (rng.standard_normal((1, 9, 9, 5)).astype("f4"), rng.standard_normal((3, 3, 5, 40)).astype("f4"))
    whole = kernel.forward(x, w, 1, 1)
    for f in range(0, 40, 7):  # another number of filters: other widths of blocks
        assert np.array_equal(kernel.forward(x, w[..., f : f + 3].copy(), 1, 1), whole[..., f : f + 3])
    for j in range(0, 7):  # a narrower image: other heights of blocks
        part = kernel.forward(x[:, :, j : j + 3].copy(), w, 1, 0)
        assert np.array_equal(part[:, :, 0], whole[:, 1:-1, j + 1])
