"""A data set of one's own by its path: the kind is told by what lies there.

=============================================  =====================================================
path                                           read by
=============================================  =====================================================
a file ``NAME.npz``                            `read_npz`
a directory with ``data_batch_1.bin``          `read_cifar10`
one with ``train.bin`` and ``test.bin``        `read_cifar100`, fine labels; ``PATH#coarse`` for the
                                               20 superclasses as classes, ``PATH#0`` .. ``PATH#19``
                                               for one superclass as a task of five classes
one with ``train-images-idx3-ubyte`` or .gz    `read_idx`; ``PATH#letters`` where it holds several sets, as
                                               EMNIST's does
one with folders                               `read_folder`; ``PATH#32x24`` to bring images to that
                                               height and width, ``PATH#32x24-grey`` or ``PATH#grey``
one with one folder alone, or with ``raw``     what that folder is, as unpacked archives have it
=============================================  =====================================================

The path, with what follows ``#``, is the task's name: processes that train it read it again.  `Task.note` says
in one line what was read: shape, layout, scale of the intensities, how split, and what was left out.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from refimpl.data.files.arrays import read_npz
from refimpl.data.files.cifar import cifar100_superclass, read_cifar10, read_cifar100
from refimpl.data.files.folders import read_folder
from refimpl.data.files.idx import read_idx, sets
from refimpl.data.files.making import listed
from refimpl.data.task import Task

CIFAR10, CIFAR100 = {"data_batch_1.bin", "test_batch.bin"}, {"train.bin", "test.bin"}


def is_path(name: str) -> bool:
    """Tell whether a name means a file or directory: it exists, or is written as one."""
    found = any(part and Path(part).exists() for part in (name, _split(name)[0]))
    return found or bool(re.search(r"[/\\]|\.npz$", name))


def read(name: str) -> Task:
    """Read the data set at a path, such as ``photos#32x32-grey``.

    Raises
    ------
    ValueError
        Where there is nothing, nothing of a known kind, or an option that kind has not; and as the
        readers do, naming the file.
    """
    path, option = (Path(name), "") if Path(name).exists() else _split(name)
    return replace(_read(Path(path), option), name=name)


def _split(name: str) -> tuple[str, str]:
    path, _, option = name.rpartition("#") if "#" in name else (name, "", "")
    return path, option


def _read(path: Path, option: str) -> Task:
    if not path.exists():
        raise ValueError(f"{path}: is neither a file nor a directory; give the path of a data set")
    if not path.is_dir():
        if path.suffix != ".npz":
            raise ValueError(
                f"{path}: is not an npz file; give one, or the directory of CIFAR's or MNIST's files, "
                "unpacked, or of class folders"
            )
        return _without_option(read_npz, path, option)
    task = _of_directory(inner := _inner(path), option)
    return task if inner == path else replace(task, note=f"{task.note}; found in {inner}")


def _inner(path: Path) -> Path:
    """Return the directory further in, where there is one alone, or a ``raw`` with IDX files."""
    held = listed(path)
    folders = [p for p in held if p.is_dir()]
    raw = [p for p in folders if p.name == "raw" and sets(p)]
    if {p.name for p in held} & (CIFAR10 | CIFAR100) or sets(path) or not raw and len(folders) != 1:
        return path
    return _inner((raw or folders)[0])


def _of_directory(path: Path, option: str) -> Task:
    held = {p.name for p in listed(path)}
    if CIFAR10 & held:
        return _without_option(read_cifar10, path, option)
    if CIFAR100 & held:
        return _cifar100(path, option)
    if sets(path):
        return read_idx(path, classes=None, subset=option or None)
    if {"data_batch_1", "meta", "batches.meta"} & held:
        raise ValueError(f"{path}: holds CIFAR as pickles, which are never read; get the binary version")
    if any((path / name).is_dir() for name in held):
        return _folder(path, option)
    some = ", ".join(sorted(held)[:3]) or "nothing"
    raise ValueError(
        f"{path}: holds {some}; expected data_batch_1.bin (CIFAR-10), train.bin (CIFAR-100), "
        "train-images-idx3-ubyte (MNIST), or a folder for each class"
    )


def _without_option(reader, path: Path, option: str) -> Task:
    if option:
        raise ValueError(f"{path}#{option}: a data set of this kind has no #{option}; leave it out")
    return reader(path)


def _cifar100(path: Path, option: str) -> Task:
    if option in ("", "fine", "coarse"):
        return read_cifar100(path, labels="coarse" if option == "coarse" else "fine")
    if re.fullmatch("1?[0-9]", option):
        return cifar100_superclass(path, int(option))
    raise ValueError(f"{path}#{option}: CIFAR-100 has #fine, #coarse, and #0 to #19 for one superclass")


def _folder(path: Path, option: str) -> Task:
    found = re.fullmatch(r"(?:([1-9]\d*)x([1-9]\d*))?-?(grey)?", option)
    if not found:
        raise ValueError(
            f"{path}#{option}: a directory of images has #HEIGHTxWIDTH, such as #32x32, #32x32-grey and #grey"
        )
    height, width, grey = found.groups()
    size = (int(height), int(width)) if height else None
    return read_folder(path, size=size, grey=bool(grey))
