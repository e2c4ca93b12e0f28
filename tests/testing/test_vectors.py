"""Test vectors say what the definition says; `verify` notices every change; memory does not grow."""

import io
import json
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest

from refimpl.__main__ import main
from refimpl.spec import float_codes
from refimpl.testing import Behaviour, Vectors, verify
from refimpl.testing.implementations import hexadecimal

E4M3 = Behaviour("float8_e4m3fn")
EVERY = [
    (operation, level, input)
    for operation in ("encode", "decode", "quantize")
    for level in ("1", "2")
    for input in ("float16", "float32", "float64")
]


@pytest.mark.parametrize("operation, level, input", EVERY)
def test_lines_say_what_the_definition_says(operation, level, input):
    vectors = Vectors(operation, E4M3, level, input)
    lines = b"".join(vectors.text()).decode().splitlines()
    assert len(lines) == len(set(lines)) > 50
    unpack = {4: "<u2", 8: "<u4", 16: "<u8"}
    for line in lines[:: max(1, len(lines) // 200)]:
        given, result = line.split(" ")
        if operation == "decode":
            value = float_codes.to_float(float_codes.decode(int(given, 16), E4M3.format))
            got = np.array([int(result, 16)], "<u8").view("<f8")[0]
            assert np.array_equal(got, value, equal_nan=True)
            continue
        assert len(given) == {"float16": 4, "float32": 8, "float64": 16}[input]
        x = np.array([int(given, 16)], unpack[len(given)]).view(f"<f{len(given) // 2}")[0]
        code = float_codes.encode(float_codes.from_float(float(x)), E4M3.format)
        if operation == "encode":
            assert result == f"{code:02x}" or np.isnan(x) and result in ("7f", "ff")
        else:
            value = float_codes.to_float(float_codes.decode(code, E4M3.format))
            got = np.array([int(result, 16)], unpack[len(given)]).view(f"<f{len(given) // 2}")[0]
            assert np.array_equal(got, value, equal_nan=True)


def test_all_of_float16_is_every_pattern_in_order():
    lines = b"".join(Vectors("encode", E4M3, "all", "float16").text(results=False)).split()
    assert lines == [f"{k:04x}".encode() for k in range(2**16)]


def test_vectors_are_the_same_every_time():
    assert b"".join(Vectors("quantize", E4M3).text()) == b"".join(Vectors("quantize", E4M3).text())


@pytest.mark.parametrize("operation, level, input", EVERY)
def test_right_results_pass_in_order_and_echoed_in_any_order(operation, level, input):
    vectors = Vectors(operation, E4M3, level, input)
    lines = b"".join(vectors.text()).splitlines(keepends=True)
    assert verify(vectors, lines).passed
    assert verify(vectors, lines[::-1]).passed
    assert verify(vectors, [line.split(b" ")[1] for line in lines]).passed
    assert verify(vectors, [line.split(b" ")[1].upper() for line in lines]).passed


def test_one_changed_result_is_found_and_explained():
    vectors = Vectors("encode", E4M3, "2")
    lines = b"".join(vectors.text()).splitlines(keepends=True)
    lines = [b"3f880000 39\n" if line.startswith(b"3f880000 ") else line for line in lines]
    report = verify(vectors, lines)
    assert [r.failed for r in report.failures] == [1]
    assert "half way" in str(report) and "input  float32 0x3f880000" in str(report)


def test_a_known_defect_is_diagnosed_on_the_pipe_too():
    away = Vectors("encode", Behaviour("float8_e4m3fn", "ties_to_away"))
    report = verify(Vectors("encode", E4M3), away.text())
    assert report.diagnoses[0] == "ties_to_away"


@pytest.mark.parametrize(
    "text, words",
    [
        (b"hello\n", "line 1 is 'hello'"),
        (b"00\n00\n\n00\n", "line 3 is ''"),
        (b"1 2 3\n", "3 fields"),
        (b"00\n", "missing"),
        (b"", "missing"),
        (b"00000000 00\n00\n", "mixture"),
        (b"100000000 00\n", "more than 32 bits"),
        (b"00\n" * 5000, "more results than test vectors"),
        (b"0" * 3_000_000, "line 1"),
        (b"\xff\x00\n", "line 1"),
        (b"11111111111111111\n", "line 1"),
    ],
)
def test_rubbish_is_a_failure_with_its_line(text, words):
    report = verify(Vectors("encode", E4M3, "1"), [text])
    assert not report.passed and words in str(report), str(report)


def echoed_lines(operation="encode", level="1", input="float32"):
    vectors = Vectors(operation, E4M3, level, input)
    return vectors, b"".join(vectors.text()).splitlines(keepends=True)


@pytest.mark.parametrize(
    "operation, level, input",
    [
        ("encode", "1", "float32"),
        ("quantize", "2", "float64"),
        ("decode", "all", "float32"),
        ("encode", "all", "float16"),
    ],
)
def test_every_echoed_input_has_to_come_back_once(operation, level, input):
    vectors, lines = echoed_lines(operation, level, input)
    shown = lines[7].split(b" ")[0].decode()
    lost = verify(vectors, lines[:7] + lines[8:])
    assert f"1 inputs did not come back, the first of them the input {shown}" in str(lost)
    twice = verify(vectors, lines[::-1] + [lines[7]])
    assert f"line {len(lines) + 1} echoes the input {shown} a second time" in str(twice)
    swapped = verify(vectors, lines[:7] + lines[8:9] + lines[8:])
    assert "line 9 echoes" in str(swapped) and "a second time" in str(swapped)
    assert [report.passed for report in (lost, twice, swapped)] == [False] * 3


def test_an_echoed_input_that_was_never_sent_is_named_with_its_line():
    vectors, lines = echoed_lines()
    report = verify(vectors, [*lines[:2], b"3f8ccccd 39\n", *lines[2:]])
    assert "line 3 echoes the input 3f8ccccd, which is not among the test vectors" in str(report)


def test_too_many_inputs_to_count_are_compared_by_a_sum_of_hashes(monkeypatch):
    monkeypatch.setitem(verify.__globals__, "COUNTED_BITS", 8)
    vectors, lines = echoed_lines("encode", "all", "float16")
    assert verify(vectors, lines[::-1]).passed
    assert "65535 lines came back for 65536 inputs" in str(verify(vectors, lines[1:]))
    assert "as many are repeated" in str(verify(vectors, lines[:9] + lines[8:9] + lines[10:]))


@pytest.mark.parametrize(("nan", "passes"), [(b"7f", True), (b"ff", True), (b"1ff", False)])
def test_nan_is_nan_of_either_sign_and_no_wider_than_a_code(nan, passes):
    vectors, lines = echoed_lines()
    results = [line.split()[1] for line in lines]
    assert {b"7f", b"ff"} & set(results)
    swapped = [(nan if code in (b"7f", b"ff") else code) + b"\n" for code in results]
    assert verify(vectors, swapped).passed == passes


def test_pieces_may_be_cut_anywhere():
    vectors = Vectors("encode", E4M3, "1")
    text = b"".join(vectors.text())
    assert verify(vectors, [text[i : i + 7] for i in range(0, len(text), 7)]).passed
    assert verify(vectors, [text[:-1]]).passed  # without the last newline


def test_memory_does_not_grow_with_the_number_of_lines():
    vectors = Vectors("encode", E4M3, "all", "float32")

    def some(pieces, count):
        for _, piece in zip(range(count), pieces, strict=False):
            yield piece

    verify(vectors, some(vectors.text(), 2))  # everything compiled
    tracemalloc.start()
    verify(vectors, some(vectors.text(), 4))
    _, few = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    verify(vectors, some(vectors.text(), 24))
    _, many = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert many < few * 1.5 + 2**20


@pytest.mark.parametrize("width", [1, 2, 4, 8, 16])
def test_hexadecimal_lines_are_read_back(width):
    numbers = np.random.default_rng(width).integers(2 ** min(4 * width, 63), size=500).astype(np.uint64)
    text = hexadecimal.lines([numbers, numbers[::-1]], [width, width])
    assert text.decode().splitlines()[3] == f"{numbers[3]:0{width}x} {numbers[-4]:0{width}x}"
    table = hexadecimal.read(text)
    assert (table.first == numbers).all() and (table.last == numbers[::-1]).all()


def run(*words, input=None):
    return subprocess.run([sys.executable, "-m", "refimpl", *words], input=input, capture_output=True)


def test_the_commands_speak_to_each_other_on_a_pipe():
    written = run("vectors", "encode", "float8_e5m2", "--level", "1")
    assert written.returncode == 0
    results = b"".join(line.split(b" ")[1] for line in io.BytesIO(written.stdout))
    assert run("verify", "encode", "float8_e5m2", "--level", "1", input=results).returncode == 0
    wrong = run("verify", "encode", "float8_e4m3", "--level", "1", "--json", input=written.stdout)
    assert wrong.returncode == 1 and json.loads(wrong.stdout)["passed"] is False


def test_json_lines_and_npz_hold_the_same_cases(tmp_path):
    vectors = Vectors("encode", E4M3, "1")
    text = [line.split() for line in b"".join(vectors.text()).decode().splitlines()]
    records = [json.loads(line) for line in b"".join(vectors.json_lines()).splitlines()]
    assert [[r["input"], r["result"]] for r in records] == text
    vectors.save_npz(tmp_path / "v.npz")
    saved = np.load(tmp_path / "v.npz")
    assert [f"{c:02x}" for c in saved["result"]] == [second for _, second in text]
    assert (saved["input"].view(np.uint32) == [int(first, 16) for first, _ in text]).all()


def test_conform_on_the_command_line_says_0_or_1(tmp_path, monkeypatch, capsys):
    pytest.importorskip("ml_dtypes", reason="the peer ml_dtypes is not installed")
    junit = tmp_path / "report.xml"
    assert main(["conform", "ml_dtypes.float8_e4m3fn", "--inputs", "float32"]) == 0
    assert main(["conform", "ml_dtypes.float8_e4m3fn", "--junit", str(junit)]) == 1
    assert "rounds float64 through float32" in capsys.readouterr().out
    assert junit.read_text().startswith("<?xml")
