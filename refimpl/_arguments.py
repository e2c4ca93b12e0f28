"""What users give, looked at once where it comes in: constraints as data, one grammar of messages.

    CALLER: NAME is GOT; allowed is WHAT[; HINT]

GOT says what a thing is (an array by dtype and shape, else its value, cut short).  HINT is there only
where it says more than "give what is allowed".  A wrong kind of thing is a TypeError, a wrong value a
ValueError.  Every function returns its argument in the form the package computes with.

NumPy is imported when an array is looked at; `refimpl.formats` needs none.
"""

from __future__ import annotations

import difflib
import math
import operator
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import numpy as np

T = TypeVar("T")
NOTHING: Mapping[str, str] = {}


@dataclass(frozen=True)
class Interval:
    """Numbers from low to high, an end left out where it is open.

    >>> str(Interval(0, 1, open_high=True)), str(Interval(1)), 1 in Interval(0, open_low=True)
    ('at least 0 and below 1', 'at least 1', True)
    """

    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False

    def __contains__(self, value) -> bool:
        above = value > self.low if self.open_low else value >= self.low
        return bool(above and (value < self.high if self.open_high else value <= self.high))

    def __str__(self) -> str:
        if self.low > -math.inf and self.high < math.inf and not (self.open_low or self.open_high):
            return f"{_short(self.low)} to {_short(self.high)}"
        parts = []
        if self.low > -math.inf:
            parts.append(f"{'above' if self.open_low else 'at least'} {_short(self.low)}")
        if self.high < math.inf:
            parts.append(f"{'below' if self.open_high else 'at most'} {_short(self.high)}")
        return " and ".join(parts)


def _short(bound: float) -> str:
    """Return a bound in words: a large power of two, or one less, as such."""
    if isinstance(bound, int) and bound > 1 << 20:
        for value, text in ((bound, "2^{}"), (bound + 1, "2^{} - 1")):
            if value & (value - 1) == 0:
                return text.format(value.bit_length() - 1)
    return f"{bound:g}" if isinstance(bound, float) else str(bound)


ANY = Interval()
POSITIVE = Interval(0, open_low=True)
NOT_NEGATIVE = Interval(0)
FRACTION = Interval(0, 1)
BELOW_ONE = Interval(0, 1, open_high=True)
UINT64 = Interval(0, 2**64 - 1)
FLOAT32 = Interval(2.0**-126, 2.0**127)
"""Factors that float32 holds in full, such as a learning rate."""
FLOAT32_OR_0 = Interval(0, FLOAT32.high)


def shown(got: Any) -> str:
    """Say what a thing is, on one line and short: an array by dtype and shape."""
    dtype, shape = getattr(got, "dtype", None), getattr(got, "shape", None)
    if dtype is not None and shape and not isinstance(got, type):
        return f"an array of {dtype} and shape {tuple(shape)}"
    try:
        text = " ".join(repr(got).split())
    except Exception:  # a broken repr, or an int with too many digits
        text = f"a {type(got).__name__}"
    return text if len(text) <= 60 else text[:57] + "..."


def message(caller: str, name: str, got: str, allowed: str, hint: str = "") -> str:
    """Return the text of a refusal; `got` is a text already."""
    return f"{caller}: {name} is {got}; allowed is {allowed}" + (f"; {hint}" if hint else "")


def wrong_kind(caller: str, name: str, got: Any, allowed: str, hint: str = "") -> TypeError:
    """Return the TypeError for a thing of the wrong kind."""
    kind = "" if hasattr(got, "dtype") or got is None or isinstance(got, (bool, str)) else f" ({type(got).__name__})"
    return TypeError(message(caller, name, shown(got) + kind, allowed, hint))


def wrong_value(caller: str, name: str, got: Any, allowed: str, hint: str = "") -> ValueError:
    """Return the ValueError for a wrong value."""
    return ValueError(message(caller, name, shown(got), allowed, hint))


# -- single values -----------------------------------------------------------------------------------


def is_integer(value: Any) -> bool:
    """Tell whether a value is an integer, NumPy's included, and not a truth value."""
    try:
        operator.index(value)
    except TypeError:
        return False
    return not isinstance(value, bool) and getattr(getattr(value, "dtype", None), "kind", "i") in "iu"


def _within(what: str, allowed: Interval) -> str:
    return f"{what}, {allowed}" if str(allowed) else what


def integer(caller: str, name: str, got: Any, allowed: Interval = ANY, hint: str = "") -> int:
    """Return an integer as int.

    >>> integer("fit", "epochs", 0, Interval(1))
    Traceback (most recent call last):
    ValueError: fit: epochs is 0; allowed is an integer, at least 1
    """
    if not is_integer(got):
        raise wrong_kind(caller, name, got, _within("an integer", allowed), hint)
    value = operator.index(got)
    if value not in allowed:
        raise wrong_value(caller, name, value, _within("an integer", allowed), hint)
    return value


def number(caller: str, name: str, got: Any, allowed: Interval = ANY, hint: str = "") -> float:
    """Return a finite real number as float.

    >>> number("fit", "momentum", 1.5, BELOW_ONE)
    Traceback (most recent call last):
    ValueError: fit: momentum is 1.5; allowed is a finite number, at least 0 and below 1
    """
    kind = getattr(getattr(got, "dtype", None), "kind", "f")
    if not isinstance(got, Real) or isinstance(got, bool) or kind not in "iuf":
        raise wrong_kind(caller, name, got, _within("a finite number", allowed), hint)
    try:
        value = float(got)
    except OverflowError:
        value = math.inf
    if not math.isfinite(value) or value not in allowed:
        raise wrong_value(caller, name, got, _within("a finite number", allowed), hint)
    return value


def flag(caller: str, name: str, got: Any) -> bool:
    """Return a truth value; nothing else counts as one."""
    single = getattr(got, "shape", None) == () and getattr(getattr(got, "dtype", None), "kind", "") == "b"
    if not isinstance(got, bool) and not single:
        raise wrong_kind(caller, name, got, "True or False")
    return bool(got)


def nearest(got: Any, known: Iterable[str], n: int = 1) -> list[str]:
    """Return the known names most like one, whatever their case; empty where none is like it."""
    names = {name.lower(): name for name in reversed([str(k) for k in known])}
    text = str(got).strip().lower()
    close = difflib.get_close_matches(text, names, n=n)
    # a name cut short or lengthened, which difflib finds only where the rest is long
    more = [name for name in names if len(text) > 1 and (name.startswith(text) or text in name.split("_"))]
    return [names[name] for name in dict.fromkeys([*(m for m in more if m == text), *close, *more])][:n]


def unknown(
    caller: str, what: str, got: Any, known: Sequence[str], hint: str = "", meant: Mapping[str, str] = NOTHING
) -> ValueError:
    """Return the ValueError for a name that is not one of those known; the nearest is proposed.

    `meant` maps names used elsewhere, in lower case, to those that are meant by them.
    """
    other = meant.get(str(got).strip().lower())
    near = [other] if other else nearest(got, known, 1)
    text = f"{caller}: unknown {what} {shown(got)}"
    text += f"; did you mean {near[0]!r}?" if near else ""
    text += f"; allowed {'are' if len(known) > 1 else 'is'} {', '.join(map(str, known))}"
    return ValueError(text + (f"; {hint}" if hint else ""))


def choice(
    caller: str, what: str, got: Any, known: Iterable[str], hint: str = "", meant: Mapping[str, str] = NOTHING
) -> str:
    """Return a name that is one of those known.

    >>> choice("quantize", "rounding", "Nearest", ("nearest", "down"))
    Traceback (most recent call last):
    ValueError: quantize: unknown rounding 'Nearest'; did you mean 'nearest'?; allowed are nearest, down
    """
    known = tuple(known)
    if not isinstance(got, str) or got not in known:
        raise unknown(caller, what, got, known, hint, meant)
    return got


def instance(caller: str, name: str, got: Any, kind: type[T] | tuple[type, ...], allowed: str) -> T:
    """Return a thing that is of a kind; `allowed` says in words of which."""
    if not isinstance(got, kind):
        raise wrong_kind(caller, name, got, allowed)
    return got  # type: ignore[return-value]


def function(caller: str, name: str, got: Any, allowed: str) -> Callable:
    """Return what can be called."""
    if not callable(got):
        raise wrong_kind(caller, name, got, allowed)
    return got


def path(caller: str, name: str, got: Any) -> Path:
    """Return a path."""
    return Path(instance(caller, name, got, (str, os.PathLike), "a path"))


def sequence(caller: str, name: str, got: Any, such: str, least: int = 1) -> list:
    """Return a list of at least `least` things, such as `such`; a string is not one."""
    try:
        found = None if isinstance(got, (str, bytes)) else list(got)
    except TypeError:
        found = None
    count = {0: "a list", 1: "a list of at least one"}.get(least, f"a list of at least {least}")
    if found is None:
        raise wrong_kind(caller, name, got, f"{count}, such as {such}")
    if len(found) < least:
        raise wrong_value(caller, name, got, f"{count}, such as {such}")
    return found


def names(caller: str, what: str, got: Any) -> tuple[str, ...]:
    """Return distinct, non-empty strings; `what` says of what they are the names."""
    found = sequence(caller, f"the list of names of {what}s", got, f"[{what + ' 1'!r}]", 0)
    for index, name in enumerate(found):
        if not isinstance(name, str) or not name:
            raise wrong_value(caller, f"the name of {what} {index}", name, "a string that is not empty")
    found = [str(name) for name in found]  # plain ones, where they are NumPy's
    if len(set(found)) < len(found):
        twice = next(name for index, name in enumerate(found) if name in found[:index])
        raise ValueError(f"{caller}: {what} {twice!r} is named twice; allowed are distinct names")
    return tuple(found)


def seed(caller: str, got: Any, name: str = "seed") -> int:
    """Return a seed: an integer of 64 bits."""
    return integer(caller, name, got, UINT64)


# -- arrays ------------------------------------------------------------------------------------------


def array(caller: str, name: str, got: Any) -> np.ndarray:
    """Return an array, refusing lists whose rows differ in length, and masks, which would be lost.

    Tensors of PyTorch, and what ml_dtypes has below 16 bits, come as an array of a dtype that is computed
    with and holds their values: float32, int8 or uint8.
    """
    import numpy as np

    masked = sys.modules["numpy.ma"].MaskedArray if "numpy.ma" in sys.modules else ()
    if isinstance(got, masked) or (isinstance(got, (list, tuple)) and any(isinstance(x, masked) for x in got)):
        hint = "filled() puts values where it is masked, compressed() leaves them out"
        raise TypeError(message(caller, name, "a masked array", "an array without a mask", hint))
    if is_tensor(got):
        got = _of_tensor(caller, name, got)
    try:
        found = np.asarray(got)
    except ValueError:
        raise wrong_value(caller, name, got, "an array", "its rows differ in length") from None
    name = found.dtype.name
    if name.startswith(("float8_", "float6_", "float4_")):
        return found.astype(np.float32)
    return found.astype(name.rstrip("124") + "8") if name in _NARROW_INTEGERS else found


_NARROW_INTEGERS = ("int1", "int2", "int4", "uint1", "uint2", "uint4")


def is_tensor(got: Any) -> bool:
    """Tell whether a thing is a tensor of PyTorch."""
    return any(kind.__module__ == "torch" and kind.__name__ == "Tensor" for kind in type(got).__mro__)


def _of_tensor(caller: str, name: str, tensor: Any) -> np.ndarray:
    """Return the values of a tensor, wherever it lies."""
    try:
        plain = tensor.detach().cpu().resolve_conj().resolve_neg()
        bits = str(plain.dtype).removeprefix("torch.")
        return (plain.float() if bits.startswith(("bfloat16", "float8")) else plain).numpy()
    except (TypeError, RuntimeError, NotImplementedError):
        raise wrong_kind(caller, name, tensor, "a dense tensor of real numbers of at least 8 bits") from None


def numbers(caller: str, name: str, got: Any, shape: tuple[int | None, ...] | None = None) -> np.ndarray:
    """Return real numbers as an array of float64, NaN and infinity included.

    `shape` is that wanted, with None where any length does.
    """
    import numpy as np

    found = array(caller, name, got)
    if found.dtype.kind in "cSUMm" or found.dtype.type is np.void:  # bfloat16's kind is V, too
        raise wrong_kind(caller, name, got, "real numbers")
    try:
        found = found.astype(np.float64)
    except (TypeError, ValueError, OverflowError):
        raise wrong_kind(caller, name, got, "real numbers") from None
    if shape is not None:
        of_shape(caller, name, found, shape)
    return found


def of_dtype(caller: str, name: str, got: Any, dtype: Any) -> np.ndarray:
    """Return an array that is of this dtype already."""
    import numpy as np

    if not isinstance(got, np.ndarray) or got.dtype != dtype:
        wanted = np.dtype(dtype).name
        raise wrong_kind(caller, name, got, f"an array of {wanted}", f"numpy.asarray(..., numpy.{wanted}) makes one")
    return got


def of_shape(caller: str, name: str, values: np.ndarray, shape: tuple[int | None, ...]) -> np.ndarray:
    """Return an array of this shape, None where any length does."""
    got = values.shape
    fits = len(got) == len(shape) and all(w is None or w == n for w, n in zip(shape, got, strict=True))
    if not fits:
        letters = iter("nmklpq")
        wanted = ", ".join(next(letters) if w is None else str(w) for w in shape) + ("," if len(shape) == 1 else "")
        raise ValueError(message(caller, name, f"of shape {got}", f"({wanted})"))
    return values


def first(mask: np.ndarray) -> tuple[int, ...]:
    """Return the index of the first True."""
    import numpy as np

    return tuple(int(i) for i in np.unravel_index(np.argmax(mask), mask.shape))


def every(caller: str, name: str, values: np.ndarray, holds: np.ndarray, allowed: str, hint: str = "") -> np.ndarray:
    """Return an array of which every element `holds` (bool, of its shape); the first that does not is named.

    >>> import numpy as np
    >>> x = np.array([1.0, np.nan])
    >>> every("fit", "images", x, np.isfinite(x), "a finite number")
    Traceback (most recent call last):
    ValueError: fit: images[1] is nan; allowed is a finite number
    """
    if not holds.all():
        index = first(~holds)
        place = f"{name}[{', '.join(map(str, index))}]" if index else name
        raise ValueError(message(caller, place, f"{values[index]}", allowed, hint))
    return values


def finite(caller: str, name: str, values: np.ndarray, hint: str = "") -> np.ndarray:
    """Return an array without NaN and infinity."""
    import numpy as np

    return every(caller, name, values, np.isfinite(values), "a finite number", hint)
