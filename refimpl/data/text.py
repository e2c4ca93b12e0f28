"""Real English text that comes with Python itself: which topic of its manual is this from?

``help("debugger")`` and the other topics of Python's built-in help are chapters of its language
manual, in the module `pydoc_data.topics`.  A window of sixteen words is cut from one of eight
chapters, and the task is to say from which.  Words are runs of letters, without case; the 511 most
frequent of the training text have numbers, commonest first, all others are 0.

The split: each chapter is cut into stretches of 80 words, of which every fifth is for testing; no
window crosses from one into the next, so that none for training overlaps one for testing.  Windows
start at every fourth word, and each chapter gives the same number of them.

The text differs a little between releases of Python; `images_from` says which one it is.
"""

import re
import sys
from collections import Counter
from dataclasses import dataclass

import numpy as np

from refimpl.data.task import Task

__all__ = ["CHAPTERS", "NAME", "PLACES", "WORDS", "TokenTask", "task"]

NAME = "topics"
CHAPTERS = ("compound", "debugger", "execmodel", "formatstrings", "import", "string-methods", "types", "typesmapping")
PLACES = 16  # words of a window
WORDS = 512  # numbers of words, with 0 for all that have none
_STEP = 4  # words from the start of one window to the next
_STRETCH = 80  # words; of five stretches, one is for testing


@dataclass(frozen=True, eq=False, repr=False)
class TokenTask(Task):
    """Hold a classification task whose inputs are rows of tokens.

    Parameters
    ----------
    name, train_labels, test_labels, classes, images_from
        As of `Task`.
    train_images, test_images : ndarray of float32, shape (n, places)
        Tokens: whole numbers from 0 to words - 1 (float32, as everything a network takes).
    words : int
        Number of different tokens.

    Raises
    ------
    TypeError, ValueError
        As for `Task`, and for tokens that are none.

    Examples
    --------
    >>> tokens, labels = np.float32([[0, 1, 2]]), np.array([1])
    >>> TokenTask("three", tokens, labels, tokens, labels, classes=2, images_from="", words=3)
    TokenTask('three': 1 train, 1 test, 3, 2 classes, images from '')
    """

    words: int

    def _check_images(self, field):
        tokens = getattr(self, field)
        if not isinstance(tokens, np.ndarray) or tokens.dtype != np.float32:
            got = getattr(tokens, "dtype", type(tokens).__name__)
            raise TypeError(
                f"TokenTask: {field} is {got}, allowed is an ndarray of float32; "
                "convert it by numpy.asarray(..., numpy.float32)"
            )
        if tokens.ndim != 2 or tokens.size == 0:
            raise ValueError(
                f"TokenTask: {field} has shape {tokens.shape}, allowed is (n, places) "
                "without a zero; give one row of tokens for each label"
            )
        whole = (tokens >= 0) & (tokens < self.words) & (tokens == np.floor(tokens))
        if not whole.all():
            index = tuple(int(i) for i in np.argwhere(~whole)[0])
            raise ValueError(
                f"TokenTask: {field} has {tokens[index]} at {index}, allowed are whole "
                f"numbers from 0 to {self.words - 1}; number the words from 0"
            )


def task() -> TokenTask:
    """Make the task: which of eight chapters of Python's manual do sixteen words come from?

    Returns
    -------
    TokenTask

    Raises
    ------
    ValueError
        If this Python comes without its help topics, or with others.

    Examples
    --------
    >>> found = task()
    >>> found.classes, found.train_images.shape[1], found.words
    (8, 16, 512)
    """
    chapters = [re.findall("[a-z]+", text.lower()) for text in _texts()]
    train, test = ([list(_stretches(words, part)) for words in chapters] for part in ("train", "test"))
    seen = Counter(word for chapter in train for stretch in chapter for word in stretch)
    numbers = {word: i + 1 for i, (word, _) in enumerate(seen.most_common(WORDS - 1))}
    release = ".".join(map(str, sys.version_info[:3]))
    return TokenTask(
        NAME,
        *_windows(train, numbers),
        *_windows(test, numbers),
        classes=len(CHAPTERS),
        words=WORDS,
        images_from=f"pydoc_data.topics of Python {release}",
    )


def _texts() -> list[str]:
    try:
        from pydoc_data.topics import topics
    except ImportError:
        topics = {}
    missing = [name for name in CHAPTERS if name not in topics]
    if missing:
        raise ValueError(
            f"{NAME}: this Python has no help topic {missing[0]!r}; take one whose module "
            "pydoc_data.topics is complete, as python.org's is"
        )
    return [topics[name] for name in CHAPTERS]


def _stretches(words, part):
    for i, start in enumerate(range(0, len(words), _STRETCH)):
        if (i % 5 == 4) == (part == "test"):
            yield words[start : start + _STRETCH]


def _windows(chapters, numbers):
    """Return windows, float32 (n, PLACES), and the number of the chapter each is from."""
    cut = []
    for stretches in chapters:
        found = [
            [numbers.get(word, 0) for word in stretch[i : i + PLACES]]
            for stretch in stretches
            for i in range(0, len(stretch) - PLACES + 1, _STEP)
        ]
        cut.append(np.float32(found))
    count = min(map(len, cut))  # the same of each, spread over the chapter
    chosen = [windows[np.arange(count) * len(windows) // count] for windows in cut]
    labels = np.repeat(np.arange(len(cut)), count).astype(np.int64)
    return np.concatenate(chosen), labels
