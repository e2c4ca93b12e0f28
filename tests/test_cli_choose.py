"""``refimpl choose``: what it prints and writes, and one clear line for every misuse."""

import json
import re

import pytest

from refimpl.__main__ import main


def run(capsys, *arguments):
    """Return exit status, standard output and standard error of one command."""
    try:
        status = main([str(a) for a in arguments])
    except SystemExit as stop:
        status = stop.code
    said = capsys.readouterr()
    return status, said.out, said.err


@pytest.fixture(scope="module")
def chosen(tmp_path_factory):
    out = tmp_path_factory.mktemp("choose") / "mlp"
    assert (
        main(
            [
                "choose",
                "mlp",
                "digits",
                "--candidates",
                "int8,e4m3,int4",
                "--tolerance",
                "0.02",
                "--epochs",
                "1",
                "--quiet",
                "--out",
                str(out),
            ]
        )
        == 0
    )
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
    status, printed, bars = run(capsys, "choose", "cnn", "digits", "--epochs", "1", "--out", tmp_path)
    assert status == 0 and "0/44 [00:00<?, ?step/s, the first run compiles]" in bars
    assert "e4m3 and e5m2 are OCP's float8_e4m3fn and float8_e5m2 here" in printed
    rows = re.findall(r"^\d+ \w+: (?:left operand|right operand|product gradient) .*(int8|float8_\w+)$", printed, re.M)
    assert len(rows) == 9
    assert re.search(r"operands of one batch: [\d.]+ MB in float32, [\d.]+ MB as assigned, 75% saved", printed)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["mlp", "digits", "--tolerance", "1e-6"],
            "^refimpl choose: no candidate has a backward error of at most 1e-06 for the .* closest is int8 "
            r"with 0.0\d+: pass a tolerance of 0.0\d+ or more, or candidates of more bits",
        ),
        (["mlp", "digits", "--tolerance", "nan"], "tolerance nan; it must be finite and above 0"),
        (["mlp", "digits", "--tolerance", "0"], "tolerance 0; it must be finite and above 0"),
        (["mlp", "digits", "--tolerance", "much"], "invalid float value: 'much'"),
        (
            ["mlp", "digits", "--candidates", ","],
            "argument --candidates: ',' names nothing; give at least one, with commas between",
        ),
        (["mlp", "digits", "--scalings", ""], "argument --scalings: '' names nothing"),
        (["mlp", "digits", "--candidates", "int8,float9"], "unknown format 'float9'"),
        (["mlp", "digits", "--candidates", "posit8_2"], "posit8_2"),
        (["mlp", "digits", "--scalings", "column"], "per is 'column'"),
        (["mlp", "digits", "--scalings", "0"], "per is 0"),
        (["mlp", "digits", "--roundings", "up"], "rounding 'up'"),
        (["mlp", "digit"], "unknown data set 'digit'"),
        (["resnet99", "digits"], "invalid choice: 'resnet99'"),
        (["cnn", "topics"], "cnn takes images, and these are rows of 16 tokens"),
        (["mlp", "digits", "--policies", "3"], "3 policies; give at least 20"),
        (["mlp", "digits", "--metric", "luck"], "invalid choice: 'luck'"),
    ],
)
def test_misuse_is_refused_in_one_line_and_nothing_is_written(capsys, tmp_path, arguments, message):
    out = tmp_path / "out"
    status, printed, line = run(capsys, "choose", *arguments, "--quiet", "--out", out)
    assert status == 2 and printed == "" and line.count("\n") == 1 and "Traceback" not in line
    assert re.search(message, line), line
    assert not out.exists()


def test_the_metrics_of_the_command_are_those_of_the_library():
    from refimpl.commands.choose import METRICS
    from refimpl.numerics import evidence

    assert [name.replace("-", " ") for name in METRICS] == list(evidence.METRICS)


def test_a_directory_that_cannot_be_written_is_refused_before_training(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    status, _, line = run(capsys, "choose", "mlp", "digits", "--out", tmp_path / "file" / "out")
    assert status == 2 and "cannot write" in line and line.count("\n") == 1


@pytest.mark.slow
def test_policies_say_how_well_the_metric_foretold_and_are_not_trained_again(capsys, tmp_path):
    arguments = ["choose", "mlp", "digits", "--epochs", "3", "--policies", "20", "--out", tmp_path]
    status, printed, _ = run(capsys, *arguments)
    found = re.search(r"rank correlation ([\d.]+) \(95 % (-?[\d.]+) to ([\d.]+), 20 policies\)", printed)
    assert status == 0 and float(found[1]) > 0.4
    journal = (tmp_path / "policies.jsonl").read_bytes()
    assert journal.count(b"\n") == 20 and (tmp_path / "foretold.png").exists()
    assert run(capsys, *arguments)[1] == printed
    assert (tmp_path / "policies.jsonl").read_bytes() == journal
