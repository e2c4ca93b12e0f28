"""Readers of local files: each format written here by its own rules, whole and damaged."""

import functools
import gzip
import json
import os
import re
import struct

import numpy as np
import pytest

from refimpl import data
from refimpl.__main__ import main
from refimpl.data.files import local
from refimpl.peppp import ErrorMatrix

RNG = np.random.default_rng(0)


# -- CIFAR ------------------------------------------------------------------------------------------


def record(labels, image):
    """Write one record: labels, then the planes of an image (32, 32, 3)."""
    return bytes(labels) + b"".join(image[:, :, plane].tobytes() for plane in range(3))


def images(n):
    return RNG.integers(0, 256, (n, 32, 32, 3), np.uint8)


@pytest.fixture
def cifar10(tmp_path):
    pixels = images(70)
    for i, name in enumerate([*(f"data_batch_{j}.bin" for j in range(1, 6)), "test_batch.bin"]):
        content = b"".join(record([k % 10], pixels[10 * i + k]) for k in range(10))
        (tmp_path / name).write_bytes(content)
    return tmp_path, pixels


@pytest.fixture
def cifar100(tmp_path):
    pixels = images(100)
    for name in ("train.bin", "test.bin"):  # fine label 7 k mod 100, five of them to a coarse one
        content = b"".join(record([k // 5, 7 * k % 100], pixels[k]) for k in range(100))
        (tmp_path / name).write_bytes(content)
    return tmp_path, pixels


def test_cifar10_is_read_as_it_is_laid_out(cifar10):
    directory, pixels = cifar10
    task = data.read_cifar10(directory, records=10)
    assert task.train_images.shape == (50, 32, 32, 3) and task.test_images.shape == (10, 32, 32, 3)
    assert np.array_equal(np.rint(task.train_images * 255), pixels[:50])
    assert np.array_equal(task.test_images[3], pixels[53].astype(np.float32) / np.float32(255))
    assert task.train_labels.tolist() == [*range(10)] * 5 and task.classes == 10


def test_cifar10_wants_files_of_ten_thousand_records(cifar10):
    with pytest.raises(ValueError, match="data_batch_1.bin: has 30730 bytes, expected 10000 records of 3073"):
        data.read_cifar10(cifar10[0])


@pytest.mark.parametrize("cut", [1, 3072, 30730])
def test_cifar_files_cut_short_are_named(cifar10, cut):
    path = cifar10[0] / "data_batch_3.bin"
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(ValueError, match="data_batch_3.bin: has .* bytes.*cut short"):
        data.read_cifar10(cifar10[0], records=None)


def test_cifar_files_that_are_missing_or_mislabelled_are_named(cifar10):
    path = cifar10[0] / "test_batch.bin"
    content = bytearray(path.read_bytes())
    content[2 * 3073] = 10
    path.write_bytes(content)
    with pytest.raises(ValueError, match="test_batch.bin: record 2 has the label 10, allowed are 0 to 9"):
        data.read_cifar10(cifar10[0], records=10)
    path.unlink()
    with pytest.raises(ValueError, match="test_batch.bin: cannot be read.*give the directory"):
        data.read_cifar10(cifar10[0], records=10)


def test_cifar100_has_fine_and_coarse_labels(cifar100):
    directory, pixels = cifar100
    fine, coarse = (data.read_cifar100(directory, labels=k, records=(100, 100)) for k in ("fine", "coarse"))
    assert fine.train_labels[:4].tolist() == [0, 7, 14, 21] and fine.classes == 100
    assert coarse.train_labels[[0, 4, 5, 99]].tolist() == [0, 0, 1, 19] and coarse.classes == 20
    assert np.array_equal(np.rint(fine.train_images * 255), pixels)
    with pytest.raises(ValueError, match="read_cifar100: unknown labels 'medium'"):
        data.read_cifar100(directory, labels="medium")


def test_superclasses_are_twenty_tasks_of_five_classes_in_the_order_of_fine_labels(cifar100):
    directory, pixels = cifar100
    tasks = data.cifar100_superclasses(directory, records=(100, 100))
    assert len(tasks) == 20 and all(t.classes == 5 for t in tasks)
    # superclass 14 has the images 70..74 with fine labels 90, 97, 4, 11, 18
    assert tasks[14].train_labels.tolist() == [3, 4, 0, 1, 2]
    assert np.array_equal(np.rint(tasks[14].train_images * 255), pixels[70:75])
    assert len(set(np.concatenate([t.marks for t in tasks]))) == sum(len(t.marks) for t in tasks)


def test_a_superclass_without_five_classes_is_refused(cifar100):
    path = cifar100[0] / "train.bin"
    content = bytearray(path.read_bytes())
    content[6 * 3074] = 3  # one image of superclass 1 now says 3
    path.write_bytes(content)
    with pytest.raises(ValueError, match="superclass 1 has the classes.*five"):
        data.cifar100_superclasses(cifar100[0], records=(100, 100))


# -- IDX --------------------------------------------------------------------------------------------


def idx(array):
    """Write an unsigned-byte IDX file."""
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(np.uint8).tobytes()


def write_mnist(directory, ending, pack):
    pixels, labels = RNG.integers(0, 256, (40, 28, 28)), np.arange(40) % 10
    for part in ("train", "t10k"):
        (directory / f"{part}-images-idx3-ubyte{ending}").write_bytes(pack(idx(pixels)))
        (directory / f"{part}-labels-idx1-ubyte{ending}").write_bytes(pack(idx(labels)))
    return pixels, labels


@pytest.mark.parametrize(("ending", "pack"), [("", bytes), (".gz", gzip.compress)])
def test_idx_files_are_read_plain_and_packed(tmp_path, ending, pack):
    pixels, labels = write_mnist(tmp_path, ending, pack)
    task = data.read_idx(tmp_path)
    assert task.train_images.shape == (40, 28, 28, 1)
    assert np.array_equal(np.rint(task.test_images[..., 0] * 255), pixels)
    assert np.array_equal(task.train_labels, labels)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize("cut", [1, 5000])
def test_idx_files_cut_short_are_named(tmp_path, pack, cut):
    ending = ".gz" if pack is gzip.compress else ""
    write_mnist(tmp_path, ending, pack)
    path = tmp_path / f"train-images-idx3-ubyte{ending}"
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(ValueError, match="train-images-idx3-ubyte.*cut short"):
        data.read_idx(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "begins with nothing"),
        (b"\x89PNG", "begins with 89504e47"),
        (b"\0\0\x08\x03\0\0", "header is cut short"),
        (b"\0\0\x07\x01\0\0\0\0", "not the header"),
        (idx(np.zeros((40, 5))), r"uint8 of shape \(40, 5\)"),
    ],
)
def test_files_that_are_not_idx_images_are_named(tmp_path, content, message):
    write_mnist(tmp_path, "", bytes)
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(content)
    with pytest.raises(ValueError, match=f"t10k-images-idx3-ubyte.*{message}"):
        data.read_idx(tmp_path)


def test_labels_that_do_not_fit_their_images_are_named(tmp_path):
    write_mnist(tmp_path, "", bytes)
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx(np.zeros(39)))
    with pytest.raises(ValueError, match=r"t10k-labels.*shape \(39,\).*\(40,\)"):
        data.read_idx(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx(np.full(40, 10)))
    with pytest.raises(ValueError, match="label 10 of image 0, allowed are 0 to 9"):
        data.read_idx(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(ValueError, match="has no test labels beside t10k-images-idx3-ubyte"):
        data.read_idx(tmp_path)


def test_a_class_without_images_is_named(tmp_path):
    write_mnist(tmp_path, "", bytes)
    for part in ("train", "t10k"):
        (tmp_path / f"{part}-labels-idx1-ubyte").write_bytes(idx(np.arange(40) % 9))
    with pytest.raises(ValueError, match="class 9 has no training image"):
        data.read_idx(tmp_path)


# -- folders ----------------------------------------------------------------------------------------


def write_images(root, classes=("cat", "dog"), each=5, shape=(6, 7, 3), ending="png"):
    from PIL import Image

    for i, name in enumerate(classes):
        (root / name).mkdir(parents=True, exist_ok=True)
        for j in range(each):
            pixels = np.full(shape, 40 * i + j, np.uint8)
            Image.fromarray(pixels).save(root / name / f"{j}.{ending}")


def test_class_folders_become_classes_in_the_order_of_their_names(tmp_path):
    write_images(tmp_path / "pets", ("dog", "cat"))
    task = data.read_folder(tmp_path / "pets")
    assert task.name == "pets" and task.train_images.shape == (8, 6, 7, 3)
    assert task.test_labels.tolist() == [0, 1]
    levels = np.rint(task.train_images[:, 0, 0, 0] * 255).astype(int)
    assert all((level >= 40) == (label == 0) for level, label in zip(levels, task.train_labels, strict=True))
    again = data.read_folder(tmp_path / "pets")
    assert np.array_equal(again.test_images, task.test_images)


def test_train_and_test_folders_are_kept_apart(tmp_path):
    write_images(tmp_path / "train", each=3)
    write_images(tmp_path / "test", each=2)
    task = data.read_folder(tmp_path, grey=True)
    assert task.train_images.shape == (6, 6, 7, 1) and len(task.test_labels) == 4


def test_jpeg_is_read_and_sizes_brought_together(tmp_path):
    write_images(tmp_path, ("a", "b"), ending="jpg")
    write_images(tmp_path, ("c",), shape=(9, 9, 3))
    with pytest.raises(ValueError, match=r"0.png: is \(9, 9\).*is \(6, 7\); give a size .* as in photographs#32x32"):
        data.read_folder(tmp_path)
    assert data.read_folder(tmp_path, size=(8, 5)).train_images.shape[1:] == (8, 5, 3)


def test_folders_and_images_that_cannot_be_used_are_named(tmp_path):
    write_images(tmp_path / "x")
    (tmp_path / "x" / "empty").mkdir()
    with pytest.raises(ValueError, match="empty: has no .png"):
        data.read_folder(tmp_path / "x")
    (tmp_path / "x" / "empty" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n....")
    with pytest.raises(ValueError, match="broken.png: cannot be read as PNG or JPEG"):
        data.read_folder(tmp_path / "x")
    whole = tmp_path / "x" / "cat" / "0.png"
    (tmp_path / "x" / "empty" / "broken.png").write_bytes(whole.read_bytes()[:-30])
    with pytest.raises(ValueError, match="broken.png"):
        data.read_folder(tmp_path / "x")
    with pytest.raises(ValueError, match="nowhere: is not a directory"):
        data.read_folder(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="has 1 folders"):
        data.read_folder(tmp_path)


# -- npz --------------------------------------------------------------------------------------------


def arrays(**changes):
    pixels, labels = RNG.integers(0, 256, (20, 5, 4), np.uint8), np.arange(20) % 4
    return {"x_train": pixels, "y_train": labels, "x_test": pixels, "y_test": labels, **changes}


def test_npz_files_hold_four_arrays_under_either_set_of_names(tmp_path):
    given = arrays()
    np.savez(tmp_path / "a.npz", **given)
    task = data.read_npz(tmp_path / "a.npz")
    assert task.name == "a" and task.classes == 4 and task.train_images.shape == (20, 5, 4, 1)
    assert np.array_equal(np.rint(task.train_images[..., 0] * 255), given["x_train"])
    names = dict(zip(given, ("train_images", "train_labels", "test_images", "test_labels"), strict=True))
    floats = {names[k]: v / np.float32(255) if k[0] == "x" else v for k, v in given.items()}
    np.savez(tmp_path / "b.npz", **floats)
    assert np.array_equal(data.read_npz(tmp_path / "b.npz").train_images, task.train_images)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y_train": np.arange(19)}, r"training labels are int64 \(19,\), expected integers \(20,\)"),
        ({"y_test": np.arange(20) - 1}, "a label is -1; number the classes from 0"),
        ({"y_test": np.zeros(20)}, "test labels are float64"),
        ({"x_train": np.full((20, 5, 4), np.nan), "x_test": np.zeros((20, 5, 4))}, "from nan to nan, expected finite"),
        ({"x_train": np.full((20, 5, 4), 2.0), "x_test": np.full((20, 5, 4), 2.0)}, "all 2, expected some in"),
        ({"x_train": np.zeros((20, 5, 4))}, "training images are float64 and test images uint8"),
        ({"x_train": np.zeros((20, 5, 4), complex)}, "training images are complex128"),
        ({"x_train": np.zeros((20, 4, 5), np.uint8)}, r"training images are \(4, 5\) and test images \(5, 4\)"),
        ({"x_test": np.zeros((20, 20))}, r"test images have the shape \(20, 20\)"),
        ({"y_train": np.array([{}] * 20, object)}, "a pickle, which was not unpickled"),
    ],
)
def test_npz_arrays_that_do_not_fit_are_refused(tmp_path, changes, message):
    np.savez(tmp_path / "a.npz", **arrays(**changes))
    with pytest.raises(ValueError, match=f"a.npz: .*{message}"):
        data.read_npz(tmp_path / "a.npz")


def test_npz_files_cut_short_or_missing_are_named(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, x_train=np.zeros(3))
    with pytest.raises(ValueError, match="a.npz: holds x_train, expected train_images"):
        data.read_npz(path)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ValueError, match="a.npz: .*(damaged|pickled)"):
        data.read_npz(path)
    with pytest.raises(ValueError, match="none.npz: is not to be read"):
        data.read_npz(tmp_path / "none.npz")


# -- by path ----------------------------------------------------------------------------------------


@pytest.fixture
def short(monkeypatch):
    """Let CIFAR's files be as short as this module writes them."""
    for name, records in (("read_cifar10", 10), ("read_cifar100", (100, 100)), ("cifar100_superclass", (100, 100))):
        reader = getattr(local, name)
        monkeypatch.setattr(local, name, functools.partial(reader, records=records))


def same(one, other):
    return one.classes == other.classes and all(
        np.array_equal(getattr(one, f"{part}_{what}"), getattr(other, f"{part}_{what}"))
        for part in ("train", "test")
        for what in ("images", "labels")
    )


def test_a_path_loads_what_its_reader_reads_under_the_path_s_name(tmp_path, cifar10, cifar100, short):
    # both fixtures write into tmp_path: keep them apart
    ten, hundred, mnist, pets, few = (tmp_path / n for n in ("10", "100", "mnist", "pets", "few.npz"))
    for folder, names in ((ten, ("data_batch_*.bin", "test_batch.bin")), (hundred, ("train.bin", "test.bin"))):
        folder.mkdir()
        for file in [f for name in names for f in tmp_path.glob(name)]:
            file.rename(folder / file.name)
    mnist.mkdir()
    write_mnist(mnist, ".gz", gzip.compress)
    write_images(pets)
    np.savez(few, **arrays())
    sizes = (100, 100)
    for name, task in {
        few: data.read_npz(few),
        ten: data.read_cifar10(ten, records=10),
        hundred: data.read_cifar100(hundred, records=sizes),
        f"{hundred}#coarse": data.read_cifar100(hundred, labels="coarse", records=sizes),
        f"{hundred}#14": data.cifar100_superclasses(hundred, records=sizes)[14],
        mnist: data.read_idx(mnist),
        pets: data.read_folder(pets),
        f"{pets}#4x5-grey": data.read_folder(pets, size=(4, 5), grey=True),
        f"{pets}#grey": data.read_folder(pets, grey=True),
    }.items():
        assert same(data.load(name), task) and data.load(name).name == str(name)
        assert data.load(name).images_from == task.images_from


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none/at/all", "none/at/all: is neither a file nor a directory"),
        ("none.npz", "none.npz: is neither a file"),
        ("text", "text: is not an npz file; give one, or the directory"),
        ("empty", "empty: holds nothing; expected data_batch_1.bin"),
        ("pickled", "holds CIFAR as pickles, which are never read; get the binary version"),
        ("hundred", "hundred/train.bin: has 100 bytes, expected 50000 records of 3074"),
        ("hundred#20", "hundred#20: CIFAR-100 has #fine, #coarse, and #0 to #19"),
        ("pets#big", "pets#big: a directory of images has #HEIGHTxWIDTH"),
        ("pets#0x4", "pets#0x4: a directory of images has #HEIGHTxWIDTH"),
        ("few.npz#3", "few.npz#3: a data set of this kind has no #3; leave it out"),
        ("mnis", "unknown data set 'mnis'.*or the path of a data set"),
    ],
)
def test_paths_that_hold_no_data_set_are_refused_with_what_is_there(tmp_path, monkeypatch, name, message, capsys):
    monkeypatch.chdir(tmp_path)
    for folder in ("empty", "pickled", "hundred", "pets/a", "pets/b"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "text").write_text("hello")
    (tmp_path / "pickled" / "data_batch_1").write_bytes(b"")
    (tmp_path / "hundred" / "train.bin").write_bytes(bytes(100))
    np.savez(tmp_path / "few.npz", **arrays())
    with pytest.raises(ValueError, match=message):
        data.load(name)
    for command in (["frontier", name], ["sweep", "--tasks", name], ["memory", "cnn", "--data", name]):
        assert main(command) == 2
        said = capsys.readouterr()
        assert said.out == "" and said.err.count("\n") == 1 and re.search(message, said.err)
    assert not list(tmp_path.glob("frontier*")) and not (tmp_path / "sweep").exists()


@pytest.mark.parametrize("folder", ["mine", os.fsdecode(b"mine\xe9")])  # the second is not UTF-8
def test_the_commands_train_and_count_a_data_set_of_one_s_own(tmp_path, monkeypatch, capsys, folder):
    monkeypatch.chdir(tmp_path)
    digits = data.load("digits")
    parts = {
        "x_train": digits.train_images[:200],
        "y_train": digits.train_labels[:200],
        "x_test": digits.test_images[:50],
        "y_test": digits.test_labels[:50],
    }
    (tmp_path / folder).mkdir()
    np.savez(tmp_path / folder / "few.npz", **parts)
    name, formats = f"{folder}/few.npz", ["e4m3+e8m7", "e3m1+e6m7"]
    assert main(["memory", "cnn", "--data", name]) == 0
    assert "cnn on mine" in capsys.readouterr().out
    assert (
        main(["sweep", "--tasks", name, "--configurations", *formats, "--epochs", "1", "--jobs", "2", "--quiet"]) == 0
    )
    errors = ErrorMatrix.load("sweep/errors.npz")
    assert errors.rows == (name,) and errors.rows_sharing(data.load(name).marks) == (name,)
    assert main(["frontier", name, "--measurements", "2", "--jobs", "1", "--quiet"]) == 0
    record = json.loads((tmp_path / "frontier-few.npz" / "frontier.json").read_text())
    assert record["data"] == name and len(record["chosen"]) == 2
