"""``refimpl format``: what a number format is."""

from __future__ import annotations

SMALL = 8  # bits of a format whose every code is printed


def add(commands) -> None:
    """Declare the command and its options."""
    command = commands.add_parser(
        "format",
        help="print what a number format is: fields, special codes, every code of a small one",
        description="Print the fields, range and special codes of a number format and, up to "
        f"{SMALL} bits, the value of every code.",
    )
    command.set_defaults(run=run)
    command.add_argument(
        "name", metavar="NAME", nargs="?", help="such as float8_e4m3fn, e4m3, posit8_2, int8"
    )
    command.add_argument("--json", action="store_true", help="print JSON, with every code")
    command.add_argument("--list", action="store_true", help="print the names of the catalogue")


def run(options) -> int:
    """Print the format."""
    import json

    from refimpl import formats

    if options.list or options.name is None:
        print("\n".join(formats.names()))
        return 0
    fmt = formats.format(options.name)
    described = describe(fmt)
    if options.json:
        print(json.dumps(described, indent=1))
        return 0
    for title, table in described.items():
        if title == "codes":
            _print_codes(fmt, table)
        else:
            print(title)
            for key, value in table.items():
                print(f"  {key:<22} {value}")
    return 0


def describe(fmt) -> dict:
    """Return fields, range, special codes and, for a small format, the value of every code."""
    import dataclasses

    from refimpl.formats import FloatFormat, IntFormat

    sheet = {"format": {"name": fmt.name, "bits": fmt.bits, **dataclasses.asdict(fmt)}}
    if isinstance(fmt, IntFormat):
        sheet["range"] = {"min": fmt.min, "max": fmt.max}
        return sheet
    quantities = ("max", "min", "smallest_normal", "smallest_subnormal", "eps", "maxexp", "minexp")
    sheet["range"] = {name: getattr(fmt, name) for name in quantities if hasattr(fmt, name)}
    if isinstance(fmt, FloatFormat):
        sheet["special codes"] = _special_codes(fmt)
    if fmt.bits <= SMALL:
        from refimpl.ops import decode

        sheet["codes"] = {
            _hex(c, fmt): _text(v) for c, v in enumerate(decode(range(1 << fmt.bits), fmt))
        }
    return sheet


def _special_codes(fmt) -> dict[str, str]:
    sign = fmt.sign_mask
    codes = {"zero": [0] if fmt.has_zero else []}
    codes["minus zero"] = [sign] if fmt.has_minus_zero else []
    codes["largest"] = [fmt.max_code]
    inf = fmt.infinity_code
    codes["infinity"] = [] if inf is None else [inf, inf | sign] if sign else [inf]
    top = 1 << (fmt.bits - bool(sign))
    if fmt.nan_code is None:
        codes["NaN"] = []
    elif fmt.specials == "ieee":
        first = fmt.max_code + 2
        spans = [(first, top - 1)] + ([(first | sign, (top - 1) | sign)] if sign else [])
        return {k: _codes(v, fmt) for k, v in codes.items()} | {
            "NaN": ", ".join(
                _hex(a, fmt) if a == b else f"{_hex(a, fmt)} to {_hex(b, fmt)}" for a, b in spans
            )
        }
    else:
        nan = fmt.nan_code
        codes["NaN"] = [nan, nan | sign] if fmt.nan_has_sign else [nan]
    return {k: _codes(v, fmt) for k, v in codes.items()}


def _codes(codes, fmt) -> str:
    return ", ".join(_hex(code, fmt) for code in codes) or "none"


def _hex(code: int, fmt) -> str:
    return f"0x{code:0{-(-fmt.bits // 4)}x}"


def _text(value: float) -> str:
    return f"{value:g}" if float(f"{value:g}") == value or value != value else repr(float(value))


def _print_codes(fmt, table: dict[str, str]) -> None:
    """Print the values in rows of eight codes."""
    values = list(table.values())
    width = max(map(len, values)) + 2
    print(f"codes, from 0 to {_hex(len(values) - 1, fmt)}, eight to a row")
    for start in range(0, len(values), 8):
        row = "".join(f"{value:>{width}}" for value in values[start : start + 8])
        print(f"  {_hex(start, fmt)} {row}")
