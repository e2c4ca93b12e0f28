"""Quantizers of blocks and of scaled integers, written for this test, right and with one defect planted.

None of the right ones calls the package: scales come from frexp, elements from a table by formula.
"""

import re
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import refimpl as rf
from refimpl.formats import SCALE_RULES, BlockFormat
from refimpl.spec import integers as spec_integers
from refimpl.testing.checks.block_codes import every_code
from refimpl.testing.checks.scaled_blocks import ScaledBlocks
from refimpl.testing.checks.scaled_integers import ScaledIntegers
from refimpl.testing.diagnosis import block_codes
from refimpl.testing.diagnosis.block_stages import Plan
from refimpl.testing.diagnosis.integer_defects import defects_of
from refimpl.testing.diagnosis.integers import part_of, predict
from refimpl.testing.expected.quotients import quotient

T = rf.testing
E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6.0])
E4M3 = np.array([m * 2.0**-9 for m in range(8)] + [(8 + m) * 2.0 ** (e - 10) for e in range(1, 16) for m in range(8)])[
    :127
]
SHORT = BlockFormat(element=rf.format("float8_e4m3fn"), scale=rf.format("float8_e5m2"), block_size=8, tensor_scale=True)


def to_grid(v, grid, ties_away=False):
    """Nearest value of a grid, ties to the even index, saturating."""
    size = np.minimum(np.abs(v), grid[-1])
    k = np.minimum(np.searchsorted(grid, size, side="right") - 1, len(grid) - 2)
    middle = (grid[k] + grid[k + 1]) / 2
    up = (size > middle) | (size == middle) & ((k % 2 == 1) | ties_away)
    return np.copysign(grid[k + up], v)


def mx(grid=E2M1, emax=2, size=32, ties_away=False, scale="floor", saturates=True, flush=0.0, spread=True, low=-127):
    """A quantizer to MX blocks; the keywords plant defects."""

    def q(x):
        blocks = x.astype(np.float64).reshape(-1, size)
        top = np.abs(blocks).max(axis=1, keepdims=True)
        bad = ~np.isfinite(top)
        blocks, top = np.where(bad, 0, blocks), np.where(bad, 0, top)
        exponent = np.frexp(top)[1] - 1 - emax  # floor(log2 top) - emax
        if scale == "ceil":
            exponent = np.frexp(top / grid[-1])[1] - 1
            exponent += top > grid[-1] * 2.0**exponent
        unit = 2.0 ** np.clip(np.where(top == 0, -127, exponent), low, 127)
        scaled = blocks / unit
        y = to_grid(scaled, grid, ties_away)
        if flush:
            y = np.where(np.abs(y) < flush, np.copysign(0, y), y)
        if not saturates:
            y = np.where(np.abs(scaled) > grid[-1] + (grid[-1] - grid[-2]) / 2, np.nan, y)
        y = np.where(bad, np.nan if spread else 0, y * unit)
        return y.reshape(x.shape).astype(x.dtype)

    return q


def nvfp4(tensor_scale=True, round_scale=True):
    """NVFP4 with its two scales; of float32 inputs, float64 has every tie of both exactly."""

    def q(x):
        blocks = x.astype(np.float64).reshape(-1, 16)
        tops = np.abs(blocks).max(axis=1, keepdims=True, initial=0)
        bad = ~np.isfinite(tops)
        blocks, tops = np.where(bad, 0, blocks), np.where(bad, 0, tops)
        outer = max(float(np.float32(tops.max(initial=0) / 2688)), 2.0**-149) if tops.any() and tensor_scale else 1.0
        inner = to_grid(tops / (6 * outer), E4M3) if round_scale else np.float32(tops / (6 * outer)).astype(float)
        inner = np.where(inner == 0, 1.0, inner)
        y = np.where(bad, np.nan, to_grid(blocks / (inner * outer), E2M1) * (inner * outer))
        return y.reshape(x.shape).astype(x.dtype)

    return q


RIGHT = {
    "mxfp4_e2m1": (mx(), {}),
    "mxfp8_e4m3": (mx(E4M3, 8), {}),
    "mxfp4_e2m1 ceil": (mx(scale="ceil"), {"scale_rule": "ceil"}),
    "mxfp4_e2m1 away": (mx(ties_away=True), {"rounding": "ties_to_away"}),
    "mxfp4_e2m1 open": (mx(spread=False), {"not_finite": "open"}),
    "nvfp4": (nvfp4(), {"inputs": ["float32"]}),
}


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_block_quantizer_conforms(name):
    quantizer, rules = RIGHT[name]
    report = T.conform(quantizer, name.split()[0], **rules)
    assert report.passed, str(report)


def below(power):
    """Right, but NaN wherever a block's largest magnitude is below a power of two."""

    def q(x):
        top = np.repeat(np.abs(x.reshape(len(x), -1, 32)).max(axis=-1), 32, axis=-1)
        return np.where((top < 2.0**power) & (top > 0), x.dtype.type(np.nan), mx(E4M3, 8)(x))

    return q


WRONG = {
    "rounds elements ties_to_away": ("mxfp4_e2m1", mx(ties_away=True)),
    "has the scale rule ceil": ("mxfp4_e2m1", mx(scale="ceil")),
    "cuts blocks of 16": ("mxfp4_e2m1", mx(size=16)),
    "does not saturate: elements too large become NaN, but at the tie": ("mxfp8_e4m3", mx(E4M3, 8, saturates=False)),
    "has scales twice too large": ("mxfp4_e2m1", mx(emax=1)),
    "never uses scales below 2^-126": ("mxfp4_e2m1", mx(low=-126)),
    "flushes subnormal elements to zero": ("mxfp4_e2m1", mx(flush=1.0)),
    "leaves the tensor scale out": ("nvfp4", nvfp4(tensor_scale=False)),
    "does not round block scales": ("nvfp4", nvfp4(round_scale=False)),
    "loses the sign of zeros": ("mxfp4_e2m1", lambda x: mx()(x) + x.dtype.type(0)),
    "cuts blocks along the first axis": ("mxfp4_e2m1", lambda x: mx()(x.T).T if len(x) % 32 == 0 else x),
    "gives NaN, only in blocks that are not all zeros and in blocks whose largest magnitude is below 2^-112": (
        "mxfp8_e4m3",
        below(-112),
    ),
    "rounds elements ties_to_away and has the scale rule ceil": ("mxfp4_e2m1", mx(ties_away=True, scale="ceil")),
}


@pytest.mark.parametrize("defect", WRONG)
def test_a_planted_defect_of_blocks_is_caught_and_named(defect):
    fmt, quantizer = WRONG[defect]
    report = T.conform(quantizer, fmt, inputs=["float32"])
    assert not report.passed
    said = report.diagnosis.removeprefix("consistent with: ")  # or a description of where it fails
    assert said.startswith(defect), str(report)


def test_a_block_that_is_not_finite_is_told_apart_from_others():
    report = T.conform(mx(spread=False), "mxfp4_e2m1", inputs=["float32"])
    assert [result.name for result in report.failures] == ["not_finite"]
    assert "with not_finite='open' it conforms" in report.diagnosis
    spoiled = T.conform(
        lambda x: np.where(np.isnan(x).any(axis=-1, keepdims=True), x.dtype.type(np.nan), mx()(x)),
        "mxfp4_e2m1",
        not_finite="open",
        inputs=["float32"],
    )
    assert not spoiled.passed and "changes others" in spoiled.diagnosis


def test_a_block_that_fails_is_explained_from_the_definition():
    text = str(T.conform(mx(ties_away=True), "mxfp4_e2m1"))
    assert "so the scale has code 0x" in text and "half way, and ties_to_even takes" in text


# -- nothing is left out ---------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "rules"), [("mxfp8_e4m3", {}), ("mxint8", {"scale_rule": "ceil"}), ("nvfp4", {})])
def test_every_scale_code_is_tried(name, rules):
    expected = ScaledBlocks(rf.format(name), **rules)
    found = set()
    for group in expected.groups():
        for x in group.arrays(np.dtype(np.float64)):
            found |= set(np.unique(expected.coded(x).scales).tolist())
    scale = expected.format.scale
    every = set(range(scale.max_code + 1)) if name != "nvfp4" else set(range(1, scale.max_code + 1))
    assert found == every | {scale.nan_code}


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_every_binade_of_the_largest_magnitude_is_tried(dtype):
    info = np.finfo(dtype)
    for name in ("mxfp4_e2m1", "nvfp4"):
        found = set()
        for group in ScaledBlocks(rf.format(name)).groups():
            for x in group.arrays(np.dtype(dtype)) if not group.optional else ():
                assert x.dtype == dtype
                top = (
                    np.abs(np.nan_to_num(x, nan=np.inf))
                    .astype(np.float64)
                    .reshape(-1, rf.format(name).block_size)
                    .max(axis=1)
                )
                found |= set((np.frexp(top[np.isfinite(top) & (top > 0)])[1] - 1).tolist())
        if name == "mxfp4_e2m1":
            assert found == set(range(info.minexp - info.nmant, info.maxexp))
        else:  # of float64, those that a float32 scale reaches, and some of the others
            assert found >= set(range(max(info.minexp - info.nmant, -140), min(info.maxexp, 100)))


def test_a_large_element_stands_everywhere_among_tiny_ones_and_nan_beside_finite_blocks():
    groups = {
        group.name: group.arrays(np.dtype(np.float32)) for group in ScaledBlocks(rf.format("mxfp4_e2m1")).groups()
    }
    blocks = groups["one_large"][0].reshape(-1, 32)
    assert set(np.abs(blocks).argmax(axis=1).tolist()) == set(range(32))
    bad = ~np.isfinite(groups["not_finite"][0].reshape(-1, 2, 32)).all(axis=-1)
    assert {(True, False), (False, True), (True, True)} <= set(map(tuple, bad.tolist()))


# -- the expected side is the definition -----------------------------------------------------------

EXPECTED = [
    *(ScaledBlocks(rf.format("mxfp4_e2m1"), scale_rule=rule) for rule in SCALE_RULES),
    ScaledBlocks(rf.format("mxfp8_e5m2"), "toward_negative"),
    ScaledBlocks(rf.format("mxint8"), "ties_to_away", "even"),
    ScaledBlocks(rf.format("nvfp4"), "to_odd"),
    ScaledBlocks(rf.format("nvfp4"), tensor_scale=0.0123291015625),
    ScaledBlocks(SHORT),
]


@pytest.mark.parametrize("expected", EXPECTED, ids=str)
def test_the_expected_side_of_blocks_is_the_definition_and_the_stages_of_the_diagnosis_agree(expected):
    expected.hold_to_the_definition()
    for dtype in (np.float32, np.float64):
        for group in expected.groups():
            for x in group.arrays(np.dtype(dtype))[::7]:
                assert expected.same(x, expected.values(x), Plan(expected).predict(x[None])[0]).all(), group.name


def test_a_disagreement_with_the_definition_is_noticed(monkeypatch):
    right = ScaledBlocks.values
    monkeypatch.setattr(ScaledBlocks, "values", lambda self, x: right(self, x) * (1 + (np.abs(x) > 1e30)))
    with pytest.raises(RuntimeError, match="disagree"):
        T.conform(mx(), "mxfp4_e2m1")


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(min_value=2.0**-149, max_value=3e38))
@example(5e-324, 3.0)
@example(1.0, 3.0)
@settings(max_examples=200, deadline=None)
def test_quotients_are_rounded_to_odd(x, s):
    q, exact = float(quotient(x, s)), Fraction(x) / Fraction(s)
    if not 2.0**-890 < abs(exact) < 2.0**890:
        return
    if Fraction(q) != exact:
        assert int(np.float64(q).view(np.int64)) % 2 == 1
        lower, higher = sorted((np.nextafter(q, 0), np.nextafter(q, np.inf * np.sign(q))))
        assert Fraction(float(lower)) < exact < Fraction(float(higher))


# -- codes -------------------------------------------------------------------------------------------


def encode_mx(order="low", bias=127):
    """Codes of MXFP4, two to a byte, and scales."""

    def encode(x):
        blocks = x.astype(np.float64).reshape(-1, 32)
        top = np.abs(blocks).max(axis=1, keepdims=True)
        bad = ~np.isfinite(top)
        blocks, top = np.where(bad, 0, blocks), np.where(bad, 0, top)
        exponent = np.clip(np.where(top == 0, -127, np.frexp(top)[1] - 3), -127, 127)
        y = to_grid(blocks / 2.0**exponent, E2M1)
        codes = (np.searchsorted(E2M1, np.abs(y)) | np.signbit(y) << 3).astype(np.uint8).reshape(x.shape)
        first, second = (codes[:, ::2], codes[:, 1::2])[:: 1 if order == "low" else -1]
        return first | second << 4, np.where(bad, 255, exponent + bias).astype(np.uint8).reshape(len(x), -1)

    return encode


def decode_mx(order="low", bias=127):
    def decode(codes, scales):
        nibbles = np.stack([codes & 15, codes >> 4][:: 1 if order == "low" else -1], axis=-1).reshape(len(codes), -1)
        scale = np.where(scales == 255, np.nan, 2.0 ** (scales.astype(np.float64) - bias))
        return np.where(nibbles >> 3, -E2M1[nibbles & 7], E2M1[nibbles & 7]) * np.repeat(scale, 32, axis=-1)

    return decode


def test_packed_codes_and_scales_conform():
    report = T.conform((encode_mx(), decode_mx()), "mxfp4_e2m1")
    assert report.passed, str(report)
    tried = {result.name: result.tried for result in report.results}
    assert tried["scale_codes"] > 5000 and tried["decode"] == 65536


@pytest.mark.parametrize(
    ("pair", "said"),
    [
        ((encode_mx("high"), None), "swaps the two nibbles of a byte"),
        ((encode_mx(), decode_mx("high")), "swaps the two nibbles of a byte"),
        ((encode_mx(bias=126), None), "writes scale codes one too small"),
        ((encode_mx(), decode_mx(bias=126)), "decodes scales twice too large"),
    ],
)
def test_wrong_codes_of_blocks_are_named(pair, said):
    report = T.conform(pair, "mxfp4_e2m1", inputs=["float32"])
    assert not report.passed and report.diagnoses[0].startswith(said), str(report)


def test_codes_that_stand_for_the_right_values_under_a_wrong_scale_are_a_finding():
    def encode(x):  # a scale twice as large, wherever all elements can be half as large
        codes, scales, _ = rf.quantize_blocks(x, "mxfp6_e2m3")
        half = rf.encode(rf.decode(codes, "float6_e2m3fn") / 2, "float6_e2m3fn")
        kept = rf.decode(half, "float6_e2m3fn") * 2 == rf.decode(codes, "float6_e2m3fn")
        moved = kept.reshape(*scales.shape, 32).all(axis=-1) & (scales < 254)
        return np.where(np.repeat(moved, 32, axis=-1), half, codes), scales + moved

    report = T.conform((encode, None), "mxfp6_e2m3", inputs=["float32"])
    assert [result.name for result in report.failures] == ["scale_codes"]


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (lambda x: x, "encoded blocks are \\(codes, scales\\)"),
        (lambda x: (x.astype(np.uint8) & 0, np.zeros(3, np.uint8)), "scales of shape \\(3,\\)"),
        (lambda x: (x, np.zeros((len(x), 2), np.uint8)), "codes of dtype float32"),
        (lambda x: (np.full(x.shape, 16, np.uint8), np.zeros((len(x), 2), np.uint8)), "have 4 bits"),
    ],
)
def test_what_is_not_codes_and_scales_is_a_finding(result, said):
    report = T.conform((result, None), "mxfp4_e2m1", inputs=["float32"])
    assert not report.passed and re.search(said, str(report)), str(report)


@pytest.mark.parametrize("name", ["mxfp8_e4m3", "mxint8", "nvfp4"])
def test_the_diagnosis_reads_codes_as_the_definition_does(name):
    behaviour = ScaledBlocks(rf.format(name))
    codes, scales = every_code(behaviour)
    right = rf.decode_blocks(codes, scales, name, dtype=np.float64)
    assert behaviour.same(np.zeros(codes.shape), right, block_codes.predict(behaviour, {}, codes, scales, 1.0)).all()


# -- scaled integers -------------------------------------------------------------------------------


def integers(scale, zero_point, *, low=-128, high=127, divide=None, late=True, wrap=False):
    """A quantizer to scaled integers that sees exact quotients; the keywords plant defects."""

    def q(x):
        if divide is not None:
            code = np.rint(divide(x.astype(np.float32)).astype(np.float64)) + zero_point
        elif late:
            exact = [
                round(Fraction(v) / Fraction(scale)) + zero_point if abs(v) < 1e9 else np.copysign(1e18, v)
                for v in np.nan_to_num(x.astype(np.float64)).tolist()
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
    "wraps around instead of saturating": integers(STEP, 7, divide=lambda v: v / np.float32(STEP), wrap=True),
}


@pytest.mark.parametrize("defect", INTEGERS)
def test_scaled_integers_are_held_to_their_scale_and_zero_point(defect):
    with np.errstate(all="ignore"):
        inputs = ["float32", "float64"] if "before rounding" in defect else ["float32"]
        report = T.conform(INTEGERS[defect], "int8_full", scale=STEP, zero_point=7, inputs=inputs)
    if defect == "right":
        assert report.passed, str(report)
    else:
        assert not report.passed and defect in report.diagnoses[0], str(report)
        assert "over the scale" in str(report)


def test_codes_of_scaled_integers_are_looked_at_too():
    def encode(x):
        return rf.quantize_int(np.nan_to_num(x), "uint8", scale=np.float32(0.25), affine=True, zero_point=128)[0]

    def decode(codes):
        return (codes.astype(np.float32) - 128) * np.float32(0.25)

    rules = {"scale": 0.25, "zero_point": 128, "inputs": ["float32"]}
    assert T.conform((encode, decode), "uint8", **rules).passed
    report = T.conform((encode, lambda codes: codes * np.float32(0.25)), "uint8", **rules)
    assert report.diagnoses[0] == "ignores the zero point"


def test_a_zero_point_of_zero_that_is_stored_less_one_is_named():
    def decode(codes):
        return (codes.astype(np.float64) - 15) * 0.5

    report = T.conform((None, decode), "uint4", scale=0.5, zero_point=0)
    assert "reads the zero point 0 as 15" in report.diagnoses[0]


@pytest.mark.parametrize("rounding", ["ties_to_away", "toward_zero", "toward_positive", "toward_negative"])
def test_every_mode_of_scaled_integers_is_its_own(rounding):
    right = ScaledIntegers(rf.format("int8"), 0.5, 0, rounding)
    rules = {"scale": 0.5, "inputs": ["float32"]}
    assert T.conform(lambda x: right.values(x).astype(x.dtype), "int8", rounding=rounding, **rules).passed
    report = T.conform(lambda x: right.values(x).astype(x.dtype), "int8", **rules)
    assert report.diagnoses[0] == rounding


SCALES, ZEROS = np.array([0.1, 0.5, 2.0**-10, 7.0], np.float32), np.array([3, -128, 127, 5])


def along(axis, scales=SCALES, zeros=ZEROS):
    """A quantizer with a scale for each index of an axis, exact where quotients are not near ties of float64."""

    def q(x):
        shape = (-1, 1) if axis == 0 else (1, -1)
        s, z = scales.astype(np.float64).reshape(shape), zeros.reshape(shape)
        return (np.clip(np.rint(x / s) + z, -128, 127) - z) * s

    return q


@pytest.mark.parametrize("axis", [0, 1])
def test_scales_of_each_index_of_an_axis_are_its_own(axis):
    rules = {"scale": SCALES, "zero_point": ZEROS, "axis": axis, "inputs": ["float32"]}
    report = T.conform(along(axis), "int8_full", **rules)
    assert report.passed, str(report)
    wrong = T.conform(along(axis, zeros=ZEROS[:1].repeat(4)), "int8_full", **rules)
    assert wrong.diagnoses[0] == "uses the first zero point for all", str(wrong)


def test_scales_of_blocks_are_their_own():
    scale = np.array([[0.1, 0.5], [0.003, 7.0]], np.float32)

    def q(x):
        assert x.shape == (2, 32)
        wide = np.repeat(scale.astype(np.float64), 16, axis=1)
        return np.clip(np.rint(x / wide), -127, 127) * wide

    report = T.conform(q, "int8", scale=scale, block_size=16, inputs=["float32"])
    assert report.passed, str(report)
    other = T.conform(lambda x: -q(-np.abs(x)), "int8", scale=scale, block_size=16, inputs=["float32"])
    assert other.diagnoses[0] == "loses the sign"


def test_scales_that_do_not_fit_are_refused():
    for arguments, said in (
        ({"scale": SCALES}, "scale"),
        ({"scale": SCALES, "axis": 0, "block_size": 16}, "axis is 0"),
        ({"scale": SCALES, "axis": 3}, "axis is 3"),
        ({"scale": SCALES, "axis": 0, "zero_point": [1, 2]}, "zero_point is of shape \\(2,\\)"),
        ({"scale": -SCALES, "axis": 0}, "scale"),
        ({"axis": 0}, "axis is 0"),
    ):
        with pytest.raises((TypeError, ValueError), match=said):
            T.conform(np.rint, "int8", **arguments)


def test_the_stages_of_the_diagnosis_of_integers_agree_with_the_definition():
    expected = ScaledIntegers(rf.format("uint4"), 0.7, 3, "toward_negative")
    for group in expected.groups():
        for x in group.arrays(np.dtype(np.float64)):
            part = part_of(expected, "quantize", x, x, x > 0)
            found = expected.narrow(predict(expected, {}, part), "quantize", x.dtype)
            right = [spec_integers.decode(int(code), 0.7, 3) for code in expected.codes(x)]
            assert expected.same(x, found, np.array(right)).all(), group.name
            for defect in defects_of(expected):
                predict(expected, defect.stages, part)  # none of them fails on any input


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
    names = tests.pytestmark[0].args[1]
    assert {"ties", "scales", "every_scale", "every_binade", "not_finite", "independence"} <= set(names)
