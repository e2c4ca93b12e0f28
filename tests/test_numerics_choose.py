"""From captured operands to a policy: capture, evidence, assignment, prediction."""

import json
import math
import re

import numpy as np
import pytest
from scipy import stats

import refimpl as rf
from refimpl import numerics
from refimpl.nn import Precision, Rounding
from refimpl.nn.precision import PRODUCT_ROLES
from refimpl.numerics import Distribution, candidates, capture, choose, measure, predictive_power
from refimpl.numerics.evidence import METRICS, Candidate, Evidence, Operand
from refimpl.numerics.selection import Assignment

DIGITS = rf.data.load("digits")


@pytest.fixture(scope="module")
def evidence():
    return measure(rf.nn.mlp(), DIGITS, candidates(), steps=2)


# Distributions


def test_a_stream_is_summed_up_as_the_whole_would_be():
    rng = np.random.default_rng(0)
    parts = [rng.standard_t(2, n).astype(np.float32) * 10.0**k for k, n in ((0, 5), (-6, 900), (3, 8000))]
    parts = [np.float32(part) for part in (*parts, [0, 0, -0.0, 1.0, 1.5, -2.0], [])]
    found, whole = Distribution(), np.concatenate(parts)
    for part in parts:
        found.add(part)
    assert (found.count, found.zeros) == (whole.size, 3)
    assert found.mean == pytest.approx(whole.mean(dtype=float), rel=1e-9)
    assert found.deviation == pytest.approx(whole.std(dtype=float), rel=1e-9)
    assert found.largest == np.abs(whole).max()
    exponents = [math.frexp(float(x))[1] - 1 for x in whole if x]
    assert found.octaves.sum() == len(exponents)
    for e in set(exponents):
        assert found.octaves[e + 149] == exponents.count(e)


def test_the_sample_is_uniform_over_the_stream_and_repeats_with_its_seed():
    """Each value is kept with the same probability, early or late: a chi-squared test in twenty parts."""
    stream = np.arange(100_000, dtype=np.float32)
    kept = []
    for seed in range(5):
        one, other = Distribution(seed), Distribution(seed)
        for part in np.array_split(stream, 7):
            one.add(part)
        for part in np.array_split(stream, 7):
            other.add(part)
        assert np.array_equal(one.sample, other.sample) and len(set(one.sample)) == 4096
        kept.append(one.sample)
    counts, _ = np.histogram(np.concatenate(kept), bins=20, range=(0, 100_000))
    assert stats.chisquare(counts).pvalue > 1e-4


def test_a_short_stream_is_kept_whole():
    found = Distribution()
    found.add(np.float32([3.0, 1.0]))
    found.add(np.float32([2.0]))
    assert found.sample.tolist() == [3.0, 1.0, 2.0]


def test_a_capture_has_the_operands_of_every_product_as_training_had_them():
    """The weights of the first step are the initial ones; the input is the first batch's images."""
    found = capture(rf.nn.mlp(), DIGITS, steps=1, seed=3)
    assert found.steps == (0,) and found.total == 1437 // 32
    fresh = rf.nn.mlp()
    fresh.initialize(np.random.default_rng(np.random.SeedSequence(3).spawn(2)[0]))
    for layer, name, tensor in fresh.named_tensors():
        if name == "weight":
            seen = found.of(layer, "right operand")
            assert seen.count == tensor.data.size
            assert seen.mean == pytest.approx(float(tensor.data.mean(dtype=float)), abs=1e-9)
            assert seen.largest == np.abs(tensor.data).max()
    inputs = found.of("2 Linear", "left operand")
    assert inputs.count == 32 * 64 and np.isin(inputs.sample * 16, np.arange(17)).all()
    assert found.of("8 Linear", "product gradient").count == 32 * 10


def test_steps_are_spread_from_first_to_last_and_memory_does_not_grow():
    found = capture(rf.nn.mlp(widths=(16,)), DIGITS, steps=5, epochs=2)
    assert found.steps[0] == 0 and found.steps[-1] == found.total - 1 and len(found.steps) == 5
    values = [vars(d) for d in found.operands.values()]
    assert all(v["_sample"].size == 4096 and v["octaves"].size == 277 for v in values)
    assert str(found).count("\n") == len(found.operands)


def test_the_query_projection_of_a_transformer_on_text_is_captured_and_drawn():
    found = capture(
        rf.nn.transformer(words=512, places=16, classes=8, blocks=1),
        rf.data.load("topics"),
        steps=2,
        optimizer=rf.nn.Adam(),
        learning_rate=0.003,
    )
    weights, gradients = (found.of("query", role).student_t() for role in ("right operand", "product gradient"))
    assert gradients.nu < 10 < weights.nu  # the gradients have heavy tails, initial weights none
    figure = rf.plots.operands(found, "query")
    assert [ax.get_title() for ax in figure.axes] == list(PRODUCT_ROLES)


# Evidence


def test_evidence_is_what_the_metrics_say_of_the_operands_themselves():
    """A linear layer's operands, taken by hand, against `numerics.metrics`."""
    seen = []
    rf.nn.fit(rf.nn.mlp(), DIGITS, epochs=1, watch=lambda step, total: seen.append if step == 0 else None)
    found = Evidence(candidates(["int8", "e4m3"], scalings=["row"]))
    product = next(p for p in seen if p.layer == "5 Linear")
    found.see(product)
    a, b, dy = (product.tensors[role].astype(float) for role in PRODUCT_ROLES)
    for i, fmt in enumerate(("int8", "float8_e4m3fn")):

        def rounded(x, axis, fmt=fmt):
            if fmt == "int8":
                return numerics.round_scaled(x, fmt, axis=axis)
            top = np.abs(x).max(axis=1 - axis, keepdims=True)  # the trainer's powers of two
            scale = 2.0 ** np.floor(np.log2(448 / np.where(top > 0, top, 448)))
            return rf.quantize(x * scale, fmt, overflow="saturate") / scale

        pairs = {
            "left operand": ((a, rounded(a, 0)), lambda q: [(a, b, q, b), (dy.T, a, dy.T, q)]),
            "right operand": ((b, rounded(b, 1)), lambda q: [(a, b, a, q), (dy, b.T, dy, q.T)]),
            "product gradient": ((dy, rounded(dy, 0)), lambda q: [(dy, b.T, q, b.T), (a.T, dy, a.T, q)]),
        }
        for role, ((x, q), products) in pairs.items():
            got = dict(zip(METRICS, found.operands["5 Linear", role].values[i], strict=True))
            assert got["relative error"] == pytest.approx(numerics.normwise_error(x, q), rel=1e-4)
            assert got["noise"] == pytest.approx(-numerics.sqnr(x, q), rel=1e-4)
            assert got["underflow"] == pytest.approx(numerics.underflow(x, q), abs=1e-3)
            medians = []
            for left, right, qleft, qright in products(q):
                ratios = numerics.backward_error(left, right, qleft, qright)
                medians.append(np.median(ratios[np.abs(left) @ np.abs(right) > 0]))
            assert got["backward error"] == pytest.approx(max(medians), rel=2e-3)


def test_the_worst_of_the_steps_counts():
    one, two = (measure(rf.nn.mlp(), DIGITS, candidates(["int4"]), steps=n) for n in (1, 3))
    for key, operand in one.operands.items():
        assert (two.operands[key].values >= operand.values).all()


def test_queries_keys_and_values_are_seen_to_be_made_of_the_same():
    found = measure(rf.nn.transformer(blocks=1), DIGITS, candidates(["int8"]), steps=2)
    shared = {key: operand.shared for key, operand in found.operands.items() if operand.shared}
    assert len(shared) == 2 and {role for _, role in shared} == {"left operand"}
    assert {layer.split("/")[-1] for layer, _ in [*shared, *shared.values()]} == {"query", "key", "value"}
    everything = choose(found, tolerance=1.0)
    total = sum(operand.size for operand in found.operands.values())
    twice = sum(found.operands[key].size for key in shared)
    assert everything.memory(32).total_mb * 2**20 == 4 * (total - twice)


def test_scales_are_counted_32_bits_each():
    cases = [
        ("tensor", (64, 32), 8 + 32 / 2048),
        ("row", (64, 32), 9),
        (16, (64, 32), 10),
        (20, (64, 32), 10),
        (100, (64, 32), 9),
    ]
    for per, shape, bits in cases:
        rounding = Rounding(format="int8", per=per)
        assert Candidate(rounding).bits(shape, of_images=False) == pytest.approx(bits)
        right = Candidate(rounding).bits(shape[::-1], of_images=False, role="right operand")
        assert right == pytest.approx(bits)
    images = Candidate(Rounding(format="int8", per="row"))
    assert images.bits((8, 4, 4, 2), of_images=True) == 9
    assert images.bits((3, 3, 2, 16), of_images=True, role="right operand") == 8 + 32 / 18


# Assignment


def known(values, formats=("int8", "e4m3", "int4"), size=1024):
    """Evidence with the given backward errors for operands named 0, 1, ..."""
    found = Evidence(candidates(list(formats)))
    for i, row in enumerate(values):
        table = np.tile(np.asarray(row, float)[:, None], (1, len(METRICS)))
        found.operands[str(i), "left operand"] = Operand(str(i), "left operand", (size, 1), False, table)
    return found


def test_the_cheapest_within_the_tolerance_is_chosen_and_of_equals_the_best():
    found = known([[0.3, 0.2, 0.1], [0.01, 0.02, 0.5], [0.02, 0.01, 0.5], [0.09, 0.5, 0.11]])
    names = [choice.candidate.name for choice in choose(found, tolerance=0.1).choices]
    assert names == ["int4", "int8", "float8_e4m3fn", "int8"]
    assert choose(found, tolerance=0.1).counts() == {"int8": 2, "float8_e4m3fn": 1, "int4": 1}


def test_a_tolerance_that_nothing_meets_names_the_hardest_operand_and_its_closest_candidate():
    found = known([[0.3, 0.2, 0.1], [0.04, 0.05, 0.5], [0.7, 0.6, 0.65]])
    message = (
        r"no candidate has a backward error of at most 0.1 for the left operand of '2'; "
        r"the closest is float8_e4m3fn with 0.6"
    )
    with pytest.raises(ValueError, match=message):
        choose(found, tolerance=0.1)


@pytest.mark.parametrize(
    ("least", "shown"),
    [(0.60001, "0.601"), (0.6, "0.6"), (1.2341e-7, "1.24e-07"), (-31.2345, "-31.2"), (123456.0, "124000")],
)
def test_the_tolerance_that_a_refusal_names_is_the_least_of_three_digits_that_will_do(least, shown):
    found = known([[least, 2e5, 3e5], [-40.0, 2e5, 3e5]])
    with pytest.raises(ValueError, match=re.escape(f"pass a tolerance of {shown} or more, or candi")):
        choose(found, tolerance=-35.0)
    assert choose(found, tolerance=float(shown)).counts() == {"int8": 2}


def test_the_policy_of_an_assignment_rounds_each_operand_as_chosen_and_nothing_else(evidence):
    assignment = choose(evidence, tolerance=0.01)
    plan = rf.nn.rounding_plan(rf.nn.mlp(), DIGITS, assignment.precision())
    rounded = {(row["layer"], row["role"]): row["format"] for row in plan}
    assert rounded == {(c.layer, c.role): c.candidate.rounding.format.name for c in assignment.choices}
    assert len(plan) == 9 and len(set(rounded.values())) == 2


def test_training_as_assigned_is_as_good_as_in_float32(evidence):
    exact, chosen = (
        numerics.train(rf.nn.mlp, DIGITS, policy, epochs=3, seeds=(0, 1))
        for policy in (None, choose(evidence, tolerance=0.01))
    )
    assert exact.test_error < 0.1 and abs(chosen.test_error - exact.test_error) < 0.02
    assert chosen.loss == pytest.approx(exact.loss, rel=0.05) and chosen.loss != exact.loss
    alone = [
        rf.nn.fit(rf.nn.mlp(), DIGITS, precision=Precision(loss_scale=1.0), epochs=3, seed=seed) for seed in (0, 1)
    ]
    assert exact.test_errors == tuple(result.test_error for result in alone)
    # a format of one value and its negative learns nothing
    coarse = measure(rf.nn.mlp(), DIGITS, candidates(["int2"]), steps=1)
    hopeless = numerics.train(rf.nn.mlp, DIGITS, numerics.uniform(coarse, 0), epochs=1)
    assert hopeless.test_error > 0.5


def test_every_product_of_a_transformer_is_rounded_in_training():
    found = measure(rf.nn.transformer(), DIGITS, candidates(), steps=1)
    precision = choose(found, tolerance=0.1).precision()
    plan = rf.nn.rounding_plan(rf.nn.transformer(), DIGITS, precision)
    rounded = [(row["layer"], row["role"]) for row in plan]
    assert sorted(rounded) == sorted(found.operands)
    history = rf.nn.fit(rf.nn.transformer(), DIGITS, epochs=1, precision=precision).history
    assert np.isfinite(history[0]["loss"])


def test_eight_bits_of_thirty_two_save_three_quarters(evidence):
    assignment = choose(evidence, tolerance=0.05)
    ratio = assignment.memory().total_mb / assignment.memory(32).total_mb
    assert 0.25 < ratio < 0.2515
    elements = 32 * 64 + 64 * 128 + 2 * 32 * 128 + 32 * 128 + 128 * 128 + 32 * 128 + 128 * 10 + 32 * 10
    assert assignment.memory(32).total_mb * 2**20 == 4 * elements


# Prediction


def test_policies_are_each_candidate_for_all_and_then_seeded_mixtures(evidence):
    found = numerics.policies(evidence, 6)
    assert list(found)[:3] == ["int8", "float8_e4m3fn", "float8_e5m2"] and len(found) == 6
    assert all(len(a.counts()) == 1 for a in list(found.values())[:3])
    again = numerics.policies(evidence, 6)
    assert [a.counts() for a in found.values()] == [a.counts() for a in again.values()]
    assert found["mixture 0"].choices != found["mixture 1"].choices


def test_a_journal_keeps_what_was_trained_and_half_a_line_is_trained_again(evidence, tmp_path, monkeypatch):
    journal = tmp_path / "policies.jsonl"
    plan = numerics.policies(evidence, 3)
    first = numerics.train_policies(rf.nn.mlp, DIGITS, plan, journal=journal, epochs=1)
    lines = journal.read_text().splitlines()
    assert len(lines) == 3 and json.loads(lines[0])["name"] == "int8"
    journal.write_text("\n".join([*lines[:2], lines[2][:20]]))
    trained = []
    train = numerics.train
    monkeypatch.setattr(
        numerics.prediction, "train", lambda *args, **kw: trained.append(kw["name"]) or train(*args, **kw)
    )
    for _ in range(2):
        assert numerics.train_policies(rf.nn.mlp, DIGITS, plan, journal=journal, epochs=1) == first
        assert trained == ["float8_e5m2"]
    numerics.train_policies(rf.nn.mlp, DIGITS, plan, journal=journal, epochs=2)
    assert len(trained) == 4  # other settings are other policies


def test_a_rank_correlation_is_scipy_s_and_its_interval_covers_the_truth():
    """Normal pairs of correlation r have Spearman's 6/pi asin(r/2); 95 of 100 intervals should hold it."""
    r, covered = 0.8, 0
    truth = 6 / np.pi * np.arcsin(r / 2)
    for seed in range(60):
        rng = np.random.default_rng(seed)
        x = rng.standard_normal(40)
        y = r * x + np.sqrt(1 - r * r) * rng.standard_normal(40)
        found = predictive_power(x, y, resamples=200, seed=seed)
        assert found.correlation == stats.spearmanr(x, y).statistic
        covered += found.low <= truth <= found.high
    assert covered >= 48


@pytest.mark.slow
def test_the_metric_predicts_the_loss_of_mlps():
    found = measure(rf.nn.mlp(), DIGITS, candidates(list(numerics.LADDER)), steps=2)
    trained = numerics.train_policies(rf.nn.mlp, DIGITS, numerics.policies(found, 24), epochs=3)
    power = predictive_power([t.metric for t in trained], [t.loss for t in trained])
    assert power.policies == 24 and power.low > 0.3 and power.correlation > 0.6


def test_a_training_that_diverges_at_once_has_nothing_to_capture():
    tiny = Rounding(format="e4m3b20ieee", overflow="overflow")  # beyond 2^-5 there is infinity
    with pytest.raises(ValueError, match="diverged before a product was seen"):
        capture(rf.nn.mlp(), DIGITS, precision=Precision(roles={"input": tiny}))


def test_an_assignment_keeps_its_evidence(evidence):
    found = choose(evidence, tolerance=0.02)
    assert isinstance(found, Assignment) and found.evidence is evidence
    for choice in found.choices:
        values = evidence.value((choice.layer, choice.role), "backward error")
        assert choice.value == values.min() <= 0.02  # all eight bits wide: the best is chosen
