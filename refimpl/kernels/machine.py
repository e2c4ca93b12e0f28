"""A small machine that carries out a training step: a list of operations on a few flat vectors.

`refimpl.nn.program` writes the list for a network; here each operation is a few lines that hand the
right parts of the vectors to a kernel.  One call does a whole forward or backward pass, so that a
step costs no more than its arithmetic, and its memory is used again by the next.

*Notation*: m is working memory (activations and their gradients), w the parameters, g their
gradients (laid out as w), s running statistics of batch norm; all float32 (n,).  An operation names
its operands by where they begin.
"""

from typing import NamedTuple

import numpy as np

from refimpl.kernels import direct_convolution as convolution
from refimpl.kernels import fused_passes as passes
from refimpl.kernels import losses, normalization, optimizer_steps, pooling
from refimpl.kernels._compiled import compiled
from refimpl.kernels.float32_codes import Float32Target

(
    CONVOLVE,
    CONVOLVE_BACK_FILTERS,
    CONVOLVE_BACK_INPUT,
    MOMENTS,
    NORMALIZE,
    NORMALIZE_BACK_SUMS,
    NORMALIZE_BACK,
    ROUND,
    ROUND_SUM,
    ADD,
    BIAS,
    BIAS_BACK,
    RELU,
    RELU_BACK,
    IMAGE_MEAN,
    IMAGE_MEAN_BACK,
    MAX_POOL,
    MAX_POOL_BACK,
    LOSS,
    LOSS_BACK,
    PAD,
) = range(21)

OPERATION = np.dtype(
    [
        (name, np.int64)
        for name in (
            "kind",
            "x",
            "y",
            "dy",
            "dx",
            "z",  # in m
            "weight",
            "shift",  # in w and g
            "vectors",  # in m: mean and inverse deviation of each channel
            "running",  # in s: running mean and variance of each channel
            "batch",
            "height",
            "width",
            "channels",
            "filters",
            "size",
            "stride",
            "padding",
            "top",
            "left",
            "bottom",
            "right",  # margins
            "relu",
            "training",
            "site",
            "stream",
            "second_site",
            "second_stream",
        )
    ]
    + [("epsilon", np.float32), ("movement", np.float32)]
)
"""Fields an operation may use; those it does not are 0.

Shapes are those of x, for a convolution without its padding, with which it lies in memory already.
"""

SITE = np.dtype(
    [(name, np.int64) for name in ("how", "role")]
    + [("largest", np.uint32)]
    + list(Float32Target.__annotations__.items())
)
"""How a rounding point rounds: see `refimpl.kernels.fused_passes.Site`; role is a row of counts."""


class Noise(NamedTuple):
    """What the roundings of a pass share."""

    seed: np.uint64
    first_stream: np.uint64
    counts: np.ndarray  # int64 (roles, 3), or (roles, 0) where nobody counts


# Parts of `run`: compiled with it, and not each by itself before that.
_part = compiled(inline="always")


@compiled
def _site(sites, number, stream, noise):
    """Return the Site of a rounding point."""
    t = sites[number]
    target = Float32Target(
        t.dropped,
        t.min_exponent_field,
        t.smallest_subnormal,
        t.max_bits,
        t.overflow_bits,
        t.infinity_bits,
        t.nan_bits,
        t.nan_sign_flip,
        t.nan_sign_mask,
        t.zero_sign_mask,
        t.addend,
        t.scales,
    )
    return passes.Site(
        t.how, target, t.largest, noise.seed, noise.first_stream + np.uint64(stream), noise.counts[t.role]
    )


@compiled
def _image(m, at, batch, height, width, channels):
    return m[at : at + batch * height * width * channels].reshape((batch, height, width, channels))


@compiled
def _rows(m, at, n, channels):
    return m[at : at + n * channels].reshape((n, channels))


@_part
def _convolve(op, m, w, g):
    batch, filters = op.batch, op.filters
    down = (op.height + 2 * op.padding - op.size) // op.stride + 1
    across = (op.width + 2 * op.padding - op.size) // op.stride + 1
    height, width = op.height + 2 * op.padding, op.width + 2 * op.padding
    if op.kind == CONVOLVE:
        x = _image(m, op.x, batch, height, width, op.channels)
        weight = _image(w, op.weight, op.size, op.size, op.channels, filters)
        y = _image(m, op.y, batch, down, across, filters)
        convolution.write_forward(x, weight, op.stride, 0, y)
    elif op.kind == CONVOLVE_BACK_FILTERS:
        x = _image(m, op.x, batch, height, width, op.channels)
        dy = _image(m, op.dy, batch, down, across, filters)
        gradient = _image(g, op.weight, op.size, op.size, op.channels, filters)
        convolution.write_weight_gradient(x, dy, op.stride, 0, gradient)
    else:
        top, bottom = convolution.margins(op.height, down, op.size, op.stride, op.padding)
        left, right = convolution.margins(op.width, across, op.size, op.stride, op.padding)
        dx = _image(m, op.dx, batch, op.height, op.width, op.channels)
        weight = _image(w, op.weight, op.size, op.size, op.channels, filters)
        dy = _image(m, op.dy, batch, down + top + bottom, across + left + right, filters)
        convolution.write_input_gradient(weight, dy, op.stride, op.padding, dx)


@_part
def _moments(op, m, s, site):
    """Round x where it is; write what to normalize by, moving the running statistics in training."""
    n, channels = op.batch * op.height * op.width, op.channels
    x = _rows(m, op.x, n, channels)
    vectors, running = _rows(m, op.vectors, 2, channels), _rows(s, op.running, 2, channels)
    mean, inverse = vectors[0], vectors[1]
    one = np.float32(1)
    if op.training:
        passes.round_and_moments(x, site, mean, inverse)
        correction, step = np.float32(n / max(n - 1, 1)), op.movement
        for k in range(channels):
            variance = inverse[k]
            running[0, k] = (one - step) * running[0, k] + step * mean[k]
            running[1, k] = (one - step) * running[1, k] + step * (variance * correction)
    else:
        passes.round_here(x.reshape(-1), 0, site)
        vectors[:] = running
    for k in range(channels):
        inverse[k] = one / np.sqrt(inverse[k] + op.epsilon)


@_part
def _normalize(op, m, w, g, site):
    n, channels = op.batch * op.height * op.width, op.channels
    x = _rows(m, op.x, n, channels)
    scale, shift = w[op.weight : op.weight + channels], w[op.shift : op.shift + channels]
    dscale, dshift = g[op.weight : op.weight + channels], g[op.shift : op.shift + channels]
    mean = m[op.vectors : op.vectors + channels]
    inverse = m[op.vectors + channels : op.vectors + 2 * channels]
    if op.kind == NORMALIZE:
        y = _rows(m, op.y, n, channels)
        passes.normalize_and_round(x, mean, inverse, scale, shift, op.relu != 0, site, y)
    elif op.kind == NORMALIZE_BACK_SUMS:
        dy, dx = _rows(m, op.dy, n, channels), _rows(m, op.dx, n, channels)
        passes.round_and_gradient_sums(x, dy, mean, inverse, scale, shift, op.relu != 0, site, dx, dscale, dshift)
    else:
        dx = _rows(m, op.dx, n, channels)
        passes.gradient_and_round(x, dx, mean, inverse, scale, dscale, dshift, True, site)


@compiled
def _add_bias(y, bias):
    for i in range(y.shape[0]):
        for k in range(y.shape[1]):
            y[i, k] += bias[k]


@compiled
def _sum_columns(dy, out):
    """Write the float32 sums of the columns of dy, added row after row."""
    out[:] = dy[0]
    for i in range(1, dy.shape[0]):
        for k in range(dy.shape[1]):
            out[k] += dy[i, k]


@compiled
def _relu(x, y):
    for i in range(x.size):
        y[i] = np.float32(0) if x[i] < np.float32(0) else x[i]  # a NaN stays one


@compiled
def _relu_back(y, dy, dx):
    for i in range(y.size):
        dx[i] = dy[i] * (np.float32(1) if y[i] > np.float32(0) else np.float32(0))


@compiled
def _add(x, z, y):
    for i in range(x.size):
        y[i] = x[i] + z[i]


@_part
def _simple(op, m, w, g):
    """Carry out what is neither a convolution nor rounds."""
    pixels, channels = op.height * op.width, op.channels
    n = op.batch * pixels
    size = n * channels
    if op.kind == PAD:
        height, width = op.height + op.top + op.bottom, op.width + op.left + op.right
        x = _image(m, op.x, op.batch, op.height, op.width, channels)
        out = _image(m, op.y, op.batch, height, width, channels)
        convolution.write_padded(x, op.top, op.left, out)
    elif op.kind == ADD:
        _add(m[op.x : op.x + size], m[op.z : op.z + size], m[op.y : op.y + size])
    elif op.kind == BIAS:
        _add_bias(_rows(m, op.y, n, channels), w[op.weight : op.weight + channels])
    elif op.kind == BIAS_BACK:
        _sum_columns(_rows(m, op.dy, n, channels), g[op.weight : op.weight + channels])
    elif op.kind == RELU:
        _relu(m[op.x : op.x + size], m[op.y : op.y + size])
    elif op.kind == RELU_BACK:
        _relu_back(m[op.y : op.y + size], m[op.dy : op.dy + size], m[op.dx : op.dx + size])
    elif op.kind == IMAGE_MEAN or op.kind == IMAGE_MEAN_BACK:
        means = _rows(m, op.y if op.kind == IMAGE_MEAN else op.dy, op.batch, channels)
        if op.kind == IMAGE_MEAN:
            x = m[op.x : op.x + size].reshape((op.batch, pixels, channels))
            normalization.write_image_means(x, means)
        else:
            dx = m[op.dx : op.dx + size].reshape((op.batch, pixels, channels))
            normalization.write_image_means_gradient(means, dx)
    else:
        x = _image(m, op.x, op.batch, op.height, op.width, channels)
        down, across = op.height // op.size, op.width // op.size
        if op.kind == MAX_POOL:
            pooling.max_pool(x, op.size, _image(m, op.y, op.batch, down, across, channels))
        else:
            dy = _image(m, op.dy, op.batch, down, across, channels)
            dx = _image(m, op.dx, op.batch, op.height, op.width, channels)
            pooling.max_pool_gradient(x, dy, op.size, dx)


@compiled
def run(operations, m, w, g, s, sites, noise, labels, scale):
    """Carry out operations in order; the loss is that of labels (int64 (batch,)), times scale on the way back."""
    for i in range(operations.size):
        op = operations[i]
        if op.kind <= CONVOLVE_BACK_INPUT:
            _convolve(op, m, w, g)
        elif op.kind == MOMENTS:
            _moments(op, m, s, _site(sites, op.site, op.stream, noise))
        elif op.kind <= NORMALIZE_BACK:
            _normalize(op, m, w, g, _site(sites, op.site, op.stream, noise))
        elif op.kind == ROUND:
            size = op.batch * op.height * op.width * op.channels
            site = _site(sites, op.site, op.stream, noise)
            passes.round_part(m[op.x : op.x + size], m[op.y : op.y + size], 0, site)
        elif op.kind == ROUND_SUM:
            size = op.batch * op.height * op.width * op.channels
            first = _site(sites, op.site, op.stream, noise)
            second = _site(sites, op.second_site, op.second_stream, noise)
            passes.round_sum(m[op.x : op.x + size], m[op.z : op.z + size], m[op.y : op.y + size], first, second)
        elif op.kind == LOSS:
            m[op.y] = losses.cross_entropy(_rows(m, op.x, op.batch, op.channels), labels)
        elif op.kind == LOSS_BACK:
            dx = _rows(m, op.dx, op.batch, op.channels)
            losses.cross_entropy_gradient(_rows(m, op.x, op.batch, op.channels), labels, scale, dx)
        else:
            _simple(op, m, w, g)


@compiled
def sgd(
    gradient, accumulator, weights, velocity, unscale, before, rate, momentum, decay, first, nesterov, sites, noise
):
    """Take a step of `refimpl.kernels.optimizer_steps.sgd` with its roundings, in one pass.

    The gradient (overwritten) is multiplied by `unscale` before its rounding, or after it.
    sites: of gradient, accumulator, weights and velocity, which draw streams in this order.
    """
    streams = np.cumsum(np.array([0, sites[0].how > 0, sites[1].how > 0, sites[2].how > 0]))
    scratch = np.empty((3, min(passes.CHUNK, gradient.size)), np.float32)
    for start in range(0, gradient.size, passes.CHUNK):
        part = slice(start, min(start + passes.CHUNK, gradient.size))
        g, w, v, copy = gradient[part], accumulator[part], velocity[part], weights[part]
        r, n, u = scratch[0, : g.size], scratch[1, : g.size], scratch[2, : g.size]
        if before:
            g *= unscale
        passes.round_part(g, r, start, _site(sites, 0, streams[0], noise))
        if not before:
            r *= unscale
        optimizer_steps.sgd(w, r, v, n, u, rate, momentum, decay, first, nesterov)
        u += w
        passes.round_part(u, w, start, _site(sites, 1, streams[1], noise))
        passes.round_part(w, copy, start, _site(sites, 2, streams[2], noise))
        passes.round_part(n, v, start, _site(sites, 3, streams[3], noise))
