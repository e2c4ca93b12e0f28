"""Real English text that comes with Python itself: which topic of its manual is this from, and what comes next?

``help("debugger")`` and the other topics of Python's built-in help are chapters of its language
manual, in the module `pydoc_data.topics`.  A window of sixteen words is cut from one of eight
chapters, and the task is to say from which.  Words are runs of letters, without case; the 511 most
frequent of the training text have numbers, commonest first, all others are 0.

The split: each chapter is cut into stretches of 80 words, of which every fifth is for testing; no
window crosses from one into the next, so that none for training overlaps one for testing.  Windows
start at every fourth word, and each chapter gives the same number of them.

`manual` is for language models: windows of characters of the whole manual, each labelled by the next one.
Paragraphs that stand in several chapters are taken once; of stretches of 4,096 characters every
tenth is for testing.

The text differs a little between releases of Python; `images_from` says which one it is.
"""

import re
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from refimpl import _arguments as check
from refimpl.data.task import Task

__all__ = [
    "CHAPTERS",
    "CHARACTERS",
    "NAME",
    "PLACES",
    "WORDS",
    "TokenTask",
    "decode",
    "encode",
    "manual",
    "manual_stretches",
    "task",
]

NAME = "topics"
CHAPTERS = ("compound", "debugger", "execmodel", "formatstrings", "import", "string-methods", "types", "typesmapping")
PLACES = 16  # words of a window
WORDS = 512  # numbers of words, with 0 for all that have none
_STEP = 4  # words from the start of one window to the next
_STRETCH = 80  # words; of five stretches, one is for testing
CHARACTERS = "\n" + "".join(map(chr, range(32, 127)))  # a token each
_ASCII = str.maketrans("“”‘’–—", "\"\"''--")
_LONG_STRETCH = 4096  # characters; of ten stretches, one is for testing


@dataclass(frozen=True, eq=False, repr=False)
class TokenTask(Task):
    """Hold a task whose inputs are rows of tokens: to classify them, or to foretell each one's next.

    Parameters
    ----------
    name, classes, images_from
        As of `Task`.
    train_labels, test_labels : ndarray of int64, shape (n,) or (n, places)
        A class for each row, or for each token, such as the token after it.
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

    def _check_labels(self, field: str, labels: np.ndarray, images: np.ndarray) -> None:
        check.of_shape("TokenTask", field, labels, images.shape[: max(1, labels.ndim)])


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
    chapters = [re.findall("[a-z]+", text.lower()) for text in _texts(CHAPTERS)]
    train, test = ([list(_stretches(words, part)) for words in chapters] for part in ("train", "test"))
    seen = Counter(word for chapter in train for stretch in chapter for word in stretch)
    numbers = {word: i + 1 for i, (word, _) in enumerate(seen.most_common(WORDS - 1))}
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
        images_from=_source(),
    )


def manual(places: int = 64) -> TokenTask:
    """Make the task of foretelling each next character of Python's manual, for language models.

    Windows for training start at every `places` / 4 characters, those for testing lie side by side.

    Parameters
    ----------
    places : int
        Characters of a window, 1 to 1024.

    Returns
    -------
    TokenTask
        Tokens number `CHARACTERS`; the label of a token is the one after it, labels are (n, places).

    Raises
    ------
    ValueError
        As for `task`, and for other `places`.

    Examples
    --------
    >>> found = manual()
    >>> found.classes, found.train_images.shape[1:], found.train_labels.shape[1:]
    (96, (64,), (64,))
    >>> bool((found.train_images[:, 1:] == found.train_labels[:, :-1]).all())
    True
    """
    places = check.integer("manual", "places", places, check.Interval(1, 1024))
    arrays: dict[str, Any] = {}
    for part, stretches, step in zip(("train", "test"), manual_stretches(), (max(1, places // 4), places), strict=True):
        cut = [np.lib.stride_tricks.sliding_window_view(encode(s), places + 1)[::step] for s in stretches]
        windows = np.concatenate(cut)
        arrays[f"{part}_images"] = windows[:, :-1].astype(np.float32)
        arrays[f"{part}_labels"] = windows[:, 1:].copy()
    return TokenTask("manual", **arrays, classes=len(CHARACTERS), words=len(CHARACTERS), images_from=_source())


def manual_stretches() -> tuple[list[str], list[str]]:
    """Return the texts that `manual` cuts its windows for training and for testing from, of at most 4,096 characters.

    Examples
    --------
    >>> train, test = manual_stretches()
    >>> len(train) // len(test), len(test[0])
    (9, 4096)
    """
    paragraphs: dict[str, str] = {}  # by their letters: some are repeated with other quotes or breaks of lines
    for paragraph in (p for text in _texts() for p in text.split("\n\n")):
        paragraphs.setdefault("".join(re.findall("[a-z]", paragraph.lower())), paragraph)
    text = "\n\n".join(paragraphs.values())
    stretches = [text[i : i + _LONG_STRETCH] for i in range(0, len(text) - _LONG_STRETCH + 1, _LONG_STRETCH)]
    test = stretches[9::10]
    return [s for i, s in enumerate(stretches) if i % 10 != 9], test


def encode(text: str) -> np.ndarray:
    """Return the token of each character, int64 (characters,); what is not among `CHARACTERS` becomes "?".

    >>> encode("\\n A").tolist()
    [0, 1, 34]
    """
    check.instance("encode", "text", text, str, "a text")
    numbers = {character: i for i, character in enumerate(CHARACTERS)}
    return np.array([numbers.get(character, numbers["?"]) for character in text.translate(_ASCII)], np.int64)


def decode(tokens: np.ndarray) -> str:
    """Return the text of a row of tokens.

    >>> decode(encode("import this"))
    'import this'
    """
    tokens = check.numbers("decode", "tokens", tokens, (None,))
    known = (tokens >= 0) & (tokens < len(CHARACTERS)) & (tokens == np.floor(tokens))
    check.every("decode", "tokens", tokens, known, f"an integer from 0 to {len(CHARACTERS) - 1}")
    return "".join(CHARACTERS[int(token)] for token in tokens)


def _source() -> str:
    return f"pydoc_data.topics of Python {'.'.join(map(str, sys.version_info[:3]))}"


def _texts(names: Iterable[str] | None = None) -> list[str]:
    """Return chapters, all of them by default."""
    found: dict[str, str] = {}
    try:
        from pydoc_data.topics import topics as found
    except ImportError:
        pass
    missing = [name for name in CHAPTERS if name not in found]
    if missing:
        hint = "take one whose module pydoc_data.topics is complete, as python.org's is"
        raise ValueError(f"{NAME}: this Python has no help topic {missing[0]!r}; {hint}")
    return [found[name] for name in (sorted(found) if names is None else names)]


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
