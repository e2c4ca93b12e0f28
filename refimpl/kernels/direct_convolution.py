"""Convolution of float32 images without patches: the fast path of `refimpl.kernels.convolution`.

Images are (batch, height, width, channels), filters (rows, columns, in, out).  Every output is one
chain of fused multiply-adds (`refimpl.kernels.tiles`) in a stated order, so the same bits come out
on every machine that has or imitates that instruction, that is, on every machine:

    forward          sums over filter rows, columns, channels
    weight gradient  sums over images, rows and columns of dy
    input gradient   sums over filter rows and columns, each backwards, then filters

starting from +0.  Columns go to the blocks sixteen at a time: where filters (or, for the input
gradient, channels) are not a multiple of 16, the last block works on zeros and is cut off.

Compiled functions take images with their margins of zeros and write into an array they are given;
`block` is the address of `refimpl.kernels.tiles.add_products`.
"""

import numpy as np

from refimpl.kernels._compiled import compiled
from refimpl.kernels._memory import clear, copy
from refimpl.kernels.tiles import ADD_PRODUCTS, LANES, WIDE, call_add_products

FAST_PATH_OF = "convolution"
PANEL = 2 * LANES  # columns (filters, or channels of the input gradient) worked on at a time
CHUNK = 128  # pixels whose part in the filters' gradient is summed at a time


def padded(x, top, left, bottom, right):
    """Return images with rows and columns of zeros around them; themselves if none are asked for."""
    batch, height, width, channels = x.shape
    if not (top or left or bottom or right):
        return x
    out = np.empty((batch, height + top + bottom, width + left + right, channels), np.float32)
    write_padded(x, top, left, out)
    return out


@compiled
def write_padded(x, top, left, out):
    """Write images into larger ones, this many rows and columns from their corner, zeros around them."""
    batch, height, width, channels = x.shape
    clear(out.ctypes.data, out.size)
    for b in range(batch):
        for y in range(height):
            copy(_address(out, b, top + y, left), _address(x, b, y, 0), width * channels)


@compiled(inline="always")
def _address(x, b, y, z):
    """Return the address of pixel (y, z) of image b."""
    return x.ctypes.data + 4 * x.shape[3] * ((b * x.shape[1] + y) * x.shape[2] + z)


@compiled(inline="always")
def _whole_blocks(n):
    """Return 16, or n rounded up to a multiple of 32."""
    return LANES if n <= LANES else (n + PANEL - 1) // PANEL * PANEL


@compiled(inline="always")
def _copy_channels(x, out, channels):
    """Copy the first channels of every pixel of x."""
    batch, height, width, _ = x.shape
    for b in range(batch):
        for y in range(height):
            for z in range(width):
                for k in range(channels):
                    out[b, y, z, k] = x[b, y, z, k]


@compiled
def _correlate(out, out_step, out_line, down, across, image, step, line, image_line, panel, n, columns, rows, block):
    """Correlate one image with a panel of filters: `down` lines of `across` outputs.

    Addresses of the first output, of the corner it sees and of the panel, (n, columns): n elements of
    `rows` lines of a filter; strides in elements, from output to output and from line to line
    (`image_line`: to the next line of the image).
    """
    length = n // rows
    # Lines of eight or four do not fill a block, whose rows come in fours: take 2 or 4 at once.
    together = (8 if columns == PANEL else 16) // across if WIDE and (across == 4 or across == 8) else 1
    far, farther = (1, 2) if across == 4 else (0, 1)  # in lines; 0: the fours of a line of eight
    i = 0
    while i < down:
        lines = together if together <= down - i else 1
        out_far = far * out_line + (1 - far) * 4 * out_step if lines > 1 else 0
        far_away = far * line + (1 - far) * 4 * step
        call_add_products(
            block,
            out + 4 * out_line * i,
            out_step,
            out_far,
            farther * out_line,
            image + 4 * line * i,
            step,
            far_away,
            farther * line,
            0,
            image_line,
            1,
            panel,
            0,
            length * columns,
            columns,
            1,
            rows,
            length,
            False,
            lines * across,
            columns,
        )
        i += lines


@compiled
def write_forward(x, weight, stride, y, block):
    """Write (batch, down, across, filters): x correlated with the filters."""
    batch, down, across, filters = y.shape
    rows, columns, channels, _ = weight.shape
    n, wide = rows * columns * channels, _whole_blocks(filters)
    width = min(wide, PANEL)
    out = y if wide == filters else np.empty((batch, down, across, wide), np.float32)
    # One panel's rows lie one after the other: rows of a wide matrix, far apart, would push each
    # other out of the cache (2 KB apart, all fall into a sixteenth of it).
    panel = np.empty((n, width), np.float32)
    for j in range(0, wide, width):  # a panel for the whole batch: it stays in the cache
        for r in range(rows):
            for c in range(columns):
                for i in range(channels):
                    at = (r * columns + c) * channels + i
                    for k in range(width):
                        panel[at, k] = weight[r, c, i, j + k] if j + k < filters else np.float32(0)
        for b in range(batch):
            _correlate(
                _address(out, b, 0, 0) + 4 * j,
                wide,
                across * wide,
                down,
                across,
                _address(x, b, 0, 0),
                stride * channels,
                stride * x.shape[2] * channels,
                x.shape[2] * channels,
                panel.ctypes.data,
                n,
                width,
                rows,
                block,
            )
    if wide != filters:
        _copy_channels(out, y, filters)


@compiled
def write_weight_gradient(x, dy, stride, gradient, block):
    """Write (rows, columns, channels, filters): dL/d(filters), given x and dL/d(output)."""
    rows, columns, channels, filters = gradient.shape
    batch, down, across, _ = dy.shape
    wide = _whole_blocks(filters)
    right, out = dy, gradient
    if wide != filters:
        right = np.zeros((batch, down, across, wide), np.float32)
        _copy_channels(dy, right, filters)
        out = np.empty((rows, columns, channels, wide), np.float32)
    size = x.shape[1] * x.shape[2] * channels
    lines = min(down, max(1, CHUNK // across))  # of an image at a time,
    images = max(1, CHUNK // (down * across))  # or images at a time: what stays in the cache
    together = rows if gradient.size <= 8192 else 1  # of a filter's rows: likewise
    for first in range(0, rows, together):
        for b in range(0, batch, images):
            for i in range(0, down, lines):
                for r in range(first, first + together):
                    call_add_products(
                        block,
                        out.ctypes.data + 4 * r * columns * channels * wide,
                        wide,
                        0,
                        0,
                        _address(x, b, r + stride * i, 0),
                        1,
                        0,
                        0,
                        size,
                        stride * x.shape[2] * channels,
                        stride * channels,
                        _address(right, b, i, 0),
                        down * across * wide,
                        across * wide,
                        wide,
                        min(images, batch - b),
                        min(lines, down - i),
                        across,
                        b + i > 0,
                        columns * channels,
                        wide,
                    )
    if wide != filters:
        _copy_channels(out, gradient, filters)


@compiled(inline="always")
def _taps(phase, padding, size, stride, length):
    """Return what reaches the input positions phase, phase + stride, ... (below length) along an axis.

    Filter elements first, first + stride, ... (count of them) do; position phase + stride t gets
    element first + stride k from output t + shift - k.  Also return the number of t.
    """
    first = (phase + padding) % stride
    count = max(0, (size - first + stride - 1) // stride)
    shift = (phase + padding - first) // stride
    return first, count, shift, (length - phase + stride - 1) // stride


def margins(length, outputs, size, stride, padding):
    """Return how many zeros `write_input_gradient` wants before and after dy along an axis."""
    return (size - 1) // stride, max(0, (length - 1 + padding) // stride - (outputs - 1))


@compiled
def write_input_gradient(weight, around, stride, padding, dx, block):
    """Write (batch, height, width, channels): dL/dx, given the filters and dL/d(output) with its `margins`.

    Input pixels of one phase, their position modulo the stride, are reached by the same filter
    elements: for each phase this is a correlation of dy with those elements in reverse, at stride 1.
    """
    rows, columns, channels, filters = weight.shape
    batch, height, width, _ = dx.shape
    margin_y, margin_z = (rows - 1) // stride, (columns - 1) // stride
    wide = _whole_blocks(channels)
    panel_width = min(wide, PANEL)
    out = dx if wide == channels else np.empty((batch, height, width, wide), np.float32)
    if min(rows, columns) < stride:  # some pixels are reached by nothing
        clear(out.ctypes.data, out.size)
    panel = np.empty((rows * columns * filters, panel_width), np.float32)
    for phase_y in range(min(stride, height)):
        first_y, count_y, shift_y, times_y = _taps(phase_y, padding, rows, stride, height)
        for phase_z in range(min(stride, width)):
            first_z, count_z, shift_z, times_z = _taps(phase_z, padding, columns, stride, width)
            if count_y == 0 or count_z == 0:
                continue
            top = shift_y - (count_y - 1) + margin_y
            left = shift_z - (count_z - 1) + margin_z
            for j in range(0, wide, panel_width):
                for k in range(count_y):
                    for m in range(count_z):
                        y, z = first_y + stride * (count_y - 1 - k), first_z + stride * (count_z - 1 - m)
                        start = (k * count_z + m) * filters
                        for i in range(panel_width):
                            for f in range(filters):
                                value = weight[y, z, j + i, f] if j + i < channels else np.float32(0)
                                panel[start + f, i] = value
                for b in range(batch):
                    _correlate(
                        _address(out, b, phase_y, phase_z) + 4 * j,
                        stride * wide,
                        stride * width * wide,
                        times_y,
                        times_z,
                        _address(around, b, top, left),
                        filters,
                        around.shape[2] * filters,
                        around.shape[2] * filters,
                        panel.ctypes.data,
                        count_y * count_z * filters,
                        panel_width,
                        count_y,
                        block,
                    )
    if wide != channels:
        _copy_channels(out, dx, channels)


def forward(x, weight, stride, padding):
    """Return (batch, down, across, filters): x correlated with the filters, zeros around x."""
    batch, height, width, _ = x.shape
    rows, columns, _, filters = weight.shape
    down = (height + 2 * padding - rows) // stride + 1
    across = (width + 2 * padding - columns) // stride + 1
    y = np.empty((batch, down, across, filters), np.float32)
    write_forward(padded(x, padding, padding, padding, padding), weight, stride, y, ADD_PRODUCTS.value)
    return y


def weight_gradient(x, dy, rows, columns, stride, padding):
    """Return (rows, columns, channels, filters): dL/d(filters), given x and dL/d(output)."""
    gradient = np.empty((rows, columns, x.shape[3], dy.shape[3]), np.float32)
    image = padded(x, padding, padding, padding, padding)
    write_weight_gradient(image, dy, stride, gradient, ADD_PRODUCTS.value)
    return gradient


def input_gradient(weight, dy, height, width, stride, padding):
    """Return (batch, height, width, channels): dL/dx, given the filters and dL/d(output)."""
    rows, columns, channels, _ = weight.shape
    batch, down, across, _ = dy.shape
    dx = np.empty((batch, height, width, channels), np.float32)
    top, bottom = margins(height, down, rows, stride, padding)
    left, right = margins(width, across, columns, stride, padding)
    around = padded(dy, top, left, bottom, right)
    write_input_gradient(weight, around, stride, padding, dx, ADD_PRODUCTS.value)
    return dx
