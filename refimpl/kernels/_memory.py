"""Copying and clearing memory by the machine's own means, for rows too short for a vector loop to pay."""

from llvmlite import ir
from numba import types
from numba.core import cgutils

from refimpl.kernels._compiled import intrinsic, memory


def _copy(destination, source, count):
    memory(destination, count)[:] = memory(source, count)


def _clear(destination, count):
    memory(destination, count)[:] = 0


@intrinsic(_copy)
def copy(typing, destination, source, count):
    """Copy `count` float32 from one address to another; int64 each, the two apart."""

    def generate(context, builder, signature, arguments):
        destination, source, count = arguments
        byte = ir.IntType(8).as_pointer()
        cgutils.raw_memcpy(builder, builder.inttoptr(destination, byte), builder.inttoptr(source, byte), count, 4)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), generate


@intrinsic(_clear)
def clear(typing, destination, count):
    """Set `count` float32 at an address to zero; int64 each."""

    def generate(context, builder, signature, arguments):
        destination, count = arguments
        place = builder.inttoptr(destination, ir.IntType(8).as_pointer())
        cgutils.memset(builder, place, builder.shl(count, ir.IntType(64)(2)), 0)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


@intrinsic(lambda address: None)
def fetch(typing, address):
    """Bring the memory at an address (int64) into the cache, without waiting for it; any address will do."""

    def generate(context, builder, signature, arguments):
        byte, word = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), (byte, word, word, word))
        prefetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        builder.call(prefetch, (builder.inttoptr(arguments[0], byte), word(0), word(3), word(1)))
        return context.get_dummy_value()

    return types.void(types.int64), generate
