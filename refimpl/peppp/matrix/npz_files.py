"""Error matrices as npz files: written whole or not at all, read without unpickling anything."""

from __future__ import annotations

import contextlib
import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from refimpl.peppp.matrix.error_matrix import MATRICES

REQUIRED = ("values", "rows", "columns")


def write_npz(matrix, path: str | os.PathLike) -> None:
    """Write an ErrorMatrix to one file; raises OSError if it cannot be written."""
    arrays = {
        "values": matrix.values,
        "rows": np.array(matrix.rows, dtype=np.str_),
        "columns": np.array(matrix.columns, dtype=np.str_),
        "metadata": np.array(json.dumps(matrix.metadata, sort_keys=True)),
    }
    optional = {name: getattr(matrix, name) for name in MATRICES}
    arrays |= {name: array for name, array in optional.items() if array is not None}
    with whole_or_not(path) as file:
        np.savez_compressed(file, **arrays)


@contextlib.contextmanager
def whole_or_not(path: str | os.PathLike):
    """Yield a binary file beside `path` and move it there when it is complete and on the disk."""
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"cannot write {path}: there is no directory {path.parent}; make it")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_npz(path: Path) -> dict[str, Any]:
    """Return the fields of an ErrorMatrix, from an npz file of whatever content.

    Raises ValueError in the name of `ErrorMatrix.load`.
    """
    if not path.is_file():
        trouble = "is not a file" if path.exists() else "does not exist"
        raise ValueError(f"ErrorMatrix.load: got {path}, which {trouble}; allowed is an npz file; check the path")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(
            f"ErrorMatrix.load: got {path}, which cannot be read ({error.strerror}); allowed is a "
            "readable npz file; check its permissions"
        ) from None
    pickled = ValueError(
        f"ErrorMatrix.load: got {path}, which contains a pickle and was not unpickled; allowed is "
        "an npz file of plain arrays; save it again with ErrorMatrix.save"
    )
    if content[:1] == b"\x80":  # how a pickle of protocol 2 or later begins
        raise pickled
    arrays = {}
    try:
        with np.lib.npyio.NpzFile(io.BytesIO(content), own_fid=True, allow_pickle=False) as archive:
            for name in archive.files:
                arrays[name] = archive[name]
    except Exception as error:  # damaged archives raise a dozen kinds, from zipfile down to struct
        if "allow_pickle" in str(error):
            raise pickled from None
        raise ValueError(
            f"ErrorMatrix.load: got {path}, which is truncated, damaged or not an npz file; "
            "allowed is a complete npz file; copy or make it again"
        ) from None
    missing = [name for name in REQUIRED if name not in arrays]
    if missing:
        raise ValueError(
            f"ErrorMatrix.load: got {path} without the array {missing[0]!r}; allowed is an npz "
            f"file with {', '.join(REQUIRED)}; save it with ErrorMatrix.save"
        )
    kinds = dict.fromkeys(("values", *MATRICES), "fiu") | {"rows": "U", "columns": "U"}
    dimensions = dict.fromkeys(("values", *MATRICES), 2) | {"rows": 1, "columns": 1}
    fields: dict[str, Any] = {}
    for name, kind in kinds.items():
        array = arrays.get(name)
        if array is None:
            continue
        if not isinstance(array, np.ndarray) or array.dtype.kind not in kind:
            raise ValueError(
                f"ErrorMatrix.load: got {path} with {name!r} of another kind; allowed are "
                f"{'strings' if kind == 'U' else 'numbers'}; save it with ErrorMatrix.save"
            )
        if array.ndim != dimensions[name]:
            raise ValueError(
                f"ErrorMatrix.load: got {path} with {name!r} of shape {array.shape}; allowed are "
                f"{dimensions[name]} dimension(s); save it with ErrorMatrix.save"
            )
        fields[name] = array.tolist() if kind == "U" else array
    if "metadata" in arrays:
        try:
            fields["metadata"] = json.loads(str(arrays["metadata"]))
        except ValueError as error:
            raise ValueError(
                f"ErrorMatrix.load: got {path} with metadata that is not JSON ({error}); allowed "
                "is a JSON object as a string; save it with ErrorMatrix.save"
            ) from None
    return fields


def demand_columns(path: Any, got: tuple[str, ...], demanded: tuple[str, ...]) -> None:
    """Raise ValueError unless the columns are those demanded, in that order."""
    if got == demanded:
        return
    both = min(len(got), len(demanded))
    at = next((i for i in range(both) if got[i] != demanded[i]), both)
    found = repr(got[at]) if at < len(got) else "missing"
    wanted = repr(demanded[at]) if at < len(demanded) else "no further column"
    raise ValueError(
        f"ErrorMatrix.load: got {path} whose column {at} is {found}; allowed is {wanted} (it has "
        f"{len(got)} columns, {len(demanded)} are demanded); select the columns or take another "
        "file"
    )
