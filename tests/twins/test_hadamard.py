"""Random Hadamard transforms: the kernel is the definition, also where sums are not exact or not finite."""

import numpy as np
import pytest

from refimpl.kernels import hadamard as kernel
from refimpl.spec import hadamard as spec


@pytest.mark.parametrize("size", [2, 4, 8, 16, 32, 128])
@pytest.mark.parametrize("length", [1, 15, 16, 17, 40])
@pytest.mark.parametrize("spread", [0, 60])
def test_rotated_blocks_are_as_defined(size, length, spread):
    rng = np.random.default_rng((size, length, spread))
    x = np.ldexp(rng.standard_normal((5, length)), rng.integers(-spread, spread + 1, (5, length))).astype(np.float32)
    x[0, -1], x[1, 0], x[2] = np.inf, np.nan, np.finfo(np.float32).max
    signs = rng.choice([-1.0, 1.0], size)
    padded = np.pad(x, [(0, 0), (0, -length % size)])
    out = np.empty_like(padded)
    kernel.rotate(x, signs, out)
    blocks = padded.reshape(-1, size).astype(float).tolist()
    expected = np.array([spec.rotate(block, signs.tolist()) for block in blocks], np.float32)
    assert np.array_equal(out.reshape(-1, size), expected, equal_nan=True)
    assert (np.signbit(out.reshape(-1, size)) == np.signbit(expected))[~np.isnan(expected)].all()
