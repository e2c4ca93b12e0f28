"""Reference implementation of low-precision training research, with bit-exact number formats."""

import importlib

from refimpl.formats import FloatFormat, IntFormat, format
from refimpl.ops import decode, encode, quantize, quantize_int

__version__ = "0.1.0"
__all__ = ["FloatFormat", "IntFormat", "Precision", "autodiff", "data", "decode", "encode", "format",
           "nn", "peppp", "plots", "quantize", "quantize_int", "testing"]  # fmt: skip


def __getattr__(name: str):
    """Load the rooms when they are first asked for, so that importing refimpl stays quick."""
    if name in ("autodiff", "data", "nn", "peppp", "plots", "testing"):
        return importlib.import_module(f"refimpl.{name}")
    if name == "Precision":
        return importlib.import_module("refimpl.nn").Precision
    raise AttributeError(f"module 'refimpl' has no attribute {name!r}")
