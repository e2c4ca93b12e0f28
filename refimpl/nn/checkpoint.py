"""Checkpoints: everything a training run needs to continue as if it had never stopped.

The one before is kept as ``NAME.previous``: a full disk, a kill or a file cut short costs at most the
last one.
"""

from __future__ import annotations

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
    text = np.frombuffer(json.dumps(settings).encode(), np.uint8)
    with writing(path, keep=previous(path)) as file:
        np.savez(file, settings=text, **arrays)  # type: ignore[arg-type]  # mypy takes the arrays for allow_pickle


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
            with np.load(candidate, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            settings = json.loads(arrays.pop("settings").tobytes())
        except Exception:  # damaged files make NumPy and zipfile raise a dozen kinds
            continue
        if isinstance(settings, dict):
            return arrays, settings
    if candidates:
        raise ValueError(
            f"checkpoint: {path} is damaged, and there is no older one that can be read; move it away to start anew"
        )
    return None
