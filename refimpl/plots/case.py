"""One case of a judgement on the number line, as SVG text: for pages, light or dark, without Matplotlib."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

WIDTH, LINE, LEFT, RIGHT = 720, 52, 40, 680
CHARACTER = 6.7  # width of one, of the labels
_HALO = ' style="paint-order:stroke" stroke="Canvas" stroke-width="4"'  # over lines, in the colour of the page
COLOURS = {"right": "#2a9d4a", "got": "#d43d3d"}


class Mark(NamedTuple):
    """A number with a name (``input``, ``below``, ``above``, ``right``, ``got``) and how it is written."""

    name: str
    value: Fraction | float
    text: str


def case_on_line(marks: Sequence[Mark]) -> str:
    """Draw a case: the input above the line; its neighbours, what is right and what was got on it.

    Parameters
    ----------
    marks : sequence of Mark
        What is not a number is said under the line.  What lies far from input and neighbours is drawn at the end of
        the line, and said to.

    Returns
    -------
    str
        An ``<svg>`` element; text has the colour of the page's text.

    Examples
    --------
    >>> one = [("input", 1.0625), ("below", 1.0), ("above", 1.125), ("right", 1.0), ("got", 1.125)]
    >>> case_on_line([Mark(name, value, str(value)) for name, value in one]).count("<circle")
    1
    """
    place = _scale(marks)
    under: dict[Fraction | float, list[Mark]] = {}
    nowhere = []
    for mark in marks:
        if math.isnan(mark.value):
            nowhere.append(mark)
        elif mark.name not in ("input", "exact"):
            under.setdefault(mark.value, []).append(mark)
    parts = [_line(LEFT, LINE, RIGHT, LINE, 1.5)]
    values = {mark.name: mark.value for mark in marks}
    if "below" in values and "above" in values:
        middle = (_number(values["below"]) + _number(values["above"])) / 2
        parts += [_line(place(middle), LINE - 9, place(middle), LINE + 9, 1, "3 2")]
    for mark in marks:
        if mark.name in ("input", "exact") and not math.isnan(mark.value):
            x = place(mark.value)
            parts.append(f'<path d="M{x - 6:.1f} {LINE - 22}h12l-6 12z" fill="currentColor"/>')
            parts.append(_text(x, LINE - 30, f"{mark.name} {mark.text}{_far(mark.value, place)}"))
    levels: list[float] = []
    texts: list[str] = []
    for value in sorted(under):
        lines, labels = _under(place(value), under[value], levels, _far(value, place))
        parts, texts = parts + lines, texts + labels
    parts += texts
    height = LINE + 22 + 46 * max(1, len(levels))
    for mark in nowhere:
        parts.append(_text(WIDTH / 2, height, f"{mark.name} {mark.text}, which has no place on the line", mark.name))
        height += 18
    said = "; ".join(f"{mark.name} {mark.text}" for mark in marks)
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img" '
        f'style="max-width:100%;height:auto" font-family="ui-monospace,monospace" font-size="11">'
        f"<title>{html.escape(said)}</title>{''.join(parts)}</svg>"
    )


def _scale(marks):
    """Return a function from numbers to places on the line, which holds what is near the input in full."""
    near = [mark for mark in marks if mark.name in ("input", "exact", "below", "above") and math.isfinite(mark.value)]
    if len({mark.value for mark in near}) < 2:
        near = [mark for mark in marks if math.isfinite(mark.value)]
    values = [_number(mark.value) for mark in near] or [Fraction(0)]
    low, high = min(values), max(values)
    gap = (high - low) or abs(high) or Fraction(1)
    low, high = low - gap * Fraction(2, 5), high + gap * Fraction(2, 5)
    if len(set(values)) == 1:
        low, high = low - gap / 10, high + gap / 10

    def place(value) -> float:
        if math.isinf(value):
            return float(LEFT if value < 0 else RIGHT)
        at = float((_number(value) - low) / (high - low)) if low <= value <= high else float(value > high)
        return LEFT + (RIGHT - LEFT) * at

    return place


def _number(value) -> Fraction:
    return Fraction(value)


def _far(value, place) -> str:
    if math.isfinite(value) and place(value) in (LEFT, RIGHT):
        return " (far off, not to scale)"
    return ""


def _under(x: float, marks: Sequence[Mark], levels: list[float], far: str) -> tuple[list[str], list[str]]:
    """Return lines and labels of one place; `levels` are the right ends of the labels of each row so far."""
    code, _, value = max((mark.text for mark in marks), key=len).rpartition(" = ")
    judged = [mark for mark in marks if mark.name in COLOURS]
    lines = [(value + far, ""), (code.strip(), "")]
    if len(judged) > 1:  # zeros of two signs, or a law that what is right elsewhere breaks
        lines = [(f"{mark.name} {mark.text}", mark.name) for mark in judged]
    elif judged:
        lines.append((judged[0].name, judged[0].name))
    lines = [(text, name) for text, name in lines if text]
    half = max(len(text) for text, _ in lines) * CHARACTER / 2
    middle = min(max(x, half), WIDTH - half)
    row = next((i for i, end in enumerate(levels) if end < middle - half), len(levels))
    levels[row : row + 1] = [middle + half + 8]
    top = LINE + 24 + 46 * row
    parts = [_line(x, LINE - 8, x, top - 11 if row else LINE + 8, 1)]
    for mark in judged:
        if mark.name == "right":
            parts.append(f'<circle cx="{x:.1f}" cy="{LINE}" r="6" fill="{COLOURS["right"]}"/>')
        else:
            cross = f"M{x - 6:.1f} {LINE - 6}l12 12m0-12l-12 12"
            parts.append(f'<path d="{cross}" stroke="{COLOURS["got"]}" stroke-width="3"/>')
    return parts, [_text(middle, top + 13 * i, text, name) for i, (text, name) in enumerate(lines)]


def _line(x1, y1, x2, y2, width, dashes="") -> str:
    dashed = f' stroke-dasharray="{dashes}"' * bool(dashes)
    places = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {places} stroke="currentColor" stroke-width="{width}"{dashed}/>'


def _text(x: float, y: float, text: str, name: str = "") -> str:
    half = len(text) * CHARACTER / 2
    x = min(max(x, half), WIDTH - half) if 2 * half < WIDTH else WIDTH / 2
    colour = COLOURS.get(name, "currentColor")
    weight = ' font-weight="bold"' * (name in COLOURS)
    return f'<text x="{x:.1f}" y="{y}" text-anchor="middle" fill="{colour}"{weight}{_HALO}>{html.escape(text)}</text>'
