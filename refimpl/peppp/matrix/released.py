"""The matrices released with PEPPP, where a copy of them lies on this machine.

They are not part of this package. They are looked for in the directory named by the environment
variable ``REFIMPL_PEPPP_DATA``, and used only if their SHA-256 is that of the released files.

*Source*: PEPPP (arXiv 2106.09686) and the files released with it.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np

from refimpl.peppp.configs import CONFIGURATIONS
from refimpl.peppp.matrix.error_matrix import ErrorMatrix

__all__ = ["load_released"]

VARIABLE = "REFIMPL_PEPPP_DATA"
ACCURACY, MEMORY = "acc_matrix_res64_all.npy", "mem_matrix_full.npy"
SHA256 = {
    ACCURACY: "ddd915ef3b4b59f484d73c616dc0c59af239244a1e67d00fbe13424de77df957",
    MEMORY: "70bb0b8c7e285ce19e5cf71c5e347b7cb663d85a76cde5f33b0a624f4c0622fd",
}
HINT = (
    f"get {ACCURACY} and {MEMORY} from the code released with arXiv 2106.09686, and name their directory "
    f"with --data, load_released(directory) or the environment variable {VARIABLE}"
)
DROPPED = 28
"""Row of the released files that the paper leaves out: all of CIFAR-100."""


def load_released(directory: str | os.PathLike | None = None) -> ErrorMatrix:
    """Read the released errors and memories as the paper uses them: 87 data sets x 99.

    Parameters
    ----------
    directory : path-like, optional
        Where the two files lie; default what ``REFIMPL_PEPPP_DATA`` says.

    Returns
    -------
    ErrorMatrix
        Error = 1 - accuracy, memory in MB of 2^20 bytes; rows are named by what is known of them.

    Raises
    ------
    ValueError
        If no directory is named, or a file in it is absent or not the released one.
    """
    named = directory or os.environ.get(VARIABLE)
    if not named:
        raise ValueError(f"the matrices released with PEPPP are needed: {HINT}")
    place = Path(named)
    accuracy, memory = (np.delete(_read(place / name), DROPPED, axis=0) for name in SHA256)
    return ErrorMatrix(
        1 - accuracy,
        rows=_row_names(),
        columns=[c.name for c in CONFIGURATIONS],
        memory_mb=memory,
        metadata={"source": "PEPPP (arXiv 2106.09686), released matrices", "sha256": SHA256},
    )


def _read(path: Path) -> np.ndarray:
    if not path.is_file():
        raise ValueError(f"the released PEPPP matrix {path.name} is not in {path.parent}: {HINT}")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != SHA256[path.name]:
        raise ValueError(
            f"{path} is not the released file (its SHA-256 begins {digest[:12]}, not "
            f"{SHA256[path.name][:12]}); fetch it again"
        )
    return np.load(path, allow_pickle=False)


def _row_names() -> list[str]:
    names = ["CIFAR-10", *(f"CIFAR-100 superclass {i}" for i in range(20))]
    names += [f"other {i}" for i in range(21, 38) if i != DROPPED]
    return names + [f"ImageNet subtree {i}" for i in range(50)]
