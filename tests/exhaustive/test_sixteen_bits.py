"""Every code of formats of 9 to 16 bits: kernels against definitions, and codes that come back."""

import numpy as np
import pytest

from refimpl import ops
from refimpl.formats import FloatFormat, PositFormat, names
from refimpl.formats import format as format_of
from refimpl.spec import float_codes, posits

NAMES = [
    "float16",
    "bfloat16",
    "e4m4",
    "e5m3",
    "e6m7",
    "e7m7",
    "e6m9",
    "e8m7",
    "e5m10fnuz",
    "e4m11p3109e",
    "binary12p5ue",
    "binary16p8sf",
    "e8m7_flush",
    "e0m13",
    "posit16_2",
    "posit16_1",
    "posit12_0",
]
SMALL_OR_SIXTEEN = [
    name for name in names() if isinstance(format_of(name), (FloatFormat, PositFormat)) and format_of(name).bits <= 16
]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_code_decodes_as_defined(name):
    fmt = format_of(name)
    spec = posits if isinstance(fmt, PositFormat) else float_codes
    codes = np.arange(2**fmt.bits, dtype=np.uint16)
    expected = [float_codes.to_float(spec.decode(code, fmt)) for code in range(2**fmt.bits)]
    expected = np.array(expected)
    for got in (ops.decode(codes, fmt), np.concatenate([ops.decode(c, fmt) for c in np.split(codes, 2)])):
        same = (got == expected) & (np.signbit(got) == np.signbit(expected))
        assert (same | (np.isnan(got) & np.isnan(expected))).all()


@pytest.mark.parametrize("name", [*NAMES, *SMALL_OR_SIXTEEN])
def test_every_value_encodes_to_its_code_in_every_mode(name):
    fmt = format_of(name)
    codes = np.arange(2**fmt.bits, dtype=np.uint16)
    values = ops.decode(codes, fmt)
    keep = ~np.isnan(values)
    if isinstance(fmt, FloatFormat) and not fmt.has_subnormals:
        magnitude = codes & np.uint16(2**fmt.bits - 1 - fmt.sign_mask)
        flushed = (magnitude > 0) & (values == 0)  # many codes of one zero
        keep &= ~flushed
    modes = ["ties_to_even"]
    if isinstance(fmt, FloatFormat):
        modes += ["ties_to_away", "toward_zero", "toward_positive", "toward_negative", "to_odd"]
    for rounding in modes:
        back = ops.encode(values, fmt, rounding=rounding)
        assert (back[keep] == codes[keep]).all(), rounding
    if isinstance(fmt, FloatFormat):
        back = ops.encode(values, fmt, rounding="stochastic", seed=1)
        assert (back[keep] == codes[keep]).all()


@pytest.mark.parametrize("name", SMALL_OR_SIXTEEN)
def test_values_grow_with_the_code(name):
    fmt = format_of(name)
    top = fmt.nar_code - 1 if isinstance(fmt, PositFormat) else fmt.max_code
    assert (np.diff(ops.decode(np.arange(top + 1), fmt)) > 0).all()
