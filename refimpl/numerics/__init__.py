"""Numbers measured and bounded: what rounding does to a network, and when it cannot matter.

`rounding_error` bounds how far a network in 16 bits is from itself in exact arithmetic,
`tolerance` says which of its answers that leaves standing, `sixteen_bit` how 16-bit training fails
and is cured.
"""

from refimpl.numerics.rounding_error import forward_error_bound
from refimpl.numerics.tolerance import (
    Certificate,
    certify,
    floating_point_error,
    predict,
    probabilities,
    tolerance,
)

__all__ = ["Certificate", "certify", "floating_point_error", "forward_error_bound", "predict",
           "probabilities", "tolerance"]  # fmt: skip
