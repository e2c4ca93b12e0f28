"""The error matrix, its file, and the names of the paper's configurations."""

import dataclasses
import io
import os
import pickle
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refimpl import data
from refimpl.peppp.configs import CONFIGURATIONS, HIGH, LOW, configuration
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
    for name in ("values", "memory_mb", "seconds", "repeats"):
        x, y = getattr(a, name), getattr(b, name)
        assert (x is None) == (y is None)
        assert x is None or (x.tobytes() == y.tobytes() and x.shape == y.shape)
    assert (a.images is None) == (b.images is None)
    assert a.images is None or [m.tolist() for m in a.images] == [m.tolist() for m in b.images]


names = st.lists(st.text("abcé +木", min_size=1, max_size=5), unique=True, max_size=4)


@given(names, names, st.booleans(), st.data())
def test_what_is_saved_is_loaded_bit_for_bit(tmp_path_factory, rows, columns, bare, drawn):
    def draw(largest, allow_nan):
        cell = st.floats(0, largest)
        cell = cell | st.just(np.nan) if allow_nan else cell
        size = len(rows) * len(columns)
        cells = drawn.draw(st.lists(cell, min_size=size, max_size=size))
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
        raise OSError(28, "disk full")

    monkeypatch.setattr(np, "savez_compressed", fail)
    with pytest.raises(OSError, match="disk full"):
        small(metadata={}).save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["errors.npz"]


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


def refused(path, name, load=ErrorMatrix.load, **options):
    with pytest.raises(ValueError) as caught:
        load(path, **options)
    text = str(caught.value)
    assert "\n" not in text and str(path) in text and name in text, text


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


class Bomb:
    """Its unpickling would raise KeyboardInterrupt, which nothing here catches."""

    def __reduce__(self):
        return (_explode, ())


def _explode():
    raise KeyboardInterrupt("unpickled")


PICKLE = np.array([Bomb()], dtype=object)
ARRAYS = {"values": np.zeros((1, 1)), "rows": np.array(["r"]), "columns": np.array(["c"])}


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        *(({name: PICKLE}, "pickle") for name in ("values", "rows", "metadata", "another")),
        *(({name: None}, f"without the array '{name}'") for name in ARRAYS),
        ({"values": np.full((1, 1), 2.0)}, "values['r', 'c'] is 2.0"),
        ({"values": np.zeros((1, 2))}, "values is of shape (1, 2)"),
        ({"values": np.array([["x"]])}, "'values'"),
        ({"values": np.zeros((1, 1), complex)}, "'values'"),
        ({"rows": np.array([1])}, "'rows'"),
        ({"rows": np.array("r")}, "'rows'"),
        ({"rows": np.array(["r", "r"]), "values": np.zeros((2, 1))}, "'r' is named twice"),
        ({"metadata": np.array("{")}, "not JSON"),
        ({"metadata": np.array("[]")}, "metadata is []"),
    ],
)
def test_a_file_with_content_that_makes_no_sense_is_refused_and_never_unpickled(tmp_path, changes, name):
    arrays = {key: array for key, array in (ARRAYS | changes).items() if array is not None}
    np.savez(tmp_path / "errors.npz", **arrays)
    refused(tmp_path / "errors.npz", name)


@pytest.mark.parametrize(
    ("content", "name"),
    [
        *((pickle.dumps(Bomb(), protocol=protocol), "pickle") for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1)),
        *((content, "not an npz file") for content in (b"", b"memory,error\n1,2\n", b"\x93NUMPY\x01\x00")),
        (None, "No such file"),
    ],
)
def test_a_file_of_another_kind_is_refused(tmp_path, content, name):
    if content is not None:
        (tmp_path / "errors.npz").write_bytes(content)
    refused(tmp_path / "errors.npz", name)


@pytest.mark.parametrize(
    ("demanded", "name"),
    [("axc", "is b; allowed is x"), ("ab", "is c; allowed is no further column"), ("abcd", "is missing; allowed is d")],
)
def test_other_columns_than_demanded_are_refused_by_the_first_difference(tmp_path, demanded, name):
    path = tmp_path / "errors.npz"
    small().save(path)
    assert_same(ErrorMatrix.load(path, columns=["a", "b", "c"]), small())
    refused(path, name, columns=list(demanded))


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


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_plain_table_of_errors_is_read(tmp_path, newline):
    lines = ["task,x,y", "digits,0.5,", "glyphs,nan,0.25", ""]
    (tmp_path / "table.csv").write_bytes(newline.join(lines).encode())
    found = ErrorMatrix.load_csv(tmp_path / "table.csv")
    assert (found.rows, found.columns) == (("digits", "glyphs"), ("x", "y"))
    np.testing.assert_array_equal(found.values, [[0.5, np.nan], [np.nan, 0.25]])


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("", "without a table"),
        ("task,x\na,0.5,0.5\n", "3 fields in line 2"),
        ("task,x\na,half\n", "'half' in line 2"),
        ("task,x\na,1.5\n", "values['a', 'x'] is 1.5"),
        ("task,configuration,error\na,x,0.5\na,x,0.5\n", "a second time in line 3"),
        ("# [\ntask,x\na,0.5\n", "not JSON"),
        ('# {"images": [[-1]]}\ntask,x\na,0.5\n', "images['a'] is [-1]"),
        ('# {"images": 3}\ntask,x\na,0.5\n', "images is 3"),
        (b"\xff\xfe", "UTF-8"),
        (None, "No such file"),
    ],
)
def test_a_csv_that_is_not_an_error_matrix_is_refused_by_line(tmp_path, text, name):
    if text is not None:
        (tmp_path / "errors.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    refused(tmp_path / "errors.csv", name, ErrorMatrix.load_csv)


def test_names_of_files_that_are_no_utf_8_go_into_csv_and_npz_and_come_back(tmp_path):
    named = ErrorMatrix([[0.5], [0.25]], rows=[os.fsdecode(b"caf\xe9.npz"), "\ud800é"], columns=["x"])
    named.save_csv(tmp_path / "errors.csv")
    named.save(tmp_path / "errors.npz")
    assert_same(ErrorMatrix.load_csv(tmp_path / "errors.csv"), named)
    assert_same(ErrorMatrix.load(tmp_path / "errors.npz"), named)


IMAGES = {"mine": data.load("digits"), "yours": data.load("greek-ten"), "other": data.load("dots")}


def repeated():
    """Three rows of known images and one of unknown, trained up to three times."""
    runs = np.array([[[r / 8 + k / 32 + c / 64 for c in range(3)] for r in range(4)] for k in range(3)])
    runs[2, :2], runs[1:, 3], runs[:, 0, 1] = np.nan, np.nan, np.nan
    values = np.full((4, 3), np.nan)
    for r, c in np.argwhere(~np.isnan(runs[0])):
        values[r, c] = np.mean([e for e in runs[:, r, c] if e == e])
    images = [*(task.marks for task in IMAGES.values()), []]
    return ErrorMatrix(values, [*IMAGES, "unknown"], [*"abc"], repeats=runs, images=images)


def by_npz(errors, path):
    errors.save(path)
    return ErrorMatrix.load(path)


def by_csv(errors, path):
    errors.save_csv(path)
    return ErrorMatrix.load_csv(path)


TRIPS = {
    "nowhere": lambda errors, path: errors,
    "npz": by_npz,
    "CSV": by_csv,
    "a selection": lambda errors, path: errors.select(rows=["unknown", "other", "mine"], columns=["c", "a"]),
    "leaving one out": lambda errors, path: errors.without_rows(["mine"]),
    "merging rows": lambda errors, path: errors.select(rows=["other", "mine"]).merge(
        errors.select(rows=["unknown", "yours"])
    ),
    "merging columns": lambda errors, path: errors.select(columns=["b"]).merge(errors.select(columns=["c", "a"])),
    "merging with what is known of no images": lambda errors, path: (
        ErrorMatrix([[0.5]], ["new"], ["a"]).merge(errors).without_rows(["new"])
    ),
    "all in turn": lambda errors, path: by_npz(by_csv(errors.merge(errors), path).select(rows=errors.rows[::-1]), path),
}


@pytest.mark.parametrize("trip", TRIPS.values(), ids=TRIPS)
def test_repeats_and_images_go_with_their_rows_wherever_these_go(tmp_path, trip):
    before = repeated()
    after = trip(before, tmp_path / "errors")
    for i, row in enumerate(after.rows):
        for j, column in enumerate(after.columns):
            runs = before.repeats[:, before.rows.index(row), before.columns.index(column)]
            np.testing.assert_array_equal(after.repeats[:, i, j], runs)
        assert after.images[i].tolist() == before.images[before.rows.index(row)].tolist()
    for name, task in IMAGES.items():  # the guard against leakage, both ways
        renamed = dataclasses.replace(task, name="renamed", images_from="")
        half = dataclasses.replace(
            renamed, train_images=task.train_images[::2], train_labels=task.train_labels[::2], classes=task.classes
        )
        for same in (task, renamed, half):
            assert after.rows_sharing(same.marks) == ((name,) if name in after.rows else ())
    assert after.rows_sharing(data.load("curves").marks) == ()


def test_a_matrix_of_unknown_images_shares_none(tmp_path):
    assert small().rows_sharing(IMAGES["mine"].marks) == ()
    assert by_csv(by_npz(small(), tmp_path / "errors"), tmp_path / "errors").images is None


def test_memory_known_in_both_parts_agrees_to_a_relative_1e_9():
    def part(memory):
        return ErrorMatrix([[0.5]], ["a"], ["x"], [[memory]])

    for other in (3.0, 3.0 * (1 + 1e-10)):
        assert part(3.0).merge(part(other)).memory_mb[0, 0] == 3.0
    with pytest.raises(ValueError, match="memory_mb"):
        part(3.0).merge(part(3.0 * (1 + 1e-8)))


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
    with pytest.raises(ValueError, match="'a', 'x'. is 0.25 and 0.75"):
        one.merge(two)
    assert one.merge(two, on_conflict="first").values[0, 0] == 0.25
    assert one.merge(two, on_conflict="second").values[0, 0] == 0.75
    with pytest.raises(ValueError, match="memory_mb.* is 1.0 and 2.0"):
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


def test_marks_of_images_cannot_be_written():
    errors = ErrorMatrix([[0.5]], ["a"], ["x"], images=[[1, 2]])
    with pytest.raises(ValueError, match="read-only"):
        errors.images[0][0] = 3
