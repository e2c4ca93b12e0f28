"""Build the documentation site: python tutorials/site/build.py OUT [--lessons DIR]

OUT/index.html opens without a server. DIR holds the lessons as `refimpl tutorials DIR --execute` wrote them;
without it they are executed, which takes minutes. Wants the extra ``docs``. A warning of Sphinx is an error, and so is
a public name that the reference lacks or that has no example.
"""

import argparse
import base64
import contextlib
import importlib
import inspect
import io
import re
import shutil
import tempfile
import types
from pathlib import Path

from refimpl.__main__ import main as command
from refimpl.papers import catalogue

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
ROOMS = ("formats", "ops", "testing", "nn", "data", "peppp", "numerics", "plots", "autodiff")  # in the order shown
VERDICTS = {"holds": "✓", "holds only with the flaw": "(✓)", "does not hold here": "✗"}


def own(module: types.ModuleType, seen: set[int]) -> list[tuple[str, object]]:
    """Return the functions and classes that a module defines and says something of, but for those seen before."""
    return [
        (name, found)
        for name, found in vars(module).items()
        if name[0] != "_" and callable(found) and getattr(found, "__module__", "") == module.__name__
        if inspect.getdoc(found) and not (id(found) in seen or seen.add(id(found)))  # type: ignore[func-returns-value]
    ]


def public() -> dict[str, list[tuple[str, object]]]:
    """Return the public names of the package by the module that a page is made of, none of them twice."""
    seen: set[int] = set()
    pages: dict[str, list[tuple[str, object]]] = {}
    for module in ("refimpl", *(f"refimpl.{room}" for room in ROOMS)):
        room = importlib.import_module(module)
        for name in sorted(room.__all__):
            found = getattr(room, name)
            if isinstance(found, types.ModuleType):
                if module != "refimpl" and found.__doc__ and not hasattr(found, "__path__"):
                    pages[found.__name__] = own(found, seen)
            elif not (callable(found) and (id(found) in seen or seen.add(id(found)))):
                pages.setdefault(module, []).append((name, found))
    for file in sorted((ROOT / "refimpl/spec").glob("[a-z]*.py")):
        pages[f"refimpl.spec.{file.stem}"] = own(importlib.import_module(f"refimpl.spec.{file.stem}"), seen)
    return {module: names for module, names in pages.items() if names}


def without_example(pages) -> list[str]:
    """Return the public functions and classes without an example that runs; definitions are read, and need none."""
    return [
        f"{module}.{name}"
        for module, names in pages.items()
        for name, found in names
        if not module.startswith("refimpl.spec")
        and (inspect.isclass(found) or inspect.isfunction(found))
        and ">>> " not in (inspect.getdoc(found) or "")
    ]


def reference(folder: Path, pages) -> None:
    """Write a page for each module, and their index."""
    folder.mkdir()
    for module, names in pages.items():
        lines = [module, "=" * len(module), "", f".. automodule:: {module}", ""]
        for name, found in names:
            if inspect.isclass(found):
                lines += [f".. autoclass:: {module}.{name}", "   :members:", ""]
            elif callable(found) and inspect.isfunction(found):
                lines += [f".. autofunction:: {module}.{name}", ""]
            else:
                lines += [
                    f".. py:data:: {name}",
                    f"   :module: {module}",
                    "",
                    "   .. code-block:: text",
                    "",
                    f"      {found!r}",
                    "",
                ]
        (folder / f"{module}.rst").write_text("\n".join(lines), encoding="utf-8")
    listed = "\n".join(["# Reference", "", "```{toctree}", *pages, "commands", "```"])
    (folder / "index.md").write_text(listed, encoding="utf-8")


def printed(*words: str) -> str:
    """Return what a command prints."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        command(list(words))
    return said.getvalue()


def commands(page: Path) -> None:
    """Write what every command says of itself."""
    names = re.findall(r"^    (\w+)", printed("--help"), re.M)
    text = [f"## refimpl {name}\n\n```text\n{printed(name, '--help')}```\n" for name in names]
    page.write_text("\n".join(["# Commands\n", *text]), encoding="utf-8")


def lessons(folder: Path, executed: Path) -> None:
    """Write executed notebooks as pages, their pictures beside them, and a gallery of these."""
    import nbformat

    folder.mkdir()
    gallery, names = [], []
    for path in sorted(executed.glob("*.ipynb")):
        text: list[str] = []
        for cell in nbformat.read(path, as_version=4).cells:
            if cell.cell_type == "markdown":
                text.append(re.sub(r"\((\d\d_\w+)\.ipynb\)", r"(\1.md)", cell.source))
                continue
            text.append(f"```python\n{cell.source}\n```")
            said = ""
            for output in cell.outputs:
                data = output.get("data", {"text/plain": output.get("text", "")})
                if "image/png" in data:
                    picture = f"{path.stem}-{len(text)}.png"
                    (folder / picture).write_bytes(base64.b64decode(data["image/png"]))
                    text.append(f"![A picture that the code above draws]({picture})")
                    gallery.append(f'[![{path.stem}]({picture}){{width="31%"}}]({path.stem}.md)')
                elif output.get("name") != "stderr":
                    said += data.get("text/plain", "").rstrip() + "\n"
            if said:
                text.append(f"```text\n{said}```")
        (folder / f"{path.stem}.md").write_text("\n\n".join(text), encoding="utf-8")
        names.append(path.stem)
    for page in ("README.md", "TEACHING.md"):
        (folder / page).write_text((ROOT / "tutorials" / page).read_text(encoding="utf-8").replace(".py)", ".md)"))
    toctree = "\n".join(["```{toctree}", ":hidden:", *names, "TEACHING", "```"])
    with open(folder / "README.md", "a", encoding="utf-8") as file:
        file.write("\n\n## Pictures\n\n" + "\n".join(gallery) + f"\n\n{toctree}\n")


def verdicts(page: Path) -> None:
    """Write what came of the claims of every paper in the runs that ship."""
    text = [
        "# Verdicts of papers",
        "What `refimpl reproduce` found, claim by claim, in the full runs that ship with the package. "
        "`refimpl reproduce PAPER` runs them again; `refimpl.papers` holds the code of each claim.",
    ]
    for name in catalogue.NAMES:
        paper, found = catalogue.paper(name), catalogue.results(name)
        when = catalogue.when(name).capitalize()
        text += [f"## {paper.title}", f"{paper.source}. `refimpl reproduce {name}`." + (f" {when}." if when else "")]
        rows = ["| claim | published | verdict | why |", "|---|---|---|---|"]
        for claim in paper.claims:
            of = found.get("claims", {}).get(claim.name, {})
            verdict = of.get("verdict", "not run yet")
            cells = claim.name, claim.published, f"{VERDICTS.get(verdict, '')} {verdict}", of.get("why", "")
            rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        text.append("\n".join(rows))
    page.write_text("\n\n".join(text), encoding="utf-8")


def build(out: Path, executed: Path) -> None:
    """Put the pages together and make HTML of them.

    Raises
    ------
    SystemExit
        For a warning of Sphinx, and for a public name that has no place in the reference or no example.
    """
    from sphinx.cmd.build import build_main
    from sphinx.util.inventory import InventoryFile

    pages = public()
    if bare := without_example(pages):
        raise SystemExit(f"without an example: {', '.join(bare)}")
    with tempfile.TemporaryDirectory() as temporary:
        source = Path(temporary) / "source"
        shutil.copytree(HERE, source)
        shutil.copytree(HERE.parent / "guides", source / "guides")
        reference(source / "reference", pages)
        commands(source / "reference/commands.md")
        lessons(source / "lessons", executed)
        verdicts(source / "verdicts.md")
        if build_main(["-W", "--keep-going", "-q", "-b", "html", str(source), str(out)]):
            raise SystemExit("the site has warnings")
    shutil.copy(ROOT / "refimpl/commands/explorer.html", out)
    with open(out / "objects.inv", "rb") as file:
        there = {name for kind in InventoryFile.loads(file.read(), uri="").data.values() for name in kind}
    missing = [f"{module}.{name}" for module, names in pages.items() for name, _ in names]
    if missing := [name for name in missing if name not in there]:
        raise SystemExit(f"the reference lacks {', '.join(missing)}")
    print(f"wrote {out / 'index.html'}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, metavar="OUT")
    parser.add_argument("--lessons", type=Path, metavar="DIR")
    options = parser.parse_args()
    if options.lessons:
        build(options.out, options.lessons)
        return
    with tempfile.TemporaryDirectory() as folder:
        command(["tutorials", f"{folder}/lessons", "--execute"])
        build(options.out, Path(folder) / "lessons")


if __name__ == "__main__":
    main()
