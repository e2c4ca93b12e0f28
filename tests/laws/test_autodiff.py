"""Every derivative agrees with directional finite differences in float64, and the checker bites."""

import numpy as np
import pytest

from refimpl.autodiff import Tensor, check_gradient, primitive
from refimpl.autodiff import primitives as p

RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.standard_normal(shape)


LABELS = np.array([0, 3, 1, 1])
CASES = {
    "add, broadcast": (p.add, normal(3, 4), normal(4)),
    "add, broadcast both ways": (p.add, normal(3, 1), normal(1, 4)),
    "subtract": (p.subtract, normal(2, 3), normal(3)),
    "multiply": (p.multiply, normal(3, 4), normal(3, 1)),
    "divide": (p.divide, normal(3, 4), 2 + abs(normal(4))),
    "exp": (p.exp, normal(5)),
    "log": (p.log, 1 + abs(normal(5))),
    "relu": (p.relu, normal(20)),
    "sum over all": (lambda x: p.sum(x), normal(3, 4)),
    "sum over an axis": (lambda x: p.sum(x, axis=1), normal(3, 4, 2)),
    "mean over two axes": (lambda x: p.mean(x, axis=(1, 2)), normal(2, 3, 3, 4)),
    "reshape": (lambda x: p.reshape(x, shape=(6, 2)), normal(3, 4)),
    "transpose": (lambda x: p.transpose(x, axes=(2, 0, 1)), normal(2, 3, 4)),
    "transpose, axes from the end": (lambda x: p.transpose(x, axes=(-1, 0, 1)), normal(2, 3, 4)),
    "sum over axes from the end": (lambda x: p.sum(x, axis=(-1, 0)), normal(2, 3, 4)),
    "matmul": (p.matmul, normal(5, 3), normal(3, 4)),
    "matmul of a vector": (p.matmul, normal(3), normal(3, 4)),
    "matmul of a stack": (p.matmul, normal(2, 5, 3), normal(3, 4)),
    "convolve": (lambda x, w: p.convolve(x, w, padding=1), normal(2, 5, 4, 3), normal(3, 3, 3, 2)),
    "convolve, strided": (lambda x, w: p.convolve(x, w, stride=2, padding=1), normal(2, 6, 5, 3), normal(3, 3, 3, 4)),
    "convolve, no padding, uneven filter": (
        lambda x, w: p.convolve(x, w, stride=2),
        normal(1, 7, 6, 2),
        normal(2, 3, 2, 3),
    ),
    "normalize by the batch": (
        lambda x, g, b: p.normalize(
            x, g, b, **dict(zip(("mean", "variance"), p.moments(x.data), strict=True)), of_batch=True
        ),
        normal(4, 3, 3, 2),
        normal(2),
        normal(2),
    ),
    "normalize by constants": (
        lambda x, g, b: p.normalize(x, g, b, mean=np.array([0.5, 1.0]), variance=np.array([2.0, 3.0]), of_batch=False),
        normal(6, 2),
        normal(2),
        normal(2),
    ),
    "normalize by the batch, then relu": (
        lambda x, g, b: p.relu(
            p.normalize(x, g, b, **dict(zip(("mean", "variance"), p.moments(x.data), strict=True)), of_batch=True)
        ),
        normal(4, 3, 3, 2),
        normal(2),
        normal(2),
    ),
    "cross_entropy": (lambda z: p.cross_entropy(z, labels=LABELS), normal(4, 5)),
    "cross_entropy, of places": (lambda z: p.cross_entropy(z, labels=LABELS.reshape(2, 2)), normal(2, 2, 5)),
    "sqrt": (p.sqrt, 1 + abs(normal(5))),
    "tanh": (p.tanh, normal(5)),
    "sigmoid": (p.sigmoid, 5 * normal(9)),
    "gelu": (p.gelu, 3 * normal(9)),
    "maximum, broadcast": (p.maximum, normal(4, 3), normal(3)),
    "max over an axis": (lambda x: p.max(x, axis=1), normal(3, 4, 2)),
    "index, some twice": (lambda x: p.index(x, at=np.array([0, 2, 0])), normal(3, 4)),
    "index, a slice": (lambda x: x[1:, ::2], normal(3, 4)),
    "concatenate": (lambda a, b: p.concatenate(a, b, axis=1), normal(3, 2), normal(3, 4)),
    "embedding": (lambda t: p.embedding(t, tokens=np.array([[0, 4], [4, 4]])), normal(5, 3)),
    "matmul of two stacks": (p.matmul, normal(2, 5, 3), normal(2, 3, 4)),
    "softmax": (p.softmax, normal(2, 3, 5)),
    "softmax, causal": (lambda x: p.softmax(x, causal=True), normal(2, 4, 4)),
    "layer_norm": (p.layer_norm, normal(2, 3, 5), normal(5), normal(5)),
    "convolve, grouped": (
        lambda x, w: p.convolve(x, w, stride=2, padding=1, groups=2),
        normal(2, 5, 4, 6),
        normal(3, 3, 3, 4),
    ),
    "convolve, a filter for each channel": (
        lambda x, w: p.convolve(x, w, stride=2, padding=2, groups=3),
        normal(2, 6, 5, 3),
        normal(3, 2, 1, 3),
    ),
    "max_pool": (lambda x: p.max_pool(x, size=2, stride=2), normal(2, 5, 4, 3)),
    "max_pool, overlapping": (lambda x: p.max_pool(x, size=3, stride=2), normal(2, 7, 8, 3)),
    "image_mean": (p.image_mean, normal(2, 5, 4, 3)),
    "average_pool": (lambda x: p.average_pool(x, size=2, stride=2), normal(2, 5, 4, 3)),
    "average_pool, overlapping": (lambda x: p.average_pool(x, size=3, stride=1), normal(1, 5, 4, 3)),
}


@pytest.mark.parametrize("name", CASES)
def test_backward_agrees_with_finite_differences(name):
    function, *inputs = CASES[name]
    for seed in range(3):
        check_gradient(function, *inputs, seed=seed)


def test_every_primitive_is_in_the_list_of_cases():
    covered = {name.split(",")[0].split(" ")[0] for name in CASES}
    covered.add("rounded")  # checked below: it has no derivative
    assert set(p.TABLE) == covered


@pytest.mark.parametrize("factor", [1.001, -1.0, 0.0])
def test_the_checker_complains_about_a_wrong_derivative(factor):
    @primitive
    def square(x):
        return x * x, lambda dy: (factor * 2 * x * dy,)

    with pytest.raises(AssertionError, match="relative difference"):
        check_gradient(square, normal(5), seed=0)


def test_the_checker_complains_about_a_gradient_for_the_wrong_input():
    @primitive
    def swapped(a, b):
        return a * b, lambda dy: (dy * a, dy * b)

    with pytest.raises(AssertionError):
        check_gradient(swapped, normal(5), normal(5), seed=0)


def test_the_checker_complains_about_nan():
    with np.errstate(invalid="ignore"), pytest.raises(AssertionError, match="numeric|nan"):
        check_gradient(p.log, -np.ones(2), seed=0)


def test_the_checker_complains_about_a_gradient_that_never_arrives():
    with pytest.raises(AssertionError, match="backward gives 0"):
        check_gradient(lambda x: Tensor(x.data * 2), normal(5), seed=0)


def gradients(function, *inputs):
    tensors = [Tensor(np.array(x, np.float64), requires_grad=True) for x in inputs]
    function(*tensors).sum().backward()
    return [tensor.grad.tolist() for tensor in tensors]


def test_where_values_are_equal_derivatives_are_those_the_docstrings_state():
    assert gradients(p.maximum, [1.0, 2.0, 2.0], [1.0, 1.0, 3.0]) == [[0.5, 1, 0], [0.5, 0, 1]]
    assert gradients(p.relu, [-1.0, 0.0, 1.0]) == [[0, 0, 1]]
    assert gradients(lambda x: p.max(x, axis=0), [2.0, 5.0, 5.0]) == [[0, 1, 0]]
    found = gradients(lambda x: p.max_pool(x, size=2, stride=2), np.ones((1, 2, 2, 1)))
    assert np.ravel(found).tolist() == [1, 0, 0, 0]


def test_pooled_values_are_the_means_and_maxima_of_windows():
    x = np.arange(16.0).reshape(1, 4, 4, 1)
    assert p.average_pool(x, size=2, stride=2).data.ravel().tolist() == [2.5, 4.5, 10.5, 12.5]
    assert p.max_pool(x, size=2, stride=2).data.ravel().tolist() == [5, 7, 13, 15]
    assert p.image_mean(x).data.tolist() == [[7.5]]


def test_softmax_and_sigmoid_neither_overflow_nor_warn():
    with np.errstate(over="raise", invalid="raise"):
        assert p.softmax(np.array([1e4, 1e4, -1e4])).data.tolist() == [0.5, 0.5, 0]
        assert p.sigmoid(np.array([1e4, 0, -1e4])).data.tolist() == [1, 0.5, 0]


def test_gradients_are_arrays_of_their_own():
    x, y = (Tensor(np.ones(3), requires_grad=True) for _ in range(2))
    (x + y).sum().backward()
    x.grad *= 5  # as somebody who clips gradients does
    assert x.grad.tolist() == [5, 5, 5] and y.grad.tolist() == [1, 1, 1]


def test_gradients_of_a_tensor_used_twice_add_up():
    x = Tensor(np.array([2.0, 3.0]), requires_grad=True)
    (x * x + x).sum().backward()
    assert x.grad.tolist() == [5.0, 7.0]


def test_gradients_of_inputs_that_need_none_are_not_worked_out():
    asked = []

    @primitive
    def product(a, b, *, needed=()):
        asked.append(needed)
        return a * b, lambda dy: (None, dy * a)

    constant, x = Tensor(np.array([2.0])), Tensor(np.array([3.0]), requires_grad=True)
    product(constant, x).sum().backward()
    assert asked == [(False, True)] and x.grad.tolist() == [2.0] and constant.grad is None


def test_gradients_of_two_backward_passes_add_up():
    x = Tensor(np.array([2.0]), requires_grad=True)
    for _ in range(2):
        (x * 3.0).sum().backward()
    assert x.grad.tolist() == [6.0]


def test_a_long_chain_does_not_exhaust_the_stack():
    x = y = Tensor(np.array([1.0]), requires_grad=True)
    for _ in range(5000):
        y = y + 1.0
    y.sum().backward()
    assert x.grad.tolist() == [1.0]


def test_tensors_that_need_no_gradient_get_none_and_dtypes_are_kept():
    x, c = Tensor(np.ones(2, np.float32), requires_grad=True), Tensor(np.ones(2, np.float32))
    (x * c * 2.0).sum().backward()
    assert c.grad is None and x.grad.dtype == np.float32
    (x * Tensor(np.ones(2))).sum().backward()  # with float64
    assert x.grad.dtype == np.float32 and x.grad.tolist() == [3, 3]


def test_backward_from_more_than_one_number_is_refused():
    with pytest.raises(ValueError, match="scalar.*shape.*sum it first"):
        (Tensor(np.ones(3), requires_grad=True) * 2.0).backward()


FILTERS = np.ones((3, 3, 2, 6), np.float32)
IMAGES = np.ones((1, 8, 8, 4), np.float32)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: p.convolve(IMAGES, FILTERS),
            r"convolve: images of shape \(1, 8, 8, 4\) and filters of shape \(3, 3, 2, 6\)",
        ),
        (lambda: p.convolve(IMAGES, FILTERS, groups=4), "4 groups"),
        (lambda: p.convolve(IMAGES, np.ones((11, 11, 4, 6)), padding=1), "no larger than padded images"),
        (lambda: p.convolve(IMAGES[0], FILTERS), r"\(8, 8, 4\).*images are \(batch, height, width, in\)"),
        (lambda: p.matmul(np.ones((2, 3)), np.ones((4, 5))), r"matmul: shapes \(2, 3\) and \(4, 5\) do not fit"),
        (lambda: p.matmul(np.ones((2, 3)), np.ones((7, 3, 5))), "same leading axes"),
        (lambda: p.matmul(np.ones((2, 3)), np.ones(3)), r"\(2, 3\) and \(3,\)"),
        (lambda: p.max_pool(IMAGES, size=9, stride=1), "windows of 9 x 9 do not fit"),
        (lambda: p.average_pool(IMAGES, size=9, stride=1), "no smaller than a window"),
        (
            lambda: p.layer_norm(IMAGES, np.ones(4), np.ones(3)),
            r"layer_norm: x has the shape \(1, 8, 8, 4\) and a vector \(3,\)",
        ),
        (
            lambda: p.normalize(IMAGES, np.ones(4), np.ones(4), mean=np.ones(3), variance=np.ones(4), of_batch=False),
            r"normalize: .*vectors of shape \(4,\)",
        ),
        (lambda: p.cross_entropy(np.ones((2, 3)), labels=[0, 3]), "labels go from 0 to 3, allowed are 0 to 2"),
        (lambda: p.cross_entropy(np.ones((2, 3)), labels=[-1, 0]), "labels go from -1"),
        (lambda: p.cross_entropy(np.ones((2, 3)), labels=[0]), r"logits of shape \(2, 3\) and labels of shape \(1,\)"),
        (lambda: p.embedding(np.ones((3, 2)), tokens=[0, 3]), "tokens go from 0 to 3, the table has rows 0 to 2"),
    ],
)
def test_shapes_that_do_not_fit_are_refused_before_a_kernel_reads_beyond_them(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_rounding_rounds_values_forward_and_gradients_backward():
    x = Tensor(np.array([0.3, 1.7]), requires_grad=True)
    y = p.rounded(x, forward=np.floor, backward=lambda dy: dy * 10)
    assert y.data.tolist() == [0.0, 1.0]
    y.sum().backward()
    assert x.grad.tolist() == [10.0, 10.0]
