"""Pictures: data in, axes optional, figure out.  The only room that imports Matplotlib."""

from refimpl.plots.frontier import frontier
from refimpl.plots.memory import memory
from refimpl.plots.reproduce import released

__all__ = ["frontier", "memory", "released"]
