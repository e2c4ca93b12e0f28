"""Patches of images, one element at a time: a convolution is a matrix product with them."""

from __future__ import annotations


def source_of_patch(
    position: tuple[int, int, int], element: tuple[int, int, int],
    height: int, width: int, stride: int, padding: int,
) -> tuple[int, int, int, int] | None:  # fmt: skip
    """Return the index (image, row, column, channel) a patch element is read from, None for zero.

    `position` is (image, row, column) of the output, `element` (row, column, channel) of the filter.

    >>> source_of_patch((0, 1, 1), (2, 0, 5), height=8, width=8, stride=2, padding=1)
    (0, 3, 1, 5)
    """
    image, i, j = position
    r, c, channel = element
    y, z = i * stride + r - padding, j * stride + c - padding
    return (image, y, z, channel) if 0 <= y < height and 0 <= z < width else None
