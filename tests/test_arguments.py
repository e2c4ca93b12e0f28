"""Arguments are refused in one grammar, and files are written whole or not at all."""

import errno
import os
import subprocess
import sys

import numpy as np
import pytest

from refimpl import _arguments as a
from refimpl._files import refusal, writing


@pytest.mark.parametrize(
    "check, got, kind",
    [
        (lambda x: a.integer("f", "n", x, a.Interval(1, 9)), 0, ValueError),
        (lambda x: a.integer("f", "n", x, a.Interval(1, 9)), 10, ValueError),
        (lambda x: a.integer("f", "n", x), 1.0, TypeError),
        (lambda x: a.integer("f", "n", x), True, TypeError),
        (lambda x: a.integer("f", "n", x), np.bool_(True), TypeError),
        (lambda x: a.integer("f", "n", x), np.array([1, 2]), TypeError),
        (lambda x: a.number("f", "n", x, a.BELOW_ONE), 1, ValueError),
        (lambda x: a.number("f", "n", x), np.nan, ValueError),
        (lambda x: a.number("f", "n", x), 10**400, ValueError),
        (lambda x: a.number("f", "n", x), "1", TypeError),
        (lambda x: a.number("f", "n", x), 1j, TypeError),
        (lambda x: a.number("f", "n", x), True, TypeError),
        (lambda x: a.flag("f", "n", x), "no", TypeError),
        (lambda x: a.flag("f", "n", x), 1, TypeError),
        (lambda x: a.flag("f", "n", x), np.array([True, False]), TypeError),
        (lambda x: a.choice("f", "n", x, ("one", "two")), "three", ValueError),
        (lambda x: a.choice("f", "n", x, ("one", "two")), None, ValueError),
        (lambda x: a.instance("f", "n", x, dict, "a dict"), [], TypeError),
        (lambda x: a.function("f", "n", x, "a function"), 3, TypeError),
        (lambda x: a.sequence("f", "n", x, "[1]"), [], ValueError),
        (lambda x: a.sequence("f", "n", x, "[1]"), "abc", TypeError),
        (lambda x: a.sequence("f", "n", x, "[1]"), 3, TypeError),
        (lambda x: a.names("f", "n", x), ["a", "a"], ValueError),
        (lambda x: a.names("f", "n", x), ["a", ""], ValueError),
        (lambda x: a.seed("f", x, "n"), -1, ValueError),
        (lambda x: a.seed("f", x, "n"), 2**64, ValueError),
        (lambda x: a.array("f", "n", x), [[1], [1, 2]], ValueError),
        (lambda x: a.numbers("f", "n", x), ["a"], TypeError),
        (lambda x: a.numbers("f", "n", x), [1j], TypeError),
        (lambda x: a.numbers("f", "n", x, (None, 2)), [1.0, 2.0], ValueError),
        (lambda x: a.numbers("f", "n", x, (None, 2)), [[1.0, 2.0, 3.0]], ValueError),
        (lambda x: a.finite("f", "n", np.array(x)), [1.0, np.inf], ValueError),
    ],
)
def test_what_is_not_allowed_is_refused_in_the_name_of_the_caller_and_the_argument(check, got, kind):
    with pytest.raises(kind) as refused:
        check(got)
    assert str(refused.value).startswith("f: ") and "n" in str(refused.value).split(": ", 1)[1]
    assert "allowed" in str(refused.value) or "twice" in str(refused.value)


def test_what_is_allowed_comes_back_in_plain_types():
    found = a.integer("f", "n", np.uint8(64)), a.number("f", "n", np.float32(0.5)), a.flag("f", "n", np.True_)
    assert found == (64, 0.5, True) and [type(x) for x in found] == [int, float, bool]
    assert a.names("f", "n", (np.str_("a"), "b")) == ("a", "b")
    assert a.numbers("f", "n", [1, None]).dtype == np.float64
    assert a.numbers("f", "n", [[1, 2]], (1, None)).shape == (1, 2)
    assert a.sequence("f", "n", (), "[1]", 0) == []


@pytest.mark.parametrize("low, high, at_low, at_high", [(0, 1, True, True), (0, 1, False, False), (0, 1, True, False)])
def test_an_interval_holds_its_ends_unless_they_are_open(low, high, at_low, at_high):
    interval = a.Interval(low, high, open_low=not at_low, open_high=not at_high)
    assert (low in interval, high in interval, 0.5 in interval) == (at_low, at_high, True)
    assert -1 not in interval and 2 not in interval and float("nan") not in interval


@pytest.mark.parametrize("got, near", [("E4M3", "e4m3"), ("Ties_To_Even", "ties_to_even"), ("chunkd", "chunked")])
def test_the_nearest_name_is_proposed_whatever_its_case(got, near):
    with pytest.raises(ValueError, match=f"did you mean '{near}'"):
        a.choice("f", "n", got, ("e4m3", "ties_to_even", "chunked"))


def test_nothing_is_proposed_for_what_is_like_no_name():
    assert a.nearest("xyzzy", ("e4m3", "chunked")) == []


def test_what_was_got_is_shown_short_and_on_one_line():
    assert len(a.shown("x\n" * 500)) == 60 and "\n" not in a.shown("x\n" * 500)
    assert a.shown(np.zeros((2, 3))) == "an array of float64 and shape (2, 3)"
    assert a.shown(10**5000) == "a int"


@pytest.mark.parametrize("text", [True, False])
def test_a_file_is_written_whole_or_what_was_there_stays(tmp_path, text):
    place = tmp_path / "file"
    with writing(place, text=text) as file:
        file.write("old" if text else b"old")
    with pytest.raises(RuntimeError), writing(place, text=text) as file:
        file.write("new" if text else b"new")
        raise RuntimeError
    assert place.read_bytes() == b"old" and os.listdir(tmp_path) == ["file"]


def test_what_a_killed_process_was_writing_goes_with_the_next_write_and_what_a_running_one_writes_stays(tmp_path):
    killed = "import os, sys\nfrom refimpl._files import writing\nwith writing(sys.argv[1]): os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", killed, tmp_path / "one"])
    assert [p.suffix for p in tmp_path.iterdir()] == [".writing"]
    with writing(tmp_path / "two"):
        left = [p.name.rpartition("@")[0] for p in tmp_path.iterdir()]
        assert left == [f".two.{os.getpid()}"]
        with writing(tmp_path / "three"):
            pass
    assert sorted(os.listdir(tmp_path)) == ["three", "two"]


def test_a_place_is_tried_without_a_directory_that_a_kill_would_leave_there(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(os, "mkdir", lambda *_: made.append(_))
    assert refusal(tmp_path / "new") is None and not made


def test_a_full_disk_is_told_by_the_name_of_the_file(tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device: .*file'$"), writing(tmp_path / "file"):
        pass
    assert not os.listdir(tmp_path)


def test_the_file_before_is_kept_where_asked(tmp_path):
    for content in (b"1", b"2", b"3"):
        with writing(tmp_path / "file", keep=tmp_path / "before") as file:
            file.write(content)
    assert [(tmp_path / name).read_bytes() for name in ("file", "before")] == [b"3", b"2"]


def test_a_file_in_no_directory_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(FileNotFoundError, match="missing"), writing(tmp_path / "missing" / "file"):
        raise AssertionError("not reached")
    assert not os.listdir(tmp_path)


def test_a_reason_is_given_only_for_places_where_nothing_can_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    assert refusal(tmp_path / "new") is None and refusal(tmp_path / "a" / "b" / "new") is None
    assert refusal(tmp_path / "file") is None
    assert "directory" in refusal(tmp_path) and "not a directory" in refusal(tmp_path / "file" / "new")
