"""Pictures show what the data say: the artists are read back."""

import numpy as np
import pytest

import refimpl as rf
from refimpl.peppp import Estimate


def line(axes, label):
    """Return x and y of the line with this label."""
    (found,) = [artist for artist in axes.lines if artist.get_label() == label]
    return np.asarray(found.get_xdata()), np.asarray(found.get_ydata())


@pytest.fixture
def estimate():
    names = ["a", "b", "c", "d", "e"]
    return Estimate(
        names, [1, 2, 3, 4, 5], [0.5, 0.3, 0.4, 0.2, 0.1], [np.nan, 0.3, np.nan, 0.2, np.nan], [3, 1], memory_cap_mb=4
    )


def test_the_frontier_picture_shows_the_roles_of_every_configuration(estimate):
    (axes,) = rf.plots.frontier(estimate).axes
    assert [v.tolist() for v in line(axes, "estimated non-dominated")] == [[1, 2, 4], [0.5, 0.3, 0.2]]
    assert [v.tolist() for v in line(axes, "estimated dominated")] == [[3], [0.4]]
    assert [v.tolist() for v in line(axes, "beyond the limit")] == [[5], [0.1]]
    assert [v.tolist() for v in line(axes, "measured (selected informative)")] == [[2, 4], [0.3, 0.2]]
    assert [v.tolist() for v in line(axes, "recommended")] == [[4], [0.2]]
    assert line(axes, "memory limit")[0].tolist() == [4, 4]


def test_the_frontier_picture_shows_the_true_frontier_within_the_limit(estimate):
    (axes,) = rf.plots.frontier(estimate, true=[0.5, 0.45, 0.3, 0.35, 0.0]).axes
    assert [v.tolist() for v in line(axes, "true frontier")] == [[1, 2, 3], [0.5, 0.45, 0.3]]


def test_the_relative_error_of_e4m3_is_a_sixteenth_and_that_of_int8_reaches_one():
    (axes,) = rf.plots.relative_error().axes
    x, e4m3 = line(axes, "float8_e4m3fn")
    assert np.allclose(e4m3[x > 2.0**-13], 2.0**-4, rtol=0.07)  # normals down to 2^-6/448
    _, int8 = line(axes, "int8")
    assert (int8[x < 2.0**-9] == 1).all() and int8[-1] < 2.0**-7
    assert (np.diff(int8) <= 0).all()


def test_the_number_line_has_a_tick_for_every_value():
    (axes,) = rf.plots.number_line(["float4_e2m1fn"]).axes
    (ticks,) = axes.collections
    assert [segment[0][0] for segment in ticks.get_segments()] == [0, 0.5, 1, 1.5, 2, 3, 4, 6]
    with pytest.raises(ValueError, match="number_line: format is 'float16'"):
        rf.plots.number_line(["float16"])


def test_bits_are_drawn_as_wide_as_they_are_many():
    (axes,) = rf.plots.bit_layout(["bfloat16", "float8_e4m3fn"]).axes
    assert [bar.get_width() for bar in axes.patches] == [1, 8, 7, 1, 4, 3]


def test_rounding_modes_draw_what_each_mode_gives():
    """E2M1 has 0, 0.5, 1, 1.5: what becomes of 0.7, -0.7 and of the tie 1.25."""
    figure = rf.plots.rounding_modes("float4_e2m1fn")
    drawn = {}
    for axes in figure.axes:
        x, y = (np.asarray(v) for v in axes.lines[1].get_data())
        drawn[axes.get_title()] = [y[np.nanargmin(np.abs(x - at))] for at in (0.7, -0.7, 1.25)]
    assert drawn == {
        "ties_to_even": [0.5, -0.5, 1.0],
        "ties_to_away": [0.5, -0.5, 1.5],
        "toward_zero": [0.5, -0.5, 1.0],
        "toward_positive": [1.0, -0.5, 1.5],
        "toward_negative": [0.5, -1.0, 1.0],
        "to_odd": [0.5, -0.5, 1.5],
    }


def test_a_notebook_shows_a_picture_that_ends_a_cell(estimate):
    for figure in (rf.plots.frontier(estimate), rf.plots.rounding_modes("float4_e2m1fn")):
        assert figure._repr_png_().startswith(b"\x89PNG")


def test_pictures_can_be_drawn_on_given_axes_and_leave_global_state_alone(estimate):
    import matplotlib
    from matplotlib.figure import Figure

    before = dict(matplotlib.rcParams)
    axes = Figure().subplots()
    assert rf.plots.frontier(estimate, ax=axes) is axes.figure
    assert dict(matplotlib.rcParams) == before


def test_the_picture_of_tails_has_a_line_for_each_format_and_scaling_over_the_degrees_of_freedom():
    nus = [2.0, np.inf]
    rows = [
        *rf.numerics.tail_table(nus=nus, size=16, trials=1),
        *rf.numerics.tail_table(nus=nus, size=16, trials=1, scaling="row"),
    ]
    (axes,) = rf.plots.tails(rows).axes
    assert len(axes.lines) == 6
    x, y = line(axes, "int8, a scale per row")
    assert x.tolist() == [0, 1]
    assert y.tolist() == [r.backward_error for r in rows if (r.format, r.scaling) == ("int8", "row")]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["2", "Gaussian"]


def test_a_distribution_is_drawn_as_a_density_with_its_fit():
    values = np.random.default_rng(0).standard_t(3, 20_000)
    (axes,) = rf.plots.errors_with_t({"errors": values}).axes
    (steps,) = axes.patches
    edges, heights = steps.get_data().edges, steps.get_data().values
    assert (heights * np.diff(edges)).sum() == pytest.approx(0.998, abs=1e-3)
    x, y = (np.asarray(v) for v in axes.lines[0].get_data())
    assert np.abs(np.interp(0, x, y) - 0.3676) < 0.02  # the density of t with 3 at 0


def test_the_picture_of_an_assignment_rings_what_was_chosen():
    from refimpl.numerics import candidates, choose, measure

    found = measure(rf.nn.mlp(widths=(8,)), rf.data.load("digits"), candidates(), steps=1)
    assignment = choose(found, tolerance=0.1)
    (axes,) = rf.plots.assignment(assignment).axes
    x, y = line(axes, "chosen")
    assert np.allclose(x, [max(choice.value, x.min()) for choice in assignment.choices])
    assert y.tolist() == list(range(6)) and line(axes, "tolerance")[0].tolist() == [0.1, 0.1]
    for i, candidate in enumerate(found.candidates):
        values = [operand.values[i, 0] for operand in found.operands.values()]
        drawn = line(axes, candidate.name)[0]
        assert all(d == v for d, v in zip(drawn, values, strict=True) if v > 0)


def test_what_was_predicted_is_drawn_point_by_point():
    from refimpl.numerics.prediction import Trained

    rows = [Trained("int8", 0.1, 0.1, 0.5, 0, (0.1,)), Trained("mixture 0", 0.2, 0.2, 0.7, 0, (0.2,))]
    (axes,) = rf.plots.predicted(rows, baseline=Trained("float32", 0.0, 0.1, 0.4, 0, (0.1,))).axes
    assert [v.tolist() for v in line(axes, "a mixture")] == [[0.2], [0.7]]
    assert line(axes, "float32")[1].tolist() == [0.4, 0.4]


def test_running_sums_and_staircases_are_drawn_as_given():
    (axes,) = rf.plots.running_sums([0, 5], {"in turn": [0.0, 4.0]}, exact=[0, 5]).axes
    assert [v.tolist() for v in line(axes, "in turn")] == [[0, 5], [0, 4]]
    assert [v.tolist() for v in line(axes, "exact")] == [[0, 5], [0, 5]]
    (axes,) = rf.plots.staircases([0.2, 0.8], {"int": [0.0, 1.0]}).axes
    assert [v.tolist() for v in line(axes, "int")] == [[0.2, 0.8], [0, 1]]


def test_the_certificate_picture_shows_error_and_bound_of_every_image_and_the_line_between():
    gamma, delta, bound = [0.5, 0.4, 0.1, 0.0], [0.01, 0.1, 0.08, 0.02], [0.1, 0.3, np.inf, 0.05]
    same = np.array([True, True, False, True])
    found = rf.numerics.Certificate(*map(np.array, (gamma, delta, bound)), same, "logits")
    assert found.proved.tolist() == [True, False, False, False]
    assert found.observed.tolist() == [True, True, False, False]
    (axes,) = rf.plots.certificate(found).axes
    x, y = line(axes, "measured error: 50.0% below the line")
    assert y.tolist() == delta and x[:3].tolist() == gamma[:3] and x[3] > 0
    assert line(axes, "bound: 25.0% proved")[1].tolist() == [0.1, 0.3, 0.05]
    assert line(axes, "no finite bound: 1 images")[0].tolist() == [0.1]
    assert [v.tolist() for v in line(axes, "another class: 1 images")] == [[0.1], [0.08]]
    x, y = line(axes, r"$\Gamma = 2\,\delta$")
    np.testing.assert_allclose(x, 2 * y)
    assert axes.get_xscale() == axes.get_yscale() == "log"


def test_weight_paths_are_drawn_with_the_band_they_cannot_enter():
    paths = {"nearest": [3.0, 2.0, 2.0], "Kahan": [3.0, 2.0, 1.4]}
    (axes,) = rf.plots.weight_paths(paths, target=1.37, radius=0.2).axes
    for name, path in paths.items():
        assert line(axes, name)[1].tolist() == path
    (band,) = axes.patches
    assert band.get_y() == pytest.approx(1.17) and band.get_height() == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("words", "call"),
    [
        ("bit_layout: format", lambda: rf.plots.bit_layout(["int8"])),
        ("bit_layout: formats is 3", lambda: rf.plots.bit_layout(3)),
        ("number_line: formats is 'e4m3'", lambda: rf.plots.number_line("e4m3")),
        ("number_line: limit is -1", lambda: rf.plots.number_line(["e4m3"], limit=-1)),
        ("ax is 'abc'", lambda: rf.plots.bit_layout(["e4m3"], ax="abc")),
        ("rounding_modes: format", lambda: rf.plots.rounding_modes("nf4")),
    ],
)
def test_formats_that_cannot_be_drawn_are_refused_by_name(words, call):
    with pytest.raises((TypeError, ValueError)) as error:
        call()
    assert words in str(error.value)
