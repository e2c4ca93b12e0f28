"""``refimpl explore``: the format explorer, one page that needs no network, in a browser."""

from __future__ import annotations

from pathlib import Path

from refimpl.commands.options import declare

PAGE = Path(__file__).with_name("explorer.html")


def add(commands) -> None:
    """Declare the command and its options."""
    command = declare(
        commands,
        "explore",
        run,
        help="open the format explorer in a browser: bits, neighbours, every rounding, blocks",
        description="Open a page that shows what a number becomes in a format: its bits and exact value, its "
        "neighbours, every rounding and overflow rule, all codes, conversion and blocks. It works offline. "
        "The link is printed too.",
        examples=("", "float8_e4m3fn --value 0.3", "binary8p3se --code 0x2a --no-browser"),
    )
    command.add_argument("format", metavar="FORMAT", nargs="?", default="float8_e4m3fn", help="default float8_e4m3fn")
    shown = command.add_mutually_exclusive_group()
    shown.add_argument("--value", metavar="X", help="such as 0.1, 0x1.8p-3, 1/3 or inf; default 0.3")
    shown.add_argument("--code", metavar="CODE", help="such as 0x2a")
    command.add_argument("--no-browser", action="store_true", help="print the link and open nothing")


def run(options) -> int:
    """Print the link and open it."""
    import webbrowser
    from urllib.parse import urlencode

    from refimpl.formats.names import read

    state = {"format": str(read("explore", "FORMAT", options.format)), "value": options.value, "code": options.code}
    link = f"{PAGE.as_uri()}#{urlencode({key: text for key, text in state.items() if text is not None})}"
    print(link)
    if not options.no_browser and not webbrowser.open(link):
        print("no browser was found here; open the link in one")
    return 0
