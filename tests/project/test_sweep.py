"""Nothing measured is lost: a sweep killed at any moment continues and ends with the same matrix."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from refimpl.peppp import ErrorMatrix, Settings, run_sweep
from refimpl.peppp.sweep import Journal, arithmetic, train_cell

TASKS = ["digits", "latin-small-ten"]
FORMATS = ["e4m3+e8m7", "e3m1+e6m7", "e5m3+e8m11"]
SETTINGS = Settings(epochs=4)
COMMAND = [sys.executable, "-m", "refimpl", "sweep", "--tasks", *TASKS, "--configurations", *FORMATS,
           "--epochs", "4", "--jobs", "2", "--quiet", "--out"]  # fmt: skip


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    return run_sweep(TASKS, FORMATS, tmp_path_factory.mktemp("whole"), settings=SETTINGS, jobs=1,
                     progress=False)  # fmt: skip


def lines(directory):
    journal = directory / "cells.jsonl"
    return journal.read_bytes().count(b"\n") if journal.exists() else 0


def kill_when(directory, wanted, how, *options):
    """Start the sweep and stop it once its journal has this many lines; return the exit status."""
    process = subprocess.Popen([*COMMAND, str(directory), *options], start_new_session=True,
                               stderr=subprocess.PIPE, text=True)  # fmt: skip
    deadline = time.monotonic() + 120
    while lines(directory) < wanted and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    if how == signal.SIGINT:  # as a terminal does: to the whole group
        os.killpg(process.pid, how)
    else:
        process.send_signal(how)
    _, said = process.communicate(timeout=120)
    return process.returncode, said


def test_the_matrix_of_a_sweep_killed_three_times_equals_that_of_one_never_killed(
    tmp_path, uninterrupted
):
    for wanted in (1, 2, 4):
        assert kill_when(tmp_path, wanted, signal.SIGKILL)[0] == -signal.SIGKILL
        assert not (tmp_path / "errors.npz").exists()
    assert lines(tmp_path) >= 4  # the header and what was trained before each kill
    kept = (tmp_path / "cells.jsonl").read_bytes()
    with open(tmp_path / "cells.jsonl", "ab") as journal:
        journal.write(b'{"task": "digits", "configurat')  # as a kill in the middle of a write
    subprocess.run([*COMMAND, str(tmp_path)], check=True, timeout=300)
    assert (tmp_path / "cells.jsonl").read_bytes().startswith(kept)
    finished = ErrorMatrix.load(tmp_path / "errors.npz", columns=FORMATS)
    assert finished.rows == tuple(TASKS)
    assert finished.values.tobytes() == uninterrupted.values.tobytes()
    assert finished.memory_mb.tobytes() == uninterrupted.memory_mb.tobytes()


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="reads Linux's /proc")
def test_workers_end_when_their_parent_is_killed(tmp_path):
    process = subprocess.Popen([*COMMAND, str(tmp_path), "--epochs", "60"], start_new_session=True)
    deadline = time.monotonic() + 120
    while lines(tmp_path) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    with open(f"/proc/{process.pid}/task/{process.pid}/children") as file:
        workers = file.read().split()
    assert len(workers) >= 2
    process.kill()
    process.wait()
    deadline = time.monotonic() + 10
    while any(map(alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(alive, workers))


def alive(pid):
    """Tell whether a process runs: it exists and is not a zombie."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_ctrl_c_finishes_the_cells_in_training_says_how_to_go_on_and_exits_130(tmp_path):
    status, said = kill_when(tmp_path, 2, signal.SIGINT, "--epochs", "60")
    assert status == 130
    assert "what was trained is kept, give the same command again" in said
    assert "Traceback" not in said
    assert 2 <= lines(tmp_path) <= 1 + len(TASKS) * len(FORMATS)


def test_a_finished_sweep_trains_nothing_again(tmp_path, monkeypatch):
    arguments = (TASKS[:1], FORMATS[:1], tmp_path)
    first = run_sweep(*arguments, settings=SETTINGS, jobs=1, progress=False)
    monkeypatch.setattr("refimpl.peppp.sweep.train_cell", None)
    again = run_sweep(*arguments, settings=SETTINGS, jobs=1, progress=False)
    assert first.values == again.values


def test_a_journal_of_other_settings_is_refused_by_naming_the_difference(tmp_path):
    Journal(tmp_path, SETTINGS).close()
    with pytest.raises(ValueError, match="written with epochs=4, now it is 10"):
        Journal(tmp_path, Settings())


@pytest.mark.parametrize("content", [b"not json\n", b"[1, 2]\n", b'{"journal": 1}\n{"task": 3}\n'])
def test_a_damaged_journal_is_refused_and_left_alone(tmp_path, content):
    (tmp_path / "cells.jsonl").write_bytes(content)
    with pytest.raises(ValueError, match="damaged or not a journal|was written with"):
        Journal(tmp_path, SETTINGS)
    assert (tmp_path / "cells.jsonl").read_bytes() == content


def test_seconds_and_settings_are_kept_with_the_matrix(uninterrupted):
    assert (uninterrupted.seconds > 0).all()
    assert uninterrupted.metadata["epochs"] == 4 and uninterrupted.metadata["seed"] == 0
    assert uninterrupted.metadata["images_from"] == ["digits", "latin-small"]
    json.dumps(uninterrupted.metadata)


@pytest.mark.slow
def test_cells_of_the_embedded_matrix_are_what_training_them_again_gives():
    """Bit for bit where float32 sums have the same order; otherwise as two seeds differ.

    Between seeds the error of one cell has a standard deviation of up to .07 in the narrowest
    formats (benchmarks/seed_noise.py); 0.3 is four of those, for a difference of two.
    """
    from importlib import resources

    with resources.as_file(resources.files("refimpl.peppp") / "meta_training.npz") as path:
        errors = ErrorMatrix.load(path)
    assert errors.values.shape == (18, 99) and not np.isnan(errors.values).any()
    same = errors.metadata["arithmetic"] == arithmetic()
    rng = np.random.default_rng(0)
    for row, column in zip(rng.permutation(18)[:6], rng.permutation(99)[:6], strict=True):
        cell = train_cell(errors.rows[row], errors.columns[column], Settings())
        difference = abs(cell["error"] - errors.values[row, column])
        assert difference == 0 if same else difference < 0.3, (cell, errors.values[row, column])
