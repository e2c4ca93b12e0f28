"""Philox4x32-10 in blocks; the definition is `refimpl.spec.random_bits`."""

import numpy as np
from numba import njit

BLOCK = 256  # words made at a time: 64 counters, small enough for the first-level cache

_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = np.uint32(0x9E3779B9), np.uint32(0xBB67AE85)
_32 = np.uint64(32)


@njit(cache=True, error_model="numpy", inline="always")
def fill(words, first_counter, seed, stream):
    """Write words[4 j + w] = word w of counter first_counter + j, for len(words) / 4 counters.

    Parameters: words uint32 (4 n,); first_counter, seed, stream uint64.
    """
    seed_low, seed_high = np.uint32(seed), np.uint32(seed >> _32)
    stream_low, stream_high = np.uint32(stream), np.uint32(stream >> _32)
    for j in range(words.size // 4):
        block = first_counter + np.uint64(j)
        c0, c1 = np.uint32(block), np.uint32(block >> _32)
        c2, c3 = stream_low, stream_high
        k0, k1 = seed_low, seed_high
        for _ in range(10):
            p0 = _M0 * np.uint64(c0)
            p1 = _M1 * np.uint64(c2)
            c0, c1, c2, c3 = (
                np.uint32(np.uint32(p1 >> _32) ^ c1 ^ k0),
                np.uint32(p1),
                np.uint32(np.uint32(p0 >> _32) ^ c3 ^ k1),
                np.uint32(p0),
            )
            k0 = np.uint32(k0 + _W0)
            k1 = np.uint32(k1 + _W1)
        words[4 * j] = c0
        words[4 * j + 1] = c1
        words[4 * j + 2] = c2
        words[4 * j + 3] = c3


@njit(cache=True, error_model="numpy", nogil=True)
def random_words(words, seed, stream):
    """Fill words (uint32, a whole number of blocks of 4) with elements 0, 1, 2, ... of the stream."""
    random_words_from(words, seed, stream, np.uint64(0))


@njit(cache=True, error_model="numpy", nogil=True)
def random_words_from(words, seed, stream, first_counter):
    """Fill words with elements 4 * first_counter (uint64), ... of the stream."""
    for start in range(0, words.size, BLOCK):
        fill(words[start : start + BLOCK], first_counter + np.uint64(start // 4), seed, stream)
