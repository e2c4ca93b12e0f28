"""Pictures: data in, axes optional, figure out.  The only room that imports Matplotlib."""

from refimpl.plots.arithmetic import running_sums, staircases
from refimpl.plots.formats import bit_layout, number_line, relative_error, rounding_modes
from refimpl.plots.frontier import frontier
from refimpl.plots.memory import memory
from refimpl.plots.reproduce import released
from refimpl.plots.training import error_lines

__all__ = [
    "bit_layout",
    "error_lines",
    "frontier",
    "memory",
    "number_line",
    "relative_error",
    "released",
    "rounding_modes",
    "running_sums",
    "staircases",
]
