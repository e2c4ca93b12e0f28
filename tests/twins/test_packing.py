"""Codes of few bits side by side: the kernel is the definition, and comes back."""

import numpy as np
import pytest

from refimpl import ops
from refimpl.spec import packing as spec


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 7, 8, 9, 31, 64])
def test_packing_is_as_defined_and_comes_back(bits, count):
    codes = np.random.default_rng(bits).integers(0, 2**bits, (3, count)).astype(np.uint8)
    packed = ops.pack_bits(codes, bits)
    assert packed.dtype == np.uint8 and packed.shape == (3, -(-count * bits // 8))
    for row, expected in zip(packed, codes.tolist(), strict=True):
        assert row.tobytes() == spec.pack(expected, bits)
        assert spec.unpack(row.tobytes(), bits, count) == expected
    assert (ops.unpack_bits(packed, bits, count) == codes).all()


@pytest.mark.parametrize("order", ["low", "high"])
@pytest.mark.parametrize("bits", range(1, 9))
def test_signed_codes_and_both_orders_are_as_defined_and_come_back(bits, order):
    for count in (0, 1, 3, 5, 8, 17):
        codes = np.random.default_rng(bits).integers(-(2 ** (bits - 1)), 2 ** (bits - 1), (3, count))
        packed = ops.pack_bits(codes, bits, signed=True, order=order)
        for row, expected in zip(packed, codes.tolist(), strict=True):
            assert row.tobytes() == spec.pack(expected, bits, order)
            assert spec.unpack(row.tobytes(), bits, count, order, signed=True) == expected
        back = ops.unpack_bits(packed, bits, count, signed=True, order=order)
        assert back.dtype == np.int8 and (back == codes).all()
        same = ops.unpack_bits(packed, bits, count, order=order)
        assert same.dtype == np.uint8 and (same == codes % 2**bits).all()


def test_the_high_order_of_single_bits_is_that_of_numpy():
    codes = np.random.default_rng(0).integers(0, 2, (4, 21))
    assert (ops.pack_bits(codes, 1, order="high") == np.packbits(codes, axis=-1)).all()
    assert (ops.pack_bits(codes, 1) == np.packbits(codes, axis=-1, bitorder="little")).all()
    assert ops.pack_bits([0xA, 0xB], 4, order="high").tolist() == [0xAB]


def test_negative_codes_are_refused_with_the_way_to_take_them():
    with pytest.raises(ValueError, match=r"pack_bits: codes\[1\] is -1; .* 0 to 15; signed=True takes -8 to 7"):
        ops.pack_bits([0, -1], 4)
    with pytest.raises(ValueError, match=r"codes\[0\] is 8; allowed is a code of 4 bits, -8 to 7"):
        ops.pack_bits([8], 4, signed=True)


def test_the_first_code_lies_in_the_low_bits():
    assert ops.pack_bits([0xA, 0xB], 4).tolist() == [0xBA]
    assert ops.pack_bits([1, 2, 3, 0], 2).tolist() == [0b00_11_10_01]
    # four codes of 6 bits in three bytes: aaaaaa, bbbbbb, cccccc, dddddd
    packed = ops.pack_bits([0b000001, 0b100010, 0b110011, 0b011111], 6)
    assert packed.tolist() == [0b10_000001, 0b0011_1000, 0b011111_11]


def test_any_strides_and_shapes():
    codes = np.arange(24, dtype=np.int64).reshape(2, 3, 4) % 16
    packed = ops.pack_bits(codes[:, ::-1], 4)
    assert packed.shape == (2, 3, 2)
    assert (ops.unpack_bits(packed, 4, 4) == codes[:, ::-1]).all()
