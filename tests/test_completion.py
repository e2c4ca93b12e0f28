"""A shell that has read the script completes what the command line takes."""

import shutil
import subprocess

import pytest

from refimpl.__main__ import COMMANDS


@pytest.fixture
def complete(run):
    """Return a function: the words that bash proposes for the last of some words."""
    if shutil.which("bash") is None:
        pytest.skip("there is no bash here")
    status, script, _ = run("completion bash")
    assert status == 0

    def words(*typed):
        quoted = " ".join(f'"{word}"' for word in typed)
        end = f'COMP_WORDS=({quoted}); COMP_CWORD={len(typed) - 1}; _refimpl; echo "${{COMPREPLY[@]}}"'
        done = subprocess.run(["bash", "-c", f"{script}\n{end}"], capture_output=True, text=True, check=True)
        assert done.stderr == ""
        return done.stdout.split()

    return words


def test_bash_completes_commands(complete):
    assert complete("refimpl", "") == list(COMMANDS)
    assert complete("refimpl", "fr") == ["frontier"]


def test_bash_completes_options_of_a_command_and_what_they_may_be(complete):
    assert complete("refimpl", "frontier", "digits", "--mem") == ["--memory-cap-mb"]
    assert complete("refimpl", "certify", "mlp", "digits", "--outputs", "") == ["probabilities", "logits"]
    assert complete("refimpl", "vectors", "sub") == ["sub"]


def test_bash_completes_names_of_formats(complete):
    assert "float8_e4m3fn" in complete("refimpl", "format", "float8_e4")
    assert "bfloat16" in complete("refimpl", "explore", "bf")


def test_the_script_for_zsh_is_read_by_zsh(run):
    status, script, _ = run("completion zsh")
    assert status == 0 and script.startswith("autoload -U +X bashcompinit")
    if shutil.which("zsh"):
        subprocess.run(["zsh", "-fc", f"autoload -U compinit; compinit -u; {script}"], check=True)


def test_another_shell_is_refused(run):
    status, printed, said = run("completion fish")
    assert status == 2 and printed == "" and "'fish'" in said
