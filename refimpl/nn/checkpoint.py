"""Checkpoints: everything a training run needs to continue as if it had never stopped.

A file is written beside, flushed to the disk and then renamed over the old one, which is kept as
``NAME.previous``: a full disk, a kill or a file cut short costs at most the last one.
"""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path

import numpy as np


def save(path: str | os.PathLike, arrays: dict[str, np.ndarray], settings: dict) -> None:
    """Write arrays and settings (plain data), atomically.

    Raises
    ------
    OSError
        Where the disk is full or the directory cannot be written; what was there still is.
    """
    path = Path(path)
    beside = path.with_name(path.name + ".writing")
    text = np.frombuffer(json.dumps(settings).encode(), np.uint8)
    try:
        with open(beside, "wb") as file:
            np.savez(file, settings=text, **arrays)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            os.replace(path, previous(path))
        os.replace(beside, path)
    except OSError as error:
        error.filename = error.filename or str(path)  # a full disk does not say where
        raise
    finally:
        beside.unlink(missing_ok=True)


def previous(path: str | os.PathLike) -> Path:
    """Return the name under which the checkpoint before this one is kept."""
    path = Path(path)
    return path.with_name(path.name + ".previous")


def load(path: str | os.PathLike) -> tuple[dict[str, np.ndarray], dict] | None:
    """Read a checkpoint: the newest of the two that is whole, None if there is neither.

    Returns
    -------
    arrays, settings

    Raises
    ------
    ValueError
        If there are files but none of them can be read.
    """
    candidates = [p for p in (Path(path), previous(path)) if p.exists()]
    for candidate in candidates:
        try:
            with np.load(candidate, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            settings = json.loads(arrays.pop("settings").tobytes())
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            continue
        return arrays, settings
    if candidates:
        raise ValueError(
            f"checkpoint: {path} is damaged, and there is no older one that can be read; move it away to start anew"
        )
    return None
