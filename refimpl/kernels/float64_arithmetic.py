"""Arithmetic on float64, to odd, without branches: the fast path of `refimpl.kernels.arithmetic`.

The machine's result s, to nearest, and the sign of what it is off by give the exact result *rounded to odd*: cut to
float64, and the last bit set where something was cut off.  Rounding that again, to p bits, is rounding the exact
result if p + 2 <= 53 (50 for roots), and p + N + 2 for a stochastic rounding that looks at N bits (Boldo and
Melquiond).  `refimpl.ops.arithmetic_paths` says for which formats.

What s is off by, exact in float64 as long as nothing leaves its range of normal values:

- a sum: Knuth's two-sum;
- a product: nothing, for factors of at most 26 bits;
- a quotient q: that of the remainder a - q b, for b of at most 26 bits.  q is cut in two, of 26 and 27 bits, whose
  products with b have at most 53; and the remainders on the way are multiples of the lowest bits' product and less
  than 2^53 times it;
- a root r, cut to 50 bits: that of a - r^2 = ((a - h^2) - 2 h l) - l^2, r = h + l being cut in two of 25 bits.
"""

import numpy as np

from refimpl.kernels._compiled import compiled
from refimpl.kernels._memory import fetch
from refimpl.kernels.arithmetic import DIV, FMA, MUL, SQRT, SUB
from refimpl.kernels.float_bits import decode_words, encode_words, encode_words_stochastic

FAST_PATH_OF = "arithmetic"

BLOCK = 1 << 10  # elements, all of whose values on the way stay in the first-level cache or near it
CACHE_LINE = 64  # bytes

_1, _INFINITY, _NAN = np.uint64(1), np.uint64(0x7FF << 52), np.uint64(0xFFF << 51)
_MAGNITUDE = np.uint64((1 << 63) - 1)
_26_BITS, _25_BITS, _50_BITS = (np.uint64((1 << 64) - (1 << k)) for k in (27, 28, 3))


@compiled
def _to_odd(s, error):
    """Return the bits of s + error to odd; error, too small to reach a neighbour of s, or NaN, counts by its sign."""
    bits = np.float64(s).view(np.uint64)
    magnitude = bits & _MAGNITUDE
    cut = bits - np.uint64((error < 0.0) != (s < 0.0)) | _1
    bits = cut if (abs(error) > 0.0) & (magnitude < _INFINITY) else bits
    return _NAN if magnitude > _INFINITY else bits


@compiled
def _cut(x, mask):
    return np.uint64(np.float64(x).view(np.uint64) & mask).view(np.float64)


@compiled
def to_odd(operation, a, b, c, out, downward, p3109):
    """Write the result of an operation (an index into OPERATIONS of `arithmetic`), to odd, into out, as bits.

    a, b, c: float64 (n,), an operand the operation does not have being ignored; out: uint64 (n,); downward: whether
    an exact zero is -0, but of zeros +0; p3109: whether division by zero is NaN.
    """
    if operation == MUL:
        for i in range(out.size):
            out[i] = _to_odd(a[i] * b[i], 0.0)
    elif operation == DIV:
        for i in range(out.size):
            q = a[i] / b[i]
            high = _cut(q, _26_BITS)
            rest = (a[i] - high * b[i]) - (q - high) * b[i]
            q = np.nan if p3109 & (b[i] == 0.0) else q
            out[i] = _to_odd(q, -rest if b[i] < 0.0 else rest)
    elif operation == SQRT:
        for i in range(out.size):
            root = _cut(np.sqrt(a[i]), _50_BITS)
            high = _cut(root, _25_BITS)
            low = root - high
            out[i] = _to_odd(root, ((a[i] - high * high) - 2.0 * high * low) - low * low)
    else:
        fused, sign = operation == FMA, -1.0 if operation == SUB else 1.0
        for i in range(out.size):
            x = a[i] * b[i] if fused else a[i]
            y = c[i] if fused else sign * b[i]
            s = x + y
            back = s - x
            error = (x - (s - back)) + (y - back)
            s = -0.0 if downward & (s == 0.0) & (np.signbit(x) | np.signbit(y)) else s
            out[i] = _to_odd(s, error)


@compiled
def to_odd_of_codes(operation, a, b, c, out, fa, fb, fc, downward, p3109):
    """Do likewise for codes (uint32 (n,)) of formats; fa, fb, fc: their Targets in float64 (`float_bits`)."""
    x = np.empty((3, out.size))
    bits = x.view(np.uint64)
    decode_words(a, bits[0], fa)
    if operation != SQRT:
        decode_words(b, bits[1], fb)
    if operation == FMA:
        decode_words(c, bits[2], fc)
    to_odd(operation, x[0], x[1], x[2], out, downward, p3109)


@compiled
def calculate(operation, a, b, c, codes, fa, fb, fc, f, rule, words, downward, p3109):
    """Write the codes of results into codes (uint32 (n,)).

    f, rule: of the result and its rounding, as for `float_bits.encode_words`; words: uint32 (n,), or empty where the
    mode takes none.
    """
    exact, found = np.empty(BLOCK, np.uint64), np.empty(BLOCK, np.uint64)
    for start in range(0, codes.size, BLOCK):
        stop = min(start + BLOCK, codes.size)
        some, into = exact[: stop - start], found[: stop - start]
        for next in range(4 * BLOCK, 8 * BLOCK, CACHE_LINE):  # the memory of the next block, in the meantime
            fetch(a.ctypes.data + 4 * start + next)
            fetch(b.ctypes.data + 4 * start + next)
            fetch(c.ctypes.data + 4 * start + next)
            fetch(codes.ctypes.data + 4 * start + next)
        to_odd_of_codes(operation, a[start:stop], b[start:stop], c[start:stop], some, fa, fb, fc, downward, p3109)
        if words.size > 0:
            encode_words_stochastic(some, words[start:stop], into, f, rule)
        else:
            encode_words(some, into, f, rule)
        for i in range(into.size):
            codes[start + i] = into[i]
