"""``ernie-search mine`` and ``mine-preview``: mine hard negatives from a run, and look at them."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ernie_search._util.words import printable
from ernie_search.cli.output import AsJson, console, print_json, print_line, progress, working

if TYPE_CHECKING:
    from rich.console import Console

    from ernie_search.mining import Lists
    from ernie_search.mining.lists import Preview, PreviewPassage

EXAMPLE = "Example: ernie-search mine bm25.run my-data --output runs/lists --first 5 --number 8"
PREVIEW_EXAMPLE = "Example: ernie-search mine-preview runs/lists my-data --number 5"

Source = Annotated[str, typer.Argument(help="The collection: a BEIR folder, 'api:', 'api:numpy'.")]

LONGEST_TEXT = 300
"""Characters of a passage that are shown; --json has the whole text."""


def mine(
    run: Annotated[Path, typer.Argument(help="A TREC run file, of any system.")],
    source: Source,
    output: Annotated[Path, typer.Option(help="Output folder of the lists.")],
    first: Annotated[int, typer.Option(help="Ranks skipped at the top.")] = 0,
    last: Annotated[int, typer.Option(help="The rank, counted from 0, before which the window ends.")] = 100,
    number: Annotated[int, typer.Option(help="Negatives per question.")] = 16,
    near_duplicate: Annotated[
        float,
        typer.Option(help="Leave out near-duplicates, which share more of their 4-grams than this; 0: off."),
    ] = 0.5,
    seed: Annotated[int, typer.Option(help="Seed of the random passages that fill short lists.")] = 0,
    split: Annotated[str, typer.Option(help="The split of questions and judgements.")] = "train",
    as_json: AsJson = False,
) -> None:
    """Mine hard negatives: the best-ranked passages of each question, without positives and their copies."""
    from ernie_search._util.settings import parse_typed
    from ernie_search.data import open_collection
    from ernie_search.mining import MineSettings, mine_lists

    values = {"first": first, "last": last, "number": number, "near_duplicate": near_duplicate, "seed": seed}
    settings = parse_typed(MineSettings, values)
    collection = open_collection(source)
    with progress("mining", None) as advance:
        lists = mine_lists(run, collection, output, settings, split=split, progress=advance)
    if as_json:
        print_json({"output": str(output), **lists.manifest})
    else:
        show_counts(lists, source)


def show_counts(lists: "Lists", source: str) -> None:
    """Print how many candidates were dropped and why, and the next command."""
    counts = lists.manifest["counts"]
    print_line(
        f"{lists.folder}: {len(lists):,} lists of up to {lists.manifest['settings']['number']} negatives"
    )
    for name, text in (
        ("candidates", "passages in the run for these questions"),
        ("outside_window", "outside the window of ranks"),
        ("known_positives", "known positives"),
        ("own_passages", "the question itself, or a copy of its text"),
        ("duplicates_of_positives", "the same text as a positive"),
        ("near_duplicates", "nearly the text of a positive or of a negative kept before"),
        ("not_needed", "not needed: the list was full"),
        ("kept", "kept"),
        ("filled", "drawn at random instead, where the window gave too few"),
    ):
        print_line(f"{counts[name]:>12,}  {text}")
    for name, text in (
        ("short", "lists are shorter than requested: the corpus has no more candidates"),
        ("unjudged", f"questions of the run have no judgements in split {lists.manifest['split']!r}"),
        ("without_positives", "questions of the run have no relevant passage"),
        ("absent", "judged questions are not in the run"),
    ):
        if counts[name]:
            print_line(f"{counts[name]:>12,}  {text}")
    print_line(f"Next: ernie-search mine-preview {lists.folder} {source}")


def mine_preview(
    lists: Annotated[Path, typer.Argument(help="The folder that 'mine' wrote.")],
    source: Source,
    number: Annotated[int, typer.Option(help="Number of questions.")] = 3,
    as_json: AsJson = False,
) -> None:
    """Show mined negatives beside their positives: are they hard, or positives that nobody judged?"""
    from ernie_search.data import open_collection
    from ernie_search.mining import Lists, preview

    opened = Lists.open(lists)
    with working("reading the texts"):
        chosen = preview(opened, open_collection(source), number)
    if as_json:
        print_json([preview_json(one) for one in chosen])
        return
    out = console()
    for one in chosen:
        show_preview(out, one)


def preview_json(one: "Preview") -> dict[str, Any]:
    """One list as plain values, with whole texts."""

    def passage(entry: "PreviewPassage") -> dict[str, Any]:
        found = entry.passage
        return {"id": found.id, "title": found.title, "text": found.text, "score": entry.score}

    return {
        "query": one.query.id,
        "text": one.query.text,
        "positives": [passage(entry) for entry in one.positives],
        "negatives": [passage(entry) | {"rank": entry.rank, "kept": entry.kept} for entry in one.negatives],
    }


def show_preview(out: "Console", one: "Preview") -> None:
    """Print a question with its positives (green on a terminal) and negatives."""
    from rich.text import Text

    flat = partial(printable, one_line=True)
    out.print(
        Text.assemble(("? ", "bold"), (flat(one.query.text), "bold"), (f"  [{flat(one.query.id)}]", "dim"))
    )
    for entry in one.positives:
        _show_passage(out, "+", entry, "green")
    for entry in one.negatives:
        _show_passage(out, "-", entry, "")
    out.print()


def _show_passage(out: "Console", sign: str, entry: "PreviewPassage", style: str) -> None:
    from rich.padding import Padding
    from rich.text import Text

    rank = {None: "", 0: "random  "}.get(entry.rank, f"rank {entry.rank}  ")
    score = "" if entry.score is None else f"score {entry.score:.2f}  "
    score += "" if entry.kept else "denoised  "
    found = entry.passage
    name = printable(f"{found.title}  [{found.id}]" if found.title else f"[{found.id}]", one_line=True)
    text = Text(printable(" ".join(found.text.split())), style)
    text.truncate(LONGEST_TEXT, overflow="ellipsis")
    out.print(Text.assemble((f"  {sign} ", style or "dim"), (f"{rank}{score}", "dim"), (name, style)))
    out.print(Padding(text, (0, 0, 0, 4)))
