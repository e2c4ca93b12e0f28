"""Networks that train in any precision.

`layer` says what a layer is, `layers` and `models` what is computed, `precision` what is rounded to which
format (`presets` has what people use), `optimizer` how weights move, `training` runs the loop.
"""

from refimpl.nn import exactness, presets, schedules
from refimpl.nn.language import bits_per_token, generate
from refimpl.nn.loss_scale import LossScale
from refimpl.nn.models import (
    cnn,
    language_model,
    lenet,
    mlp,
    network,
    resnet8,
    resnet14,
    resnet18,
    transformer,
    vgg,
    vgg11,
)
from refimpl.nn.optimizer import SGD, Adam, AdamW
from refimpl.nn.precision import SUM_ROLES, Accumulator, Precision, Rounding
from refimpl.nn.presets import preset
from refimpl.nn.rounding_plan import rounding_plan
from refimpl.nn.training import Result, fit

__all__ = [
    "SGD",
    "SUM_ROLES",
    "Accumulator",
    "Adam",
    "AdamW",
    "LossScale",
    "Precision",
    "Result",
    "Rounding",
    "bits_per_token",
    "cnn",
    "exactness",
    "fit",
    "generate",
    "language_model",
    "lenet",
    "mlp",
    "network",
    "preset",
    "presets",
    "resnet14",
    "resnet18",
    "resnet8",
    "rounding_plan",
    "schedules",
    "transformer",
    "vgg",
    "vgg11",
]
