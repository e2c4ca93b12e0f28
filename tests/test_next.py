"""A study of any table: asked what to train, told what came out, it recommends; in Python and by `refimpl next`."""

import csv
import json
import shlex

import numpy as np
import pytest

from refimpl import plots
from refimpl.__main__ import main
from refimpl.peppp import ErrorMatrix, Study, compare
from refimpl.peppp.matrix.files import fill_csv
from refimpl.peppp.study import LogLogistic

RNG = np.random.default_rng(7)
NAMES = [f"format {i}" for i in range(12)]
COSTS = np.sort(RNG.uniform(1, 9, 12))
EVERY = np.clip(RNG.uniform(0.2, 0.9, (16, 2)) @ np.array([1 - COSTS / 12, RNG.uniform(0, 0.6, 12)]), 0.01, 1)
EARLIER, NEW = EVERY[:-1], dict(zip(NAMES, EVERY[-1].tolist(), strict=True))
METHODS = ("knowledge-gradient", "variance-reduction", "ed-mf", "bo-full", "random-mf", "random-high-memory")


def asked(study, truth=NEW):
    """Return what a study asks for until it has enough, told the truth each time."""
    names = []
    while (suggested := study.suggest()) is not None:
        assert suggested.why and "\n" not in suggested.why
        study.observe(suggested.name, truth[suggested.name])
        names.append(suggested.name)
    return names


@pytest.mark.parametrize("method", METHODS)
def test_asking_and_telling_measures_what_the_method_s_strategy_measures(method):
    study = Study(EARLIER, COSTS, names=NAMES, measurements=6, method=method, rank=2, seed=3)
    strategy = study.learned.strategy(6, memory=COSTS, allowed=study.allowed, seed=3)
    columns, wanted = next(strategy), []
    while True:
        wanted += columns.tolist()
        try:
            columns = strategy.send(EVERY[-1][columns])
        except StopIteration:
            break
    assert asked(study) == [NAMES[i] for i in wanted]
    found = study.estimate()
    assert found.chosen.tolist() == wanted and np.array_equal(found.error[wanted], EVERY[-1][wanted])


def test_what_is_recommended_within_a_cap_is_nearly_the_best_there():
    study = Study(EARLIER, COSTS, names=NAMES, cap=6, measurements=4)
    assert all(COSTS[NAMES.index(name)] <= 6 for name in asked(study))
    least = EVERY[-1][COSTS <= 6].min()
    assert NEW[study.recommend()] <= least + 0.02
    assert COSTS[NAMES.index(study.recommend(cap=3))] <= 3


def test_a_warm_start_counts_and_is_not_asked_for_again():
    warm = {NAMES[2]: NEW[NAMES[2]], NAMES[9]: NEW[NAMES[9]], NAMES[5]: float("nan"), NAMES[6]: None}
    warm[NAMES[7]] = np.float32("nan")
    study = Study(EARLIER, COSTS, names=NAMES, measurements=6, measured=warm)
    assert study.count == 2
    later = asked(study)
    assert len(later) == 4 and not {NAMES[2], NAMES[9]} & set(later)
    by_hand = Study(EARLIER, COSTS, names=NAMES, measurements=6)
    for name in (NAMES[2], NAMES[9], *later):
        by_hand.observe(name, NEW[name])
    assert np.array_equal(study.estimate().error, by_hand.estimate().error) and by_hand.suggest() is None


def test_a_warm_start_beyond_the_cap_teaches_and_leaves_the_trainings_within_it():
    cap = float(COSTS[3])
    study = Study(EARLIER, COSTS, names=NAMES, cap=cap, measurements=4, measured={NAMES[9]: NEW[NAMES[9]]})
    before = study.estimate().error
    assert not np.array_equal(before, Study(EARLIER, COSTS, names=NAMES, cap=cap).estimate().error)
    assert sorted(asked(study)) == NAMES[:4] and study.count == 4


def test_the_band_of_a_measured_loss_is_that_loss_where_nothing_is_known_of_luck():
    losses = {name: 37.3 * error for name, error in NEW.items()}
    found = Study(37.3 * EARLIER, COSTS, names=NAMES, losses=True, measured=losses).estimate()
    assert found.band[0].tolist() == found.band[1].tolist() == found.error.tolist() == list(losses.values())


@pytest.mark.parametrize("method", METHODS)
def test_losses_and_costs_in_other_units_are_answered_alike(method):
    """Halved perplexities, bytes instead of megabytes: the same trainings, the same pick, the same scores."""
    answers = []
    for loss, cost in ((1.0, 1.0), (0.5, 2.0**20)):
        truth = {name: 40 * loss * error for name, error in NEW.items()}
        study = Study(
            40 * loss * EARLIER, cost * COSTS, names=NAMES, losses=True, measurements=6, method=method, rank=2
        )
        names = asked(study, truth)
        scores = compare(study.estimate(), np.array(list(truth.values())))
        of_errors = ("regret of the recommendation", "budget regret")
        scores = [value / (40 * loss if name in of_errors else 1) for name, value in scores.items()]
        answers.append((names, study.recommend(), scores, study.estimate().error / loss))
    (names, pick, scores, errors), (names_2, pick_2, scores_2, errors_2) = answers
    assert names == names_2 and pick == pick_2
    assert scores == pytest.approx(scores_2, abs=1e-9) and errors == pytest.approx(errors_2, rel=1e-9)


def test_diverged_losses_are_the_worst_and_nothing_else():
    losses = 40 * EARLIER
    losses[3, 4] = np.inf
    study = Study(losses, COSTS, names=NAMES, losses=True, measurements=3)
    asked(study, {name: 40 * error for name, error in NEW.items()})
    assert 40 * NEW[study.recommend()] <= 40 * (EVERY[-1].min() + 0.05)


def test_losses_are_transformed_as_a_log_logistic_distribution_function():
    of = LogLogistic.of(np.exp([[0.0, 1.0, 2.0, np.inf]]))
    assert of.middle == pytest.approx(np.e) and of(np.array([np.e]))[0] == pytest.approx(0.5)
    some = np.array([0.5, 3.0, 20.0])
    assert of.inverse(of(some)) == pytest.approx(some)


def test_a_second_training_is_averaged_where_luck_was_learned_and_refused_elsewhere():
    lucky = np.clip(EARLIER + RNG.normal(0, 0.02, (3, *EARLIER.shape)), 0, 1)
    study = Study(ErrorMatrix(lucky.mean(axis=0), [str(i) for i in range(15)], NAMES, repeats=lucky), COSTS)
    for error in (0.25, 0.5):
        study.observe(NAMES[3], error)
    found = study.estimate()
    assert found.measured[3] == 0.375 and found.chosen.tolist() == [3]
    study = Study(EARLIER, names=NAMES, measured=NEW | {NAMES[3]: 0.25})
    with pytest.raises(ValueError, match="observed twice; allowed is each once"):
        study.observe(NAMES[3], 0.5)


def test_costs_are_a_vector_a_mapping_or_a_row_for_each_task():
    by_name = dict(zip(reversed(NAMES), reversed(COSTS.tolist()), strict=True))
    rows = COSTS * np.linspace(0.5, 1.5, 15)[:, None]
    for costs in (COSTS, by_name, rows):
        assert Study(EARLIER, costs, names=NAMES).costs == pytest.approx(COSTS)


def test_a_table_of_pandas_gives_the_same_and_estimates_are_one():
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    frame = pandas.DataFrame(EARLIER, index=[f"task {i}" for i in range(15)], columns=NAMES)
    framed = Study(frame, pandas.Series(COSTS, NAMES), measurements=4)
    plain = Study(EARLIER, COSTS, names=NAMES, measurements=4)
    assert asked(framed) == asked(plain)
    out = framed.estimate().to_frame()
    assert list(out.index) == NAMES and np.array_equal(out["error"], plain.estimate().error)
    assert out["measured"].notna().sum() == 4 and (out["low"] <= out["high"]).all()


def test_costs_of_a_frame_go_by_the_names_of_its_rows():
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    frame = pandas.DataFrame(EARLIER, columns=NAMES).convert_dtypes().mask(EARLIER > 0.6)
    rows = pandas.DataFrame(RNG.uniform(1, 9, (15, 12)), columns=NAMES)
    kept, turned, misplaced = (Study(frame, costs) for costs in (rows, rows[::-1], rows[::-1].to_numpy()))
    assert np.array_equal(kept.learned.weights, turned.learned.weights)
    assert not np.array_equal(kept.learned.weights, misplaced.learned.weights)
    with pytest.raises(ValueError, match="costs is without '14'; allowed is a cost for every task"):
        Study(frame, rows[:-1])
    with pytest.raises(ValueError, match="unknown task in costs '14'"):
        Study(frame[:-1], rows)


def test_the_paper_s_method_takes_a_table_smaller_than_the_paper_s_rank():
    study = Study(EARLIER[:4, :3], COSTS[:3], names=NAMES[:3], method="ed-mf")
    assert len(asked(study)) == len(study.learned.embedding) == 3


def written(path, new, losses=1.0):
    """Write the table as a spreadsheet would, and return its lines."""
    rows = [["task", *NAMES], ["cost", *map(str, COSTS)]]
    rows += [[f"task {i}", *map(str, losses * row)] for i, row in enumerate(EARLIER)]
    rows.append(["mine", *(str(new.get(name, "")) for name in NAMES)])
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return rows


@pytest.mark.parametrize("losses", [(), ("--losses",)])
def test_the_whole_loop_on_a_csv_file(tmp_path, capsys, losses):
    path, unit = tmp_path / "table.csv", 40.0 if losses else 1.0
    rows = written(path, {}, unit)
    trained = []
    assert main(["next", str(path), "--measurements", "5", *losses]) == 0
    while "nothing more to train" not in (said := capsys.readouterr().out):
        name = said.partition("train next: ")[2].partition(", cost")[0]
        trained.append(name)
        words = shlex.split(said.partition("then: refimpl ")[2])
        assert words[-1] == f"{name}={'LOSS' if losses else 'ERROR'}"
        assert main([*words[:-1], f"{name}={unit * NEW[name]}"]) == 0
    study = Study(unit * EARLIER, COSTS, names=NAMES, measurements=5, losses=bool(losses))
    assert trained == asked(study, {name: unit * error for name, error in NEW.items()})
    assert f"recommended: {study.recommend()}," in said
    with open(path, newline="", encoding="utf-8") as file:
        *others, mine = csv.reader(file)
    assert others == rows[:-1]
    assert {n: float(e) for n, e in zip(NAMES, mine[1:], strict=True) if e} == {n: unit * NEW[n] for n in trained}


@pytest.mark.parametrize("separator", [";", "\t"])
def test_fields_separated_by_semicolons_or_tabs_are_read_and_written_so(tmp_path, separator):
    path = tmp_path / "table.csv"
    lines = ["task,a b,c", "cost,2,1", "one,0.5,0.25", "two,0.25,0.125", "mine,,"]
    path.write_text("\n".join(lines).replace(",", separator), encoding="utf-8")
    assert main(["next", str(path), "--observe", "c=0.5"]) == 0
    after = "\n".join([*lines[:-1], "mine,,0.5", ""]).replace(",", separator)
    assert path.read_text(encoding="utf-8") == after


def test_losses_that_are_not_called_so_are_refused_with_the_option_s_name(tmp_path, capsys):
    path = tmp_path / "table.csv"
    written(path, {}, losses=40.0)
    assert main(["next", str(path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "--losses" in line and f"{40 * EARLIER[0, 0]:g} for 'format 0' of 'task 0'" in line


@pytest.mark.parametrize("lines", [["one,1,2"], ["one,1,2", "yours,,"]])
def test_a_table_without_two_tasks_to_learn_from_is_refused(tmp_path, capsys, lines):
    path = tmp_path / "table.csv"
    path.write_text("\n".join(["task,a,b", *lines, "mine,1,"]), encoding="utf-8")
    assert main(["next", str(path), "--losses"]) == 2
    assert "has 1 measured tasks beside 'mine'; allowed are at least two" in capsys.readouterr().err


@pytest.mark.parametrize("losses", [(), ("--losses",)])
@pytest.mark.parametrize(
    ("line", "said"), [("one,.5,.4", "'one' is named twice"), ("four,.5,-.25", "of -0.25 for 'b' of 'four'")]
)
def test_what_is_wrong_in_a_table_is_told_by_the_names_of_its_lines(tmp_path, capsys, losses, line, said):
    path = tmp_path / "table.csv"
    path.write_text(f"task,a,b\ncost,2,1\none,.1,.2\ntwo,.2,.3\n{line}\nmine,,\n", encoding="utf-8")
    assert main(["next", str(path), *losses]) == 2
    assert said in capsys.readouterr().err


def test_tasks_that_nothing_is_known_of_yet_are_left_out(tmp_path, capsys):
    path = tmp_path / "table.csv"
    path.write_text("task,a,b\none,.1,.2\nyours,,\ntwo,.2,.3\nmine,,\n", encoding="utf-8")
    assert main(["next", str(path), "--task", "yours"]) == 0
    assert "yours: learned from 2 other tasks" in capsys.readouterr().out


def test_a_configuration_observed_again_has_a_field_for_each_training_and_all_count(tmp_path, capsys):
    path, rows = tmp_path / "cells.csv", [*map(str, range(15)), "mine"]
    draws = np.clip(EVERY + 0.03 * RNG.standard_normal((3, 16, 12)), 0, 1)
    draws[:, -1] = np.nan
    values = np.vstack([draws[:, :-1].mean(axis=0), draws[0, -1:]])
    ErrorMatrix(values, rows, NAMES, memory_mb=[COSTS] * 16, repeats=draws).save_csv(path)
    words = ["next", str(path), "--json", "--observe"]
    assert main([*words, f"{NAMES[3]}=0.4", "--observe", f"{NAMES[3]}=0.5"]) == 0
    capsys.readouterr()
    assert main([*words, f"{NAMES[3]}=0.6"]) == 0
    said = json.loads(capsys.readouterr().out)
    again = ErrorMatrix.load_csv(path)
    assert again.repeats[:, -1, 3].tolist() == [0.4, 0.5, 0.6] and again.values[-1, 3] == pytest.approx(0.5)
    study = Study(again.select(rows=rows[:-1]), COSTS, names=NAMES)
    for error in (0.4, 0.5, 0.6):
        study.observe(NAMES[3], error)
    assert said["estimate"] == json.loads(json.dumps(study.estimate().to_dict()))
    before = path.read_bytes()
    assert main([*words, f"{NAMES[3]}=0.7"]) == 2
    assert path.read_bytes() == before and "allowed is an empty field" in capsys.readouterr().err


@pytest.mark.parametrize("repeated", [False, True])
def test_a_table_with_a_line_for_each_cell_is_filled_too(tmp_path, capsys, repeated):
    path, rows = tmp_path / "cells.csv", [*map(str, range(15)), "mine"]
    values = np.vstack([EARLIER, np.full((1, 12), np.nan)])
    more = {"repeats": np.stack([values, values])} if repeated else {}
    marks = [[i + 1, 2**63 + i] for i in range(16)]
    errors = ErrorMatrix(
        values, rows, NAMES, memory_mb=[COSTS] * 16, images=marks, metadata={"a": 'said "so", twice'}, **more
    )
    errors.save_csv(path)
    assert main(["next", str(path), "--observe", f"{NAMES[1]}=0.5"]) == 0
    assert f"costs from {COSTS[0]:.4g} to {COSTS[-1]:.4g}" in capsys.readouterr().out
    again = ErrorMatrix.load_csv(path)
    assert again.values[-1, 1] == 0.5 and np.isnan(again.values[-1]).sum() == 11
    assert np.array_equal(again.values[:-1], EARLIER) and np.array_equal(again.memory_mb, errors.memory_mb)
    assert again.metadata == errors.metadata and [of.tolist() for of in again.images] == marks
    assert not repeated or (again.repeats[0, -1, 1] == 0.5 and np.isnan(again.repeats[1, -1, 1]))


def test_cells_of_other_tasks_and_empty_lines_stay_as_they_were(tmp_path):
    path, lines = (
        tmp_path / "cells.csv",
        ["task,configuration,error", "mine,a,0.5", "", "mine,b,", "other,a,0.25", "other,b,"],
    )
    path.write_text("\n".join([*lines, ""]))
    fill_csv(str(path), "mine", {"b": [0.125], "c": [0.0625]})
    lines[3] += "0.125"
    assert path.read_text().splitlines() == [*lines, "mine,c,0.0625"]
    with pytest.raises(ValueError, match="'0.5' for 'a' of 'mine'"):
        fill_csv(str(path), "mine", {"a": [0.5]})


def test_names_that_are_no_utf_8_and_a_comment_stay_as_they_were(tmp_path):
    path = tmp_path / "table.csv"
    before = '# {"by": "us, \\"all\\" of us"}\ntask,a\udcff,error_1,b\none,0.5,0.4,0.25\ntwo,0.25,0.2,0.125\nmine,,,\n'
    path.write_bytes(before.encode(errors="surrogatepass"))
    assert main(["next", str(path), "--observe", "b=0.5"]) == 0
    after = path.read_bytes().decode(errors="surrogatepass")
    assert after == before.replace("mine,,,\n", "mine,,,0.5\n")


def test_what_is_expected_is_drawn_with_its_own_costs_and_losses(tmp_path, capsys):
    written(tmp_path / "table.csv", {}, 40.0)
    words = ["next", str(tmp_path / "table.csv"), "--losses", "--picture", str(tmp_path / "next.svg")]
    assert main([*words, "--observe", "format 1=12.5"]) == 0
    study = Study(40 * EARLIER, COSTS, names=NAMES, losses=True, measured={"format 1": 12.5})
    axes = plots.frontier(study.estimate(), cost="hours").axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_yscale()) == ("hours", "loss", "log")
    assert (tmp_path / "next.svg").read_bytes().startswith(b"<?xml") and "wrote" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--picture", "next.txt"], "--picture is 'next.txt'; allowed is the name of a .png, .pdf or .svg"),
        (["--observe", "format 1=0.2", "--observe", "format 1=0.3"], "'format 1' is observed twice"),
        (["--observe", "format 0=0.2"], "'format 0' is observed twice"),
        (["--observe", "format 99=0.2"], "unknown configuration 'format 99'"),
        (["--observe", "format 1=2"], "the error of format 1 is 2.0"),
        (["--observe", "format 1"], "'format 1' is not NAME=ERROR"),
        (["--task", "yours"], "--task is 'yours'; allowed is the name of a line"),
        (["--costs", "price"], "--costs is 'price'; allowed is the name of a line"),
        (["--cap", "0.5"], "a cap of 0.5 admits no configuration"),
        (["--measurements", "13"], "13 measurements; allowed are 1"),
        (["--method", "best"], "unknown method 'best'"),
    ],
)
def test_a_wrong_word_is_one_line_and_the_table_is_left_alone(tmp_path, capsys, words, said):
    path = tmp_path / "table.csv"
    written(path, {"format 0": 0.5})
    before = path.read_bytes()
    try:
        status = main(["next", str(path), *words])
    except SystemExit as error:
        status = error.code
    told = capsys.readouterr().err
    assert status == 2 and said in told and "Traceback" not in told
    assert path.read_bytes() == before
