"""The command line: what it prints and writes, and one clear line for every misuse."""

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
from refimpl.__main__ import COMMANDS, main
from refimpl.peppp import CONFIGURATIONS, ErrorMatrix

NAMES = [c.name for c in CONFIGURATIONS]


def run(capsys, *arguments):
    """Return exit status, standard output and standard error of one command; strings are split as a shell does."""
    try:
        status = main([word for a in arguments for word in (shlex.split(a) if isinstance(a, str) else [str(a)])])
    except SystemExit as stop:
        status = stop.code
    said = capsys.readouterr()
    return status, said.out, said.err


def refused(capsys, out, *arguments):
    """Demand that the command is refused in one line with status 2, writing nothing; return the line."""
    status, printed, line = run(capsys, *arguments, "--out", out)
    assert status == 2 and printed == ""
    assert line.count("\n") == 1 and "Traceback" not in line
    assert not out.exists()
    return line


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
    "certify transformer digits": "'transformer'.*cnn",
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
    "choose mlp digits --metric luck": "--metric 'luck'",
}


@pytest.mark.parametrize("line", MISUSE)
def test_misuse_is_refused_in_one_line_and_nothing_is_written(capsys, tmp_path, line):
    said = refused(capsys, tmp_path / "out", line, "--quiet")
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
        ("memory resnet", "'resnet'; did you mean 'resnet18'"),
        ("memory cnn --low e4q3", "'e4q3'"),
        ("memory cnn --high 8", "'8'"),
        ("memory cnn --low e99m99", "exponent_bits.*99"),
        ("memory cnn --picture ''", "--picture: the path is empty"),
        (f"memory cnn --batch-size 1{400 * '0'}", "batch_size"),
        ("memory vgg11", "digits are 8x8; give --resolution 32"),
        ("frontier digits --out ''", "--out: the path is empty"),
        ("sweep --out ''", "--out: the path is empty"),
        ("reproduce peppp --out ' '", "--out: the path is empty"),
        ("format nope", "^refimpl format: unknown format 'nope'"),
        ("format float8_e4m3fm", "float8_e4m3fn"),
        ("vectors encode nope", "^refimpl vectors: .*unknown format 'nope'"),
        ("vectors encode int8", "^refimpl vectors: .*int8"),
        ("vectors encod e4m3", "did you mean 'encode'"),
        ("vectors encode e4m3 --rounding TIES_TO_EVEN", "did you mean 'ties_to_even'"),
        ("vectors encode e4m3 --rounding nearest", "did you mean 'ties_to_even'"),
        ("vectors encode e4m3 --npz a.npz --json", "--json: not allowed with argument --npz"),
        ("vectors encode mxfp4_e2m1", "mxfp4_e2m1"),
        ("vectors encode nf4", "nf4"),
        ("verify encode nvfp4", "nvfp4"),
        ("vectors fma float32", "fma"),
        ("vectors add float16 --level all", "level 2"),
        ("vectors sqrt float64", "53 significant|float64"),
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
def test_misuse_of_commands_that_print_is_refused_in_one_line(capsys, tmp_path, monkeypatch, line, names):
    monkeypatch.chdir(tmp_path)
    status, printed, said = run(capsys, line)
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
def test_an_example_of_the_help_is_understood_and_runs_if_it_is_cheap(line, capsys, tmp_path, monkeypatch):
    words = shlex.split(line.partition("<")[0])[1:]
    assert commands()[0].parse_args(words).run
    if words[0] in ("format", "memory", "vectors"):
        monkeypatch.chdir(tmp_path)
        status, printed, said = run(capsys, *words)
        assert (status, said) == (0, "") and printed


def test_the_version_is_printed(capsys):
    assert run(capsys, "--version") == (0, f"refimpl {refimpl.__version__}\n", "")


@pytest.mark.parametrize(
    ("line", "taken"),
    [
        ("frontier digits --out results", "results/frontier.png"),
        ("frontier digits --out results", "results/frontier.json"),
        ("sweep --tasks digits --out results", "results/errors.npz"),
        ("reproduce peppp --out results", "results/tables.txt"),
        ("conform ml_dtypes.float8_e5m2 --junit results", "results"),
        ("verify encode float8_e5m2 --junit results", "results"),
        ("vectors encode float8_e5m2 --npz results", "results"),
        ("memory cnn --picture results", "results"),
        ("choose mlp digits --out results", "results/choose.png"),
        ("choose mlp digits --out results", "results/choose.json"),
        ("certify mlp digits --out results", "results/certificate.png"),
    ],
)
def test_a_file_that_cannot_be_written_is_found_out_before_the_work(capsys, tmp_path, monkeypatch, line, taken):
    (tmp_path / taken).mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    for work in ("peppp.sweeping.sweep.train_cell", "testing.conform", "testing.verify", "nn.fit", "numerics.measure"):
        monkeypatch.setattr(f"refimpl.{work}", None)
    monkeypatch.setattr("refimpl.peppp.matrix.released.load_released", lambda _: None)
    monkeypatch.chdir(tmp_path)
    status, printed, said = run(capsys, line)
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
def test_a_directory_in_which_nothing_can_be_made_is_found_out_before_the_work(capsys, tmp_path, monkeypatch, line):
    """As below /proc: there, root has every right and can make nothing."""
    closed, make = tmp_path / "closed", tempfile.mkdtemp
    closed.mkdir()

    def refuse(suffix, prefix, dir):
        if dir == closed:
            raise FileNotFoundError(2, "No such file or directory")
        return make(suffix, prefix, dir)

    for work in ("peppp.sweeping.sweep.train_cell", "nn.fit", "numerics.measure"):
        monkeypatch.setattr(f"refimpl.{work}", None)
    monkeypatch.setattr("tempfile.mkdtemp", refuse)
    words, out = ([line], closed / "a" / "b")
    if line.endswith("--checkpoint"):
        words, out = [line, closed / "run.npz"], tmp_path / "out"
    said = refused(capsys, out, *words)
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


def test_error_matrices_that_cannot_be_used_are_refused_before_training(capsys, tmp_path):
    out, file = tmp_path / "out", tmp_path / "errors.npz"

    def line():
        return refused(capsys, out, "frontier digits --matrix", file, "--method ed-mf")

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


def test_a_directory_that_cannot_be_written_is_found_out_before_training(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    status, _, line = run(capsys, "frontier digits --quiet --out", tmp_path / "file" / "out")
    assert status == 2 and "cannot write" in line and line.count("\n") == 1
    if os.geteuid() == 0:
        return  # root may write anywhere else
    tmp_path.chmod(0o500)
    status, _, line = run(capsys, "frontier digits --quiet --out", tmp_path / "out")
    assert status == 2 and "cannot write" in line


def test_memory_prints_a_table_whose_parts_come_to_the_total(capsys):
    status, printed, _ = run(capsys, "memory cnn --low e4m3 --high e8m7")
    assert status == 0
    rows = [row.rsplit(None, 2) for row in printed.split("layer")[0].splitlines() if row.startswith("  ")]
    kinds = ["weights", "activations", "activation gradients", "weight gradients", "momentum", "input"]
    assert [name.strip() for name, _, _ in rows] == kinds
    assert sum(int(size.replace(",", "")) for _, size, _ in rows) == 464674
    assert "464,674  = 0.4431 MB" in printed


def test_memory_draws_a_picture_and_counts_what_other_options_need(capsys, tmp_path):
    picture = tmp_path / "memory.png"
    line = "memory cnn --accounting needed --optimizer adam --state-bits 8 --checkpoint-every 3"
    status, printed, _ = run(capsys, line, "--resolution 32 --classes 7 --picture", picture)
    assert status == 0 and "cnn on 32x32x3" in printed and "second moment" in printed
    assert picture.read_bytes().startswith(b"\x89PNG")
    for bad in (tmp_path / "none" / "x.png", tmp_path / "x.docx"):
        status, printed, line = run(capsys, "memory cnn --picture", bad)
        assert status == 2 and line.count("\n") == 1 and "cannot write the picture" in line
        assert printed == ""
    assert run(capsys, "memory vgg11 --resolution 32")[0] == 0


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """One run of the main job under a cap, as a newcomer would do it."""
    out = tmp_path_factory.mktemp("frontier")
    line = "frontier digits --measurements 5 --memory-cap-mb 0.4 --quiet --out"
    assert main([*line.split(), str(out)]) == 0
    return out


def test_frontier_measures_exactly_as_many_as_asked_and_only_under_the_cap(study):
    record = json.loads((study / "frontier.json").read_text())
    by_name = {c["name"]: c for c in record["configurations"]}
    assert len(record["configurations"]) == 99 and len(record["chosen"]) == 5
    measured = {name for name, c in by_name.items() if c["measured"] is not None}
    assert measured == set(record["chosen"])
    assert (study / "cells.jsonl").read_text().count("\n") == 6
    for name in [*record["chosen"], *record["frontier"], record["recommended"]]:
        assert by_name[name]["memory_mb"] <= 0.4 and by_name[name]["allowed"]


def test_frontier_recommends_the_least_error_under_the_cap_and_draws_a_picture(study):
    record = json.loads((study / "frontier.json").read_text())
    allowed = [c for c in record["configurations"] if c["allowed"]]
    best = min(allowed, key=lambda c: (c["error"], c["memory_mb"]))
    assert record["recommended"] == best["name"]
    assert (study / "frontier.png").read_bytes().startswith(b"\x89PNG")


def test_frontier_run_again_trains_nothing_again(study, capsys, monkeypatch):
    monkeypatch.setattr("refimpl.peppp.sweeping.sweep.train_cell", None)
    status, printed, _ = run(capsys, "frontier digits --measurements 5 --memory-cap-mb 0.4 --out", study)
    assert status == 0 and "recommended within 0.4 MB: " in printed


def test_a_matrix_of_one_s_own_serves_as_well_as_the_embedded_one(tmp_path, capsys):
    from refimpl import data
    from refimpl.peppp import meta_training

    errors = meta_training(data.load("digits"))
    errors.save(tmp_path / "mine.npz")
    assert ErrorMatrix.load(tmp_path / "mine.npz").rows == data.meta_training_names()
    line = refused(
        capsys, tmp_path / "out", "frontier digits --matrix", tmp_path / "mine.npz", "--measurements 3 --method ed-mf"
    )
    assert "3 measurements; allowed are 5" in line


def test_the_matrix_of_a_sweep_under_a_cap_is_learned_from_as_far_as_it_goes(tmp_path, capsys):
    """What was over the cap in every task does not exist; what was in some is predicted."""
    from refimpl import data
    from refimpl.peppp import meta_training

    errors = meta_training(data.load("digits"))
    values = errors.values.copy()
    values[:, errors.memory_mb[0] > 0.4] = np.nan
    values[0, :3] = np.nan
    capped = ErrorMatrix(values, errors.rows, errors.columns, memory_mb=errors.memory_mb)
    capped.save(tmp_path / "capped.npz")
    status, printed, _ = run(
        capsys, "frontier digits --matrix", tmp_path / "capped.npz", "--jobs 1 --measurements 2 --out", tmp_path / "out"
    )
    names = [n for n, mb in zip(errors.columns, errors.memory_mb[0], strict=True) if mb <= 0.4]
    assert status == 0 and f"training 2 of {len(names)} configurations" in printed
    record = json.loads((tmp_path / "out" / "frontier.json").read_text())
    assert [c["name"] for c in record["configurations"]] == names


def test_a_task_does_not_learn_from_tasks_made_of_the_same_images():
    from refimpl import data
    from refimpl.peppp import meta_training

    assert len(meta_training(data.load("digits")).rows) == 18
    rows = meta_training(data.load("latin-small-ten")).rows
    assert len(rows) == 15 and not any(name.startswith("latin-small") for name in rows)


def test_format_prints_fields_special_codes_and_every_code_of_a_small_format(capsys):
    status, printed, _ = run(capsys, "format float4_e2m1fn")
    assert status == 0
    assert "exponent_bits          2" in printed and "largest                0x7" in printed
    rows = [row.split()[1:] for row in printed.splitlines() if row.startswith("  0x")]
    assert rows == [["0", "0.5", "1", "1.5", "2", "3", "4", "6"], ["-0", "-0.5", "-1", "-1.5", "-2", "-3", "-4", "-6"]]


@pytest.mark.parametrize(
    ("name", "codes"),
    [  # as OCP and ml_dtypes have them
        ("float8_e5m2", {"infinity": "0x7c, 0xfc", "NaN": "0x7d to 0x7f, 0xfd to 0xff", "largest": "0x7b"}),
        ("float8_e4m3fn", {"infinity": "none", "NaN": "0x7f, 0xff", "largest": "0x7e"}),
        ("float8_e4m3fnuz", {"minus zero": "none", "NaN": "0x80"}),
        ("float8_e8m0fnu", {"zero": "none", "NaN": "0xff", "largest": "0xfe"}),
        ("float6_e3m2fn", {"NaN": "none", "minus zero": "0x20"}),
    ],
)
def test_format_prints_json_with_the_special_codes_of_the_standards(capsys, name, codes):
    status, printed, _ = run(capsys, "format", name, "--json")
    assert status == 0
    assert json.loads(printed)["special codes"].items() >= codes.items()


def test_format_lists_the_catalogue(capsys):
    assert "bfloat16" in run(capsys, "format --list")[1].split()


@pytest.mark.parametrize("name", ["posit8_2", "nvfp4", "mxfp8_e4m3", "nf4", "uint4", "binary8p3se", "float64"])
def test_every_kind_of_format_prints_as_text_as_json_and_as_html(capsys, name):
    from refimpl.formats import format as format_of

    status, printed, _ = run(capsys, "format", name)
    assert status == 0 and printed.startswith("format\n  name")
    fields = json.loads(run(capsys, "format", name, "--json")[1])["format"]
    assert fields["bits"] == format_of(name).bits
    assert f"<td style='text-align:left'>{fields['name']}</td>" in format_of(name)._repr_html_()


def test_certify_prints_and_writes_what_is_proved_and_uses_its_checkpoint_again(capsys, tmp_path):
    command = ["certify", "mlp", "digits", "--epochs", "2", "--checkpoint", tmp_path / "mlp.npz"]
    status, said, _ = run(capsys, *command, "--out", tmp_path / "16")
    assert status == 0
    proved, implied, same = (float(percent) for percent in re.findall(r"([0-9.]+)%", said))
    assert 90 < proved <= implied <= same <= 100
    record = json.loads((tmp_path / "16" / "certificate.json").read_text())
    assert round(100 * record["proved"], 1) == proved and record["images"] == 360
    each = record["per_image"]
    assert each["proved"] == [g > 2 * b for g, b in zip(each["gamma"], each["bound"], strict=True)]
    assert (tmp_path / "16" / "certificate.png").read_bytes().startswith(b"\x89PNG")
    run(capsys, *command, "--out", tmp_path / "again", "--quiet")
    for name in ("certificate.json", "certificate.png"):
        assert (tmp_path / "16" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_certify_refuses_the_checkpoint_of_another_network_and_a_place_it_cannot_write(capsys, tmp_path):
    file = tmp_path / "mlp.npz"
    run(capsys, "certify mlp digits --epochs 1 --checkpoint", file, "--out", tmp_path / "a")
    line = refused(capsys, tmp_path / "b", "certify mlp digits --epochs 1 --seed 1 --checkpoint", file, "--quiet")
    assert "written with another seed: 0, now it is 1" in line
    status, said, line = run(capsys, "certify mlp digits --out", file / "c")
    assert status == 2 and said == "" and "cannot write" in line and line.count("\n") == 1


def test_certify_proves_little_of_a_coarse_format(capsys, tmp_path):
    run(capsys, "certify mlp digits --epochs 1 --precision e3m2 --out", tmp_path / "a")
    record = json.loads((tmp_path / "a" / "certificate.json").read_text())
    assert record["proved"] < 0.2 and record["same"] > 0.5


@pytest.fixture(scope="module")
def chosen(tmp_path_factory):
    out = tmp_path_factory.mktemp("choose") / "mlp"
    line = "choose mlp digits --candidates int8,e4m3,int4 --tolerance 0.02 --epochs 1 --quiet --out"
    assert main([*line.split(), str(out)]) == 0
    return out


def test_the_record_has_the_evidence_the_assignment_the_memory_and_the_quality(chosen):
    record = json.loads((chosen / "choose.json").read_text())
    assert record["candidates"] == ["int8", "float8_e4m3fn", "int4"]
    assert len(record["operands"]) == 9
    for operand in record["operands"]:
        values = dict(zip(record["candidates"], operand["values"], strict=True))
        within = {name: v for name, v in values.items() if v <= 0.02}
        cheap = {name: v for name, v in within.items() if ("int4" in within) == (name == "int4")}
        assert operand["chosen"] == min(cheap, key=cheap.get)
    assert {operand["chosen"] for operand in record["operands"]} == set(record["candidates"])
    assert 0.12 < record["memory_mb"]["as assigned"] / record["memory_mb"]["float32"] < 0.25
    assert abs(record["trained"]["as assigned"]["loss"] - record["trained"]["float32"]["loss"]) < 0.2
    assert (chosen / "choose.png").read_bytes().startswith(b"\x89PNG")


def test_it_prints_a_row_for_every_operand_and_says_whose_e4m3_is_meant(capsys, tmp_path):
    status, printed, bars = run(capsys, "choose cnn digits --epochs 1 --out", tmp_path)
    assert status == 0 and "0/44 [00:00<?, ?step/s, the first run compiles]" in bars
    assert "e4m3 and e5m2 are OCP's float8_e4m3fn and float8_e5m2 here" in printed
    rows = re.findall(r"^\d+ \w+: (?:left operand|right operand|product gradient) .*(int8|float8_\w+)$", printed, re.M)
    assert len(rows) == 9
    assert re.search(r"operands of one batch: [\d.]+ MB in float32, [\d.]+ MB as assigned, 75% saved", printed)


def test_the_metrics_of_the_command_are_those_of_the_library():
    from refimpl.commands.choose import METRICS
    from refimpl.numerics import evidence

    assert [name.replace("-", " ") for name in METRICS] == list(evidence.METRICS)


@pytest.mark.slow
def test_policies_say_how_well_the_metric_predicted_and_are_not_trained_again(capsys, tmp_path):
    arguments = ["choose", "mlp", "digits", "--epochs", "3", "--policies", "20", "--out", tmp_path]
    status, printed, _ = run(capsys, *arguments)
    found = re.search(r"rank correlation ([\d.]+) \(95 % (-?[\d.]+) to ([\d.]+), 20 policies\)", printed)
    assert status == 0 and float(found[1]) > 0.4
    journal = (tmp_path / "policies.jsonl").read_bytes()
    assert journal.count(b"\n") == 20 and (tmp_path / "predicted.png").exists()
    assert run(capsys, *arguments)[1] == printed
    assert (tmp_path / "policies.jsonl").read_bytes() == journal
