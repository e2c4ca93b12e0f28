"""Networks that train in any precision.

`layers` and `models` say what is computed, `precision` what is rounded to which format,
`optimizer` how weights move, `training` runs the loop.
"""

from refimpl.nn.models import cnn, mlp
from refimpl.nn.precision import Precision
from refimpl.nn.training import Result, fit

__all__ = ["Precision", "Result", "cnn", "fit", "mlp"]
