"""What every operation does with arrays: look at memory, cut into chunks, share out to threads."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import numpy as np

from refimpl.formats import NAN_RULES, OVERFLOWS, ROUNDINGS, BlockFormat, FloatFormat, IntFormat, PositFormat
from refimpl.formats import format as format_of
from refimpl.ops.definitions import kernels

FLOATS = {"float16": np.uint16, "bfloat16": np.uint16, "float32": np.uint32, "float64": np.uint64}
CHUNK = 1 << 16  # elements: temporaries stay in the second-level cache
# Below this many elements per thread, starting threads costs more than they save (measured by
# benchmarks/formats.py).
ELEMENTS_PER_THREAD = 1 << 22


def float_format(verb: str, fmt) -> FloatFormat | PositFormat:
    """Return the float or posit format, refusing the formats that need scales."""
    fmt = format_of(fmt)
    if isinstance(fmt, IntFormat):
        raise TypeError(f"{verb}: {fmt} is an integer format, which needs a scale; use quantize_int")
    if isinstance(fmt, BlockFormat):
        raise TypeError(f"{verb}: {fmt} is a block format, which needs scales; use quantize_blocks")
    if not isinstance(fmt, (FloatFormat, PositFormat)):
        raise TypeError(f"{verb}: {fmt} is a code book, which needs scales; use quantize_codebook")
    return fmt


def array(verb: str, x) -> np.ndarray:
    """Return x as an array, unchanged, refusing lists whose rows differ in length."""
    try:
        return np.asarray(x)
    except ValueError:
        raise ValueError(
            f"{verb}: these values are no array (have its rows different lengths?); give rows of one length"
        ) from None


def real(verb: str, x) -> np.ndarray:
    """Return x as an array of floats or integers, unchanged."""
    x = array(verb, x)
    if x.dtype.name not in FLOATS and x.dtype.kind not in "iub":
        raise TypeError(f"{verb}: values must be float16, bfloat16, float32, float64 or integers, got {x.dtype}")
    return x


def is_float(x: np.ndarray) -> bool:
    """Tell whether an array that `real` returned holds floats."""
    return x.dtype.name in FLOATS


def finite(verb: str, x: np.ndarray) -> None:
    """Refuse NaN and infinity, naming the first."""
    if is_float(x) and not (good := np.isfinite(x)).all():
        index = first(~good)
        raise ValueError(f"{verb}: {x[index]} at index {index} is not finite; remove or clip it")


def first(mask: np.ndarray) -> tuple[int, ...]:
    """Return the index of the first True."""
    return tuple(int(i) for i in np.unravel_index(np.argmax(mask), mask.shape))


def one_of(verb: str, what: str, got, allowed: tuple[str, ...]) -> None:
    """Refuse a name that is not one of those allowed."""
    if not isinstance(got, str) or got not in allowed:
        raise ValueError(f"{verb}: unknown {what} {got!r}; one of {', '.join(allowed)}")


def check_rounding(verb: str, rounding, random_bits, seed, stream) -> None:
    """Check a rounding mode and what belongs to it."""
    one_of(verb, "rounding", rounding, ROUNDINGS)
    counted = rounding in ("stochastic_a", "stochastic_b", "stochastic_c")
    if counted and not (is_whole(random_bits) and 1 <= random_bits <= 32):
        raise ValueError(f"{verb}: {rounding} needs random_bits from 1 to 32, got {random_bits!r}")
    if not counted and random_bits is not None:
        raise ValueError(
            f"{verb}: random_bits belongs to stochastic_a, stochastic_b and "
            f"stochastic_c, not to {rounding}; leave it out"
        )
    if rounding.startswith("stochastic"):
        if not is_whole(seed) or not 0 <= seed < 2**64:
            raise ValueError(f"{verb}: stochastic rounding needs a seed from 0 to 2^64 - 1, got {seed!r}")
    if not is_whole(stream) or not 0 <= stream < 2**64:
        raise ValueError(f"{verb}: stream must be a whole number from 0 to 2^64 - 1, got {stream!r}")


def is_whole(value) -> bool:
    """Return whether a value is an integer, and no truth value."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def check_rules(verb: str, fmt, x: np.ndarray, rounding, overflow, nan) -> None:
    """Check overflow and NaN rules, and a NaN that the format cannot hold where that is an error."""
    one_of(verb, "overflow", overflow, OVERFLOWS)
    one_of(verb, "nan", nan, NAN_RULES)
    if isinstance(fmt, PositFormat):
        if rounding != "ties_to_even" or overflow != "overflow":
            raise ValueError(
                f"{verb}: posits have one way to round, ties_to_even on their codes, and "
                f"never overflow; got rounding={rounding!r}, overflow={overflow!r}; "
                "leave both out"
            )
    elif nan == "raise" and fmt.nan_code is None and is_float(x) and (bad := np.isnan(x)).any():
        raise ValueError(f"{verb}: NaN at index {first(bad)}, and {fmt.name} has no NaN; use nan='zero' or nan='max'")


def check_out(verb: str, out, shape, dtype) -> None:
    """Refuse an `out` that the result does not fit."""
    if (
        not isinstance(out, np.ndarray)
        or out.shape != shape
        or out.dtype != dtype
        or not out.flags.c_contiguous
        or not out.flags.writeable
    ):
        got = f"{out.dtype} {out.shape}" if isinstance(out, np.ndarray) else type(out).__name__
        raise ValueError(f"{verb}: out is {got}; it must be a writeable C-contiguous {dtype} array of shape {shape}")


def check_codes(verb: str, codes, bits: int, name: str) -> np.ndarray:
    """Return codes as an unsigned array, refusing what is not one of 2^bits codes."""
    codes = array(verb, codes)
    if codes.size == 0 and codes.dtype == np.float64:  # an empty list
        codes = codes.astype(np.uint8)
    if codes.dtype.kind not in "iu":
        raise TypeError(f"{verb}: codes must be integers, got {codes.dtype}")
    top = np.iinfo(codes.dtype).max
    wrong = None
    if codes.dtype.kind == "i":
        wrong = codes < 0
    if top >= 1 << bits:
        wrong = codes >= 1 << bits if wrong is None else wrong | (codes >= 1 << bits)
    if wrong is not None and wrong.any():
        index = first(wrong)
        raise ValueError(
            f"{verb}: code {codes[index]} at index {index} is not a code of {name}, "
            f"which go from 0 to {(1 << bits) - 1}"
        )
    return codes if codes.dtype.kind == "u" else codes.astype(f"u{codes.dtype.itemsize}")


def code_dtype(bits: int) -> np.dtype:
    """Return the smallest unsigned dtype that holds codes of so many bits."""
    return np.min_scalar_type((1 << bits) - 1)


def flat(x: np.ndarray) -> np.ndarray | None:
    """Return a one-dimensional native view of x, or None where it takes a copy."""
    if x.flags.c_contiguous and x.dtype.isnative:
        return x.reshape(-1)
    return None


def chunks(x: np.ndarray, start: int = 0, stop: int | None = None, dtype=None) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield elements start to stop of x in C order, in contiguous native pieces of a dtype.

    Copies a piece at most.
    """
    dtype = x.dtype.newbyteorder("=") if dtype is None else np.dtype(dtype)
    stop = x.size if stop is None else stop
    whole = flat(x)
    for begin in range(start, stop, CHUNK):
        part = slice(begin, min(begin + CHUNK, stop))
        piece = whole[part] if whole is not None else x.flat[part]
        yield part, np.ascontiguousarray(piece, dtype)


def apart(x: np.ndarray, out: np.ndarray) -> np.ndarray:
    """Return x, or a copy where `out` overlaps it in any way but element upon element."""
    if not np.may_share_memory(x, out):
        return x
    same = (x.ctypes.data, x.strides, x.dtype) == (out.ctypes.data, out.strides, out.dtype)
    return x if same else x.copy()


def bits_of(x: np.ndarray) -> np.ndarray:
    """Return the bits of floats as unsigned integers, without copying."""
    return x.view(FLOATS[x.dtype.name])


def in_threads(size: int, work: Callable[[int, int], None], *, least: int = ELEMENTS_PER_THREAD) -> None:
    """Call work(start, stop) on parts of range(size), each element once; starts are multiples of 4.

    One thread where each would have fewer than `least` elements; never more than NUMBA_NUM_THREADS.
    Every element is computed the same way whatever the number of threads.
    """
    count = size // least
    if count >= 2:
        count = min(count, _thread_count())
    if count < 2:
        work(0, size)
        return
    from concurrent.futures import ThreadPoolExecutor

    step = -(-size // count) + 3 & ~3
    with ThreadPoolExecutor(count - 1) as pool:
        others = [pool.submit(work, start, min(start + step, size)) for start in range(step, size, step)]
        work(0, step)
        for other in others:
            other.result()


def _thread_count() -> int:
    from numba import config

    return min(
        config.NUMBA_NUM_THREADS,
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
    )


def random_words(rounding: str, count: int, seed, stream, start: int = 0) -> np.ndarray:
    """Return the random words of elements start, ..., start + count - 1 (start a multiple of 4)."""
    if not rounding.startswith("stochastic"):
        return np.empty(0, np.uint32)
    words = np.empty(-(-count // 4) * 4, np.uint32)
    kernels(count).random_bits.random_words_from(words, np.uint64(seed), np.uint64(stream), np.uint64(start // 4))
    return words
