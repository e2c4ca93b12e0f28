"""Lines of hexadecimal fields to and from arrays of integers, whole arrays at a time."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

_PAIRS = np.frombuffer("".join(f"{b:02x}" for b in range(256)).encode(), np.uint16)
_DIGIT = np.full(256, 255, np.uint8)
for _code, _character in enumerate("0123456789abcdef"):
    _DIGIT[ord(_character)] = _DIGIT[ord(_character.upper())] = _code
_SPACE, _NEWLINE = 32, 10
_IS_FIELD = np.ones(256, bool)
_IS_FIELD[[_SPACE, ord("\t"), ord("\r"), _NEWLINE]] = False


class Table(NamedTuple):
    """Lines read: how many fields each has, the first and last of them, and all, one after the other (uint64)."""

    counts: np.ndarray
    first: np.ndarray
    last: np.ndarray
    every: np.ndarray


class Rubbish(ValueError):
    """Say which line (counted from 1) is not hexadecimal fields."""

    def __init__(self, line: int, text: bytes):
        super().__init__(f"line {line} is {repr(text)[1:]}, not hexadecimal fields")
        self.line = line


def lines(columns: list[np.ndarray], digits: list[int]) -> bytes:
    """Return lines of the columns (unsigned integers), each padded to its number of digits.

    >>> lines([np.array([1, 255], np.uint8), np.array([10, 11], np.uint16)], [2, 4])
    b'01 000a\\nff 000b\\n'
    """
    text = np.full((len(columns[0]), sum(digits) + len(digits)), _SPACE, np.uint8)
    at = 0
    for column, width in zip(columns, digits, strict=True):
        size = (width + 1) // 2
        size = 1 << (size - 1).bit_length()  # 1, 2, 4 or 8 bytes
        octets = np.ascontiguousarray(column, f">u{size}").view(np.uint8)
        pairs = _PAIRS[octets].view(np.uint8).reshape(len(column), 2 * size)
        text[:, at : at + width] = pairs[:, 2 * size - width :]
        at += width + 1
    text[:, -1] = _NEWLINE
    return text.tobytes()


def read(text: bytes, first_line: int = 1) -> Table:
    """Return the fields of lines, which end in newlines; a last line may lack its own.

    Fields are separated by spaces or tabs; ``0x`` before digits is allowed.  Raises Rubbish for
    empty lines, other characters and more than 16 digits.

    >>> read(b"3f800000 38\\n0x1\\n").last.tolist()
    [56, 1]
    """
    if not text:
        return Table(*(np.empty(0, np.uint64) for _ in range(4)))
    raw = np.frombuffer(text if text.endswith(b"\n") else text + b"\n", np.uint8)
    newline = raw == _NEWLINE
    ends_of_lines = np.flatnonzero(newline)
    is_field = _IS_FIELD[raw]
    edge = np.diff(is_field.view(np.int8), prepend=np.int8(0))
    starts = np.flatnonzero(edge == 1)
    ends = np.flatnonzero(edge == -1)  # the text ends in a newline, so every field ends
    upto = np.searchsorted(ends, ends_of_lines, side="right")
    counts = np.diff(upto, prepend=0)
    prefixed = (ends - starts > 2) & (raw[starts] == ord("0"))
    prefixed &= (raw[np.minimum(starts + 1, len(raw) - 1)] | 32) == ord("x")
    starts = starts + 2 * prefixed
    bad_line = counts == 0
    length = ends - starts
    value, good = _numbers(raw, ends, length)
    good &= length <= 16
    if not good.all():
        bad_line[np.searchsorted(ends_of_lines, starts[~good])] = True
    if bad_line.any():
        at = int(np.argmax(bad_line))
        begin = ends_of_lines[at - 1] + 1 if at else 0
        shown = raw[begin : min(ends_of_lines[at], begin + 80)].tobytes()
        raise Rubbish(first_line + at, shown)
    return Table(counts, value[upto - counts], value[upto - 1], value)


def _numbers(raw, ends, length):
    """Return the values of fields and whether they are hexadecimal (fields of up to 16 digits)."""
    value = np.zeros(len(ends), np.uint64)
    good = np.ones(len(ends), bool)
    longest = min(int(length.max(initial=0)), 16)
    equal = length.min(initial=0) == longest  # the usual case: nothing to mask
    for k in range(longest):
        digit = _DIGIT[raw[ends - 1 - k]]
        if not equal:
            digit = np.where(k < length, digit, 0)
        good &= digit != 255
        value |= (digit & np.uint8(15)).astype(np.uint64) << np.uint64(4 * k)
    return value, good
