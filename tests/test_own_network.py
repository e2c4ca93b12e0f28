"""A network of one's own: every command takes it, and what is wrong with it is said in one line."""

import importlib
import re
import subprocess
import sys

import pytest

from refimpl import nn
from refimpl.nn.models import NETWORKS
from refimpl.peppp import ErrorMatrix, Settings, run_sweep

MODULE = """
from refimpl.nn.layers import Flatten, Linear, Round, Sequential

LAYERS = 4

def single(shape, classes):
    return Sequential([Round("input"), Flatten(), Linear(64, classes), Round("logits")])

def one_more(shape, classes):
    return single(shape, classes + 1)

def number(shape, classes):
    return 7

def shapeless(classes):
    return single(None, classes)

def broken(shape, classes):
    raise ZeroDivisionError("first line\\nsecond line")
"""
ONE_LINE = {  # a network: what the one line of its refusal says
    "nets:one_more": r"the output of nets:one_more is \(11,\); allowed is \(10,\)",
    "nets:number": "what nets:number returned is 7; allowed is a refimpl.nn.layers.Sequential",
    "nets:shapeless": r"TypeError: shapeless\(\) takes 1 .*; allowed is .* takes \(shape, classes\) and returns",
    "nets:broken": "is ZeroDivisionError: first line second line; allowed is",
    "nets:singel": "unknown function of nets 'singel'; did you mean 'single'.; .*def at the top of a module",
    "nets:LAYERS": "unknown function of nets 'LAYERS'",
    "nets:": "unknown function of nets ''",
    "netz:single": "No module named 'netz'; allowed is that of a module in this directory or on Python's path",
    "syntax:single": "the module of syntax:single is SyntaxError: .*; allowed is",
    ":single": "Empty module name; allowed is",
    "resnt18": "unknown network 'resnt18'; did you mean 'resnet18'.; allowed are cnn, .*or package.module:function",
    "vgg11": r"is \(8, 8, 1\); allowed is what vgg11 takes; .*MaxPool.*; take larger images or another network",
}


@pytest.fixture
def nets(tmp_path, monkeypatch):
    """A module in the working directory, which Python's path does not have."""
    (tmp_path / "nets.py").write_text(MODULE)
    (tmp_path / "syntax.py").write_text("def single(shape, classes)\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "nets", raising=False)
    yield
    sys.modules.pop("nets", None)


def test_memory_counts_it(run, nets):
    status, printed, _ = run("memory nets:single")
    assert status == 0 and printed.startswith("nets:single on digits, batch 32")
    row = next(line for line in printed.splitlines() if line.startswith("  weights"))
    assert row.split()[1] == "650"  # (64 + 1) x 10 parameters of eight bits


@pytest.mark.parametrize("network", ONE_LINE)
def test_what_is_wrong_with_it_is_one_line(run, nets, network):
    status, printed, said = run("memory", network)
    assert status == 2 and printed == "" and said.count("\n") == 1
    assert re.search(ONE_LINE[network], said), said


@pytest.mark.parametrize("network", ["nets:singel", "nets:one_more"])
@pytest.mark.parametrize("command", ["choose {} digits", "certify {} digits", "sweep --tasks digits --model {}"])
def test_every_command_that_trains_refuses_it_before_anything_is_written(refused, nets, tmp_path, command, network):
    assert re.search(ONE_LINE[network], refused(tmp_path / "out", command.format(network)))


def test_a_sweep_in_two_processes_trains_what_python_does(nets, tmp_path, monkeypatch):
    """The command by its name, the function by the object: the same errors."""
    formats = ["e4m3+e8m7", "e3m1+e6m7"]
    words = ["--tasks", "digits", "--configurations", *formats, "--epochs", "1", "--model", "nets:single"]
    command = [sys.executable, "-m", "refimpl", "sweep", *words, "--jobs", "2", "--quiet", "--out", "swept"]
    subprocess.run(command, check=True, timeout=300)
    monkeypatch.syspath_prepend(tmp_path)
    settings = Settings(model=importlib.import_module("nets").single, epochs=1)
    errors = run_sweep(["digits"], formats, tmp_path / "called", settings=settings, jobs=1, progress=False)
    assert settings.model == "nets:single" and (errors.values < 0.5).all()
    assert ErrorMatrix.load("swept/errors.npz").values.tobytes() == errors.values.tobytes()


def test_a_function_that_no_worker_could_import_is_refused(nets, tmp_path):
    with pytest.raises(ValueError, match="unknown function of .*give a def at the top of a module"):
        run_sweep(["digits"], ["e4m3+e8m7"], tmp_path / "out", settings=Settings(model=lambda shape, classes: None))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["memory", "choose", "certify"])
def test_the_help_names_every_network(run, command):
    shown = run(command, "--help")[1]
    assert [name for name in NETWORKS if f" {name}," not in shown] == []


def test_all_networks_take_images_of_32x32_in_colour():
    for name in NETWORKS:
        assert nn.network(name, (32, 32, 3), 7).output_shape((32, 32, 3)) == (7,)
