"""PEPPP: pick a precision by measuring a few configurations and predicting the rest.

`configs` the 99 configurations · `memory` what each needs · `error_matrix` what was measured ·
`embedding` configurations as points · `completion` of a matrix measured in part · `sampling` which
part · `design` and `optimal_design` which few to measure · `factors`, `noise_scale`, `belief` and `prior` what to
expect of a new task · `sequential` what to measure next · `expected_frontier` where the true frontier
lies · `calibration` how wide a band must be, how low that frontier · `frontier` what is worth buying,
`picking` one under a cap · `methods` all ways of estimating, by name · `evaluation` how well they do ·
`estimate` what came out · `sweep` training cells, after a `plan` · `study` all of it together ·
`arguments` what users give, looked at.
"""

import importlib

from refimpl.peppp.configs import CONFIGURATIONS, Configuration, configuration
from refimpl.peppp.matrix.error_matrix import ErrorMatrix

_LAZY = {
    "Estimate": "estimate",
    "Settings": "sweeping.sweep",
    "Study": "study",
    "compare": "study",
    "estimate_frontier": "study",
    "leave_one_out": "evaluation",
    "meta_training": "study",
    "paired_difference": "evaluation",
    "plan_sweep": "sweeping.plan",
    "run_sweep": "sweeping.sweep",
}
__all__ = ["CONFIGURATIONS", "Configuration", "ErrorMatrix", "configuration", *_LAZY]


def __getattr__(name: str):
    """Load the files that train, and what they need, when first asked for."""
    if name in _LAZY:
        return getattr(importlib.import_module(f"refimpl.peppp.{_LAZY[name]}"), name)
    raise AttributeError(f"module 'refimpl.peppp' has no attribute {name!r}")
