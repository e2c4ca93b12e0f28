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
    assert [v.tolist() for v in line(axes, "recommended: d")] == [[4], [0.2]]
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


def test_policies_are_told_apart_without_colour():
    from refimpl.numerics.prediction import Trained

    rows = [Trained(f"policy {i}", 0.1, 0.1, 0.4, 0, (0.1,)) for i in range(20)]
    (axes,) = rf.plots.predicted(rows).axes
    marks = {
        (artist.get_marker(), artist.get_fillstyle()) for artist in axes.lines if artist.get_label() != "a mixture"
    }
    assert len(marks) == 20


def test_running_sums_and_staircases_are_drawn_as_given():
    (axes,) = rf.plots.running_sums([0, 5], {"in turn": [0.0, 4.0]}, exact=[0, 5]).axes
    assert [v.tolist() for v in line(axes, "in turn")] == [[0, 5], [0, 4]]
    assert [v.tolist() for v in line(axes, "exact")] == [[0, 5], [0, 5]]
    (axes,) = rf.plots.staircases([0.2, 0.8], {"int": [0.0, 1.0]}).axes
    assert [v.tolist() for v in line(axes, "int")] == [[0.2, 0.8], [0, 1]]


def test_a_tree_of_additions_has_a_dot_for_every_sum_and_tells_fused_ones():
    from refimpl.plots import sum_tree

    figure = sum_tree((((0, 1, 2), 3, 4, 5), (6, 7)))
    additions, fused = figure.axes[0].collections
    assert len(additions.get_offsets()) == 2 and len(fused.get_offsets()) == 2
    assert {text.get_text() for text in figure.axes[0].texts} == {str(k) for k in range(8)}


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


def every_picture():
    """Return each public picture of `rf.plots`, of small data."""
    from refimpl.numerics import candidates, choose, measure
    from refimpl.numerics.prediction import Trained
    from refimpl.papers.claim import Chart

    rng = np.random.default_rng(0)
    found = measure(rf.nn.mlp(widths=(8,)), rf.data.load("digits"), candidates(), steps=1)
    names = ["float32", *(f"int{bits}, a scale per row" for bits in range(2, 12)), *("mixture 0", "mixture 1")]
    trained = [Trained(n, 2.0**-i, 0.1, 0.5 + i / 10, 0, (0.1,)) for i, n in enumerate(names)]
    gamma = np.geomspace(1e-3, 1, 40)
    proof = rf.numerics.Certificate(gamma, gamma[::-1] / 99, gamma / 3, gamma > 2e-3, "logits")
    costs, errors = np.linspace(0.3, 0.5, 30), np.linspace(0.4, 0.01, 30)
    names = [f"e4m3+e{i}m7" for i in range(30)]
    measured = np.where(np.arange(30) % 6, np.nan, errors)
    chosen = np.flatnonzero(np.arange(30) % 6 == 0)
    band = (np.maximum(errors - 0.1, 0), errors + 0.1)
    guess = Estimate(names, costs, errors, measured, chosen, memory_cap_mb=0.49, band=band)
    memory = rf.peppp.memory.count(rf.nn.cnn(), (8, 8, 1), rf.peppp.Configuration("e4m3", "e8m7"))
    return {
        "assignment": rf.plots.assignment(choose(found, tolerance=0.1)),
        "bit_layout": rf.plots.bit_layout(["float16", "bfloat16", "float8_e4m3fn", "float4_e2m1fn"]),
        "certificate": rf.plots.certificate(proof, title="proved and measured"),
        "chart": rf.plots.chart(Chart("a", "Two", {"one": ([1, 2], [3, 4])}, x="seed", y="loss")),
        "error_lines": rf.plots.error_lines(
            [1, 2], {"e4": [[0.2, 0.3], [0.1, 0.1]]}, label="mantissa bits", baseline=0.05
        ),
        "errors_with_t": rf.plots.errors_with_t({n: rng.standard_t(3, 999) for n in ("int8", "float8_e4m3fn")}),
        "frontier": rf.plots.frontier(guess, true=errors * 1.1, title="a task, a network, a seed"),
        "memory": rf.plots.memory(memory, title="cnn"),
        "number_line": rf.plots.number_line(["float4_e2m1fn", "float8_e4m3fn"], limit=8),
        "operands": rf.plots.operands(found.capture, "2 Linear"),
        "predicted": rf.plots.predicted(trained, baseline=trained[0], label="backward error"),
        "relative_error": rf.plots.relative_error(),
        "rounding_modes": rf.plots.rounding_modes(),
        "running_sums": rf.plots.running_sums([0, 5], {"in turn": [0.0, 4.0]}, exact=[0, 5]),
        "staircases": rf.plots.staircases([0.2, 0.8], {"int": [0.0, 1.0]}),
        "sum_tree": rf.plots.sum_tree((((0, 1, 2), 3, 4, 5), (6, 7))),
        "tails": rf.plots.tails(rf.numerics.tail_table(nus=[2.0, np.inf], size=16, trials=1)),
        "weight_paths": rf.plots.weight_paths({"nearest": [3.0, 2.0, 2.0]}, target=1.0, radius=0.5),
    }


@pytest.fixture(scope="module", params=["default", "dark_background"])
def gallery(request):
    from matplotlib import style

    with style.context(request.param):
        pictures = every_picture()
        for figure in pictures.values():
            figure._repr_png_()
        yield pictures


def test_every_public_picture_is_in_the_gallery(gallery):
    assert set(gallery) == set(rf.plots.__all__)


def test_no_text_lies_on_another_or_beyond_the_picture(gallery):
    from matplotlib.text import Text

    for name, figure in gallery.items():
        beyond = {  # labels of ticks that are not drawn
            label
            for axes in figure.axes
            for axis in (axes.xaxis, axes.yaxis)
            for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks())
            for label in (tick.label1, tick.label2)
            if not min(axis.get_view_interval()) <= tick.get_loc() <= max(axis.get_view_interval())
        }
        texts = [t for t in figure.findobj(Text) if t.get_text().strip() and t.get_visible() and t not in beyond]
        boxes = [t.get_window_extent() for t in texts]
        for i, box in enumerate(boxes):
            inside = figure.bbox.padded(2)
            assert inside.x0 <= box.x0 and box.x1 <= inside.x1 and inside.y0 <= box.y0 and box.y1 <= inside.y1, (
                name,
                texts[i].get_text(),
            )
            for j in range(i):
                assert not box.padded(-1).overlaps(boxes[j].padded(-1)), (
                    name,
                    texts[i].get_text(),
                    texts[j].get_text(),
                )


def test_lines_and_words_stand_out_in_light_and_in_dark(gallery):
    from matplotlib.colors import to_rgba
    from matplotlib.lines import Line2D
    from matplotlib.text import Text

    def light(color, ground):
        rgba = np.array(to_rgba(color))
        rgb = rgba[:3] * rgba[3] + np.array(ground) * (1 - rgba[3])
        return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]

    for name, figure in gallery.items():
        ground = to_rgba(figure.get_facecolor())[:3]
        for artist in figure.findobj(lambda a: isinstance(a, (Line2D, Text)) and a.get_visible()):
            if name == "bit_layout" and isinstance(artist, Line2D) and artist.get_linewidth() == 0.6:
                continue  # on a light bar
            dark, bright = sorted((light(artist.get_color(), ground), light(ground, ground)))
            least = 3 if isinstance(artist, Text) else 1.3
            assert (bright + 0.05) / (dark + 0.05) >= least, (name, artist)


def test_axes_have_names(gallery):
    for name, figure in gallery.items():
        for axes in figure.axes:
            words = (axes.get_xlabel(), axes.get_ylabel(), figure.get_supxlabel())
            assert any(words), name


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
