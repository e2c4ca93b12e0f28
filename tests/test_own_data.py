"""Data sets as people have them: every layout is recognised or refused, and a line says what was read."""

import dataclasses
import gzip
import json
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from refimpl import data, nn, plots
from refimpl.data.files import folders

RNG = np.random.default_rng(0)
LABELS = np.arange(20) % 4


def npz(path, images, labels=LABELS, **more):
    np.savez(path, x_train=images, y_train=labels, x_test=images, y_test=labels, **more)
    return data.load(path)


# -- layouts of arrays ------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_channels_first_and_channels_last_are_the_same_images_and_the_line_says_which(tmp_path, channels):
    images = RNG.integers(0, 256, (20, 6, 5, channels), np.uint8)
    last, first = npz(tmp_path / "last.npz", images), npz(tmp_path / "first.npz", np.moveaxis(images, 3, 1))
    assert np.array_equal(last.train_images, first.train_images) and first.train_images.flags.c_contiguous
    assert np.array_equal(np.rint(first.test_images * 255), images)
    assert "20 training and 20 test images of 6 x 5 pixels" in first.note
    assert "read as (n, channels, height, width)" in first.note
    assert "read as (n, height, width, channels)" in last.note


@pytest.mark.parametrize("shape", [(3, 32, 3), (1, 28, 1), (4, 4, 1), (8, 8, 2), (10, 10, 10), (32, 3, 32)])
def test_a_shape_that_does_not_say_where_its_channels_are_is_refused(tmp_path, shape):
    with pytest.raises(ValueError, match=r"a.npz: images of shape .* do not say where their channels are"):
        npz(tmp_path / "a.npz", np.zeros((20, *shape), np.uint8))


# -- scales of intensities --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("images", "expected", "said"),
    [
        (np.uint8([0, 51, 255]), [0, 0.2, 1], "divided by 255"),
        (np.uint16([0, 13107, 65535]), [0, 0.2, 1], "divided by 65535"),
        (np.array([0, 13107, 52428], ">u2"), [0, 0.2, 0.8], "divided by 65535"),
        (np.uint8([0, 1, 1]), [0, 1, 1], "as they are"),
        (np.array([False, True, True]), [0, 1, 1], "as they are"),
        (np.float16([0.25, 0.5, 0.75]), [0.25, 0.5, 0.75], "as they are"),
        (np.float32([-2, 0, 3]), [0, 0.4, 1], "from -2 to 3 brought to 0 to 1"),
        (np.float64([0, 4, 16]), [0, 0.25, 1], "from 0 to 16 brought to 0 to 1"),
        (np.int64([0, 51, 255]), [0, 0.2, 1], "from 0 to 255 brought to 0 to 1"),
    ],
)
def test_intensities_are_brought_to_0_to_1_by_one_linear_map_that_is_said(tmp_path, images, expected, said):
    task = npz(tmp_path / "a.npz", np.resize(images, (20, 3, 3)))
    assert np.allclose(task.train_images[0, 0, :, 0], expected, rtol=1e-7, atol=0)
    assert said in task.note


def test_training_and_test_images_are_brought_to_0_to_1_by_the_same_map(tmp_path):
    train, test = np.full((4, 2, 2), -1.0), np.full((4, 2, 2), 3.0)
    train[0] = 1
    np.savez(tmp_path / "a.npz", x_train=train, y_train=LABELS[:4], x_test=test, y_test=LABELS[:4])
    task = data.load(tmp_path / "a.npz")
    assert task.train_images[:2, 0, 0, 0].tolist() == [0.5, 0] and task.test_images.min() == 1


# -- labels -----------------------------------------------------------------------------------------


def test_labels_may_be_a_column_and_may_begin_at_1(tmp_path):
    images = RNG.integers(0, 256, (20, 5, 5), np.uint8)
    column = npz(tmp_path / "a.npz", images, LABELS[:, None].astype(np.uint8))
    assert column.train_labels.tolist() == LABELS.tolist() and "labels" not in column.note
    one = npz(tmp_path / "b.npz", images, LABELS + 1)
    assert one.test_labels.tolist() == LABELS.tolist() and one.classes == 4
    assert "labels from 1 taken as from 0" in one.note


@pytest.mark.parametrize("label", [5, 10**12, 2**62])
def test_a_label_far_beyond_the_others_is_refused_without_memory_for_all_between(tmp_path, label):
    labels = LABELS.copy()
    labels[3] = label
    with pytest.raises(ValueError, match=r"a.npz: class 4 has no training image"):
        npz(tmp_path / "a.npz", np.zeros((20, 5, 5), np.uint8), labels)


def test_arrays_that_are_left_out_are_named(tmp_path):
    images = RNG.integers(0, 256, (20, 5, 5), np.uint8)
    task = npz(tmp_path / "a.npz", images, val_images=images, about=np.array(["who"], object))
    assert task.note.endswith("left out: val_images, about") and "split as in the files" in task.note


# -- IDX --------------------------------------------------------------------------------------------


def mnist(directory, names, first=0, pack=bytes):
    directory.mkdir(parents=True, exist_ok=True)
    for name in names:
        for what, axes, array in (("images", 3, RNG.integers(0, 256, (20, 6, 6))), ("labels", 1, LABELS + first)):
            header = bytes([0, 0, 8, axes]) + struct.pack(f">{axes}I", *array.shape)
            content = pack(header + array.astype(np.uint8).tobytes())
            (directory / name.format(what=what, axes=axes)).write_bytes(content)


@pytest.mark.parametrize(
    ("folder", "names"),
    [
        ("MNIST/raw", ("train-{what}-idx{axes}-ubyte", "t10k-{what}-idx{axes}-ubyte")),
        (".", ("train-{what}.idx{axes}-ubyte", "t10k-{what}.idx{axes}-ubyte")),
        (".", ("emnist-digits-train-{what}-idx{axes}-ubyte", "emnist-digits-test-{what}-idx{axes}-ubyte")),
    ],
)
def test_idx_files_are_found_where_others_put_them(tmp_path, folder, names):
    mnist(tmp_path / "data" / folder, names)
    (tmp_path / "data" / folder / "t10k-images-idx3-ubyte.gz").mkdir()  # as some archives have it
    task = data.load(tmp_path / "data")
    assert task.train_images.shape == (20, 6, 6, 1) and task.classes == 4 and task.name == str(tmp_path / "data")
    assert ("found in" in task.note) == (folder != ".")


def test_a_processed_folder_beside_raw_is_not_read(tmp_path):
    mnist(tmp_path / "raw", ("train-{what}-idx{axes}-ubyte", "t10k-{what}-idx{axes}-ubyte"))
    (tmp_path / "processed").mkdir()
    (tmp_path / "processed" / "training.pt").write_bytes(b"\x80\x02.")
    assert data.load(tmp_path).classes == 4


def test_one_of_several_sets_is_chosen_by_name_and_labels_from_1_are_said(tmp_path):
    for name, first in (("letters", 1), ("digits", 0)):
        mnist(
            tmp_path,
            [f"emnist-{name}-{p}" + "-{what}-idx{axes}-ubyte.gz" for p in ("train", "test")],
            first,
            gzip.compress,
        )
    with pytest.raises(ValueError, match=r"holds the sets digits, letters; name one of them, as in .*#digits"):
        data.load(tmp_path)
    task = data.load(f"{tmp_path}#letters")
    assert task.train_labels.tolist() == LABELS.tolist() and "labels from 1" in task.note
    assert task.note.endswith("left out: the set digits")


# -- folders ----------------------------------------------------------------------------------------


def picture(path, value=7, size=(6, 5), mode="RGB", **how):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value if mode == "L" else (value,) * 3).save(path, **how)


@pytest.fixture
def pets(tmp_path):
    for name in ("cat", "dog"):
        for i in range(5):
            picture(tmp_path / "pets" / name / f"{i}.png", 10 * i)
    return tmp_path / "pets"


def test_what_systems_and_editors_leave_is_no_class_and_no_image(pets):
    plain = data.load(pets)
    for junk in (".ipynb_checkpoints/0.png", "__MACOSX/cat/._0.png", "cat/.ipynb_checkpoints/0.png", "cat/._1.png"):
        picture(pets / junk)
    for junk in (".DS_Store", "Thumbs.db", "dog/.DS_Store", "dog/Thumbs.db", "dog/desktop.ini"):
        (pets / junk).write_bytes(b"junk")
    task = data.load(pets)
    assert task.fingerprint == plain.fingerprint and task.note == plain.note
    assert "left out" not in task.note and "20% of each class to test" in task.note


def test_files_of_other_endings_and_folders_inside_classes_are_counted(pets):
    for i in range(60):
        (pets / "cat" / f"{i}.{'webp' if i % 2 else 'BMP'}").write_bytes(b"")
    for i in range(40):
        picture(pets / "dog" / "more" / "still" / f"{i}.png")
    (pets / "README").write_text("by us")
    note = data.load(pets).note
    assert "\n" not in note
    assert note.endswith("left out: 1 without ending, 30 .bmp, 30 .webp, 40 files in the folder dog/more")


@pytest.mark.parametrize(
    ("train", "test", "other"),
    [
        ("train", "val", None),
        ("Train", "Test", "val"),
        ("training", "testing", None),
        ("training_set", "test_set", None),
    ],
)
def test_parts_go_by_many_names(pets, train, test, other):
    for part in filter(None, (train, test, other)):
        for name in ("cat", "dog"):
            picture(pets / "all" / part / name / "0.png")
    picture(pets / "all" / "__MACOSX" / "0.png")
    task = data.load(pets / "all")
    assert (len(task.train_labels), len(task.test_labels)) == (2, 2)
    assert f"trained on {train}, tested on {test}" in task.note
    assert task.note.endswith(f"left out: 2 files in the folder {other}") == (other is not None)


def test_a_test_folder_without_classes_is_left_out_and_said(pets):
    whole = data.load(pets)
    (pets / "train").mkdir()
    for name in ("cat", "dog"):
        (pets / name).rename(pets / "train" / name)
    picture(pets / "test" / "0.png")
    task = data.load(pets)
    assert task.fingerprint == whole.fingerprint
    assert task.note.endswith("20% of each class to test; left out: 1 files in the folder test")


def test_a_class_called_train_is_a_class(pets):
    picture(pets / "train" / "0.png")
    picture(pets / "train" / "1.png")
    assert data.load(pets).classes == 3


def test_an_archive_s_folder_inside_a_folder_is_entered_and_said(pets):
    (pets.parent / "archive").mkdir()
    pets.rename(pets.parent / "archive" / "pets")
    (pets.parent / "archive" / "LICENSE").write_text("free")
    note = data.load(f"{pets.parent / 'archive'}#4x4-grey").note
    assert note.endswith("found in " + str(pets.parent / "archive" / "pets")) and "4 x 4 pixels and 1 channel," in note


def test_one_image_of_a_class_cannot_be_split_and_two_can(pets):
    picture(pets / "emu" / "0.png")
    with pytest.raises(ValueError, match=r"pets/emu: has one image, expected at least two"):
        data.load(pets)
    picture(pets / "emu" / "1.png")
    task = data.read_folder(pets, test_fraction=0.9)
    assert np.bincount(task.train_labels).tolist() == [1, 1, 1]


def test_grey_images_of_16_bits_are_divided_by_65535(pets):
    levels = np.uint16([[0, 13107], [26214, 65535]])
    for name in ("cat", "dog"):
        for i in range(2):
            path = pets.parent / "deep" / name / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(levels).save(path)
    task = data.load(f"{pets.parent / 'deep'}#grey")
    assert np.allclose(task.train_images[0, ..., 0], [[0, 0.2], [0.4, 1]], rtol=1e-7, atol=0)
    assert "4 of 16 bits by 65535" in task.note
    colours = data.load(pets.parent / "deep")
    assert np.array_equal(colours.train_images, np.repeat(task.train_images, 3, axis=3))
    mean = data.load(f"{pets.parent / 'deep'}#1x1-grey").train_images
    assert np.allclose(mean, 0.4, rtol=1e-6, atol=0)


def test_images_are_turned_as_their_exif_data_say(pets):
    turn = Image.Exif()
    turn[0x0112] = 6  # the first row is the right side
    upright = np.zeros((5, 6), np.uint8)
    upright[:, 5] = 255  # white on the right
    for name in ("cat", "dog"):
        for i in range(2):
            path = pets.parent / "phone" / name / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.rot90(upright)).save(path, exif=turn)  # lies on its left side
    task = data.load(f"{pets.parent / 'phone'}#grey")
    assert np.array_equal(task.train_images[0, ..., 0] * 255, upright) and "4 turned as EXIF says" in task.note


@pytest.mark.parametrize(("mode", "colour"), [("RGBA", (0, 0, 0, 0)), ("LA", (0, 0)), ("P", 0)])
def test_transparent_images_are_laid_on_white(pets, mode, colour):
    for name in ("cat", "dog"):
        for i in range(2):
            path = pets.parent / "icons" / name / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new(mode, (3, 3), colour).save(path, **({"transparency": 0} if mode == "P" else {}))
    task = data.load(pets.parent / "icons")
    assert (task.train_images == 1).all() and "4 with transparency laid on white" in task.note


@pytest.mark.parametrize("side", [10_000, 20_000, 2**31 - 1])
def test_an_image_of_100_megapixels_and_more_is_named(pets, side):
    header = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    (pets / "cat" / "huge.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I4s", 9, b"IDAT") + bytes(13))
    with pytest.raises(ValueError, match=r"cat/huge.png: has more pixels than the \d+ that Pillow reads"):
        data.load(pets)


def test_more_images_than_4_gib_are_refused_before_memory_is_taken(pets, monkeypatch):
    monkeypatch.setattr(folders, "LARGEST", 10 * 5 * 6 * 3 * 4)
    assert len(data.load(pets).train_labels) == 8
    monkeypatch.setattr(folders, "LARGEST", 10 * 5 * 6 * 3 * 4 - 1)
    with pytest.raises(ValueError, match=r"pets: 10 images of \(5, 6\) pixels are more than"):
        data.load(pets)


# -- names ------------------------------------------------------------------------------------------


def test_a_name_that_is_not_utf8_becomes_a_title(tmp_path):
    name = os.fsdecode(b"caf\xe9 $a^ {$")
    figure = plots.error_lines(np.arange(2), {"a": np.array([0.5, 0.25])}, label="x", title=name)
    figure.savefig(tmp_path / "a.png")
    assert figure.axes[0].get_title() == "caf\\udce9 $a^ {$"


def test_tasks_that_ship_say_nothing_and_the_line_is_no_part_of_what_a_task_is():
    digits = data.load("digits")
    assert digits.note == ""
    assert dataclasses.replace(digits, note="as found").fingerprint == digits.fingerprint
    with pytest.raises(TypeError, match="Task: note is None; allowed is a string"):
        dataclasses.replace(digits, note=None)


@pytest.mark.parametrize(
    "words",
    [
        "memory mlp --data DATA",
        "frontier DATA --model mlp --epochs 1 --measurements 1 --batch-size 4 --quiet --jobs 1 --out OUT",
        "choose mlp DATA --quiet --out OUT",
        "certify mlp DATA --epochs 1 --quiet --out OUT",
        "sweep --tasks DATA@loss_scale=1 DATA --configurations e4m3+e8m7 --model mlp --batch-size 4 --dry-run",
    ],
)
def test_each_command_says_first_what_was_read_as_what(words, tmp_path, run):
    rng = np.random.default_rng(0)
    images, labels = rng.uniform(size=(40, 3, 6, 5)).astype(np.float32), np.arange(40) % 2
    np.savez(tmp_path / "mine.npz", x_train=images, y_train=labels, x_test=images[::2], y_test=labels[::2])
    status, printed, _ = run(words.replace("DATA", str(tmp_path / "mine.npz")).replace("OUT", str(tmp_path / "out")))
    assert status == 0 and "read as (n, channels, height, width)" in printed.splitlines()[0]
    assert printed.count("channels, height") == 1


@pytest.mark.parametrize("names", [("images", "labels"), ("x", "y"), ("X", "y"), ("data", "target")])
def test_an_npz_file_that_does_not_say_what_is_for_testing_keeps_a_fifth_of_each_class(tmp_path, names):
    images = np.arange(30, dtype=np.uint8)[:, None, None] * np.ones((1, 4, 5), np.uint8)  # each tells its place
    labels = np.repeat([1, 2, 3], [20, 8, 2])
    np.savez(tmp_path / "a.npz", **dict(zip(names, (images, labels), strict=True)), about=np.array(3))
    task = data.load(tmp_path / "a.npz")
    assert np.bincount(task.test_labels).tolist() == [4, 2, 1] and np.bincount(task.train_labels).tolist() == [16, 6, 1]
    both = np.concatenate([task.train_images, task.test_images])[:, 0, 0, 0]
    places = np.rint(255 * both).astype(int)
    assert sorted(places) == list(range(30))
    assert np.array_equal(labels[places] - 1, np.concatenate([task.train_labels, task.test_labels]))
    assert "20% of each class to test" in task.note and "left out: about" in task.note
    again = data.load(tmp_path / "a.npz")
    assert np.array_equal(task.test_images, again.test_images)


def test_a_class_of_one_image_cannot_be_trained_and_tested_on(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros((5, 4, 4), np.uint8), y=[3, 4, 4, 3, 5])
    with pytest.raises(ValueError, match=r"a.npz: class 5 has one image, expected at least two"):
        data.load(tmp_path / "a.npz")


@pytest.mark.parametrize("words", ["certify", "choose --candidates e4m3 --tolerance 1 --seeds 2"])
def test_few_images_are_trained_on_in_batches_that_are_smaller_at_a_rate_of_one_s_own(words, tmp_path, run):
    images, labels = RNG.integers(0, 256, (20, 8, 8), np.uint8), np.arange(20) % 2
    images[labels == 1] //= 3
    path, (command, *more) = tmp_path / "few.npz", words.split()
    np.savez(path, x_train=images, y_train=labels, x_test=images, y_test=labels)
    given = [command, "mlp", path, *more, "--epochs", "1", "--quiet", "--out", tmp_path / "out"]
    status, _, said = run(*given)
    assert status == 2 and "batch_size is 32; allowed is an integer, 1 to 20" in said
    assert run(*given, "--batch-size", "3", "--learning-rate", "0.4")[0] == 0
    task = data.load(path)
    fitted = [
        nn.fit(nn.network("mlp", (8, 8, 1), 2), task, epochs=1, batch_size=3, learning_rate=0.4, seed=seed)
        for seed in range(1 + ("--seeds" in more))
    ]
    (record,) = (json.loads(file.read_text()) for file in (tmp_path / "out").glob("*.json"))
    found = record["trained"]["float32"] if "trained" in record else record
    assert found["test_error"] == pytest.approx(np.mean([f.test_error for f in fitted]))
    losses = [min(f.history[-1]["loss"], np.log(2)) for f in fitted]
    assert "loss" not in found or found["loss"] == pytest.approx(np.mean(losses))
