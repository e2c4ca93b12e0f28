"""Sums asked to be exact are: rounded once from the true sum, and the same in any order."""

from fractions import Fraction

import numpy as np
import pytest

import refimpl as rf
from refimpl.autodiff import Tensor
from refimpl.autodiff import primitives as p
from refimpl.formats.floats import to_float32
from refimpl.nn.exactness import most_exact_terms

RNG = np.random.default_rng(0)


def in_format(shape, name):
    x = (RNG.standard_normal(shape) * 50).astype(np.float32)
    return rf.quantize(x, name, overflow="saturate")


def test_products_are_the_true_sums_rounded_once():
    a, b = in_format((3, 200), "e4m3"), in_format((200, 4), "e4m3")
    found = p.matmul(a, b, exact=True).data
    for i in range(3):
        for j in range(4):
            true = sum(
                (Fraction(float(x)) * Fraction(float(y)) for x, y in zip(a[i], b[:, j], strict=True)), Fraction(0)
            )
            assert found[i, j] == to_float32(true)


def test_exact_sums_do_not_depend_on_the_order_and_float32_sums_do():
    x, w = in_format((2, 7, 7, 64), "e4m3"), in_format((3, 3, 64, 8), "e4m3")
    order = RNG.permutation(64)

    def both(exact):
        return [p.convolve(x[..., o], w[:, :, o], padding=1, exact=exact).data for o in (np.arange(64), order)]

    assert np.array_equal(*both(True)) and not np.array_equal(*both(False))


def test_gradients_are_exact_sums_too():
    x, w = in_format((2, 5, 5, 16), "e4m3"), in_format((3, 3, 16, 4), "e4m3")
    dy = in_format((2, 5, 5, 4), "e4m2")
    found = []
    for flip in (slice(None), slice(None, None, -1)):  # images in the other order
        tensors = [Tensor(a.copy(), requires_grad=True) for a in (x[flip], w)]
        (p.convolve(*tensors, padding=1, exact=True) * Tensor(dy[flip])).sum().backward()
        found.append((tensors[0].grad[flip], tensors[1].grad))
    assert np.array_equal(found[0][0], found[1][0]) and np.array_equal(found[0][1], found[1][1])


@pytest.mark.parametrize("name", ["e3m1", "e3m4", "e4m1", "e4m4", "float8_e4m3fn"])
def test_the_condition_allows_just_the_sums_that_fit_53_bits(name):
    fmt = rf.format(name)
    n = most_exact_terms(name, name)
    unit = Fraction(fmt.smallest_subnormal) ** 2
    assert n * Fraction(fmt.max) ** 2 <= 2**53 * unit < (n + 1) * Fraction(fmt.max) ** 2


def test_training_with_exact_sums_learns_and_repeats_itself():
    task, policy = rf.data.load("digits"), rf.Precision(low="e4m3", high="e8m7")
    runs = [
        rf.nn.fit(rf.nn.cnn(), task, precision=policy, epochs=3, exact_sums=True, layer_by_layer=layer_by_layer)
        for layer_by_layer in (False, True)
    ]
    assert runs[0].test_error == runs[1].test_error < 0.3
    assert runs[0].history[-1]["loss"] == runs[1].history[-1]["loss"]
