"""What each operation is held to, in each family of formats, is what the guide's table says.

    python tests/project/test_proofs.py > tutorials/guides/how_it_is_proved.md

writes the page.  Operations are those that are implemented, families those of the formats that the tests name; a test
that is gone, or an operation that nothing is held to, fails here.
"""

import ast
import importlib.util
import json
import sys
from pathlib import Path
from typing import NamedTuple

from refimpl.formats import FloatFormat, PositFormat
from refimpl.formats import format as format_of
from refimpl.kernels import arithmetic, operations
from refimpl.ops.operations import CODE, TABLE, TRUTH
from refimpl.spec.functions import OPERANDS as FUNCTIONS
from refimpl.spec.p3109 import NAMES

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "tutorials/guides/how_it_is_proved.md"
FAMILIES = ("8 bits", "16 bits", "float32", "P3109", "posits")
UNARY = [name for name, count in FUNCTIONS.items() if count == 1]
MPFR = json.loads((ROOT / "tests/peers/mpfr_float32.json").read_text())
ROWS = ["add", *TABLE, "compare", "classify", "to_integer"]
TOLD = [name for name, line in TABLE.items() if line.kind in (CODE, TRUTH)]


class Proof(NamedTuple):
    """A test, what it holds operations to, and which operations in which families."""

    sign: str
    text: str
    test: str
    operations: list[str]
    families: tuple[str, ...]


def module(path):
    """Return a module of tests that needs no optional package."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def families(names) -> tuple[str, ...]:
    """Return the families of formats, given by their names."""
    found = set()
    for fmt in map(format_of, names):
        if isinstance(fmt, PositFormat):
            found.add("posits")
        elif isinstance(fmt, FloatFormat) and fmt.specials.startswith("p3109"):
            found.add("P3109")
        elif fmt.name == "float32":
            found.add("float32")
        elif fmt.bits <= 8 or fmt.bits == 16:
            found.add(f"{max(fmt.bits, 8)} bits")
    return tuple(f for f in FAMILIES if f in found)


def proofs() -> list[Proof]:
    """Return all of them, the strongest first."""
    every, wide = module("tests/exhaustive/test_arithmetic.py"), module("tests/twins/test_arithmetic.py")
    twins, report = module("tests/twins/test_operations.py"), module("tests/exhaustive/test_p3109_facts.py")
    all_pairs = families(every.EIGHT_BITS)
    arithmetics, triples = ["add", "sub", "mul", "div"], families([*every.FIVE_BITS, *every.EIGHT_BITS])
    said = {line.split()[0] for part in report.OPERATIONS.split("\n") for line in part[2:].split(";") if line.split()}
    facts = [NAMES.get(name, name.lower()) for name in sorted(said)]
    c_library = ["fma", "add", "mul", "sqrt", "remainder", "round_to_integral"]
    e, t, p = "tests/exhaustive", "tests/twins", "tests/peers"
    return [
        Proof("A", "all pairs of codes, six modes, by definition",
              f"{e}/test_arithmetic.py::test_every_pair_is_computed_as_defined_in_every_mode", arithmetics, all_pairs),
        Proof("A", "all codes, six modes, by definition",
              f"{e}/test_arithmetic.py::test_a_sample_of_pairs_is_computed_as_defined_in_every_mode",
              ["sqrt"], all_pairs),
        Proof("A", "all pairs of codes, by definition",
              f"{e}/test_arithmetic.py::test_every_pair_of_posits_is_computed_as_defined", arithmetics, ("posits",)),
        Proof("A", "all triples of 5 bits and millions of 8, six modes, by definition",
              f"{e}/test_arithmetic.py::test_every_triple_is_fused_as_defined_in_every_mode", ["fma"], triples),
        Proof("A", "all codes of 16 bits, six modes, by definition",
              f"{e}/test_arithmetic.py::test_every_root_of_sixteen_bits_is_as_defined", ["sqrt"],
              ("16 bits", "posits")),
        Proof("M", "all codes, ten modes, stochastic ones among them, against MPFR",
              f"{p}/test_functions.py::test_a_function_of_all_codes_of_8_bits_is_mpfr_s_in_every_mode",
              UNARY, ("8 bits", "P3109", "posits")),
        Proof("M", "all codes, ten modes, against MPFR",
              f"{p}/test_functions.py::test_a_function_of_all_codes_of_16_bits_is_mpfr_s_in_every_mode",
              UNARY, ("16 bits",)),
        Proof("M", "all pairs of codes, against MPFR",
              f"{p}/test_functions.py::test_a_function_of_all_pairs_of_8_bits_is_mpfr_s",
              ["hypot", "atan2", "pow"], ("8 bits", "P3109")),
        Proof("T", "ten million results, against MPFR",
              f"{p}/test_functions.py::test_ten_million_float32_are_mpfr_s", list(MPFR), ("float32",)),
        Proof("m", "thousands of results, six modes, against MPFR",
              f"{p}/test_functions.py::test_a_function_of_some_float32_is_mpfr_s_in_every_deterministic_mode",
              UNARY, ("float32",)),
        Proof("m", "thousands of pairs, three modes, against MPFR",
              f"{p}/test_functions.py::test_a_function_of_random_pairs_is_mpfr_s",
              ["hypot", "atan2", "pow"], ("16 bits", "float32")),
        Proof("N", "ten million pairs of float16, four million of float32, against NumPy",
              f"{p}/test_arithmetic.py::test_arithmetic_of_ten_million_pairs_of_float16_is_numpy_s",
              [*arithmetics, "sqrt", "compare"], ("16 bits", "float32")),
        Proof("C", "results and flags in four modes, against the C library",
              f"{p}/test_operations.py::test_results_and_flags_are_those_of_the_c_library", c_library, ("float32",)),
        Proof("S", "files in TestFloat's lines, results and flags of Berkeley SoftFloat, five modes",
              f"{p}/test_softfloat.py::test_files_of_testfloat_are_verified_with_their_flags",
              [*c_library, "sub", "div", "compare", "convert", "to_integer"], ("16 bits", "float32")),
        Proof("F", "the report's rules and examples, literally",
              f"{e}/test_p3109_facts.py::test_operations_give_what_the_report_s_rules_give",
              facts, ("P3109",)),
        Proof("d", "random and chosen operands, all modes, by definition",
              f"{t}/test_arithmetic.py::test_operations_of_a_wide_format_are_as_defined",
              list(arithmetic.OPERATIONS), families(wide.FORMATS)),
        Proof("d", "random and chosen operands, all modes, by definition",
              f"{t}/test_operations.py::test_every_operation_of_a_format_is_as_defined",
              list(operations.OPERATIONS), families(twins.FORMATS)),
        Proof("d", "random and chosen codes, by definition",
              f"{t}/test_operations.py::test_what_is_told_of_many_codes_is_as_defined",
              list(twins.TOLD), families(twins.FORMATS)),
        Proof("d", "random and chosen codes, three modes, three rules of overflow, by definition",
              f"{t}/test_operations.py::test_integers_of_many_codes_are_as_defined",
              ["to_integer"], ("16 bits", "float32", "P3109", "posits")),
        Proof("d", "a fifth of all pairs, by definition",
              f"{e}/test_arithmetic.py::test_pairs_are_compared_as_defined", ["compare"], ("8 bits", "posits")),
        Proof("d", "special and exact pairs, three modes, by definition",
              f"{t}/test_functions.py::test_functions_of_special_pairs_and_small_numbers_are_as_defined",
              [name for name, count in FUNCTIONS.items() if count == 2], ("16 bits", "float32")),
    ]  # fmt: skip


def page() -> str:
    """Return the guide."""
    found = proofs()
    cells = {
        (row, family): "".join(dict.fromkeys(p.sign for p in found if row in p.operations and family in p.families))
        for row in ROWS
        for family in FAMILIES
    }
    signs: dict[str, dict[str, None]] = {}
    for proof in found:
        signs.setdefault(proof.sign, {})[f"{proof.text}: `{proof.test}`"] = None
    lines = [
        "# How each operation is proved",
        "",
        "Operation by family of formats, and what its results are held to; an empty cell: the operation's definition",
        "serves that family as every other, and no test of that family alone is listed. Written by",
        "`python tests/project/test_proofs.py`, from the operations that are implemented and the formats that the",
        "tests name; `pytest tests/project/test_proofs.py` fails where this page says something else. Tests marked",
        "slow run by `pytest -m slow`.",
        "",
        f"| operation | {' | '.join(FAMILIES)} |",
        f"|{'---|' * (len(FAMILIES) + 1)}",
        *(f"| `{row}` | {' | '.join(cells[row, family] for family in FAMILIES)} |" for row in ROWS),
        "",
        "Families: floats of at most 8 bits, float16 and bfloat16 and others of 16, float32, IEEE P3109, posits.",
        "",
    ]
    for sign, texts in signs.items():
        lines += [f"- **{sign}** {text}" for text in texts]
    lines += [
        "",
        "Rounding itself (`quantize`, `encode`, `decode`), sums, blocks, integers and code books have twins in",
        "`refimpl.spec` of their own: `tests/twins`, `tests/exhaustive` and `tests/peers` by their names. Exception",
        "flags are the definition's, against the C library's (**C**) and SoftFloat's (**S**).",
    ]
    return "\n".join(lines) + "\n"


def test_the_page_says_what_the_tests_hold():
    assert PAGE.read_text(encoding="utf-8") == page()


def test_every_test_that_the_page_names_is_there():
    for proof in proofs():
        file, _, name = proof.test.partition("::")
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, proof.test


def test_every_operation_is_held_to_something_and_the_page_names_none_that_is_not_there():
    rows = {row: [p for p in proofs() if row in p.operations] for row in ROWS}
    assert [row for row, found in rows.items() if not found] == []
    assert {name for proof in proofs() for name in proof.operations} <= set(ROWS)


if __name__ == "__main__":
    sys.stdout.write(page())
