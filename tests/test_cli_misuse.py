"""The command line: one clear line for every misuse, before any work; help whose examples are understood."""

import argparse
import json
import os
import pickle
import re
import shlex
import tempfile
from importlib import import_module

import numpy as np
import pytest

import refimpl
from refimpl.__main__ import COMMANDS
from refimpl.peppp import CONFIGURATIONS

NAMES = [c.name for c in CONFIGURATIONS]


MISUSE = {  # a command line: what its one line of refusal names
    "frontier digit": "unknown data set 'digit'.*'digits'",
    "frontier digits --measurements 4 --method ed-mf": "4 measurements.*5 .*to 99",
    "frontier digits --measurements 100": "100 measurements.*1 .*to 99",
    "frontier digits --method ed": "'ed'.*knowledge-grad",
    "frontier digits --measurements 0": "--measurements: '0'.*at least 1",
    "frontier digits --measurements x": "--measurements: 'x'.*integer",
    "frontier digits --memory-cap-mb 0.1": "0.1 MB.*e3m1.e6m7, needs 0.[0-9]+ MB",
    "frontier digits --memory-cap-mb 0.284 --method ed-mf": "1 configuration.*the rank of the embedding",
    "frontier digits --memory-cap-mb much": "--memory-cap-mb.*'much'",
    "frontier digits --memory-cap-mb nan": "memory_cap_mb.*nan",
    "frontier digits --seed -1": "'-1'|expected one argument",
    "sweep --tasks digits mnist": "unknown data set 'mnist'",
    "sweep --configurations e4m3+e8m8": "e4m3.e8m8.*did you mean e4m3.e8m",
    "sweep --epochs 0": "--epochs: '0'.*at least 1",
    "sweep --loss-scale 0": "loss_scale.* 0",
    "sweep --tasks digits digits": "twice",
    "sweep --configurations e99m99+e8m7": "e99m99",
    "certify cnn digit": "unknown data set 'digit'.*'digits'",
    "certify transformer digits": "no bound for layer '1 ImageRows'.*error_bound, such as those of mlp, cnn",
    "certify cnn digits --precision flot16": "'flot16'.*float16",
    "certify cnn digits --precision int8": "layer '0 Round' in int8",
    "certify cnn digits --precision posit16_2": "posit16_2",
    "certify cnn digits --outputs classes": "'classes'",
    "certify cnn digits --epochs 0": "--epochs: '0'",
    "choose mlp digits --tolerance 1e-6": "1e-06.*int8 .*0.0\\d+",
    "choose mlp digits --tolerance nan": "tolerance.*nan",
    "choose mlp digits --tolerance 0": "--tolerance is 0",
    "choose mlp digits --tolerance much": "--tolerance.*'much'",
    "choose mlp digits --candidates ,": "--candidates: ','",
    "choose mlp digits --scalings ''": "--scalings: ''",
    "choose mlp digits --candidates int8,float9": "'float9'",
    "choose mlp digits --candidates posit8_2": "posit8_2",
    "choose mlp digits --scalings column": "'column'",
    "choose mlp digits --scalings 0": "per.* 0",
    "choose mlp digits --roundings up": "'up'",
    "choose mlp digit": "unknown data set 'digit'",
    "choose resnet99 digits": "'resnet99'.*'resnet",
    "choose cnn topics": "'cnn'.*transformer.*tokens",
    "choose mlp digits --policies 3": "3.*at least 20",
    "choose mlp digits --seeds 1": "--seeds is 1.*at least 2",
    "choose mlp digits --metric luck": "--metric 'luck'",
}


@pytest.mark.parametrize("line", MISUSE)
def test_misuse_is_refused_in_one_line_and_nothing_is_written(refused, tmp_path, line):
    said = refused(tmp_path / "out", line, "--quiet")
    assert re.search(MISUSE[line], said), said
    assert said.startswith(f"refimpl {line.split()[0]}: ")


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("", "COMMAND"),
        ("fly", "'fly'"),
        ("formt", "did you mean 'format'"),
        ("FORMAT e4m3", "did you mean 'format'"),
        ("memory", "MODEL"),
        ("memory resnet", "'resnet'; did you mean 'resnet8'"),
        ("memory cnn --low e4q3", "'e4q3'"),
        ("memory cnn --high 8", "'8'"),
        ("memory cnn --low e99m99", "exponent_bits.*99"),
        ("memory cnn --picture ''", "--picture: the path is empty"),
        (f"memory cnn --batch-size 1{400 * '0'}", "batch_size"),
        ("memory vgg11", "is .8, 8, 1.; allowed is what vgg11 takes.*take larger images"),
        ("frontier digits --out ''", "--out: the path is empty"),
        ("sweep --out ''", "--out: the path is empty"),
        ("reproduce bfloat16 --out ' '", "--out: the path is empty"),
        ("format nope", "^refimpl format: unknown format 'nope'"),
        ("format float8_e4m3fm", "float8_e4m3fn"),
        ("explore float9", "^refimpl explore: unknown format 'float9'"),
        ("explore e4m3 --value 1 --code 1", "--code: not allowed with argument --value"),
        ("vectors encode nope", "^refimpl vectors: .*unknown format 'nope'"),
        ("vectors encode int8", "^refimpl vectors: .*int8"),
        ("vectors encod e4m3", "did you mean 'encode'"),
        ("vectors encode e4m3 --rounding TIES_TO_EVEN", "did you mean 'ties_to_even'"),
        ("vectors encode e4m3 --rounding nearest", "did you mean 'ties_to_even'"),
        ("vectors encode e4m3 --npz a.npz --json", "--json: not allowed with argument --npz"),
        ("vectors encode mxfp4_e2m1", "mxfp4_e2m1"),
        ("vectors encode nf4", "nf4"),
        ("verify encode nvfp4", "nvfp4"),
        ("vectors fma float32 --level all", "fma float32.* 96; .*level 2"),
        ("vectors add float16 --level all", "level 2"),
        ("vectors add int8", "int8"),
        ("conform", "NAME"),
        ("conform nothing", "'nothing'"),
        ("conform no.such", "'no'"),
        ("conform numpy.nothing", "'nothing'"),
        ("conform numpy.trunc", "format"),
        ("conform e4m3 --program ''", "Program.*empty"),
        ("conform numpy.float16 mxfp4_e2m1", "block format"),
        ("conform numpy.trunc e4m3 --scale 2", "scale"),
        ("conform e4m3 --program ./no-such-program", "no-such-program"),
    ],
)
def test_misuse_of_commands_that_print_is_refused_in_one_line(run, tmp_path, monkeypatch, line, names):
    monkeypatch.chdir(tmp_path)
    status, printed, said = run(line)
    assert status == 2 and printed == "" and said.count("\n") == 1 and re.search(names, said), said
    assert not list(tmp_path.iterdir())


def commands():
    """Return the parser of every command by its name."""
    parser = argparse.ArgumentParser()
    found = parser.add_subparsers()
    for name in COMMANDS:
        import_module(f"refimpl.commands.{name}").add(found)
    return parser, found.choices


def examples():
    """Return the examples in every command's help: lines for a shell."""
    for name, command in commands()[1].items():
        lines = command.format_help().split("examples:\n")[1].splitlines()
        assert lines and all(line.startswith(f"  refimpl {name}") for line in lines)
        yield from lines


@pytest.mark.parametrize("line", [*examples()])
def test_an_example_of_the_help_is_understood_and_runs_if_it_is_cheap(run, line, tmp_path, monkeypatch):
    words = shlex.split(re.split("[<>]", line)[0])[1:]  # without what is for the shell
    assert commands()[0].parse_args(words).run
    if words[0] in ("format", "memory", "vectors"):
        monkeypatch.chdir(tmp_path)
        status, printed, said = run(*words)
        assert (status, said) == (0, "") and printed


def test_the_version_is_printed(run):
    assert run("--version") == (0, f"refimpl {refimpl.__version__}\n", "")


@pytest.mark.parametrize(
    ("line", "taken"),
    [
        ("frontier digits --out results", "results/frontier.png"),
        ("frontier digits --out results", "results/frontier.json"),
        ("sweep --tasks digits --out results", "results/errors.npz"),
        ("reproduce bfloat16 --out results", "results/results.json"),
        ("conform ml_dtypes.float8_e5m2 --junit results", "results"),
        ("verify encode float8_e5m2 --junit results", "results"),
        ("vectors encode float8_e5m2 --npz results", "results"),
        ("memory cnn --picture results", "results"),
        ("choose mlp digits --out results", "results/choose.png"),
        ("choose mlp digits --out results", "results/choose.json"),
        ("certify mlp digits --out results", "results/certificate.png"),
    ],
)
def test_a_file_that_cannot_be_written_is_found_out_before_the_work(run, tmp_path, monkeypatch, line, taken):
    (tmp_path / taken).mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    for work in ("peppp.sweeping.sweep.train_cell", "testing.conform", "testing.verify", "nn.fit", "numerics.measure"):
        monkeypatch.setattr(f"refimpl.{work}", None)
    monkeypatch.setattr("refimpl.peppp.matrix.released.load_released", lambda _: None)
    monkeypatch.chdir(tmp_path)
    status, printed, said = run(line)
    assert status == 2 and printed == "" and said.count("\n") == 1
    assert f"cannot write {taken} (it is a directory)" in said
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "line",
    [
        "frontier digits",
        "sweep --tasks digits",
        "choose mlp digits",
        "certify mlp digits",
        "certify mlp digits --checkpoint",
    ],
)
def test_a_directory_in_which_nothing_can_be_made_is_found_out_before_the_work(refused, tmp_path, monkeypatch, line):
    """As below /proc: there, root has every right and can make nothing."""
    closed, make = tmp_path / "closed", tempfile.TemporaryFile
    closed.mkdir()

    def refuse(dir):
        if dir == closed:
            raise FileNotFoundError(2, "No such file or directory")
        return make(dir=dir)

    for work in ("peppp.sweeping.sweep.train_cell", "nn.fit", "numerics.measure"):
        monkeypatch.setattr(f"refimpl.{work}", None)
    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    words, out = ([line], closed / "a" / "b")
    if line.endswith("--checkpoint"):
        words, out = [line, closed / "run.npz"], tmp_path / "out"
    said = refused(out, *words)
    assert f"cannot write {closed}/" in said
    assert f"(nothing can be made in {closed}: No such file or directory)" in said


def test_results_appear_together_at_the_end_and_numbers_json_has_not_as_null(tmp_path):
    from refimpl.commands.options import write_results

    class Figure:
        def savefig(self, file, **_):
            file.write(b"new")

    class Interrupted:
        def savefig(self, file, **_):
            raise KeyboardInterrupt

    (tmp_path / "a.png").write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt):
        write_results(tmp_path, {"a.png": Figure(), "a.json": {}, "b.png": Interrupted()})
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]
    assert (tmp_path / "a.png").read_bytes() == b"old"
    files = {"a.png": Figure(), "a.json": {"x": (1.5, float("inf")), "y": [float("nan"), True]}}
    write_results(tmp_path, files)
    assert (tmp_path / "a.png").read_bytes() == b"new"
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": [1.5, None], "y": [None, True]}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.json", "a.png"]


def matrix(path, **changes):
    """Save a matrix that is fine but for the changes."""
    fields = {"values": np.full((6, 99), 0.5), "rows": np.array(list("abcdef")), "columns": np.array(NAMES)}
    np.savez(path, **fields | changes)
    return path


def test_error_matrices_that_cannot_be_used_are_refused_before_training(refused, tmp_path):
    out, file = tmp_path / "out", tmp_path / "errors.npz"

    def line():
        return refused(out, "frontier digits --matrix", file, "--method ed-mf")

    assert "No such file" in line()
    matrix(file)
    file.write_bytes(file.read_bytes()[:2000])
    assert "truncated, damaged or not an npz" in line()
    matrix(file, columns=np.array([*NAMES[:-1], "e9m9+e9m9"]))
    assert "column 98 of" in (said := line()) and "is e9m9+e9m9" in said
    matrix(file, values=np.full((6, 99), 1.5))
    assert "values['a', 'e3m1+e6m7'] is 1.5" in line()
    matrix(file, values=np.array([[object()] * 99] * 6))
    assert "a pickle, which was not unpickled" in line()
    file.write_bytes(pickle.dumps({"values": 1}))
    assert "a pickle, which was not unpickled" in line()
    matrix(file, values=np.full((6, 99), np.nan))
    assert "nothing but nan" in line()
    values = np.full((6, 99), 0.5)
    values[2] = np.nan
    matrix(file, values=values)
    assert "row 'c' of errors is all nan" in line()
    matrix(file)  # complete, but of rank 1: no design of rank 5 can be regular
    assert "rank" in line()


def test_a_directory_that_cannot_be_written_is_found_out_before_training(run, tmp_path):
    (tmp_path / "file").write_text("")
    status, _, line = run("frontier digits --quiet --out", tmp_path / "file" / "out")
    assert status == 2 and "cannot write" in line and line.count("\n") == 1
    if os.geteuid() == 0:
        return  # root may write anywhere else
    tmp_path.chmod(0o500)
    status, _, line = run("frontier digits --quiet --out", tmp_path / "out")
    assert status == 2 and "cannot write" in line
