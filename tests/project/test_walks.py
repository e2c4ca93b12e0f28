"""The files that a value passes are those that refimpl/README.md lists.

    python tests/project/test_walks.py

prints the lists, ready to paste.  Kernels run uncompiled here, so that theirs are seen too.
"""

import ast
import os
import re
import subprocess
import sys
from concurrent.futures import Future
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "refimpl"


def files_of(call):
    """Return the files of the package whose functions a second call enters, in this order."""
    call()
    files = {}

    def see(frame, event, argument):
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(f"{PACKAGE}{os.sep}") and code.co_name != "<module>":
            files.setdefault(Path(code.co_filename).relative_to(PACKAGE).as_posix())

    sys.setprofile(see)
    try:
        call()
    finally:
        sys.setprofile(None)
    return [file for file in files if Path(file).name[0] != "_" and Path(file).name != "checks.py"]


def walks():
    """Return the three lists."""
    import numpy as np

    import refimpl as rf
    from refimpl.nn.training import EpochRecord, TrainingState

    digits, errors = rf.data.load("digits"), rf.peppp.meta_training(rf.data.load("digits"))
    images, labels = digits.train_images[:2], digits.train_labels[:2]
    policy = rf.Precision(low="e4m3", high="e8m7")
    state = TrainingState(rf.nn.cnn(), digits, policy, rf.nn.SGD(), 0, layer_by_layer=False)

    class Elsewhere:
        """Trains nothing, in no time."""

        def submit(self, function, task, configuration, settings, fingerprint):
            """Return the cell as if it had been trained."""
            cell = {"task": task.name, "configuration": configuration, "seed": settings.seed, "data": fingerprint}
            done = Future()
            done.set_result({**cell, "error": 0.1, "seconds": 0.0, "diverged": False, "fall": 0.0})
            return done

    frontier = files_of(
        lambda: rf.peppp.estimate_frontier(errors, digits, budget=4, executor=Elsewhere(), progress=False)
    )
    return {
        "One value through `rf.quantize`": files_of(lambda: rf.quantize(np.float32([0.1]), "e4m3fn")),
        "One training step of the small CNN": files_of(lambda: state.step(images, labels, 0.05, EpochRecord())),
        "`rf.peppp.estimate_frontier`": [file for file in frontier if file.startswith("peppp/")],
    }


def markdown(lists):
    """Return the lists as they stand in the map, each file with the first line of its docstring."""
    lines = []
    for title, files in lists.items():
        lines += [f"### {title}", ""]
        for number, file in enumerate(files, 1):
            says = ast.get_docstring(ast.parse((PACKAGE / file).read_text(encoding="utf-8"))).splitlines()[0]
            lines.append(f"{number}. `{file}`: {says}")
        lines.append("")
    return "\n".join(lines)


def test_the_map_lists_the_files_that_a_value_passes():
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1", "PYTHONPATH": str(PACKAGE.parent)}
    command = [sys.executable, __file__]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
    line = re.compile(r"^(###.*|\d+\. `[\w/]+\.py`)", re.M)
    assert line.findall((PACKAGE / "README.md").read_text(encoding="utf-8")) == line.findall(printed)


if __name__ == "__main__":
    os.environ["NUMBA_DISABLE_JIT"] = "1"
    print(markdown(walks()))
