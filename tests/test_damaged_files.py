"""Files of whatever bytes: read, or refused in one line that names them, without memory for what they only say."""

import gzip
import io
import os
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest

from refimpl import _files, data
from refimpl._files import LARGEST
from refimpl.data.files import idx as mnist
from refimpl.peppp import ErrorMatrix

RNG = np.random.default_rng(0)


def mutated(content, count, seed=0):
    """Yield versions of some bytes: a few changed, cut out, doubled, or cut off."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        new = bytearray(content)
        for _ in range(rng.integers(1, 4)):
            at, length = int(rng.integers(len(new))), int(rng.integers(1, 9))
            match rng.integers(5):
                case 0:
                    new[at] ^= 1 << int(rng.integers(8))
                case 1:
                    new[at : at + length] = rng.bytes(length)
                case 2:
                    new[at : at + length] = rng.choice([b"\0", b"\xff"]) * length
                case 3:
                    new[at:at] = new[at - length : at]
                case 4:
                    del new[at : at + length]
        yield bytes(new)


def survives(read, path, contents, named, limit=2**24):
    """Read versions of a file; return how many are refused, each by the one error that names it."""
    refused = 0
    for content in contents:
        path.write_bytes(content)
        tracemalloc.start()
        try:
            read()
        except ValueError as error:
            refused += 1
            assert str(named) in str(error) and "\n" not in str(error), error
        finally:
            most = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert most < limit, content
    return refused


def packed(names_and_bytes, kind=zipfile.ZIP_DEFLATED):
    """Write an archive whose checksums are right, whatever is in it."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", kind) as archive:
        for name, content in names_and_bytes.items():
            archive.writestr(f"{name}.npy", content)
    return file.getvalue()


def written(array):
    """Write one array as NumPy does."""
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def arrays(images=6):
    pixels, labels = RNG.integers(0, 256, (images, 4, 5), np.uint8), np.arange(images) % 2
    return {"x_train": pixels, "y_train": labels, "x_test": pixels, "y_test": labels}


MATRIX = {
    "values": np.array([[0.5, 0.25]]),
    "rows": np.array(["a"]),
    "columns": np.array(["x", "y"]),
    "metadata": np.array('{"seed": 0}'),
    "images": np.array([[1, 2]], np.uint64),
}
READERS = [(data.read_npz, arrays()), (ErrorMatrix.load, MATRIX)]


@pytest.mark.parametrize(("read", "held"), READERS)
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_npz_file_with_any_bytes_changed_is_read_or_refused_by_name(tmp_path, read, held, save):
    path = tmp_path / "a.npz"
    save(path, **held)
    assert survives(lambda: read(path), path, mutated(path.read_bytes(), 300), path) > 150


@pytest.mark.parametrize(("read", "held"), READERS)
def test_an_archive_of_arrays_with_any_bytes_changed_is_read_or_refused_by_name(tmp_path, read, held):
    path, refused = tmp_path / "a.npz", 0
    for name in held:
        contents = {key: written(array) for key, array in held.items()}
        versions = [packed(contents | {name: new}) for new in mutated(contents[name][:160], 100)]
        refused += survives(lambda: read(path), path, versions, path)
    assert refused > 50 * len(held)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize("name", ["train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"])
def test_an_idx_file_with_any_bytes_changed_is_read_or_refused_by_name(tmp_path, name, pack):
    for key, array in zip(
        ("train-images", "train-labels", "t10k-images", "t10k-labels"), arrays().values(), strict=True
    ):
        header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
        (tmp_path / f"{key}-idx{array.ndim}-ubyte").write_bytes(pack(header + array.astype(np.uint8).tobytes()))
    content = (tmp_path / name).read_bytes()
    assert survives(lambda: data.load(tmp_path), tmp_path / name, mutated(content, 300), tmp_path) > 100


@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_an_image_with_any_bytes_changed_is_read_or_refused_by_name(tmp_path, ending):
    from PIL import Image

    about = Image.Exif()
    about[0x0112], about[0x010E] = 6, "a picture"
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for i in range(2):
            Image.fromarray(RNG.integers(0, 256, (5, 6), np.uint8)).save(tmp_path / name / f"{i}.{ending}", exif=about)
    path = tmp_path / "dog" / f"0.{ending}"
    assert survives(lambda: data.load(tmp_path), path, mutated(path.read_bytes(), 300), path.parent, 2**32) > 50


@pytest.mark.parametrize("kind", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("shape", [(2**16, 2**8, 2**7), (2**40,), (2**62, 2**62), (LARGEST + 1,)])
@pytest.mark.parametrize(("read", "held"), READERS)
def test_a_size_that_a_file_only_says_takes_no_memory(tmp_path, read, held, shape, kind):
    header = str({"descr": "|u1", "fortran_order": False, "shape": shape}).encode().ljust(117) + b"\n"
    first, *_ = held
    file = {name: written(array) for name, array in held.items()}
    file[first] = b"\x93NUMPY\x01\0" + struct.pack("<H", len(header)) + header + bytes(99)
    assert survives(lambda: read(tmp_path / "a.npz"), tmp_path / "a.npz", [packed(file, kind)], tmp_path / "a.npz")


@pytest.mark.parametrize(("read", "held"), READERS)
def test_a_size_that_an_archive_says_of_a_few_packed_bytes_takes_no_memory(tmp_path, read, held):
    header = str({"descr": "|u1", "fortran_order": False, "shape": (2**27,)}).encode().ljust(117) + b"\n"
    first, *_ = held
    start = b"\x93NUMPY\x01\0" + struct.pack("<H", len(header)) + header
    content = bytearray(packed({name: written(array) for name, array in held.items()} | {first: start + bytes(99)}))
    struct.pack_into("<I", content, content.index(b"PK\x01\x02") + 24, len(start) + 2**27)
    assert survives(lambda: read(tmp_path / "a.npz"), tmp_path / "a.npz", [content], tmp_path / "a.npz")


@pytest.mark.parametrize(("read", "held"), READERS)
def test_bytes_behind_an_array_are_refused(tmp_path, read, held):
    first, *_ = held
    content = packed({name: written(array) + bytes(name == first) for name, array in held.items()})
    assert survives(lambda: read(tmp_path / "a.npz"), tmp_path / "a.npz", [content], tmp_path / "a.npz")


def test_arrays_of_more_than_the_largest_size_are_refused_and_those_of_that_size_are_read(tmp_path, monkeypatch):
    path = tmp_path / "a.npz"
    np.savez(path, **arrays(images=50))
    idx = tmp_path / "a"
    idx.write_bytes(gzip.compress(b"\0\0\x08\x01" + struct.pack(">I", 1000) + bytes(1000)))
    for module, least, read in (
        (_files, 1128, lambda: data.read_npz(path)),
        (mnist, 1000, lambda: mnist.read_array(idx)),
    ):
        monkeypatch.setattr(module, "LARGEST", least)
        read()
        monkeypatch.setattr(module, "LARGEST", least - 1)
        with pytest.raises(ValueError, match=f"{tmp_path}/a.*more than the {least - 1}"):
            read()


def test_what_makes_no_task_is_named(tmp_path):
    np.savez(tmp_path / "a.npz", **arrays() | {"y_train": np.zeros(6, int), "y_test": np.zeros(6, int)})
    with pytest.raises(ValueError, match="a.npz: Task: classes is 1"):
        data.load(tmp_path / "a.npz")


def test_a_gzip_file_that_unpacks_to_more_than_it_may_is_refused_before_it_is_unpacked(tmp_path):
    for name in ("train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (tmp_path / f"{name}-ubyte").write_bytes(b"")
    much = gzip.compress(bytes(2**22))
    path = tmp_path / "train-images-idx3-ubyte.gz"
    for shape in ((2**13, 2**10, 2**10), (4, 2**5, 2**5), (2**10, 2**10, 2**10), (2**32 - 1,) * 3):  # 8 GiB, 4 KiB, ...
        content = gzip.compress(b"\0\0\x08\x03" + struct.pack(">3I", *shape)) + much
        assert survives(lambda: data.load(tmp_path), path, [content], path) == 1


@pytest.mark.parametrize("marks", ["[[-1]]", "[[1e400]]", "5", '[["x"]]', "[[" + "9" * 30 + "]]"])
def test_a_csv_file_with_marks_that_are_none_is_refused_by_name(tmp_path, marks):
    path = tmp_path / "a.csv"
    path.write_text(f'# {{"images": {marks}}}\ntask,x\na,0.5\n')
    with pytest.raises(ValueError, match="a.csv"):
        ErrorMatrix.load_csv(path)


def test_metadata_nested_beyond_measure_are_refused_by_name(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, **MATRIX | {"metadata": np.array('{"a":' + "[" * 100_000)})
    with pytest.raises(ValueError, match="a.npz"):
        ErrorMatrix.load(path)


def test_what_does_not_fit_into_memory_is_named(tmp_path, monkeypatch):
    np.savez(tmp_path / "a.npz", **arrays())

    def full(*_, **__):
        raise MemoryError

    monkeypatch.setattr(np, "divide", full)
    with pytest.raises(ValueError, match="a.npz: is more than fits into memory"):
        data.read_npz(path=tmp_path / "a.npz")


def test_a_directory_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    def forbidden(self):
        raise PermissionError(13, os.strerror(13))

    monkeypatch.setattr(type(tmp_path), "iterdir", forbidden)
    with pytest.raises(ValueError, match=f"{tmp_path}: cannot be read .Permission denied"):
        data.load(tmp_path)
