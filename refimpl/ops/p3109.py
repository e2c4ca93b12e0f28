"""Operations of IEEE P3109 (interim report 4.0) by the standard's names, on codes.

    rf.p3109.Add("Binary8p4se", "Binary8p4se", "Binary8p3se", ("NearestTiesToEven", "SatFinite"))(x, y)
    rf.p3109.operation("Exp<Binary8p3se, Binary8p4se, (NearestTiesToEven, SatFinite)>")(x)

A name and its parameters, in the standard's order, make a `Specialization`; called with codes, it gives codes.
Formats are those of P3109, whatever K > 2 as far as `FloatFormat` goes (exponents of 16 bits, 53 significant
bits), and the external ones: binary64, binary32, binary16, BFloat16.  The random bits of a stochastic mode are
part of its name, ``StochasticA(8)``; the integers R are the argument `random=`.

Blocks have their elements along the last axis: x of shape (..., B), their scales s of shape (...).

*Source*: IEEE P3109 interim report 4.0, section 4; `refimpl.spec.p3109`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from refimpl import _arguments
from refimpl.formats import FloatFormat
from refimpl.formats.names import read
from refimpl.ops import arrays
from refimpl.ops.arithmetic import holding_relation
from refimpl.ops.operations import broadcast, compute
from refimpl.ops.remembered import look_up
from refimpl.ops.rounding import RoundingRule
from refimpl.spec import operations
from refimpl.spec import p3109 as spec
from refimpl.spec.float_codes import Value
from refimpl.spec.p3109 import Rho

EXTERNAL = {"float64": "binary64", "float32": "binary32", "float16": "binary16", "bfloat16": "BFloat16"}
BLOCK_OPERATIONS = {f"Block{name}": count for name, count in spec.OPERANDS.items()}
SCALED_OPERATIONS = {f"Scaled{name}": count for name, count in spec.OPERANDS.items()}
# What the parameters of an operation are, and its operands; f a format, p one of a scale and one of elements.
_SIGNATURES: dict[str, tuple[str, tuple[str, ...]]] = {
    **{name: ("f" * count + "fr", ("x", "y", "z")[:count]) for name, count in spec.OPERANDS.items()},
    **dict.fromkeys(("ArcTan2", "ArcTan2Pi"), ("fffr", ("y", "x"))),
    **dict.fromkeys(spec.COMPARISONS, ("ff", ("x", "y"))),
    "TotalOrder": ("ff", ("x", "y")),
    **dict.fromkeys([*spec.PREDICATES, "Class", "NextGreaterThan", "NextLessThan"], ("f", ("x",))),
    **dict.fromkeys(spec.QUERIES, ("f", ())),
    "RoundOf": ("r", ()),
    "SatOf": ("r", ()),
    "ConvertFromBlock": ("Bfffr", ("s", "x")),
    "ConvertToBlock": ("Bfffr", ("x", "s")),
    "ConvertToBlockMaxAbsFinite": ("Bfffrr", ("x",)),
    "BlockReduceAdd": ("Bfffr", ("s", "x")),
    "BlockReduceMultiply": ("Bfffr", ("s", "x")),
    "BlockDotProduct": ("Bfffffr", ("sx", "x", "sy", "y")),
    **{
        name: ("B" + "p" * n + "ffr", (*(f"{k}{i}" for i in range(1, n + 1) for k in "sx"), "s"))
        for name, n in BLOCK_OPERATIONS.items()
    },
    **{
        name: ("p" * n + "fr", tuple(f"{k}{i}" for i in range(1, n + 1) for k in "sx"))
        for name, n in SCALED_OPERATIONS.items()
    },
}
NAMES: tuple[str, ...] = tuple(_SIGNATURES)
"""All operations there are."""
NOT_PROJECTED = (*spec.COMPARISONS, *spec.PREDICATES, "TotalOrder", "Class")
"""Those that tell a truth or a class."""


def signature(name: str) -> str:
    """Return an operation as the standard writes it, with names of parameters and operands.

    >>> signature("Add"), signature("ConvertToBlock")
    ('Add<fx, fy, fr, ρ>(x, y) -> r', 'ConvertToBlock<B, fx, fs, fr, ρ>(x, s) -> (s, r)')
    """
    kinds, operands = _SIGNATURES[name]
    if name == "Clamp":
        operands = ("x", "lo", "hi")
    projects = kinds.endswith("r") and kinds != "r"
    names = [f"f{x}" for x in operands] + ["fs"] * name.startswith("ConvertToBlockMax") + ["fr"] * projects
    if "p" in kinds:
        pairs = [f"({s}, {x})" for s, x in zip(names[::2], names[1::2], strict=False) if s[1:] != "s" and x != "fr"]
        names = [*pairs, *["fs"] * name.startswith("Block"), "fr"]
    if not operands:
        names = ["ρ"] if kinds == "r" else ["f"]
    if name.startswith(("Is", "Class", "Next")):
        names = ["f"]
    parameters = ["B"] * kinds.startswith("B") + names + ["ρs"] * kinds.endswith("rr") + ["ρ"] * projects
    block = name.startswith(("ConvertToBlock", *BLOCK_OPERATIONS)) and not name.startswith("BlockReduce")
    return f"{name}<{', '.join(parameters)}>({', '.join(operands)}) -> {'(s, r)' if block else 'r'}"


def name_of(fmt: FloatFormat) -> str:
    """Return the standard's name of a format.

    >>> name_of(format("BFloat16")), name_of(format("binary8p3se"))
    ('BFloat16', 'Binary8p3se')
    """
    return EXTERNAL.get(fmt.name) or fmt.name.capitalize()


def format(name: str | FloatFormat) -> FloatFormat:
    """Return a format of P3109, or an external one, of its name.

    Raises
    ------
    TypeError, ValueError
        For what is none.

    Examples
    --------
    >>> format("Binary8p3se").max, format("binary32").bits
    (49152.0, 32)
    """
    return _format("p3109.format", name)


def _format(caller: str, got: Any) -> FloatFormat:
    found = read(caller, "the format", got, FloatFormat)
    if (
        not (operations.is_p3109(found) and re.fullmatch(r"binary\d+p\d+[su][ef]", found.name))
        and found.name not in EXTERNAL
    ):
        allowed = "one of P3109, such as Binary8p3se, or binary64, binary32, binary16 or BFloat16"
        raise _arguments.wrong_value(caller, "the format", str(found), allowed)
    return found


def _rho(caller: str, got: Any) -> Rho:
    pair = _arguments.sequence(caller, "rho", got, "('NearestTiesToEven', 'SatNone')", 2)
    if len(pair) != 2:
        raise _arguments.wrong_value(caller, "rho", got, "a rounding mode and a saturation mode")
    mode, _, bits = str(pair[0]).rstrip(")").partition("(")
    _arguments.choice(caller, "rounding mode", mode, spec.ROUNDINGS)
    _arguments.choice(caller, "saturation mode", pair[1], spec.SATURATIONS)
    if mode.startswith("Stochastic") != bits.isdecimal() or (bits and not 1 <= int(bits) <= 32):
        allowed = "a mode, and of a stochastic one the random bits, 1 to 32: StochasticA(8)"
        raise _arguments.wrong_value(caller, "rounding mode", pair[0], allowed)
    return Rho(spec.ROUNDINGS[mode], int(bits or 32), spec.SATURATIONS[pair[1]])


@dataclass(frozen=True)
class Specialization:
    """An operation with its parameters; called with codes it gives codes, or what else it is the operation for.

    Examples
    --------
    >>> exp = operation("Exp<Binary8p4se, Binary8p4se, (NearestTiesToEven, SatNone)>")
    >>> exp.name, str(exp)
    ('Exp', 'Exp<Binary8p4se, Binary8p4se, (NearestTiesToEven, SatNone)>')
    """

    name: str
    parameters: tuple[Any, ...]

    def __str__(self) -> str:
        return f"{self.name}<{', '.join(map(_written, self.parameters))}>"

    @property
    def formats(self) -> tuple[FloatFormat, ...]:
        """The formats among the parameters, in order."""
        flat = [q for p in self.parameters for q in (p if type(p) is tuple else (p,))]
        return tuple(f for f in flat if isinstance(f, FloatFormat))

    @property
    def operands(self) -> tuple[str, ...]:
        """The names of the operands: of blocks s, with a number or a letter, a scale, and x the elements."""
        return _SIGNATURES[self.name][1]

    @property
    def gives_block(self) -> bool:
        """Whether the result is a block: codes of scales and of elements."""
        single = self.name.startswith(("BlockReduce", "BlockDot", "Scaled")) or self.name == "ConvertFromBlock"
        return "Block" in self.name and not single

    @property
    def rho(self) -> Rho:
        """The projection of the result."""
        return self.parameters[-1]

    def __call__(self, *codes: Any, random: Any = None, random_scale: Any = None) -> Any:
        """Return what the operation gives for codes.

        codes: array_like of integers, shapes that broadcast; blocks (..., B).  random: integers, one for each
        element that is projected stochastically, and random_scale, one for each scale that is.
        """
        operands = self.operands
        if len(codes) != len(operands):
            raise TypeError(f"{self}: takes {len(operands)} operands ({', '.join(operands)}); got {len(codes)}")
        if not operands:
            return self._asked()
        if self.name.startswith(("Block", "ConvertFromBlock", "ConvertToBlock", "Scaled")):
            return _Blocks(self, codes, random, random_scale).result()
        formats = self.formats[: len(operands)]
        names = [x if self.name != "Clamp" else k for x, k in zip(operands, ("x", "lo", "hi"), strict=False)]
        flat, shape = _codes(self.name, names, codes, formats)
        if self.name in spec.OPERANDS:
            into = self.formats[-1]
            rule = _rule(self.name, self.rho, shape, random)
            found, _, _ = compute(spec.NAMES[self.name], flat, formats, into, rule, p3109=True)
            return found.astype(arrays.code_dtype(into.bits)).reshape(shape)
        return self._told(flat, formats).reshape(shape)

    def _asked(self) -> Any:
        given = self.parameters[0]
        if self.name == "RoundOf":
            return _written(given)[1:].partition(",")[0]
        if self.name == "SatOf":
            return _written(given)[:-1].partition(", ")[2]
        return spec.query(self.name, given)

    def _told(self, codes: list[np.ndarray], formats) -> np.ndarray:
        if self.name in spec.COMPARISONS:
            relation: Any = spec.COMPARISONS[self.name]
            return holding_relation(codes, formats, relation)

        def case(*given: int) -> tuple[int, int]:
            if self.name == "TotalOrder":
                x, y = (spec.decode(code, fmt, True) for code, fmt in zip(given, formats, strict=True))
                ordered = x.kind == "nan" or (y.kind != "nan" and operations.order(x) <= operations.order(y))
                return int(ordered), 0
            if self.name == "Class":
                return spec.CLASSES.index(spec.class_of(given[0], formats[0])), 0
            if self.name in spec.PREDICATES:
                return int(spec.PREDICATES[self.name](given[0], formats[0])), 0
            return spec.next_code(given[0], formats[0], self.name == "NextGreaterThan"), 0

        found, _ = look_up(self, [fmt.bits for fmt in formats], codes, case)
        if self.name == "Class":
            return np.array(spec.CLASSES)[found.astype(np.intp)]
        return found.astype(arrays.code_dtype(formats[0].bits) if self.name.startswith("Next") else np.bool_)


def _written(parameter: Any) -> str:
    if isinstance(parameter, Rho):
        modes = {ours: theirs for theirs, ours in (*spec.ROUNDINGS.items(), *spec.SATURATIONS.items())}
        bits = f"({parameter.random_bits})" if parameter.rounding.startswith("stochastic") else ""
        return f"({modes[parameter.rounding]}{bits}, {modes[parameter.overflow]})"
    if isinstance(parameter, tuple):
        return f"({', '.join(map(_written, parameter))})"
    return name_of(parameter) if isinstance(parameter, FloatFormat) else str(parameter)


def _rule(caller: str, rho: Rho, shape, random) -> RoundingRule:
    bits = rho.random_bits if rho.rounding.startswith("stochastic") else None
    if bits is not None and random is None:
        allowed = f"integers of {bits} bits, one for each projected element"
        raise ValueError(_arguments.message(caller, "random", "None", allowed))
    how: Any = {"rounding": rho.rounding, "overflow": rho.overflow, "random_bits": bits, "random": random}
    return RoundingRule.of(caller, None, shape, **how)


def _codes(caller: str, names: Sequence[str], codes, formats) -> tuple[list[np.ndarray], tuple[int, ...]]:
    found = [
        arrays.codes(caller, name, x, name_of(fmt), 1 << fmt.bits)
        for name, x, fmt in zip(names, codes, formats, strict=True)
    ]
    found = broadcast(caller, names, found)
    return [np.ascontiguousarray(x, np.uint64).reshape(-1) for x in found], found[0].shape


class _Blocks:
    """The operands of an operation on blocks as values: rows of scales, and of elements."""

    def __init__(self, of: Specialization, codes, random, random_scale):
        self.of, name = of, of.name
        self.scaled = name.startswith("Scaled")
        self.size = 1 if self.scaled else of.parameters[0]
        operands, formats = _SIGNATURES[name][1], of.formats
        self.scale, self.into = formats[-2:] if len(formats) > 1 else (formats[0], formats[0])
        found, is_elements = [], [not operand.startswith("s") for operand in operands]
        for operand, x, fmt, elements in zip(operands, codes, formats, is_elements, strict=False):
            x = arrays.codes(name, operand, x, name_of(fmt), 1 << fmt.bits)
            if elements and not self.scaled and (x.ndim == 0 or x.shape[-1] != self.size):
                allowed = f"of shape (..., {self.size}), B being {self.size}"
                raise ValueError(_arguments.message(name, operand, f"of shape {x.shape}", allowed))
            found.append(x if elements and not self.scaled else x[..., None])
        found = broadcast(name, operands, found)
        self.shape = (*found[0].shape[:-1], self.size)
        self.columns: list[Any] = []
        for x, fmt, elements in zip(found, formats, is_elements, strict=False):
            values = {int(code): spec.decode(int(code), fmt, True) for code in np.unique(x)}
            rows = [
                [values[code] for code in row] for row in np.broadcast_to(x, self.shape).reshape(-1, self.size).tolist()
            ]
            self.columns.append(rows if elements else [row[0] for row in rows])
        self.reduces = name.startswith(("BlockReduce", "BlockDot"))
        outer = self.shape[:-1]
        results = outer if self.reduces or self.scaled else self.shape
        self.results = results
        width = 1 if self.reduces or self.scaled else self.size
        self.randoms = self._integers(of.rho, results, random).reshape(-1, width)
        if name == "ConvertToBlockMaxAbsFinite":
            self.scale_randoms = self._integers(of.parameters[-2], outer, random_scale)

    def _integers(self, rho: Rho, shape, random) -> np.ndarray:
        rule = _rule(self.of.name, rho, shape, random)
        count = int(np.prod(shape, dtype=int))
        if rule.given is None:
            return np.zeros(count, np.int64)
        return (rule.given >> np.uint32(32 - rho.random_bits)).astype(np.int64)

    def result(self) -> Any:
        """Return codes of results; with those of scales first where the operation gives a block."""
        rows = [self._row(i, *row) for i, row in enumerate(zip(*self.columns, strict=True))]
        scales = np.array([s for s, _ in rows], arrays.code_dtype(self.scale.bits)).reshape(self.shape[:-1])
        found = np.array([r for _, r in rows], arrays.code_dtype(self.into.bits)).reshape(self.results)
        return (scales, found) if self.of.gives_block else found

    def _row(self, i: int, *row: Any) -> tuple[int, list[int]]:
        name, rho, numbers = self.of.name, self.of.rho, self.randoms[i].tolist()

        def project(values: Sequence[Value]) -> list[int]:
            return [rho.project(v, self.into, n) for v, n in zip(values, numbers, strict=True)]

        def block(scale: Value, values: Sequence[Value]) -> tuple[int, list[int]]:
            code = spec.encode(scale, self.scale, p3109=True)  # exact: it is of this format
            return code, project([spec.unscaled(scale, v) for v in values])

        if name == "ConvertToBlock":
            return block(row[1], row[0])
        if name == "ConvertToBlockMaxAbsFinite":
            scale = self.of.parameters[-2].project(spec.max_abs_finite(row[0]), self.scale, int(self.scale_randoms[i]))
            return block(spec.decode(scale, self.scale, True), row[0])
        pairs = zip(row[::2], row[1::2], strict=False)
        decoded = [[spec.scaled(s, v) for v in x] for s, x in pairs]
        if name == "ConvertFromBlock":
            return 0, project(decoded[0])
        if name == "BlockReduceAdd":
            return 0, project([spec.total(decoded[0])])
        if name == "BlockReduceMultiply":
            return 0, project([spec.product(decoded[0])])
        if name == "BlockDotProduct":
            products = [spec.exact("mul", pair, p3109=True) for pair in zip(*decoded, strict=True)]
            return 0, project([spec.total(products)])
        ours = spec.NAMES[name.removeprefix("Scaled").removeprefix("Block")]
        values = [spec.exact(ours, several, rho.rounding, True) for several in zip(*decoded, strict=True)]
        return (0, project(values)) if self.scaled else block(row[-1], values)


def specialize(name: str, *parameters: Any) -> Specialization:
    """Return an operation with its parameters.

    Parameters
    ----------
    name : str
        One of `NAMES`, such as ``Add``.
    parameters
        In the standard's order: formats or their names, pairs of these for blocks, the block size, and rho, a pair
        of a rounding mode and a saturation mode.

    Raises
    ------
    TypeError, ValueError
        For an unknown name, and parameters it does not take.

    Examples
    --------
    >>> str(specialize("CompareLess", "Binary8p4se", "Binary4p2sf"))
    'CompareLess<Binary8p4se, Binary4p2sf>'
    """
    _arguments.choice("p3109", "operation", name, NAMES)
    kinds = _SIGNATURES[name][0]
    if len(parameters) != len(kinds):
        words = {"f": "format", "r": "rho", "B": "block size", "p": "(format, format)"}
        raise TypeError(f"{name}: takes the parameters {', '.join(words[k] for k in kinds)}; got {len(parameters)}")
    found: list[Any] = []
    for kind, got in zip(kinds, parameters, strict=True):
        if kind == "f":
            found.append(_format(name, got))
        elif kind == "r":
            found.append(got if isinstance(got, Rho) else _rho(name, got))
        elif kind == "B":
            found.append(_arguments.integer(name, "B", got, _arguments.Interval(1)))
        else:
            pair = _arguments.sequence(
                name, "the formats of a scale and its elements", got, "('Binary8p1uf', 'Binary8p4se')", 2
            )
            found.append(tuple(_format(name, f) for f in pair[:2]))
    return Specialization(name, tuple(found))


def operation(text: str) -> Specialization:
    """Return the operation that a text of the standard's grammar is: ``Name<parameters>``.

    Parameters
    ----------
    text : str

    Raises
    ------
    TypeError, ValueError
        For a text that is none, with what is wrong in it.

    Examples
    --------
    >>> sqrt = operation("Sqrt<Binary8p3se, Binary8p4se, (NearestTiesToEven, SatFinite)>")
    >>> [hex(code) for code in sqrt([0x40, 0x48])]  # of 1 and 4
    ['0x40', '0x48']
    """
    found = re.fullmatch(
        r"\s*(\w+)\s*(?:<(.*)>)?\s*", _arguments.instance("p3109.operation", "text", text, str, "a text")
    )
    if not found:
        raise _arguments.wrong_value("p3109.operation", "text", text, "Name<parameters>")
    return specialize(found[1], *map(_parsed, _split(found[2] or "")))


def _split(text: str) -> list[str]:
    """Return the parts of a text between commas outside of parentheses."""
    parts, depth = [""], 0
    for character in text:
        depth += (character == "(") - (character == ")")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts if part.strip()]


def _parsed(text: str) -> Any:
    if text.startswith("(") and text.endswith(")"):
        return tuple(_split(text[1:-1]))
    return int(text) if text.isdecimal() else text


def kappa(approximate: Callable[..., Any], of: Specialization, codes: Sequence[Any] | None = None) -> float:
    """Return the kappa of an approximate operation: how many values of the result's format it is off at most.

    Parameters
    ----------
    approximate : callable
        Takes codes (ndarrays) and gives codes, as the operation does.
    of : Specialization
        The operation it is to approximate, of one result.
    codes : one array for each operand, optional
        The operands; by default all there are, of at most 24 bits together.

    Returns
    -------
    float or int
        nan if one is NaN where the other is not, inf where they disagree on infinities; else a number of values.

    Raises
    ------
    ValueError
        For more operands than can be tried.

    Examples
    --------
    >>> negate = specialize("Negate", "Binary4p2sf", "Binary4p2sf", ("NearestTiesToEven", "SatNone"))
    >>> kappa(negate, negate), kappa(lambda x: np.where(x < 3, 0, negate(x)), negate)
    (0, 2)
    """
    formats, into = of.formats[:-1], of.formats[-1]
    if codes is None:
        bits = sum(fmt.bits for fmt in formats)
        if bits > 24:
            raise _arguments.wrong_value("kappa", "the operands", f"{bits} bits wide", "at most 24; give some of them")
        grid = np.meshgrid(*(np.arange(1 << f.bits, dtype=arrays.code_dtype(f.bits)) for f in formats), indexing="ij")
        codes = [x.reshape(-1) for x in grid]
    decoded = {code: spec.decode(code, into, True) for code in range(1 << into.bits)} if into.bits <= 16 else None
    if decoded is None:
        raise _arguments.wrong_value("kappa", "the format of the result", str(into), "one of at most 16 bits")
    values = sorted({-v.magnitude if v.negative else v.magnitude for v in decoded.values() if v.kind == "finite"})
    defined, computed = ([decoded[int(c)] for c in np.ravel(f(*codes))] for f in (of, approximate))
    return spec.kappa(defined, computed, values)


def __getattr__(name: str) -> Callable[..., Specialization]:
    """Return what makes specializations of an operation by the standard's name."""
    if name not in _SIGNATURES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def make(*parameters: Any) -> Specialization:
        return specialize(name, *parameters)

    make.__name__ = make.__qualname__ = name
    make.__doc__ = f"Return {name} with its parameters: see `specialize`."
    return make


__all__ = ["EXTERNAL", "NAMES", "Specialization", "format", "kappa", "name_of", "operation", "specialize"]


def __dir__() -> list[str]:
    return sorted({*__all__, *NAMES})
