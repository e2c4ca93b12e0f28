"""How far a network that rounds can be from the same network in exact arithmetic: a bound, proved.

*Notation*: gamma_n(u) = n u / (1 - n u).  For one image, x is a tensor of the network as the
trainer computes it, c the same tensor of the same network (with the weights and statistics it
uses, rounded as they are) in float64 without any rounding point, and D >= |x - c| elementwise.
u = 2^-24 and s = 2^-149 belong to float32, in which the trainer computes; U = u + 2^-53 covers the
rounding of c, too.  All that is known of x is |x| <= m = |c| + D.

At c every layer has a derivative A, so that x' - c' = A (x - c) + e with |e| <= E, what the layer
itself adds to the error:

====================  ============================================================================
layer                 E
====================  ============================================================================
rounding point        max(v m, h): v = 2^-p and h half the smallest subnormal for rounding to nearest
                      in p bits, twice both in any other mode (in formats without subnormals, the
                      smallest normal takes that place).  Beyond the largest value: m - max if the
                      policy saturates, otherwise infinite.
product W x, k terms  gamma_k(U) |W| m + 2 k s.  A float32 sum of k products, by fused multiply-add
                      or not and in any order, is off by at most gamma_k(u) times the sum of their
                      magnitudes, plus what underflows: half of s per operation, grown by at most
                      1 + gamma_k < 4.  A bias counts as one product more.  Where the policy names an
                      accumulator or a matrix unit, the bound of `refimpl.nn.sum_bounds`; where it
                      rounds operands, that first.
batch norm            with a = inverse, b = scale, as used: gamma_4(U) (|a b| (|c - mean| + D) +
                      |shift|) + 2 (|b| + 1) s: three operations and a sum, two of which underflow
ReLU                  max(0, D - |c|): none, unless x can be on the other side of the kink
max pool              max(0, most that another can be - least that the leader can be)
mean of an image      gamma_2(U) mean m + s: summed in float64, rounded once
sum (residual)        gamma_1(U) (m1 + m2)
====================  ============================================================================

Two bounds follow.  **Layer by layer**, D' = |A| D + E: each layer passes on the worst of the one
before (ReLU and max pool: at most D, for they bring no two numbers further apart).  It grows
exponentially with depth, but says what m and the kinks need.  **By sensitivity**: unrolled, the error
of the logits is the sum over all layers of J e, with J the product of the derivatives that follow,
and so at most the sum of |J| E.  In J, signs cancel that |A| ... |A| adds up.  The smaller counts.

Wherever a partial result might pass float32's largest value, the bound is infinite.  It is itself
computed in float64: from sums of less than 2^20 non-negative terms, for which every layer's is raised
by 2^-30 of itself; and from J, whose rounding errors are below gamma_N(2^-53) |A| ... |A| with N
terms on a path, for which 2^-30 of the bound layer by layer is added (enough for N (1 + 2 kinks)
below 2^23).  The bound holds for every order of summation, with `exact_sums` or without; for
stochastic rounding, whatever is drawn.

*Source*: Higham, Accuracy and Stability of Numerical Algorithms, 3.1 (gamma_n) and 3.3 (running
bounds); that it is the network's own values that the bounds run along makes them those of an image.
"""

from __future__ import annotations

import numpy as np
from threadpoolctl import threadpool_limits

from refimpl import _arguments as check
from refimpl.autodiff import Tensor
from refimpl.formats import FloatFormat
from refimpl.formats.units import unit as unit_of
from refimpl.nn import layers as nn
from refimpl.nn.error_bounds import SLACK, Bounds
from refimpl.nn.precision import PRODUCT_ROLES, SUM_ROLES, Precision

AT_ONCE = 64  # images


def forward_error_bound(
    model: nn.Sequential, images: np.ndarray, precision: Precision, *, progress: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Bound what rounding does to a network's logits, image by image, without rounding anything.

    Parameters
    ----------
    model : Sequential
        Trained, with the weights that the policy's network uses (as `refimpl.numerics.tolerance.cast`
        makes them); of the layers in the table above.
    images : ndarray of float32, shape (n, height, width, channels)
    precision : Precision
        Formats of floating point, without scales.
    progress : bool
        Show a bar.

    Returns
    -------
    exact, bound : ndarray of float64, shape (n, classes)
        The logits without rounding, up to what float64 leaves out (the bound covers it), and the
        largest distance from them at which those computed under the policy can be, elementwise;
        infinite where something might overflow.

    Raises
    ------
    TypeError, ValueError
        For other things than a network and a policy; a layer or a policy that no bound is known for; a network
        without weights; images that do not fit it or are not finite.

    Notes
    -----
    *Source*: the top of this file.  A proof, for the arithmetic stated there.

    Examples
    --------
    >>> import refimpl as rf
    >>> task = rf.data.load("digits")
    >>> model = rf.nn.fit(rf.nn.mlp(), task, epochs=1).model
    >>> exact, bound = forward_error_bound(model, task.test_images, rf.nn.preset("float32"))
    >>> bool(bound.max() < 0.01)  # float32 itself: summing is all that rounds
    True
    """
    from tqdm.auto import tqdm

    check_bounded("forward_error_bound", model, precision)
    check_trained("forward_error_bound", model)
    images = checked_images("forward_error_bound", model, images)
    parts = []
    with (
        threadpool_limits(1, user_api="blas"),  # products this small gain nothing from more
        np.errstate(over="ignore", invalid="ignore"),
    ):
        starts = range(0, len(images), AT_ONCE)
        for start in tqdm(starts, unit="batch", disable=not progress, leave=False):
            c = images[start : start + AT_ONCE].astype(np.float64)
            bounds = Bounds(precision)
            c, d = model.error_bound(Tensor(c), np.zeros_like(c), bounds)
            parts.append((c.data, np.minimum(d, _by_sensitivity(c, bounds.sources) + SLACK * d)))
    exact, bound = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return exact, bound


def _by_sensitivity(logits, sources):
    """Return the sum over all sources of |J| E, J being the derivative of the logits by the source."""
    total = np.zeros_like(logits.data)
    for k in range(logits.shape[1]):
        logits[:, k].sum().backward()
        for probe, fresh in sources:
            effect = np.abs(probe.grad) * fresh
            total[:, k] += effect.reshape(len(effect), -1).sum(axis=1)
            probe.grad = None
    return np.where(np.isnan(total), np.inf, total * (1 + SLACK))


def check_trained(caller: str, model: nn.Sequential) -> None:
    """Refuse other things than networks, and one without weights, or with weights that are not finite."""
    check.instance(caller, "model", model, nn.Sequential, "a trained network, which refimpl.nn.fit returns as .model")
    for layer in model.every_layer():
        if layer.parameter_count() and not layer.parameters:
            hint = "train the network by refimpl.nn.fit"
            raise ValueError(check.message(caller, f"layer {layer.name!r}", "without weights", "a trained one", hint))
        for name, array in [*((n, t.data) for n, t in layer.parameters.items()), *layer.state().items()]:
            hint = "the training of this network has diverged: train it with a lower rate or another seed"
            check.finite(caller, f"{name} of layer {layer.name!r}", array, hint)


def check_precision(caller: str, precision: Precision) -> None:
    """Refuse what is not a policy."""
    check.instance(caller, "precision", precision, Precision, "a refimpl.Precision, or refimpl.nn.preset(name)")


def checked_images(caller: str, model: nn.Sequential, images) -> np.ndarray:
    """Return images as an array, refusing those that the network does not take."""
    images = check.array(caller, "images", images)
    if images.ndim < 2 or not len(images) or images.dtype != np.float32:
        allowed = "float32 (n, height, width, channels) with at least one image"
        raise check.wrong_value(caller, "images", images, allowed)
    try:
        model.output_shape(images.shape[1:])
    except ValueError as error:
        hint = f"a single image is image[np.newaxis] ({error})"
        raise check.wrong_value(caller, "images", images, "what the network takes", hint) from None
    return check.finite(caller, "images", images)


def check_bounded(caller: str, model: nn.Sequential, precision: Precision) -> None:
    """Raise an error, naming the layer, where no bound is known for a network or a policy."""
    check.instance(caller, "model", model, nn.Sequential, "a trained network, which refimpl.nn.fit returns as .model")
    check_precision(caller, precision)
    for layer in model.every_layer():
        if type(layer).error_bound is nn.Layer.error_bound:
            allowed = "layers with a method error_bound, such as those of mlp, cnn, lenet, vgg and resnet8"
            raise ValueError(f"{caller}: there is no bound for layer {layer.name!r}; allowed are {allowed}")
        if any(precision.accumulator_of(role, layer.name) for role in ("batch norm", "mean")):
            text = f"{caller}: there is no bound for an Accumulator of layer {layer.name!r}"
            raise ValueError(f"{text}; allowed are those of products, and float32")
        _check_sums(caller, layer, precision)
        roles = [layer.role] if isinstance(layer, nn.Round) else []
        for role in [*roles, *(["weight", *PRODUCT_ROLES[:2]] if layer.parameter_count() else [])]:
            rounding = precision.rounding_of(role, layer.name)
            if rounding is not None and not (isinstance(rounding.format, FloatFormat) and rounding.scaling == "none"):
                allowed = "floating-point formats without scales, such as float16 or bfloat16"
                name = f"{role} of layer {layer.name!r}"
                raise ValueError(f"{caller}: there is no bound for {name} in {rounding}; allowed are {allowed}")


def _check_sums(caller: str, layer: nn.Layer, precision: Precision) -> None:
    """Raise an error where no bound is known for the accumulator of a layer's products."""
    how = precision.accumulator_of(SUM_ROLES[0], layer.name)
    if how is None or not layer.parameter_count():
        return
    allowed = "floating-point accumulators without rotation, and units into float32 that flush nothing"
    known = isinstance(how.format, FloatFormat) and how.hadamard is None
    if how.unit is not None:
        known = how.format.name == "float32" and not unit_of(how.unit).flush
    if not known:
        raise ValueError(f"{caller}: there is no bound for {how} in layer {layer.name!r}; allowed are {allowed}")
