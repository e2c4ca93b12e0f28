"""Blocks of elements that share a scale: MX, and the two levels of NVFP4.

*MX*: X = 2^e is the scale of a block, P_i = round(V_i / X) its elements, saturating.  A block with NaN
or an infinity in it gets the scale NaN, and every element decodes to NaN (OCP MX 1.0 leaves this
open).  A block of zeros gets the smallest scale.  e by the scale rule, a the largest magnitude of
the block, emax the exponent of the element's largest power of two:

=============  ================================================================================
``floor``      floor(log2 a) - emax, as OCP MX 1.0; the largest elements may saturate
``ceil``       the least e for which a <= largest element * 2^e; nothing saturates
``ceil_log2``  ceil(log2 a) - emax: torchao's CEIL, while ``ceil`` is its RCEIL
``even``       as floor, after a is rounded to the precision of the largest elements, ties to even
``nearest``    2^e nearest to a / largest element, ties up, as ml_dtypes casts to E8M0
=============  ================================================================================

*NVFP4*: s_t = a_tensor / (largest scale * largest element) in float32, s_b = a / (largest element *
s_t) in the scale's format, q_i = round(x_i / (s_b s_t)), saturating; every quotient exact, then
rounded once.  A block scale that rounds to zero is taken as 1; with a least scale, smaller ones, and those of
blocks of zeros, are taken as it.

*Scaled*: one scale for any number of elements, in float32, float16 or bfloat16: a / largest element, not below the
smallest of its format; 1 for zeros.

*Source*: OCP Microscaling formats 1.0 and microxcaling's published code; NVIDIA's NVFP4.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any, NamedTuple

from refimpl.formats import BlockFormat, FloatFormat, IntFormat
from refimpl.formats.floats import to_float32
from refimpl.spec import float_codes
from refimpl.spec.float_codes import Value, floor_log2
from refimpl.spec.integers import LARGEST_SCALE, SMALLEST_SCALE


def encode_block(
    values: Sequence[Value],
    fmt: BlockFormat,
    rule: str = "floor",
    tensor_scale: float = 1.0,
    rounding: str = "ties_to_even",
    randoms: Sequence[int] | None = None,
    random_bits: int = 32,
    given: int | None = None,
    least: int = 0,
) -> tuple[int, list[int]]:
    """Return the scale's code and the elements' codes of one block.

    `given` is the scale's code where the caller has one, `least` that of the least scale under a tensor scale.

    >>> from refimpl.formats import format
    >>> values = [float_codes.from_float(x) for x in (1.0, -6.5, 0.3)]
    >>> encode_block(values, format("mxfp4_e2m1"))
    (127, [2, 15, 1])
    """
    if any(value.kind != "finite" for value in values):
        return float_codes.encode(Value("nan", False), fmt.scale), [0] * len(values)
    largest = max((value.magnitude for value in values), default=Fraction(0))
    if given is not None:
        scale_code = given
    elif fmt.tensor_scale:
        scale_code = block_scale(largest, fmt, tensor_scale, least)
    else:
        scale_code = scale_exponent(largest, fmt, rule) + fmt.scale.bias
    decoded = float_codes.decode(scale_code, fmt.scale)
    if decoded.kind == "nan":
        return scale_code, [0] * len(values)
    scale = decoded.magnitude * Fraction(tensor_scale)
    codes = [
        encode_element(
            Value("finite", value.negative, value.magnitude / scale),
            fmt,
            rounding,
            0 if randoms is None else randoms[i],
            random_bits,
        )
        for i, value in enumerate(values)
    ]
    return scale_code, codes


def decode_block(scale_code: int, codes: Sequence[int], fmt: BlockFormat, tensor_scale: float = 1.0) -> list[Value]:
    """Return the values of one block, exactly."""
    scale = float_codes.decode(scale_code, fmt.scale)
    if scale.kind == "nan":
        return [Value("nan", False) for _ in codes]
    factor = scale.magnitude * Fraction(tensor_scale)
    elements = [decode_element(code, fmt) for code in codes]
    return [Value(value.kind, value.negative != scale.negative, value.magnitude * factor) for value in elements]


def scale_exponent(largest: Fraction, fmt: BlockFormat, rule: str) -> int:
    """Return e of the scale 2^e for a block whose largest magnitude is given."""
    lowest, highest = -fmt.scale.bias, fmt.scale.max_code - fmt.scale.bias
    if largest == 0:
        return lowest
    top = float_codes.magnitude(fmt.grid.max_code, fmt.grid)
    match rule:
        case "floor":
            e = floor_log2(largest) - fmt.max_exponent
        case "ceil":
            e = floor_log2(largest / top)
            e += Fraction(2) ** e * top < largest
        case "ceil_log2":
            e = floor_log2(largest)
            e += (Fraction(2) ** e < largest) - fmt.max_exponent
        case "even":
            # fraction bits of the largest elements: fewer than stored where they are fixed point
            spacing = max(fmt.max_exponent, fmt.grid.min_exponent) - fmt.grid.mantissa_bits
            unit = Fraction(2) ** (floor_log2(largest) - (fmt.max_exponent - spacing))
            e = floor_log2(round(largest / unit) * unit) - fmt.max_exponent
        case "nearest":
            e = floor_log2(largest / top)
            e += largest / top >= Fraction(3, 2) * Fraction(2) ** e
        case _:
            raise ValueError(f"unknown scale rule {rule!r}")
    return min(max(e, lowest), highest)


def tensor_scale(largest: Fraction, fmt: BlockFormat) -> float:
    """Return the float32 scale of a tensor whose largest finite magnitude is given.

    1 for a tensor of zeros; never zero, and never infinite.

    >>> from refimpl.formats import format
    >>> tensor_scale(Fraction(2688), format("nvfp4"))
    1.0
    """
    if largest == 0:
        return 1.0
    top = float_codes.magnitude(fmt.scale.max_code, fmt.scale)
    exact = largest / (top * float_codes.magnitude(fmt.grid.max_code, fmt.grid))
    return to_float32(min(max(exact, Fraction(SMALLEST_SCALE)), Fraction(LARGEST_SCALE)))


def block_scale(largest: Fraction, fmt: BlockFormat, tensor_scale: float, least: int = 0) -> int:
    """Return the code of the block scale under a tensor scale, the code of the least or of 1 where it would be 0."""
    top = float_codes.magnitude(fmt.grid.max_code, fmt.grid)
    exact = Value("finite", False, largest / (top * Fraction(tensor_scale)))
    code = max(float_codes.encode(exact, fmt.scale, overflow="saturate"), least)
    return code or float_codes.encode(float_codes.from_float(1.0), fmt.scale)


class Scaled(NamedTuple):
    """What this file and kernels ask of a block format, of floats with scales in a format of their own."""

    element: FloatFormat
    scale: FloatFormat
    tensor_scale: bool = True

    @property
    def grid(self) -> FloatFormat:
        """The element's format."""
        return self.element

    @property
    def bits(self) -> int:
        """Bits of an element's code."""
        return self.element.bits

    @property
    def max_exponent(self) -> int:
        """Exponent of the element's largest power of two."""
        return self.element.maxexp - 1


def encode_scaled(
    values: Sequence[Value],
    fmt: FloatFormat,
    scale: FloatFormat,
    rounding: str = "ties_to_even",
    randoms: Sequence[int] | None = None,
    random_bits: int = 32,
) -> tuple[int, list[int]]:
    """Return the code of the scale, in its format, and those of finite values of one tile.

    >>> from refimpl.formats import format
    >>> values = [float_codes.from_float(x) for x in (896.0, -3.0)]
    >>> code, codes = encode_scaled(values, format("float8_e4m3fn"), format("float32"))
    >>> hex(code), codes == [0x7E, 0xBC]
    ('0x40000000', True)
    """
    pair: Any = Scaled(fmt, scale)
    zeros = all(value.magnitude == 0 for value in values)
    one = float_codes.encode(float_codes.from_float(1.0), scale) if zeros else None
    return encode_block(values, pair, "", 1.0, rounding, randoms, random_bits, one, 1)


def encode_element(value: Value, fmt: BlockFormat, rounding: str, random: int = 0, random_bits: int = 32) -> int:
    """Return the code of a scaled value; integer elements in two's complement."""
    code = float_codes.encode(value, fmt.grid, rounding, "saturate", random=random, random_bits=random_bits)
    if isinstance(fmt.element, IntFormat):
        magnitude = code & ~fmt.grid.sign_mask
        return -magnitude % 2**fmt.bits if code & fmt.grid.sign_mask else magnitude
    return code


def decode_element(code: int, fmt: BlockFormat) -> Value:
    """Return the value of an element's code, before scaling."""
    if isinstance(fmt.element, IntFormat):
        signed = code - 2**fmt.bits if code >= 2 ** (fmt.bits - 1) else code
        return Value("finite", signed < 0, Fraction(abs(signed), 2 ** (fmt.bits - 2)))
    return float_codes.decode(code, fmt.element)
