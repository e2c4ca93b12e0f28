"""PEPPP: pick a precision by measuring a few configurations and predicting the rest.

================  ==========================================================================
`configs`         the 99 configurations
`memory`          what training in each needs
`study`           one new task: what to train next, what to expect of the rest, what to pick
`task_study`      the same for a data set, whose configurations are trained here
`estimate`        what came out
`frontier`        the trade of memory against error: what is worth buying, and how good an
                  estimated frontier is
`evaluation`      how well the methods of estimating do, each task left out in turn
`matrix/`         what was measured of many tasks: the error matrix, its files, samples of it
`sweeping/`       training cells of such a matrix: a plan, processes, the journal
`estimators/`     embedding, completion, designs, beliefs; `methods` has all of them by name
================  ==========================================================================
"""

import importlib

TYPE_CHECKING = False  # by its name, type checkers take it for true
if TYPE_CHECKING:  # at run time everything is loaded when it is first asked for
    from refimpl.peppp import (
        configs,
        estimate,
        estimators,
        evaluation,
        frontier,
        matrix,
        memory,
        study,
        sweeping,
        task_study,
    )
    from refimpl.peppp.configs import CONFIGURATIONS, Configuration, configuration
    from refimpl.peppp.estimate import Estimate
    from refimpl.peppp.evaluation import leave_one_out, paired_difference
    from refimpl.peppp.matrix.error_matrix import ErrorMatrix
    from refimpl.peppp.shipped import meta_training
    from refimpl.peppp.study import Study
    from refimpl.peppp.sweeping.cell import Settings
    from refimpl.peppp.sweeping.plan import plan_sweep
    from refimpl.peppp.sweeping.sweep import run_sweep
    from refimpl.peppp.task_study import TaskStudy, compare, estimate_frontier

_HOMES = {
    "CONFIGURATIONS": "configs",
    "Configuration": "configs",
    "ErrorMatrix": "matrix.error_matrix",
    "Estimate": "estimate",
    "Settings": "sweeping.cell",
    "Study": "study",
    "TaskStudy": "task_study",
    "compare": "task_study",
    "configuration": "configs",
    "estimate_frontier": "task_study",
    "leave_one_out": "evaluation",
    "meta_training": "shipped",
    "paired_difference": "evaluation",
    "plan_sweep": "sweeping.plan",
    "run_sweep": "sweeping.sweep",
}
__all__ = [
    "CONFIGURATIONS",
    "Configuration",
    "ErrorMatrix",
    "Estimate",
    "Settings",
    "Study",
    "TaskStudy",
    "compare",
    "configs",
    "configuration",
    "estimate",
    "estimate_frontier",
    "estimators",
    "evaluation",
    "frontier",
    "leave_one_out",
    "matrix",
    "memory",
    "meta_training",
    "paired_difference",
    "plan_sweep",
    "run_sweep",
    "study",
    "sweeping",
    "task_study",
]


def __getattr__(name: str):
    """Load what is asked for, and what it needs, when it first is."""
    if name not in __all__:
        raise AttributeError(f"module 'refimpl.peppp' has no attribute {name!r}")
    home = importlib.import_module(f"refimpl.peppp.{_HOMES.get(name, name)}")
    return getattr(home, name) if name in _HOMES else home


def __dir__():
    return __all__
