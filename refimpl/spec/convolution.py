"""Patches of images, one element at a time: a convolution is a matrix product with them."""

from __future__ import annotations

from fractions import Fraction

from refimpl.formats.floats import to_float32


def source_of_patch(
    position: tuple[int, int, int], element: tuple[int, int, int], height: int, width: int, stride: int, padding: int
) -> tuple[int, int, int, int] | None:
    """Return the index (image, row, column, channel) a patch element is read from, None for zero.

    `position` is (image, row, column) of the output, `element` (row, column, channel) of the filter.

    >>> source_of_patch((0, 1, 1), (2, 0, 5), height=8, width=8, stride=2, padding=1)
    (0, 3, 1, 5)
    """
    image, i, j = position
    r, c, channel = element
    y, z = i * stride + r - padding, j * stride + c - padding
    return (image, y, z, channel) if 0 <= y < height and 0 <= z < width else None


def chain(pairs) -> Fraction:
    """Return the float32 sum of products, each added to the sum so far by one fused multiply-add.

    `pairs` are (a, b) in the order they are added, from +0; each step is exact, then rounded once.

    >>> chain([(Fraction(1), Fraction(1)), (Fraction(1, 2**12), Fraction(1, 2**12))]) == 1 + Fraction(1, 2**24)
    False
    >>> chain([(Fraction(1), Fraction(1)), (Fraction(3, 2**12), Fraction(1, 2**13))]) == 1 + Fraction(1, 2**23)
    True
    """
    total = Fraction(0)
    for a, b in pairs:
        total = Fraction(to_float32(total + a * b))
    return total
