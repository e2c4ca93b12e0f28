"""The error matrix, its file, and the names of the paper's configurations."""

import io
import pickle
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refimpl.peppp.configs import CONFIGURATIONS, HIGH, LOW, Configuration, configuration
from refimpl.peppp.matrix.error_matrix import ErrorMatrix


def small(**changes):
    fields = {
        "values": [[0.5, np.nan, 0.25], [1.0, 0.0, 0.125]],
        "rows": ["digits", "glyphs"],
        "columns": ["a", "b", "c"],
        "memory_mb": [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]],
        "seconds": [[1.5, np.nan, 2.5], [0.0, 1.0, 2.0]],
        "metadata": {"seed": 1, "settings": {"rounding": "stochastic"}},
    }
    return ErrorMatrix(**(fields | changes))


def assert_same(a, b):
    assert (a.rows, a.columns, a.metadata) == (b.rows, b.columns, b.metadata)
    for name in ("values", "memory_mb", "seconds"):
        x, y = getattr(a, name), getattr(b, name)
        assert (x is None) == (y is None)
        assert x is None or (x.tobytes() == y.tobytes() and x.shape == y.shape)


names = st.lists(st.text("abcé +木", min_size=1, max_size=5), unique=True, max_size=4)


@given(names, names, st.booleans(), st.data())
def test_what_is_saved_is_loaded_bit_for_bit(tmp_path_factory, rows, columns, bare, data):
    def draw(largest, allow_nan):
        cell = st.floats(0, largest)
        cell = cell | st.just(np.nan) if allow_nan else cell
        size = len(rows) * len(columns)
        cells = data.draw(st.lists(cell, min_size=size, max_size=size))
        return np.array(cells, dtype=float).reshape(len(rows), len(columns))

    extra = {} if bare else {"memory_mb": draw(1e6, False), "seconds": draw(1e6, True)}
    matrix = ErrorMatrix(draw(1, True), rows, columns, metadata={"note": "é"}, **extra)
    path = tmp_path_factory.mktemp("matrix") / "errors.npz"
    matrix.save(path)
    assert_same(ErrorMatrix.load(path), matrix)


def test_equal_matrices_give_equal_files(tmp_path):
    small(metadata={"a": 1, "b": 2}).save(tmp_path / "one")
    small(metadata={"b": 2, "a": 1}).save(tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    with zipfile.ZipFile(tmp_path / "one") as archive:  # the time of day is not in it
        assert {member.date_time[:3] for member in archive.infolist()} == {(1980, 1, 1)}


def test_a_save_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "errors.npz"
    small().save(path)
    before = path.read_bytes()

    def fail(file, **arrays):
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez_compressed", fail)
    with pytest.raises(OSError, match="disk full"):
        small(metadata={}).save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["errors.npz"]


def test_a_reader_of_the_old_file_is_not_disturbed_by_a_save(tmp_path):
    path = tmp_path / "errors.npz"
    small().save(path)
    before = path.read_bytes()
    with open(path, "rb") as reader:
        small(metadata={}).save(path)
        assert reader.read() == before
    assert ErrorMatrix.load(path).metadata == {}


def test_arrays_are_private_copies_and_read_only():
    values = np.full((1, 1), 0.5)
    matrix = ErrorMatrix(values, ["r"], ["c"])
    values[0, 0] = 0.75
    assert matrix.values[0, 0] == 0.5
    with pytest.raises(ValueError, match="read-only"):
        matrix.values[0, 0] = 0.75
    with pytest.raises(ValueError, match="read-only"):
        matrix.row("r")[0] = 0.75


def test_parts_are_selected_by_name_in_the_order_asked():
    part = small().select(rows=["glyphs"], columns=["c", "a"])
    assert_same(
        part,
        small(values=[[0.125, 1.0]], rows=["glyphs"], columns=["c", "a"], memory_mb=[[6.0, 4.0]], seconds=[[2.0, 0.0]]),
    )
    assert_same(small().without_rows(["digits"]), small().select(rows=["glyphs"]))
    assert small().row("glyphs").tolist() == [1.0, 0.0, 0.125]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"values": [[0.5, 0.5, 1.5], [0, 0, 0]]}, r"values 1.5 in row 'digits', column 'c'"),
        ({"values": [[0.5, 0.5, 0.5], [-0.5, 0, 0]]}, r"values -0.5 in row 'glyphs', column 'a'"),
        ({"values": [[0.5, 0.5, np.inf], [0, 0, 0]]}, r"values inf in row 'digits', column 'c'"),
        ({"values": [[0.5, 0.5]]}, r"values of shape \(1, 2\); allowed is \(2, 3\)"),
        ({"memory_mb": [[1.0]]}, r"memory_mb of shape \(1, 1\)"),
        ({"memory_mb": np.full((2, 3), np.nan)}, r"memory_mb nan in row 'digits', column 'a'"),
        ({"seconds": np.full((2, 3), -1.0)}, r"seconds -1.0 in row 'digits', column 'a'"),
        ({"rows": ["digits", "digits"]}, r"row name 'digits' twice"),
        ({"columns": ["a", "b", "b"]}, r"column name 'b' twice"),
        ({"columns": ["a", "", "c"]}, r"'' as name of column 1"),
        ({"rows": ["digits", 2]}, r"2 as name of row 1"),
        ({"metadata": {"when": object()}}, r"metadata that JSON cannot hold"),
        ({"metadata": {"loss": np.nan}}, r"metadata that JSON cannot hold"),
        ({"metadata": ["a"]}, r"metadata of type list"),
    ],
)
def test_content_that_makes_no_sense_is_refused_by_name(changes, message):
    with pytest.raises(ValueError, match=message):
        small(**changes)


@pytest.mark.parametrize("part", [{"rows": ["digit"]}, {"columns": ["A"]}])
def test_unknown_names_are_refused_with_a_proposal(part):
    with pytest.raises(ValueError, match="did you mean"):
        small().select(**part)


def refused(path, message, **options):
    with pytest.raises(ValueError, match=message) as caught:
        ErrorMatrix.load(path, **options)
    text = str(caught.value)
    assert "\n" not in text and str(path) in text


def test_a_missing_file_is_refused(tmp_path):
    refused(tmp_path / "none.npz", "does not exist")
    refused(tmp_path, "is not a file")


def test_a_file_cut_anywhere_is_refused(tmp_path):
    path = tmp_path / "errors.npz"
    small().save(path)
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        refused(path, "truncated, damaged or not an npz file")


def test_a_file_with_one_wrong_byte_is_refused_or_unchanged_in_meaning(tmp_path):
    path = tmp_path / "errors.npz"
    small().save(path)
    content = path.read_bytes()
    for index in range(len(content)):
        path.write_bytes(content[:index] + bytes([content[index] ^ 0x41]) + content[index + 1 :])
        try:
            matrix = ErrorMatrix.load(path)
        except ValueError:
            continue
        assert matrix.values.tobytes() == small().values.tobytes()


def test_a_file_of_another_kind_is_refused(tmp_path):
    path = tmp_path / "errors.npz"
    for content in (b"", b"memory,error\n1,2\n", b"\x93NUMPY\x01\x00"):
        path.write_bytes(content)
        refused(path, "not an npz file")


class Bomb:
    """Its unpickling would raise KeyboardInterrupt, which nothing here catches."""

    def __reduce__(self):
        return (_explode, ())


def _explode():
    raise KeyboardInterrupt("unpickled")


@pytest.mark.parametrize("where", ["values", "rows", "metadata", "another"])
def test_a_pickle_inside_the_file_is_refused_and_never_unpickled(tmp_path, where):
    path = tmp_path / "errors.npz"
    arrays = {"values": np.zeros((1, 1)), "rows": np.array(["r"]), "columns": np.array(["c"])}
    arrays[where] = np.array([Bomb()], dtype=object)
    np.savez(path, **arrays)
    refused(path, "contains a pickle")


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_a_file_that_is_a_pickle_is_refused_and_never_unpickled(tmp_path, protocol):
    path = tmp_path / "errors.npz"
    path.write_bytes(pickle.dumps(Bomb(), protocol=protocol))
    refused(path, "contains a pickle")


@pytest.mark.parametrize("name", ["values", "rows", "columns"])
def test_a_file_without_an_array_it_needs_is_refused(tmp_path, name):
    arrays = {"values": np.zeros((1, 1)), "rows": np.array(["r"]), "columns": np.array(["c"])}
    del arrays[name]
    np.savez(tmp_path / "errors.npz", **arrays)
    refused(tmp_path / "errors.npz", f"without the array '{name}'")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"values": np.full((1, 1), 2.0)}, r"values 2.0 in row 'r', column 'c'"),
        ({"values": np.zeros((1, 2))}, r"values of shape \(1, 2\)"),
        ({"values": np.array([["x"]])}, r"'values' of another kind"),
        ({"values": np.zeros((1, 1), complex)}, r"'values' of another kind"),
        ({"rows": np.array([1])}, r"'rows' of another kind"),
        ({"rows": np.array("r")}, r"'rows' of shape \(\)"),
        ({"rows": np.array(["r", "r"]), "values": np.zeros((2, 1))}, r"row name 'r' twice"),
        ({"metadata": np.array("{")}, r"metadata that is not JSON"),
        ({"metadata": np.array("[]")}, r"metadata of type list"),
    ],
)
def test_a_file_with_content_that_makes_no_sense_is_refused(tmp_path, changes, message):
    arrays = {"values": np.zeros((1, 1)), "rows": np.array(["r"]), "columns": np.array(["c"])}
    np.savez(tmp_path / "errors.npz", **(arrays | changes))
    refused(tmp_path / "errors.npz", message)


@pytest.mark.parametrize(
    ("demanded", "message"),
    [
        (["a", "x", "c"], r"column 1 is 'b'; allowed is 'x'"),
        (["a", "b"], r"column 2 is 'c'; allowed is no further column"),
        (["a", "b", "c", "d"], r"column 3 is missing; allowed is 'd'"),
        (["b", "a", "c"], r"column 0 is 'a'; allowed is 'b'"),
    ],
)
def test_other_columns_than_demanded_are_refused_by_the_first_difference(tmp_path, demanded, message):
    path = tmp_path / "errors.npz"
    small().save(path)
    assert_same(ErrorMatrix.load(path, columns=["a", "b", "c"]), small())
    refused(path, message, columns=demanded)


def test_a_file_in_memory_layout_of_another_program_is_read(tmp_path):
    """Float32, column-major, uncompressed: numbers are what counts."""
    values = np.asfortranarray(np.array([[0.5, 0.25]], dtype=np.float32))
    buffer = io.BytesIO()
    np.savez(buffer, values=values, rows=np.array(["r"]), columns=np.array(["a", "b"]))
    (tmp_path / "errors.npz").write_bytes(buffer.getvalue())
    assert ErrorMatrix.load(tmp_path / "errors.npz").values.tolist() == [[0.5, 0.25]]


def test_csv_gives_back_every_bit(tmp_path):
    odd = small(values=[[0.1 + 0.2, np.nan, 1 / 3], [1.0, 0.0, 5e-324]])
    odd.save_csv(tmp_path / "errors.csv")
    assert_same(ErrorMatrix.load_csv(tmp_path / "errors.csv"), odd)
    bare = ErrorMatrix([[0.5, np.nan]], rows=['a,"b"\n\r\u2028c'], columns=["x", "y"])
    bare.save_csv(tmp_path / "bare.csv")
    assert_same(ErrorMatrix.load_csv(tmp_path / "bare.csv"), bare)


def test_a_csv_whose_writing_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "errors.csv"
    small().save_csv(path)
    before = path.read_bytes()
    monkeypatch.setattr("refimpl.peppp.matrix.csv_files._text", lambda number: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        small().save_csv(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["errors.csv"]


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_plain_table_of_errors_is_read(tmp_path, newline):
    lines = ["task,x,y", "digits,0.5,", "glyphs,nan,0.25", ""]
    (tmp_path / "table.csv").write_bytes(newline.join(lines).encode())
    found = ErrorMatrix.load_csv(tmp_path / "table.csv")
    assert (found.rows, found.columns) == (("digits", "glyphs"), ("x", "y"))
    np.testing.assert_array_equal(found.values, [[0.5, np.nan], [np.nan, 0.25]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "without a table"),
        ("task,x\na,0.5,0.5\n", "3 fields in line 2"),
        ("task,x\na,half\n", "'half' in line 2"),
        ("task,x\na,1.5\n", "1.5 in row 'a', column 'x'"),
        ("task,configuration,error\na,x,0.5\na,x,0.5\n", "a second time in line 3"),
        ("# [\ntask,x\na,0.5\n", "is not JSON"),
    ],
)
def test_a_csv_that_is_no_error_matrix_is_refused_by_line(tmp_path, text, message):
    (tmp_path / "errors.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        ErrorMatrix.load_csv(tmp_path / "errors.csv")
    with pytest.raises(ValueError, match="cannot be read"):
        ErrorMatrix.load_csv(tmp_path / "none.csv")


def test_merging_the_parts_of_a_matrix_gives_it_back():
    whole = small()
    parts = [whole.select(columns=["a", "b"]), whole.select(columns=["c"])]
    merged = parts[0].merge(parts[1])
    assert (merged.rows, merged.columns) == (whole.rows, whole.columns)
    for name in ("values", "memory_mb", "seconds"):
        np.testing.assert_array_equal(getattr(merged, name), getattr(whole, name))
    assert merged.metadata["seed"] == 1
    origins = merged.metadata["merged_from"]
    assert [o["columns"] for o in origins] == [["a", "b"], ["c"]]
    assert [o["fingerprint"] for o in origins] == [p.fingerprint for p in parts]


def test_what_neither_part_measured_stays_unmeasured():
    one = ErrorMatrix([[0.5]], ["a"], ["x"], metadata={"seed": 1, "epochs": 2})
    two = ErrorMatrix([[0.25]], ["b"], ["y"], metadata={"seed": 2, "epochs": 2})
    merged = one.merge(two)
    np.testing.assert_array_equal(merged.values, [[0.5, np.nan], [np.nan, 0.25]])
    assert merged.metadata["epochs"] == 2 and "seed" not in merged.metadata


def test_cells_measured_differently_are_a_conflict_unless_one_is_preferred():
    one, two = (ErrorMatrix([[e, 0.5]], ["a"], ["x", "y"]) for e in (0.25, 0.75))
    with pytest.raises(ValueError, match="0.25 and 0.75 in row 'a', column 'x'"):
        one.merge(two)
    assert one.merge(two, on_conflict="first").values[0, 0] == 0.25
    assert one.merge(two, on_conflict="second").values[0, 0] == 0.75
    with pytest.raises(ValueError, match="memory 1.0 and 2.0 MB"):
        ErrorMatrix([[0.5]], ["a"], ["x"], [[1.0]]).merge(ErrorMatrix([[0.5]], ["a"], ["x"], [[2.0]]))


def test_a_fingerprint_changes_with_any_cell_and_with_nothing_else():
    assert small().fingerprint == small(metadata={}, seconds=None).fingerprint
    others = [
        small(values=[[0.5, 0.5, 0.25], [1.0, 0.0, 0.125]]),
        small(rows=["a", "b"]),
        small(memory_mb=[[1.0, 2.0, 3.0], [4.0, 5.0, 7.0]]),
    ]
    assert len({m.fingerprint for m in (small(), *others)}) == 4


# (total bits, mantissa bits) as the code released with the paper (arXiv 2106.09686) lists them
PAPER_LOW = [(5, 1), (6, 2), (7, 3), (8, 4), (6, 1), (7, 2), (8, 3), (9, 4), (7, 1), (8, 2), (9, 3)]
PAPER_HIGH = [(14, 7), (16, 9), (18, 11), (15, 7), (17, 9), (19, 11), (16, 7), (18, 9), (20, 11)]


def test_the_configurations_are_the_papers_in_its_order():
    assert LOW == tuple(f"e{bits - 1 - m}m{m}" for bits, m in PAPER_LOW)
    assert HIGH == tuple(f"e{bits - 1 - m}m{m}" for bits, m in PAPER_HIGH)
    assert len(CONFIGURATIONS) == 99
    for i, (low_bits, _) in enumerate(PAPER_LOW):
        for j, (high_bits, _) in enumerate(PAPER_HIGH):
            found = CONFIGURATIONS[9 * i + j]
            assert (found.low, found.high) == (LOW[i], HIGH[j])
            assert (found.low_bits, found.high_bits) == (low_bits, high_bits)


def test_a_configuration_is_found_by_its_name():
    for c in CONFIGURATIONS:
        assert configuration(c.name) is c


@pytest.mark.parametrize(
    ("name", "near"), [("e4m3+e8m8", "e4m3[+]e8m7"), ("E4M3+E8M7", "e4m3[+]e8m7"), ("", "did you mean"), (7, "got 7")]
)
def test_an_unknown_configuration_is_refused_with_near_names(name, near):
    with pytest.raises(ValueError, match=near):
        configuration(name)


@pytest.mark.parametrize("name", ["m3", "e0m3", "e4m", "e4m03", "E4M3", "float8", "", None])
def test_a_format_name_outside_the_grammar_is_refused(name):
    with pytest.raises(ValueError, match="write for example 'e4m3'"):
        Configuration(name, "e8m7")
