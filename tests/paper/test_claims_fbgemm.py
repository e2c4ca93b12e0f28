"""FBGEMM: each claim's machinery, and what turns its verdict."""

from fractions import Fraction

import numpy as np
import pytest

import refimpl as rf
from refimpl.numerics.tolerance import predict
from refimpl.papers import fbgemm
from refimpl.papers.claim import Bench

QUICK = Bench(quick=True)


@pytest.fixture(scope="module", params=["mlp", "cnn"])
def trained(request):
    task = rf.data.load("digits")
    return task, rf.nn.fit(getattr(rf.nn, request.param)(), task, epochs=3).model


def test_codes_of_the_next_layer_are_rounded_moved_and_clipped():
    rng = np.random.default_rng(0)
    sums, multiplier = rng.integers(-(2**16), 2**16, 500), np.float32(0.00371)
    exact = [round(Fraction(int(s)) * Fraction(float(multiplier))) + 11 for s in sums]
    assert fbgemm.requantized(sums.astype(np.int32), multiplier, 11).tolist() == [min(max(q, 0), 255) for q in exact]


def test_a_network_is_its_products_with_batch_norm_multiplied_in(trained):
    task, model = trained
    logits = fbgemm.in_float(fbgemm.products(model), task.test_images)[-1]
    assert logits == pytest.approx(predict(model, task.test_images), abs=1e-4)


def test_a_network_of_other_layers_is_refused():
    with pytest.raises(TypeError, match="ImageRows"):
        fbgemm.products(rf.nn.transformer())


def test_inference_in_8_bits_is_near_float32_alike_in_both_sums_and_lost_without_zero_points(trained):
    task, model = trained
    layers, seen = fbgemm.products(model), task.train_images[:64]
    wide, split = (
        fbgemm.in_int8(layers, task.test_images, seen, fbgemm.SUMS[way])
        for way in ("int32 sums", "16-bit sums, outliers apart")
    )
    assert (wide == split).all()
    exact = predict(model, task.test_images)
    assert np.abs(wide - exact).max() < 0.1 * np.abs(exact).max()
    wrong = fbgemm.in_int8(layers, task.test_images, seen, lambda a, b, zero: fbgemm.by_int32(a, b, zero + 30))
    assert np.abs(wrong - exact).max() > 0.2 * np.abs(exact).max()


def test_zero_points_left_out_turn_the_verdict(monkeypatch):
    assert fbgemm.affine(QUICK).verdict == "holds"
    right = rf.matmul_int
    monkeypatch.setattr(rf, "matmul_int", lambda a, b, zero_points: right(a, b))
    assert fbgemm.affine(QUICK).verdict == "does not hold here"


@pytest.mark.parametrize("broken", ["sums never saturate", "the split does not help"])
def test_16_bit_sums_must_fail_without_the_split_and_not_with_it(monkeypatch, broken):
    assert fbgemm.sixteen(QUICK).verdict == "holds"
    right = rf.matmul_int16
    other = {
        "sums never saturate": lambda a, b, dense_bits, pairs: rf.matmul_int(a, b),
        "the split does not help": lambda a, b, dense_bits, pairs: right(a, b, dense_bits=8, pairs=pairs or 64),
    }[broken]
    monkeypatch.setattr(rf, "matmul_int16", other)
    assert fbgemm.sixteen(QUICK).verdict == "does not hold here"


@pytest.mark.parametrize(("worse", "verdict"), [(0.0, "holds"), (0.1, "does not hold here")])
def test_accuracy_is_judged_over_networks_and_seeds(monkeypatch, worse, verdict):
    def infer(name, task, epochs, seed):
        base = 0.1 + 0.001 * (seed % 7)
        return {"float32": base} | {way: base + worse * (name == "cnn") for way in fbgemm.SUMS}

    monkeypatch.setattr(fbgemm, "infer", infer)
    assert fbgemm.accurate(Bench(quick=True)).verdict == verdict


def test_a_training_ends_in_an_error_for_every_way():
    found = fbgemm.infer("mlp", "digits", 2, 0)
    assert set(found) == {"float32", *fbgemm.SUMS} and found["int32 sums"] == found["16-bit sums, outliers apart"]
    assert abs(found["int32 sums"] - found["float32"]) < 0.02


@pytest.mark.parametrize(("eight_bit", "verdict"), [(0.4, "holds"), (0.7, "does not hold here")])
def test_the_verdict_on_time_follows_from_the_times(monkeypatch, eight_bit, verdict):
    def made_up(ways, repeats):
        return {name: np.linspace(1, 1.1, repeats) * (eight_bit if "int8" in name else 1) for name in ways}

    monkeypatch.setattr(fbgemm, "seconds", made_up)
    assert fbgemm.faster(QUICK).verdict == verdict


@pytest.mark.parametrize(
    ("time", "twice", "verdict"), [(0.5, 1, "holds"), (2.0, 1, "does not hold here"), (0.5, 2, "does not hold here")]
)
def test_fusing_must_save_time_and_change_no_code(monkeypatch, time, twice, verdict):
    def made_up(ways, repeats):
        return {name: np.linspace(1, 1.1, repeats) * (time if "fused" in name else 1) for name in ways}

    right = fbgemm.requantized
    monkeypatch.setattr(fbgemm, "seconds", made_up)
    monkeypatch.setattr(
        fbgemm, "requantized", lambda sums, m, z: right(sums, m * (twice if len(sums) < 1000 else 1), z)
    )
    assert fbgemm.fused(QUICK).verdict == verdict
