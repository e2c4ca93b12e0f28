"""The 99 low-precision training configurations of PEPPP, as plain data.

A configuration trains a network in two floating-point formats: a narrow one for weights,
activations and their gradients, and a wide one for the master weights, the momentum, the
network's input and its logits. Formats are named ``e{E}m{M}``: one sign bit, E exponent bits,
M stored mantissa bits, and every code finite; so a number takes 1 + E + M bits.

*Source*: PEPPP (arXiv 2106.09686) and the code released with it, whose order this module keeps.
"""

import re
from dataclasses import dataclass

from refimpl._arguments import nearest, wrong_value
from refimpl.formats import format as format_of

__all__ = ["CONFIGURATIONS", "HIGH", "LOW", "Configuration", "configuration"]

_FORMAT_NAME = re.compile(r"e([1-9][0-9]*)m(0|[1-9][0-9]*)")


def _total_bits(name: str) -> int:
    """Sign, exponent and mantissa bits of the format called `name`."""
    match = _FORMAT_NAME.fullmatch(name) if isinstance(name, str) else None
    if match is None:
        allowed = "a name such as 'e4m3': at least 1 exponent bit, at least 0 mantissa bits"
        raise wrong_value("Configuration", "the format", name, allowed)
    exponent_bits, mantissa_bits = map(int, match.groups())
    return 1 + exponent_bits + mantissa_bits


@dataclass(frozen=True)
class Configuration:
    """A pair of formats to train in.

    Parameters
    ----------
    low : str
        Name of the format of weights, activations and their gradients, such as ``"e4m3"``.
    high : str
        Name of the format of master weights, momentum, network input and logits.

    Raises
    ------
    ValueError
        If a name is not of the form ``e{E}m{M}``, or of no format.

    Notes
    -----
    *Source*: PEPPP (arXiv 2106.09686). Widths are exact.

    Examples
    --------
    >>> c = Configuration("e4m3", "e8m7")
    >>> c.name, c.low_bits, c.high_bits
    ('e4m3+e8m7', 8, 16)
    """

    low: str
    high: str

    def __post_init__(self) -> None:
        for name in (self.low, self.high):
            _total_bits(name)
            format_of(name)  # raises where it has more bits than a format may have

    @property
    def name(self) -> str:
        """The two format names joined by a plus sign."""
        return f"{self.low}+{self.high}"

    @property
    def low_bits(self) -> int:
        """Width of one number in the low format, in bits."""
        return _total_bits(self.low)

    @property
    def high_bits(self) -> int:
        """Width of one number in the high format, in bits."""
        return _total_bits(self.high)


LOW: tuple[str, ...] = tuple("e3m1 e3m2 e3m3 e3m4  e4m1 e4m2 e4m3 e4m4  e5m1 e5m2 e5m3".split())
"""The paper's 11 low formats (5 to 9 bits), in its order."""

HIGH: tuple[str, ...] = tuple("e6m7 e6m9 e6m11  e7m7 e7m9 e7m11  e8m7 e8m9 e8m11".split())
"""The paper's 9 high formats (14 to 20 bits), in its order."""

CONFIGURATIONS: tuple[Configuration, ...] = tuple(Configuration(low, high) for low in LOW for high in HIGH)
"""The paper's 99 configurations; LOW[i] with HIGH[j] stands at index 9*i + j."""

_BY_NAME = {c.name: c for c in CONFIGURATIONS}


def configuration(name: str) -> Configuration:
    """Look up one of the paper's 99 configurations by its name.

    For formats outside the paper's grid construct a `Configuration` directly.

    Parameters
    ----------
    name : str
        A name such as ``"e4m3+e8m7"``.

    Returns
    -------
    Configuration
        The member of `CONFIGURATIONS` so called.

    Raises
    ------
    ValueError
        If there is none; the message proposes the nearest names.

    Notes
    -----
    *Source*: PEPPP (arXiv 2106.09686). Exact.

    Examples
    --------
    >>> configuration("e3m1+e6m9")
    Configuration(low='e3m1', high='e6m9')
    >>> CONFIGURATIONS.index(configuration("e5m3+e8m11"))
    98
    """
    if isinstance(name, str) and name in _BY_NAME:
        return _BY_NAME[name]
    names = f"LOW+HIGH with LOW one of {', '.join(LOW)} and HIGH one of {', '.join(HIGH)}"
    near = nearest(name, _BY_NAME, 3)
    hint = f"did you mean {' or '.join(near)}?" if near else ""
    raise wrong_value("configuration", "the name", name, names, hint)
