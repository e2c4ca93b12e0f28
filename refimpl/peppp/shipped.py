"""The error matrix that ships with the package, and the rows it is made of.

Made by ``refimpl sweep``, which without arguments trains these rows in all 99 configurations from three seeds
(some two hours on two cores). The rule, fixed before anything was trained: five rows of each of the six
alphabets of glyphs, three of each of the five families of drawings, one of text. Conditions and networks go round; loss
scales (1, 30, 1000), learning rates, batches and epochs were dealt out at random, each as often as the others among the
rows of a network. No row is made from the digits, which the examples take for a task that is new.
"""

from __future__ import annotations

from importlib import resources

from refimpl import data
from refimpl.peppp.configs import CONFIGURATIONS
from refimpl.peppp.matrix.error_matrix import ErrorMatrix

__all__ = ["REPEATS", "ROWS", "family", "meta_training"]

REPEATS = 3  # trainings of each cell, from the seeds 0, 1 and 2

ROWS = (
    "latin-capitals-clean@model=cnn,loss_scale=30,learning_rate=0.1,batch_size=64,epochs=8",
    "latin-capitals-noisy@model=mlp,loss_scale=1000,learning_rate=0.05,batch_size=64,epochs=6",
    "latin-capitals-ten@model=lenet,loss_scale=1000,learning_rate=0.05,batch_size=32,epochs=10",
    "latin-capitals-clean@model=cnn,loss_scale=1,learning_rate=0.02,batch_size=64,epochs=8",
    "latin-capitals-noisy@model=resnet8,loss_scale=1000,learning_rate=0.1,batch_size=64,epochs=4",
    "latin-small-noisy@model=cnn,loss_scale=1000,learning_rate=0.05,batch_size=64,epochs=8",
    "latin-small-ten@model=mlp,loss_scale=1,learning_rate=0.02,batch_size=64,epochs=10",
    "latin-small-clean@model=lenet,loss_scale=1,learning_rate=0.02,batch_size=64,epochs=8",
    "latin-small-noisy@model=cnn,loss_scale=30,learning_rate=0.02,batch_size=32,epochs=6",
    "latin-small-ten@model=transformer,loss_scale=1000,learning_rate=0.05,batch_size=64,epochs=6",
    "greek-ten@model=cnn,loss_scale=1000,learning_rate=0.02,batch_size=32,epochs=10",
    "greek-clean@model=mlp,loss_scale=30,learning_rate=0.1,batch_size=32,epochs=6",
    "greek-noisy@model=lenet,loss_scale=30,learning_rate=0.1,batch_size=32,epochs=10",
    "greek-ten@model=cnn,loss_scale=1000,learning_rate=0.05,batch_size=64,epochs=10",
    "greek-clean@model=resnet8,loss_scale=30,learning_rate=0.05,batch_size=64,epochs=4",
    "cyrillic-clean@model=cnn,loss_scale=1,learning_rate=0.05,batch_size=32,epochs=6",
    "cyrillic-noisy@model=mlp,loss_scale=1000,learning_rate=0.1,batch_size=64,epochs=8",
    "cyrillic-ten@model=lenet,loss_scale=1,learning_rate=0.1,batch_size=32,epochs=6",
    "cyrillic-clean@model=cnn,loss_scale=1000,learning_rate=0.1,batch_size=32,epochs=10",
    "cyrillic-noisy@model=transformer,loss_scale=1000,learning_rate=0.02,batch_size=32,epochs=6",
    "phonetic-noisy@model=cnn,loss_scale=1,learning_rate=0.02,batch_size=32,epochs=10",
    "phonetic-ten@model=mlp,loss_scale=1000,learning_rate=0.1,batch_size=32,epochs=6",
    "phonetic-clean@model=lenet,loss_scale=1000,learning_rate=0.05,batch_size=32,epochs=6",
    "phonetic-noisy@model=cnn,loss_scale=30,learning_rate=0.05,batch_size=32,epochs=6",
    "phonetic-ten@model=resnet8,loss_scale=1,learning_rate=0.02,batch_size=64,epochs=4",
    "symbols-ten@model=cnn,loss_scale=30,learning_rate=0.1,batch_size=64,epochs=8",
    "symbols-clean@model=mlp,loss_scale=1,learning_rate=0.05,batch_size=32,epochs=10",
    "symbols-noisy@model=lenet,loss_scale=1000,learning_rate=0.05,batch_size=64,epochs=8",
    "symbols-ten@model=cnn,loss_scale=1,learning_rate=0.05,batch_size=64,epochs=10",
    "symbols-clean@model=transformer,loss_scale=30,learning_rate=0.05,batch_size=64,epochs=6",
    "gratings@model=cnn,loss_scale=30,learning_rate=0.02,batch_size=64,epochs=6",
    "gratings-noisy@model=mlp,loss_scale=30,learning_rate=0.02,batch_size=32,epochs=8",
    "gratings@model=lenet,loss_scale=1000,learning_rate=0.02,batch_size=64,epochs=6",
    "dots-noisy@model=cnn,loss_scale=30,learning_rate=0.1,batch_size=32,epochs=8",
    "dots@model=lenet,loss_scale=30,learning_rate=0.05,batch_size=64,epochs=8",
    "dots-noisy@model=cnn,loss_scale=1000,learning_rate=0.1,batch_size=32,epochs=8",
    "outlines@model=mlp,loss_scale=30,learning_rate=0.05,batch_size=64,epochs=8",
    "outlines-noisy@model=cnn,loss_scale=1,learning_rate=0.02,batch_size=64,epochs=8",
    "outlines@model=lenet,loss_scale=30,learning_rate=0.1,batch_size=32,epochs=8",
    "colours-noisy@model=cnn,loss_scale=1000,learning_rate=0.05,batch_size=32,epochs=10",
    "colours@model=mlp,loss_scale=1,learning_rate=0.02,batch_size=64,epochs=8",
    "colours-noisy@model=cnn,loss_scale=1,learning_rate=0.05,batch_size=32,epochs=6",
    "curves@model=lenet,loss_scale=1,learning_rate=0.02,batch_size=64,epochs=10",
    "curves-noisy@model=cnn,loss_scale=1000,learning_rate=0.1,batch_size=64,epochs=6",
    "curves@model=mlp,loss_scale=1000,learning_rate=0.05,batch_size=32,epochs=10",
    "topics@model=transformer,loss_scale=1,learning_rate=0.02,batch_size=32,epochs=6",
)
"""Data sets and how each is trained, as `refimpl.peppp.sweeping.cell` reads them."""


def meta_training(task: data.Task) -> ErrorMatrix:
    """Return the error matrix that ships with the package, as far as `task` may learn from it.

    Rows made from the same images as `task` are left out.

    Parameters
    ----------
    task : Task

    Returns
    -------
    ErrorMatrix
        Errors of 46 rows (those of other images, if `task` is among them) x the 99 configurations, the means of
        three trainings each, which are its `repeats`.

    Examples
    --------
    >>> meta_training(data.load("digits")).values.shape
    (46, 99)
    """
    with resources.as_file(resources.files("refimpl.peppp") / "meta_training.npz") as path:
        errors = ErrorMatrix.load(path, columns=[c.name for c in CONFIGURATIONS])
    return errors.without_rows(errors.rows_sharing(task.marks))


def family(row: str) -> str:
    """Return which images a row of `ROWS` is made from: an alphabet, a family of drawings, or the text.

    Examples
    --------
    >>> family("latin-small-ten@model=mlp"), family("dots-noisy"), family("topics")
    ('latin-small', 'dots', 'topics')
    """
    name, _, condition = row.partition("@")[0].rpartition("-")
    return name if condition in ("clean", "noisy", "ten") else row.partition("@")[0]
