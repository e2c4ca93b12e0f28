"""The same seed trains to the same bits, however many threads and processes there are."""

import hashlib
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import refimpl as rf
from refimpl.ops import arrays

CODE = """
import hashlib, refimpl as rf
digits, low = rf.data.load("digits"), rf.Precision(low="e4m3", high="e8m7")
for model in (rf.nn.cnn(), rf.nn.resnet8(channels=1), rf.nn.transformer()):
    rf.nn.fit(model, digits, precision=low, epochs=1, batch_size=128)
    print(hashlib.sha256(b"".join(t.data.tobytes() for t in model.tensors())).hexdigest())
"""


def started(threads):
    """Start a fresh process in which every library is told to use this number of threads."""
    names = ("NUMBA", "OMP", "OPENBLAS", "MKL", "BLIS")
    setting = {f"{name}_NUM_THREADS": str(threads) for name in names}
    return subprocess.Popen(
        [sys.executable, "-c", CODE], env={**os.environ, **setting}, stdout=subprocess.PIPE, text=True
    )


def test_processes_of_one_and_of_four_threads_train_to_the_same_bits():
    processes = [started(threads) for threads in (1, 4)]
    found = [process.communicate()[0].split() for process in processes]
    assert len(found[0]) == 3 and found[0] == found[1]


def test_trainings_at_the_same_time_in_one_process_do_not_disturb_each_other():
    digits, low = rf.data.load("digits"), rf.Precision(low="e4m3", high="e8m7")

    def train(seed):
        model = (rf.nn.cnn, rf.nn.transformer)[seed % 2]()
        history = rf.nn.fit(model, digits, precision=low, epochs=1, seed=seed).history
        bits = b"".join(tensor.data.tobytes() for tensor in model.tensors())
        return hashlib.sha256(bits).hexdigest(), history[0]["loss"], history[0]["counts"]

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(train, range(4))) == [train(seed) for seed in range(4)]


@pytest.mark.parametrize("threads", [1, 2, 3, 4])
def test_parts_for_threads_hold_each_element_once_and_none_beyond(threads, monkeypatch):
    monkeypatch.setattr(arrays, "_thread_count", lambda: threads)
    for size in range(40):
        parts = []
        arrays.in_threads(size, lambda start, stop, parts=parts: parts.append(range(start, stop)), least=1)
        assert sorted(i for part in parts for i in part) == list(range(size))
        assert len(parts) <= threads


@pytest.mark.parametrize("rows", [1, 2, 5, 17])
def test_rows_of_a_unit_s_products_are_those_of_one_thread_however_few(rows, monkeypatch):
    rng = np.random.default_rng(rows)
    a, b = (rf.quantize(rng.standard_normal(s), "float8_e4m3fn") for s in ((rows, 4096), (4096, 160)))
    found = []
    for threads in (1, 4):
        monkeypatch.setattr(arrays, "_thread_count", lambda threads=threads: threads)
        monkeypatch.setattr(arrays, "STEPS_PER_THREAD", 1)
        found.append(rf.matmul(a, b, "float8_e4m3fn", unit="hopper-fp8"))
    assert np.array_equal(*found)
