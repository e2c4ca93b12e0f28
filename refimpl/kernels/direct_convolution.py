"""Convolution of float32 images without patches; the plain road is `refimpl.kernels.convolution`.

Images are (batch, height, width, channels), filters (rows, columns, in, out).  Every output is one
chain of fused multiply-adds (`refimpl.kernels.tiles`) in a stated order, so the same bits come out
on every machine that has or imitates that instruction, that is, on every machine:

    forward          sums over filter rows, columns, channels
    weight gradient  sums over images, rows and columns of dy
    input gradient   sums over filter rows and columns, each backwards, then filters

starting from +0.  Columns go to the blocks sixteen at a time: where filters (or, for the input
gradient, channels) are no multiple of 16, the last block works on zeros and is cut off.
"""

import numpy as np

from refimpl.kernels._compiled import compiled
from refimpl.kernels.memory import clear, copy
from refimpl.kernels.tiles import LANES, WIDE, add_products, add_products_of_lines

PANEL = 2 * LANES  # columns (filters, or channels of the input gradient) worked on at a time
CHUNK = 128  # pixels whose part in the filters' gradient is summed at a time

_ONE = np.int64(1)


@compiled
def whole_blocks(n):
    """Return 16, or n rounded up to a multiple of 32."""
    return LANES if n <= LANES else (n + PANEL - 1) // PANEL * PANEL


@compiled
def widen(matrix):
    """Return a C-ordered (n, m) matrix with zero columns added to whole blocks; itself if it has them."""
    n, m = matrix.shape
    wide = whole_blocks(m)
    if wide == m:
        return matrix
    out = np.zeros((n, wide), np.float32)
    out[:, :m] = matrix
    return out


@compiled
def panels(matrix):
    """Return an (n, m) matrix as (m / 32, n, 32), or (1, n, 16), columns of zeros added.

    One panel's rows lie one after the other: rows of a wide matrix, far apart, would push each
    other out of the cache (2 KB apart, all fall into a sixteenth of it).
    """
    n, m = matrix.shape
    wide = whole_blocks(m)
    width = min(wide, PANEL)
    out = np.zeros((wide // width, n, width), np.float32)
    for j in range(wide // width):
        last = min(width, m - j * width)
        for i in range(n):
            for k in range(last):
                out[j, i, k] = matrix[i, j * width + k]
    return out


@compiled
def pad(x, top, left, bottom, right):
    """Return images with rows and columns of zeros around them; themselves if none are asked for."""
    batch, height, width, channels = x.shape
    if top == 0 and left == 0 and bottom == 0 and right == 0:
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


@compiled
def _address(x, b, y, z):
    """Return the address of pixel (y, z) of image b."""
    _, height, width, channels = x.shape
    return x.ctypes.data + 4 * channels * ((b * height + y) * width + z)


@compiled
def _correlate(out, out_step, out_line, down, across, image, step, line, image_line, panel, rows):
    """Correlate one image with a panel of filters: `down` lines of `across` outputs.

    Addresses of the first output and of the corner it sees; strides in elements, from output to
    output and from line to line (`image_line`: to the next line of the image); panel: (n, columns),
    n elements of `rows` lines of a filter.
    """
    n, columns = panel.shape
    right, length = panel.ctypes.data, n // rows
    wide = columns == PANEL
    # Lines of eight or four do not fill a block, whose rows come in fours: take 2 or 4 at once.
    together = (8 if wide else 16) // across if WIDE and (across == 4 or across == 8) else 1
    far, farther = (1, 2) if across == 4 else (0, 1)  # in lines; 0: the fours of a line of eight
    i = 0
    while i < down:
        c, a = out + 4 * out_line * i, image + 4 * line * i
        if 1 < together <= down - i:
            add_products_of_lines(
                c,
                out_step,
                far * out_line + (1 - far) * 4 * out_step,
                farther * out_line,
                a,
                step,
                far * line + (1 - far) * 4 * step,
                farther * line,
                image_line,
                _ONE,
                right,
                length * columns,
                columns,
                rows,
                length,
                wide,
            )
            i += together
            continue
        add_products(
            c,
            out_step,
            a,
            step,
            0,
            image_line,
            _ONE,
            right,
            0,
            length * columns,
            columns,
            1,
            rows,
            length,
            False,
            across,
            columns,
        )
        i += 1


def forward(x, weight, stride, padding):
    """Return (batch, down, across, filters): x correlated with the filters, zeros around x."""
    batch, height, width, channels = x.shape
    rows, columns, _, filters = weight.shape
    down = (height + 2 * padding - rows) // stride + 1
    across = (width + 2 * padding - columns) // stride + 1
    y = np.empty((batch, down, across, filters), np.float32)
    write_forward(x, weight, stride, padding, y)
    return y


@compiled
def write_forward(x, weight, stride, padding, y):
    """Do as `forward`, into y."""
    channels = x.shape[3]
    batch, down, across, filters = y.shape
    rows, columns = weight.shape[:2]
    image = pad(x, padding, padding, padding, padding)
    right = panels(weight.reshape(rows * columns * channels, filters))
    width = right.shape[2]
    wide = width * right.shape[0]
    out = y if wide == filters else np.empty((batch, down, across, wide), np.float32)
    for j in range(right.shape[0]):  # a panel for the whole batch: it stays in the cache
        for b in range(batch):
            _correlate(
                _address(out, b, 0, 0) + 4 * width * j,
                wide,
                across * wide,
                down,
                across,
                _address(image, b, 0, 0),
                stride * channels,
                stride * image.shape[2] * channels,
                image.shape[2] * channels,
                right[j],
                rows,
            )
    if wide != filters:
        y[:] = out[:, :, :, :filters]


def weight_gradient(x, dy, rows, columns, stride, padding):
    """Return (rows, columns, channels, filters): dL/d(filters), given x and dL/d(output)."""
    gradient = np.empty((rows, columns, x.shape[3], dy.shape[3]), np.float32)
    write_weight_gradient(x, dy, stride, padding, gradient)
    return gradient


@compiled
def write_weight_gradient(x, dy, stride, padding, gradient):
    """Do as `weight_gradient`, into `gradient`."""
    rows, columns, channels, filters = gradient.shape
    batch, down, across, _ = dy.shape
    image = pad(x, padding, padding, padding, padding)
    right = widen(dy.reshape(-1, filters))
    wide = right.shape[1]
    right = right.reshape(batch, down, across, wide)
    flat = gradient.reshape(rows * columns * channels, filters)
    size = image.shape[1] * image.shape[2] * channels
    out = flat if wide == filters else np.empty((rows * columns * channels, wide), np.float32)
    lines = min(down, max(1, CHUNK // across))  # of an image at a time,
    images = max(1, CHUNK // (down * across))  # or so many images: what stays in the cache
    together = rows if gradient.size <= 8192 else 1  # of a filter's rows: likewise
    for first in range(0, rows, together):
        for b in range(0, batch, images):
            for i in range(0, down, lines):
                for r in range(first, first + together):
                    add_products(
                        out.ctypes.data + 4 * r * columns * channels * wide,
                        wide,
                        _address(image, b, r + stride * i, 0),
                        _ONE,
                        size,
                        stride * image.shape[2] * channels,
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
        flat[:] = out[:, :filters]


@compiled
def _taps(phase, padding, size, stride, length):
    """Return what reaches the input positions phase, phase + stride, ... (below length) along an axis.

    Filter elements first, first + stride, ... (count of them) do; position phase + stride t gets
    element first + stride k from output t + shift - k.  Also return the number of t.
    """
    first = (phase + padding) % stride
    count = max(0, (size - first + stride - 1) // stride)
    shift = (phase + padding - first) // stride
    return first, count, shift, (length - phase + stride - 1) // stride


def input_gradient(weight, dy, height, width, stride, padding):
    """Return (batch, height, width, channels): dL/dx, given the filters and dL/d(output).

    Input pixels of one phase, their position modulo the stride, are reached by the same filter
    elements: for each phase this is a correlation of dy with those elements in reverse, at stride 1.
    """
    rows, columns, channels, _ = weight.shape
    batch, down, across, _ = dy.shape
    dx = np.empty((batch, height, width, channels), np.float32)
    top, bottom = margins(height, down, rows, stride, padding)
    left, right = margins(width, across, columns, stride, padding)
    write_input_gradient(weight, pad(dy, top, left, bottom, right), stride, padding, dx)
    return dx


@compiled
def margins(length, outputs, size, stride, padding):
    """Return how many zeros `write_input_gradient` wants before and after dy along an axis."""
    return (size - 1) // stride, max(0, (length - 1 + padding) // stride - (outputs - 1))


@compiled
def _turned_panels(weight, first_y, count_y, first_z, count_z, stride):
    """Return the elements first, first + stride, ... of a filter, backwards, as `panels` of (filters, channels)."""
    _, _, channels, filters = weight.shape
    wide = whole_blocks(channels)
    width = min(wide, PANEL)
    out = np.zeros((wide // width, count_y * count_z * filters, width), np.float32)
    for k in range(count_y):
        for m in range(count_z):
            element = weight[first_y + stride * (count_y - 1 - k), first_z + stride * (count_z - 1 - m)]
            start = (k * count_z + m) * filters
            for channel in range(channels):
                panel, column = out[channel // width], channel % width
                for f in range(filters):
                    panel[start + f, column] = element[channel, f]
    return out


@compiled
def write_input_gradient(weight, around, stride, padding, dx):
    """Do as `input_gradient`, into dx, given dy with its margins."""
    rows, columns, channels, filters = weight.shape
    batch, height, width, _ = dx.shape
    margin_y, margin_z = (rows - 1) // stride, (columns - 1) // stride
    wide = whole_blocks(channels)
    out = dx if wide == channels else np.empty((batch, height, width, wide), np.float32)
    if min(rows, columns) < stride:  # some pixels are reached by nothing
        out[:] = 0
    for phase_y in range(min(stride, height)):
        first_y, count_y, shift_y, times_y = _taps(phase_y, padding, rows, stride, height)
        for phase_z in range(min(stride, width)):
            first_z, count_z, shift_z, times_z = _taps(phase_z, padding, columns, stride, width)
            if count_y == 0 or count_z == 0:
                continue
            right = _turned_panels(weight, first_y, count_y, first_z, count_z, stride)
            block = right.shape[2]
            top = shift_y - (count_y - 1) + margin_y
            left = shift_z - (count_z - 1) + margin_z
            for j in range(right.shape[0]):
                for b in range(batch):
                    _correlate(
                        _address(out, b, phase_y, phase_z) + 4 * block * j,
                        stride * wide,
                        stride * width * wide,
                        times_y,
                        times_z,
                        _address(around, b, top, left),
                        filters,
                        around.shape[2] * filters,
                        around.shape[2] * filters,
                        right[j],
                        count_y,
                    )
    if wide != channels:
        dx[:] = out[:, :, :, :channels]
