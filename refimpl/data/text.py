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

from refimpl import _arguments as check
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
        Tokens: integers from 0 to words - 1 (float32, as everything a network takes).
    words : int
        Number of different tokens.

    Raises
    ------
    TypeError, ValueError
        As for `Task`, and for tokens that are not among the words.

    Examples
    --------
    >>> tokens, labels = np.float32([[0, 1, 2]]), np.array([1])
    >>> TokenTask("three", tokens, labels, tokens, labels, classes=2, images_from="", words=3)
    TokenTask('three': 1 train, 1 test, 3, 2 classes, images from '')
    """

    words: int

    def _check_images(self, field: str, images: np.ndarray) -> None:
        words = check.integer("TokenTask", "words", self.words, check.Interval(1))
        check.of_shape("TokenTask", field, images, (None, None))
        if not images.size:
            raise check.wrong_value("TokenTask", field, images.shape, "a shape without a zero")
        known = (images >= 0) & (images < words) & (images == np.floor(images))
        check.every("TokenTask", field, images, known, f"an integer from 0 to {words - 1}")


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
    train_images, train_labels = _windows(train, numbers)
    test_images, test_labels = _windows(test, numbers)
    return TokenTask(
        name=NAME,
        train_images=train_images,
        train_labels=train_labels,
        test_images=test_images,
        test_labels=test_labels,
        classes=len(CHAPTERS),
        words=WORDS,
        images_from=f"pydoc_data.topics of Python {release}",
    )


def _texts() -> list[str]:
    found: dict[str, str] = {}
    try:
        from pydoc_data.topics import topics as found
    except ImportError:
        pass
    missing = [name for name in CHAPTERS if name not in found]
    if missing:
        hint = "take one whose module pydoc_data.topics is complete, as python.org's is"
        raise ValueError(f"{NAME}: this Python has no help topic {missing[0]!r}; {hint}")
    return [found[name] for name in CHAPTERS]


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
        cut.append(np.array(found, np.float32))
    count = min(map(len, cut))  # the same of each, spread over the chapter
    chosen = [windows[np.arange(count) * len(windows) // count] for windows in cut]
    labels = np.repeat(np.arange(len(cut)), count).astype(np.int64)
    return np.concatenate(chosen), labels
