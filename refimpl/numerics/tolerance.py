"""When a network in 16 bits must answer as in 32: floating-point error, tolerance, certificates.

*Notation*: M32(x) and M16(x) are what a network returns for an image x in float32 and in the
precision in question: class probabilities, as in the paper, or logits.

    delta(M32, M16, x) = max_i |M32(x)_i - M16(x)_i|       floating-point error
    Gamma(M32, x)      = largest minus second-largest component of M32(x)       tolerance

**Lemma.**  Gamma(M32, x) >= 2 delta(M32, M16, x) implies that the class which M32 puts first, M16
puts first, too.  *Proof*: let c be that class.  For every other j, M16_c >= M32_c - delta >= M32_j +
Gamma - delta >= M16_j + Gamma - 2 delta >= M16_j.  With equality M16 may have a tie, which is why
certificates ask for Gamma > 2 delta.

Two certificates follow, and they are not the same thing:

**proved**    Gamma > 2 B with B >= delta the bound of `refimpl.numerics.rounding_error`.  M16 was not
              run: the class is that of every implementation that rounds where the policy says and
              sums in float32, whatever its order of summation.
**observed**  Gamma > 2 delta with delta measured.  M16 was run on x, here, in our order.  It speaks of
              these images; as a fraction it estimates what other images of the kind would give.

*Source*: Yun et al., Standalone 16-bit training (arXiv 2305.10947): definitions and lemma.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from refimpl import _arguments as check
from refimpl._display import Shown
from refimpl.nn import layers, training
from refimpl.nn.precision import Precision
from refimpl.nn.rounder import Rounder
from refimpl.numerics.rounding_error import (
    check_bounded,
    check_precision,
    check_trained,
    checked_images,
    forward_error_bound,
)

Outputs = Literal["probabilities", "logits"]
SLACK = 2.0**-40  # of probabilities computed in float64: some thousand times their error


def floating_point_error(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return delta of each image: the largest difference of two networks' outputs.

    Parameters
    ----------
    first, second : ndarray of float, shape (n, classes)

    Returns
    -------
    ndarray of float64, shape (n,)
        Infinite where an output is not finite.

    Raises
    ------
    ValueError
        If the shapes differ or are not of that kind.

    Examples
    --------
    >>> floating_point_error([[0.7, 0.2, 0.1]], [[0.5, 0.3, 0.2]])
    array([0.2])
    """
    caller = "floating_point_error"
    first, second = _outputs(caller, "first", first), _outputs(caller, "second", second)
    check.of_shape(caller, "second", second, first.shape)
    with np.errstate(invalid="ignore"):
        delta = np.abs(first - second).max(axis=1)
    return np.where(np.isnan(delta), np.inf, delta)


def tolerance(outputs: np.ndarray) -> np.ndarray:
    """Return Gamma of each image: by how much the first class leads the second.

    Parameters
    ----------
    outputs : ndarray of float, shape (n, classes)

    Returns
    -------
    ndarray of float64, shape (n,)
        0 where an output is not finite: there, nothing is tolerated.

    Raises
    ------
    ValueError
        If the shape is not of that kind.

    Examples
    --------
    >>> tolerance([[0.75, 0.25, 0.0], [0.5, 0.5, 0.0]])
    array([0.5, 0. ])
    """
    outputs = _outputs("tolerance", "outputs", outputs)
    second, first = np.sort(outputs, axis=1)[:, -2:].T
    with np.errstate(invalid="ignore"):
        return np.where(np.isfinite(outputs).all(axis=1), first - second, 0.0)


def _outputs(caller: str, name: str, given) -> np.ndarray:
    found = check.numbers(caller, name, given, (None, None))
    if found.shape[1] < 2:
        raise check.wrong_value(caller, name, found, "of shape (images, classes) with at least 2 classes")
    return found


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Return softmax of logits (n, classes), in float64 as the trainer's loss takes it.

    ValueError for other shapes.

    >>> probabilities([[0.0, 0.0]])
    array([[0.5, 0.5]])
    """
    logits = _outputs("probabilities", "logits", logits)
    with np.errstate(invalid="ignore"):
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def cast(model: layers.Sequential, precision: Precision, *, seed: int = 0) -> layers.Sequential:
    """Return a copy of a trained network with its weights rounded as the policy says.

    The weights of a network trained under the policy are of its formats already, and stay.

    Examples
    --------
    >>> import refimpl as rf
    >>> model = rf.nn.fit(rf.nn.mlp(), rf.data.load("digits"), epochs=1).model
    >>> narrow = cast(model, rf.nn.preset("pure16", "bfloat16")).tensors()[0].data
    >>> bool((narrow == rf.quantize(model.tensors()[0].data, "bfloat16")).all())
    True
    """
    check_trained("cast", model)
    check_precision("cast", precision)
    seed = check.integer("cast", "seed", seed, check.NOT_NEGATIVE)
    model = copy.deepcopy(model)
    rounder = Rounder(precision, precision.seed(seed))
    for layer, _, tensor in model.named_tensors():
        tensor.data = rounder(tensor.data, "weight", layer)
    return model


def predict(
    model: layers.Sequential, images: np.ndarray, precision: Precision | None = None, *, seed: int = 0
) -> np.ndarray:
    """Return a trained network's logits under a policy: weights cast, rounding as in training.

    Parameters
    ----------
    model : Sequential
        Not changed.
    images : ndarray of float32, shape (n, height, width, channels)
    precision : Precision, optional
        Default: float32, nothing rounded.
    seed : int
        Of stochastic rounding.

    Returns
    -------
    ndarray of float32, shape (n, classes)

    Raises
    ------
    TypeError, ValueError
        For other things than a network and a policy, a network without weights or with weights that are
        not finite, images that do not fit it or are not finite.

    Examples
    --------
    >>> import refimpl as rf
    >>> task = rf.data.load("digits")
    >>> model = rf.nn.fit(rf.nn.mlp(), task, epochs=1).model
    >>> predict(model, task.test_images, rf.nn.preset("pure16")).shape
    (360, 10)
    """
    check_trained("predict", model)
    precision = Precision(loss_scale=1.0) if precision is None else precision
    check_precision("predict", precision)
    images = checked_images("predict", model, images)
    seed = check.integer("predict", "seed", seed, check.NOT_NEGATIVE)
    return _logits(cast(model, precision, seed=seed), images, precision, seed)


def _logits(model, images, precision, seed):
    with np.errstate(over="ignore", invalid="ignore"):
        return training.logits(model, images, Rounder(precision, precision.seed(seed) ^ 1))


@dataclass(frozen=True, eq=False, repr=False)
class Certificate(Shown):
    """What is known about the answers of a network in another precision, image by image.

    Attributes
    ----------
    gamma, delta, bound : ndarray of float64, shape (n,)
        Tolerance; floating-point error as measured; and as bounded beforehand.
    same : ndarray of bool, shape (n,)
        Whether the two networks did put the same class first.
    outputs : str
        ``probabilities`` or ``logits``: what gamma, delta and bound are of.

    Examples
    --------
    >>> Certificate(np.array([0.5]), np.array([0.01]), np.array([0.1]), np.array([True]), "probabilities").proved
    array([ True])
    """

    gamma: np.ndarray
    delta: np.ndarray
    bound: np.ndarray
    same: np.ndarray
    outputs: str

    @property
    def proved(self) -> np.ndarray:
        """Which images are proved to be classified alike: Gamma > 2 B."""
        return self.gamma > 2 * self.bound

    @property
    def observed(self) -> np.ndarray:
        """Which satisfy the lemma by the error measured on them: Gamma > 2 delta."""
        return self.gamma > 2 * self.delta

    @property
    def tightness(self) -> float:
        """Median of bound / measured error where that is not 0 (nan if it always is): 1 is perfect."""
        moved = self.delta > 0
        return float(np.median(self.bound[moved] / self.delta[moved])) if moved.any() else np.nan

    def _shown(self):
        parts = {"proved": self.proved, "implied by the measured error": self.observed, "alike in this run": self.same}
        shown = [(name, f"{of.mean():.1%}") for name, of in parts.items()]
        line = f"{len(self.gamma)} images, by {self.outputs}: " + ", ".join(f"{name} {part}" for name, part in shown)
        return line, ("classified alike", "of the images"), shown

    def summary(self) -> dict:
        """Return the fractions and medians, as plain numbers."""
        return {
            "images": len(self.gamma),
            "outputs": self.outputs,
            "proved": float(self.proved.mean()),
            "observed": float(self.observed.mean()),
            "same": float(self.same.mean()),
            "tightness": self.tightness,
            "median_gamma": float(np.median(self.gamma)),
            "median_delta": float(np.median(self.delta)),
            "median_bound": float(np.median(self.bound)),
        }


def certify(
    model: layers.Sequential,
    images: np.ndarray,
    precision: Precision,
    *,
    outputs: Outputs = "probabilities",
    seed: int = 0,
    progress: bool = False,
) -> Certificate:
    """Say which images a network must classify in another precision as it does in float32.

    Parameters
    ----------
    model : Sequential
        Trained; in float32 it is used as it is, in the other precision with its weights `cast`.
    images : ndarray of float32, shape (n, height, width, channels)
    precision : Precision
        Floating-point formats without scales.
    outputs : str
        ``probabilities``, as in the paper, or ``logits``.
    seed : int
        Of stochastic rounding.
    progress : bool
        Show a bar.

    Returns
    -------
    Certificate

    Raises
    ------
    TypeError, ValueError
        As `predict` and `refimpl.numerics.forward_error_bound` do, and for other outputs.

    Notes
    -----
    The error is that of casting the weights, which is computed (the cast network without rounding
    in float64, against float32), plus that of rounding in the forward pass, which is bounded.
    *Source*: arXiv 2305.10947 for the lemma; the bound is ours.

    Examples
    --------
    >>> import refimpl as rf
    >>> task = rf.data.load("digits")
    >>> model = rf.nn.fit(rf.nn.mlp(), task, epochs=3).model
    >>> found = certify(model, task.test_images, rf.nn.preset("pure16", "float16"))
    >>> bool(found.proved.mean() > 0.9 and found.same[found.proved].all())
    True
    """
    check.choice("certify", "outputs", outputs, get_args(Outputs))
    seed = check.integer("certify", "seed", seed, check.NOT_NEGATIVE)
    check_bounded("certify", model, precision)
    check_trained("certify", model)
    images = checked_images("certify", model, images)
    narrow = cast(model, precision, seed=seed)
    wide = predict(model, images).astype(np.float64)
    low = _logits(narrow, images, precision, seed).astype(np.float64)
    exact, bound = forward_error_bound(narrow, images, precision, progress=progress)
    found = wide.argmax(axis=1) == low.argmax(axis=1)
    same = found & np.isfinite(wide).all(axis=1) & np.isfinite(low).all(axis=1)
    if outputs == "probabilities":
        first, second = probabilities(wide), probabilities(low)
        most = _largest_difference(first, exact, bound)
    else:
        first, second = wide, low
        most = (np.abs(wide - exact) + bound).max(axis=1) * (1 + 2.0**-30)
    most = np.where(np.isfinite(bound).all(axis=1), most, np.inf)
    return Certificate(tolerance(first), floating_point_error(first, second), most, same, outputs)


def _largest_difference(first, exact, bound):
    """Return how far probabilities can be from `first` if logits are within `bound` of `exact`.

    The i-th probability grows with the i-th logit and falls with every other.
    """
    most = np.zeros(len(first))
    with np.errstate(invalid="ignore", over="ignore"):
        for i in range(first.shape[1]):
            for sign in (1, -1):
                logits = exact - sign * bound
                logits[:, i] = exact[:, i] + sign * bound[:, i]
                most = np.maximum(most, np.abs(probabilities(logits)[:, i] - first[:, i]))
    return most + SLACK
