"""Which format suits which tails?  The experiment of the metric-driven paper, arXiv 2408.02897.

Square matrices are drawn from Student's t with nu degrees of freedom: Gaussian for nu = infinity,
heavier tails the smaller nu.  Both operands are scaled, rounded and multiplied, sums in float64.
Heavy tails spend the range of a scaled format on few large values: integers lose all the others
below half a step, floats keep their relative error until their subnormals.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from threadpoolctl import threadpool_limits

from refimpl import _arguments as check
from refimpl.numerics.metrics import backward_error, grid_of, relative_error, round_scaled, underflow

NUS = (1.0, 2.0, 3.0, 5.0, 8.0, 15.0, 30.0, np.inf)
FORMATS = ("int8", "float8_e4m3fn", "float8_e5m2")
Scaling = Literal["tensor", "row"]
SCALINGS: dict[Scaling, tuple[int | None, int | None]] = {"tensor": (None, None), "row": (0, 1)}
"""The axes that index the scales of left and right operand."""


@dataclass(frozen=True)
class TailRow:
    """What one format does to one distribution.

    Attributes
    ----------
    nu : float
        Degrees of freedom.
    format, scaling : str
    backward_error, relative_error : float
        Medians over all elements and trials, of the product and of the operands.
    underflow : float
        Fraction of the operands' elements that became 0.
    """

    nu: float
    format: str
    scaling: str
    backward_error: float
    relative_error: float
    underflow: float


def draw(nu: float, shape, rng: np.random.Generator) -> np.ndarray:
    """Draw from Student's t; nu = infinity is the normal distribution.

    Raises
    ------
    ValueError
        For nu that is not above 0.

    Examples
    --------
    >>> draw(np.inf, 3, np.random.default_rng(0)).round(3).tolist()
    [0.126, -0.132, 0.64]
    """
    nu = _degrees("draw", nu)
    return rng.standard_normal(shape) if nu == np.inf else rng.standard_t(nu, shape)


def _degrees(caller: str, nu) -> float:
    if isinstance(nu, (float, np.floating)) and nu == np.inf:
        return np.inf
    return check.number(caller, "nu", nu, check.POSITIVE, "or infinity, for the normal")


def tail_table(
    *,
    nus=NUS,
    formats=FORMATS,
    scaling: Scaling = "tensor",
    size: int = 512,
    trials: int = 3,
    seed: int = 0,
    progress: bool = False,
) -> list[TailRow]:
    """Measure backward error over degrees of freedom, every format on the same matrices.

    Parameters
    ----------
    nus : sequence of float
    formats : sequence of names
    scaling : {"tensor", "row"}
        One scale for each operand, or for each row of the left and each column of the right.
    size : int
        Of the square matrices.
    trials : int
        Pairs of matrices for each nu.
    seed : int
    progress : bool
        Show a bar.

    Returns
    -------
    list of TailRow
        For each nu, the formats in order.

    Raises
    ------
    TypeError, ValueError
        Before any work: for nu not above 0, formats without a largest value, another scaling, a size
        or a number of trials below 1, and without formats or nu.

    Examples
    --------
    >>> int8, e4m3 = tail_table(nus=[3.0], formats=["int8", "e4m3fn"], size=64, trials=1)
    >>> int8.backward_error > e4m3.backward_error
    True
    """
    verb = "tail_table"
    nus = [_degrees(verb, nu) for nu in check.sequence(verb, "nus", nus, "[1.0, 3.0]")]
    formats = check.sequence(verb, "formats", formats, "['int8', 'e4m3fn']")
    trials = check.integer(verb, "trials", trials, check.Interval(1))
    size, seed = _settings(verb, formats, scaling, size, seed)
    from tqdm.auto import tqdm

    bar = tqdm(nus, disable=not progress, leave=False)
    with threadpool_limits(1, user_api="blas"):  # sums keep one order
        return [
            row for place, nu in enumerate(bar) for row in _rows_of(nu, formats, scaling, size, trials, (seed, place))
        ]


def _settings(verb, formats, scaling, size, seed) -> tuple[int, int]:
    """Return size and seed, having looked at everything."""
    check.choice(verb, "scaling", scaling, SCALINGS)
    for fmt in formats:
        grid_of(verb, fmt)
    size = check.integer(verb, "size", size, check.Interval(1))
    return size, check.integer(verb, "seed", seed, check.NOT_NEGATIVE)


def _rows_of(nu, formats, scaling, size, trials, key) -> list[TailRow]:
    found: dict[str, tuple[list, list, list]] = {fmt: ([], [], []) for fmt in formats}
    for trial in range(trials):
        rng = np.random.default_rng((*key, trial))
        pair = draw(nu, (size, size), rng), draw(nu, (size, size), rng)
        for fmt, (backward, relative, lost) in found.items():
            rounded = [round_scaled(x, fmt, axis=axis) for x, axis in zip(pair, SCALINGS[scaling], strict=True)]
            backward.append(backward_error(*pair, *rounded))
            relative.append([relative_error(x, y) for x, y in zip(pair, rounded, strict=True)])
            lost.append(np.mean([underflow(x, y) for x, y in zip(pair, rounded, strict=True)]))
    return [
        TailRow(nu, fmt, scaling, float(np.median(backward)), float(np.median(relative)), float(np.mean(lost)))
        for fmt, (backward, relative, lost) in found.items()
    ]


def product_errors(nu: float, fmt: str, *, scaling: Scaling = "tensor", size: int = 256, seed: int = 0) -> np.ndarray:
    """Return the signed errors of a product of rounded matrices, in units of ``|a| |b|``.

    Returns
    -------
    ndarray of float64, shape (size, size)
        ``(qa qb - a b) / (|a| |b|)``, whose magnitude is `backward_error`.

    Raises
    ------
    TypeError, ValueError
        As `tail_table`.

    Examples
    --------
    >>> errors = product_errors(5.0, "e4m3fn", size=64)
    >>> bool(abs(errors.mean()) < errors.std())
    True
    """
    size, seed = _settings("product_errors", [fmt], scaling, size, seed)
    nu, rng = _degrees("product_errors", nu), np.random.default_rng(seed)
    a, b = draw(nu, (size, size), rng), draw(nu, (size, size), rng)
    qa, qb = (round_scaled(x, fmt, axis=axis) for x, axis in zip((a, b), SCALINGS[scaling], strict=True))
    return ((qa - a) @ qb + a @ (qb - b)) / (np.abs(a) @ np.abs(b))


@dataclass(frozen=True)
class StudentT:
    """A Student t distribution fitted to values.

    Attributes
    ----------
    nu, location, scale : float
    distance : float
        Of Kolmogorov and Smirnov: the largest difference between the fraction of values below any
        point and its probability.
    """

    nu: float
    location: float
    scale: float
    distance: float

    def density(self, x) -> np.ndarray:
        """Return the probability density at x."""
        from scipy import stats

        return stats.t.pdf(x, self.nu, self.location, self.scale)


def fit_student_t(values, *, most: int = 4096, seed: int = 0) -> StudentT:
    """Fit degrees of freedom, location and scale by maximum likelihood.

    Parameters
    ----------
    values : array_like of floats, finite, at least 8 of them different
    most : int
        Of more values, this many are drawn without replacement.
    seed : int
        Of the draw.

    Returns
    -------
    StudentT
        nu up to 1000, where it is a Gaussian for all purposes.

    Raises
    ------
    TypeError, ValueError
        For values that are not numbers or not finite, or too few; `most` below 8; a seed below 0.

    Notes
    -----
    The likelihood of (log nu, location, log scale) is climbed by SciPy's Nelder and Mead from the
    median, the quartiles and nu = 4; infinitely many values at one point have no fit, hence the
    eight.  The standard error of nu is about 2 nu^(3/2) / sqrt(values) for small nu.

    Examples
    --------
    >>> drawn = np.random.default_rng(0).standard_t(3.0, 4000)
    >>> 2.6 < fit_student_t(drawn).nu < 3.4
    True
    """
    from scipy import optimize, stats

    caller = "fit_student_t"
    most = check.integer(caller, "most", most, check.Interval(8))
    seed = check.integer(caller, "seed", seed, check.NOT_NEGATIVE)
    values = check.finite(caller, "values", check.numbers(caller, "values", values)).ravel()
    if len(values) > most:
        values = np.random.default_rng(seed).choice(values, most, replace=False)
    if len(np.unique(values)) < 8:
        got = f"{len(values)} numbers, {len(np.unique(values))} of them different"
        raise ValueError(check.message(caller, "values", got, "at least 8 different numbers"))
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    unit = (high - low) / 1.5 or values.std()
    scaled = (values - middle) / unit

    def cost(at):
        nu, scale = np.exp(at[0]), np.exp(at[2])
        beyond = max(0.0, at[0] - np.log(1000.0)) + max(0.0, -3.0 - at[0])
        return -stats.t.logpdf(scaled, nu, at[1], scale).mean() + 10 * beyond

    best = optimize.minimize(
        cost, (np.log(4.0), 0.0, 0.0), method="Nelder-Mead", options={"xatol": 1e-4, "fatol": 1e-7, "maxiter": 1000}
    ).x
    nu, location = float(np.exp(best[0])), middle + unit * best[1]
    scale = unit * np.exp(best[2])
    distance = stats.kstest(values, stats.t(nu, location, scale).cdf).statistic
    return StudentT(nu, float(location), float(scale), float(distance))
