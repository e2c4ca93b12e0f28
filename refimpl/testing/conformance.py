"""`conform`: put every case group and law to an implementation, and say what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from refimpl._arguments import POSITIVE, choice, instance, number, sequence, wrong_kind, wrong_value
from refimpl.formats import BlockFormat, CodeBook, IntFormat, NanRule, Overflow, RoundingMode, ScaleRule
from refimpl.formats import format as format_of
from refimpl.formats.units import MatrixUnit
from refimpl.ops.codes import IntegerOverflow
from refimpl.testing.checks.arranged import of_arrangement
from refimpl.testing.checks.checks import Check, checks_for, pool
from refimpl.testing.checks.report import CheckResult, Report, failing_cases
from refimpl.testing.checks.scaled import Scaled, scaled_checks
from refimpl.testing.checks.scaled_blocks import NotFinite, ScaledBlocks
from refimpl.testing.checks.scaled_books import ScaledBooks
from refimpl.testing.checks.scaled_integers import ScaledIntegers
from refimpl.testing.diagnosis.diagnosis import diagnose
from refimpl.testing.expected.behaviour import Behaviour
from refimpl.testing.expected.cases import INPUTS
from refimpl.testing.implementations.implementations import format_of_implementation, implementation_of
from refimpl.testing.implementations.probe import Probe
from refimpl.testing.implementations.programs import Program
from refimpl.testing.operations.judging import conform_operation
from refimpl.testing.operations.operation import Operation, known_name
from refimpl.testing.operations.softmaxes import conform_softmax
from refimpl.testing.operations.specializations import check_rules, conform_specialization, is_one
from refimpl.testing.operations.sums import KINDS, conform_sum

DEFAULTS = {"rounding": "ties_to_even", "overflow": "overflow", "nan": "zero", "zero_point": 0, "not_finite": "nan"}
"""Those of `conform` that are not None."""


def conform(
    implementation,
    format=None,
    *,
    op: str | None = None,
    out_format=None,
    unit: str | MatrixUnit | None = None,
    accumulate=None,
    order: str | None = None,
    chunk: int | None = None,
    rounding: RoundingMode = "ties_to_even",
    overflow: Overflow | IntegerOverflow = "overflow",
    nan: NanRule = "zero",
    random_bits: int | None = None,
    scale=None,
    zero_point=0,
    axis: int | None = None,
    block_size: int | None = None,
    scale_rule: ScaleRule | None = None,
    tensor_scale: float | None = None,
    not_finite: NotFinite = "nan",
    inputs: Iterable[str] = ("float32", "float64"),
    time_limit: float = 10.0,
) -> Report:
    """Hold an implementation of a format to its definition.

    Parameters
    ----------
    implementation : callable, pair, dtype, gfloat format, Program or Implementation
        See `refimpl.testing.implementations.implementations`.  Functions get one-dimensional arrays.  Those of a
        block format get rows of two (or more) blocks along the last axis: a function to values, or a pair, of
        which ``encode(x)`` returns (codes, scales), or (codes, scales, tensor_scale), as `refimpl.quantize_blocks`
        does, and ``decode`` takes them; codes of 4 or 6 bits may be packed, the first in the low bits.  Those of a code
        book (``nf4``), with `block_size`, get rows as well: ``encode`` returns (codes, scales), not packed, the scales
        float32, as `refimpl.quantize_codebook` does.
    format : FloatFormat, PositFormat, IntFormat, BlockFormat, CodeBook or a name
        Not needed for a dtype or a gfloat format, which name their own.  With `op` a float or posit format, or a
        tuple, one for each operand.
    op : str, optional
        An operation, instead of the format's own rounding: any of `refimpl`'s on one to three operands, ``add``,
        ``fma``, ``exp``, ``maximum_number``, ...; ``<``, ``==``, ... or ``lt``, ``eq``, ...; ``convert``, and
        ``to_int8``, ``to_uint32``, ....  The implementation is a function of values, one argument for each operand;
        `refimpl.testing.operations.asked` has the others.  ``sum``, ``dot`` or ``matmul``: a function as for
        `identify_sum`, or a Program; of a unit a function may take a third argument, the first accumulator, which
        may be optional (``c=None``): then it is held to the definition with and without.  Where the unit has block
        scales, it takes those of both operands before that, (m, blocks) and (blocks, n) of a product, and `format` is
        that of the elements or a block format.  ``softmax``: a function of
        arrays (n, k), over the last axis.  A specialization of P3109,
        or its text, such as ``"Abs<Binary8p3se, Binary8p3se, (ToOdd, SatNone)>"``: a function of codes, as
        `refimpl.p3109` has it, for operations on blocks too; without `format`.
    out_format : FloatFormat, PositFormat or a name, optional
        Of the results of `op`, by default that of the operands.
    unit, accumulate, order, chunk
        Of ``sum``, ``dot`` and ``matmul``: as for `refimpl.matmul`.  Of ``softmax``: `accumulate` is the format of its
        steps, the accumulator of `refimpl.softmax`.
    rounding, overflow, nan : str
        What the implementation means to do; as for `refimpl.quantize`.  ``stochastic``: it draws its
        own randomness.  ``stochastic_a b c``: with `random_bits`, it is called as ``f(x, random)``
        with integers below 2^random_bits, and held to the definition for all of them.
    scale, zero_point : float and int, or arrays of them, optional
        Of an integer format: values are held to scale * (code - zero_point).  Without a scale,
        values become integers.
    axis, block_size : int, optional
        Of scales in an array: with `axis` (0 or 1), inputs have two dimensions, and each index along it its scale;
        with `block_size`, each block along the last axis, and scales have the shape of the blocks.
    scale_rule, tensor_scale : str and float, optional
        Of a block format; as for `refimpl.quantize_blocks`.
    not_finite : str
        Of a block format: ``nan``, a block with NaN or an infinity in it is NaN altogether, as
        `refimpl.quantize_blocks` has it; ``open``, whatever becomes of it, others do not change.
    inputs : names of dtypes
        ``float16``, ``float32``, ``float64``: which inputs it takes.
    time_limit : float
        Seconds a call may take.

    Returns
    -------
    Report

    Raises
    ------
    TypeError, ValueError
        For a misuse of this function.  Whatever the implementation does is part of the report.

    Notes
    -----
    Expected results come from `refimpl.spec` (a sample, and every failure reported) and, in bulk,
    from the kernels held to it.  All codes up to 16 bits are decoded, all ties between values are
    tried.  An implementation that hangs is called no more.

    Examples
    --------
    >>> from refimpl import quantize
    >>> report = conform(lambda x: quantize(x, "float8_e4m3fn"), "float8_e4m3fn")
    >>> report.passed
    True
    >>> print(conform(np.trunc, "int8").diagnosis)
    consistent with: toward_zero and does not saturate
    >>> adder = lambda a, b: quantize(quantize(a + b, "bfloat16"), "float8_e4m3fn")
    >>> conform(adder, "float8_e4m3fn", op="add").diagnoses[0]
    'computes in bfloat16 and converts: rounds twice'
    """
    how = {"unit": unit, "accumulate": accumulate, "order": order, "chunk": chunk}
    rules = {"rounding": rounding, "overflow": overflow, "nan": nan, "random_bits": random_bits}
    if op is not None:
        own = {"scale": scale, "zero_point": zero_point, "axis": axis, "block_size": block_size}
        _as_by_default(op, own | {"scale_rule": scale_rule, "tensor_scale": tensor_scale, "not_finite": not_finite})
    if is_one(op):
        _as_by_default(op, how)
        check_rules("conform", rules | {"format": format, "out_format": out_format})
        return conform_specialization(implementation, op, time_limit)
    if op in KINDS:
        if out_format is not None:
            hint = "accumulate= is the format of the sum"
            raise wrong_value("conform", "out_format", str(out_format), f"None with op={op!r}", hint)
        _as_by_default(op, {"nan": nan})
        del rules["nan"]
        how |= {name: got for name, got in rules.items() if got != DEFAULTS.get(name)}
        return conform_sum(implementation, op, format, time_limit=time_limit, **how)
    if op == "softmax":
        _as_by_default(op, rules | {"unit": unit, "order": order, "chunk": chunk})
        return conform_softmax(implementation, format, accumulate, out_format, time_limit)
    for name, got in how.items():
        if got is not None:
            raise wrong_value("conform", name, got, f"None unless op is one of {', '.join(KINDS)}")
    if op is not None:
        return _of_operation(
            implementation, _format_of(implementation, format), op, out_format, rules, _inputs(inputs), time_limit
        )
    if out_format is not None:
        raise wrong_value("conform", "out_format", str(out_format), "None without op")
    probe = probe_of(
        implementation,
        format,
        rounding=rounding,
        overflow=overflow,
        nan=nan,
        random_bits=random_bits,
        scale=scale,
        zero_point=zero_point,
        axis=axis,
        block_size=block_size,
        scale_rule=scale_rule,
        tensor_scale=tensor_scale,
        not_finite=not_finite,
        inputs=inputs,
        time_limit=time_limit,
    )
    results, tallies = [], []
    hung = False
    for check in checks_of(probe):
        if hung:
            check = check._replace(skipped="not tried: the implementation hangs")
        result, tally = check.result(probe)
        hung = hung or tally.hung
        results.append(result)
        tallies.append(tally)
    if not any(result.tried for result in results):
        results.append(CheckResult("tried", "use", "something can be tried", 1, 1))
    return concluded(probe, results, tallies)


def _as_by_default(op, given: dict[str, Any]) -> None:
    """Refuse what an operation does not take."""
    for name, got in given.items():
        if np.ndim(got) or got != DEFAULTS.get(name):
            raise wrong_value("conform", name, got, f"{DEFAULTS.get(name)!r}, the default, with op={str(op)!r}")


def _of_operation(implementation, format, op, out_format, rules, inputs, time_limit) -> Report:
    known_name(op, "conform", (*KINDS, "softmax"))
    operation = Operation(op, format, out_format, **rules)
    return conform_operation(implementation, operation, inputs=inputs, time_limit=time_limit)


def _format_of(implementation, format):
    name = format_of_implementation(implementation) if format is None else format
    if name is None:
        raise wrong_value("conform", "format", None, "the name of a format, such as 'float8_e4m3fn'")
    return name


def _inputs(inputs) -> tuple[str, ...]:
    return (inputs,) if isinstance(inputs, str) else tuple(sequence("conform", "inputs", inputs, "['float32']"))


def probe_of(implementation, format, *, inputs, time_limit, **rules) -> Probe:
    """Return the probe for the arguments of `conform`, checked."""
    behaviour = behaviour_of(_format_of(implementation, format), **rules)
    inputs = _inputs(inputs)
    for dtype in inputs:
        choice("conform", "dtype of inputs", dtype, INPUTS)
    number("conform", "time_limit", time_limit, POSITIVE)
    _hold_to_the_definition(behaviour)
    found = implementation_of(implementation, behaviour)
    rounds_one_by_one = isinstance(implementation, Program) or format_of_implementation(implementation) is not None
    if isinstance(behaviour, ScaledBlocks | ScaledBooks) and rounds_one_by_one:
        allowed = "of a block format or a code book a function on arrays, or a pair (encode, decode) of them"
        raise wrong_kind("conform", "implementation", implementation, allowed)
    return Probe(found, behaviour, inputs, time_limit)


def behaviour_of(
    format,
    rounding: RoundingMode = "ties_to_even",
    overflow: Overflow = "overflow",
    nan: NanRule = "zero",
    random_bits=None,
    scale=None,
    zero_point=0,
    axis: int | None = None,
    block_size: int | None = None,
    scale_rule: ScaleRule | None = None,
    tensor_scale=None,
    not_finite: NotFinite = "nan",
) -> Behaviour | Scaled:
    """Return what is expected of an implementation of a format, scaled or not."""
    fmt = format_of(format)
    of_blocks, of_book = isinstance(fmt, BlockFormat), isinstance(fmt, CodeBook)
    scaled = of_blocks or of_book or scale is not None
    given: Any
    for name, given, default, belongs in (
        ("scale", scale, None, isinstance(fmt, IntFormat)),
        ("zero_point", zero_point, 0, scale is not None),
        ("scale_rule", scale_rule, None, of_blocks),
        ("axis", axis, None, scale is not None),
        ("block_size", block_size, None, of_book or scale is not None),
        ("tensor_scale", tensor_scale, None, of_blocks),
        ("not_finite", not_finite, "nan", of_blocks),
        ("random_bits", random_bits, None, not scaled),
        ("overflow", overflow, "overflow", not scaled),
        ("nan", nan, "zero", not scaled),
    ):
        if not belongs and (np.ndim(given) or given != default):
            what = f"{fmt}{' with a scale' * (scale is not None)}"
            raise wrong_value("testing", name, given, repr(default), f"{what} has no other")
    if isinstance(fmt, BlockFormat):
        return ScaledBlocks(fmt, rounding, scale_rule, tensor_scale, not_finite)
    if isinstance(fmt, CodeBook):
        if block_size is None:
            raise wrong_value("testing", f"block_size of {fmt}", None, "an integer, of neighbours that share a scale")
        return ScaledBooks(fmt, block_size, rounding)
    if scale is not None:
        of_integers = instance("testing", "format with a scale", fmt, IntFormat, "an integer format")
        return ScaledIntegers(of_integers, scale, zero_point, rounding, axis, block_size)
    return Behaviour(format, rounding, overflow, nan, random_bits)


def checks_of(probe: Probe) -> list[Check]:
    """Return the checks for an implementation of any format."""
    return scaled_checks(probe) if isinstance(probe.behaviour, Scaled) else checks_for(probe)


def _hold_to_the_definition(behaviour: Behaviour | Scaled) -> None:
    """Compare the bulk of the expected side with the definition on a sample."""
    if isinstance(behaviour, Scaled):
        behaviour.hold_to_the_definition()
        return
    if behaviour.is_stochastic:
        return
    x = pool(behaviour.format, "float64", most=200)[:300]
    with np.errstate(all="ignore"):
        bulk = behaviour.codes(x)
    for value, code in zip(x, bulk, strict=True):
        if behaviour.code_by_definition(float(value)) != int(code):
            raise RuntimeError(
                f"refimpl's kernels and its definition disagree about {value!r} in {behaviour}; please report this"
            )


def concluded(probe: Probe, results: list[CheckResult], tallies: list) -> Report:
    failed = [result.name for result in results if result.failed]
    seen = [s for tally in tallies for s in tally.seen]
    said = list(dict.fromkeys(hint for tally in tallies for hint in tally.hints))
    hints = [hint for hint in said if not any(other != hint and other.startswith(hint) for other in said)]
    diagnoses: tuple[str, ...] = ()
    description = ""
    if failed:
        behaviour = probe.behaviour
        with np.errstate(all="ignore"):
            if arranged := of_arrangement(probe, seen, failed, hints):
                diagnoses = (arranged,)
            elif isinstance(behaviour, Scaled):
                diagnoses, description = behaviour.diagnose(seen)
            elif any(not behaviour.same(s.x.astype(np.float64), s.expected, s.got).all() for s in seen):
                diagnoses, description = diagnose(behaviour, seen)
        diagnoses = diagnoses or (() if description else tuple(hints[:1]))
    findings = list(dict.fromkeys(text for tally in tallies for text in tally.findings))
    description = "; ".join(filter(None, (description, *findings[:1])))
    diagnoses = tuple(dict.fromkeys(diagnoses))
    if failed and not diagnoses:
        description = description or f"no known defect explains: {', '.join(failed)}"
    cases = failing_cases(probe.behaviour, seen) if failed else []
    name, expected = probe.implementation.name, str(probe.behaviour)
    return Report(name, expected, tuple(results), diagnoses, description, tuple(cases))
