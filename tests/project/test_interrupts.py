"""Ctrl-C at any moment ends a command in one line, without a traceback."""

import os
import subprocess
import sys

import pytest


def test_nothing_is_imported_before_ctrl_c_is_listened_to():
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import importlib, warnings, sys; before = {*sys.modules}; "
            "import refimpl.__main__; print(*sorted({*sys.modules} - before))",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["refimpl", "refimpl.__main__"]


def test_ctrl_c_while_everything_is_being_imported_leaves_no_traceback(tmp_path):
    """The finder raises what a signal would, at the first module that the command needs."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class Interrupt:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'numpy':\n"
        "            raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupt())\n"
    )
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-m", "refimpl", "frontier", "digits"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 130
    assert (
        done.stderr
        == "refimpl frontier: interrupted; what was trained is kept, give the same command again to continue\n"
    )


@pytest.mark.parametrize(
    "call",
    [
        "ctypes.CFUNCTYPE(ctypes.c_int)(_raw_object_cache_notify)()",
        "type('Library', (), {'__del__': lambda _: __del__()})()",
    ],
)
def test_ctrl_c_where_numba_s_compiler_would_lose_it_is_heard_a_moment_later(call):
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"""if True:
        import ctypes, signal, time
        from refimpl.__main__ import main
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
        main(["format", "--list"])
        def _raw_object_cache_notify():
            signal.raise_signal(signal.SIGINT)
            return 0
        def __del__():
            signal.raise_signal(signal.SIGINT)
        {call}
        try:
            time.sleep(3)
        except KeyboardInterrupt:
            print("heard")
        """,
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.endswith("heard\n") and done.stderr == ""
