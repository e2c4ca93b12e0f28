"""Ask an implementation, and bring its answers to float64 values that can be compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from refimpl.formats import IntFormat
from refimpl.testing.implementations.findings import Finding, call
from refimpl.testing.implementations.implementations import Implementation


@dataclass(frozen=True)
class Probe:
    """An implementation, what is expected of it, which input dtypes it takes, seconds per call."""

    implementation: Implementation
    behaviour: Any  # a Behaviour or a Scaled
    inputs: tuple[str, ...] = ("float32", "float64")
    time_limit: float = 10.0

    @property
    def routes(self) -> tuple[str, ...]:
        """The functions that take values: ``quantize``, ``encode``, or both."""
        return tuple(verb for verb in ("quantize", "encode") if self.implementation.has(verb))

    @property
    def takes_no_values(self) -> str | None:
        """Why nothing can be asked of values, None where it can."""
        return None if self.routes else "takes no values"

    def random_integers(self, shape, value: int) -> tuple[np.ndarray, ...]:
        """Return the argument behind the values for an implementation that takes random integers."""
        return (np.full(shape, value, np.uint32),) if self.behaviour.random_bits else ()

    def ask(self, route: str, x: np.ndarray, *more) -> np.ndarray:
        """Return the values (float64) that the implementation rounds x to; raise Finding."""
        if route == "encode":
            return self.behaviour.read(self.codes(x, *more))
        return self._floats("quantize", x, *more)

    def read(self, route: str, found: np.ndarray) -> np.ndarray:
        """Return what `quantize` or `encode` gave as values (float64)."""
        if route == "encode":
            return self.behaviour.read(self._checked(found, None))
        return _as_floats(found)

    def codes(self, x: np.ndarray, *more) -> np.ndarray:
        """Return the codes that `encode` gives, checked to be codes of the format."""
        return self._checked(call(self.implementation.function("encode"), x, *more, time_limit=self.time_limit), x)

    def _checked(self, codes: np.ndarray, x: np.ndarray | None) -> np.ndarray:
        if codes.size == 0:
            return np.empty(0, np.int64)
        if codes.dtype.kind not in "iu":
            raise Finding(f"returned {codes.dtype}; codes are integers", about_input=False)
        fmt = self.behaviour.format
        low, high = (fmt.min, fmt.max) if isinstance(fmt, IntFormat) else (0, (1 << fmt.bits) - 1)
        wrong = (codes > high) | (codes < low)
        if wrong.any():
            at = int(np.argmax(wrong))
            error = Finding(f"returned {codes[at]}, not a code of {fmt}, which go from {low} to {high}")
            error.input = None if x is None else x[at : at + 1]
            raise error
        return codes.astype(np.int64 if isinstance(fmt, IntFormat) or fmt.bits < 64 else np.uint64)

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Return the values (float64) of codes as the implementation reads them."""
        return self._floats("decode", codes)

    def _floats(self, verb: str, x, *more) -> np.ndarray:
        return _as_floats(call(self.implementation.function(verb), x, *more, time_limit=self.time_limit))


def _as_floats(result: np.ndarray) -> np.ndarray:
    if not (result.dtype.kind in "fiu" or result.dtype.name.startswith(("float", "bfloat"))):
        raise Finding(f"returned {result.dtype}; values are floats", about_input=False)
    with np.errstate(all="ignore"):
        return result.astype(np.float64)
