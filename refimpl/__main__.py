"""The command line: ``refimpl`` or ``python -m refimpl``.

Everything is imported inside `main`, so that Ctrl-C is answered in one line from the start.
"""

import sys

COMMANDS = (
    "certify",
    "choose",
    "completion",
    "conform",
    "declare",
    "explore",
    "format",
    "frontier",
    "memory",
    "next",
    "reproduce",
    "sweep",
    "tutorials",
    "vectors",
    "verify",
    "warmup",
)


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit status: 0 done, 1 a check failed, 2 misuse, 130 interrupted."""
    title, options = "refimpl", None
    try:
        _listen()
        for stream in (sys.stdout, sys.stderr):  # names of files may have bytes that are no UTF-8
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")
        options = _read(arguments)
        title = f"refimpl {options.command}"
        return options.run(options)
    except KeyboardInterrupt:
        kept = getattr(options, "continues", False)
        hint = "; what was trained is kept, give the same command again to continue" if kept else ""
        print(f"{title}: interrupted{hint}", file=sys.stderr)
        return 130
    except ValueError as error:
        # a function of the command's own name has said that name already
        print(f"{title}: {str(error).removeprefix(f'{title.split()[-1]}: ')}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader, such as head, has seen enough
        import os

        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (OSError, RuntimeError) as error:
        print(f"{title}: {error}", file=sys.stderr)
        return 1


def _listen() -> None:
    """Hear Ctrl-C while Numba compiles, too.

    An exception is lost in what LLVM calls from C, and in what clears up after it.
    """
    import signal
    import threading

    def interrupt(number, frame):
        while frame is not None:
            name = frame.f_code.co_name
            if name == "__del__" or name.startswith("_raw_object_cache"):  # llvmlite's
                threading.Timer(0.05, signal.raise_signal, [number]).start()  # once that is over
                return
            frame = frame.f_back
        raise KeyboardInterrupt

    usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if usual and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, interrupt)


def _read(arguments):
    """Return what the arguments ask for."""
    import argparse
    from importlib import import_module

    from refimpl import __version__
    from refimpl._arguments import unknown

    class Parser(argparse.ArgumentParser):
        def error(self, message):
            print(f"{self.prog}: {message} (see {self.prog} --help)", file=sys.stderr)
            raise SystemExit(2)

        def _check_value(self, action, value):  # argparse has no public place to propose the nearest name
            if action.choices is None or value in action.choices:
                return
            from refimpl.formats import OTHER_NAMES

            name, meant = (*action.option_strings, action.dest)[0], OTHER_NAMES if action.dest == "rounding" else {}
            refusal = unknown(self.prog, name, value, [*action.choices], meant=meant)
            self.error(str(refusal).removeprefix(f"{self.prog}: "))

    parser = Parser(prog="refimpl", description="Low-precision training, looked up and measured.")
    parser.add_argument("--version", action="version", version=f"refimpl {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)
    for name in COMMANDS:
        import_module(f"refimpl.commands.{name}").add(commands)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
