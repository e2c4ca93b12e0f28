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
def cross_entropy(logits, labels, out):
    """Write the mean over the batch of -log softmax(logits)[label], computed in float64, into out (float32 (1,))."""
    batch, classes = logits.shape
    exponentials, loss = np.empty(classes), 0.0
    for i in range(batch):
        total = _exponentials(logits[i], exponentials)
        largest = np.float64(logits[i, 0])
        for k in range(1, classes):
            largest = max(largest, np.float64(logits[i, k]))
        loss += np.log(total) - (np.float64(logits[i, labels[i]]) - largest)
    out[0] = loss / batch


@compiled
def cross_entropy_gradient(logits, labels, scale, dx):
    """Write the gradient of scale[0] (float64) times the loss into dx."""
    batch, classes = logits.shape
    exponentials, factor = np.empty(classes), scale[0] / batch
    for i in range(batch):
        total = _exponentials(logits[i], exponentials)
        for k in range(classes):
            probability = exponentials[k] / total
            if k == labels[i]:
                probability -= 1.0
            dx[i, k] = probability * factor
