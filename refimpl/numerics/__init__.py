"""Choosing formats by measurement.

===========  ====================================================================
`metrics`    how far rounded values, and products of them, are from the true ones
`tails`      which format suits which tails; Student's t fitted to values
`capture`    the operands of every product of a training run, as distributions
`evidence`   what candidate formats would do to each of them
`selection`  a format for every operand, by a metric and a tolerance
===========  ====================================================================
"""

from refimpl.numerics.capture import Capture, Distribution, capture
from refimpl.numerics.evidence import Candidate, Evidence, candidates, measure
from refimpl.numerics.metrics import (
    backward_error,
    error_profile,
    normwise_error,
    overflow,
    relative_error,
    round_scaled,
    sqnr,
    underflow,
)
from refimpl.numerics.selection import Assignment, choose, predictive_power
from refimpl.numerics.tails import fit_student_t, product_errors, tail_table

__all__ = [
    "Assignment", "Candidate", "Capture", "Distribution", "Evidence", "backward_error",
    "candidates", "capture", "choose", "error_profile", "fit_student_t", "measure",
    "normwise_error", "overflow", "predictive_power", "product_errors", "relative_error",
    "round_scaled", "sqnr", "tail_table", "underflow",
]  # fmt: skip
