"""Claims of papers: verdicts follow from what was found, and what was trained is kept."""

import json
import re
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import refimpl
from refimpl.__main__ import main
from refimpl._files import checked_line
from refimpl.papers import catalogue
from refimpl.papers.claim import VERDICTS, Bench, Chart, Finding, compare, less, like, more, paired, sure, worst
from refimpl.plots import chart

CLAIMS = [(name, claim) for name in catalogue.NAMES for claim in catalogue.paper(name).claims]


@pytest.mark.parametrize(
    ("a", "less_by", "verdict"),
    [(0.1, 0.0, "holds"), (0.9, 0.0, "does not hold here"), (0.1, 0.5, "does not hold here")],
)
def test_a_difference_of_many_standard_errors_decides(a, less_by, verdict):
    other = [0.5, 0.51, 0.49]
    difference = paired([a, a, a], other)
    assert less(difference, less_by) == verdict
    assert more(paired(other, [a, a, a]), less_by) == verdict


def test_a_difference_within_the_noise_decides_nothing():
    noisy = paired([0.1, 0.9, 0.4], [0.5, 0.5, 0.5])
    assert less(noisy) == more(noisy) == like(noisy, 0.1) == "cannot be checked here"


def test_alike_is_within_the_margin_by_two_standard_errors():
    assert like((0.0, 0.004), 0.01) == "holds"
    assert like((0.0, 0.006), 0.01) == "cannot be checked here"
    assert like((0.03, 0.004), 0.01) == "does not hold here"
    assert like((np.nan, np.nan), 0.01) == less((np.nan, np.nan)) == "does not hold here"


@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
def test_luck_decides_as_seldom_by_few_seeds_as_by_many(seeds):
    """Of ways that are equally good, a claim of a gain holds, and fails, one time in 44: as of two standard errors."""
    noise = np.random.default_rng(seeds).standard_normal((20_000, seeds))
    mean, error = noise.mean(axis=1), noise.std(axis=1, ddof=1) / np.sqrt(seeds)
    far = mean / error > sure(seeds)
    assert abs(far.mean() - 0.02275) < 4 * np.sqrt(0.02275 / len(far))
    for i in (np.argmax(far), np.argmin(far)):
        assert (more(paired(noise[i], np.zeros(seeds))) == "holds") == far[i]


def test_a_claim_is_as_good_as_its_worst_part():
    assert worst(VERDICTS) == "does not hold here"
    assert worst(["holds", "cannot be checked here"]) == "cannot be checked here"
    assert worst(["holds", "holds"]) == "holds"


def test_ways_are_compared_seed_by_seed():
    found = {"net": {"base": [0.1, 0.4], "worse": [0.3, 0.6]}, "other": {"base": [0.1, 0.2], "worse": [0.0, 0.1]}}
    both = compare(found, "base", {"worse": more}, title="")
    assert both.verdict == "does not hold here"
    assert both.numbers["net, worse"]["less base"] == pytest.approx((0.2, 0.0, 2))
    assert compare({"net": found["net"]}, "base", {"worse": more}, title="").verdict == "holds"


def noted(path, x):
    """Return x * x, and note that it was worked out."""
    with open(path, "a") as file:
        file.write(f"{x} ")
    return x * x


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_was_trained_is_not_trained_again(tmp_path, jobs):
    note = str(tmp_path / "note")
    assert Bench(tmp_path).each(noted, [(note, 2), (note, 3)]) == [4, 9]
    assert Bench(tmp_path, jobs=jobs).each(noted, [(note, 4), (note, 3), (note, 5)]) == [16, 9, 25]
    assert sorted((tmp_path / "note").read_text().split()) == ["2", "3", "4", "5"]


@pytest.mark.parametrize(
    "end", [b'{"case": "half', b"\x00\xff\n", checked_line({"version": refimpl.__version__, "other": 1}) + b"\n"]
)
def test_what_a_kill_left_half_written_is_trained_again(tmp_path, end):
    note = str(tmp_path / "note")
    Bench(tmp_path).each(noted, [(note, 2)])
    with open(tmp_path / "trainings.jsonl", "ab") as file:
        file.write(end)
    assert Bench(tmp_path).each(noted, [(note, 2), (note, 3)]) == [4, 9]
    assert Bench(tmp_path).each(noted, [(note, 2), (note, 3)]) == [4, 9]
    assert (tmp_path / "note").read_text() == "2 3 "


def test_a_changed_result_in_the_file_is_not_believed(tmp_path):
    Bench(tmp_path).each(divmod, [(9, 2)])
    path = tmp_path / "trainings.jsonl"
    path.write_bytes(path.read_bytes().replace(b"[4, 1]", b"[4, 7]"))
    assert Bench(tmp_path).each(divmod, [(9, 2)]) == [[4, 1]]


def waited(path, seconds):
    """Note that it was begun, and take so long."""
    with open(path, "a") as file:
        file.write(f"{seconds} ")
    time.sleep(seconds)
    return seconds


def test_an_interrupt_ends_what_others_train_at_once_and_keeps_what_they_did(tmp_path):
    note, kept = tmp_path / "note", tmp_path / "trainings.jsonl"

    def interrupt():
        while not (kept.exists() and note.read_text().count("99") == 2):
            time.sleep(0.05)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    threading.Thread(target=interrupt, daemon=True).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            Bench(tmp_path, jobs=2).each(waited, [(str(note), 0), (str(note), 99), (str(note), 99.5)])
    finally:
        signal.signal(signal.SIGINT, before)
    assert Bench(tmp_path).each(waited, [(str(note), 0)]) == [0] and note.read_text().split().count("0") == 1


def test_runs_of_different_seeds_share_none():
    assert not set(Bench(seed=1).seeds(10)) & set(Bench(seed=2).seeds(10))


def test_every_claim_has_a_name_of_its_own_and_says_what_was_published():
    assert len({(name, claim.name) for name, claim in CLAIMS}) == len(CLAIMS)
    assert all(claim.published and claim.check.__doc__ for _, claim in CLAIMS)


def test_the_list_names_every_claim_with_the_verdict_that_ships(capsys):
    assert main(["reproduce"]) == 0
    shown = capsys.readouterr().out
    words = " ".join(shown.split())
    for name, claim, verdict, why in catalogue.verdicts():
        assert f"{name}: " in shown and f"  {claim:<28} {verdict}\n" in shown
        assert verdict == "holds" or " ".join(why.split()) in words


def test_the_guide_explains_every_claim_that_does_not_hold_and_no_other():
    guide = (Path(__file__).parents[1] / "tutorials/guides/check_the_papers.md").read_text(encoding="utf-8")
    explained = re.findall(r"^\| `([\w-]+)` `([\w-]+)` \| .", guide, re.M)
    fails = [(name, claim) for name, claim, verdict, _ in catalogue.verdicts() if verdict == "does not hold here"]
    assert explained == fails != []


def test_the_readme_counts_the_verdicts_that_ship():
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    of = {name: [v for paper, _, v, _ in catalogue.verdicts() if paper == name] for name in catalogue.NAMES}
    for verdict in VERDICTS:
        (counts,) = re.findall(rf"^\| {verdict} \| (.*) \|$", readme, re.M)
        expected = {name: of[name].count(verdict) for name in of if verdict in of[name]}
        assert {name: int(n) for name, n in re.findall(r"`([\w-]+)` (\d+)", counts)} == expected


@pytest.mark.parametrize("name", catalogue.NAMES)
def test_what_ships_is_a_full_run_of_claims_there_are(name):
    shipped = catalogue.results(name)
    if not shipped:
        pytest.skip(f"no full run of {name} ships yet")
    assert shipped["paper"] == name and not shipped["quick"]
    known = [claim.name for claim in catalogue.paper(name).claims]
    assert list(shipped["claims"]) == [claim for claim in known if claim in shipped["claims"]] != []
    assert {of["verdict"] for of in shipped["claims"].values()} <= set(VERDICTS)


def test_a_paper_is_checked_and_its_results_and_pictures_written(tmp_path, capsys, monkeypatch):
    line = Chart("line", "a line", {"a": ([1, 2], [3, 4])})
    found = Finding("holds", "because", {"x": [1.0]}, (), (line,), "much")
    claims = tuple(catalogue.Claim(name, "they say", lambda bench: found) for name in ("one", "two"))
    paper = catalogue.Paper("bfloat16", "A paper", "nowhere", claims)
    monkeypatch.setattr(catalogue, "paper", lambda name: paper)
    assert main(["reproduce", "bfloat16", "--quick", "--only", "two", "--out", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().out
    assert "verdict: holds: because" in shown and "left out, for --quick: much" in shown
    report = json.loads((tmp_path / "out/results.json").read_text())
    assert report["claims"]["two"]["verdict"] == "holds" and report["quick"] and "one" not in report["claims"]
    assert (tmp_path / "out/two-line.png").read_bytes().startswith(b"\x89PNG")


def test_claims_checked_before_stay_in_the_results_of_the_same_seed(tmp_path, capsys, monkeypatch):
    claims = tuple(
        catalogue.Claim(name, "they say", lambda bench: Finding("holds", f"seed {bench.seed}"))
        for name in ("one", "two")
    )
    monkeypatch.setattr(catalogue, "paper", lambda name: catalogue.Paper("bfloat16", "A paper", "nowhere", claims))

    def run(*words):
        assert main(["reproduce", "bfloat16", "--out", str(tmp_path), *words]) == 0
        return {name: of["why"] for name, of in json.loads((tmp_path / "results.json").read_text())["claims"].items()}

    assert run("--only", "two") == {"two": "seed 0"}
    assert list(run("--only", "one")) == ["one", "two"]
    assert "no longer" not in capsys.readouterr().out
    assert run("--only", "two", "--seed", "7") == {"two": "seed 7"}
    assert "of another --seed, --quick or version; no longer in it: one" in capsys.readouterr().out
    (tmp_path / "results.json").write_text("[no report]")
    assert run("--only", "two") == {"two": "seed 0"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("reproduce nothing", "'nothing'"),
        ("reproduce bfloat16 --only nothing", "'nothing'"),
        ("reproduce --quick", "--quick: a paper must be named"),
        ("reproduce bfloat16 --data .", "--data: bfloat16 needs no matrices"),
    ],
)
def test_an_unknown_paper_or_claim_is_refused_before_anything_is_written(words, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(words.split()) == 2
    assert said in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_a_chart_shows_every_number_it_is_given():
    lines = chart(Chart("a", "both", {"x": ([1, 2], [1, 2], [0.1, 0.1]), "y": ([1, 4], [2, 1])}, log="xy")).axes[0]
    assert [line.get_xydata().tolist() for line in lines.lines if line.get_marker() in "os"] == [
        [[1, 1], [2, 2]],
        [[1, 2], [4, 1]],
    ]
    assert lines.get_xscale() == lines.get_yscale() == "log" and lines.get_title() == "both"
    bars = chart(Chart("a", "", {"x": np.array([[1, 2], [0.1, 0.1]]), "y": [3, 4]}, "bars", labels=("a", "b"))).axes[0]
    assert [bar.get_height() for bar in bars.patches] == [1, 2, 3, 4]
    pie = chart(Chart("a", "", {"x": [1, 2, 5]}, "pie", labels=("a", "b", "c"))).axes[0]
    assert [text.get_text() for text in pie.texts][:3] == ["a: 1", "b: 2", "c: 5"]
    grid = chart(Chart("a", "", {"tau": [[1, 2], [3, 4]]}, "grid")).axes[0]
    assert grid.images[0].get_array().tolist() == [[1, 2], [3, 4]]
    named = chart(Chart("a", "", {"part": [[0, 1], [1, 1]]}, "grid", labels=("int2", "nf4"))).axes[0]
    assert [text.get_text() for text in named.get_yticklabels()] == ["int2", "nf4"]
    assert named.images[0].get_clim() == (0, 1)
    graph = chart(Chart("a", "", {"x": (0, 0), "Q": (1, 0)}, "graph", labels=("x -> Q",))).axes[0]
    assert [t.get_text() for t in graph.texts] == ["x", "Q", ""]
    assert graph.texts[-1].xy == (1, 0) and graph.texts[-1].xyann == (0, 0)


def test_exactly_two_standard_errors_decide_nothing():
    tie = paired([0.1, 0.1, 0.1 + 0.3], [0.1, 0.1 + 0.1, 0.1])  # 0, -d and 3 d: the mean is 2 d / 3
    exactly = (2 * tie[1], tie[1])
    assert more(exactly) == less((-exactly[0], exactly[1])) == "cannot be checked here"
    assert more(paired([0.0, 0.3, 0.3], [0.0, 0.0, 0.0])) == "cannot be checked here"
