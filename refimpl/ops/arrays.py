"""What every operation does with arrays: look at memory, cut into chunks, divide among threads."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import numpy as np

from refimpl import _arguments

F = TypeVar("F", bound=Callable[..., Any])

FLOATS = {"float16": np.uint16, "bfloat16": np.uint16, "float32": np.uint32, "float64": np.uint64}
CHUNK = 1 << 16  # elements: temporaries stay in the second-level cache
# Below this many elements per thread, starting threads costs more than they save (measured by
# benchmarks/formats.py).
ELEMENTS_PER_THREAD = 1 << 22
STEPS_PER_THREAD = 1 << 16  # of the integer kernel: some milliseconds
STEPS_AT_ONCE = 1 << 22  # some tenths of a second, two seconds at most


def real(caller: str, name: str, got) -> np.ndarray:
    """Return an argument as an array of floats or integers, unchanged."""
    x = _arguments.array(caller, name, got)
    if not is_float(x) and x.dtype.kind not in "iub":
        allowed = "float16, bfloat16, float32, float64 or integers"
        raise _arguments.wrong_kind(caller, name, x if x.ndim else got, allowed)
    return x


def is_float(x: np.ndarray) -> bool:
    """Tell whether an array holds floats of a format that is computed with."""
    return name_of(x.dtype) in FLOATS


@functools.lru_cache(maxsize=64)
def name_of(dtype: np.dtype) -> str:
    """Return the name of a dtype, which NumPy puts together anew each time, in a microsecond or two."""
    return dtype.name


def float_dtype(x: np.ndarray) -> np.dtype:
    """Return the native dtype of floats, and float64 for integers."""
    return x.dtype.newbyteorder("=") if is_float(x) else np.dtype(np.float64)


def finite_float32(caller: str, name: str, got) -> np.ndarray:
    """Return an argument rounded to float32, refusing NaN, infinity and what float32 rounds to it."""
    x = _arguments.finite(caller, name, real(caller, name, got))
    if x.dtype == np.float32:
        return x
    with np.errstate(over="ignore"):
        return _arguments.finite(caller, name, x.astype(np.float32))


def scales(caller: str, name: str, got) -> np.ndarray:
    """Return an argument as an array of float32 above zero, which rounding to float32 may not change to 0."""
    x = finite_float32(caller, name, got)
    return _arguments.every(caller, name, x, x > 0, "a finite float32 above zero")


def integers(caller: str, name: str, got, low: int, high: int, allowed: str = "") -> np.ndarray:
    """Return an argument as a native array of integers from low to high."""
    x = _arguments.array(caller, name, got)
    if x.size == 0 and x.dtype == np.float64:  # an empty list
        x = x.astype(np.uint8)
    if x.dtype.kind not in "iu":
        hint = "its view as uint8 has the codes" if "float8" in str(getattr(got, "dtype", "")) else ""
        raise _arguments.wrong_kind(caller, name, x if x.ndim and not hint else got, "integers", hint)
    info = np.iinfo(x.dtype)
    if (info.min < low or info.max > high) and x.size and not (low <= int(x.min()) and int(x.max()) <= high):
        holds = [
            low <= value <= high for value in x.reshape(-1).tolist()
        ]  # in Python's integers, which no dtype bounds
        where = np.reshape(holds, x.shape)
        _arguments.every(caller, name, x, where, allowed or f"an integer from {low} to {high}")
    return x if x.dtype.isnative else x.astype(x.dtype.newbyteorder("="))


def codes(caller: str, name: str, got, fmt: str, count: int) -> np.ndarray:
    """Return codes as an unsigned array, refusing what is not one of a format's `count` codes."""
    x = integers(caller, name, got, 0, count - 1, f"a code of {fmt}, 0 to {count - 1}")
    return x if x.dtype.kind == "u" else x.astype(f"u{x.dtype.itemsize}")


def axis(caller: str, got, dimensions: int) -> int:
    """Return the number of an axis, counted from the first."""
    if dimensions == 0:
        raise _arguments.wrong_value(caller, "axis", got, "None for an array without axes", "reshape it to (1,)")
    return _arguments.integer(caller, "axis", got, _arguments.Interval(-dimensions, dimensions - 1)) % dimensions


def place(name: str, element: int, shape) -> str:
    """Return an element of an array, counted in C order, as it is written: ``a[1, 2]``."""
    index = ", ".join(str(i) for i in np.unravel_index(element, shape)) if shape else ""
    return f"{name}[{index}]" if index else name


def matrices(caller: str, a: np.ndarray, b: np.ndarray) -> None:
    """Refuse two arrays that are not matrices with a product."""
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[0]:
        raise ValueError(_arguments.message(caller, "a, b", f"of shapes {a.shape}, {b.shape}", "(m, k), (k, n)"))


def dtype(caller: str, got) -> np.dtype:
    """Return the dtype of results that are decoded."""
    try:
        wanted = np.dtype(got)
    except (TypeError, ValueError, SyntaxError):
        wanted = None
    if wanted is None or wanted.name not in ("float16", "float32", "float64") or not wanted.isnative:
        raise TypeError(_arguments.message(caller, "dtype", _arguments.shown(got), "float16, float32 or float64"))
    return wanted


def answers_like(operation: F) -> F:
    """Let an operation take `like`, and return its result as what that is: see `refimpl.quantize`."""

    @functools.wraps(operation)
    def answer(*args, like=None, **options):
        known_like(operation.__name__, like)
        return alike(operation.__name__, operation(*args, **options), like)

    return answer  # type: ignore[return-value]  # the same parameters and result


def known_like(caller: str, like) -> Any:
    """Return `like`, refusing what is neither None nor an array or a tensor."""
    if like is not None and not isinstance(like, np.ndarray) and not _arguments.is_tensor(like):
        raise _arguments.wrong_kind(caller, "like", like, "an array or a tensor")
    return like


def alike(caller: str, result: np.ndarray, like) -> Any:
    """Return a result as what `like` is, in its dtype where both are floats."""
    if like is None:
        return result
    name, found = str(like.dtype).removeprefix("torch."), result
    if result.dtype == object:
        raise ValueError(_arguments.message(caller, "like", name, "None where values lie beyond float64"))
    tensor: Any = None
    if _arguments.is_tensor(like):
        import torch

        tensor = torch.from_numpy(result).to(like.device)
    if is_float(result) and "float" in name:
        with np.errstate(all="ignore"):
            if tensor is None:
                found = result.astype(like.dtype)
            else:
                tensor = tensor.to(like.dtype)
            back = _arguments.array(caller, "like", found if tensor is None else tensor)
            same = (back == result) | (np.isnan(back) & np.isnan(result))
        _arguments.every(caller, "the result", result, same, f"a value of {name}, the dtype of like")
    return found if tensor is None else tensor


def result_in(caller: str, out, shape, dtype) -> None:
    """Refuse an `out` that the result does not fit."""
    allowed = f"a writable C-contiguous array of {dtype} and shape {shape}"
    _arguments.instance(caller, "out", out, np.ndarray, allowed)
    if out.shape != shape or out.dtype != dtype or not out.flags.c_contiguous or not out.flags.writeable:
        got = f"an array of {out.dtype.newbyteorder('=') if out.dtype.isnative else out.dtype.str}"
        hint = "" if out.flags.c_contiguous and out.flags.writeable else "this one is read-only or has gaps"
        raise ValueError(_arguments.message(caller, "out", f"{got} and shape {out.shape}", allowed, hint))


def own(caller: str, out: np.ndarray, x: np.ndarray, name: str) -> None:
    """Refuse an `out` that shares memory with an operand."""
    if np.may_share_memory(x, out):
        raise ValueError(f"{caller}: out overlaps {name}; allowed is memory of its own")


def code_dtype(bits: int) -> np.dtype:
    """Return the smallest unsigned dtype that holds codes of a number of bits."""
    return np.min_scalar_type((1 << bits) - 1)


def flat(x: np.ndarray) -> np.ndarray | None:
    """Return a one-dimensional native view of x, or None where it takes a copy."""
    if x.flags.c_contiguous and x.dtype.isnative:
        return x.reshape(-1)
    return None


def chunks(
    x: np.ndarray, start: int = 0, stop: int | None = None, count: int = CHUNK
) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield elements start to stop of x in C order, in contiguous pieces of `count` elements in native byte order.

    Copies a piece at most.
    """
    dtype = x.dtype.newbyteorder("=")
    stop = x.size if stop is None else stop
    view = flat(x)
    for begin in range(start, stop, count):
        part = slice(begin, min(begin + count, stop))
        piece = view[part] if view is not None else x.flat[part]
        yield part, np.ascontiguousarray(piece, dtype)


def apart(x: np.ndarray, out: np.ndarray) -> np.ndarray:
    """Return x, or a copy where `out` overlaps it otherwise than element upon element."""
    if not np.may_share_memory(x, out):
        return x
    same = (x.ctypes.data, x.strides, x.dtype) == (out.ctypes.data, out.strides, out.dtype)
    return x if same else x.copy()


def bits_of(x: np.ndarray) -> np.ndarray:
    """Return the bits of floats as unsigned integers, without copying."""
    return x.view(FLOATS[name_of(x.dtype)])


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
        work(0, min(step, size))
        for other in others:
            other.result()


def _thread_count() -> int:
    import numba

    return min(
        numba.config.NUMBA_NUM_THREADS,  # type: ignore[attr-defined]  # set when Numba is loaded
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
    )


def by_rows(rows: int, steps: int, work, *, faster: int = 1) -> None:
    """Call work(start, stop) on all rows, each of a number of steps; show a bar of what takes long.

    The bar appears after two seconds, on terminals alone.
    """
    steps = max(steps, 1)
    block = max(faster * STEPS_AT_ONCE // steps, 1)
    starts: Iterable[int] = range(0, rows, block)
    if block < rows:
        from tqdm.auto import tqdm

        starts = tqdm(starts, unit="block", delay=2, leave=False, disable=None)
    for begin in starts:
        part = functools.partial(_moved, work, begin)
        in_threads(min(block, rows - begin), part, least=max(faster * STEPS_PER_THREAD // steps, 1))


def _moved(work, begin: int, start: int, stop: int) -> None:
    work(begin + start, begin + stop)
