"""Calling a compiled kernel from another by its address, so that it is compiled once.

Numba compiles what a kernel calls once more into every kernel that calls it.  For what is large, and called
by many to do much at a time, an address is handed in instead.
"""

from collections.abc import Callable
from functools import cached_property

from llvmlite import ir
from numba import types
from numba.core import cgutils

from refimpl.kernels._compiled import NOT_COMPILED, intrinsic


class Address:
    """Where a kernel's machine code for arguments of these types is, once somebody asks for it by `value`.

    Then the kernel is compiled, or read from the cache.  Where nothing is compiled (NUMBA_DISABLE_JIT) the
    kernel is its own address.
    """

    def __init__(self, kernel, argument_types: tuple):
        self.kernel, self.argument_types = kernel, argument_types

    @cached_property
    def value(self):
        """An integer that `call` takes."""
        if NOT_COMPILED:
            return self.kernel
        self.kernel.compile(self.argument_types)
        found = self.kernel.overloads[self.argument_types]
        return found.library.get_pointer_to_function(found.fndesc.llvm_cfunc_wrapper_name)


def by_address(kernel, *argument_types) -> tuple[Callable, Address]:
    """Return ``call(address, *arguments)``, for use in kernels, of one that returns nothing; and its address."""

    @intrinsic(lambda function, *arguments: function(*arguments))
    def call(typing, address, *arguments):
        def generate(context, builder, call_signature, values):
            place, packed = values
            kinds = [context.get_value_type(t) for t in argument_types]
            function = ir.FunctionType(context.get_value_type(types.none), kinds)
            builder.call(builder.inttoptr(place, function.as_pointer()), cgutils.unpack_tuple(builder, packed))
            return context.get_dummy_value()

        return types.none(types.int64, types.StarArgTuple(argument_types)), generate

    return call, Address(kernel, argument_types)
