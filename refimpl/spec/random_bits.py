"""Philox4x32-10, the counter-based generator of all rounding noise: word i of (seed, stream).

A counter-based generator has no state: the random bits of element i depend on the seed, the
stream and i alone, so that they are the same in any order, in any chunk, on any number of threads.

*Source*: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011).
"""

from __future__ import annotations

MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
WORD = 2**32


def philox4x32(counter: tuple[int, int, int, int], key: tuple[int, int]) -> tuple[int, ...]:
    """Return four 32-bit words for a counter (four words) under a key (two words).

    >>> [hex(word) for word in philox4x32((0, 0, 0, 0), (0, 0))]
    ['0x6627e8d5', '0xe169c58d', '0xbc57ac4c', '0x9b00dbd8']
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        high0, low0 = divmod(MULTIPLIERS[0] * c0, WORD)
        high1, low1 = divmod(MULTIPLIERS[1] * c2, WORD)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + WEYL[0]) % WORD, (k1 + WEYL[1]) % WORD
    return c0, c1, c2, c3


def random_word(index: int, seed: int, stream: int) -> int:
    """Return the 32 random bits of element `index`; seed and stream are 64-bit integers.

    The key is the seed (low word, high word); the counter is (block low, block high, stream low,
    stream high), where block = index // 4 and the element takes word index % 4.

    >>> hex(random_word(1, seed=0, stream=0))
    '0xe169c58d'
    """
    block, word = divmod(index, 4)
    counter = (block % WORD, block // WORD, stream % WORD, stream // WORD)
    return philox4x32(counter, (seed % WORD, seed // WORD))[word]
