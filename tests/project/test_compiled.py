"""Compiled code is never older than its sources, is found by the next process, and needs no place to be kept."""

import importlib
import io
import os
import pickle
import pkgutil
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numba
import pytest

import refimpl
from refimpl.kernels import _compiled
from refimpl.nn.engine import compiling
from refimpl.nn.engine.optimizer_steps import sgd_and_round
from refimpl.nn.training import EpochRecord, TrainingState

PACKAGE = Path(refimpl.__file__).parent
TRAIN = """
from numba.core import event
compiled = []
class Listener(event.Listener):
    def on_start(self, e): compiled.append(e.data["dispatcher"].py_func.__qualname__)
    def on_end(self, e): pass
event.register("numba:compile", Listener())
import refimpl as rf
digits = rf.data.load("digits")
few = rf.data.Task("few", digits.train_images[:64], digits.train_labels[:64],
                   digits.test_images[:8], digits.test_labels[:8], classes=10, images_from="digits")
result = rf.nn.fit(rf.nn.mlp(), few, precision=rf.Precision(low="e3m2", high="e6m9"), epochs=1)
print(result.history[-1]["loss"].hex(), len(compiled))
"""
LOOK_UP = """
import numpy as np, refimpl as rf
x = np.linspace(-1, 1, 100_000, dtype=np.float32)
print(rf.quantize(x, "e4m3fn", rounding="stochastic", seed=1).sum(), rf.quantize(x, "e4m3fn").sum())
"""


def copy_of_package(place, with_compiled_code):
    """Copy the package to a place, readable by everybody; return the environment that imports it there."""
    leave = shutil.ignore_patterns("*.pyc", *([] if with_compiled_code else ["__pycache__"]))
    shutil.copytree(PACKAGE, place / "refimpl", ignore=leave)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("NUMBA") and k != "HOME"}
    return environment | {"PYTHONPATH": str(place), "HOME": "/nonexistent", "PYTHONDONTWRITEBYTECODE": "1"}


def test_an_edit_deep_down_changes_what_training_does_and_nothing_else_compiles_anything(tmp_path):
    environment = copy_of_package(tmp_path, with_compiled_code=True)
    deep_down = tmp_path / "refimpl" / "kernels" / "float32_stochastic.py"

    def train():
        command = [sys.executable, "-c", TRAIN]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
        loss, compiled = done.stdout.split()
        return loss, int(compiled)

    before, _ = train()
    assert train() == (before, 0)  # a second start is warm
    text = deep_down.read_text()
    deep_down.write_text(text.replace("words[j]", "np.uint32(~words[j])"))
    edited, compiled = train()
    assert edited != before and compiled > 0
    deep_down.write_text(text)
    assert train() == (before, 0)  # what was compiled from these very files is found again


def test_every_kernel_is_kept_under_the_digest_of_all():
    for module in pkgutil.walk_packages([str(PACKAGE)], "refimpl."):
        if module.name.startswith(("refimpl.kernels.", "refimpl.nn.engine.")):
            for name, value in vars(importlib.import_module(module.name)).items():
                if isinstance(value, numba.core.dispatcher.Dispatcher):
                    inlined = value.targetoptions.get("inline") == "always"
                    assert inlined or isinstance(value._cache, _compiled._Cache), f"{module.name}.{name}"


def test_the_optimizer_s_kernel_is_compiled_ahead_with_the_types_of_a_step():
    digits = refimpl.data.load("digits")
    state = TrainingState(refimpl.nn.cnn(), digits, refimpl.nn.preset("peppp"), refimpl.nn.SGD(), 0, False)
    (ahead,) = (kinds for kernel, kinds in compiling._jobs(state.optimizer.calls()) if kernel is sgd_and_round)
    state.step(digits.train_images[:32], digits.train_labels[:32], 0.05, EpochRecord())
    assert sgd_and_round.signatures == [ahead]


def test_only_the_decorator_calls_numba():
    users = [path for path in PACKAGE.rglob("*.py") if re.search(r"\bn?jit\b", path.read_text())]
    assert [path.name for path in users] == ["_compiled.py"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Let the decorator take an empty copy of the kernels for the package, and nothing for a place of the user's."""
    copy_of_package(tmp_path, with_compiled_code=False)
    monkeypatch.setattr(_compiled, "_PACKAGE", tmp_path / "refimpl")
    monkeypatch.setattr(_compiled, "directory", _compiled.directory.__wrapped__)
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_an_edit_of_any_kernel_file_changes_the_digest(here):
    seen = {_compiled._digest()}
    for path in _compiled.sources():
        with open(path, "a") as file:
            file.write("\n")
        seen.add(_compiled._digest())
    assert len(seen) == len(_compiled.sources()) + 1 > 20


def test_of_old_states_of_the_sources_only_the_latest_used_stay(here):
    root = here / "kept"
    for age in range(9):
        (root / str(age)).mkdir(parents=True)
        os.utime(root / str(age), (1000 - age, 1000 - age))
    place = _compiled._writable(root)
    assert {path.name for path in root.iterdir()} == {place.name, "0", "1", "2"}


def test_the_process_that_helps_compiling_takes_nothing_from_the_working_directory(tmp_path, monkeypatch):
    (tmp_path / "numba.py").write_text("raise SystemExit(1)")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    helper = compiling._helper([])
    assert helper is not None and helper.wait() == 0


@pytest.fixture
def compilers(monkeypatch):
    """Four kernels to compile, what is kept of them, and what this process compiles."""
    kept, here = set(), []

    class Kernel:
        overloads = ()

        def __init__(self, name):
            monkeypatch.setattr(compiling, name, self, raising=False)
            self.name = name

        def compile(self, kinds):
            here.append(self.name)
            kept.add(self.name)

    monkeypatch.setattr(_compiled, "is_kept", lambda kernel, kinds: kernel.name in kept)
    return [(Kernel(name), ()) for name in "abcd"], kept, here


def test_what_the_process_that_helps_is_at_is_waited_for_and_not_compiled_twice(compilers, monkeypatch):
    jobs, kept, here = compilers

    class Helper:
        def wait(self):
            kept.add("c")

    monkeypatch.setattr(compiling, "_jobs", lambda calls: jobs)
    monkeypatch.setattr(compiling, "_helper", lambda missing: Helper())
    compile_a = jobs[0][0].compile
    jobs[0][0].compile = lambda kinds: (compile_a(kinds), kept.add("d"))
    compiling.compile_ahead([])
    assert here == ["a", "b"] and kept == set("abcd")


@pytest.mark.parametrize("done, left", [("", "dcb"), ("a", "dc"), ("ab", "d"), ("abc", "")])
def test_the_process_that_helps_stops_where_the_other_is(compilers, monkeypatch, done, left):
    jobs, kept, here = compilers
    kept.update(done)
    names = [(compiling.__name__, kernel.name, kinds) for kernel, kinds in jobs]
    monkeypatch.setattr(sys, "stdin", type("", (), {"buffer": io.BytesIO(pickle.dumps(names))}))
    compiling.help_out()
    assert "".join(here) == left


@pytest.mark.parametrize("name, value", [("executable", ""), ("executable", "/nowhere/python"), ("frozen", True)])
def test_where_no_python_can_be_started_nothing_helps_compiling(name, value, monkeypatch):
    monkeypatch.setattr(sys, name, value, raising=False)
    assert compiling._helper([]) is None


def test_numba_s_own_setting_comes_first_then_the_package(here, monkeypatch):
    assert _compiled.directory().is_relative_to(here / "refimpl" / "kernels" / "__pycache__")
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(here / "mine"))
    assert _compiled.directory().is_relative_to(here / "mine")


@pytest.fixture
def nowhere(here, monkeypatch):
    """Let no lasting place be writable."""
    usual = _compiled._writable
    monkeypatch.setattr(_compiled, "_writable", lambda root: usual(root) if "refimpl-" in root.name else None)
    monkeypatch.setattr(_compiled, "AppDirs", lambda *a, **k: type("", (), {"user_cache_dir": "~"}))
    return here


def test_where_nothing_can_be_written_code_is_kept_in_a_private_directory_and_one_line_says_so(nowhere, capsys):
    place = _compiled.directory().parent
    assert place.parent == nowhere and place.stat().st_mode & 0o777 == 0o700
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and "NUMBA_CACHE_DIR" in line and str(place) in line


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="directories for temporary files are private there")
def test_a_directory_that_others_can_write_to_is_not_used(nowhere, capsys):
    place = _compiled.directory().parent
    place.chmod(0o777)
    assert _compiled.directory() is None
    place.rename(nowhere / "elsewhere")
    place.symlink_to(nowhere / "elsewhere")
    assert _compiled.directory() is None
    assert "not kept" in capsys.readouterr().err


def test_what_is_compiled_while_a_kernel_file_is_edited_is_not_saved(here, monkeypatch):
    with open(_compiled.sources()[0], "a") as file:
        file.write("\n")
    function = _compiled.compiled(lambda x: x + 1)
    assert function(1) == 2
    assert not list((here / "refimpl").rglob("*.nbc"))
    monkeypatch.setattr(_compiled, "_STAMP", _compiled._digest())
    assert function(1.5) == 2.5
    assert len(list((here / "refimpl").rglob("*.nbc"))) == 1


@pytest.mark.parametrize("at", [0, 31, 32, 40, 0.5, -1])
def test_a_damaged_entry_is_compiled_anew(here, monkeypatch, at):
    """A flipped bit at a place of the file, or the file cut there, whatever stands there."""
    monkeypatch.setattr(_compiled, "_STAMP", _compiled._digest())
    function = _compiled.compiled(lambda x: x + 1)
    assert function(1.5) == 2.5
    (saved,) = (here / "refimpl").rglob("*.nbc")
    content = saved.read_bytes()
    place = int(at * len(content)) if isinstance(at, float) else at % len(content)
    flipped = bytearray(content)
    flipped[place] ^= 4
    again = _compiled.compiled(function.py_func)
    (kinds,) = function.signatures
    key = again._cache._index_key(kinds, again.targetctx.codegen())
    assert again._cache.load(key) is not None
    for damaged in (bytes(flipped), content[:place]):
        saved.write_bytes(damaged)
        assert again._cache.load(key) is None
    assert again(1.5) == 2.5 and again._cache.load(key) is not None


SOMEBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
SOMEBODY += [f"--{which}-caps=+dac_read_search" for which in ("inh", "ambient")]  # may read, wherever Python is


@pytest.mark.skipif(
    not shutil.which("setpriv") or subprocess.run([*SOMEBODY, "true"], capture_output=True).returncode != 0,
    reason="only root can become another user, by setpriv",
)
def test_another_user_s_read_only_installation_works_without_a_home():
    with tempfile.TemporaryDirectory() as place:
        environment = copy_of_package(Path(place), with_compiled_code=False) | {"TMPDIR": f"{place}/tmp"}
        os.chmod(place, 0o755)
        os.mkdir(f"{place}/tmp")
        os.chmod(f"{place}/tmp", 0o1777)

        def run(*arguments):
            command = [*SOMEBODY, sys.executable, *arguments]
            done = subprocess.run(command, cwd="/", env=environment, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            return done

        for _ in ("first", "second"):
            said = run("-c", LOOK_UP).stderr
            assert said.count("\n") == 1 and "NUMBA_CACHE_DIR" in said
        (kept,) = Path(place, "tmp").iterdir()
        assert kept.stat().st_mode & 0o777 == 0o700 and list(kept.rglob("*.nbc"))
        assert "448" in run("-m", "refimpl", "format", "e4m3fn").stdout
