"""The text task: windows of Python's manual, whatever the release."""

import sys

import numpy as np
import pytest

from refimpl import data
from refimpl.data import text

TOPICS = data.load("topics")


def test_every_chapter_gives_the_same_number_of_windows():
    for labels in (TOPICS.train_labels, TOPICS.test_labels):
        counts = np.bincount(labels, minlength=len(text.CHAPTERS))
        assert counts.min() == counts.max() > 30


def test_the_windows_hold_the_words_of_their_chapter_in_order():
    """Told apart from the code by the plainest means: the words between spaces of the lowered text."""
    from pydoc_data.topics import topics

    def words(chapter):
        letters = (c if "a" <= c <= "z" else " " for c in topics[chapter].lower())
        return "".join(letters).split()

    every = {chapter: words(chapter) for chapter in text.CHAPTERS}
    counts = {}
    for found in every.values():
        for i, word in enumerate(found):
            if i // 80 % 5 != 4:
                counts[word] = counts.get(word, 0) + 1
    top = sorted(counts.values(), reverse=True)
    known = {word for word, n in counts.items() if n > top[510]}  # those that surely have a number
    for label, chapter in enumerate(text.CHAPTERS):
        window = TOPICS.train_images[TOPICS.train_labels == label][0]
        first = every[chapter][:16]
        assert [bool(token) for token in window][:16] == [
            word in known or bool(token) for word, token in zip(first, window, strict=True)
        ]
        same = {}
        for word, token in zip(first, window, strict=True):
            if token:
                assert same.setdefault(word, token) == token


def test_common_words_have_small_numbers_and_unknown_ones_zero():
    tokens = TOPICS.train_images
    assert tokens.max() <= text.WORDS - 1 and (tokens == np.floor(tokens)).all()
    counts = np.bincount(tokens.astype(int).ravel(), minlength=text.WORDS)
    assert counts[1] > counts[10] > counts[200] and 0.05 < counts[0] / counts.sum() < 0.3


def test_no_window_for_testing_overlaps_one_for_training():
    train = {row.tobytes() for row in TOPICS.train_images}
    shared = np.mean([row.tobytes() in train for row in TOPICS.test_images])
    assert shared < 0.01  # phrases that the manual itself repeats


def test_a_python_without_its_help_topics_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    with pytest.raises(ValueError, match="no help topic 'compound'; take one whose module"):
        data.load("topics")


def test_what_takes_images_refuses_text_in_one_line(capsys, tmp_path):
    from refimpl.__main__ import main

    assert main(["frontier", "topics", "--model", "cnn", "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.count("\n") == 1 and not (tmp_path / "out").exists()
