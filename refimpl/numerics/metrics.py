"""Error metrics: how far rounded values, and products of them, are from the true ones.

*Notation*: x are true values, y the rounded ones, a and b true operands of a matrix product, qa and
qb the rounded ones; |.| is taken element by element, norms are those of Euclid and Frobenius.
Everything is computed in float64.

======================  =====================================================
`relative_error`        |y - x| / |x|, each element
`normwise_error`        norm(y - x) / norm(x)
`sqnr`                  10 log10 (sum x^2 / sum (y - x)^2), decibels
`backward_error`        |qa qb - a b| / (|a| |b|), each element, or by norms
`underflow`             fraction of the x other than 0 whose y is 0
`overflow`              fraction of the x beyond the format's largest value
`error_profile`         worst relative error in each octave below the largest
======================  =====================================================

*Source*: Rasquinha and Tabak, A metric-driven approach to mixed precision (arXiv 2408.02897), for
the backward error and the scaling; Higham, Accuracy and Stability of Numerical Algorithms, for the
normwise forms.
"""

from __future__ import annotations

import numpy as np

from refimpl import _arguments as check
from refimpl import ops
from refimpl.formats import FloatFormat, IntFormat, RoundingMode
from refimpl.formats import format as format_of
from refimpl.ops.rows import to_rows


def relative_error(x, y) -> np.ndarray:
    """Return ``|y - x| / |x|`` for each element; 0 where both are 0, infinity where only x is.

    Parameters
    ----------
    x, y : array_like of floats, of shapes that broadcast
        True and rounded values.

    Returns
    -------
    ndarray of float64

    Raises
    ------
    ValueError
        If the shapes do not fit, or a value is not finite (as for every metric here; the others ask
        for equal shapes).

    Examples
    --------
    >>> relative_error([1.0, -4.0, 0.0], [1.25, -4.0, 0.0]).tolist()
    [0.25, 0.0, 0.0]
    """
    x, y = _pair("relative_error", x, y)
    off = np.abs(y - x)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(off == 0, 0.0, off / np.abs(x))


def normwise_error(x, y) -> float:
    """Return norm(y - x) / norm(x); 0 where both are 0, infinity where only x is.

    Examples
    --------
    >>> normwise_error([3.0, 4.0], [3.0, 4.5])
    0.1
    """
    return _normwise("normwise_error", x, y)


def sqnr(x, y) -> float:
    """Return the ratio of signal to quantization noise in decibels, 10 log10 (sum x^2 / sum (y - x)^2).

    The same as -20 log10 of `normwise_error`; infinity where nothing was lost.

    Examples
    --------
    >>> round(sqnr([3.0, 4.0], [3.0, 4.5]), 9)
    20.0
    """
    error = _normwise("sqnr", x, y)
    with np.errstate(divide="ignore"):
        return float(-20 * np.log10(error))


def backward_error(a, b, qa, qb, *, normwise: bool = False):
    """Return how far a product of rounded operands is off, in units of the product of magnitudes.

    Componentwise ``|qa qb - a b| / (|a| |b|)``, the metric of arXiv 2408.02897; 0 where both are 0.  It
    is bounded by eps_a + eps_b + eps_a eps_b, the worst relative errors of the operands, whatever
    cancels in the sum.  Normwise: norm(qa qb - a b) / (norm(a) norm(b)).

    Parameters
    ----------
    a, qa : array_like of floats, shape (..., n, k)
    b, qb : array_like of floats, shape (..., k, m)
    normwise : bool

    Returns
    -------
    ndarray of float64, shape (..., n, m), or float if `normwise`

    Raises
    ------
    ValueError
        If the shapes do not fit, or a value is not finite.

    Examples
    --------
    >>> backward_error([[3.0, 1.0]], [[2.0], [-4.0]], [[3.5, 1.0]], [[2.0], [-4.0]]).tolist()
    [[0.1]]
    """
    caller = "backward_error"
    check.flag(caller, "normwise", normwise)
    a, qa = _alike(caller, a, qa, ("a", "qa"))
    b, qb = _alike(caller, b, qb, ("b", "qb"))
    fits = a.ndim > 1 and b.ndim > 1 and a.shape[-1] == b.shape[-2]
    if not (fits and _broadcasts(a.shape[:-2], b.shape[:-2])):
        got, allowed = f"of shape {b.shape}", f"(..., k, m), with a of shape (..., n, k); a is of shape {a.shape}"
        raise ValueError(check.message(caller, "b", got, allowed))
    # not qa qb - a b: that would cancel where the errors are small
    off = np.abs((qa - a) @ qb + a @ (qb - b))
    if normwise:
        error, left, right = _norm(off), _norm(a), _norm(b)
        return _times(_quotient(error[0], left[0] * right[0]), error[1] - left[1] - right[1])
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(off == 0, 0.0, off / (np.abs(a) @ np.abs(b)))


def underflow(x, y) -> float:
    """Return the fraction of the elements of x other than 0 whose y is 0.

    Examples
    --------
    >>> underflow([0.0, 1e-9, 1.0], [0.0, 0.0, 1.0])
    0.5
    """
    x, y = _alike("underflow", x, y)
    return float(np.mean(y[x != 0] == 0)) if x.any() else 0.0


def overflow(x, fmt: FloatFormat | IntFormat | str, *, scale=1.0) -> float:
    """Return the fraction of the elements whose magnitude, divided by scale, is above the format's largest.

    Parameters
    ----------
    x : array_like of floats
    fmt : FloatFormat, IntFormat or name
    scale : array_like of floats above 0
        Of a shape that broadcasts against x.

    Examples
    --------
    >>> overflow([1.0, 500.0], "e4m3fn"), overflow([1.0, 500.0], "e4m3fn", scale=2.0)
    (0.5, 0.0)
    """
    x, scale = _pair("overflow", x, scale, ("x", "scale"))
    check.every("overflow", "scale", scale, scale > 0, "above 0")
    return float(np.mean(np.abs(x) / scale > grid_of("overflow", fmt).max)) if x.size else 0.0


def round_scaled(
    x,
    fmt: FloatFormat | IntFormat | str,
    *,
    axis: int | None = None,
    block_size: int | None = None,
    rounding: RoundingMode = "ties_to_even",
    seed: int | None = None,
) -> np.ndarray:
    """Round values to a format, scaled so that the largest magnitude becomes the format's largest.

    y = s Q(x / s), s = max|x| / (largest value): the scaling of arXiv 2408.02897, for integers,
    floats and all else that has a largest value.

    Parameters
    ----------
    x : array_like of floats, finite, any shape
    fmt : FloatFormat, signed IntFormat, or name
    axis : int, optional
        One scale for each index along this axis (``axis=0`` of a matrix: its rows); by default one
        for the whole tensor.
    block_size : int, optional
        One scale for each this many neighbours along `axis` (default: the last axis) instead.
    rounding, seed
        As for `refimpl.quantize`.

    Returns
    -------
    ndarray of float64, shape of x
        Quotient and product are rounded to float64 once each, Q exactly once.

    Raises
    ------
    TypeError, ValueError
        For values that are not finite, formats without such a scale, unknown modes.

    Examples
    --------
    >>> round_scaled([1.0, 0.3, 0.001], "int8").round(6).tolist()
    [1.0, 0.299213, 0.0]
    >>> round_scaled([1.0, 0.3, 0.001], "e4m3fn").round(6).tolist()
    [1.0, 0.285714, 0.000977]
    """
    verb = "round_scaled"
    grid = grid_of(verb, fmt)
    x = _floats(verb, "x", x)
    rows, layout = to_rows(verb, x, axis, block_size)
    largest = np.abs(rows).max(axis=1, keepdims=True, initial=0)
    scale = np.where(largest > 0, largest / grid.max, 1.0)
    # a quotient that float64 rounds above the largest value saturates
    codes = ops.quantize(rows / scale, grid, rounding=rounding, overflow="saturate", seed=seed)
    return layout.elements(codes * scale)


def error_profile(
    fmt: FloatFormat | IntFormat | str, *, octaves: int = 24, samples: int = 512
) -> tuple[np.ndarray, np.ndarray]:
    """Return the worst relative error of rounding to nearest in each octave below the tensor's largest.

    Floats err by the same part, u / (1 + u) with u = 2^-p for p significant bits, down to their subnormals; integers by
    the same amount, so that their relative error doubles with every octave.

    Parameters
    ----------
    fmt : FloatFormat, IntFormat or name
    octaves : int
        Powers of two below the largest magnitude.
    samples : int
        Magnitudes tried in each octave.

    Returns
    -------
    magnitude, error : ndarray of float64, shape (octaves,)
        Upper end of each octave, as a part of the largest magnitude, ascending; the error found.

    Examples
    --------
    >>> magnitude, error = error_profile("int8", octaves=9)
    >>> magnitude[0].item(), error[0].item(), bool(error[-1] < 2.0**-7)
    (0.00390625, 1.0, True)
    """
    octaves = check.integer("error_profile", "octaves", octaves, check.Interval(1, 1000))
    samples = check.integer("error_profile", "samples", samples, check.Interval(1))
    ends = 2.0 ** np.arange(1 - octaves, 1)
    x = ends[:, np.newaxis] * (0.5 + np.arange(1, samples + 1) / (2 * samples))
    return ends, relative_error(x, round_scaled(x, fmt)).max(axis=1)


def grid_of(verb: str, fmt) -> FloatFormat:
    """Return a format's values before scaling; for integers the codes themselves."""
    fmt = format_of(fmt)
    if not isinstance(fmt, (FloatFormat, IntFormat)) or not fmt.signed:
        raise check.wrong_kind(verb, "format", str(fmt), "a signed floating-point or integer format")
    return fmt.grid if isinstance(fmt, IntFormat) else fmt


def _floats(caller: str, name: str, x) -> np.ndarray:
    return check.finite(caller, name, check.numbers(caller, name, x))


def _broadcasts(*shapes: tuple[int, ...]) -> bool:
    try:
        np.broadcast_shapes(*shapes)
    except ValueError:
        return False
    return True


def _pair(caller: str, x, y, names: tuple[str, str] = ("x", "y")) -> tuple[np.ndarray, np.ndarray]:
    x, y = (_floats(caller, name, values) for name, values in zip(names, (x, y), strict=True))
    if not _broadcasts(x.shape, y.shape):
        allowed = f"a shape that broadcasts against that of {names[0]}, {x.shape}"
        raise ValueError(check.message(caller, names[1], f"of shape {y.shape}", allowed))
    x, y = np.broadcast_arrays(x, y)
    return x, y


def _alike(caller: str, x, y, names: tuple[str, str] = ("x", "y")) -> tuple[np.ndarray, np.ndarray]:
    """Return values and rounded values, which have one shape."""
    x, y = (_floats(caller, name, values) for name, values in zip(names, (x, y), strict=True))
    return x, check.of_shape(caller, names[1], y, x.shape)


def _normwise(caller: str, x, y) -> float:
    x, y = _alike(caller, x, y)
    error, size = _norm(y - x), _norm(x)
    return _times(_quotient(error[0], size[0]), error[1] - size[1])


def _norm(x: np.ndarray) -> tuple[float, int]:
    """Return (norm, e): the root of the sum of squares is norm * 2^e, and no square is out of range."""
    exponent = int(np.frexp(np.abs(x).max(initial=0.0))[1])
    return float(np.linalg.norm(np.ldexp(x, -exponent).ravel())), exponent


def _times(value: float, exponent: int) -> float:
    """Return value * 2^exponent, infinite where that is too large."""
    with np.errstate(over="ignore"):
        return float(np.ldexp(value, exponent))


def _quotient(error: float, size: float) -> float:
    if size:
        return float(error / size)
    return 0.0 if error == 0 else float("inf")
