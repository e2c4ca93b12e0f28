"""Pictures of what memory is spent on."""

from __future__ import annotations

from refimpl.plots.canvas import axes

HATCHES = ("", "//", "\\\\", "xx", "..", "--", "++", "oo")


def memory(memory, *, title: str = "", ax=None):
    """Draw memory as one bar per layer, divided by kind.

    Parameters
    ----------
    memory : refimpl.peppp.memory.Memory
    title : str
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Figure
    """
    table = memory.by_layer_and_kind()
    ax = axes(ax, size=(8.0, max(3.0, 0.26 * len(table) + 1.2)))
    start = dict.fromkeys(table, 0.0)
    for number, (kind, total) in enumerate(memory.by_kind().items()):
        if not total:
            continue
        sizes = [row.get(kind, 0.0) / 2**20 for row in table.values()]
        ax.barh(
            list(table),
            sizes,
            left=list(start.values()),
            color=f"C{number}",
            hatch=HATCHES[number % len(HATCHES)],
            edgecolor="white",
            linewidth=0.5,
            label=f"{kind}, {total / 2**20 / memory.total_mb:.0%}",
        )
        start = {name: before + size for (name, before), size in zip(start.items(), sizes, strict=True)}
    ax.use_sticky_edges = False  # the longest bar shall not look cut off
    ax.margins(x=0.02, y=0.01)
    ax.set_xlim(left=0)
    ax.invert_yaxis()
    ax.tick_params(axis="y", labelsize=8)
    ax.set_xlabel(f"MB of $2^{{20}}$ bytes (total {memory.total_mb:.4g})")
    ax.set_title(title)
    ax.legend(fontsize=8)
    return ax.figure
