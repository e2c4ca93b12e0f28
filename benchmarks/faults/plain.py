"""Quantizers of float formats, value to value: rounding, range and special values."""

from __future__ import annotations

import numpy as np

from faults import Correct, Fault

INF, NAN = np.inf, np.nan

FIELDS = {  # exponent bits, mantissa bits, bias, code of the largest value, what lies beyond it
    "float8_e4m3fn": (4, 3, 7, 0x7E, NAN),
    "float8_e5m2": (5, 2, 15, 0x7B, INF),
}


def magnitudes(exponent_bits, mantissa_bits, bias, largest, beyond=None) -> np.ndarray:
    """Return the values of the codes without a sign, and one more, to which overflow rounds."""
    codes = np.arange(largest + 2)
    field, mantissa = codes >> mantissa_bits, codes & ((1 << mantissa_bits) - 1)
    significand = np.where(field > 0, (1 << mantissa_bits) + mantissa, mantissa)
    return np.ldexp(significand.astype(float), np.maximum(field, 1) - bias - mantissa_bits)


def by_table(fields, *, tie="even"):
    """Look values up in the table of all of them."""
    grid, beyond = magnitudes(*fields), fields[-1]

    def quantize(x):
        size = np.abs(x.astype(np.float64))
        k = np.clip(np.searchsorted(grid, size, side="right") - 1, 0, len(grid) - 2)
        middle = (grid[k] + grid[k + 1]) / 2
        tied = {"even": k % 2 == 1, "away": True, "zero": False}[tie]
        k = k + ((size > middle) | (size == middle) & tied)
        y = np.where(k == len(grid) - 1, beyond, grid[k])
        return np.copysign(np.where(np.isnan(x), NAN, y), x).astype(x.dtype)

    return quantize


FAULTS = [
    Fault(f"{name}, ties away from zero", {"format": name}, by_table(fields, tie="away"), right=("ties_to_away",))
    for name, fields in FIELDS.items()
]
CORRECT = [Correct(f"{name}, by table", {"format": name}, by_table(fields)) for name, fields in FIELDS.items()]
