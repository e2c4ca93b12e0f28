"""A format on one sheet: its fields, range and special codes, as a dict or as HTML."""

from __future__ import annotations

import dataclasses
import html as text_to_html

from refimpl.formats.blocks import BlockFormat
from refimpl.formats.codebooks import CodeBook
from refimpl.formats.floats import FloatFormat
from refimpl.formats.posits import PositFormat

_RANGE = (
    "max",
    "min",
    "smallest_normal",
    "smallest_subnormal",
    "smallest",
    "eps",
    "maxexp",
    "minexp",
    "bits_per_element",
)


def sheet(fmt) -> dict[str, dict]:
    """Return fields, range and, for floats and posits, special codes of a format.

    Returns
    -------
    dict
        Of types that JSON can hold.

    Examples
    --------
    >>> from refimpl.formats import format
    >>> sheet(format("float8_e5m2"))["special codes"]["infinity"]
    '0x7c, 0xfc'
    """
    fields = {"name": str(fmt), "bits": fmt.bits}
    for field in dataclasses.fields(fmt):
        value = getattr(fmt, field.name)
        if field.name == "book":
            continue
        fields[field.name] = str(value) if dataclasses.is_dataclass(value) else value
    tables = {"format": fields}
    found = {}
    for name in _RANGE:
        try:
            found[name] = getattr(fmt, name)
        except (AttributeError, OverflowError):  # not of this kind, or beyond float64
            continue
    if isinstance(fmt, CodeBook):
        found = {"max": fmt.book[-1], "min": fmt.book[0]}
    tables["range"] = found
    if isinstance(fmt, FloatFormat):
        tables["special codes"] = _special_codes(fmt)
    elif isinstance(fmt, PositFormat):
        tables["special codes"] = {"zero": hex_code(0, fmt), "NaR": hex_code(fmt.nar_code, fmt)}
    elif isinstance(fmt, BlockFormat):
        tables["element"] = sheet(fmt.element)["format"]
    return tables


def html(fmt) -> str:
    """Return the sheet as an HTML table, for notebooks."""
    rows = []
    for title, table in sheet(fmt).items():
        rows.append(f"<tr><th colspan=2 style='text-align:left'>{text_to_html.escape(title)}</th></tr>")
        for key, value in table.items():
            cells = (text_to_html.escape(str(cell)) for cell in (key, value))
            rows.append("<tr>" + "".join(f"<td style='text-align:left'>{c}</td>" for c in cells) + "</tr>")
    return "<table>" + "".join(rows) + "</table>"


def hex_code(code: int, fmt) -> str:
    """Return a code in as many hexadecimal digits as its format's codes have."""
    return f"0x{code:0{-(-fmt.bits // 4)}x}"


def _special_codes(fmt: FloatFormat) -> dict[str, str]:
    sign = fmt.sign_mask
    with_signs = (0, sign) if sign else (0,)
    infinity, nan = fmt.infinity_code, fmt.nan_code
    codes = {
        "zero": [0] if fmt.has_zero else [],
        "minus zero": [sign] if fmt.has_minus_zero else [],
        "largest": [fmt.max_code],
        "infinity": [] if infinity is None else [infinity | s for s in with_signs],
        "NaN": [] if nan is None else [nan | s for s in (with_signs if fmt.nan_has_sign else (0,))],
    }
    said = {kind: ", ".join(hex_code(code, fmt) for code in found) or "none" for kind, found in codes.items()}
    if fmt.specials == "ieee" and fmt.mantissa_bits > 1:  # every code above infinity
        first, last = fmt.max_code + 2, (1 << (fmt.exponent_bits + fmt.mantissa_bits)) - 1
        said["NaN"] = ", ".join(f"{hex_code(first | s, fmt)} to {hex_code(last | s, fmt)}" for s in with_signs)
    return said
