"""How an unknown function adds is found from its answers alone: order, groups, widths, rounding, name."""

import itertools
import math

import numpy as np
import pytest

import refimpl as rf
from refimpl.formats.units import FP22, UNITS, MatrixUnit
from refimpl.testing import identify_sum
from refimpl.testing.trees import in_words, leaves_of


def dots(fmt, **keywords):
    return lambda a, b: rf.dot(a, b, fmt, **keywords)


@pytest.mark.parametrize("name", [n for n, u in UNITS.items() if not u.scales and n != "hopper-fp8-promoted"])
def test_every_unit_is_found_again_without_being_told(name):
    unit = UNITS[name]
    for accumulate in ("float32", "float16") if unit.float16 else (None,):
        function = dots(unit.operands[0], unit=name, accumulate=accumulate)
        terms = 2 * max(unit.terms, 4)
        found = identify_sum(function, kind="dot", fmt=unit.operands[0], terms=terms)
        assert (name + " into float16" * (accumulate == "float16")) in found.known
        assert found.calls <= 45 + terms * math.log2(terms)
        if unit.sum == "aligned":
            assert found.order == f"groups of {unit.terms} terms, each fused with the accumulator"
            assert (found.alignment_bits, found.alignment_cut) == (unit.fraction_bits, "toward_zero")


def test_a_sum_promoted_every_128_products_is_found_again():
    found = identify_sum(dots("float8_e5m2", unit="hopper-fp8-promoted"), kind="dot", fmt="float8_e5m2", terms=256)
    assert found.known == ("hopper-fp8-promoted",)
    half = "groups of 32 terms, each fused with the accumulator"
    assert found.order == f"two halves, of 128 and 128 terms: each {half}"


ORDERS = {
    "sequential": "one after the other",
    "pairwise": "neighbours in pairs",
    "chunked": "chunks of 8, each one after the other, then their sums",
    "kahan": "one after the other",
    "exact": "exact: every term counts, in whatever order",
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("into", ["float32", "bfloat16", "float16"])
def test_every_order_is_found_again(order, into):
    keywords = {"order": order, "chunk": 8 if order == "chunked" else None, "accumulate": into}
    found = identify_sum(dots("float8_e5m2", **keywords), kind="dot", fmt="float8_e5m2", terms=24)
    assert found.order == ORDERS[order]
    what = f"order={order!r}, accumulate={into!r}" if order in ("kahan", "exact") else f"of {into} in this order"
    assert any(what in name for name in found.known)


@pytest.mark.parametrize(
    ("function", "fmt", "terms", "order"),
    [
        (np.sum, "float32", 16, "8 sums side by side, of every 8th term, then these"),
        (np.cumsum, "float64", 9, "one after the other"),
        (lambda x: np.add.reduce(np.tile(x[:, None], (1, 4)), axis=0), "float32", 20, "one after the other"),
        (lambda x: math.fsum(x.tolist()), "float64", 20, "exact: every term counts, in whatever order"),
        (lambda x: sum(x[::-1].tolist()), "float64", 9, None),
    ],
)
def test_sums_of_numpy_and_python_are_explained(function, fmt, terms, order):
    """Python's own sum, of 3.12 and later, is compensated: it has a name or none, but is not taken for another."""
    last = (lambda x: function(x)[-1]) if function is np.cumsum else function
    found = identify_sum(last, fmt=fmt, terms=terms)
    if order is not None:
        assert found.order == order
        assert found.known


@pytest.mark.parametrize("fmt", ["float32", "float64"])
@pytest.mark.parametrize("terms", [8, 33, 64])
def test_products_of_the_machine_s_library_are_explained(fmt, terms):
    """Whatever order it has: the tree, evaluated, gives its answers to random terms, bit for bit."""
    for kind, function, shape in (("dot", np.dot, (1, 1)), ("matmul", np.matmul, (8, 8))):
        found = identify_sum(function, kind=kind, fmt=fmt, terms=terms, shape=shape)
        assert sorted(leaves_of(found.tree)) == list(range(terms))
        assert any(fmt in name for name in found.known)


def test_what_a_loop_leaves_over_may_be_added_in_another_arithmetic():
    """As OpenBLAS adds float32: sixteen terms fused, five more rounded to float32 and added in float64."""

    def product(a, b):
        first = rf.dot(a[:16], b[:16], "float32", accumulate="float32")
        last = np.cumsum((a[16:] * b[16:]).astype(np.float64))[-1]
        return np.float32(first + last)

    found = identify_sum(product, kind="dot", terms=21)
    words = "16 terms by fused multiply-adds of float32, 5 by products rounded to float32 and additions of float64"
    assert found.known == (words,)


def test_torch_s_sums_and_products_are_explained():
    torch = pytest.importorskip("torch")
    found = identify_sum(lambda x: torch.from_numpy(x).sum(), terms=32)
    assert found.known
    matmul = identify_sum(lambda a, b: (torch.from_numpy(a) @ torch.from_numpy(b)).numpy(), kind="matmul", terms=32)
    assert matmul.known


OWN = [
    MatrixUnit(operands=("bfloat16",), terms=6, fraction_bits=17),
    MatrixUnit(operands=("bfloat16",), terms=5, fraction_bits=9, cut="toward_negative"),
    MatrixUnit(operands=("bfloat16",), terms=4, fraction_bits=26, cut="ties_to_even", rounding="ties_to_even"),
    MatrixUnit(operands=("bfloat16",), terms=12, fraction_bits=20, into=FP22),
    MatrixUnit(operands=("bfloat16",), terms=8, fraction_bits=15, align="products"),
]


@pytest.mark.parametrize("index", range(len(OWN)))
def test_a_unit_nobody_has_named_is_measured(index):
    unit = OWN[index]
    found = identify_sum(dots("bfloat16", unit=unit), kind="dot", fmt="bfloat16", terms=4 * unit.terms)
    assert found.order == f"groups of {unit.terms} terms, each fused with the accumulator"
    assert (found.alignment_bits, found.alignment_cut) == (unit.fraction_bits, unit.cut)
    assert (found.unit.into, found.unit.rounding, found.unit.align) == (unit.into, unit.rounding, unit.align)


def test_a_sum_with_a_fault_is_not_given_the_name_of_the_right_one():
    """Hopper's sum with one bit fewer in alignment, and a pairwise sum that leaves out one rounding."""
    narrow = MatrixUnit(operands=("float16",), terms=16, fraction_bits=24)
    assert "hopper-f16" not in identify_sum(dots("float16", unit=narrow), kind="dot", fmt="float16", terms=32).known

    def wide(x):
        return np.float32(np.float64(x[0]) + np.float64(x[1]) + np.float64(rf.sum(x[2:], "float32")))

    assert not any("additions of float32 in this order" == name for name in identify_sum(wide, terms=12).known)


CHUNKED = {"terms": 16, "fraction_bits": 15, "into": FP22, "promote": 64}
JOINED = {"terms": 8, "fraction_bits": 19, "joined": (27, 22), "rounding": "ties_to_even"}
HALVES = {"terms": 12, "halves": True, "fraction_bits": 20, "joined": (20, 20)}


@pytest.mark.parametrize("fields", [CHUNKED, JOINED, HALVES], ids=["promoted", "joined", "halves"])
def test_units_of_two_levels_and_with_the_accumulator_apart_are_found(fields):
    """The unit that is found answers what the unit does, to sums it was not asked."""
    unit = MatrixUnit(operands=("float8_e5m2",), **fields)
    function = dots("float8_e5m2", unit=unit)
    found = identify_sum(function, kind="dot", fmt="float8_e5m2", terms=3 * max(64 * ("promote" in fields), 16))
    assert (found.unit.terms, found.unit.fraction_bits, found.unit.promote) == (
        unit.terms,
        unit.fraction_bits,
        unit.promote,
    )
    rng = np.random.default_rng(5)
    a, b = (rf.quantize(rng.standard_normal((300, 96)).astype(np.float32), "float8_e5m2") for _ in "ab")
    same = [rf.dot(x, y, "float8_e5m2", unit=found.unit) == function(x, y) for x, y in zip(a, b, strict=True)]
    assert all(same)


def compensated(x):
    """Neumaier's sum, in the format of x."""
    total = lost = x.dtype.type(0)
    for v in x:
        new = total + v
        lost = lost + ((total - new) + v if abs(total) >= abs(v) else (v - new) + total)
        total = new
    return total + lost


@pytest.mark.parametrize("fmt", ["float32", "float64"])
def test_a_compensated_sum_is_not_called_exact(fmt):
    found = identify_sum(compensated, fmt=fmt, terms=20)
    assert found.order.startswith("compensated") and not any("exact" in name for name in found.known)


def test_no_name_is_given_that_contradicts_an_earlier_answer():
    """float64's sum rounded once is nearly always the exact one, but swallowed ones."""
    found = identify_sum(lambda x: np.float32(np.cumsum(x.astype(np.float64))[-1]), terms=20)
    assert found.known == ("additions of float64 in this order, the sum rounded to float32",)


def test_fused_multiply_adds_from_either_end_are_named_for_every_seed():
    """Of two products that meet first one is rounded: opposite terms show which, and whether later ones are."""
    rounded = lambda a, b: np.cumsum(a * b)[-1]  # noqa: E731

    def fused(a, b):
        return rf.dot(a, b, "float32", unit="cdna3-f32")

    turned = lambda a, b: fused(a[::-1], b[::-1])  # noqa: E731
    for seed in range(3):
        found = [identify_sum(f, kind="dot", terms=12, seed=seed).known for f in (fused, turned, rounded)]
        assert [any("fused" in name for name in known) for known in found] == [True, True, False]
        assert [any(name.startswith("additions") for name in known) for known in found] == [False, False, True]


def test_a_last_product_that_is_not_rounded_is_noticed_for_every_seed():
    """As OpenBLAS adds 33 terms of float64: opposite terms leave what rounding lost, random ones seldom do."""

    def product(a, b):
        first = np.cumsum(np.cumsum((a[:-1] * b[:-1]).reshape(4, 8), axis=1)[:, -1])[-1]  # four chunks
        return rf.dot(a[-1:], b[-1:], "float64", unit="cdna3-f64", initial=first)

    for seed in range(6):
        known = identify_sum(product, kind="dot", terms=33, fmt="float64", seed=seed).known
        assert known == ("32 terms by additions of float64, 1 by fused multiply-adds of float64",)


def test_what_happens_to_the_smallest_and_largest_numbers_is_said():
    def flushed(x):
        total = np.float32(0)
        for v in x:
            total = total + (v if abs(v) >= 2.0**-126 else np.float32(0))
        return total

    clipped = lambda x: np.clip(np.cumsum(x)[-1], -1e30, 1e30)  # noqa: E731
    said = [identify_sum(function, terms=20).known for function in (flushed, clipped)]
    name = "additions of float32 in this order, but for the "
    assert said == [(name + "smallest numbers",), (name + "largest numbers",)]


def test_an_order_that_depends_on_the_values_is_not_called_fused():
    found = identify_sum(lambda x: np.cumsum(sorted(x, key=abs), dtype=np.float32)[-1], terms=20)
    assert not found.known and "depends on their values" in found.order


def test_directed_accumulators_are_named_by_what_they_answer():
    function = dots("bfloat16", accumulate="float32", rounding="toward_zero")
    found = identify_sum(function, kind="dot", fmt="bfloat16", terms=16)
    assert (found.accumulator_bits, found.accumulator_rounding) == (24, "toward_zero")
    assert "fused multiply-adds of float32 in this order, rounded toward zero" in found.known
    assert not any("nearest" in name or "order='" in name for name in found.known)


def test_a_sticky_bit_in_alignment_gives_no_tree_but_is_measured():
    sticky = MatrixUnit(operands=("bfloat16",), terms=4, fraction_bits=12, cut="to_odd")
    found = identify_sum(dots("bfloat16", unit=sticky), kind="dot", fmt="bfloat16", terms=12)
    assert found.tree is None
    assert found.order.endswith("or with a sticky bit")
    assert (found.unit.terms, found.unit.fraction_bits, found.unit.cut) == (4, 12, "to_odd")


def test_ones_that_are_never_swallowed_are_refused_or_taken_for_exact():
    """Products of FP4 lie within a factor of 2^7: nothing in float32 is small enough to be swallowed."""
    found = identify_sum(dots("float4_e2m1fn", accumulate="float32"), kind="dot", fmt="float4_e2m1fn", terms=8)
    assert found.tree is None and found.order.startswith("exact")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"function": 3}, "function is 3"),
        ({"kind": "mean"}, "unknown kind 'mean'"),
        ({"terms": 1}, "terms is 1; allowed is an integer, 2 to 4096"),
        ({"fmt": "int8"}, "fmt is 'int8'; allowed is a float format"),
        ({"function": lambda x: x[0]}, "allowed is one that adds them exactly"),
        ({"shape": (1,)}, "allowed is a pair of sizes"),
        ({"function": lambda x: None}, "what the function returned is None; allowed is a number"),
        ({"function": lambda x: "many"}, "what the function returned is 'many'; allowed is a number"),
        ({"function": lambda x: []}, "what the function returned is [] (list); allowed is a number"),
        (
            {"function": lambda x: np.nan},
            "one that answers 32 terms of 2^0 with nan, 30 with 2^100 and its opposite with nan",
        ),
    ],
)
def test_what_cannot_be_asked_is_refused(arguments, message):
    function = arguments.pop("function", np.sum)
    with pytest.raises((TypeError, ValueError)) as error:
        identify_sum(function, **arguments)
    assert message in str(error.value)


def test_a_function_that_answers_differently_each_time_is_refused():
    """As sums of atomic additions may do, whose order differs from call to call: here terms are reversed at times."""
    steps = itertools.cycle((1, 1, -1, -1))

    def sums(x):
        return np.cumsum(x[:: next(steps)] if len(set(np.abs(x).tolist())) == 8 else x)[-1]

    with pytest.raises(ValueError, match="answers the same terms with .* and with .*; allowed is one that is the same"):
        identify_sum(sums, terms=8)


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        ((((0, 1), 2), ((3, 4), 5)), "chunks of 3, each one after the other, then their sums"),
        (((0, 2), (1, 3)), "2 sums side by side, of every 2nd term, then these"),
        ((0, (1, (2, 3))), "one after the other, the last term first"),
        ((0, 1, 2, 3), "all 4 terms in one fused sum"),
        (((0, 1, 2), (3, 4, 5)), "groups of 3 terms, each fused, then added to the accumulator"),
        (((0, 3), (1, 2)), "another tree"),
    ],
)
def test_trees_are_put_in_words(tree, words):
    assert in_words(tree) == words


def test_a_long_chain_is_found_in_as_many_calls_as_it_has_terms():
    found = identify_sum(lambda x: np.cumsum(x)[-1], terms=2000)
    assert found.order == "one after the other" and found.calls < 2050
    assert str(found).count("\n") == 3
