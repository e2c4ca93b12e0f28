"""Stochastic gradient descent in low precision, on one flat vector of all parameters."""

from __future__ import annotations

import numpy as np

from refimpl.autodiff import Tensor
from refimpl.nn.precision import Rounder


class SGD:
    """SGD with momentum and weight decay, rounding in the order of QPyTorch's OptimLP.

    With g the gradient of the scaled loss, Q the rounding to a role's format and w the
    accumulator, one step is, in float32:

        g   = Q_weight_gradient(g / loss_scale)
        d   = g + weight_decay * w
        v   = d on the first step, else momentum * v + d
        w   = Q_accumulator(w - rate * v)
        the network's weights = Q_weight(w)
        v   = Q_momentum(v)            after the step: this update used v unrounded

    All parameters are treated alike.  The first forward pass uses the unrounded initial weights.
    *Source*: SOURCES 1.3.
    """

    def __init__(
        self, parameters: list[Tensor], rounder: Rounder, *, momentum: float, weight_decay: float
    ):
        self.parameters, self.rounder = parameters, rounder
        self.momentum, self.weight_decay = np.float32(momentum), np.float32(weight_decay)
        self.weights = np.concatenate([t.data.reshape(-1) for t in parameters])
        self.accumulator = self.weights.copy()
        self.velocity: np.ndarray | None = None
        self._show(self.weights)

    def _show(self, weights: np.ndarray) -> None:
        """Let the network's parameters be views of this vector."""
        start = 0
        for tensor in self.parameters:
            tensor.data = weights[start : start + tensor.data.size].reshape(tensor.shape)
            start += tensor.data.size

    def step(self, rate: float) -> None:
        """Move the weights by the gradients the backward pass has left, and clear those."""
        rounder, w = self.rounder, self.accumulator
        gradient = np.concatenate([t.grad.reshape(-1) for t in self.parameters])
        for tensor in self.parameters:
            tensor.grad = None
        scale = np.float32(1 / rounder.precision.loss_scale)
        gradient = rounder(gradient * scale, "weight gradient")
        direction = gradient + self.weight_decay * w
        if self.velocity is not None:
            direction += self.momentum * self.velocity
        self.accumulator = rounder(w - np.float32(rate) * direction, "accumulator")
        self._show(rounder(self.accumulator, "weight"))
        self.velocity = rounder(direction, "momentum")
