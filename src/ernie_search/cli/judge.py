"""``ernie-search judge``: mark the hits of two systems, blind, and get a test set and a verdict."""

import contextlib
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from ernie_search.cli.output import AsJson, console, print_json, print_line, progress
from ernie_search.cli.searching import NEAREST_INDEX, named_index, open_searcher
from ernie_search.errors import SettingsError

if TYPE_CHECKING:
    from ernie_search.judge import System, Verdict
    from ernie_search.search import Mode

EXAMPLE = (
    "Example: ernie-search judge runs/index --modes hybrid,dense --questions questions.txt --output judged"
)
MODES = ("words", "dense", "late", "hybrid", "cross")
Asked = dict[str, str | None]


def judge(
    index: Annotated[
        str | None,
        typer.Argument(help="The index: a folder, or its address.", show_default=NEAREST_INDEX),
    ] = None,
    questions: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|SOURCE",
            help="A file with a question a line (text, id and text between a tab, or JSON), or a collection.",
        ),
    ] = None,
    split: Annotated[
        str, typer.Option(help="The split whose questions are taken from a collection.")
    ] = "test",
    against: Annotated[str | None, typer.Option(help="Another index, to compare with.")] = None,
    modes: Annotated[
        str | None, typer.Option(help="The mode to search in; or two to compare, as hybrid,dense.")
    ] = None,
    output: Annotated[Path, typer.Option(help="Folder of the judgements; the same one continues.")] = Path(
        "judged"
    ),
    k: Annotated[int, typer.Option("-k", "--k", min=1, max=100, help="Hits of each system.")] = 10,
    seed: Annotated[int, typer.Option(help="Of which system stands left, question by question.")] = 0,
    cross: Annotated[str | None, typer.Option(help="The cross-encoder of mode cross.")] = None,
    model: Annotated[
        str | None, typer.Option(help="The index's model, if it was moved: a directory or a hub name.")
    ] = None,
    port: Annotated[int, typer.Option(help="Port of the page; 0 takes a free one.")] = 0,
    browser: Annotated[bool, typer.Option(help="Open the page in the browser.")] = True,
    results: Annotated[
        bool, typer.Option("--results", help="Print the verdict of --output, and judge nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Mark hits in the browser, two systems side by side and blind; Ctrl-C ends it and prints the verdict."""
    from ernie_search.judge import Judging, create, found_judging, identity_of, read_questions, verdict

    if results:
        show(verdict(Judging(output, writing=False)), output, as_json=as_json)
        return
    if questions is None:
        raise SettingsError("judge needs questions: --questions FILE; or --results, to print a verdict")
    asked = asked_systems(named_index(index), against, modes)
    if cross is not None and all(one["mode"] != "cross" for one in asked):
        raise SettingsError("--cross NAME is read by mode cross alone; name that in --modes, or leave it out")
    from ernie_search.judge import run_judge  # early, so that a missing extra is reported before a search

    queries = read_questions(questions, split)
    identity = identity_of(asked, queries, k, seed, model=model, cross=cross)
    if not found_judging(output, identity):
        systems = open_systems(asked, model, cross)
        from ernie_search.judge import pool_questions

        with progress("searching", len(queries)) as advance:
            found = list(pool_questions(systems, queries, k=k, seed=seed, progress=advance))
        create(output, identity, [one.name for one in systems], found)
    judging = Judging(output)
    try:

        def say(address: str) -> None:
            where = console(stderr=True)
            done = f"{judging.finished} of {len(judging.questions)} questions judged"
            where.print(f"{address}  {done}; Ctrl-C ends, the same command continues", soft_wrap=True)
            if browser:
                webbrowser.open(address)

        with contextlib.suppress(KeyboardInterrupt):  # which ends it, as intended
            run_judge(judging, say, port=port)
        show(verdict(judging), output, as_json=as_json)
    finally:
        judging.close()


def asked_systems(index: str, against: str | None, modes: str | None) -> list[Asked]:
    """The systems as they were asked for: one, or two to compare; mode None is the best of its index.

    Raises:
        SettingsError: an unknown mode, more than two, or twice the same.
    """
    from ernie_search._util.files import did_you_mean

    named: list[str | None] = [one.strip() for one in modes.split(",")] if modes else [None]
    for mode in named:
        if mode is not None and mode not in MODES:
            raise SettingsError(f"--modes {modes}: no mode {mode!r}{did_you_mean(mode, MODES)}")
    if len(named) > 2 or (against is not None and len(named) > 1):
        raise SettingsError("judge compares two systems: two of --modes, or one index with --against another")
    places = [index] if against is None else [index, against]
    asked = [{"index": place, "mode": mode} for place in places for mode in named]
    if len(asked) == 2 and asked[0] == asked[1]:
        raise SettingsError("judge was given the same system twice; name another mode or index")
    return asked


def open_systems(asked: Sequence[Asked], model: str | None, cross: str | None) -> "list[System]":
    """Open each index once, and name the systems so that they differ."""
    from ernie_search.judge import System
    from ernie_search.search.settings import check_mode

    places = list(dict.fromkeys(str(one["index"]) for one in asked))
    short = {place: Path(place).name or place for place in places}
    if len(set(short.values())) < len(places):
        short = {place: place for place in places}
    opened = {}
    for place in places:
        # A searcher for words alone has no model, and one without a cross-encoder cannot read by it.
        wanted = [one["mode"] for one in asked if one["index"] == place]
        first = "cross" if "cross" in wanted else next((one for one in wanted if one != "words"), "words")
        opened[place] = open_searcher(place, model, cast("Mode | None", first), cross)
    found = []
    for one in asked:
        searcher, best = opened[str(one["index"])]
        mode = cast("Mode", one["mode"] or best)
        check_mode(mode, searcher.index, can_cross=cross is not None, name=str(one["index"]))
        found.append(System(f"{short[str(one['index'])]} ({mode})", searcher, mode))
    return found


def show(found: "Verdict", folder: Path, *, as_json: bool) -> None:
    """Print a verdict: the table, what it says in words, and what to do with the folder."""
    if as_json:
        print_json(found.as_json() | {"folder": str(folder)})
        return
    from ernie_search.evaluation import results_table

    out = console()
    if found.systems:
        out.print(results_table(found.systems, found.measures))
    for line in found.lines():
        out.print(line, soft_wrap=True)
    if found.graded:
        print_line(f"Next: ernie-search evaluate {folder} --index INDEX, as {folder} is a collection now")
