"""Nothing measured is lost: a sweep killed at any moment continues and ends with the same matrix."""

import dataclasses
import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from refimpl import data
from refimpl.__main__ import main
from refimpl._files import checked_line
from refimpl.peppp import ErrorMatrix, Settings, TaskStudy, meta_training, plan_sweep, run_sweep
from refimpl.peppp.sweeping.cell import _loaded, train_cell
from refimpl.peppp.sweeping.journal import Journal
from refimpl.peppp.sweeping.sweep import arithmetic

DIGITS = data.load("digits")
ERRORS = meta_training(DIGITS)
TASKS = ["digits", "latin-small-ten"]
FORMATS = ["e4m3+e8m7", "e3m1+e6m7", "e5m3+e8m11"]
SETTINGS = Settings(epochs=4)
WORDS = ["--tasks", *TASKS, "--configurations", *FORMATS, "--epochs", "4", "--quiet"]
COMMAND = [sys.executable, "-m", "refimpl", "sweep", *WORDS, "--jobs", "2", "--out"]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    return run_sweep(TASKS, FORMATS, tmp_path_factory.mktemp("whole"), settings=SETTINGS, jobs=1, progress=False)


def lines(directory):
    journal = directory / "cells.jsonl"
    return journal.read_bytes().count(b"\n") if journal.exists() else 0


def kill_when(directory, wanted, how, *options, times=1):
    """Start the sweep and stop it once its journal has this many lines; return status and errors."""
    # A shell's background jobs ignore SIGINT, and so would what they start: listen to it again.
    process = subprocess.Popen(
        [*COMMAND, str(directory), *options],
        start_new_session=True,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 120
    while lines(directory) < wanted and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    if how == signal.SIGINT:  # as a terminal does: to the whole group
        for _ in range(times):
            os.killpg(process.pid, how)
            time.sleep(0.3)
    else:
        process.send_signal(how)
    _, said = process.communicate(timeout=120)
    return process.returncode, said


def test_the_matrix_of_a_sweep_killed_three_times_equals_that_of_one_never_killed(tmp_path, uninterrupted):
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


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="reads Linux's /proc")
def test_a_worker_killed_before_it_has_trained_anything_is_said_to_have_been_killed(tmp_path):
    process = subprocess.Popen([*COMMAND, str(tmp_path)], stderr=subprocess.PIPE, text=True)
    deadline, workers = time.monotonic() + 120, []
    while not workers and process.poll() is None and time.monotonic() < deadline:
        with open(f"/proc/{process.pid}/task/{process.pid}/children") as file:
            workers = [pid for pid in file.read().split() if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    os.kill(int(workers[0]), signal.SIGKILL)  # of this test's own sweep
    _, said = process.communicate(timeout=120)
    assert process.returncode == 1 and lines(tmp_path) == 1
    assert said.splitlines()[-1].startswith("refimpl sweep: a worker process was killed, perhaps for lack of memory")
    assert "run the same again" in said and "__main__" not in said


@pytest.mark.parametrize("error", [ValueError("bad value(s) in fds_to_keep"), BrokenPipeError()])
def test_a_pool_that_breaks_while_it_starts_a_worker_is_said_to_have_lost_one(tmp_path, monkeypatch, error):
    """What Python raises when a worker is killed just as the next one is being started."""

    class Breaking(ThreadPoolExecutor):
        def submit(self, *arguments):
            raise error

    monkeypatch.setattr("refimpl.peppp.sweeping.processes.pool", lambda jobs, initializer: Breaking(jobs))
    with pytest.raises(RuntimeError, match="a worker process was killed, .* what was trained is kept"):
        run_sweep(TASKS, FORMATS, tmp_path, settings=SETTINGS, jobs=2, progress=False)


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


def test_a_second_ctrl_c_ends_the_workers_at_once_and_they_leave_no_locks_behind(tmp_path):
    status, said = kill_when(tmp_path, 2, signal.SIGINT, "--epochs", "60", times=2)
    assert status == 130 and lines(tmp_path) < 1 + len(TASKS) * len(FORMATS)
    assert "what was trained is kept" in said.splitlines()[-1] and "leaked" not in said


def test_a_finished_sweep_trains_nothing_again(tmp_path, monkeypatch):
    arguments = (TASKS[:1], FORMATS[:1], tmp_path)
    first = run_sweep(*arguments, settings=SETTINGS, jobs=1, progress=False)
    monkeypatch.setattr("refimpl.peppp.sweeping.sweep.train_cell", None)
    again = run_sweep(*arguments, settings=SETTINGS, jobs=1, progress=False)
    assert first.values == again.values


def test_cells_of_a_data_set_whose_files_have_changed_are_trained_again(tmp_path):
    def write(test_labels):
        np.savez(
            tmp_path / "mine.npz",
            train_images=DIGITS.train_images,
            train_labels=DIGITS.train_labels,
            test_images=DIGITS.test_images,
            test_labels=test_labels,
        )

    mine, settings = str(tmp_path / "mine.npz"), Settings(epochs=1)
    arguments = ([mine, "digits"], FORMATS[:1], tmp_path / "sweep")
    write(DIGITS.test_labels)
    first = run_sweep(*arguments, settings=settings, jobs=1, progress=False)
    assert plan_sweep(*arguments, settings=settings).trained == 2
    write((DIGITS.test_labels + 1) % 10)
    assert plan_sweep(*arguments, settings=settings).trained == 1  # the digits are what they were
    again = run_sweep(*arguments, settings=settings, jobs=1, progress=False)
    assert first.row(mine) == first.row("digits") == again.row("digits") < 0.6 < again.row(mine)
    assert lines(tmp_path / "sweep") == 1 + 3
    write(DIGITS.test_labels)  # as before: those cells are there still
    assert plan_sweep(*arguments, settings=settings).trained == 2


def cell(task, fingerprint):
    known = {"task": task, "configuration": FORMATS[0], "seed": 0, "data": fingerprint}
    return known | {"error": 0.5, "seconds": 1.0, "diverged": False, "fall": 0.0}


def test_a_plan_needs_no_data_set_that_only_the_journal_knows(tmp_path):
    journal = Journal(tmp_path, SETTINGS)
    journal.add(cell("/gone.npz", "x"))
    journal.close()
    assert plan_sweep(["digits"], FORMATS[:1], tmp_path, settings=SETTINGS).trained == 0


def test_a_journal_of_other_settings_is_refused_by_naming_the_difference(tmp_path):
    Journal(tmp_path, SETTINGS).close()
    with pytest.raises(ValueError, match="written with epochs=4, now it is 10"):
        Journal(tmp_path, Settings())


def test_a_journal_of_another_version_is_refused_with_the_remedy(tmp_path):
    Journal(tmp_path, SETTINGS).close()
    file = tmp_path / "cells.jsonl"
    head = json.loads(file.read_bytes()) | {"journal": 2}
    del head["crc"]
    file.write_bytes(checked_line(head) + b"\n")
    with pytest.raises(ValueError, match="another version .journal 2, now 3.; choose another dir"):
        Journal(tmp_path, SETTINGS)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        (([], FORMATS), "tasks is empty"),
        ((TASKS, []), "configurations is empty"),
        (("digits", FORMATS), "names of tasks is 'digits'"),
        ((TASKS, "e4m3+e8m7"), "names of configurations is 'e4m3.e8m7'"),
        ((TASKS * 2, FORMATS), "task 'digits' is named twice"),
        ((TASKS, FORMATS, {"batch_size": 1438}), "digits: batch_size is 1438; allowed is at most 1437"),
    ],
)
def test_sweeps_that_make_no_sense_fail_before_the_journal_exists(tmp_path, what, message):
    tasks, configurations, *settings = what
    with pytest.raises((ValueError, TypeError), match=message):
        run_sweep(tasks, configurations, tmp_path / "sweep", settings=Settings(**dict(*settings)))
    assert not (tmp_path / "sweep").exists()


def test_two_runs_cannot_share_a_directory_but_one_may_look_on(tmp_path, capsys):
    first = Journal(tmp_path, SETTINGS)
    first.add(cell(TASKS[0], DIGITS.fingerprint))
    content = first.path.read_bytes()
    status = subprocess.run([*COMMAND, str(tmp_path)], capture_output=True, text=True)
    assert status.returncode == 2 and status.stderr.count("\n") == 1
    assert f"another process is training into {tmp_path}; wait until it is done" in status.stderr
    with pytest.raises(ValueError, match="another process is training into"):
        TaskStudy(ERRORS, DIGITS).measure(tmp_path, progress=False)
    assert plan_sweep(TASKS, FORMATS, tmp_path, settings=SETTINGS).trained == 1
    assert first.path.read_bytes() == content
    first.close()
    Journal(tmp_path, SETTINGS).close()


def test_a_full_disk_is_told_by_the_name_of_the_journal(tmp_path, capsys, monkeypatch):
    Journal(tmp_path, SETTINGS).close()

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    monkeypatch.setattr("refimpl.peppp.sweeping.sweep.train_cell", lambda *_: cell(TASKS[0], DIGITS.fingerprint))
    assert main(["sweep", *WORDS, "--jobs", "1", "--out", str(tmp_path)]) == 1
    assert capsys.readouterr().err.endswith(f"No space left on device: '{tmp_path / 'cells.jsonl'}'\n")


def test_a_script_without_a_guard_is_told_of_it_and_trains_nothing_twice(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\nfrom refimpl.peppp import Settings, run_sweep\n"
        "print('started', flush=True)\n"
        f"run_sweep(['digits'], {FORMATS[:2]}, sys.argv[1], settings=Settings(epochs=1), jobs=2, progress=False)\n"
    )
    done = subprocess.run([sys.executable, str(script), str(tmp_path / "out")], capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.count("Traceback") == 1
    assert "must stand under `if __name__ == '__main__':`" in done.stderr.splitlines()[-1]
    assert lines(tmp_path / "out") == 1


@pytest.mark.parametrize(
    "content", [b"no newline", b"one\ntwo", b"not json\n", b"[1, 2]\n", b'{"journal": 1}\n{"task": 3}\n']
)
def test_a_damaged_journal_is_refused_and_left_alone(tmp_path, content):
    (tmp_path / "cells.jsonl").write_bytes(content)
    with pytest.raises(ValueError, match="damaged or not a journal|was written (with|by)"):
        Journal(tmp_path, SETTINGS)
    assert (tmp_path / "cells.jsonl").read_bytes() == content


def test_any_flipped_bit_of_a_journal_is_told_or_changes_nothing(tmp_path, caplog):
    journal = Journal(tmp_path, SETTINGS)
    for seed in range(3):
        journal.add(cell(TASKS[0], "x") | {"seed": seed, "error": seed / 7})
    journal.close()
    content = journal.path.read_bytes()
    head = content.index(b"\n")
    for place in range(8 * len(content)):
        flipped = bytearray(content)
        flipped[place // 8] ^= 1 << place % 8
        journal.path.write_bytes(flipped)
        if place // 8 <= head:
            with pytest.raises(ValueError, match="damaged or not a journal"):
                Journal(tmp_path, SETTINGS)
            assert journal.path.read_bytes() == flipped
            continue
        caplog.clear()
        again = Journal(tmp_path, SETTINGS)
        again.close()
        told = "not believed" in caplog.text
        assert again.cells.items() <= journal.cells.items() and told == (again.cells != journal.cells)


@pytest.mark.parametrize("error", [-0.25, 1.5, float("nan"), float("inf"), "0.5", None])
def test_an_error_in_a_journal_that_is_none_is_told_and_not_believed(tmp_path, caplog, error):
    journal = Journal(tmp_path, SETTINGS)
    journal.add(cell(TASKS[0], "x"))
    journal.add(cell(TASKS[1], "x") | {"error": error})
    journal.close()
    again = Journal(tmp_path, SETTINGS)
    again.close()
    assert [key[0] for key in again.cells] == TASKS[:1]
    assert caplog.messages == [f"journal: 1 line is damaged or cut short in {journal.path} and not believed"]


def test_repeats_asked_for_later_train_only_the_seeds_that_are_new(tmp_path, monkeypatch):
    trained = []

    def counted(row, configuration, settings, fingerprint):
        trained.append((row, configuration, settings.seed))
        return train_cell(row, configuration, settings, fingerprint)

    monkeypatch.setattr("refimpl.peppp.sweeping.sweep.train_cell", counted)
    settings = Settings(model="mlp", epochs=1, seed=5)

    def swept(place, repeats):
        trained.clear()
        found = run_sweep(
            TASKS, FORMATS[:2], tmp_path / place, settings=settings, repeats=repeats, jobs=1, progress=False
        )
        return found, set(trained), len(trained)

    once, *_ = swept("later", 1)
    later, new, count = swept("later", 2)
    scratch, *_ = swept("scratch", 2)
    assert (new, count) == ({(row, name, 6) for row in TASKS for name in FORMATS[:2]}, 4)
    assert later.repeats.shape == (2, 2, 2) and later.repeats[0].tobytes() == once.values.tobytes()
    assert later.repeats.tobytes() == scratch.repeats.tobytes() and later.fingerprint == scratch.fingerprint
    first, *_, count = swept("later", 1)  # fewer again: nothing is lost, nothing is trained
    assert first.fingerprint == once.fingerprint and count == 0


def test_seconds_and_settings_are_kept_with_the_matrix(uninterrupted):
    assert (uninterrupted.seconds > 0).all()
    assert uninterrupted.metadata["epochs"] == 4 and uninterrupted.metadata["seed"] == 0
    assert [uninterrupted.rows_sharing(data.load(task).marks) for task in TASKS] == [(TASKS[0],), (TASKS[1],)]
    json.dumps(uninterrupted.metadata)


def test_data_sorted_by_class_is_planned_and_swept_in_processes(tmp_path):
    """A first batch, by which kernels are compiled and times measured, need not have every class."""
    order = np.argsort(DIGITS.train_labels, kind="stable")
    images, labels = DIGITS.train_images[order], DIGITS.train_labels[order]
    assert len(set(labels[:32])) == 1
    task = dataclasses.replace(DIGITS, name="sorted", train_images=images, train_labels=labels)
    settings = Settings(epochs=1)
    assert plan_sweep([task], FORMATS[:2], tmp_path, settings=settings).seconds > 0
    places = [tmp_path / "here", tmp_path / "processes"]
    here, errors = (
        run_sweep([task], FORMATS[:2], place, settings=settings, jobs=jobs, progress=False)
        for jobs, place in enumerate(places, 1)
    )
    assert errors.values.tobytes() == here.values.tobytes()
    assert list(errors.images[0]) == list(task.marks)


def test_any_executor_trains_the_same_matrix(tmp_path, uninterrupted):
    with ThreadPoolExecutor(2) as executor:
        errors = run_sweep(TASKS, FORMATS, tmp_path, settings=SETTINGS, executor=executor, progress=False)
        assert executor.submit(int, "1").result() == 1  # left open
    assert errors.values.tobytes() == uninterrupted.values.tobytes()


class Failing(ThreadPoolExecutor):
    """Loses every second cell, as a cluster may."""

    count = 0

    def submit(self, function, *arguments):
        self.count += 1
        if self.count % 2:
            return super().submit(function, *arguments)
        lost = Future()
        lost.set_exception(OSError("worker gone"))
        return lost


def test_cells_that_fail_are_named_and_the_others_kept(tmp_path, uninterrupted):
    arguments = (TASKS, FORMATS, tmp_path)
    with Failing(1) as executor, pytest.raises(RuntimeError, match="3 of 6 cells.*worker gone"):
        run_sweep(*arguments, settings=SETTINGS, executor=executor, progress=False)
    assert lines(tmp_path) == 1 + 3
    errors = run_sweep(*arguments, settings=SETTINGS, jobs=1, progress=False)
    assert errors.values.tobytes() == uninterrupted.values.tobytes()


class InTurn(Future):
    """Fails when it is asked, and then the other one does."""

    def __init__(self, other):
        super().__init__()
        self.other = other
        self.set_exception(OSError("disk gone"))

    def result(self, timeout=None):
        self.other.set_exception(BrokenProcessPool("worker gone"))
        return super().result(timeout)


def test_of_failures_of_two_kinds_the_first_is_named(tmp_path):
    class Executor:
        lost = [last := Future(), InTurn(last)]

        def submit(self, *_):
            return self.lost.pop()

    with pytest.raises(RuntimeError, match="2 of 2 cells.*the first because of OSError: disk gone"):
        run_sweep(TASKS, FORMATS[:1], tmp_path, settings=SETTINGS, executor=Executor(), progress=False)


def test_cells_over_the_memory_cap_are_not_run(tmp_path, uninterrupted):
    cap = float(np.median(uninterrupted.memory_mb[0]))
    errors = run_sweep(TASKS[:1], FORMATS, tmp_path, settings=SETTINGS, jobs=1, progress=False, memory_cap_mb=cap)
    within = uninterrupted.memory_mb[0] <= cap
    assert (np.isnan(errors.values[0]) == ~within).all() and within.sum() == 2
    assert errors.values[0][within].tolist() == uninterrupted.values[0][within].tolist()
    assert errors.metadata["memory_cap_mb"] == cap
    with pytest.raises(ValueError, match="admits no cell; the smallest needs"):
        run_sweep(TASKS, FORMATS, tmp_path, settings=SETTINGS, memory_cap_mb=0.01)


def test_a_plan_counts_cells_and_memory_and_writes_nothing(tmp_path, uninterrupted):
    cap = float(np.median(uninterrupted.memory_mb[0]))
    place = tmp_path / "sweep"
    plan = plan_sweep(TASKS, FORMATS, place, settings=SETTINGS, memory_cap_mb=cap)
    assert (plan.cells, plan.trained, plan.over_cap) == (4, 0, 2) and plan.seconds > 0
    assert plan.largest_mb == uninterrupted.memory_mb[uninterrupted.memory_mb <= cap].max()
    assert not place.exists()
    run_sweep(TASKS[:1], FORMATS, place, settings=SETTINGS, jobs=1, progress=False)
    before = (place / "cells.jsonl").read_bytes()
    plan = plan_sweep(TASKS, FORMATS, place, settings=SETTINGS)
    assert (plan.cells, plan.trained) == (6, 3)
    assert (place / "cells.jsonl").read_bytes() == before
    assert plan.seconds > 0


def test_a_plan_reckons_with_so_many_seconds_an_image_and_some_for_each_cell(tmp_path, monkeypatch):
    clock, each, start = [0.0], 0.0005, 0.05

    def trained(task, configuration, how):
        clock[0] += start + each * (how.epochs * len(task.train_labels) + len(task.test_labels) / 3)

    monkeypatch.setattr("refimpl.peppp.sweeping.plan.train_cell", trained)
    monkeypatch.setattr("refimpl.peppp.sweeping.plan.time.perf_counter", lambda: clock[0])
    plan = plan_sweep(TASKS[:1], FORMATS, tmp_path, settings=SETTINGS)
    images = SETTINGS.epochs * len(DIGITS.train_labels) + len(DIGITS.test_labels) / 3
    assert plan.seconds == pytest.approx(len(FORMATS) * (start + each * images))


def test_what_the_training_error_fell_in_the_last_quarter_of_the_epochs_is_kept(monkeypatch):
    history = [{"error": error} for error in (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.2, 0.1)]
    done = SimpleNamespace(history=history, test_error=0.3, seconds=1.0, diverged=False)
    monkeypatch.setattr("refimpl.peppp.sweeping.cell.nn.fit", lambda *arguments, **settings: done)
    assert train_cell("digits", FORMATS[0], SETTINGS)["fall"] == pytest.approx(0.4 - 0.1)
    del history[1:]
    assert train_cell("digits", FORMATS[0], SETTINGS)["fall"] == 0


def test_a_dry_run_says_what_it_would_do(tmp_path, capsys):
    arguments = ["sweep", "--tasks", "digits", "--configurations", *FORMATS, "--epochs", "1"]
    assert main([*arguments, "--dry-run", "--out", str(tmp_path / "sweep")]) == 0
    assert "3 cells, 0 of them trained" in capsys.readouterr().out
    assert not (tmp_path / "sweep").exists()


@pytest.mark.parametrize("images", [40, 2000])
def test_the_time_of_a_dry_run_is_that_of_epochs_of_the_steps_it_has_seen(tmp_path, monkeypatch, images):
    """On a clock that shows 90 ms a cell, 3 ms for an image trained on, 1 ms for one gone through."""
    clock = [0.0]

    def timed(task, configuration, settings):
        assert configuration == FORMATS[1] and settings.model == "resnet18"
        assert task.train_images.shape[1:] == (32, 32, 3)
        clock[0] += 0.09 + 0.003 * settings.epochs * len(task.train_labels) + 0.001 * len(task.test_labels)

    monkeypatch.setattr("refimpl.peppp.sweeping.plan.train_cell", timed)
    monkeypatch.setattr("refimpl.peppp.sweeping.plan.time.perf_counter", lambda: clock[0])
    task = colours(images)
    plan = plan_sweep([task], FORMATS[1:], tmp_path, settings=Settings(model="resnet18", epochs=7), repeats=3)
    assert plan.seconds == pytest.approx(3 * 2 * (0.09 + 0.003 * 7 * images + 0.001 * len(task.test_labels)))


def colours(images, tests=60):
    """A task of images like CIFAR's."""
    rng = np.random.default_rng(0)
    train, test = (rng.random((count, 32, 32, 3), dtype=np.float32) for count in (images, tests))
    return data.Task("colours", train, np.arange(images) % 10, test, np.arange(tests) % 10, 10, "")


@pytest.mark.slow
def test_a_dry_run_and_any_executor_take_the_papers_network_on_images_like_cifars(tmp_path, capsys, monkeypatch):
    task, file, seen = colours(40, 20), str(tmp_path / "few.npz"), []
    parts = ("train_images", "train_labels", "test_images", "test_labels")
    np.savez(file, **{part: getattr(task, part) for part in parts})

    def watched(task, configuration, settings):
        seen.append((settings.model, task.train_images.shape[1:]))
        return train_cell(task, configuration, settings)

    monkeypatch.setattr("refimpl.peppp.sweeping.plan.train_cell", watched)
    words = ["--tasks", file, "--configurations", *FORMATS[:2], "--model", "resnet18", "--epochs", "90"]
    assert main(["sweep", *words, "--dry-run", "--jobs", "1", "--out", str(tmp_path / "none")]) == 0
    minutes = float(re.search(r"about ([\d.]+) minutes of training for the other 2", capsys.readouterr().out)[1])
    assert minutes > 0 and set(seen) == {("resnet18", (32, 32, 3))}
    assert not (tmp_path / "none").exists()
    settings = Settings(model="resnet18", epochs=1)
    with ThreadPoolExecutor(1) as executor:
        elsewhere = run_sweep([file], FORMATS[:1], tmp_path / "a", settings=settings, executor=executor, progress=False)
    here = run_sweep([file], FORMATS[:1], tmp_path / "b", settings=settings, jobs=1, progress=False)
    assert elsewhere.values.tobytes() == here.values.tobytes()


def test_dask_where_it_is_not_installed_is_refused_with_the_remedy(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "dask.distributed", None)
    assert main(["sweep", "--dask", "tcp://127.0.0.1:1", "--out", str(tmp_path / "x")]) == 2
    assert "install refimpl[cluster]" in capsys.readouterr().err


@pytest.fixture
def cluster():
    """A scheduler and two worker processes on loopback."""
    distributed = pytest.importorskip("dask.distributed", reason="dask.distributed not installed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address=None
        ) as found,
        distributed.Client(found) as client,
    ):
        yield client


@pytest.mark.slow
def test_a_dask_worker_killed_in_the_middle_costs_nothing(tmp_path, uninterrupted, cluster):
    settings = SETTINGS
    pids = list(cluster.run(os.getpid).values())
    killed = []

    def kill_after_first(journal_add):
        def add(self, cell):
            journal_add(self, cell)
            if not killed:
                killed.append(pids[0])
                os.kill(pids[0], signal.SIGKILL)  # a worker of this test's own cluster

        return add

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Journal, "add", kill_after_first(Journal.add))
        errors = run_sweep(TASKS, FORMATS, tmp_path, settings=settings, progress=False, executor=cluster.get_executor())
    assert killed and errors.values.tobytes() == uninterrupted.values.tobytes()


@pytest.mark.slow
def test_the_command_trains_on_a_dask_scheduler(tmp_path, uninterrupted, cluster):
    assert main(["sweep", *WORDS, "--dask", cluster.scheduler.address, "--out", str(tmp_path)]) == 0
    errors = ErrorMatrix.load(tmp_path / "errors.npz")
    assert errors.values.tobytes() == uninterrupted.values.tobytes()


@pytest.mark.slow
def test_cells_of_the_embedded_matrix_are_what_training_them_again_gives():
    """Bit for bit where float32 sums have the same order; otherwise as two seeds differ.

    Between seeds the error of one cell has a standard deviation of up to .07 in the narrowest
    formats (benchmarks/estimation.py --only noise); 0.3 is four of those, for a difference of two.
    """
    from importlib import resources

    with resources.as_file(resources.files("refimpl.peppp") / "meta_training.npz") as path:
        errors = ErrorMatrix.load(path)
    assert errors.repeats.shape == (3, 46, 99) and not np.isnan(errors.repeats).any()
    same = errors.metadata["arithmetic"] == arithmetic()
    rng = np.random.default_rng(0)
    for seed, row, column in zip(range(3), rng.permutation(46), rng.permutation(99), strict=False):
        cell = train_cell(errors.rows[row], errors.columns[column], Settings(seed=seed))
        shipped = errors.repeats[seed, row, column]
        difference = abs(cell["error"] - shipped)
        assert difference == 0 if same else difference < 0.3, (cell, shipped)


def test_data_whose_fingerprint_is_known_is_read_once_for_all_cells_and_else_for_each(monkeypatch):
    read, load = [], data.load
    monkeypatch.setattr(data, "load", lambda name, **how: read.append(name) or load(name, **how))
    trained = SimpleNamespace(history=[{"error": 0.5}], test_error=0.5, seconds=0.0, diverged=False)
    monkeypatch.setattr("refimpl.nn.fit", lambda *_, **__: trained)
    _loaded.cache_clear()
    for _ in range(2):
        train_cell("digits", FORMATS[0], Settings(epochs=1), DIGITS.fingerprint)
    assert read == ["digits"]
    for _ in range(2):
        train_cell("digits", FORMATS[0], Settings(epochs=1))
    assert read == ["digits"] * 3
