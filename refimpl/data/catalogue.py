"""The data sets by name, and those that people have by their path."""

import os

from refimpl._arguments import unknown
from refimpl.data import digits, drawn_tasks, glyph_tasks, text
from refimpl.data.files import local
from refimpl.data.task import Task

__all__ = ["load", "names"]


def load(name: str | os.PathLike) -> Task:
    """Make the task of this name, the same one every time and on every machine, or read one's own.

    (But for the text, ``topics``, which is part of Python and differs a little between its releases.)

    Parameters
    ----------
    name : str or path
        One of `names`, or the path of a data set: an npz file, a directory with the files of
        CIFAR-10, CIFAR-100 (``PATH#3`` for its fourth superclass), MNIST or its like, or one with a
        folder of images for each class (``PATH#32x32`` to bring them to one size): see
        `refimpl.data.files.local`.  What was read, and how, is in the task's `note`, one line.

    Returns
    -------
    Task
        With arrays of its own, which the caller may change.

    Raises
    ------
    ValueError
        If there is no task of this name, or the files there cannot be used; they are named.

    Examples
    --------
    >>> load("digits")
    Task('digits': 1437 train, 360 test, 8x8x1, 10 classes, images from 'digits')
    >>> load("latin-small-ten")
    Task('latin-small-ten': 1440 train, 1440 test, 8x8x1, 10 classes, images from 'latin-small')
    >>> load("digit")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    ValueError: load: unknown data set 'digit'; did you mean 'digits'?; allowed are digits, ...
    """
    name = os.fspath(name) if isinstance(name, os.PathLike) else name
    if not isinstance(name, str):
        raise unknown("load", "data set", name, names(), "or the path of a data set")
    if name == digits.NAME:
        return digits.task()
    if name in glyph_tasks.names():
        return glyph_tasks.task(name)
    if name in drawn_tasks.names():
        return drawn_tasks.task(name)
    if name == text.NAME:
        return text.task()
    if local.is_path(name):
        return local.read(name)
    raise unknown("load", "data set", name, names(), "or the path of a data set")


def names() -> tuple[str, ...]:
    """List the names of all tasks: the digits, the glyph tasks, the drawn tasks, the text.

    Returns
    -------
    tuple of str

    Examples
    --------
    >>> names()[:4]
    ('digits', 'latin-capitals-clean', 'latin-capitals-noisy', 'latin-capitals-ten')
    """
    return (digits.NAME, *glyph_tasks.names(), *drawn_tasks.names(), text.NAME)
