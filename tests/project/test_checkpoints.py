"""A training run that is stopped, killed or runs out of disk continues as if it had not."""

import dataclasses
import errno
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import refimpl as rf
from refimpl.nn import LossScale, checkpoint
from refimpl.nn.layers import Dropout, Flatten, Linear, ReLU, Round, Sequential
from refimpl.nn.precision import ROLES

DIGITS = rf.data.load("digits")


def dropping():
    return Sequential(
        [
            Round("input"),
            Flatten(),
            Linear(64, 32),
            ReLU(),
            Dropout(0.3),
            Round("activation"),
            Linear(32, 10),
            Round("logits"),
        ]
    )


SETTINGS = {
    "stochastic": {"precision": rf.Precision(low="e4m3", high="e8m7")},
    "delayed scaling": {"precision": rf.nn.presets.fp8("delayed")},
    "dynamic loss scale, 8-bit Adam": {
        "precision": rf.nn.presets.mixed(),
        "optimizer": rf.nn.Adam(state="8-bit"),
        "learning_rate": 0.005,
    },
    "another policy on the way": {"switch": (1, rf.nn.presets.pure16("bfloat16", rounding="stochastic"))},
    "a loss scale that grows, 8-bit momentum": {
        "precision": dataclasses.replace(rf.nn.presets.mixed(), loss_scale=LossScale.dynamic(2.0**10, patience=60)),
        "optimizer": rf.nn.SGD(state="8-bit"),
    },
    "dropout, everything with delayed scales": {
        "make": dropping,
        "precision": rf.Precision(roles=dict.fromkeys(ROLES, rf.nn.Rounding(format="e5m6", scaling="delayed"))),
    },
    "Kahan": {"precision": rf.nn.presets.pure16("bfloat16"), "optimizer": rf.nn.SGD(update="kahan")},
}


def bits(model):
    kept = [a for layer in model.every_layer() for a in layer.state().values()]
    return b"".join(a.tobytes() for a in [*(t.data for t in model.tensors()), *kept])


def fit(make=rf.nn.cnn, **settings):
    model = make()
    result = rf.nn.fit(model, DIGITS, epochs=3, seed=4, **settings)
    return (bits(model), result.test_error, [(h["loss"], h["loss_scale"], h["counts"]) for h in result.history])


class Stop(Exception):
    pass


@pytest.mark.parametrize("name", SETTINGS)
def test_a_run_continued_after_each_epoch_ends_with_the_same_bits(tmp_path, monkeypatch, name):
    whole, path = fit(**SETTINGS[name]), tmp_path / "run.npz"
    save = checkpoint.save

    def save_and_stop(*arguments):
        save(*arguments)
        raise Stop

    for _ in range(3):
        with monkeypatch.context() as patch:
            patch.setattr(checkpoint, "save", save_and_stop)
            with pytest.raises(Stop):
                fit(**SETTINGS[name], checkpoint=path)
    assert fit(**SETTINGS[name], checkpoint=path) == whole


def test_a_run_killed_twice_ends_with_the_same_bits(tmp_path):
    path = tmp_path / "run.npz"
    code = (
        "import sys, refimpl as rf\n"
        "rf.nn.fit(rf.nn.cnn(), rf.data.load('digits'), epochs=3, seed=4,\n"
        "          precision=rf.Precision(low='e4m3', high='e8m7'), checkpoint=sys.argv[1])\n"
    )
    for _ in range(2):
        before = path.stat().st_mtime_ns if path.exists() else 0
        process = subprocess.Popen([sys.executable, "-c", code, str(path)])
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and process.poll() is None:
            if path.exists() and path.stat().st_mtime_ns != before:
                break
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert path.exists()
    assert fit(**SETTINGS["stochastic"], checkpoint=path) == fit(**SETTINGS["stochastic"])


def test_a_checkpoint_cut_short_gives_way_to_the_one_before(tmp_path):
    path = tmp_path / "run.npz"
    whole = fit(**SETTINGS["stochastic"], checkpoint=path)
    content = path.read_bytes()
    for length in (0, 10, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        arrays, kept = checkpoint.load(path)
        assert len(kept["history"]) == 2  # of three epochs
    assert fit(**SETTINGS["stochastic"], checkpoint=path) == whole


def test_whatever_byte_is_changed_or_wherever_it_is_cut_it_is_read_whole_or_gives_way_to_the_one_before(tmp_path):
    """Of the directory at the end of the file every bit; of all of it, 1000 bytes and lengths."""
    path, rng = tmp_path / "run.npz", np.random.default_rng(0)
    of = {n: ({f"layer {i} w": np.arange(3.0 + i) * n for i in range(3)}, {"n": n}) for n in (1, 2)}
    for n in of:
        checkpoint.save(path, *of[n])
    content = path.read_bytes()
    start = content.index(b"PK\x01\x02")
    damaged = [
        content[:i] + bytes([content[i] ^ 1 << bit]) + content[i + 1 :]
        for i in range(start, len(content))
        for bit in range(8)
    ]
    for i in rng.integers(0, len(content), 1000):
        damaged += [content[:i], content[:i] + rng.bytes(1) + content[i + 1 :]]
    found = []
    for one in damaged:
        path.write_bytes(one)
        arrays, settings = checkpoint.load(path)
        found.append(settings["n"])
        expected = of[found[-1]][0]
        assert {k: a.tolist() for k, a in arrays.items()} == {k: a.tolist() for k, a in expected.items()}
    assert {*found} == {1, 2}


def test_a_flipped_bit_is_noticed(tmp_path):
    path = tmp_path / "run.npz"
    checkpoint.save(path, {"x": np.arange(1000)}, {"n": 1})
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="run.npz is damaged, or not .* and there is no older one.*move it away"):
        checkpoint.load(path)


def test_a_full_disk_leaves_the_checkpoint_before_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "run.npz"
    checkpoint.save(path, {"x": np.arange(3)}, {"n": 1})

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space.*run.npz"):
        checkpoint.save(path, {"x": np.arange(4)}, {"n": 2})
    arrays, kept = checkpoint.load(path)
    assert kept == {"n": 1} and arrays["x"].size == 3
    assert os.listdir(tmp_path) == ["run.npz"]
    monkeypatch.undo()
    checkpoint.save(path, {"x": np.arange(4)}, {"n": 2})
    assert checkpoint.load(path)[1] == {"n": 2}  # the newer of the two


def test_seconds_are_those_of_all_parts_of_a_run(tmp_path):
    path = tmp_path / "run.npz"
    fit(checkpoint=path)
    arrays, kept = checkpoint.load(path)
    checkpoint.save(path, arrays, {**kept, "seconds": 1000.0})
    assert rf.nn.fit(rf.nn.cnn(), DIGITS, epochs=3, seed=4, checkpoint=path).seconds > 1000


def test_a_checkpoint_of_other_settings_is_refused_by_naming_the_difference(tmp_path):
    path = tmp_path / "run.npz"
    rf.nn.fit(rf.nn.mlp(), DIGITS, epochs=1, checkpoint=path)
    with pytest.raises(ValueError, match="another seed: 0, now it is 1"):
        rf.nn.fit(rf.nn.mlp(), DIGITS, epochs=1, checkpoint=path, seed=1)
    others = {
        "model": {"model": rf.nn.mlp(widths=(128, 64))},
        "precision": {"precision": rf.Precision(low="e4m3", high="e8m7")},
        "optimizer": {"optimizer": rf.nn.Adam()},
        "epochs": {"epochs": 2},
        "batch_size": {"batch_size": 16},
        "learning_rate": {"learning_rate": 0.1},
        "schedule": {"schedule": rf.nn.schedules.cosine()},
        "shuffle": {"shuffle": False},
        "exact_sums": {"exact_sums": True},
        "task": {"task": rf.data.load("latin-small-ten")},
    }
    for name, other in others.items():
        with pytest.raises(ValueError, match=f"another {name}: "):
            rf.nn.fit(**{"model": rf.nn.mlp(), "task": DIGITS, "epochs": 1, "checkpoint": path, **other})


def test_a_schedule_that_differs_in_one_step_and_other_test_images_are_other_settings(tmp_path):
    """A schedule of steps at .51 and at .6 has the same factor at every eighth of training."""
    path, steps = tmp_path / "run.npz", rf.nn.schedules.steps
    rf.nn.fit(rf.nn.mlp(), DIGITS, epochs=1, checkpoint=path, schedule=steps(0.51))
    with pytest.raises(ValueError, match=r"another schedule: 'factors 1, 1, 1, 0.1 on the way"):
        rf.nn.fit(rf.nn.mlp(), DIGITS, epochs=1, checkpoint=path, schedule=steps(0.6))
    with pytest.raises(ValueError, match="another task"):
        other = dataclasses.replace(DIGITS, test_images=1 - DIGITS.test_images)
        rf.nn.fit(rf.nn.mlp(), other, epochs=1, checkpoint=path, schedule=steps(0.51))
    rf.nn.fit(rf.nn.mlp(), DIGITS, epochs=1, checkpoint=path, schedule=steps(0.51))


def test_without_a_checkpoint_there_is_nothing_to_load(tmp_path):
    assert checkpoint.load(tmp_path / "none.npz") is None


def test_nothing_pickled_is_read(tmp_path):
    path = tmp_path / "run.npz"
    np.savez(path, settings=np.array([{}], object))
    with pytest.raises(ValueError, match="damaged"):
        checkpoint.load(path)
