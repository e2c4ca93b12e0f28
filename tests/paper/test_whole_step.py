"""Whole training steps agree, bit for bit, with the paper's order of roundings written out in NumPy.

The transcription shares no code with the trainer but the rounding of an array (`rf.quantize`, held
to its definition elsewhere): layers, derivatives, optimizer, order and numbering of the roundings
are here once more.  Products are summed in float64 and rounded once on both sides (exact_sums).
"""

import itertools

import numpy as np
import pytest

import refimpl as rf

f32, f64 = np.float32, np.float64
LOW, HIGH = "e4m3", "e7m9"
STEPS, BATCH, RATE = 3, 16, 0.05


def product(a, b):
    return (a.astype(f64) @ b.astype(f64)).astype(f32)


class Transcription:
    """A perceptron of two layers, trained in the order of PEPPP's released code."""

    def __init__(self, weights, seed, rounding):
        self.weights, self.master_weights, self.buffer = weights, weights.copy(), None
        self.seed, self.rounding, self.count = seed, rounding, itertools.count()

    def q(self, x, name):
        return rf.quantize(
            x, name, rounding=self.rounding, overflow="saturate", seed=self.seed, stream=next(self.count)
        )

    def step(self, images, labels):
        cuts = np.cumsum([64 * 128, 128, 128 * 10])
        w1, b1, w2, b2 = np.split(self.weights, cuts)
        w1, w2 = w1.reshape(64, 128), w2.reshape(128, 10)
        # forward
        x = self.q(images, HIGH).reshape(BATCH, 64)
        before = product(x, w1) + b1
        hidden = self.q(np.where(before > 0, before, f32(0)), LOW)
        logits = self.q(product(hidden, w2) + b2, HIGH)
        # backward, of 1000 times the loss
        z = np.exp(logits.astype(f64) - logits.max(axis=1, keepdims=True))
        shares = z / z.sum(axis=1, keepdims=True)
        shares[np.arange(BATCH), labels] -= 1
        d = self.q((shares * (1000 / BATCH)).astype(f32), HIGH)
        gradient = [None, None, product(hidden.T, d), d.sum(axis=0)]
        d = self.q(product(d, w2.T), LOW)
        d = np.where(before > 0, d, f32(0))
        gradient[:2] = product(x.T, d), d.sum(axis=0)
        # optimizer
        g = self.q(np.concatenate([a.reshape(-1) for a in gradient]) * f32(1 / 1000), LOW)
        d = g + f32(5e-4) * self.master_weights
        self.buffer = d if self.buffer is None else f32(0.9) * self.buffer + d
        self.master_weights = self.q(self.master_weights - f32(RATE) * self.buffer, HIGH)
        self.weights = self.q(self.master_weights, LOW)
        self.buffer = self.q(self.buffer, HIGH)


@pytest.mark.parametrize("rounding", ["stochastic", "ties_to_even"])
def test_training_steps_equal_the_transcription_bit_for_bit(rounding):
    from refimpl.nn.training import EpochRecord, TrainingState

    task = rf.data.load("digits")
    policy = rf.Precision(low=LOW, high=HIGH, rounding=rounding)
    run = TrainingState(rf.nn.mlp(widths=(128,)), task, policy, rf.nn.SGD(), 7, layer_by_layer=False, exact=True)
    theirs = Transcription(run.optimizer.weights.copy(), policy.seed(7), rounding)
    for i in range(STEPS):
        part = slice(i * BATCH, (i + 1) * BATCH)
        run.step(task.train_images[part], task.train_labels[part], RATE, EpochRecord())
        theirs.step(task.train_images[part], task.train_labels[part])
        assert np.array_equal(run.optimizer.master_weights, theirs.master_weights)
        assert np.array_equal(run.optimizer.weights.view(np.uint32), theirs.weights.view(np.uint32))
        assert np.array_equal(run.optimizer.state[0], theirs.buffer)
