"""``refimpl reproduce``: the claims of a paper, checked."""

from __future__ import annotations

from refimpl.commands.options import add_json, add_quiet, declare, place, positive, seed, writable


def add(commands) -> None:
    """Declare the command and its options."""
    command = declare(
        commands,
        "reproduce",
        _reproduce,
        help="check the claims of a paper, one by one",
        description="Without a paper, list the papers, their claims, and the verdict of the full run that ships.  "
        "With one, check its claims: what was published, what comes out here, and a verdict.  Results are kept "
        "as they come; given again, the command goes on.",
        examples=("", "bfloat16 --quick", "peppp --only settings --data matrices/"),
    )
    command.add_argument("paper", metavar="PAPER", nargs="?", help="one of those listed without it")
    command.add_argument("--only", nargs="+", metavar="CLAIM", help="only these claims (default all)")
    command.add_argument("--quick", action="store_true", help="in minutes, by fewer and smaller trainings")
    command.add_argument("--seed", type=seed, default=0, metavar="N", help="of all that is random (default 0)")
    command.add_argument("--jobs", type=positive, default=2, metavar="N", help="processes (default 2)")
    command.add_argument("--data", metavar="DIR", help="where PEPPP's matrices lie (default: REFIMPL_PEPPP_DATA)")
    command.add_argument("--out", metavar="DIR", type=place, help="directory of results (default reproduce-PAPER)")
    add_quiet(command)
    add_json(command)
    command.set_defaults(continues=True)


def _reproduce(options) -> int:
    from refimpl.papers.catalogue import claims, paper

    if options.paper is None:
        for name in ("only", "out", "data", "quick"):
            if getattr(options, name):
                raise ValueError(f"--{name}: a paper must be named; refimpl reproduce lists them")
        return _list(options)
    if options.data and paper(options.paper).name != "peppp":
        raise ValueError(f"--data: {options.paper} needs no matrices; leave it out")
    return _check(paper(options.paper), claims(paper(options.paper), options.only), options)


def _list(options) -> int:
    from refimpl.papers.catalogue import NAMES, paper, verdicts, when

    rows = verdicts()
    options.results = {"claims": [dict(zip(("paper", "claim", "verdict", "why"), row, strict=True)) for row in rows]}
    for name in NAMES:
        of, run = paper(name), when(name)
        print(f"{name}: {of.title}, {of.source}" + (f" ({run})" if run else ""))
        for _, claim, verdict, why in (row for row in rows if row[0] == name):
            print(f"  {claim:<28} {verdict}")
            if why and verdict != "holds":
                print(_wrapped(why, 6, 6))
    return 0


def _check(paper, claims, options) -> int:
    import time
    from pathlib import Path

    from refimpl import plots
    from refimpl.commands.options import write_results
    from refimpl.papers.catalogue import report
    from refimpl.papers.claim import Bench

    out = Path(options.out or f"reproduce-{paper.name}")
    writable(out / "results.json", out / "trainings.jsonl")
    bench = Bench(
        out, quick=options.quick, seed=options.seed, jobs=options.jobs, progress=not options.quiet, data=options.data
    )
    print(f"{paper.title}, {paper.source}")
    done, pictures = {}, {}
    for claim in claims:
        print(f"\n{claim.name}\n{_wrapped(f'published: {claim.published}')}", flush=True)
        begun = time.monotonic()
        found = claim.check(bench)
        done[claim.name] = found, time.monotonic() - begun
        for table in found.tables:
            print("\n" + "\n".join(f"  {line}" for line in str(table).splitlines()))
        print("\n" + _wrapped(f"verdict: {found.verdict}: {found.why}"))
        if found.left_out:
            print(f"  left out, for --quick: {found.left_out}")
        for chart in found.charts:
            pictures[f"{claim.name}-{chart.name}.png"] = plots.chart(chart)
    print()
    options.results = _with_earlier(paper, report(paper, bench, done), out)
    write_results(out, {**pictures, "results.json": options.results})
    return 0


def _wrapped(text: str, first: int = 2, others: int = 4) -> str:
    import textwrap

    whole = textwrap.TextWrapper(100, " " * first, " " * others, break_on_hyphens=False, break_long_words=False)
    return whole.fill(text)


def _with_earlier(paper, made, out):
    """Return a report with the claims that were checked there before in the same way; say which are of another."""
    import json

    try:
        before = json.loads((out / "results.json").read_text(encoding="utf-8"))
        kept = {name: of for name, of in before["claims"].items() if name not in made["claims"]}
        alike = all(before[key] == made[key] for key in ("paper", "version", "seed", "quick"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return made
    if kept and not alike:
        print(f"results.json was of another --seed, --quick or version; no longer in it: {', '.join(kept)}")
        return made
    order = [claim.name for claim in paper.claims if claim.name in {**kept, **made["claims"]}]
    return made | {"claims": {name: {**kept, **made["claims"]}[name] for name in order}}
