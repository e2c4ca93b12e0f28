"""Column sums in vector registers are the sums of plain loops, bit for bit."""

import numpy as np
import pytest

from refimpl.kernels.column_sums import add_columns, add_columns_and_squares


@pytest.mark.parametrize("channels", [1, 7, 16, 19, 32, 50])
def test_columns_and_their_squares_are_added_row_after_row(channels):
    rng = np.random.default_rng(channels)
    rows = np.float32(rng.standard_normal((37, channels)) * 10.0 ** rng.integers(-9, 9, (37, 1)))
    start = rng.standard_normal(channels)
    total, squares, first, second = (start.copy() for _ in range(4))
    add_columns_and_squares(total, squares, rows)
    add_columns(first, second, rows, -2 * rows)
    for k in range(channels):
        expected = expected_squares = other = float(start[k])
        for value in map(float, rows[:, k]):
            expected += value
            expected_squares += value * value
            other -= 2 * value
        assert total[k] == first[k] == expected
        assert second[k] == other
        assert squares[k] == expected_squares
