"""Batch norm and the loss with every operation rounded to a format, sums as an `Accumulator` says.

*Notation*: Q rounds to the nearest value of the format.  An operation on values of a format of at most 24
bits is computed in float64 and rounded again, which is rounding once: float64 has more than twice the bits.
exp and log are as exact as the machine's.
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
def cross_entropy(logits, *, labels, how: Accumulator):
    """Mean over the batch of log(sum(exp(logits - largest))) - (logits - largest)[label]."""
    q, batch = Calculator(how), np.arange(len(labels))
    above = q.subtract(logits, logits.max(axis=1, keepdims=True))
    exponentials = q.apply(np.exp, above)
    totals = q.sum(exponentials.T)
    losses = q.subtract(q.apply(np.log, totals), above[batch, labels])

    def vjp(dy):
        probabilities = q.divide(exponentials, totals[:, None])
        probabilities[batch, labels] = q.subtract(probabilities[batch, labels], 1)
        return (q.multiply(probabilities, q.divide(dy, q.round(len(labels)))),)

    return q.mean(losses[:, None])[0], vjp
