"""The command line: what it prints and writes."""

import json
import re
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest

from refimpl import numerics
from refimpl.__main__ import main
from refimpl.peppp import ErrorMatrix


def test_memory_prints_a_table_whose_parts_come_to_the_total(run):
    status, printed, _ = run("memory cnn --low e4m3 --high e8m7")
    assert status == 0
    rows = [row.rsplit(None, 2) for row in printed.split("layer")[0].splitlines() if row.startswith("  ")]
    kinds = ["weights", "activations", "activation gradients", "weight gradients", "momentum", "input"]
    assert [name.strip() for name, _, _ in rows] == kinds
    assert sum(int(size.replace(",", "")) for _, size, _ in rows) == 464674
    assert "464,674  = 0.4431 MB" in printed


def test_memory_draws_a_picture_and_counts_what_other_options_need(run, tmp_path):
    picture = tmp_path / "memory.png"
    line = "memory cnn --accounting needed --optimizer adam --state-bits 8 --checkpoint-every 3"
    status, printed, _ = run(line, "--resolution 32 --classes 7 --picture", picture)
    assert status == 0 and "cnn on 32x32x3" in printed and "second moment" in printed
    assert picture.read_bytes().startswith(b"\x89PNG")
    for bad in (tmp_path / "none" / "x.png", tmp_path / "x.docx"):
        status, printed, line = run("memory cnn --picture", bad)
        assert status == 2 and line.count("\n") == 1 and "cannot write the picture" in line
        assert printed == ""
    assert run("memory vgg11 --resolution 32")[0] == 0


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """One run of the main job under a cap, as a newcomer would do it."""
    out = tmp_path_factory.mktemp("frontier")
    line = "frontier digits --measurements 5 --memory-cap-mb 0.4 --quiet --out"
    assert main([*line.split(), str(out)]) == 0
    return out


def test_a_frontier_of_latency_is_refused_with_the_reason_and_what_there_is(capsys):
    assert main(["frontier", "digits", "--objective", "latency"]) == 2
    said = capsys.readouterr().err
    assert "'latency'" in said and "simulated" in said and "refimpl reproduce maple" in said and said.count("\n") == 1


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


def test_frontier_run_again_trains_nothing_again(run, study, monkeypatch):
    monkeypatch.setattr("refimpl.peppp.sweeping.sweep.train_cell", None)
    status, printed, _ = run("frontier digits --measurements 5 --memory-cap-mb 0.4 --out", study)
    assert status == 0 and "recommended within 0.4 MB: " in printed


def test_a_matrix_of_one_s_own_serves_as_well_as_the_embedded_one(refused, tmp_path):
    from refimpl import data
    from refimpl.peppp import meta_training

    errors = meta_training(data.load("digits"))
    errors.save(tmp_path / "mine.npz")
    assert ErrorMatrix.load(tmp_path / "mine.npz").rows == errors.rows
    line = refused(
        tmp_path / "out", "frontier digits --matrix", tmp_path / "mine.npz", "--measurements 3 --method ed-mf"
    )
    assert "3 measurements; allowed are 5" in line


def test_the_matrix_of_a_sweep_under_a_cap_is_learned_from_as_far_as_it_goes(run, tmp_path):
    """What was over the cap in every task does not exist; what was in some is predicted."""
    from refimpl import data
    from refimpl.peppp import meta_training

    errors = meta_training(data.load("digits"))
    values = errors.values.copy()
    cap = np.median(errors.memory_mb[0])
    values[:, errors.memory_mb[0] > cap] = np.nan
    values[0, :3] = np.nan
    capped = ErrorMatrix(values, errors.rows, errors.columns, memory_mb=errors.memory_mb)
    capped.save(tmp_path / "capped.npz")
    status, printed, _ = run(
        "frontier digits --matrix", tmp_path / "capped.npz", "--jobs 1 --measurements 2 --out", tmp_path / "out"
    )
    names = [n for n, mb in zip(errors.columns, errors.memory_mb[0], strict=True) if mb <= cap]
    assert status == 0 and f"training 2 of {len(names)} configurations" in printed
    record = json.loads((tmp_path / "out" / "frontier.json").read_text())
    assert [c["name"] for c in record["configurations"]] == names


def test_a_task_does_not_learn_from_tasks_made_of_the_same_images():
    from refimpl import data
    from refimpl.peppp import meta_training

    everything = meta_training(data.load("digits")).rows
    rows = meta_training(data.load("latin-small-ten")).rows
    assert rows == tuple(name for name in everything if not name.startswith("latin-small")) != everything


def test_explore_prints_a_link_to_the_page_with_what_was_asked_and_opens_it(run, monkeypatch):
    opened = []
    monkeypatch.setattr("webbrowser.open", lambda link: opened.append(link) or len(opened) == 1)
    status, printed, _ = run("explore fp16 --value 1/3")
    assert status == 0 and opened == [printed.strip()] and printed.startswith("file://")
    page, state = urlsplit(printed.strip()).path, urlsplit(printed.strip()).fragment
    assert "</html>" in Path(page).read_text() and parse_qs(state) == {"format": ["float16"], "value": ["1/3"]}
    assert "no browser" in run("explore --code 0x2a")[1] and len(opened) == 2
    assert run("explore e4m3fn --no-browser")[1].endswith("#format=float8_e4m3fn\n") and len(opened) == 2


def test_format_prints_fields_special_codes_and_every_code_of_a_small_format(run):
    status, printed, _ = run("format float4_e2m1fn")
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
def test_format_prints_json_with_the_special_codes_of_the_standards(run, name, codes):
    status, printed, _ = run("format", name, "--json")
    assert status == 0
    assert json.loads(printed)["special codes"].items() >= codes.items()


def test_format_lists_the_catalogue(run):
    assert "bfloat16" in run("format --list")[1].split()


@pytest.mark.parametrize("name", ["posit8_2", "nvfp4", "mxfp8_e4m3", "nf4", "uint4", "binary8p3se", "float64"])
def test_every_kind_of_format_prints_as_text_as_json_and_as_html(run, name):
    from refimpl.formats import format as format_of

    status, printed, _ = run("format", name)
    assert status == 0 and printed.startswith("format\n  name")
    fields = json.loads(run("format", name, "--json")[1])["format"]
    assert fields["bits"] == format_of(name).bits
    assert f"<td style='text-align:left'>{fields['name']}</td>" in format_of(name)._repr_html_()


def test_certify_prints_and_writes_what_is_proved_and_uses_its_checkpoint_again(run, tmp_path):
    command = ["certify", "mlp", "digits", "--epochs", "2", "--checkpoint", tmp_path / "mlp.npz"]
    status, said, _ = run(*command, "--out", tmp_path / "16")
    assert status == 0
    proved, implied, same = (float(percent) for percent in re.findall(r"([0-9.]+)%", said))
    assert 90 < proved <= implied <= same <= 100
    record = json.loads((tmp_path / "16" / "certificate.json").read_text())
    assert round(100 * record["proved"], 1) == proved and record["images"] == 360
    each = record["per_image"]
    assert each["proved"] == [g > 2 * b for g, b in zip(each["gamma"], each["bound"], strict=True)]
    assert (tmp_path / "16" / "certificate.png").read_bytes().startswith(b"\x89PNG")
    run(*command, "--out", tmp_path / "again", "--quiet")
    for name in ("certificate.json", "certificate.png"):
        assert (tmp_path / "16" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_certify_refuses_the_checkpoint_of_another_network_and_a_place_it_cannot_write(run, refused, tmp_path):
    file = tmp_path / "mlp.npz"
    run("certify mlp digits --epochs 1 --checkpoint", file, "--out", tmp_path / "a")
    line = refused(tmp_path / "b", "certify mlp digits --epochs 1 --seed 1 --checkpoint", file, "--quiet")
    assert "written with another seed: 0, now it is 1" in line
    status, said, line = run("certify mlp digits --out", file / "c")
    assert status == 2 and said == "" and "cannot write" in line and line.count("\n") == 1


def test_certify_proves_little_of_a_coarse_format(run, tmp_path):
    run("certify mlp digits --epochs 1 --precision e3m2 --out", tmp_path / "a")
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
    assert record["seeds"] == 3 and list(record["trained"]) == ["float32", "as assigned", "all int8"]
    for row in record["trained"].values():
        assert row["test_error"] == pytest.approx(np.mean(row["test_errors"])) and len(row["test_errors"]) == 3
    assert (chosen / "choose.png").read_bytes().startswith(b"\x89PNG")


def test_trainings_from_the_same_seeds_are_compared_and_it_says_which_cannot_be_told_apart(run, tmp_path, monkeypatch):
    """Differences of .01, .08 and .08 are 2.4 standard errors from 0, too few of three seeds; of .3 to .32, fifty."""
    more = {"float32": (0, 0, 0), "as assigned": (0.01, 0.08, 0.08), "all int8": (0.3, 0.31, 0.32)}
    trained = []

    def train(make, task, assignment, *, name, seeds, epochs, **training):
        trained.append((name, seeds, epochs))
        errors = tuple(a + b for a, b in zip((0.1, 0.2, 0.3), more[name], strict=True))
        return numerics.prediction.Trained(name, 0.0, sum(errors) / 3, 0.5, 0, errors)

    monkeypatch.setattr(numerics, "train", train)
    _, printed, _ = run("choose mlp digits --seed 5 --quiet --out", tmp_path)
    assert trained == [(name, (5, 6, 7), 10) for name in more]
    assert re.search(r"^  float32 +0\.2000 +0\.5000$", printed, re.M)
    assert re.search(r"^  as assigned +0\.2567 +\+0\.0567 \(0\.0233\) +0\.5000$", printed, re.M)
    assert re.search(r"^  all int8 +0\.5100 +\+0\.3100 \(0\.0058\) +0\.5000$", printed, re.M)
    assert "\ncannot be told apart by 3 seeds: float32 and as assigned\n" in printed
    record = json.loads((tmp_path / "choose.json").read_text())
    assert record["not_told_apart"] == [["float32", "as assigned"]]
    assert record["trained"]["as assigned"]["more_than_float32"] == pytest.approx([0.17 / 3, 0.07 / 3])
    more["as assigned"] = more["all int8"]
    _, printed, _ = run("choose mlp digits --candidates int8 --tolerance 0.1 --quiet --out", tmp_path)
    assert len(trained) == 5  # int8 everywhere is what was assigned
    assert "all int8" not in printed and "told apart" not in printed


def test_it_prints_a_row_for_every_operand_and_says_whose_e4m3_is_meant(run, tmp_path):
    status, printed, bars = run("choose cnn digits --epochs 1 --out", tmp_path)
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
def test_policies_say_how_well_the_metric_predicted_and_are_not_trained_again(run, tmp_path):
    arguments = ["choose", "mlp", "digits", "--epochs", "3", "--policies", "20", "--out", tmp_path]
    status, printed, _ = run(*arguments)
    found = re.search(r"rank correlation ([\d.]+) \(95 % (-?[\d.]+) to ([\d.]+), 20 policies\)", printed)
    assert status == 0 and float(found[1]) > 0.4
    journal = (tmp_path / "policies.jsonl").read_bytes()
    assert journal.count(b"\n") == 20 and (tmp_path / "predicted.png").exists()
    assert run(*arguments)[1] == printed
    assert (tmp_path / "policies.jsonl").read_bytes() == journal
