"""Choosing formats by measurement: what rounding does to a network, and when it cannot matter.

================  ====================================================================
`metrics`         how far rounded values, and products of them, are from the true ones
`tails`           which format suits which tails; Student's t fitted to values
`capture`         the operands of every product of a training run, as distributions
`evidence`        what candidate formats would do to each of them
`selection`       a format for every operand, by a metric and a tolerance
`prediction`      whether the metric predicted what training came to
`rounding_error`  how far a network in 16 bits is from itself in exact arithmetic
`sum_bounds`      how far a product of matrices is from the exact one, by unit, order and accumulator
`tolerance`       which of its answers that leaves standing
`gptq`            weights rounded after training, errors made up for
`sixteen_bit`     how 16-bit training fails and is cured
================  ====================================================================
"""

from refimpl.numerics.capture import Capture, Distribution, capture
from refimpl.numerics.evidence import Candidate, Evidence, candidates, measure
from refimpl.numerics.gptq import gptq
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
from refimpl.numerics.prediction import LADDER, policies, predictive_power, train, train_policies
from refimpl.numerics.rounding_error import forward_error_bound
from refimpl.numerics.selection import Assignment, choose, uniform
from refimpl.numerics.sum_bounds import sum_bound
from refimpl.numerics.tails import fit_student_t, product_errors, tail_table
from refimpl.numerics.tolerance import Certificate, certify, floating_point_error, predict, probabilities, tolerance

__all__ = [
    "LADDER",
    "Assignment",
    "Candidate",
    "Capture",
    "Certificate",
    "Distribution",
    "Evidence",
    "backward_error",
    "candidates",
    "capture",
    "certify",
    "choose",
    "error_profile",
    "fit_student_t",
    "floating_point_error",
    "forward_error_bound",
    "gptq",
    "measure",
    "normwise_error",
    "overflow",
    "policies",
    "predict",
    "predictive_power",
    "probabilities",
    "product_errors",
    "relative_error",
    "round_scaled",
    "sqnr",
    "sum_bound",
    "tail_table",
    "tolerance",
    "train",
    "train_policies",
    "underflow",
    "uniform",
]
