"""Pictures: data in, axes optional, figure out.  The only room that imports Matplotlib."""

from refimpl.plots.frontier import frontier

__all__ = ["frontier"]
