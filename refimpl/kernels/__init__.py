"""The functions of `refimpl.spec` on arrays, compiled by Numba.

Same file, function and parameter names as in `spec`, and nothing imported from it: two
independent implementations that must agree bit for bit.  Kernels trust their caller: arrays are
C-contiguous, of the stated dtype and shape, and already validated by `refimpl.ops`.
"""
