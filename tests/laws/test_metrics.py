"""What error metrics obey; expected values are computed here, in fractions or from theory."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from refimpl.formats import format as format_of
from refimpl.numerics import (
    backward_error,
    error_profile,
    fit_student_t,
    normwise_error,
    overflow,
    relative_error,
    round_scaled,
    sqnr,
    underflow,
)
from refimpl.numerics.tails import draw
from refimpl.spec import float_codes

EIGHT = ("int8", "float8_e4m3fn", "float8_e5m2")
scales = st.integers(-300, 300).map(lambda k: 2.0**k)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


@pytest.mark.parametrize("fmt", [*EIGHT, "e2m1fn", "int4", "e3m2fn"])
@settings(deadline=None)
@given(scale=scales)
@example(scale=2.0**-300)
@example(scale=2.0**300)
def test_scaled_rounding_and_all_relative_metrics_do_not_see_powers_of_two(fmt, scale):
    x = draw(3.0, 40, np.random.default_rng(0))
    y = round_scaled(x, fmt)
    assert np.array_equal(round_scaled(x * scale, fmt), y * scale)
    assert np.array_equal(relative_error(x * scale, y * scale), relative_error(x, y))
    assert normwise_error(x * scale, y * scale) == pytest.approx(normwise_error(x, y), rel=1e-12)
    assert underflow(x * scale, y * scale) == underflow(x, y)
    assert overflow(x * scale, fmt, scale=scale) == overflow(x, fmt)


@pytest.mark.parametrize("fmt", [*EIGHT, "e2m1fn", "int4"])
def test_scaled_rounding_is_the_definition_s_within_a_rounding_of_float64(fmt):
    x = draw(2.0, 200, np.random.default_rng(1))
    kind = format_of(fmt)
    grid = getattr(kind, "grid", kind)
    scale = Fraction(float(np.abs(x).max())) / Fraction(grid.max)
    decoded = [float_codes.decode(code, grid) for code in range(1 << grid.bits)]
    values = [-v.magnitude if v.negative else v.magnitude for v in decoded if v.kind == "finite"]
    for found, given_x in zip(round_scaled(x, fmt), x, strict=True):
        wanted = Fraction(float(given_x)) / scale
        best = min(abs(v - wanted) for v in values)
        slack = (best + abs(wanted)) / 10**12
        assert abs(Fraction(float(found)) / scale - wanted) <= best + slack


@pytest.mark.parametrize("bits", range(4, 15))
def test_a_uniform_quantizer_has_six_decibels_a_bit(bits):
    """Noise step^2 / 12 under a signal uniform on [-1, 1]: 10 log10(12 / 3) + 20 log10(2^(b-1) - 1)."""
    x = np.random.default_rng(bits).uniform(-1, 1, 200_000)
    theory = 10 * np.log10(4) + 20 * np.log10(2 ** (bits - 1) - 1)
    assert sqnr(x, round_scaled(x, f"int{bits}")) == pytest.approx(theory, abs=0.05)


def test_a_float_has_the_same_ratio_for_a_gaussian_of_any_size_and_six_decibels_a_bit():
    x = normal(100_000)
    found = [sqnr(x, round_scaled(x, f"e5m{m}")) for m in (1, 2, 3, 4)]
    assert np.allclose(np.diff(found), 20 * np.log10(2), atol=0.2)


def test_the_noise_ratio_is_the_normwise_error_in_decibels():
    x, y = normal(100), normal(100) + 0.01
    noise = sum(Fraction(float(a - b)) ** 2 for a, b in zip(x, y, strict=True))
    signal = sum(Fraction(float(a)) ** 2 for a in x)
    assert sqnr(x, y) == pytest.approx(10 * np.log10(float(signal / noise)), rel=1e-12)
    assert sqnr(x, x) == np.inf and normwise_error(x, x) == 0


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_backward_error_is_bounded_by_the_operands_relative_errors(seed):
    rng = np.random.default_rng(seed)
    a, b = draw(2.0, (4, 7), rng), draw(2.0, (7, 3), rng)
    qa, qb = round_scaled(a, "float8_e4m3fn"), round_scaled(b, "float8_e5m2")
    u, v = relative_error(a, qa).max(), relative_error(b, qb).max()
    assert backward_error(a, b, qa, qb).max() <= (u + v + u * v) * (1 + 1e-12)


def test_the_backward_error_is_the_definition_s_in_fractions():
    a, b = np.round(normal(3, 4), 6), np.round(normal(4, 2, seed=1), 6)
    qa, qb = round_scaled(a, "int8", axis=0), round_scaled(b, "int8", axis=1)
    found = backward_error(a, b, qa, qb)
    exact = [[list(map(Fraction, map(float, row))) for row in m] for m in (a, b.T, qa, qb.T)]
    for i in range(3):
        for j in range(2):
            pairs = list(zip(exact[0][i], exact[1][j], exact[2][i], exact[3][j], strict=True))
            error = abs(sum(qx * qy - x * y for x, y, qx, qy in pairs))
            size = sum(abs(x * y) for x, y, _, _ in pairs)
            assert found[i, j] == pytest.approx(float(error / size), rel=1e-9)


def test_the_normwise_backward_error_is_a_quotient_of_frobenius_norms():
    a, b, qa = [[1.0, 2.0], [2.0, 4.0]], np.eye(2), [[1.0, 2.0], [5.0, 8.0]]  # norms 5, sqrt(2), off by 5
    assert backward_error(a, b, qa, b, normwise=True) == pytest.approx(5 / (5 * 2**0.5), rel=1e-15)
    assert backward_error(a, b, a, 1.5 * b, normwise=True) == pytest.approx(2.5 / (5 * 2**0.5), rel=1e-15)
    assert backward_error(a, b, a, b, normwise=True) == 0.0


@pytest.mark.parametrize(("fmt", "worst"), [("float8_e4m3fn", 2**-4), ("float8_e5m2", 2**-3)])
def test_a_float_s_profile_is_flat_down_to_its_subnormals_and_then_rises_to_one(fmt, worst):
    """Half a unit in the last place of p bits, u = 2^-p, half a unit above a power of two: u / (1 + u)."""
    kind = format_of(fmt)
    magnitude, error = error_profile(fmt, octaves=40)
    normal = magnitude * kind.max / 2 >= kind.smallest_normal
    theory = worst / (1 + worst)
    assert (error[normal] > 0.98 * theory).all() and (error[normal] <= theory).all()
    assert (np.diff(error) <= 1e-12)[~normal[1:]].all() and error[0] == 1


def test_an_integer_s_profile_is_half_a_step_over_the_magnitude():
    magnitude, error = error_profile("int8", octaves=7)
    smallest = magnitude * (0.5 + 1 / 1024)  # of each octave
    assert (error <= 0.5 / 127 / smallest).all() and (error > 0.3 / 127 / smallest).all()


def test_gaussian_values_rank_the_formats_and_heavy_tails_turn_the_ranking():
    def errors(nu):
        x = draw(nu, 20_000, np.random.default_rng(2))
        return [np.median(relative_error(x, round_scaled(x, fmt))) for fmt in EIGHT]

    int8, e4m3, e5m2 = errors(np.inf)
    assert int8 < e4m3 < e5m2
    int8, e4m3, e5m2 = errors(2.0)
    assert e4m3 < e5m2 < int8


@pytest.mark.parametrize("fmt", EIGHT)
def test_scales_of_rows_and_blocks_are_those_of_tensors_of_their_own(fmt):
    x = draw(2.0, (5, 12), np.random.default_rng(3))
    rows = [round_scaled(row, fmt) for row in x]
    assert np.array_equal(round_scaled(x, fmt, axis=0), rows)
    assert np.array_equal(round_scaled(x.T, fmt, axis=1), np.transpose(rows))
    blocks = round_scaled(x, fmt, block_size=5)
    for part in (slice(0, 5), slice(5, 10), slice(10, 12)):
        assert np.array_equal(blocks[:, part], [round_scaled(row[part], fmt) for row in x])


def test_stochastic_scaled_rounding_is_right_on_average_and_its_seed_decides():
    x = np.append(np.full(40_000, 0.3), 1.0)
    y = round_scaled(x, "int4", rounding="stochastic", seed=1)
    assert np.array_equal(y, round_scaled(x, "int4", rounding="stochastic", seed=1))
    assert y[:-1].mean() == pytest.approx(0.3, abs=4 / 7 * 0.3 / np.sqrt(40_000))


def test_fractions_count_what_is_lost():
    assert underflow([0.0, 1.0, 2.0, 3.0], [5.0, 0.0, 2.0, -0.0]) == pytest.approx(2 / 3)
    assert underflow([0.0, 0.0], [0.0, 1.0]) == 0
    assert overflow([448.0, 448.1, -1e9, 0.0], "float8_e4m3fn") == 0.5
    assert overflow([[1.0, 300.0]], "int8", scale=[[1.0, 3.0]]) == 0


@pytest.mark.parametrize("nu", [1.5, 3.0, 8.0])
def test_a_fit_finds_the_degrees_of_freedom_it_was_drawn_with(nu):
    """Within four standard errors of the maximum likelihood estimate, from the Fisher information."""
    from scipy import stats

    found = [fit_student_t(5 + 0.1 * draw(nu, 4000, np.random.default_rng(s))) for s in range(5)]
    h = 1e-4
    grid = stats.t.ppf((np.arange(2000) + 0.5) / 2000, nu)
    score = (stats.t.logpdf(grid, nu + h) - stats.t.logpdf(grid, nu - h)) / (2 * h)
    scale_score = -1 + (nu + 1) * grid**2 / (nu + grid**2)
    information = np.cov(np.stack([score, scale_score]))
    error = np.sqrt(np.linalg.inv(information)[0, 0] / 4000)
    assert all(abs(f.nu - nu) < 4 * error for f in found)
    assert np.mean([f.location for f in found]) == pytest.approx(5, abs=0.01)
    assert np.mean([f.scale for f in found]) == pytest.approx(0.1, rel=0.05)
    assert max(f.distance for f in found) < 1.63 / np.sqrt(4000) * 1.5


def test_a_gaussian_is_fitted_by_many_degrees_of_freedom():
    assert fit_student_t(normal(4000)).nu > 25


@pytest.mark.parametrize("size", [1e-200, 1.0, 1e200])
def test_norms_of_tiny_and_huge_tensors_neither_vanish_nor_overflow(size):
    assert normwise_error([size, size], [size, 0.0]) == pytest.approx(np.sqrt(0.5), rel=1e-15)
    assert sqnr([size], [0.9 * size]) == pytest.approx(20, rel=1e-12)
