"""The command line: ``refimpl`` or ``python -m refimpl``."""

from __future__ import annotations

import argparse
import os
import sys

from refimpl.commands import (
    choose,
    conform,
    format,
    frontier,
    memory,
    reproduce,
    sweep,
    vectors,
    verify,
    warmup,
)


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        print(f"{self.prog}: {message} (see {self.prog} --help)", file=sys.stderr)
        raise SystemExit(2)


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit status: 0 done, 1 a check failed, 2 misuse, 130 interrupted."""
    parser = _Parser(prog="refimpl", description="Low-precision training, looked up and measured.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND",
                                     parser_class=_Parser)  # fmt: skip
    for command in (
        choose,
        conform,
        format,
        frontier,
        memory,
        reproduce,
        sweep,
        vectors,
        verify,
        warmup,
    ):
        command.add(commands)
    options = parser.parse_args(arguments)
    try:
        return options.run(options)
    except ValueError as error:
        print(f"refimpl {options.command}: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (OSError, RuntimeError) as error:
        print(f"refimpl {options.command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"refimpl {options.command}: interrupted; what was trained is kept, "
              "give the same command again to continue", file=sys.stderr)  # fmt: skip
        return 130


if __name__ == "__main__":
    sys.exit(main())
