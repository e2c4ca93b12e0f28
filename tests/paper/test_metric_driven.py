"""The metric-driven paper's experiment (Rasquinha and Tabak, arXiv 2408.02897).

`OURS` are no numbers of the paper's, which are in figures: a second script of our own found them
(per-tensor scales max|x| / largest value, float64 sums, 512 x 512, 3 trials, medians).
"""

import numpy as np
import pytest

from refimpl.numerics import fit_student_t, product_errors, tail_table
from refimpl.numerics.tails import NUS

OURS = {  # nu: backward error of INT8, E4M3, E5M2, and INT8's share flushed to zero
    1: (0.33, 0.041, 0.018, 0.999),
    2: (0.071, 0.0034, 0.0067, 0.885),
    3: (0.0110, 0.00246, 0.00489, 0.20),
    5: (0.0041, 0.00203, 0.00405, 0.077),
    8: (0.00194, 0.00190, 0.00377, 0.043),
    15: (0.00114, 0.00182, 0.00361, 0.025),
    30: (0.00090, 0.00179, 0.00354, 0.020),
    np.inf: (0.00070, 0.00175, 0.00347, 0.014),
}


@pytest.fixture(scope="module")
def table():
    rows = tail_table()
    return {nu: [row for row in rows if row.nu == nu] for nu in NUS}


@pytest.fixture(scope="module")
def small():
    return {
        scaling: {(r.nu, r.format): r for r in tail_table(scaling=scaling, size=128, trials=3)}
        for scaling in ("tensor", "row")
    }


@pytest.mark.slow
@pytest.mark.parametrize("nu", NUS)
def test_backward_errors_are_those_of_our_second_script(table, nu):
    """The largest of 262,144 draws sets the scale: INT8 (and E4M3's flushing at nu = 1) follow it, and
    it varies by a factor of two and more for nu <= 2."""
    int8, e4m3, e5m2 = table[nu]
    wanted = OURS[nu]
    noise = {1: 1.0, 2: 0.4, 3: 0.4, 5: 0.3}.get(nu, 0.12)
    assert int8.backward_error == pytest.approx(wanted[0], rel=noise)
    assert int8.underflow == pytest.approx(wanted[3], rel=noise)
    assert e4m3.backward_error == pytest.approx(wanted[1], rel=1.0 if nu == 1 else 0.02)
    assert e5m2.backward_error == pytest.approx(wanted[2], rel=0.02)
    assert (e5m2.backward_error < e4m3.backward_error) == (nu == 1)  # there E4M3 flushes too


@pytest.mark.slow
def test_from_the_gaussian_to_three_degrees_of_freedom_int8_loses_tenfold_and_e4m3_less_than_half(table):
    worst = [a.backward_error / b.backward_error for a, b in zip(table[3], table[np.inf], strict=True)]
    assert worst[0] > 10 and worst[1] < 1.5 and worst[2] < 1.5


def test_floats_stay_bounded_as_tails_get_heavier_and_integers_do_not(small):
    def spread(fmt):
        found = [row.backward_error for (nu, name), row in small["tensor"].items() if name == fmt and nu >= 3]
        return max(found) / min(found)

    assert spread("float8_e4m3fn") < 1.5 and spread("float8_e5m2") < 1.5
    assert spread("int8") > 5


def test_int8_wins_for_light_tails_e4m3_for_heavy_ones_and_they_cross_near_eight(small):
    errors = {key: row.backward_error for key, row in small["tensor"].items()}
    ratio = {nu: errors[nu, "int8"] / errors[nu, "float8_e4m3fn"] for nu in NUS}
    assert ratio[np.inf] < 0.6 and ratio[30] < 0.8 and ratio[3] > 1.2 and ratio[2] > 3
    assert 3 <= max(nu for nu in NUS if ratio[nu] > 1) <= 15


def test_the_elementwise_error_of_floats_does_not_see_the_tails(small):
    for nu in NUS[2:]:
        assert small["tensor"][nu, "float8_e4m3fn"].relative_error == pytest.approx(0.0217, rel=0.02)
        assert small["tensor"][nu, "float8_e5m2"].relative_error == pytest.approx(0.0433, rel=0.02)


@pytest.mark.parametrize("nu", [1.0, 2.0, 3.0])
def test_scales_per_row_are_no_worse_where_tails_are_heavy(small, nu):
    for fmt in ("int8", "float8_e4m3fn", "float8_e5m2"):
        one, many = (small[scaling][nu, fmt].backward_error for scaling in ("tensor", "row"))
        assert many <= one


def test_errors_of_products_have_heavier_tails_where_the_operands_have():
    heavy, light = (fit_student_t(product_errors(nu, "float8_e4m3fn")) for nu in (2.0, np.inf))
    assert heavy.nu < 10 < 25 < light.nu
    assert max(heavy.distance, light.distance) < 0.03  # the fit is a fit
    assert abs(light.location) < light.scale / 10
