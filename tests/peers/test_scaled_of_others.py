"""Scaled FP8 and NVFP4 against the formulas of torchao, computed by PyTorch's own casts."""

import numpy as np
import pytest

import refimpl as rf

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
FP8 = torch.float8_e4m3fn


def normal(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("tile", [(128, 128), (1, 128)])
def test_tiles_of_fp8_with_scales_that_are_powers_of_two_are_those_of_pytorch(tile):
    x = normal(256, 384) * np.float32(3)
    rows, columns = 256 // tile[0], 384 // tile[1]
    tiles = x.reshape(rows, tile[0], columns, tile[1])
    scale = np.exp2(np.ceil(np.log2(abs(tiles).max(axis=(1, 3)) / 448))).astype(np.float32)
    wide = np.repeat(np.repeat(scale, tile[0], 0), tile[1], 1)
    theirs = (torch.from_numpy(x) / torch.from_numpy(wide)).to(FP8)
    codes, same = rf.quantize_scaled(x, FP8, block_size=tile, scale=scale)
    assert (codes == theirs.view(torch.uint8).numpy()).all() and (same == scale).all()
    back = rf.decode_scaled(codes, scale, FP8, block_size=tile)
    assert (back == theirs.float().numpy() * wide).all()


SHARING = {  # what shares a scale, and the shape of that
    "tensor": ({}, (256, 384)),
    "rows": ({"axis": 0}, (1, 384)),
    "columns": ({"axis": 1}, (256, 1)),
    "tiles of 1 x 128": ({"block_size": (1, 128)}, (1, 128)),
    "tiles of 128 x 128": ({"block_size": (128, 128)}, (128, 128)),
}


@pytest.mark.parametrize("scales", [torch.float32, torch.float16])
@pytest.mark.parametrize("fmt", [FP8, torch.float8_e5m2])
@pytest.mark.parametrize("shared", SHARING)
def test_values_under_scales_of_their_own_are_those_of_pytorch_s_eager_code(shared, fmt, scales):
    how, (rows, columns) = dict(SHARING[shared][0]), SHARING[shared][1]
    x = normal(256, 384) * np.exp2(np.arange(256, dtype=np.float32) % 13)[:, None]
    tiles = torch.from_numpy(x).reshape(256 // rows, rows, 384 // columns, columns)
    largest = tiles.abs().amax(dim=(1, 3))
    scale = largest / torch.finfo(fmt).max  # in float32: rounded as often as the exact quotient
    if scales == torch.float16:
        scale = torch.from_numpy((largest.double() / torch.finfo(fmt).max).numpy().astype(np.float16))
    wide = scale.float()[:, None, :, None]
    theirs = (tiles / wide).clamp(-torch.finfo(fmt).max, torch.finfo(fmt).max).to(fmt)
    back = (theirs.float() * wide).reshape(x.shape).numpy()
    theirs = theirs.reshape(x.shape).view(torch.uint8).numpy()
    how |= {"scale_format": str(scales).removeprefix("torch."), "quotient": "float32"}
    codes, got = rf.quantize_scaled(x, fmt, **how)
    assert got.dtype == scale.numpy().dtype and (got.ravel() == scale.numpy().ravel()).all()
    same = {key: value for key, value in how.items() if key in ("axis", "block_size")}
    assert (codes == theirs).all() and (rf.decode_scaled(codes, got, fmt, **same) == back).all()
    assert (rf.quantize_scaled(x, fmt, scale=got, **how)[0] == theirs).all()
    once = rf.quantize_scaled(x, fmt, scale=got, **how | {"quotient": "exact"})[0]  # others at ties of float32 alone
    quotients, other = (tiles / wide).reshape(x.shape).numpy(), once != theirs
    ends = [rf.decode(c[other], fmt) for c in (once, theirs)]
    assert other.sum() < 20 and (quotients[other] == (ends[0] + ends[1]) / 2).all()


@pytest.mark.parametrize("tensor", [1.0, 2.0**-9])
def test_nvfp4_with_torchao_s_least_scale_has_its_block_scales(tensor):
    x = normal(64, 64) * np.exp2(np.arange(64, dtype=np.float32) - 40)[:, None]
    amax = torch.from_numpy(x).reshape(64, 4, 16).abs().amax(2)
    theirs = (amax / 6 / tensor).clamp(2.0**-6, 448).to(FP8).view(torch.uint8).numpy()
    got = rf.quantize_blocks(x, "nvfp4", tensor_scale=tensor, least_scale=torch.finfo(FP8).tiny)
    assert (got.scales == theirs).all()


def test_both_ceilings_of_torchao_are_rules():
    x = normal(256, 32) * np.exp2(np.arange(256, dtype=np.float32) / 8)[:, None]
    amax = torch.from_numpy(x).abs().amax(1).double()
    rceil = torch.ceil(torch.log2(amax / 448)).numpy() + 127
    ceil = torch.ceil(torch.log2(amax)).numpy() - 8 + 127
    assert (rf.quantize_blocks(x, "mxfp8_e4m3", scale_rule="ceil").scales[:, 0] == rceil).all()
    assert (rf.quantize_blocks(x, "mxfp8_e4m3", scale_rule="ceil_log2").scales[:, 0] == ceil).all()
