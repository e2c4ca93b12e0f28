"""Packing codes of fewer than eight bits: the first element in the low bits of the first byte."""

from __future__ import annotations

import math

import numpy as np

from refimpl.spec.packing import pack
from refimpl.testing.implementations.findings import Finding, once


def check(probe, tally, group) -> None:
    """Hold pack and unpack to the definition, on runs of four and more codes."""
    fmt, tested = probe.behaviour.format, probe.implementation
    codes = group(fmt)
    for count in sorted({8, len(codes) // 8 * 8}):
        some = codes[:count]
        right = np.frombuffer(pack(some.tolist(), fmt.bits), np.uint8)
        if tested.has("pack"):
            got = _ask(tally, "pack", tested.pack, right, probe.time_limit, some)
            if got is not None:
                bad = got != right
                tally.count("pack", right, bad, _text("pack", some, right, got))
                if bad.any():
                    tally.hints.append(_diagnose(some, fmt.bits, got))
        if tested.has("unpack"):
            got = _ask(tally, "unpack", lambda b, n=count: tested.unpack(b, n), some, probe.time_limit, right)
            if got is not None:
                bad = got != some
                tally.count("unpack", some, bad, _text("unpack", right, some, got))
                if bad.any() and not tested.has("pack"):
                    tally.hints.append(_unpacked(some, fmt.bits, right, got))


def _ask(tally, route, function, shape_of, time_limit, argument):
    """Return what the function gives for the argument if it has the shape of `shape_of`, else note it."""
    try:
        got = once(lambda _: function(argument.copy()), np.zeros(shape_of.shape, np.uint8), time_limit=time_limit)
        if got.dtype.kind not in "iu":
            raise Finding(f"returned {got.dtype}; bytes and codes are integers")
        return got
    except Finding as found:
        found.about_input = False
        tally.find(route, found)


def _text(verb, given, right, got):
    def text(i):
        return (
            f"given  {_hex(given[:8])} ...\nright  {_hex(right[:8])} ... by {verb}: element i at "
            f"bit i * bits, low bits first\ngot    {_hex(got[:8])} ...\nfirst difference at {i}"
        )

    return text


def _hex(numbers) -> str:
    return " ".join(f"{int(n):02x}" for n in numbers)


def _unpacked(codes, bits: int, packed, got) -> str:
    """Say what is wrong with unpacked codes; an order is named only if it gives all of them."""
    stream = np.unpackbits(packed)
    high = stream[: codes.size * bits].reshape(-1, bits) @ (1 << np.arange(bits)[::-1])
    if (got == high).all():
        return "unpacks with the first element in the high bits"
    every = 8 // math.gcd(8, bits)
    wrong = got != codes
    for k in range(every):
        if wrong[k::every].any() and not np.delete(wrong, np.s_[k::every]).any():
            where = f" in every code at a position i with i % {every} = {k}, and nowhere else"
            lost, gained = (np.bitwise_or.reduce(a & ~b) for a, b in ((codes, got), (got, codes)))
            if not gained and (got[k::every] == codes[k::every] & ~lost).all():
                which = [str(bit) for bit in range(bits) if int(lost) >> bit & 1]
                return f"loses bit{'s' * (len(which) > 1)} {' and '.join(which)}{where}"
            return f"unpacks wrongly{where.replace('every code', 'codes')}"
    return f"unpacks {int(wrong.sum())} of {wrong.size} codes wrongly"


def _diagnose(codes, bits: int, got) -> str:
    per_byte = 8 // bits
    if 8 % bits == 0 and got.tobytes() == pack(codes.reshape(-1, per_byte)[:, ::-1].ravel().tolist(), bits):
        return "packs the first element in the high bits"
    packed = 0
    for code in codes:
        packed = packed << bits | int(code)
    if got.tobytes() == packed.to_bytes(len(codes) * bits // 8, "big"):
        return "packs the first element in the high bits"
    return "packs in another order than first element in the low bits"
