"""Philox4x32-10: the generator's published answers, and the kernel against the definition.

The known answers are those distributed with Random123 (file kat_vectors, philox4x32 10 rounds).
"""

import numpy as np
import pytest

from refimpl.kernels import random_bits as kernel
from refimpl.spec.random_bits import philox4x32, random_word

ONES = 0xFFFFFFFF
KNOWN = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((ONES,) * 4, (ONES,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize("counter, key, answer", KNOWN)
def test_the_definition_gives_the_published_words(counter, key, answer):
    assert philox4x32(counter, key) == answer


@pytest.mark.parametrize("counter, key, answer", KNOWN)
def test_the_kernel_gives_the_published_words(counter, key, answer):
    words = np.empty(4, np.uint32)
    block = np.uint64(counter[0] | counter[1] << 32)
    stream = np.uint64(counter[2] | counter[3] << 32)
    kernel.fill(words, block, np.uint64(key[0] | key[1] << 32), stream)
    assert tuple(int(word) for word in words) == answer


@pytest.mark.parametrize(
    "seed, stream", [(0, 0), (7, 0), (0, 7), (2**64 - 1, 2**64 - 1), (2**32, 2**32), (123456789012345, 2**63)]
)
def test_the_kernel_gives_the_words_of_the_definition(seed, stream):
    words = np.empty(2060, np.uint32)
    kernel.random_words(words, np.uint64(seed), np.uint64(stream))
    assert [int(word) for word in words] == [random_word(i, seed, stream) for i in range(2060)]


def test_seed_stream_and_index_all_matter():
    drawn = {random_word(i, seed, stream) for i in range(8) for seed in (0, 1, 2**32) for stream in (0, 1, 2**32)}
    assert len(drawn) == 72
