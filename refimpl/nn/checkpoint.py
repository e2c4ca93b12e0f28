"""Checkpoints: everything a training run needs to continue as if it had never stopped.

The one before is kept as ``NAME.previous``: a full disk, a kill or a file cut short costs at most the
last one.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import numpy as np

from refimpl._files import writing


def save(path: str | os.PathLike, arrays: dict[str, np.ndarray], settings: dict) -> None:
    """Write arrays and settings (plain data), atomically.

    Raises
    ------
    OSError
        Where the disk is full or the directory cannot be written; what was there still is.
    """
    text = json.dumps(settings).encode()
    ours = {"settings": np.frombuffer(text, np.uint8), "digest": np.frombuffer(_digest(arrays, text), np.uint8)}
    with writing(path, keep=previous(path)) as file:
        np.savez(file, **ours, **arrays)  # type: ignore[arg-type]  # mypy takes the arrays for allow_pickle


def previous(path: str | os.PathLike) -> Path:
    """Return the name under which the checkpoint before this one is kept."""
    return Path(path).with_name(Path(path).name + ".previous")


def load(path: str | os.PathLike) -> tuple[dict[str, np.ndarray], dict] | None:
    """Read a checkpoint: the newest of the two that is complete, None if there is neither.

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
            with open(candidate, "rb") as opened, np.load(opened, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            text, digest = (arrays.pop(name).tobytes() for name in ("settings", "digest"))
            if digest == _digest(arrays, text):
                return arrays, json.loads(text)
        except Exception:  # damaged files make NumPy and zipfile raise a dozen kinds
            continue
    if candidates:
        raise ValueError(
            f"checkpoint: {path} is damaged, or not a checkpoint of this version, and there is no older one that can "
            "be read; move it away to start anew"
        )
    return None


def _digest(arrays: dict[str, np.ndarray], text: bytes) -> bytes:
    """Return what differs where anything does: a flipped bit may hide an array from the archive's own checks."""
    digest = hashlib.sha256(text)
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode() + array.tobytes())
    return digest.digest()
