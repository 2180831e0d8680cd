"""``ernie-search search``: ask an index."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ernie_search.cli.output import AsJson, console, print_json
from ernie_search.cli.quiet import loading

if TYPE_CHECKING:
    from rich.text import Text

    from ernie_search.search import WordMatch
    from ernie_search.types import Hit

EXAMPLE = 'Example: ernie-search search "join two arrays" --index runs/index -k 3'

LONGEST_TEXT = 1_000
"""Columns of a passage that are shown; the whole text is in --json."""


def search(
    question: Annotated[str, typer.Argument(help="What to look for.")],
    index: Annotated[Path, typer.Option(help="The folder that 'index' made.")],
    mode: Annotated[
        Literal["late", "dense"], typer.Option(help="Re-rank by late interaction, or single vectors alone.")
    ] = "late",
    k: Annotated[int, typer.Option("-k", "--top", help="How many hits.")] = 10,
    candidates: Annotated[int, typer.Option(help="How many passages late interaction re-ranks.")] = 100,
    model: Annotated[Path | None, typer.Option(help="The index's model, if it was moved.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show the best passages for a question, the words that matched marked."""
    with loading("the index and its model"):
        from ernie_search.search import Searcher

        searcher = Searcher.open(index, model)
    hits = searcher.search(question, k, mode=mode, candidates=candidates)
    matches = searcher.matches(question, hits)
    if as_json:
        pairs = zip(hits, matches, strict=True)
        print_json([hit_json(rank, hit, found) for rank, (hit, found) in enumerate(pairs, 1)])
    else:
        show_hits(hits, matches)


def hit_json(rank: int, hit: "Hit", matches: "list[WordMatch]") -> dict[str, Any]:
    """One hit as plain values; the matches' places refer to title, a space, and text."""
    return {
        "rank": rank,
        "id": hit.id,
        "score": hit.score,
        "title": hit.title,
        "text": hit.text,
        "fields": dict(hit.fields),
        "stages": dict(hit.stages),
        "matches": [{"start": m.start, "stop": m.stop, "strength": m.strength} for m in matches],
    }


def show_hits(hits: "list[Hit]", matches: "list[list[WordMatch]]") -> None:
    """Print hits for people: styled on a terminal, ``*marked*`` in a file or pipe."""
    from rich.padding import Padding

    from ernie_search.search import mark_hit

    out = console()
    for rank, (hit, found) in enumerate(zip(hits, matches, strict=True), 1):
        title, text = mark_hit(hit, found)
        text.truncate(LONGEST_TEXT, overflow="ellipsis")
        if not out.is_terminal:
            title, text = with_stars(title), with_stars(text)
        head = f"{rank:>3}  {hit.score:.3f}  "
        out.print(head, title if hit.title else hit.id, sep="", soft_wrap=True)
        out.print(Padding(text, (0, 0, 1, 5)))


def with_stars(text: "Text") -> "Text":
    """The text with ``*`` around what was styled, for output without styles."""
    from rich.text import Text

    plain = text.plain
    for start, stop, _ in sorted(text.spans, reverse=True):
        plain = f"{plain[:start]}*{plain[start:stop]}*{plain[stop:]}"
    return Text(plain)
