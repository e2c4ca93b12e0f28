"""Peers held to the definition by `conform`: as good as known, and where they deviate, as known."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

import refimpl as rf

conform = rf.testing.conform
SCRIPT = Path(__file__).parents[2] / "benchmarks/deviations_of_peers.py"


def deviating(report):
    return {result.name for result in report.failures if result.kind == "case group"}


def test_the_script_prints_each_deviation_with_its_smallest_case(capsys, monkeypatch, tmp_path):
    pytest.importorskip("ml_dtypes", reason="the peer ml_dtypes is not installed")
    pytest.importorskip("gfloat", reason="the peer gfloat is not installed")
    monkeypatch.setattr(
        sys, "argv", [str(SCRIPT), "--only", "e8m0fnu from float", "--json", str(tmp_path / "table.json")]
    )
    runpy.run_path(str(SCRIPT), run_name="__main__")
    printed = capsys.readouterr().out
    assert "rounds up whatever lies between the two smallest scales" in printed
    assert "input  float32 0x005fffff" in printed
    assert "ml_dtypes #298" in printed and "12 scales" in printed
    assert (tmp_path / "table.json").stat().st_size > 1000


def test_ml_dtypes_int4_truncates_and_wraps():
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="the peer ml_dtypes is not installed")
    report = conform(ml_dtypes.int4, inputs=["float32"])
    assert "toward_zero and wraps around" in report.diagnosis
    assert "float_to_int" in deviating(report)


@pytest.mark.parametrize("mode", ["ties_to_even", "toward_negative"])
def test_gfloat_rounds_every_number_right_and_keeps_a_nan_where_there_is_none(mode):
    gfloat = pytest.importorskip("gfloat.formats", reason="the peer gfloat is not installed")
    assert conform(gfloat.format_info_ocp_e4m3, rounding=mode, inputs=["float64"]).passed
    report = conform(gfloat.format_info_ocp_e2m1, rounding=mode, overflow="saturate", inputs=["float64"])
    assert deviating(report) == {"nan_into_formats_without"}


# as PyTorch 2.13 does: from float32 right but for what its conversions say of infinity and NaN
TORCH = {
    "float8_e4m3fn": "saturate",
    "float8_e5m2": "overflow",
    "float8_e4m3fnuz": "overflow",
    "float8_e5m2fnuz": "overflow",
    "float16": "overflow",
    "bfloat16": "overflow",
}


@pytest.mark.parametrize("name", TORCH)
def test_torch_rounds_float32_as_defined_and_float64_twice(name):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    dtype = getattr(torch, name)
    found = deviating(conform(dtype, overflow=TORCH[name], inputs=["float32"]))
    assert not found, found
    twice = conform(dtype, overflow=TORCH[name], inputs=["float64"])
    assert "rounds float64 through float32" in twice.diagnosis or twice.passed


def test_torch_integers_with_a_scale_multiply_by_its_reciprocal():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    scale = float(np.float32(0.05))

    def quantize(x):
        found = torch.fake_quantize_per_tensor_affine(torch.from_numpy(x.copy()), scale, 3, -128, 127)
        return found.numpy()

    report = conform(quantize, "int8_full", scale=scale, zero_point=3, inputs=["float32"])
    assert deviating(report) == {"ties", "near_ties", "range"}
    assert "multiplies by the reciprocal of the scale in float32" in report.diagnoses
