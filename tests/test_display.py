"""Results look well to a person: one line in a console, a table in a notebook, a frame in pandas."""

import xml.etree.ElementTree as xml

import numpy as np
import pytest

import refimpl as rf
from refimpl.papers.claim import Finding, table
from refimpl.peppp import Configuration, ErrorMatrix, Estimate
from refimpl.peppp.memory import count


def results():
    """Return one result of every kind that a person would look at."""
    digits = rf.data.load("digits")
    network = rf.nn.mlp(widths=(4,))
    trained = rf.nn.fit(network, digits, epochs=2)
    evidence = rf.numerics.measure(rf.nn.mlp(widths=(4,)), digits, rf.numerics.candidates(), steps=1)
    matrix = rf.peppp.meta_training(digits)
    study = rf.peppp.Study(matrix, measurements=1)
    study.observe("e4m3+e8m7", 0.25)
    tables = (table("a < b", ("seed", "error"), [(0, 0.5)], "a remark"),)
    return {
        "matrix": matrix,
        "study": study,
        "estimate": study.estimate(),
        "training": trained,
        "evidence": evidence,
        "capture": evidence.capture,
        "assignment": rf.numerics.choose(evidence, tolerance=0.1),
        "certificate": rf.numerics.certify(network, digits.test_images[:9], rf.nn.preset("pure16")),
        "report": rf.testing.conform(lambda x: x, "float8_e4m3fn"),
        "identification": rf.testing.identify(lambda x: x.astype(np.float16)),
        "memory": count(rf.nn.cnn(), (8, 8, 1), Configuration("e4m3", "e8m7")),
        "plan": rf.nn.rounding_plan(rf.nn.cnn(), digits, rf.Precision(low="e4m3", high="e8m7")),
        "finding": Finding("does not hold here", "0.5 < 0.6", tables=tables),
        "table": tables[0],
        "format": rf.format("e4m3"),
    }


@pytest.fixture(scope="module")
def found():
    return results()


def cells(html):
    """Return the rows of an HTML table as text; it has to be well formed."""
    whole = xml.fromstring(f"<all>{html}</all>".replace("colspan=2", "colspan='2'"))
    return [["".join(cell.itertext()) for cell in row] for row in whole.iter("tr")]


def test_every_result_says_itself_in_one_short_line(found):
    for name, result in found.items():
        if name != "table":
            assert len(repr(result)) < 200 and "\n" not in repr(result), name


def test_every_result_but_those_that_say_it_in_a_line_is_a_well_formed_table_in_a_notebook(found):
    for name, result in found.items():
        if name not in ("study", "evidence", "capture", "identification"):
            rows = cells(result._repr_html_())
            assert len(rows) >= 1 and len({len(row) for row in rows if row}) <= 2, name


def test_the_table_of_an_estimate_is_its_frontier():
    errors, measured = [0.5, 0.25, 0.1, 0.3], [np.nan, 0.25, np.nan, np.nan]
    band = ([0.4, 0.25, 0.0, 0.2], [0.6, 0.25, 0.2, 0.4])
    estimate = Estimate([*"abcd"], [1, 2, 3, 4], errors, measured, [1], band=band, notes=["a note"])
    assert repr(estimate) == "<Estimate: 1 of 4 configurations measured; recommended c, error 0.1, cost 3>"
    assert "a note" in estimate._repr_html_()
    head, *rows = cells(estimate._repr_html_())
    assert head[:6] == ["frontier", "cost", "error", "band from", "to", "measured"]
    assert [row[:6] for row in rows] == [
        ["a", "1", "0.5", "0.4", "0.6", ""],
        ["b", "2", "0.25", "0.25", "0.25", "0.25"],
        ["c", "3", "0.1", "0", "0.2", ""],
    ]
    assert rows[2][6] == "recommended"


def test_the_band_of_an_estimate_without_one_is_left_empty():
    head, *rows = cells(Estimate(["a", "b"], [1, 2], [0.4, 0.2], [np.nan, 0.3], [1])._repr_html_())
    assert [head[3:5], *(row[3:5] for row in rows)] == [["band from", "to"], ["", ""], ["", ""]]


def test_a_large_matrix_is_shown_by_its_corner_and_a_small_one_whole():
    values = np.arange(100).reshape(10, 10) / 100
    rows, columns = [f"task {i}" for i in range(10)], [f"c{i}" for i in range(10)]
    shown = cells(ErrorMatrix(values, rows, columns)._repr_html_())
    assert [len(row) for row in shown] == [10] * 10 and shown[1][:3] == ["task 0", "0", "0.01"]
    assert shown[8][0] == "task 7" and set(shown[9]) == {"..."} == {shown[0][9]}
    small = ErrorMatrix([[0.5, np.nan]], ["<one>"], ["a", "b"])
    assert cells(small._repr_html_()) == [["", "a", "b"], ["<one>", "0.5", ""]]
    assert repr(small) == "<ErrorMatrix: 1 tasks x 2 configurations, 1 of 2 measured, errors 0.5 to 0.5>"


def test_the_table_of_a_training_has_a_row_for_each_epoch(found):
    head, *rows = cells(found["training"]._repr_html_())
    assert head[0] == "epoch" and [row[0] for row in rows] == ["1", "2"]
    assert rows[1][1] == f"{found['training'].history[1]['loss']:.4g}"


def test_an_error_matrix_goes_to_pandas_and_comes_back_the_same():
    pandas = pytest.importorskip("pandas")
    matrix = ErrorMatrix([[0.5, np.nan], [0.1, 0.2]], ["one", "two"], ["a", "b"], metadata={"seed": 0})
    frame = matrix.to_frame()
    assert frame.loc["two", "b"] == 0.2 and np.isnan(frame.loc["one", "b"]) and frame.columns.name == "configuration"
    again = ErrorMatrix.from_frame(frame, metadata={"seed": 0})
    assert again.fingerprint == matrix.fingerprint and again.metadata == {"seed": 0}
    frame.loc["two", "b"] = 0.9
    assert matrix.values[1, 1] == 0.2
    missing = pandas.DataFrame({"a": pandas.array([0.5, None], dtype="Float64")}, index=["x", "y"])
    assert np.isnan(ErrorMatrix.from_frame(missing).values[1, 0])


def test_what_is_no_frame_is_refused():
    with pytest.raises(TypeError, match="from_frame: frame is .*DataFrame"):
        ErrorMatrix.from_frame([[0.5]])


@pytest.mark.parametrize("room", ["", ".peppp", ".nn", ".data", ".numerics", ".plots", ".testing", ".autodiff"])
def test_dir_lists_every_public_name(room):
    module = __import__(f"refimpl{room}", fromlist=["x"])
    assert set(module.__all__) <= set(dir(module)) and all(hasattr(module, name) for name in module.__all__)
