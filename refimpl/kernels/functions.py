"""Rounding what is only known to lie between two numbers; the definitions are `refimpl.spec.functions`.

A result is known as h + c and how far that may be off.  Both ends are sums of two float64, to odd in 64
bits (`refimpl.kernels.arithmetic`), and are rounded alike, with the same random bits: rounding is monotonic,
so that where they come to one code it is that of all numbers between them, and of the result.
"""

import numpy as np

from refimpl.kernels._compiled import compiled
from refimpl.kernels.arithmetic import add, pack
from refimpl.kernels.float_codes import STOCHASTIC, unpack

_0, _32 = np.uint64(0), np.uint64(32)


@compiled
def round_between(h, low, high, codes, undecided, wide, f, mode, words):
    """Write the code of all numbers from h + low to h + high into codes, and where there are several into undecided.

    h, low, high: bits of float64, uint64 (n,), of the fields `wide`; codes: uint64 (n,); undecided: bool
    (n,), those that are True already are left alone; f: Layout; words: uint32 (n,), as for arithmetic.
    """
    for i in range(h.size):
        if undecided[i]:
            continue
        random = _0
        if mode.rounding >= STOCHASTIC:
            random = np.uint64(words[i]) >> (_32 - np.uint64(mode.random_bits))
        middle = unpack(h[i], wide)
        code = pack(add(middle, unpack(low[i], wide), middle[1]), f, mode, random)
        codes[i] = code
        if low[i] != high[i]:
            undecided[i] = code != pack(add(middle, unpack(high[i], wide), middle[1]), f, mode, random)
