"""Programs that flood, hang, die and hide: findings, in bounded time and memory, and nothing of them lives on."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import refimpl as rf

T = rf.testing
X = np.array([1.0, 0.5, 2.0], np.float32)


def sh(script: str, **options):
    return T.Program(("sh", "-c", script), "encode", **options)


HOSTILE = {  # a script, and what is said of it
    "writes for ever": ("yes", r"answered 3 lines with more than 320 bytes, which begin 'y\\ny\\n"),
    "writes zeros for ever": ("cat /dev/zero", r"more than 320 bytes, which begin '\\x00\\x00"),
    "writes errors for ever": ("yes oh >&2", "did not answer 3 lines within 0.5 s: oh"),
    "writes many errors": ("yes oh | head -c 9000000 >&2; exit 4", "died with status 4: oh"),
    "writes nothing": ("cat > /dev/null", "answered 3 lines with 0$"),
    "writes nothing but why": ("echo no licence >&2", "answered 3 lines with 0: no licence"),
    "reads nothing": ("exec 0<&-; echo 38", "answered 3 lines with 1$"),
    "reads one line": ("head -n 1", "answered 3 lines with 1$"),
    "writes one too many": ("cat; echo 38", "answered 3 lines with 4"),
    "leaves a line empty": ("echo 38; echo; echo 38", "line 2 is '', not hexadecimal"),
    "writes half a line": (r"printf '38\n30\n4z'", "line 3 is '4z', not hexadecimal"),
    "writes a NUL": (r"printf '38\n30\n\00040\n'", r"line 3 is '\\x0040', not hexadecimal"),
    "writes no text": (r"printf '38\n\377\376\n40\n'", r"line 2 is '\\xff\\xfe', not hexadecimal"),
    "writes a long number": ("echo 38; echo 30; echo 00000000000000040", "line 3 is '00000000000000040', not"),
    "moves the cursor": (r"printf '\033[2J\007ouch\n' >&2; exit 1", r"died with status 1:  \[2J ouch"),
    "sleeps": ("sleep 60", "did not answer 3 lines within 0.5 s"),
    "will not end": ("trap '' TERM INT HUP; while true; do sleep 60; done", "did not answer 3 lines within 0.5 s"),
    "closes its output": ("exec >&- 2>&-; sleep 60", "did not answer 3 lines within 0.5 s"),
    "stops itself": ("kill -STOP $$", "did not answer 3 lines within 0.5 s"),
    "ends itself": ("kill -SEGV $$", r"died with signal 11 \(SIGSEGV\)"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_a_program_does_is_a_finding(kind):
    script, words = HOSTILE[kind]
    slow = "0.5 s" in words
    with pytest.raises(T.Finding, match=words):
        sh(script, time_limit=0.5 if slow else 60)(X)


def test_the_last_line_may_lack_its_end():
    assert sh(r"printf '38\n30\r\n\t40'")(X).tolist() == [0x38, 0x30, 0x40]


FLOOD = """
import resource, sys
import numpy as np, refimpl as rf
x = np.ones(100_000, np.float32)
def most():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    rf.testing.Program("cat")(x)
except rf.testing.Finding:  # echoes are no codes: what matters is that reading as much has been paid for
    pass
before = most()
for script in ("yes", "yes >&2", "cat /dev/zero", "yes | tr -d '\\\\n'"):
    try:
        rf.testing.Program(("sh", "-c", script), time_limit=3.0)(x)
    except rf.testing.Finding as found:
        print(found)
print("grown", most() - before)
"""


def test_a_flood_is_not_kept():
    said = subprocess.run([sys.executable, "-c", FLOOD], capture_output=True, text=True, check=True).stdout
    assert said.count("with more than 8000080 bytes") == 3 and "within 3 s: y" in said
    grown = int(re.search(r"grown (\d+)", said)[1])
    assert grown < 40_000, f"{grown} KB"  # `yes` writes gigabytes in these seconds


# -- nothing lives on ------------------------------------------------------------------------------

STARTS = {  # how a program starts another, whose number it leaves in the file $1
    "a child": "sleep 1000 & echo $! >> $1",
    "one that holds no pipe": "sleep 1000 > /dev/null 2>&1 < /dev/null & echo $! >> $1",
    "one that ignores signals": "(trap '' TERM HUP INT; exec sleep 1000) & echo $! >> $1",
    "a grandchild": "sh -c 'sleep 1000 & echo $! >> $0; sleep 1000' $1 & while [ ! -s $1 ]; do sleep 0.01; done",
    "a daemon that holds the pipe": "setsid sh -c 'echo $$ >> $0; exec sleep 1000' $1 & "
    "while [ ! -s $1 ]; do sleep 0.01; done",
}
ENDS = {"answers": "cat", "floods": "yes", "dies": "exit 3", "sleeps": "sleep 1000"}


def alive(numbers: Path) -> list[int]:
    """Return which of the processes named in a file still run."""
    found = []
    for number in map(int, numbers.read_text().split()):
        try:
            state = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            continue
        found += [number] * (state not in "ZX")
    return found


def none_lives(numbers: Path) -> bool:
    """Tell whether none of the processes lives on; the kernel may take a moment."""
    assert numbers.read_text().split()
    by = time.monotonic() + 20
    while alive(numbers) and time.monotonic() < by:
        time.sleep(0.01)
    return not alive(numbers)


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("start", STARTS)
def test_what_a_program_starts_ends_with_it(start, end, tmp_path):
    numbers = tmp_path / "numbers"
    script = f"{STARTS[start]}; {ENDS[end]}"
    program = T.Program(("sh", "-c", script, "sh", str(numbers)), time_limit=0.7 if end == "sleeps" else 60)
    if end == "answers":
        assert program(X).tolist() == X.tolist()
    else:
        with pytest.raises(T.Finding):
            program(X)
    assert none_lives(numbers)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_it_ends_with_the_judge_too(name, tmp_path):
    number = getattr(signal, name)
    numbers = tmp_path / "numbers"
    hangs = f"sh -c 'sleep 1000 & echo $! > {numbers}.new; mv {numbers}.new {numbers}; sleep 1000'"
    words = ["conform", "float8_e4m3fn", "--program", hangs, "--time-limit", "1000"]
    judge = subprocess.Popen(
        [sys.executable, "-m", "refimpl", *words],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # a background job may ignore it
    )
    while not numbers.exists():
        assert judge.poll() is None
        time.sleep(0.01)
    judge.send_signal(number)
    said = judge.communicate(timeout=60)[1]
    if name == "SIGINT":
        assert (judge.returncode, said) == (130, "refimpl conform: interrupted\n")
    else:
        assert (judge.returncode, said) == (-number, "")
    assert none_lives(numbers)


def test_handlers_of_signals_are_as_they_were():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    assert T.Program("cat")(X).tolist() == X.tolist()
    assert before == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]


def test_what_cannot_be_started_is_misuse(run, tmp_path):
    no_program, no_interpreter = tmp_path / "no_program", tmp_path / "no_interpreter"
    no_program.write_text("38\n")
    no_interpreter.write_text("#!/nowhere/python\n")
    no_interpreter.chmod(0o755)
    for path in (tmp_path, tmp_path / "nothing", no_program, no_interpreter):
        status, said, refusal = run("conform", "float8_e4m3fn", "--program", path)
        assert (status, said) == (2, "") and refusal.count("\n") == 1
        assert re.search(f"'{path}' cannot be started: [A-Z]", refusal)


def test_a_program_is_ended_where_no_handler_can_be_set():
    """In a thread that is not the main one Python lets nobody set handlers of signals."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(T.Program("cat"), X).result().tolist() == X.tolist()
        with pytest.raises(T.Finding, match="did not answer"):
            pool.submit(sh("sleep 60", time_limit=0.3), X).result()


def test_the_environment_and_the_folder_are_those_of_the_judge(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RESULT", "38")
    (tmp_path / "here").write_text("")
    assert sh("test -e here && for i in 1 2 3; do echo $RESULT; done")(X).tolist() == [0x38] * 3
    assert os.getcwd() == str(tmp_path)
