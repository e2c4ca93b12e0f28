"""Ask an implementation of an operation for its results, given the codes of operands.

==============================  ============================================================
what you give                   how it is asked
==============================  ============================================================
a callable                      on values: arrays (n,) of the first dtype of `inputs` that holds them, or
                                if it takes no arrays, one number at a time
``Implementation(on_values=f)`` the same
``Implementation(on_codes=f)``  on codes: arrays (n,) of the smallest unsigned dtype, for codes (n,)
a NumPy dtype                   NumPy's function of this name, on arrays of the dtype
a torch dtype                   torch's function of this name, on tensors
a `Program`                     on a pipe: a code a word, a case a line, for a code a line
==============================  ============================================================

Of comparisons and predicates truths come back, or 0 and 1; of conversions integers; of classes their numbers, or names
as IEEE 754 or P3109 writes them.  What is an integer (n of ``scaleb``, the operand of ``from_int32``) is given as one,
and to a program as its bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from refimpl._arguments import wrong_kind
from refimpl.formats import FloatFormat
from refimpl.formats import format as format_of
from refimpl.ops.arrays import code_dtype
from refimpl.spec.operations import CLASSES
from refimpl.testing.checks import arrays
from refimpl.testing.expected.behaviour import alike
from refimpl.testing.implementations.findings import Finding, call
from refimpl.testing.implementations.implementations import Implementation, numpy_dtype
from refimpl.testing.implementations.programs import Program
from refimpl.testing.operations.operation import CLASS, NUMBER, NUMPY, OF_PAYLOADS, Operation, Whole, decoded, encoded

_CLASSES = {name.replace(" ", "").lower(): number for number, name in enumerate(CLASSES)}
_CLASSES |= {"nan": _CLASSES["quietnan"], "zero": _CLASSES["positivezero"]}


@dataclass(frozen=True)
class Got:
    """What came back: results as codes, truths or integers modulo 2^bits (uint64), and as values (float64).

    `valid` is False where a value is none of the format; there the code is that of the nearest.
    """

    codes: np.ndarray
    values: np.ndarray
    valid: np.ndarray


class Asked:
    """An implementation of an operation, asked for results of codes.

    >>> import refimpl as rf
    >>> asked = Asked(lambda a, b: rf.quantize(a + b, "e4m3fn"), Operation("add", "e4m3fn"))
    >>> asked([np.array([0x38], np.uint64)] * 2).codes.tolist()  # 1 + 1
    [64]
    """

    def __init__(self, thing, operation: Operation, inputs: Sequence[str] = ("float32", "float64"), time_limit=10.0):
        self.operation, self.time_limit = operation, time_limit
        self.function, self.on, self.name, self.dtype = _brought(thing, operation)
        self.scalar: bool | None = None if self.on == "values" else False
        if self.on == "values":
            self.dtype = self.dtype or _holding(inputs, operation)

    def __call__(self, codes: Sequence[np.ndarray], random: np.ndarray | None = None) -> Got:
        """Return the results of codes (uint64 (n,) each); raise Finding for anything else."""
        given = self.given(codes)
        more = () if random is None else (random,)
        if self.scalar is None:
            self.scalar = self._takes_numbers_alone([x[:2] for x in (*given, *more)])
        function = _one_by_one(self.function) if self.scalar else self.function
        found = call(function, *given, *more, time_limit=self.time_limit)
        return self._read(found, given[0])

    def seen(self, codes: Sequence[np.ndarray]) -> np.ndarray:
        """Tell which cases reach it as they are: as values NaNs lose their payloads, which some operations see."""
        if self.on != "values" or self.operation.name not in OF_PAYLOADS:
            return np.ones(codes[0].shape, bool)
        pairs = zip(codes, self.operation.formats, strict=True)
        return np.all([encoded(decoded(c, fmt), fmt) == c for c, fmt in pairs], axis=0)

    def given(self, codes: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return the operands as the implementation takes them."""
        given = []
        for c, fmt in zip(codes, self.operation.formats, strict=True):
            if isinstance(fmt, Whole) and not isinstance(self.function, Program):
                given.append(fmt.integers(c).astype(f"{'i' if fmt.signed else 'u'}{code_dtype(fmt.bits).itemsize}"))
            elif self.on == "values":
                given.append(decoded(c, fmt).astype(self.dtype))
            else:
                given.append(c.astype(code_dtype(fmt.bits)))
        return given

    @property
    def takes_arrays(self) -> bool:
        """Whether it is a function that has been asked, and takes arrays."""
        return self.scalar is False and not hasattr(self.function, "limited")

    def in_layouts(self, codes: Sequence[np.ndarray]) -> Iterator[tuple[str, np.ndarray, Got]]:
        """Yield words for an array of each length and layout, which of some cases it holds, and the results."""
        given = self.given(codes)
        for words, where, found in arrays.results(self.function, given, self.time_limit):
            yield words, where, self._read(found, given[0][where])

    def _takes_numbers_alone(self, given) -> bool:
        try:
            call(self.function, *given, time_limit=self.time_limit)
        except Finding as finding:
            if finding.hangs:
                return False
            try:
                call(_one_by_one(self.function), *given, time_limit=self.time_limit)
            except Finding:
                return False
            return True
        return False

    def _read(self, found: np.ndarray, x: np.ndarray) -> Got:
        operation = self.operation
        if operation.kind == CLASS and found.dtype.kind in "UO":
            found = np.array([_CLASSES.get(_word(name), len(CLASSES)) for name in found.tolist()], np.uint64)
        own = found.dtype.name == getattr(operation.into, "name", "") and found.dtype.kind not in "iuf"
        if self.on == "values" and operation.kind == NUMBER:
            if not (found.dtype.kind in "fiu" or own or found.dtype.name.startswith(("float", "bfloat"))):
                raise Finding(f"returned {found.dtype}; values are floats", about_input=False)
            with np.errstate(all="ignore"):
                values = found.astype(np.float64)
                codes = encoded(values, operation.into)
                return Got(codes, values, alike(decoded(codes, operation.into), values))
        if found.dtype.kind == "f" and (operation.integer or operation.kind != NUMBER) and found.dtype != object:
            whole = np.isfinite(found) & (found == np.rint(found)) & (np.abs(found) < 2.0**63)
            if not whole.all():
                raise Finding(f"returned {found[np.argmin(whole)]}, not an integer", int(np.argmin(whole)))
            found = found.astype(np.int64)
        if found.dtype.kind not in "iub":
            raise Finding(f"returned {found.dtype}; results are integers", about_input=False)
        bits = operation.result_bits
        wide = found.astype(np.int64 if found.dtype.kind == "i" else np.uint64)
        signed = operation.integer is not None and operation.integer[0]
        low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
        if signed and wide.dtype.kind == "u":  # a pipe gives the bits of integers
            low, high = 0, (1 << bits) - 1
        wrong = (wide > high) | (wide < low) if bits < 64 else np.zeros(wide.shape, bool)
        if wrong.any():
            at = int(np.argmax(wrong))
            raise Finding(f"returned {found[at]}; results go from {low} to {high}", at)
        codes = wide.astype(np.uint64) & np.uint64((1 << bits) - 1)
        return Got(codes, operation.values_of(codes), np.ones(codes.shape, bool))


def _word(name: Any) -> str:
    """Return the name of a class without spaces, capitals and P3109's prefix."""
    return str(name).replace(" ", "").replace("_", "").lower().removeprefix("cls")


def _brought(thing, operation: Operation) -> tuple[Callable, str, str, Any]:
    """Return a function, whether it takes ``values`` or ``codes``, its name, and the dtype it takes or None."""
    if isinstance(thing, Implementation) and thing.has("on_codes"):
        return thing.function("on_codes"), "codes", thing.name, None
    if isinstance(thing, Implementation) and thing.has("on_values"):
        return thing.function("on_values"), "values", thing.name, None
    if isinstance(thing, Program):
        return thing, "codes", str(thing), None
    if type(thing).__module__.partition(".")[0] == "torch" and type(thing).__name__ == "dtype":
        return _of_torch(thing, operation), "codes", str(thing), None
    if (dtype := numpy_dtype(thing)) is not None:
        return _of_numpy(dtype, operation), "codes", dtype.name, None
    if callable(thing):
        return thing, "values", getattr(thing, "__name__", type(thing).__name__), None
    allowed = "a function of values, an Implementation with on_values or on_codes, a dtype of NumPy, a Program"
    raise wrong_kind("conform", "implementation", thing, allowed)


def _holding(inputs: Sequence[str], operation: Operation) -> np.dtype:
    """Return the first dtype of inputs that holds the operands' values, else float64."""
    for name in inputs:
        wide = format_of(name)
        assert isinstance(wide, FloatFormat)
        if all(_holds(wide, fmt) for fmt in (*operation.formats, operation.into) if not isinstance(fmt, Whole)):
            return np.dtype(name)
    return np.dtype(np.float64)


def _holds(wide: FloatFormat, fmt) -> bool:
    if not isinstance(fmt, FloatFormat):
        return fmt.bits <= wide.mantissa_bits
    low = fmt.min_exponent - fmt.mantissa_bits
    return (
        fmt.mantissa_bits <= wide.mantissa_bits
        and fmt.maxexp <= wide.maxexp
        and low >= wide.min_exponent - wide.mantissa_bits
    )


def _one_by_one(function: Callable) -> Callable:
    def on_arrays(*columns):
        return np.array([function(*row) for row in zip(*(c.tolist() for c in columns), strict=True)])

    return on_arrays


def _of_numpy(dtype: np.dtype, operation: Operation) -> Callable:
    name = NUMPY.get(operation.name, operation.name)
    function = getattr(np, name, None)
    if operation.name == "convert" or isinstance(operation.formats[0], Whole):
        function = _identity
    elif operation.integer:
        signed, bits = operation.integer
        to = f"{'int' if signed else 'uint'}{bits}"

        def function(x):
            return x.astype(to)

    if function is None:
        raise wrong_kind("conform", "implementation", dtype, f"another, for NumPy has no function {name}")
    into = _dtype_of(operation, dtype)

    def on_codes(*columns):
        pairs = zip(columns, operation.formats, strict=True)
        found = function(*(c if isinstance(fmt, Whole) else c.view(dtype) for c, fmt in pairs))
        if operation.kind != NUMBER:
            return found
        return found.astype(into).view(f"u{into.itemsize}")

    return on_codes


def _identity(x):
    return x


def _dtype_of(operation: Operation, dtype: np.dtype) -> np.dtype:
    """Return the dtype of results: that of the operands where the format is the same, else that of its name."""
    if operation.into == operation.formats[0] or isinstance(operation.formats[0], Whole):
        return dtype
    try:
        return np.dtype(operation.into.name)
    except TypeError:
        import ml_dtypes

        return np.dtype(getattr(ml_dtypes, operation.into.name))


def _of_torch(dtype, operation: Operation) -> Callable:
    import torch

    function: Any = _identity if operation.name == "convert" else getattr(torch, operation.name, None)
    if operation.integer:
        signed, bits = operation.integer
        to = getattr(torch, f"{'int' if signed else 'uint'}{bits}")

        def function(x):
            return x.to(to)

    if function is None:
        raise wrong_kind("conform", "implementation", dtype, f"another, for torch has no function {operation.name}")
    views = {1: (torch.uint8, np.uint8), 2: (torch.int16, np.int16), 4: (torch.int32, np.int32), 8: (torch.int64,) * 2}
    into = dtype if operation.into == operation.formats[0] else getattr(torch, operation.into.name, dtype)

    def on_codes(*columns):
        read = np.uint8 if dtype.itemsize == 1 else f"i{dtype.itemsize}"
        found = function(*(torch.from_numpy(c.view(read).copy()).view(dtype) for c in columns))
        if operation.kind != NUMBER:
            return found.numpy()
        return found.to(into).view(views[into.itemsize][0]).numpy().view(f"u{into.itemsize}")

    return on_codes
