"""What all formats share: a name, a width, and a sheet of fields, range and special codes.

`sheet` is that sheet as a dict, `html` as a table for notebooks.
"""

from __future__ import annotations

import dataclasses
import html as text_to_html
from typing import TYPE_CHECKING, Any

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


class NumberFormat:
    """The base of all formats, each of which is a frozen record."""

    if TYPE_CHECKING:  # fields of some formats, properties of others

        @property
        def name(self) -> str: ...

        @property
        def bits(self) -> int: ...

    def special_codes(self) -> dict[str, str]:
        """Return the codes that stand for no ordinary value, in hexadecimal; empty where there are none."""
        return {}

    def __str__(self) -> str:
        return self.name

    def _repr_html_(self) -> str:
        return html(self)


def sheet(fmt: NumberFormat) -> dict[str, dict[str, Any]]:
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
    fields: dict[str, Any] = {"name": str(fmt), "bits": fmt.bits}
    for field in dataclasses.fields(fmt):  # type: ignore[arg-type]  # every format is a dataclass
        value = getattr(fmt, field.name)
        if field.name != "book":
            fields[field.name] = str(value) if dataclasses.is_dataclass(value) else value
    bounds = {}
    for name in _RANGE:
        try:
            bounds[name] = getattr(fmt, name)
        except (AttributeError, OverflowError):  # not of this kind, or beyond float64
            continue
    tables = {"format": fields, "range": bounds}
    if codes := fmt.special_codes():
        tables["special codes"] = codes
    if element := getattr(fmt, "element", None):
        tables["element"] = sheet(element)["format"]
    return tables


def html(fmt: NumberFormat) -> str:
    """Return the sheet as an HTML table, for notebooks."""
    rows = []
    for title, table in sheet(fmt).items():
        rows.append(f"<tr><th colspan=2 style='text-align:left'>{text_to_html.escape(title)}</th></tr>")
        for key, value in table.items():
            cells = (text_to_html.escape(str(cell)) for cell in (key, value))
            rows.append("<tr>" + "".join(f"<td style='text-align:left'>{c}</td>" for c in cells) + "</tr>")
    return "<table>" + "".join(rows) + "</table>"


def hex_code(code: int, fmt: NumberFormat) -> str:
    """Return a code in as many hexadecimal digits as its format's codes have."""
    return f"0x{code:0{-(-fmt.bits // 4)}x}"
