"""Code books and blocks against bitsandbytes' own: values as it stores them, codes, scales and decoded values."""

import numpy as np
import pytest

import refimpl as rf
from refimpl.formats.codebooks import dynamic_values

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
functional = pytest.importorskip("bitsandbytes.functional", reason="bitsandbytes is not installed")
FOUR = {"fp4": "bitsandbytes_fp4", "nf4": "nf4"}


def normal(scale, size=1 << 16):
    return (np.random.default_rng(1).standard_normal(size) * scale).astype(np.float32)


@pytest.mark.parametrize("theirs, ours", [*FOUR.items(), ("af4", "bitsandbytes_af4")])
def test_books_of_four_bits_are_stored_in_their_order(theirs, ours):
    assert functional.get_4bit_type(theirs, device="cpu").tolist() == list(rf.format(ours).book)


@pytest.mark.parametrize("signed", [True, False])
def test_dynamic_maps_are_theirs_to_the_bit(signed):
    if torch.backends.cpu.get_cpu_capability() == "DEFAULT":
        pytest.skip("without fused multiply-adds PyTorch computes another map")
    name = "dynamic8" if signed else "dynamic8_unsigned"
    assert functional.create_dynamic_map(signed=signed).tolist() == list(rf.format(name).book)
    for bits in range(2, 9):
        for exponent_bits in range(1 if signed else bits - 1, bits):  # it refuses others of unsigned ones
            theirs = functional.create_dynamic_map(signed, exponent_bits, bits)
            assert np.unique(theirs.numpy()).tolist() == list(dynamic_values(bits, exponent_bits, signed))


@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e30, 1e-30])
@pytest.mark.parametrize("block", [64, 4096])
@pytest.mark.parametrize("theirs, ours", FOUR.items())
def test_blocks_of_four_bits_are_theirs(theirs, ours, block, scale):
    x = normal(scale)
    packed, state = functional.quantize_4bit(torch.from_numpy(x), blocksize=block, quant_type=theirs)
    found, scales = rf.quantize_codebook(x, ours, block_size=block)
    assert (state.absmax.numpy() == scales).all()
    codes, book = rf.unpack_bits(packed.numpy().reshape(-1), 4, x.size, order="high"), np.array(rf.format(ours).book)
    assert (book[codes] == book[found]).all()  # FP4 has two codes of zero
    back = functional.dequantize_4bit(packed, state).numpy()
    assert (back == rf.decode_codebook(codes, scales, ours, block_size=block)).all()


@pytest.mark.parametrize("scale", [1.0, 1e30, 1e-30])
@pytest.mark.parametrize("signed", [True, False])
def test_blocks_of_eight_bits_have_their_scales_and_values_and_codes_that_are_no_farther(signed, scale):
    # its code on processors looks up nearly the nearest, some thousandths of all codes are not
    x, name = (normal(scale), "dynamic8") if signed else (abs(normal(scale)), "dynamic8_unsigned")
    book = torch.tensor(rf.format(name).book, dtype=torch.float32)
    theirs, state = functional.quantize_blockwise(torch.from_numpy(x), code=book, blocksize=256)
    codes, scales = rf.quantize_codebook(x, name, block_size=256)
    assert (state.absmax.numpy() == scales).all()
    back = rf.decode_codebook(theirs.numpy(), scales, name, block_size=256)
    assert (functional.dequantize_blockwise(theirs, state).numpy() == back).all()
    values, top = np.array(rf.format(name).book), np.repeat(scales.ravel().astype(float), 256)
    ours, other = (abs(x - top * values[c]) for c in (codes, theirs.numpy()))
    assert (codes == theirs.numpy()).mean() > 0.99 and (ours <= other + top * 2.0**-24).all()
