"""Patches are read from where the definition says, and scattering is the transpose of gathering."""

import itertools

import numpy as np
import pytest

from refimpl.autodiff import primitives as p
from refimpl.kernels import convolution as kernel
from refimpl.spec.convolution import source_of_patch

SHAPES = [(2, 5, 4, 3, 3, 3, 1, 1), (1, 6, 5, 2, 3, 3, 2, 1), (2, 4, 7, 1, 2, 3, 2, 0)]


def geometry(height, width, rows, columns, stride, padding):
    return (height + 2 * padding - rows) // stride + 1, (width + 2 * padding - columns) // stride + 1


@pytest.mark.parametrize("shape", SHAPES)
def test_gather_reads_each_element_from_where_the_definition_says(shape):
    batch, height, width, channels, rows, columns, stride, padding = shape
    x = np.random.default_rng(0).standard_normal((batch, height, width, channels))
    down, across = geometry(height, width, rows, columns, stride, padding)
    patches = np.full((batch * down * across, rows * columns * channels), np.nan)
    kernel.gather(x, patches, rows, columns, down, across, stride, padding)
    positions = itertools.product(range(batch), range(down), range(across))
    for row, position in zip(patches, positions, strict=True):
        elements = itertools.product(range(rows), range(columns), range(channels))
        for value, element in zip(row, elements, strict=True):
            at = source_of_patch(position, element, height, width, stride, padding)
            assert value == (0.0 if at is None else x[at])


@pytest.mark.parametrize("shape", SHAPES)
def test_scatter_is_the_transpose_of_gather(shape):
    batch, height, width, channels, rows, columns, stride, padding = shape
    rng = np.random.default_rng(1)  # integers: both sums are exact
    x = rng.integers(-9, 9, (batch, height, width, channels)).astype(float)
    down, across = geometry(height, width, rows, columns, stride, padding)
    patches = np.empty((batch * down * across, rows * columns * channels))
    kernel.gather(x, patches, rows, columns, down, across, stride, padding)
    y = rng.integers(-9, 9, patches.shape).astype(float)
    back = np.zeros_like(x)
    kernel.scatter(y, back, rows, columns, down, across, stride, padding)
    assert np.sum(patches * y) == np.sum(x * back)


def test_convolution_equals_scipys_correlation():
    signal = pytest.importorskip("scipy.signal")
    rng = np.random.default_rng(2)
    x = rng.integers(-9, 9, (1, 6, 7, 3)).astype(float)
    w = rng.integers(-9, 9, (3, 3, 3, 2)).astype(float)
    ours = p.convolve(x, w, stride=2, padding=1).data[0]
    for f in range(2):
        planes = [signal.correlate2d(x[0, :, :, c], w[:, :, c, f], mode="same") for c in range(3)]
        assert np.array_equal(ours[:, :, f], np.sum(planes, axis=0)[::2, ::2])
