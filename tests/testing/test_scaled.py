"""Quantizers of blocks and of scaled integers, written for this test, right and with one defect planted.

None of the right ones calls the package: scales come from frexp, elements from a table by formula.
"""

import numpy as np
import pytest

import refimpl as rf
from refimpl.testing.checks.scaled_blocks import ScaledBlocks
from refimpl.testing.checks.scaled_integers import ScaledIntegers

T = rf.testing
E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6.0])
E4M3 = np.array([m * 2.0**-9 for m in range(8)] + [(8 + m) * 2.0 ** (e - 10) for e in range(1, 16) for m in range(8)])[
    :127
]


def to_grid(v, grid, ties_away=False):
    """Nearest value of a grid, ties to the even index, saturating."""
    size = np.minimum(np.abs(v), grid[-1])
    k = np.minimum(np.searchsorted(grid, size, side="right") - 1, len(grid) - 2)
    middle = (grid[k] + grid[k + 1]) / 2
    up = (size > middle) | (size == middle) & ((k % 2 == 1) | ties_away)
    return np.copysign(grid[k + up], v)


def mx(grid=E2M1, emax=2, size=32, ties_away=False, scale="floor", saturates=True, axis=-1, flush=0.0):
    """A quantizer to MX blocks; the keywords plant defects."""

    def q(x):
        wide = np.moveaxis(x.astype(np.float64), axis, -1)
        blocks = wide.reshape(-1, size)
        top = np.abs(blocks).max(axis=1, keepdims=True)
        exponent = np.frexp(top)[1] - 1 - emax  # floor(log2 top) - emax
        if scale == "ceil":
            exponent = np.frexp(top / grid[-1])[1] - 1
            exponent += top > grid[-1] * 2.0**exponent
        unit = 2.0 ** np.clip(np.where(top == 0, -127, exponent), -127, 127)
        scaled = blocks / unit
        y = to_grid(scaled, grid, ties_away)
        if flush:
            y = np.where(np.abs(y) < flush, np.copysign(0, y), y)
        if not saturates:
            y = np.where(np.abs(scaled) > grid[-1] + (grid[-1] - grid[-2]) / 2, np.nan, y)
        return np.moveaxis((y * unit).reshape(wide.shape), -1, axis).astype(x.dtype)

    return q


def nvfp4(tensor_scale=True):
    """NVFP4 with its two scales, each a quotient rounded once (exact fractions where it matters)."""
    from fractions import Fraction

    def q(x):
        if not x.size:
            return x
        wide = x.astype(np.float64)
        top = Fraction(float(np.abs(wide).max()))
        outer = Fraction(float(np.float32(float(top / 2688)))) if tensor_scale and top else Fraction(1)
        out = np.empty_like(wide).reshape(-1, 16)
        for row, block in zip(out, wide.reshape(-1, 16), strict=True):
            quotient = Fraction(float(np.abs(block).max())) / (6 * outer)
            inner = nearest_of(quotient, E4M3) or 1.0
            step = Fraction(inner) * outer
            row[:] = [np.copysign(nearest_of(abs(Fraction(float(v))) / step, E2M1), v) * float(step) for v in block]
        return out.reshape(wide.shape).astype(x.dtype)

    return q


def nearest_of(v, grid):
    """The grid value nearest to a Fraction, ties to the even index."""
    from fractions import Fraction

    k = min(int(np.searchsorted(grid, float(min(v, 10**6)))), len(grid) - 1)
    near = range(max(0, k - 2), min(len(grid), k + 3))
    return float(grid[min(near, key=lambda i: (abs(v - Fraction(float(grid[i]))), i % 2))])


RIGHT = {
    "mxfp4_e2m1": (mx(), {}),
    "mxfp8_e4m3": (mx(E4M3, 8), {}),
    "mxfp4_e2m1 ceil": (mx(scale="ceil"), {"scale_rule": "ceil"}),
    "mxfp4_e2m1 away": (mx(ties_away=True), {"rounding": "ties_to_away"}),
    "nvfp4": (nvfp4(), {}),
}


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_block_quantizer_conforms(name):
    quantizer, rules = RIGHT[name]
    report = T.conform(quantizer, name.split()[0], **rules)
    assert report.passed, str(report)


WRONG = {
    "rounds elements ties_to_away": ("mxfp4_e2m1", mx(ties_away=True)),
    "has the scale rule ceil": ("mxfp4_e2m1", mx(scale="ceil")),
    "cuts blocks of 16": ("mxfp4_e2m1", mx(size=16)),
    "has one scale for a whole row": ("mxfp4_e2m1", mx(size=64)),
    "cuts blocks along the first axis": ("mxfp4_e2m1", mx(axis=0, size=2)),
    "does not saturate: elements too large become NaN": ("mxfp8_e4m3", mx(E4M3, 8, saturates=False)),
    "has scales twice too large": ("mxfp4_e2m1", mx(emax=1)),
    "flushes subnormal elements to zero": ("mxfp4_e2m1", mx(flush=1.0)),
    "leaves the tensor scale out": ("nvfp4", nvfp4(tensor_scale=False)),
    "loses the sign of zeros": ("mxfp4_e2m1", lambda x: mx()(x) + x.dtype.type(0)),
}


@pytest.mark.parametrize("defect", WRONG)
def test_a_planted_defect_of_blocks_is_caught_and_named(defect):
    fmt, quantizer = WRONG[defect]
    if "first axis" in defect:  # as many rows as a block has elements, so that both ways fit

        def quantizer(x):
            return ScaledBlocks(rf.format("mxfp4_e2m1")).values(x.T.copy()).T.astype(x.dtype)

    report = T.conform(quantizer, fmt)
    assert not report.passed
    assert defect in report.diagnoses, str(report)


def test_a_block_that_fails_is_explained_from_the_definition():
    text = str(T.conform(mx(ties_away=True), "mxfp4_e2m1"))
    assert "so the scale has code 0x" in text and "half way, and ties_to_even takes" in text


@pytest.mark.parametrize("name", ["mxfp8_e5m2", "mxint8", "nvfp4"])
def test_the_expected_side_of_blocks_is_the_definition(name):
    from refimpl.spec import blocks, float_codes

    expected = ScaledBlocks(rf.format(name), tensor_scale=0.01171875 if name == "nvfp4" else None)
    fmt = expected.format
    for group in expected.groups():
        x = group.arrays(np.dtype(np.float64))[0][:3]
        for block, found in zip(
            x.reshape(-1, fmt.block_size), expected.values(x).reshape(-1, fmt.block_size), strict=True
        ):
            values = [float_codes.from_float(float(v)) for v in block]
            coded = blocks.encode_block(values, fmt, tensor_scale=expected.tensor_scale or 1.0)
            exact = blocks.decode_block(*coded, fmt, expected.tensor_scale or 1.0)
            assert found.tolist() == [float_codes.to_float(v) for v in exact], group.name


def integers(scale, zero_point, *, low=-128, high=127, divide=None, late=True, wrap=False):
    """A quantizer to scaled integers that sees exact quotients; the keywords plant defects."""
    from fractions import Fraction

    def q(x):
        if divide is not None:
            code = np.rint(divide(x.astype(np.float32)).astype(np.float64)) + zero_point
        elif late:
            exact = [
                round(Fraction(v) / Fraction(scale)) + zero_point if np.isfinite(v) else np.copysign(1e9, v)
                for v in x.astype(np.float64).tolist()
            ]
            code = np.array(exact, np.float64)
        else:
            code = np.rint(x.astype(np.float64) / scale + zero_point)
        if wrap:
            code = np.mod(np.where(np.abs(code) < 2.0**31, code, -(2.0**31)) + 128, 256) - 128
        code = np.clip(code, low, high)
        return ((code - zero_point) * scale).astype(x.dtype)

    return q


STEP = float(np.float32(0.1))
INTEGERS = {  # scale and zero point are those of conform; what stays is right
    "right": integers(STEP, 7),
    "adds the zero point before rounding": integers(STEP, 7, late=False),
    "divides by the scale in float32, and so rounds twice": integers(STEP, 7, divide=lambda v: v / np.float32(STEP)),
    "multiplies by the reciprocal of the scale in float32": integers(
        STEP, 7, divide=lambda v: v * (np.float32(1) / np.float32(STEP))
    ),
    "ignores the zero point": integers(STEP, 0),
    "does not use the lowest code": integers(STEP, 7, low=-127),
}


@pytest.mark.parametrize("defect", INTEGERS)
def test_scaled_integers_are_held_to_their_scale_and_zero_point(defect):
    with np.errstate(all="ignore"):
        report = T.conform(INTEGERS[defect], "int8_full", scale=STEP, zero_point=7)
    if defect == "right":
        assert report.passed, str(report)
    else:
        assert not report.passed and defect in report.diagnoses, str(report)
        assert "over the scale" in str(report)


def test_codes_of_scaled_integers_are_looked_at_too():
    def encode(x):
        return rf.quantize_int(np.nan_to_num(x), "uint8", scale=np.float32(0.25), zero_point=128)[0]

    report = T.conform((encode, None), "uint8", scale=0.25, zero_point=128, inputs=["float32"])
    assert report.passed, str(report)


@pytest.mark.parametrize("rounding", ["ties_to_away", "toward_zero", "toward_positive", "toward_negative"])
def test_every_mode_of_scaled_integers_is_its_own(rounding):
    right = ScaledIntegers(rf.format("int8"), 0.5, 0, rounding)
    assert T.conform(lambda x: right.values(x).astype(x.dtype), "int8", scale=0.5, rounding=rounding).passed
    report = T.conform(lambda x: right.values(x).astype(x.dtype), "int8", scale=0.5)
    assert report.diagnoses[0] == rounding


def test_a_block_quantizer_that_raises_is_a_finding_with_its_row():
    def q(x):
        if (x == 0).all(axis=-1).any():
            raise ZeroDivisionError("no scale")
        return mx()(x)

    report = T.conform(q, "mxfp4_e2m1")
    assert not report.passed
    assert "raised ZeroDivisionError: no scale" in str(report) and "for a row that begins 0, 0" in str(report)


def test_pytest_tests_take_block_formats_too():
    tests = T.pytest_tests(mx(), "mxfp4_e2m1")
    names = [check.name for check in tests.pytestmark[0].args[1]]
    assert {"ties", "scales", "blocks_apart", "independence"} <= set(names)
