"""Pictures of number formats: their bits, their values, their rounding."""

from __future__ import annotations

from typing import get_args

import numpy as np

from refimpl import _arguments as check
from refimpl.formats import FloatFormat, PositFormat, RoundingMode
from refimpl.formats import format as format_of
from refimpl.ops import decode, quantize
from refimpl.plots.canvas import axes, ink, panels

_COLORS = ("#2166ac", "#b2182b", "#1b7837", "#e08214", "#8a5fc0")


def _formats(caller: str, formats, kind) -> list:
    """Return formats of a kind, given by themselves or their names."""
    found = map(format_of, check.sequence(caller, "formats", formats, "['float8_e4m3fn', 'bfloat16']"))
    return [check.instance(caller, "format", fmt, kind, "a floating-point format") for fmt in found]


def _limit(caller: str, limit) -> float:
    return check.number(caller, "limit", limit, check.POSITIVE)


def bit_layout(formats, *, ax=None):
    """Draw the bits of formats, the most significant first, one format a row.

    Parameters
    ----------
    formats : sequence of FloatFormat or names
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Figure

    Examples
    --------
    >>> bit_layout(["float8_e4m3fn", "bfloat16"]).axes[0].get_xlabel()
    'bits, the most significant first'
    """
    formats = _formats("bit_layout", formats, FloatFormat)
    ax = axes(ax, size=(8, 0.6 + 0.5 * len(formats)))
    fields = {"sign": ("#f4a582", ""), "exponent": ("#92c5de", "//"), "mantissa": ("#d9f0d3", "..")}
    for row, fmt in enumerate(formats):
        start = 0
        widths = (int(fmt.signed), fmt.exponent_bits, fmt.mantissa_bits)
        for (field, (color, hatch)), width in zip(fields.items(), widths, strict=True):
            label = None if row else field
            ax.barh(row, width, left=start, color=color, hatch=hatch, edgecolor="0.3", label=label)
            for bit in range(start + 1, start + width):
                ax.plot([bit, bit], [row - 0.4, row + 0.4], color="0.3", lw=0.6)
            start += width
    ax.set_yticks(range(len(formats)), [fmt.name for fmt in formats])
    ax.invert_yaxis()
    ax.set_xticks(range(0, max(fmt.bits for fmt in formats) + 1, 2))
    ax.set_xlabel("bits, the most significant first")
    ax.legend(loc="lower right", fontsize=8, ncols=3)
    return ax.figure


def number_line(formats, *, limit: float | None = None, ax=None):
    """Draw the non-negative values of small formats (at most 10 bits) as ticks on a line each.

    Parameters
    ----------
    formats : sequence of FloatFormat or names
    limit : float, optional
        Largest value shown; default the smallest of the formats' largest values.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    ValueError
        For a format of more than 10 bits, whose ticks would be a grey bar.

    Examples
    --------
    >>> [label.get_text() for label in number_line(["float4_e2m1fn", "posit6_1"]).axes[0].get_yticklabels()]
    ['float4_e2m1fn', 'posit6_1']
    """
    formats = _formats("number_line", formats, (FloatFormat, PositFormat))
    for fmt in formats:
        if fmt.bits > 10:
            raise check.wrong_value("number_line", "format", fmt.name, f"one of at most 10 bits; it has {fmt.bits}")
    ax = axes(ax, size=(8, 0.8 + 0.5 * len(formats)))
    limit = min(fmt.max for fmt in formats) if limit is None else _limit("number_line", limit)
    for row, fmt in enumerate(formats):
        values = decode(np.arange(1 << fmt.bits), fmt, dtype=np.float64)
        values = np.unique(values[(values >= 0) & (values <= limit)])
        ax.vlines(values, row - 0.3, row + 0.3, color=_COLORS[row % 5], lw=0.9)
        ax.plot([0, limit], [row, row], color=ink(0.4), lw=0.6, zorder=0)
    ax.set_yticks(range(len(formats)), [fmt.name for fmt in formats])
    ax.invert_yaxis()
    ax.set_xlabel("value")
    return ax.figure


def rounding_modes(fmt="float4_e2m1fn", *, limit: float | None = None, ax=None):
    """Draw what each deterministic rounding mode makes of the numbers between -limit and limit.

    Parameters
    ----------
    fmt : FloatFormat or its name
    limit : float, optional
        Default: the magnitude of the format's third value above zero.
    ax : array of two by three matplotlib Axes, optional

    Returns
    -------
    matplotlib Figure

    Examples
    --------
    >>> len(rounding_modes("float4_e2m1fn").axes)
    6
    """
    (fmt,) = _formats("rounding_modes", [fmt], FloatFormat)
    modes = get_args(RoundingMode)[:6]  # the deterministic ones
    row = panels(2, 3, ax, size=(9, 6), sharex=True, sharey=True)
    limit = 3 * fmt.smallest_subnormal if limit is None else _limit("rounding_modes", limit)
    x = np.linspace(-limit, limit, 1201)
    for axis, mode in zip(row, modes, strict=True):
        y = quantize(x, fmt, rounding=mode)
        jump = np.flatnonzero(np.diff(y))
        axis.plot(x, x, color=ink(0.25), lw=0.8)
        axis.plot(np.insert(x, jump + 1, np.nan), np.insert(y, jump + 1, np.nan), color="#2166ac", lw=2)
        axis.set_title(mode, fontsize=10)
        axis.set_aspect("equal")
        axis.grid(alpha=0.3)
    row[0].figure.supxlabel("value")
    row[0].figure.supylabel(f"what becomes of it in {fmt.name}")
    return row[0].figure
