"""How results look to a person: a line in a console, a table in a notebook."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import Any


class Shown:
    """What shows itself in a line, and in a notebook as a table under it; dataclasses say ``repr=False``.

    Examples
    --------
    >>> class Sum(Shown):
    ...     def _shown(self):
    ...         return "1 + 2 < 4", ("term", "value"), [("first", 1), ("second", 2.0)]
    >>> Sum()
    <Sum: 1 + 2 < 4>
    >>> Sum()._repr_html_().count("<tr>")
    3
    """

    def _shown(self) -> tuple[str, Sequence[str], Iterable[Sequence[Any]]]:
        """Return the line, the heads of the columns, and the rows."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self._shown()[0].splitlines()[0]}>"

    def _repr_html_(self) -> str:
        return as_html(*self._shown())


def as_html(title: str, heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a table as HTML; floats are written in four digits, nan as nothing."""

    def row(cells, tag):
        return "<tr>" + "".join(f"<{tag}>{html.escape(_text(cell))}</{tag}>" for cell in cells) + "</tr>"

    caption = f"<caption style='text-align:left;white-space:pre-line'>{html.escape(title)}</caption>"
    return f"<table>{caption}{row(heads, 'th')}{''.join(row(cells, 'td') for cells in rows)}</table>"


def _text(cell) -> str:
    if isinstance(cell, float):  # NumPy's too
        return "" if cell != cell else f"{cell:.4g}"
    return str(cell)
