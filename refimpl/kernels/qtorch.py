"""QPyTorch's `float_quantize` on arrays; the definition is `refimpl.spec.qtorch`.

The original adds and subtracts in float32 below the normal range.  Here the same two roundings are
done on integers, which also holds where the machine flushes subnormals to zero.
"""

import numpy as np

from refimpl.kernels._compiled import compiled

_SIGN = np.uint32(0x80000000)


@compiled
def float_quantize(x, out, exponent_bits, mantissa_bits, stochastic, random):
    """Write the rounded x (uint32 (n,), bits of float32) into out (alike; may be x itself).

    random: uint32 (n,), of any length where not stochastic.
    """
    dropped = np.uint32(23 - mantissa_bits)
    mask = np.uint32((np.uint32(1) << dropped) - np.uint32(1))
    half = np.uint32(np.uint32(1) << dropped) >> np.uint32(1)
    highest = np.uint32(127 + (1 << (exponent_bits - 1)))
    lowest = np.uint32(129 - (1 << (exponent_bits - 1)))  # exponent field of the smallest normal
    largest = np.uint32((highest << np.uint32(23)) | (np.uint32(0x7FFFFF) & ~mask))
    for i in range(x.size):
        bits = np.uint32(x[i])
        noise = np.uint32(random[i] & mask) if stochastic else half
        sign = np.uint32(bits & _SIGN)
        field = np.uint32((bits >> np.uint32(23)) & np.uint32(0xFF))
        if field < lowest:
            # |a| + 2^emin, rounded to float32: 2^emin has the field `lowest` and the sum stays below
            # 2^(emin + 1), so its mantissa is |a| in units of 2^(emin - 23), ties to even.
            significand = np.uint32(bits & np.uint32(0x7FFFFF))
            if field:
                significand |= np.uint32(0x800000)
            else:
                field = np.uint32(1)
            shift = np.uint32(lowest - field)
            if shift > np.uint32(25):
                units = np.uint32(0)
            elif shift == np.uint32(0):
                units = significand
            else:
                units = np.uint32(significand >> shift)
                rest = np.uint32(significand & ((np.uint32(1) << shift) - np.uint32(1)))
                middle = np.uint32(np.uint32(1) << (shift - np.uint32(1)))
                if rest > middle or (rest == middle and units & np.uint32(1)):
                    units = np.uint32(units + np.uint32(1))
            units = np.uint32(np.uint32(units + noise) & ~mask)
            # minus 2^emin again: units * 2^(emin - 23), exact, and +0 where nothing is left
            if units == np.uint32(0):
                out[i] = np.uint32(0)
                continue
            place = lowest
            while units < np.uint32(0x800000) and place > np.uint32(1):
                units = np.uint32(units << np.uint32(1))
                place = np.uint32(place - np.uint32(1))
            if units < np.uint32(0x800000):  # a float32 subnormal
                out[i] = np.uint32(units | sign)
            else:
                out[i] = np.uint32((np.uint32(place << np.uint32(23)) + (units - np.uint32(0x800000))) | sign)
            continue
        rounded = np.uint32(np.uint32(bits + noise) & ~mask)
        if np.uint32((rounded >> np.uint32(23)) & np.uint32(0xFF)) > highest:
            rounded = np.uint32(largest | sign)
        out[i] = rounded
