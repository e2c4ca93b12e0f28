"""The NumPy-like door to the kernels: validate, choose dtypes, call one kernel.

===============================  ==============================================
`quantize`, `encode`, `decode`   values and codes of float formats and posits
`values`                         all values of a small format
`quantize_int`, `decode_int`     scaled integer codes, symmetric and affine
`qtorch_float_quantize`          QPyTorch's function, bit for bit
===============================  ==============================================

Every function rounds exactly once from the values it is given; see `refimpl.spec` for the
definitions.  Kernels are compiled on first use and cached on disk.
"""

from refimpl.ops.floats import decode, encode, quantize, values
from refimpl.ops.integers import decode_int, quantize_int
from refimpl.ops.qtorch import qtorch_float_quantize

__all__ = ["decode", "decode_int", "encode", "qtorch_float_quantize", "quantize", "quantize_int",
           "values"]  # fmt: skip
