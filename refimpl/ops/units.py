"""Products of matrices as matrix units make them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from refimpl import _arguments
from refimpl.formats import FloatFormat
from refimpl.formats.units import MatrixUnit
from refimpl.formats.units import unit as named
from refimpl.ops import arrays, floats
from refimpl.ops.arithmetic import codes_of
from refimpl.ops.definitions import DEFINITIONS, kernels

DTYPES = {"float16": np.float16, "float64": np.float64}
Pair = tuple[np.ndarray, np.ndarray]


def products(caller: str, a, b, fmt, unit, accumulate=None, initial=None, scales=None, scale_format=None) -> np.ndarray:
    """Return the product of values (m, k) and (k, n) on a unit, what `refimpl.matmul` says of it."""
    chosen = named(unit, caller)
    about = repr(unit) if isinstance(unit, str) else "the unit"
    pair = tuple(operand_format(caller, f, chosen, about) for f in (fmt if isinstance(fmt, tuple) else (fmt, fmt)))
    if len(pair) != 2:
        raise _arguments.wrong_value(caller, "fmt", fmt, "one format or a pair of formats")
    chosen = accumulating(caller, chosen, about, accumulate)
    x, y = (_values(caller, v, f, name) for v, f, name in zip((a, b), pair, "ab", strict=True))
    out = _first(caller, initial, (x.shape[0], y.shape[1]), chosen)
    factors, scale_format = scales_of(caller, scales, scale_format, chosen, about, x.shape, y.shape)
    if x.shape[1] == 0:
        pass
    elif kernels(x.size * y.shape[1]) is DEFINITIONS:
        _define(x, y, out, chosen, pair, factors, scale_format)
    else:
        _compute(x, y, out, chosen, pair, factors, scale_format)
    return _written(out, chosen)


def stacks(a: np.ndarray, b: np.ndarray, formats, unit, accumulate, scales: Pair | None = None) -> np.ndarray:
    """Return the products of stacks of matrices, (s, m, k) and (s, k, n), of what is known to be values of the formats.

    float32 (s, m, n); without first accumulators.  With scales, (s, m, blocks) and (s, blocks, n), formats are
    BlockFormats, and k is a multiple of the unit's terms.

    >>> stacks(np.ones((2, 1, 3)), np.ones((2, 3, 1)), _pair_of("float16"), "hopper-f16", "float32").tolist()
    [[[3.0]], [[3.0]]]
    """
    chosen = accumulating("matmul", named(unit), repr(unit), accumulate)
    out = np.zeros((len(a), a.shape[1], b.shape[2]))
    pair, scale = (formats, None) if scales is None else (tuple(f.element for f in formats), formats[0].scale)
    if a.shape[2]:
        _compute(a, b, out, chosen, pair, scales, scale)
    return _written(out, chosen).astype(np.float32)


def _pair_of(fmt: str) -> tuple[FloatFormat, FloatFormat]:
    found = floats.float_format("matmul", fmt)
    assert isinstance(found, FloatFormat)
    return found, found


def operand_format(caller: str, fmt, unit: MatrixUnit, about: str) -> FloatFormat:
    """Return a format, refusing one that the unit does not multiply."""
    found = floats.float_format(caller, fmt)
    if not isinstance(found, FloatFormat) or found.name not in unit.operands:
        allowed = ", ".join(unit.operands)
        raise _arguments.wrong_value(caller, "fmt", str(found), f"what {about} multiplies: {allowed}")
    return found


def accumulating(caller: str, unit: MatrixUnit, about: str, accumulate) -> MatrixUnit:
    """Return the unit with the accumulator that is asked for."""
    own = "float64" if unit.into.name == "float64" else "float16" if unit.into.name == "float16" else "float32"
    allowed = (own, *["float16"] * unit.float16)
    if accumulate is None:
        return unit
    name = floats.float_format(caller, accumulate, "accumulate").name
    if name not in allowed:
        text = " or ".join(map(repr, allowed))
        raise _arguments.wrong_value(caller, "accumulate", name, f"{text} on {about}")
    return unit.accumulating(name)


def _values(caller: str, x: np.ndarray, fmt: FloatFormat, name: str) -> np.ndarray:
    """Return values as float64, refusing what is not a value of the format."""
    if fmt.name == "float64":
        return np.ascontiguousarray(x, np.float64)
    flat = np.ascontiguousarray(x, arrays.float_dtype(x)).reshape(-1)
    codes_of(caller, flat, fmt, 0, name, x.shape)
    return flat.astype(np.float64).reshape(x.shape)


def _first(caller: str, initial, shape: tuple[int, int], unit: MatrixUnit) -> np.ndarray:
    """Return what accumulators begin with, as float64."""
    if initial is None:
        return np.zeros(shape)
    c = arrays.real(caller, "initial", initial)
    if c.shape not in (shape, ()):
        raise ValueError(_arguments.message(caller, "initial", f"of shape {c.shape}", f"{shape}, that of the product"))
    fmt = floats.format_of("float32" if unit.into.bits < 32 and unit.into.exponent_bits == 8 else unit.into.name)
    return np.array(np.broadcast_to(_values(caller, c, fmt, "initial"), shape))


def scales_of(caller: str, scales, scale_format, unit: MatrixUnit, about: str, a_shape, b_shape):
    """Return both sides' scales as float64, (m, blocks) and (blocks, n), and their format."""
    if not unit.scales:
        for name, got in (("scales", scales), ("scale_format", scale_format)):
            if got is not None:
                raise _arguments.wrong_value(caller, name, got, f"None: {about} has no block scales")
        return None, None
    if a_shape[1] % unit.terms:
        raise _arguments.wrong_value(caller, "k", a_shape[1], f"a multiple of {unit.terms} on {about}")
    blocks = a_shape[1] // unit.block
    shapes = (a_shape[0], blocks), (blocks, b_shape[1])
    found = scales if isinstance(scales, tuple) and len(scales) == 2 else (None, None)
    if any(side is None for side in found):
        text = f"a pair of arrays, of shapes {shapes[0]} and {shapes[1]}: a scale for every {unit.block} along k"
        raise _arguments.wrong_kind(caller, "scales", scales, text)
    if scale_format is None:
        scale_format = unit.scales[0]
    fmt = floats.float_format(caller, scale_format, "scale_format")
    if fmt.name not in unit.scales:
        raise _arguments.wrong_value(caller, "scale_format", fmt.name, f"one of {', '.join(unit.scales)} on {about}")
    sides = []
    for side, shape, name in zip(found, shapes, ("scales[0]", "scales[1]"), strict=True):
        values = arrays.real(caller, name, side)
        if values.shape != shape:
            raise ValueError(_arguments.message(caller, name, f"of shape {values.shape}", str(shape)))
        sides.append(np.abs(_values(caller, values, fmt, name)))
    return tuple(sides), fmt


def _define(x, y, out, unit: MatrixUnit, pair, factors, scale_format) -> None:
    """Answer few elements by the definition."""
    from refimpl.spec import units as spec
    from refimpl.spec.float_codes import from_float, to_float

    def decoded(side):
        return [[from_float(v) for v in row] for row in side.tolist()]

    rows, columns, first = decoded(x), decoded(y.T), decoded(out)
    both = [decoded(factors[0]), decoded(factors[1].T)] if factors else [[[]] * len(rows), [[]] * len(columns)]
    for i, j in np.ndindex(*out.shape):
        total = spec.dot(rows[i], columns[j], first[i][j], unit, pair, (both[0][i], both[1][j]), scale_format)
        out[i, j] = to_float(total)


def _compute(x, y, out, unit: MatrixUnit, pair, factors, scale_format) -> None:
    """Compute by kernels, on as many threads as there are: matrices, or stacks of them, and of their scales."""
    from refimpl.kernels import units as kernel

    if unit.flush:
        x, y = (np.where(np.abs(v) < f.smallest_normal, 0.0, v) for v, f in zip((x, y), pair, strict=True))
    record = _record(kernel, unit, pair, scale_format)
    if unit.sum == "pairwise" and unit.terms & (unit.terms - 1) == x.shape[-1] % unit.terms == 0:
        x, y = x.astype(np.float32), y.astype(np.float32)
        _each(
            out,
            y.shape[-2] * y.shape[-1],
            lambda at, rows: kernel.pairwise_products(x[at][rows], y[at], out[at][rows], record),
        )
        return
    none = np.zeros((1, 0))
    scales = [_split(s, scale_format or pair[0], unit) for s in (factors or (none, none))]
    usual = _columns_at_once(unit, x, y) and not any(kinds.any() for _, _, kinds in scales)
    if usual and _aligned(kernel, x, y, out, unit, pair, scales, record):
        return
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if fill := -x.shape[-1] % unit.terms if unit.sum == "aligned" else 0:
        before = ((0, 0),) * (x.ndim - 2)
        x, y = np.pad(x, (*before, (0, 0), (0, fill))), np.pad(y, (*before, (0, fill), (0, 0)))
    a, b = (_split(v, f, unit) for v, f in zip((x, y), pair, strict=True))
    finite = not any(part[2].any() for part in (a, b, *scales))
    if finite and _sums_at_once(unit, pair, record):
        whole = [
            np.where(s == 0, 0, s << np.maximum(e - f.min_exponent, 0))
            for (s, e, _), f in zip((a, b), pair, strict=True)
        ]
        left, right = (tuple(map(np.ascontiguousarray, side[:2])) for side in scales)

        def scaled(at, rows):
            first, second = (v[at][rows] for v in (whole[0], *left)), (v[at] for v in (whole[1], *right))
            (x, *of_x), (y, *of_y) = first, second
            kernel.scaled_products(x, y, *of_x, *of_y, out[at][rows], record)

        _each(out, y.shape[-2] * y.shape[-1], scaled)
        return

    def operands(parts):
        return kernel.Operands(*map(np.ascontiguousarray, parts))

    def one_by_one(at, rows):
        left = operands([*(v[at][rows] for v in (*a, x)), *(v[at][rows] if unit.scales else v for v in scales[0])])
        right = operands([*(v[at].T for v in (*b, y)), *((v[at] if unit.scales else v).T for v in scales[1])])
        kernel.products(left, right, out[at][rows], record)

    _each(out, y.shape[-2] * y.shape[-1], one_by_one)


def _each(out: np.ndarray, steps: int, work) -> None:
    """Call work(index, rows) on every matrix of a stack, or on the one there is, some rows at a time."""
    for at in np.ndindex(*out.shape[:-2]):
        arrays.by_rows(out.shape[-2], steps, lambda start, stop, at=at: work(at, slice(start, stop)))


def _columns_at_once(unit: MatrixUnit, x, y) -> bool:
    """Tell whether `_aligned` computes it, if all is finite."""
    bits = max(unit.fraction_bits, *(unit.joined or (0,))) + 2 + (unit.terms + 1).bit_length()
    usual = (unit.sum, unit.cut, unit.align, unit.carry_bits) == ("aligned", "toward_zero", "factors", None)
    if not usual or unit.inner != 1 or bits > 53:
        return False
    if unit.infinite_from is None:
        return True
    return math.prod(float(np.abs(v).max(initial=0.0)) for v in (x, y)) < 2.0**unit.infinite_from


def _aligned(kernel, x, y, out, unit: MatrixUnit, pair, scales, record) -> bool:
    """Compute matrices, or stacks of them, many columns at once; tell whether all operands were finite."""
    a, b, c = (v.reshape(-1, *v.shape[-2:]) for v in (x, y, out))
    shifts = [part[1] if part[1].ndim == 3 else part[1][None] for part in scales]
    if turned := out.shape[-1] < min(out.shape[-2], kernel.COLUMNS):  # as many columns at once as there are
        a, b, c = b.swapaxes(1, 2), a.swapaxes(1, 2), np.ascontiguousarray(c.swapaxes(1, 2))
        pair, shifts = pair[::-1], [shift.swapaxes(1, 2) for shift in shifts[::-1]]
    parts = []
    for v, fmt in zip((a, b), pair, strict=True):
        flat, strides = _flat(v)
        found = np.empty(v.shape, np.int32), np.empty(v.shape, np.int32)
        if not kernel.split_float32(flat, strides, _kept(fmt, unit), fmt.min_exponent, *found):
            return False
        parts.append(found)
    if unit.scales:
        for (_, exponents), shift, axis in zip(parts, shifts, (2, 1), strict=True):
            exponents += np.repeat(shift, unit.block, axis=axis)
    number, rows, columns = c.shape
    arrays.by_rows(
        number * rows,
        x.shape[-1] * columns,
        lambda start, stop: kernel.aligned_products(*parts[0], *parts[1], c, record, start, stop),
    )
    if turned:
        out[...] = c.swapaxes(1, 2).reshape(out.shape)
    return True


def _flat(x: np.ndarray) -> tuple[np.ndarray, tuple[int, ...]]:
    """Return the bits of a stack of matrices as float32, flat in the order of memory, and where each axis leads."""
    axes = sorted(range(3), key=lambda axis: -x.strides[axis])
    bits = np.ascontiguousarray(x.transpose(axes), np.float32).reshape(-1).view(np.int32)
    return bits, tuple(math.prod(x.shape[axis] for axis in axes[axes.index(at) + 1 :]) for at in range(3))


def _kept(fmt: FloatFormat, unit: MatrixUnit) -> int:
    """Return the mantissa bits of an operand that the unit keeps."""
    return fmt.mantissa_bits if unit.operand_bits is None else min(fmt.mantissa_bits, unit.operand_bits)


def _sums_at_once(unit: MatrixUnit, pair, record) -> bool:
    """Tell whether `scaled_products` computes it."""
    how = unit.sum, unit.cut, unit.align, unit.carry_bits, unit.halves, unit.joined, unit.infinite_from
    if unit.inner == 1 or how != ("aligned", "toward_zero", "factors", None, False, None, None):
        return False
    largest = unit.inner * int(np.prod([f.max / f.smallest_subnormal for f in pair], dtype=object))  # of an exact sum
    bits = largest.bit_length() + record.scale_fraction + 2  # times its scales
    lead = unit.fraction_bits - (record.fraction + record.scale_fraction - record.lowest)
    carries = (unit.terms // unit.inner + 1).bit_length()
    return largest < 2**31 and bits + max(lead, 0) <= 62 and max(bits + lead, unit.fraction_bits + 1) + carries <= 53


def _split(x: np.ndarray, fmt: FloatFormat, unit: MatrixUnit) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return significands (integers, in units of the last mantissa bit), exponents and kinds of values."""
    from refimpl.kernels.units import INFINITE, NAN, split

    found = np.zeros(x.shape, np.int32), np.zeros(x.shape, np.int32), np.zeros(x.shape, np.int8)
    bits = _kept(fmt, unit)
    if bits > 23:  # float64, of which only the values are used
        found[2][np.isinf(x)], found[2][np.isnan(x)] = INFINITE, NAN
    else:
        split(x.reshape(-1), bits, fmt.min_exponent, *(v.reshape(-1) for v in found))
    return found


def _record(kernel, unit: MatrixUnit, pair, scale_format) -> Any:
    """Return the unit as kernels take it."""

    def number(value):
        return -1 if value is None else value

    joined, accumulator = unit.joined or (None, None)
    return kernel.Unit(
        sum=("aligned", "pairwise", "fma").index(unit.sum),
        terms=unit.terms,
        bits=unit.fraction_bits,
        cut=("toward_zero", "toward_negative", "ties_to_even", "to_odd").index(unit.cut),
        by_products=unit.align == "products",
        carry=number(unit.carry_bits),
        halves=unit.halves,
        joined=number(joined),
        joined_accumulator=number(accumulator),
        reach=number(unit.reach),
        infinite_from=number(unit.infinite_from),
        minus_zero=unit.minus_zero,
        precision=unit.into.mantissa_bits + 1,
        emin=unit.into.min_exponent,
        emax=unit.into.maxexp - 1,
        nearest=unit.rounding == "ties_to_even",
        flush=unit.flush,
        promote=unit.promote or 0,
        block=unit.block,
        inner=unit.inner,
        fraction=sum(_kept(fmt, unit) for fmt in pair),
        scale_fraction=2 * scale_format.mantissa_bits if scale_format is not None else 0,
        lowest=sum(fmt.min_exponent for fmt in pair),
    )


def _written(out: np.ndarray, unit: MatrixUnit) -> np.ndarray:
    """Return accumulators in their dtype, NaN as the unit writes it."""
    with np.errstate(over="ignore"):  # there is none: values are those of the accumulator
        found = out.astype(DTYPES.get(unit.into.name, np.float32))
    if (nan := np.isnan(out)).any():
        found[nan] = np.nan
        if unit.nan_ones:
            bits = np.uint16 if found.dtype == np.float16 else np.uint32
            found.view(bits)[nan] = np.iinfo(bits).max >> 1
    return found
