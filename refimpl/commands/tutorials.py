"""``refimpl tutorials``: the tutorials as notebooks."""

from __future__ import annotations

from pathlib import Path

from refimpl.commands.options import declare, place

NEEDED = "install refimpl[notebooks]"


def add(commands) -> None:
    """Declare the command and its options."""
    command = declare(
        commands,
        "tutorials",
        _tutorials,
        help="write the tutorials as notebooks into a directory",
        description="Write the tutorials as Jupyter notebooks into a directory, and with them their table of contents "
        "and the teacher's page. No file that is there already is replaced.",
        examples=("lessons", "lessons --only 01 02 --execute"),
    )
    command.add_argument("directory", metavar="DIR", type=place, help="made where there is none")
    command.add_argument("--only", nargs="+", metavar="NUMBER", help="such as 01 (default all)")
    command.add_argument(
        "--execute", action="store_true", help="run them, so that results and pictures are in the notebooks (minutes)"
    )


def home() -> Path:
    """Return where the tutorials are: inside the package as installed, beside it in a checkout."""
    package = Path(__file__).parents[1]
    return next(path for path in (package / "tutorials", package.parent / "tutorials") if path.is_dir())


def notebook(path: Path):
    """Return a tutorial as a notebook of nbformat, not executed."""
    import jupytext

    made = jupytext.read(path)
    made.metadata.pop("jupytext", None)
    made.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    for number, cell in enumerate(made.cells):
        cell.id = f"cell-{number}"  # those of jupytext are drawn by lot
    return made


def pictures(made) -> int:
    """Return how many pictures an executed notebook shows."""
    return sum("image/png" in output.get("data", {}) for cell in made.cells for output in cell.get("outputs", ()))


def _tutorials(options) -> int:
    import time

    from refimpl._files import writing

    try:
        import jupytext  # noqa: F401
        import nbformat
        from nbclient import execute
        from nbclient.exceptions import CellExecutionError
    except ImportError as error:
        raise ValueError(f"the package {error.name} is not installed; {NEEDED}") from None
    chosen = _chosen(options.only)
    directory = Path(options.directory)
    pages = [] if options.only else sorted(home().glob("[A-Z]*.md"))
    for name in [*(path.stem + ".ipynb" for path in chosen), *(page.name for page in pages)]:
        if (directory / name).exists():
            raise ValueError(f"{directory / name} exists, and may hold your work; name another directory")
    directory.mkdir(parents=True, exist_ok=True)
    for path in chosen:
        made, started, said = notebook(path), time.monotonic(), ""
        if options.execute:
            try:
                execute(made, cwd=str(directory), timeout=600, kernel_name="python3")
            except CellExecutionError as error:
                raise RuntimeError(f"{path.name} failed, and is not written: {error}") from None
            said = f"   {time.monotonic() - started:.0f} s, {pictures(made)} pictures"
        place = directory / f"{path.stem}.ipynb"
        with writing(place, text=True) as file:
            nbformat.write(made, file)
        print(f"wrote {place}{said}", flush=True)
    for page in pages:
        with writing(directory / page.name, text=True) as file:
            file.write(page.read_text(encoding="utf-8").replace(".py)", ".ipynb)"))
        print(f"wrote {directory / page.name}")
    print(f"\nnow type: jupyter lab {directory / chosen[0].stem}.ipynb   (or open the folder in VS Code)")
    return 0


def _chosen(numbers) -> list[Path]:
    """Return the files of the tutorials with these numbers."""
    found = {path.stem[:2]: path for path in sorted(home().glob("[0-9][0-9]_*.py"))}
    for number in numbers or ():
        if number not in found:
            raise ValueError(f"--only is {number!r}; allowed is {', '.join(found)}")
    return [found[number] for number in numbers or found]
