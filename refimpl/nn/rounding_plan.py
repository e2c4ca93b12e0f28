"""The rounding plan: what one training step rounds, in the order it happens."""

from __future__ import annotations

import numpy as np

from refimpl._arguments import NOT_NEGATIVE, integer
from refimpl._display import as_html
from refimpl.nn import checks
from refimpl.nn.optimizer import Optimizer
from refimpl.nn.precision import Precision
from refimpl.nn.training import EpochRecord, TrainingState

COLUMNS = ("call", "role", "layer", "shape", "format", "rounding", "scale")


class RoundingPlan(list):
    """Rows of a rounding plan, dictionaries of `COLUMNS`; printed as a table."""

    def __repr__(self) -> str:
        return f"<RoundingPlan: {len(self)} roundings of a step>"

    def _repr_html_(self) -> str:
        return as_html(f"{len(self)} roundings of a step", COLUMNS, [[row[c] for c in COLUMNS] for row in self])

    def __str__(self) -> str:
        cells = [COLUMNS, *([str(row[c]) for c in COLUMNS] for row in self)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
        )


def rounding_plan(
    model, task, precision: Precision, *, batch_size: int = 32, optimizer: Optimizer | None = None, seed: int = 0
) -> RoundingPlan:
    """Run one training step and return every rounding in it.

    Parameters
    ----------
    model : Sequential
        Initialized here.
    task : Task
        Its first images are the batch.
    precision : Precision
    batch_size, optimizer, seed
        As for `refimpl.nn.fit`.

    Returns
    -------
    RoundingPlan
        A list of dictionaries that prints as a table: number of the call (which is the stream of
        its random bits), role, layer, shape, format, rounding, scale.  Parameters of layers that are
        rounded alike are rounded as one vector, under the name of the first.

    Raises
    ------
    ValueError, TypeError
        As `refimpl.nn.fit`.

    Examples
    --------
    >>> import refimpl as rf
    >>> plan = rounding_plan(rf.nn.mlp(), rf.data.load("digits"), rf.Precision(low="e4m3", high="e8m7"))
    >>> print(RoundingPlan(plan[:3]))
    call  role        layer    shape          format  rounding    scale
    0     input       0 Round  (32, 8, 8, 1)  e8m7    stochastic  1
    1     activation  4 Round  (32, 128)      e4m3    stochastic  1
    2     activation  7 Round  (32, 128)      e4m3    stochastic  1
    """
    precision = checks.precision_of(precision)
    checks.model_and_task(model, task)
    checks.patterns(model, precision)
    checks.steps_of_an_epoch(len(task.train_images), batch_size)
    checks.batch_norms(model, task.train_images.shape[1:], batch_size)
    optimizer, seed = checks.optimizer_of(optimizer), integer("fit", "seed", seed, NOT_NEGATIVE)
    run = TrainingState(model, task, precision, optimizer, seed, layer_by_layer=False)
    run.rounder.plan = {}
    part = slice(0, batch_size)
    with np.errstate(over="ignore", invalid="ignore"):
        run.step(task.train_images[part], task.train_labels[part], 0.05, EpochRecord())
    rows = RoundingPlan()
    for call, (role, layer, shape, rounding, scale) in run.rounder.plan.items():
        values = (
            call,
            role,
            layer,
            shape,
            rounding.format.name,
            rounding.rounding,
            f"{scale:g}" if scale == scale else "many",
        )
        rows.append(dict(zip(COLUMNS, values, strict=True)))
    return rows
