"""Pictures: data in, axes optional, figure out.  The only room that imports Matplotlib."""

from refimpl.plots.arithmetic import running_sums, staircases, sum_tree
from refimpl.plots.formats import bit_layout, number_line, rounding_modes
from refimpl.plots.numerics import assignment, certificate, errors_with_t, operands, predicted, relative_error, tails
from refimpl.plots.papers import chart
from refimpl.plots.peppp import frontier, memory
from refimpl.plots.training import error_lines, weight_paths

__all__ = [
    "assignment",
    "bit_layout",
    "certificate",
    "chart",
    "error_lines",
    "errors_with_t",
    "predicted",
    "frontier",
    "memory",
    "number_line",
    "operands",
    "relative_error",
    "rounding_modes",
    "running_sums",
    "staircases",
    "sum_tree",
    "tails",
    "weight_paths",
]
