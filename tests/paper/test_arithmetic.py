"""Printed facts about arithmetic in few bits: sums that stall, epsilons that vanish, rounding to odd."""

import math
from fractions import Fraction

import numpy as np
import pytest

import refimpl as rf
from refimpl.formats import FloatFormat
from refimpl.spec import float_codes as spec

UPDATES = np.concatenate([[1.0], rf.quantize(np.full(1000, 0.001), "bfloat16")])


def test_a_thousand_updates_of_a_thousandth_are_lost_in_bfloat16():
    # arXiv 2010.06192: to nearest, an update below half a step of the weight does nothing
    assert rf.sum(UPDATES, "bfloat16") == 1.0


def test_kahan_s_sum_keeps_them():
    assert rf.sum(UPDATES, "bfloat16", order="kahan") == 2.0
    # and so does the update as the paper writes it, one operation after the other
    w, c, update = 1.0, 0.0, UPDATES[1]
    for _ in range(1000):
        y = rf.sub(update, c, "bfloat16")
        s = rf.add(w, y, "bfloat16")
        c = rf.sub(rf.sub(s, w, "bfloat16"), y, "bfloat16")
        w = s
    assert w.item() == 2.0 and float(c) == pytest.approx(-0.003143, abs=5e-7)


def test_stochastic_rounding_keeps_them_on_average():
    runs = np.repeat(UPDATES[None], 2000, axis=0)
    totals = rf.sum(runs, "bfloat16", axis=1, rounding="stochastic", seed=0)
    exact = float(sum(map(Fraction, UPDATES.tolist())))  # the update itself is rounded: 2.0013
    assert abs(totals.mean() - exact) < 4 * totals.std() / math.sqrt(2000)
    assert totals.std() == pytest.approx(0.084, abs=0.006)


def test_ones_in_binary16_stall_at_2048_in_turn_and_not_in_pairs():
    ones = np.ones(4096, np.float16)
    assert rf.sum(ones, "float16") == 2048.0 == np.cumsum(ones, dtype=np.float16)[-1]
    assert rf.sum(ones, "float16", order="pairwise") == 4096.0
    assert rf.sum(ones, "float16", order="chunked", chunk=64) == 4096.0
    assert rf.sum(ones, "bfloat16") == 256.0


@pytest.mark.parametrize("epsilon, held", [(1e-8, "0.0000e+00"), (1e-5, "1.0014e-05"), (1e-3, "1.0004e-03")])
def test_adam_s_epsilon_in_binary16_is_what_the_table_says(epsilon, held):
    assert f"{rf.quantize([epsilon], 'float16')[0]:.4e}" == held


def test_an_epsilon_of_1e_7_survives_in_binary16_as_two_of_its_smallest_values():
    assert rf.quantize([1e-7], "float16") == 2 * 2.0**-24


def test_squares_of_gradients_vanish_in_binary16_from_2_to_the_minus_12_and_a_half():
    vanishing = rf.quantize(np.array([2.0**-12.5]), "float16", rounding="toward_zero")
    above = np.nextafter(vanishing.astype(np.float16), np.float16(1)).astype(float)
    assert rf.mul(vanishing, vanishing, "float16") == 0.0 < rf.mul(above, above, "float16")


def test_adam_s_first_step_in_binary16_divides_by_epsilon_alone():
    def in_half(x):
        return rf.quantize(np.array(x), "float16")

    g = in_half(1e-4)
    square = rf.mul(g, g, "float16")
    v = rf.mul(rf.sub(1.0, in_half(0.999), "float16"), square, "float16")
    m = rf.mul(rf.sub(1.0, in_half(0.9), "float16"), g, "float16")
    steps = {}
    for epsilon in (1e-7, 1e-8):
        below = rf.add(rf.sqrt(v, "float16"), in_half(epsilon), "float16")
        steps[epsilon] = rf.div(m, below, "float16")
    assert v == 0.0 and steps[1e-7] == 84.0 and steps[1e-8] == np.inf
    assert np.isnan(rf.div(0.0, 0.0, "float16"))  # m = v = 0 and an epsilon that vanished


def test_beta_2_is_one_in_bfloat16():
    assert rf.quantize([0.999], "bfloat16") == 1.0 and rf.quantize([0.9], "bfloat16") == 0.8984375
    assert rf.sub(1.0, 1.0, "bfloat16") == 0.0
    assert rf.quantize([0.999], "float16")[0] == pytest.approx(0.9990234, abs=5e-8)


# -- rounding to odd (Boldo and Melquiond) ---------------------------------------------------------

MODES = ("ties_to_even", "ties_to_away", "toward_zero", "toward_positive", "toward_negative", "to_odd")


def wrong_after(bits_between, first, rounding, precision=4):
    """Of all numbers of precision + 8 bits in a binade: how many round otherwise in two steps."""
    wide = FloatFormat(exponent_bits=5, mantissa_bits=precision - 1 + bits_between)
    narrow = FloatFormat(exponent_bits=5, mantissa_bits=precision - 1)
    wrong = 0
    for k in range(2 ** (precision + 7), 2 ** (precision + 8)):
        x = spec.Value("finite", False, Fraction(k, 2 ** (precision + 7)))
        middle = spec.decode(spec.encode(x, wide, first), wide)
        wrong += spec.encode(middle, narrow, rounding) != spec.encode(x, narrow, rounding)
    return wrong


def test_rounding_to_odd_with_two_bits_to_spare_and_then_in_any_mode_is_rounding_once():
    for rounding in MODES:
        assert all(wrong_after(j, "to_odd", rounding) == 0 for j in (2, 3, 5))


def test_rounding_to_odd_with_one_bit_to_spare_is_not_enough_to_nearest():
    for rounding in MODES[:2]:
        assert wrong_after(1, "to_odd", rounding) > 0
    for rounding in MODES[2:]:
        assert wrong_after(1, "to_odd", rounding) == 0


def test_rounding_to_nearest_twice_is_wrong_half_as_often_with_each_bit_between():
    # 2048 numbers each: 504, 256, 128
    assert [wrong_after(j, "ties_to_even", "ties_to_even", 4) for j in (1, 2, 3)] == [504, 256, 128]
