"""Programs on a pipe that add, multiply vectors or matrices: how they do it is found, and held to what they mean."""

import shutil
import subprocess
import sys

import pytest

from refimpl.testing import Program, conform, identify_sum

IN_C = r"""
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static float number(uint32_t code) { /* of bfloat16, the upper half of a float */
    float x;
    code <<= 16;
    memcpy(&x, &code, 4);
    return x;
}

int main(void) {
    static char line[1 << 16];
    while (fgets(line, sizeof line, stdin)) {
        static uint32_t codes[4096];
        int n = 0, used;
        for (char *at = line; sscanf(at, "%" SCNx32 "%n", &codes[n], &used) == 1; at += used) n++;
        n /= 2; /* the first factors, then the second */
        float lanes[LANES] = {0}, total;
        for (int i = 0; i < n; i++) lanes[i % LANES] = fmaf(number(codes[i]), number(codes[n + i]), lanes[i % LANES]);
        total = lanes[0];
        for (int i = 1; i < LANES; i++) total += lanes[i];
        uint32_t bits;
        memcpy(&bits, &total, 4);
        printf("%08" PRIx32 "\n", bits);
    }
}
"""

IN_PYTHON = """
import struct, sys

def value(code):  # of E5M2, the upper half of a float16
    return struct.unpack(">e", bytes([int(code, 16), 0]))[0]

def single(x):
    return struct.unpack(">f", struct.pack(">f", x))[0]

for line in sys.stdin:
    m, k, n, *codes = line.split()
    m, k, n = int(m, 16), int(k, 16), int(n, 16)
    a, b = [value(c) for c in codes[: m * k]], [value(c) for c in codes[m * k :]]
    answer = []
    for i in range(m):
        for j in range(n):
            total = 0.0
            for t in reversed(range(k)):
                total = single(total + a[i * k + t] * b[t * n + j])
            answer.append(struct.pack(">f", total).hex())
    print(*answer)
"""


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """Return what compiles the program with so many lanes."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    folder = tmp_path_factory.mktemp("c")
    (folder / "dot.c").write_text(IN_C)

    def program(lanes):
        name = folder / f"dot{lanes}"
        options = ["-O1", f"-DLANES={lanes}", "-o", str(name), str(folder / "dot.c"), "-lm"]
        subprocess.run([compiler, *options], check=True)
        return Program((str(name),), "dot", 60)

    return program


def sh(script, operation="sum", seconds=60.0):
    return Program(("sh", "-c", script), operation, seconds)


def test_how_a_program_in_c_adds_is_found(compiled):
    found = identify_sum(compiled(4), kind="dot", terms=24, fmt="bfloat16")
    assert found.order == "4 sums side by side, of every 4th term, then these"
    assert (found.accumulator_bits, found.accumulator_rounding) == (24, "ties_to_even")
    assert found.known[0] == "additions of float32 in this order"
    assert found.calls <= 45 + 24 * 5


def test_how_a_program_in_python_multiplies_matrices_of_fp8_codes_is_found():
    program = Program((sys.executable, "-c", IN_PYTHON), "matmul", 60)
    found = identify_sum(program, kind="matmul", terms=6, fmt="float8_e5m2", shape=(2, 3))
    assert found.order == "one after the other, the last term first"
    assert "fused multiply-adds of float32 in this order" in found.known


def test_a_program_is_held_to_an_order(compiled):
    how = {"op": "dot", "accumulate": "float32", "order": "sequential"}
    assert conform(compiled(1), "bfloat16", **how).passed
    other = conform(compiled(4), "bfloat16", **how)
    assert {result.name for result in other.results if result.failed} >= {"order"}
    assert other.diagnosis.startswith("consistent with: adds otherwise: 4 sums side by side")


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("while read line; do echo 3f80; done", "allowed is one that adds them exactly"),
        ("while read line; do echo 3f8; done", "line 1 is '3f8', not a word of 4, 8 or 16 hexadecimal digits"),
        ("while read line; do echo 1.0 2.0; done", "line 1 is '1.0 2.0', not a word of"),
        ("cat > /dev/null", "the program answered 1 line with 0$"),
        ("yes", "answered 1 line with more than 160 bytes"),
        ("sleep 60", "did not answer 1 line within 0.5 s"),
        ("kill -SEGV $$", r"died with signal 11 \(SIGSEGV\)"),
        ("echo no licence >&2; exit 3", "died with status 3: no licence"),
    ],
)
def test_what_a_program_does_wrong_is_one_clear_error(script, words):
    with pytest.raises(ValueError, match=words):
        identify_sum(sh(script, seconds=0.5 if "sleep" in script else 60.0))


def test_what_is_asked_of_a_program_is_what_it_does():
    with pytest.raises(ValueError, match="kind is 'sum'; allowed is 'dot', what the program does"):
        identify_sum(sh("cat", "dot"))
    with pytest.raises(ValueError, match="op is 'matmul'; allowed is 'dot', what the program does"):
        conform(sh("cat", "dot"), "float16", op="matmul")
    with pytest.raises(ValueError, match="unknown operation 'sume'; did you mean 'sum'"):
        sh("cat", "sume")
