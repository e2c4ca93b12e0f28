"""Derivatives of what is done to images: convolution and pooling.

Images are (batch, height, width, channels), convolution weights (rows, columns, in, out).
"""

from __future__ import annotations

from functools import partial

import numpy as np

from refimpl.autodiff.tensor import primitive


@primitive
def convolve(
    x,
    weight,
    *,
    stride: int = 1,
    padding: int = 0,
    groups: int = 1,
    by_patches: bool = False,
    exact: bool = False,
    sums=None,
    needed=(True, True),
):
    """Cross-correlate images with a bank of filters, zeros around the border.

    x: (batch, height, width, in), weight: (rows, columns, in / groups, out); the result is
    (batch, (height + 2 padding - rows) // stride + 1, likewise, out).  With groups, the g-th part
    of the output channels sees the g-th part of the input channels alone.

    float32 takes the direct path of `refimpl.kernels.direct_convolution`; float64, and float32
    where `by_patches`, goes through patches, which says the same in fewer words.  With `exact`,
    float32 is summed in float64 and rounded once, and `sums` computes the three products instead: see
    `refimpl.autodiff.networks.matmul`.
    """
    _fits(x.shape, weight.shape, stride, padding, groups)
    filters = weight.shape[3] // groups
    channels = x.shape[3] // groups
    convolution = _patches if by_patches or x.dtype != np.float32 else _in_float64 if exact else _direct
    if sums is not None:
        convolution = partial(_by_windows, sums=sums)
    parts = []
    for g in range(groups):
        part = x[..., g * channels : (g + 1) * channels] if groups > 1 else x
        bank = weight[..., g * filters : (g + 1) * filters] if groups > 1 else weight
        parts.append(convolution(np.ascontiguousarray(part), np.ascontiguousarray(bank), stride, padding, needed))
    if groups == 1:
        return parts[0]

    def vjp(dy):
        pairs = [
            back(np.ascontiguousarray(dy[..., g * filters : (g + 1) * filters])) for g, (_, back) in enumerate(parts)
        ]
        return tuple(
            np.concatenate(arrays, axis=3) if wanted else None
            for arrays, wanted in zip(zip(*pairs, strict=True), needed, strict=True)
        )

    return np.concatenate([y for y, _ in parts], axis=3), vjp


def _fits(images, filters, stride, padding, groups) -> None:
    """Refuse shapes that cannot be convolved: kernels would read beyond the arrays."""
    if not (
        len(images) == len(filters) == 4
        and images[3] == groups * filters[2]
        and filters[3] % groups == 0
        and all(n + 2 * padding >= k for n, k in zip(images[1:3], filters[:2], strict=True))
    ):
        raise ValueError(
            f"convolve: images of shape {images} and filters of shape {filters} do not fit with stride "
            f"{stride}, padding {padding} and {groups} groups; images are (batch, height, width, in), "
            "filters (rows, columns, in / groups, out), no larger than padded images"
        )


def _patches(x, weight, stride, padding, needed):
    from refimpl.kernels import convolution as kernel

    batch, height, width, channels = x.shape
    rows, columns, _, filters = weight.shape
    down = (height + 2 * padding - rows) // stride + 1
    across = (width + 2 * padding - columns) // stride + 1
    patches = np.empty((batch * down * across, rows * columns * channels), x.dtype)
    kernel.gather(x, patches, rows, columns, down, across, stride, padding)
    matrix = weight.reshape(-1, filters)

    def vjp(dy):
        dy = dy.reshape(-1, filters)
        dx = np.zeros_like(x) if needed[0] else None
        if needed[0]:
            kernel.scatter(dy @ matrix.T, dx, rows, columns, down, across, stride, padding)
        return dx, (patches.T @ dy).reshape(weight.shape) if needed[1] else None

    return (patches @ matrix).reshape(batch, down, across, filters), vjp


def _by_windows(x, weight, stride, padding, needed, sums):
    """Convolve by products of matrices in which every result, a pixel's gradient too, is one sum."""
    forward, left, right = sums
    batch, height, width, channels = x.shape
    rows, columns, _, filters = weight.shape
    windows = _windows(np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0))), rows, columns, stride)
    down, across = windows.shape[1:3]
    windows = windows.reshape(-1, rows * columns * channels)

    def vjp(dy):
        dw = right(windows.T, dy.reshape(-1, filters)).reshape(weight.shape) if needed[1] else None
        if not needed[0]:
            return None, dw
        # what went into outputs at a stride comes back from them, spread out as far, by the filters turned round
        spread = np.zeros((batch, height + 2 * padding + rows - 1, width + 2 * padding + columns - 1, filters), x.dtype)
        spread[:, rows - 1 :: stride, columns - 1 :: stride][:, :down, :across] = dy
        back = _windows(spread, rows, columns, 1)[:, padding : padding + height, padding : padding + width]
        turned = weight[::-1, ::-1].transpose(0, 1, 3, 2).reshape(-1, channels)
        return left(back.reshape(-1, rows * columns * filters), turned).reshape(x.shape), dw

    return forward(windows, weight.reshape(-1, filters)).reshape(batch, down, across, filters), vjp


def _windows(x, rows, columns, stride):
    """Return (batch, down, across, rows, columns, channels): what each output position sees."""
    every = np.lib.stride_tricks.sliding_window_view(x, (rows, columns), axis=(1, 2))
    return every[:, ::stride, ::stride].transpose(0, 1, 2, 4, 5, 3)


def _in_float64(x, weight, stride, padding, needed):
    wide = np.float64
    y, back = _patches(x.astype(wide), weight.astype(wide), stride, padding, needed)

    def vjp(dy):
        return tuple(None if g is None else g.astype(np.float32) for g in back(dy.astype(wide)))

    return y.astype(np.float32), vjp


def _direct(x, weight, stride, padding, needed):
    from refimpl.kernels import direct_convolution as kernel

    def vjp(dy):
        dy = np.ascontiguousarray(dy)
        _, height, width, _ = x.shape
        rows, columns, _, _ = weight.shape
        return (
            kernel.input_gradient(weight, dy, height, width, stride, padding) if needed[0] else None,
            kernel.weight_gradient(x, dy, rows, columns, stride, padding) if needed[1] else None,
        )

    return kernel.forward(x, weight, stride, padding), vjp


@primitive
def max_pool(x, *, size: int, stride: int):
    """Largest value of each size x size window; the first of equal ones takes the gradient."""
    shape = _pooled(x.shape, size, stride)
    windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(1, 2))
    windows = windows[:, ::stride, ::stride].reshape(*shape, size * size)
    at = windows.argmax(axis=-1)
    y = np.take_along_axis(windows, at[..., np.newaxis], -1)[..., 0]

    def vjp(dy):
        dx = np.zeros_like(x)
        b, i, j, k = np.indices(dy.shape, sparse=True)
        np.add.at(dx, (b, i * stride + at // size, j * stride + at % size, k), dy)
        return (dx,)

    return y, vjp


@primitive
def average_pool(x, *, size: int, stride: int):
    """Mean of each size x size window."""
    _, down, across, _ = shape = _pooled(x.shape, size, stride)
    factor = x.dtype.type(1 / size**2)
    places = [
        np.s_[:, r : r + stride * (down - 1) + 1 : stride, c : c + stride * (across - 1) + 1 : stride]
        for r in range(size)
        for c in range(size)
    ]
    y = np.zeros(shape, x.dtype)
    for place in places:
        y += x[place]

    def vjp(dy):
        dx = np.zeros_like(x)
        for place in places:
            dx[place] += dy * factor
        return (dx,)

    return y * factor, vjp


@primitive
def image_mean(x):
    """Mean of each channel over all pixels, (batch, channels); summed in float64, row after row."""
    pixels = np.ascontiguousarray(x).reshape(len(x), -1, x.shape[-1])

    def vjp(dy):
        each = dy / x.dtype.type(pixels.shape[1])
        return (np.repeat(each, pixels.shape[1], axis=0).reshape(x.shape),)

    totals = np.add.accumulate(pixels, axis=1, dtype=np.float64)[:, -1] + 0.0
    return (totals / pixels.shape[1]).astype(x.dtype), vjp


def _pooled(shape, size, stride):
    if len(shape) != 4 or min(shape[1:3]) < size:
        raise ValueError(
            f"pooling: images of shape {shape} and windows of {size} x {size} do not fit; images are "
            "(batch, height, width, channels), no smaller than a window"
        )
    batch, height, width, channels = shape
    return batch, (height - size) // stride + 1, (width - size) // stride + 1, channels
