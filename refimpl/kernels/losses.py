"""Softmax cross-entropy, in float64: the last bit of a machine's exp and log, where they differ, is rounded away.

*Notation*: logits (batch, classes), float32 or float64; labels int64 (batch,).
"""

import numpy as np

from refimpl.kernels._compiled import compiled


@compiled
def _exponentials(row, out):
    """Write exp(row - its largest) in float64; return the sum."""
    largest = np.float64(row[0])
    for k in range(1, row.size):
        largest = max(largest, np.float64(row[k]))
    total = 0.0
    for k in range(row.size):
        out[k] = np.exp(np.float64(row[k]) - largest)
        total += out[k]
    return total


@compiled
def cross_entropy(logits, labels):
    """Return the mean over the batch of -log softmax(logits)[label], float64."""
    batch, classes = logits.shape
    shares, loss = np.empty(classes), 0.0
    for i in range(batch):
        total = _exponentials(logits[i], shares)
        largest = np.float64(logits[i, 0])
        for k in range(1, classes):
            largest = max(largest, np.float64(logits[i, k]))
        loss += np.log(total) - (np.float64(logits[i, labels[i]]) - largest)
    return loss / batch


@compiled
def cross_entropy_gradient(logits, labels, dy, dx):
    """Write dL/d(logits) into dx, given dL/d(loss)."""
    batch, classes = logits.shape
    shares, factor = np.empty(classes), dy / batch
    for i in range(batch):
        total = _exponentials(logits[i], shares)
        for k in range(classes):
            share = shares[k] / total
            if k == labels[i]:
                share -= 1.0
            dx[i, k] = share * factor
