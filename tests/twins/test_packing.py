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
