"""``refimpl declare``: the declaration of conformance to IEEE P3109."""

from __future__ import annotations

from datetime import UTC
from pathlib import Path

from refimpl.commands.options import declare, place


def add(commands) -> None:
    """Declare the command and its options."""
    command = declare(
        commands,
        "declare",
        run,
        help="write the declaration of conformance that IEEE P3109 asks for, as YAML",
        description="Write what IEEE P3109 (interim report 4.0) asks an implementation to declare, from what is "
        "implemented: Configurations.yaml, Profiles.yaml, Constraints.yaml and Kappas.yaml. Files there are replaced.",
        examples=("p3109", 'p3109 --provider "A. N. Other" --email me@example.org --uri https://example.org'),
    )
    command.add_argument("directory", metavar="DIR", type=place, help="made where there is none")
    for name, words in (("provider", "who answers for it"), ("email", "how to reach them"), ("uri", "where it is")):
        command.add_argument(f"--{name}", metavar="TEXT", default="", help=words)


def run(options) -> int:
    """Write the files."""
    from datetime import datetime

    from refimpl import __version__
    from refimpl._files import writing
    from refimpl.testing.declaration import declaration

    files = declaration(
        name="refimpl",
        version=__version__,
        timestamp=datetime.now(UTC).strftime("%Y-%m-%dT%H:%MZ"),
        provider=options.provider,
        email=options.email,
        uri=options.uri,
    )
    directory = Path(options.directory)
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        with writing(directory / name, text=True) as file:
            file.write(text)
    print(f"wrote {', '.join(files)} into {directory}")
    return 0
