"""Reverse-mode automatic differentiation on NumPy arrays, small enough to read in one sitting.

`tensor` records and walks back, `primitives` is the table of derivatives, `check` is the law that
every derivative is held to.
"""

from refimpl.autodiff import primitives
from refimpl.autodiff.check import check_gradient
from refimpl.autodiff.tensor import Tensor, primitive

__all__ = ["Tensor", "check_gradient", "primitive", "primitives"]
