"""Normalization, softmax, GELU, means, the loss and optimizers with every operation rounded to a format.

Sums run as an `Accumulator` says, constants (epsilon, 1/sqrt(d), a learning rate) are rounded first, and functions
stand in the order of their plain counterparts in `refimpl.autodiff` and `refimpl.nn.engine.optimizer_steps`.

*Notation*: Q rounds to the nearest value of the format.  An operation on values of a format of at most 24
bits is computed in float64 and rounded again, which is rounding once: float64 has more than twice the bits.
exp, log and tanh are the machine's of float64, rounded once: where the machine's last bit is wrong, so can Q's be,
about once in 2^(53 - p) values, p the bits of the format's significand.
"""

from __future__ import annotations

import numpy as np

from refimpl import ops
from refimpl.autodiff.tensor import primitive
from refimpl.nn.precision import Accumulator
from refimpl.nn.products import sums_of_products


class Calculator:
    """The operations of a format on float32 arrays, which broadcast; each rounds its result.

    >>> float(Calculator(Accumulator(format="float16")).mean(np.ones((4096, 1), np.float32))[0])
    0.5
    """

    def __init__(self, how: Accumulator):
        self.how = how

    def round(self, x) -> np.ndarray:
        """Return Q(x)."""
        return ops.quantize(np.asarray(x, np.float64), self.how.format).astype(np.float32)

    def add(self, a, b) -> np.ndarray:
        """Return Q(a + b)."""
        return self.round(np.float64(a) + b)

    def subtract(self, a, b) -> np.ndarray:
        """Return Q(a - b)."""
        return self.round(np.float64(a) - b)

    def multiply(self, a, b) -> np.ndarray:
        """Return Q(a b)."""
        return self.round(np.float64(a) * b)

    def divide(self, a, b) -> np.ndarray:
        """Return Q(a / b)."""
        return self.round(np.float64(a) / b)

    def apply(self, function, x) -> np.ndarray:
        """Return Q(function(x)), of a NumPy function."""
        return self.round(function(np.float64(x)))

    def sum(self, rows: np.ndarray) -> np.ndarray:
        """Return the sums of columns, added up row after row."""
        return sums_of_products(np.ones((1, len(rows)), np.float32), rows, self.how)[0]

    def mean(self, rows: np.ndarray) -> np.ndarray:
        """Return Q(sum / n), n rounded too."""
        return self.divide(self.sum(rows), self.round(len(rows)))


def moments(x: np.ndarray, q: Calculator) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and variance over all axes but the last, by the mean of squares of what is left of the mean."""
    rows = x.reshape(-1, x.shape[-1])
    mean = q.mean(rows)
    centred = q.subtract(rows, mean)
    return mean, q.mean(q.multiply(centred, centred))


@primitive
def normalize(x, scale, shift, *, mean, variance, of_batch: bool, epsilon: float, how: Accumulator):
    """Normalize as `refimpl.autodiff.primitives.normalize` does."""
    q, rows = Calculator(how), x.reshape(-1, x.shape[-1])
    inverse = q.divide(1, q.apply(np.sqrt, q.add(variance, q.round(epsilon))))
    hat = q.multiply(q.subtract(rows, mean), inverse)

    def vjp(dy):
        dy = dy.reshape(rows.shape)
        products = q.multiply(dy, hat)
        dscale, dshift = q.sum(products), q.sum(dy)
        if of_batch:
            dy = q.subtract(dy, q.divide(dshift, q.round(len(rows))))
            dy = q.subtract(dy, q.multiply(hat, q.divide(dscale, q.round(len(rows)))))
        return q.multiply(q.multiply(scale, inverse), dy).reshape(x.shape), dscale, dshift

    return q.add(q.multiply(hat, scale), shift).reshape(x.shape), vjp


@primitive
def layer_norm(x, scale, shift, *, epsilon: float, how: Accumulator):
    """Normalize vectors as `refimpl.autodiff.primitives.layer_norm` does."""
    q, rows = Calculator(how), x.reshape(-1, x.shape[-1])

    def mean(of):
        return q.mean(of.T)[:, None]

    centred = q.subtract(rows, mean(rows))
    variance = mean(q.multiply(centred, centred))
    inverse = q.divide(1, q.apply(np.sqrt, q.add(variance, q.round(epsilon))))
    hat = q.multiply(centred, inverse)

    def vjp(dy):
        dy = dy.reshape(rows.shape)
        dhat = q.multiply(dy, scale)
        dx = q.subtract(dhat, mean(dhat))
        dx = q.multiply(q.subtract(dx, q.multiply(hat, mean(q.multiply(dhat, hat)))), inverse)
        return dx.reshape(x.shape), q.sum(q.multiply(dy, hat)), q.sum(dy)

    return q.add(q.multiply(hat, scale), shift).reshape(x.shape), vjp


@primitive
def softmax(x, *, scale: float, causal: bool, how: Accumulator):
    """Multiply scores by a scale, then take `refimpl.autodiff.primitives.softmax` of them."""
    q = Calculator(how)
    factor, seen = q.round(scale), np.tri(x.shape[-1], dtype=bool) if causal else np.True_
    scaled = q.multiply(x, factor)
    above = q.subtract(scaled, np.where(seen, scaled, -np.inf).max(axis=-1, keepdims=True))
    exponentials = q.apply(np.exp, np.where(seen, above, -np.inf))

    def total(of):
        return q.sum(of.reshape(-1, of.shape[-1]).T).reshape(*of.shape[:-1], 1)

    y = q.divide(exponentials, total(exponentials))

    def vjp(dy):
        return (q.multiply(q.multiply(y, q.subtract(dy, total(q.multiply(dy, y)))), factor),)

    return y, vjp


@primitive
def gelu(x, *, how: Accumulator):
    """((x / 2) (1 + tanh(c (x + d x x x)))), as `refimpl.autodiff.primitives.gelu`, products from left to right."""
    q = Calculator(how)
    c, d = q.round(np.sqrt(2 / np.pi)), q.round(0.044715)
    t = q.apply(np.tanh, q.multiply(c, q.add(x, q.multiply(q.multiply(q.multiply(d, x), x), x))))

    def vjp(dy):
        slope = q.multiply(c, q.add(1, q.multiply(q.multiply(q.multiply(3, d), x), x)))
        bend = q.multiply(q.multiply(x, q.subtract(1, q.multiply(t, t))), slope)
        return (q.multiply(q.multiply(dy, 0.5), q.add(q.add(1, t), bend)),)

    return q.multiply(q.multiply(0.5, x), q.add(1, t)), vjp


@primitive
def mean(x, *, how: Accumulator):
    """Mean over all axes but the first and the last: of an image's pixels, of a sequence's places."""
    q, places = Calculator(how), x.reshape(len(x), -1, x.shape[-1])
    count = q.round(places.shape[1])
    totals = q.sum(np.moveaxis(places, 1, 0).reshape(places.shape[1], -1)).reshape(len(x), -1)

    def vjp(dy):
        return (np.broadcast_to(q.divide(dy, count)[:, None], places.shape).reshape(x.shape),)

    return q.divide(totals, count), vjp


@primitive
def cross_entropy(logits, *, labels, how: Accumulator):
    """Mean over all labels of log(sum(exp(logits - largest))) - (logits - largest)[label]."""
    q, labels = Calculator(how), labels.reshape(-1)
    batch, shape = np.arange(len(labels)), logits.shape
    logits = logits.reshape(-1, shape[-1])
    above = q.subtract(logits, logits.max(axis=1, keepdims=True))
    exponentials = q.apply(np.exp, above)
    totals = q.sum(exponentials.T)
    losses = q.subtract(q.apply(np.log, totals), above[batch, labels])

    def vjp(dy):
        probabilities = q.divide(exponentials, totals[:, None])
        probabilities[batch, labels] = q.subtract(probabilities[batch, labels], 1)
        return (q.multiply(probabilities, q.divide(dy, q.round(len(labels)))).reshape(shape),)

    return q.mean(losses[:, None])[0], vjp


def sgd(q: Calculator, weights, gradient, velocity, rate, momentum, decay, first: bool, nesterov: bool):
    """Return the new velocity and the update of `refimpl.nn.engine.optimizer_steps.sgd`."""
    rate, momentum, decay = map(q.round, (rate, momentum, decay))
    d = q.add(gradient, q.multiply(decay, weights))
    new = d if first else q.add(q.multiply(momentum, velocity), d)
    return new, -q.multiply(rate, q.add(d, q.multiply(momentum, new)) if nesterov else new)


def adam(
    q: Calculator, weights, gradient, mean, square, rate, beta1, beta2, epsilon, decay, decoupled: bool, step: int
):
    """Return new mean, new square and the update of `refimpl.nn.engine.optimizer_steps.adam`.

    The corrections of the step-th step (from 1) are computed on the host, as everywhere, and rounded.
    """
    correction1, correction2 = q.round(1 - beta1**step), q.round((1 - beta2**step) ** 0.5)
    rate, beta1, beta2, epsilon, decay = map(q.round, (rate, beta1, beta2, epsilon, decay))
    g = q.round(gradient) if decoupled else q.add(gradient, q.multiply(decay, weights))
    new = q.add(q.multiply(beta1, mean), q.multiply(q.subtract(1, beta1), g))
    squares = q.add(q.multiply(beta2, square), q.multiply(q.subtract(1, beta2), q.multiply(g, g)))
    below = q.add(q.divide(q.apply(np.sqrt, squares), correction2), epsilon)
    update = -q.divide(q.multiply(q.divide(rate, correction1), new), below)
    if decoupled:
        update = q.subtract(update, q.multiply(q.multiply(rate, decay), weights))
    return new, squares, update
