"""The rounding rule: made and checked once at the public call, and handed through as one record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypedDict

import numpy as np

from refimpl import _arguments
from refimpl.formats import NAN_RULES, OTHER_NAMES, OVERFLOWS, ROUNDINGS, NanRule, Overflow, PositFormat, RoundingMode
from refimpl.ops import arrays
from refimpl.ops.definitions import kernels


class SumRounding(TypedDict, total=False):
    """The keyword arguments by which a call says how its accumulator rounds."""

    rounding: RoundingMode
    overflow: Overflow
    random_bits: int | None
    seed: int | None
    stream: int
    random: Any


class RoundingOptions(SumRounding, total=False):
    """The keyword arguments by which a call says how to round."""

    nan: NanRule


@dataclass(frozen=True)
class RoundingRule:
    """How results are rounded: `refimpl.quantize` describes the fields, which are its arguments.

    Examples
    --------
    >>> RoundingRule.of("encode", None, rounding="stochastic", seed=np.uint64(7))
    RoundingRule(mode='stochastic', overflow='overflow', nan='zero', random_bits=32, seed=7, stream=0)
    """

    mode: RoundingMode = "ties_to_even"
    overflow: Overflow = "overflow"
    nan: NanRule = "zero"
    random_bits: int = 32
    seed: int = 0
    stream: int = 0
    given: np.ndarray | None = field(default=None, repr=False, compare=False)  # words of `random`

    @classmethod
    def of(
        cls,
        caller: str,
        fmt,
        shape: tuple[int, ...] = (),
        *,
        rounding="ties_to_even",
        overflow="overflow",
        nan="zero",
        random_bits=None,
        seed=None,
        stream=0,
        random=None,
    ) -> RoundingRule:
        """Return the rule that the arguments of a public call make for a format, or refuse them.

        shape: that of the result, which `random` has to fit.
        """
        _arguments.choice(caller, "rounding", rounding, ROUNDINGS, meant=OTHER_NAMES)
        _arguments.choice(caller, "overflow", overflow, OVERFLOWS)
        _arguments.choice(caller, "nan", nan, NAN_RULES)
        counted = rounding in ("stochastic_a", "stochastic_b", "stochastic_c")
        if counted:
            random_bits = _arguments.integer(caller, "random_bits", random_bits, _arguments.Interval(1, 32))
        elif random_bits is not None:
            hint = "it belongs to stochastic_a, stochastic_b and stochastic_c"
            raise _arguments.wrong_value(caller, "random_bits", random_bits, f"None for {rounding}", hint)
        stochastic, bits = rounding.startswith("stochastic"), 32 if random_bits is None else random_bits
        given = None if random is None else _words_of(caller, random, bits, shape)
        if given is not None and (seed is not None or not stochastic):
            names, allowed = ("seed, random", "one of them") if stochastic else ("random", f"None for {rounding}")
            raise ValueError(_arguments.message(caller, names, "given", allowed))
        if seed is not None or (stochastic and given is None):
            seed = _arguments.seed(caller, seed)
        stream = _arguments.seed(caller, stream, "stream")
        if isinstance(fmt, PositFormat):
            for name, got, allowed in (("rounding", rounding, "ties_to_even"), ("overflow", overflow, "overflow")):
                if got != allowed:
                    hint = "posits round to even on their codes and never overflow"
                    raise _arguments.wrong_value(caller, name, got, f"{allowed!r} for {fmt}", hint)
        return cls(rounding, overflow, nan, bits, seed or 0, stream, given)

    @property
    def stochastic(self) -> bool:
        """Whether random words are drawn."""
        return self.mode.startswith("stochastic")

    def words(self, count: int, start: int = 0) -> np.ndarray:
        """Return the random words of elements start, ..., start + count - 1, and perhaps more behind."""
        if not self.stochastic:
            return np.empty(0, np.uint32)
        if self.given is not None:
            return self.given[start : start + count]
        skipped = start % 4
        words = np.empty(-(-(skipped + count) // 4) * 4, np.uint32)
        generator = kernels(count).random_bits
        generator.random_words_from(words, np.uint64(self.seed), np.uint64(self.stream), np.uint64(start // 4))
        return words[skipped:]

    def for_kernels(self, use) -> Any:
        """Return mode, overflow, NaN rule and random bits as kernels take them; what is refused is refused before."""
        nan = "zero" if self.nan == "raise" else self.nan
        return use.float_codes.mode(self.mode, self.overflow, nan, self.random_bits)

    def refuses_nan(self, fmt) -> bool:
        """Tell whether a NaN is an error: the format has none, and nothing is to take its place."""
        return self.nan == "raise" and not isinstance(fmt, PositFormat) and fmt.nan_code is None


def _words_of(caller: str, random, bits: int, shape: tuple[int, ...]) -> np.ndarray:
    """Return random integers of some bits as words of which they are the leading bits."""
    random = arrays.integers(caller, "random", random, 0, 2**bits - 1)
    try:
        random = np.broadcast_to(random, shape)
    except ValueError:
        allowed = f"of a shape that broadcasts to the result's, {shape}"
        raise ValueError(_arguments.message(caller, "random", f"of shape {random.shape}", allowed)) from None
    return (random.astype(np.uint32) << np.uint32(32 - bits)).reshape(-1)


def known(caller: str, options: Mapping[str, Any], of: type) -> Mapping[str, Any]:
    """Return keyword arguments, refusing one that the call does not have."""
    for name in options:
        if name not in of.__annotations__:
            raise TypeError(str(_arguments.unknown(caller, "argument", name, tuple(of.__annotations__))))
    return options
