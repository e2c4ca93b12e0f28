"""Scaled FP8, MX and NVFP4 against torchao's own functions: scales, codes and decoded values."""

import numpy as np
import pytest

import refimpl as rf

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
pytest.importorskip("torchao", reason="torchao is not installed")
from torchao.prototype.mx_formats.config import ScaleCalculationMode  # noqa: E402
from torchao.prototype.mx_formats.mx_tensor import to_mx  # noqa: E402
from torchao.prototype.mx_formats.nvfp4_tensor import nvfp4_quantize, per_tensor_amax_to_scale  # noqa: E402
from torchao.quantization import quant_primitives as affine  # noqa: E402

FP8 = [torch.float8_e4m3fn, torch.float8_e5m2]
SHARING = [
    ((1, 128), {"block_size": (1, 128)}),
    ((128, 128), {"block_size": (128, 128)}),
    ((1, 512), {"axis": 0}),
    ((256, 1), {"axis": 1}),
    ((256, 512), {}),
]
RULES = {"FLOOR": "floor", "RCEIL": "ceil", "CEIL": "ceil_log2", "EVEN": "even"}
MX = {"mxfp8_e4m3": FP8[0], "mxfp8_e5m2": FP8[1], "mxfp4_e2m1": torch.float4_e2m1fn_x2}


def values(rows, columns, spread):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((rows, columns)) * np.exp2(rng.integers(-spread, spread, (rows, 1)))
    return x.astype(np.float32)


def unpacked(codes):
    """Return codes of 4 bits that lie in pairs, the first in the low bits."""
    found = codes.view(torch.uint8).numpy()
    return np.stack([found & 15, found >> 4], axis=-1).reshape(len(found), -1)


@pytest.mark.parametrize("fmt", FP8)
@pytest.mark.parametrize("block, how", SHARING)
def test_scaled_fp8_is_torchao_s(fmt, block, how):
    x = values(256, 512, 20)
    scale = affine._choose_scale_float8(torch.from_numpy(x), list(block), fmt)
    theirs = affine._quantize_affine_float8(torch.from_numpy(x), scale, fmt)
    codes, scales = rf.quantize_scaled(x, fmt, quotient="float32", **how)
    assert (scales.ravel() == scale.numpy().ravel()).all() and (codes == theirs.view(torch.uint8).numpy()).all()
    back = affine._dequantize_affine_float8(theirs, scale).numpy()
    assert (rf.decode_scaled(codes, scales, fmt, **how) == back).all()


@pytest.mark.parametrize("spread", [3, 60])
@pytest.mark.parametrize("mode", RULES)
@pytest.mark.parametrize("name", MX)
def test_mx_by_every_rule_of_the_scale_is_torchao_s(name, mode, spread):
    x = values(512, 64, spread)
    scales, codes = to_mx(torch.from_numpy(x), MX[name], 32, ScaleCalculationMode[mode])
    codes = unpacked(codes) if "fp4" in name else codes.view(torch.uint8).numpy()
    found = rf.quantize_blocks(x, name, scale_rule=RULES[mode])
    assert (found.scales == scales.view(torch.uint8).numpy()).all() and (found.codes == codes).all()


@pytest.mark.parametrize("scaled", [True, False])
def test_nvfp4_with_and_without_a_scale_of_the_tensor_is_torchao_s(scaled):
    x = values(512, 64, 8)
    tensor = per_tensor_amax_to_scale(torch.from_numpy(x).abs().max()) if scaled else None
    scales, codes = nvfp4_quantize(torch.from_numpy(x), 16, *[tensor] * scaled)
    least = torch.finfo(torch.float8_e4m3fn).tiny
    found = rf.quantize_blocks(x, "nvfp4", tensor_scale=float(tensor) if scaled else 1.0, least_scale=least)
    assert (found.scales == scales.view(torch.uint8).numpy().reshape(found.scales.shape)).all()
    assert (found.codes == unpacked(codes)).all()
