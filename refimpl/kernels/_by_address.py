"""Calling a compiled kernel from another by its address, so that it is compiled once.

Numba compiles what a kernel calls once more into every kernel that calls it.  For what is large, and called
by many to do much at a time, an address is handed in instead.
"""

from collections.abc import Callable

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing import signature

from refimpl.kernels._compiled import NOT_COMPILED, intrinsic


def by_address(kernel, *argument_types) -> tuple[Callable, Callable[[], object]]:
    """Return ``call(address, *arguments)`` for use in kernels, and a function that returns the address.

    `kernel` returns nothing; it is compiled, or read from the cache, when its address is first asked for.
    Where nothing is compiled (NUMBA_DISABLE_JIT) the kernel is its own address.
    """

    @intrinsic(lambda function, *arguments: function(*arguments))
    def call(typing, address, *arguments):
        def generate(context, builder, call_signature, values):
            place, packed = values
            kinds = [context.get_value_type(t) for t in argument_types]
            function = ir.FunctionType(context.get_value_type(types.none), kinds)
            builder.call(builder.inttoptr(place, function.as_pointer()), cgutils.unpack_tuple(builder, packed))
            return context.get_dummy_value()

        return types.none(types.int64, types.StarArgTuple(argument_types)), generate

    known: list[object] = [kernel] if NOT_COMPILED else []

    def address() -> object:
        if not known:
            compiled = kernel.get_compile_result(signature(types.none, *argument_types))
            known.append(compiled.library.get_pointer_to_function(compiled.fndesc.llvm_cfunc_wrapper_name))
        return known[0]

    return call, address
