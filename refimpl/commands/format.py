"""``refimpl format``: what a number format is."""

from __future__ import annotations

from refimpl.commands.options import declare

SMALL = 8  # bits of a format whose every code is printed


def add(commands) -> None:
    """Declare the command and its options."""
    command = declare(
        commands,
        "format",
        run,
        help="print what a number format is: fields, special codes, every code of a small one",
        description="Print the fields, range and special codes of a number format and, up to "
        f"{SMALL} bits, the value of every code.",
        examples=("float8_e4m3fn", "posit8_2 --json", "--list"),
    )
    command.add_argument("name", metavar="NAME", nargs="?", help="such as float8_e4m3fn, e4m3, posit8_2, int8, nf4")
    command.add_argument("--json", action="store_true", help="print JSON")
    command.add_argument("--list", action="store_true", help="print the names of the catalogue")


def run(options) -> int:
    """Print the format."""
    import json

    from refimpl import formats
    from refimpl.formats.sheet import sheet

    if options.list or options.name is None:
        print("\n".join(formats.names()))
        return 0
    fmt = formats.format(options.name)
    tables = sheet(fmt)
    if codes := _codes(fmt):
        tables["codes"] = codes
    if options.json:
        print(json.dumps(tables, indent=1))
        return 0
    for title, table in tables.items():
        if title == "codes":
            _print_codes(table)
            continue
        print(title)
        for key, value in table.items():
            print(f"  {key:<22} {value}")
    return 0


def _codes(fmt) -> dict[str, str]:
    """Return the value of every code of a small format whose codes have values of their own."""
    from refimpl.formats import CodeBook, FloatFormat, PositFormat
    from refimpl.formats.sheet import hex_code

    if fmt.bits > SMALL or not isinstance(fmt, (FloatFormat, PositFormat, CodeBook)):
        return {}
    if isinstance(fmt, CodeBook):
        return {hex_code(code, fmt): _text(value) for code, value in enumerate(fmt.values())}
    from refimpl.ops import decode

    return {hex_code(code, fmt): _text(value) for code, value in enumerate(decode(range(1 << fmt.bits), fmt))}


def _text(value: float) -> str:
    return f"{value:g}" if float(f"{value:g}") == value or value != value else repr(float(value))


def _print_codes(table: dict[str, str]) -> None:
    """Print the values in rows of eight codes."""
    names, values = list(table), list(table.values())
    width = max(map(len, values)) + 2
    print(f"codes, from {names[0]} to {names[-1]}, eight to a row")
    for start in range(0, len(values), 8):
        row = "".join(f"{value:>{width}}" for value in values[start : start + 8])
        print(f"  {names[start]} {row}")
