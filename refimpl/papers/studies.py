"""What papers train here: networks, their tasks and settings; and how near errors must be to be called alike."""

from __future__ import annotations

import functools
from typing import Any

import refimpl as rf
from refimpl.nn import Adam
from refimpl.nn.layers import Sequential
from refimpl.papers.claim import like, more

WITHIN = 0.02
"""Test error, of 0 to 1, within which two ways of training are said to match."""

LIKE = functools.partial(like, within=WITHIN)
WORSE = functools.partial(more, by=WITHIN)


def study(network: str) -> tuple[Any, dict[str, Any]]:
    """Return what a network is trained on, and how: text by Adam for the transformer, digits for others."""
    if network == "transformer":
        return rf.data.load("topics"), {"optimizer": Adam(), "learning_rate": 0.003}
    return rf.data.load("digits"), {}


def made(network: str, task) -> Sequential:
    """Return a new network for a task."""
    return rf.nn.network(network, task.train_images.shape[1:], task.classes, words=getattr(task, "words", None))
