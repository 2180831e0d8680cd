"""``ernie-search search``: ask an index."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ernie_search._util.words import printable
from ernie_search.cli.lancedb_import import OWN_PROCESS, import_lancedb
from ernie_search.cli.output import AsJson, console, loading, print_json
from ernie_search.cli.searching import (
    NEAREST_INDEX,
    FusionOption,
    ModeOption,
    QuestionPrecision,
    TokenWeightsOption,
    check_cross,
    named_index,
    open_searcher,
    parse_fusion,
)

if TYPE_CHECKING:
    from rich.text import Text

    from ernie_search.search import Explanation, TokenMatch, WordMatch
    from ernie_search.types import Hit


BAR = 20
"""Columns of a full bar: a cosine of 1."""

CONTEXT = 24
"""Characters of the passage shown on either side of the token that matched."""

_flat = partial(printable, one_line=True)


def explanation_lines(reason: "Explanation") -> Iterator["Text"]:
    """What each stage scored, the shared words, and a line for each question token."""
    from rich.text import Text

    stages = "  ".join(f"{name} {score:.4g}" for name, score in reason.hit.stages.items())
    yield Text(f"scored: {stages or 'nothing'}", "dim")
    if reason.shared_words:
        yield Text(f"shared words: {_flat(', '.join(reason.shared_words))}", "dim")
    if not reason.tokens:
        return
    width = max(len(_flat(one.question_text)) for one in reason.tokens)
    weakest = min(one.strength for one in reason.tokens)
    spread = max(one.strength for one in reason.tokens) - weakest
    weighted = any(one.weight != 1 for one in reason.tokens)
    for one in reason.tokens:
        share = (one.strength - weakest) / spread if spread > 0 else 1.0
        yield _match_line(one, reason, width, share, weighted=weighted)


def _match_line(
    match: "TokenMatch", reason: "Explanation", width: int, share: float, *, weighted: bool
) -> "Text":
    """``token  0.93 x 1.20  ####  ... text around the [token] it matched ...``, coloured by its share."""
    from rich.text import Text

    from ernie_search.search.highlight import STYLES, full_text

    style = STYLES[min(int(share * len(STYLES)), len(STYLES) - 1)]
    bar = "\u2588" * round(max(match.strength, 0.0) * BAR)
    line = Text(no_wrap=True, overflow="ellipsis")
    line.append(f"{_flat(match.question_text):>{width}}", style)
    line.append(f"  {match.strength:6.3f}")
    line.append(f" x {match.weight:4.2f}  " if weighted else "  ").append(f"{bar:<{BAR}}  ", style)
    if match.passage is None:
        return line.append(_flat(match.passage_text), style)
    text, (start, stop) = full_text(reason.hit), match.passage
    before, after = text[max(0, start - CONTEXT) : start], text[stop : stop + CONTEXT]
    line.append("\u2026" if start > CONTEXT else "").append(_flat(before))
    line.append(f"[{_flat(text[start:stop])}]", style)
    return line.append(_flat(after)).append("\u2026" if stop + CONTEXT < len(text) else "")


EXAMPLE = 'Example: ernie-search search "join two arrays" --index runs/index -k 3'

LONGEST_TEXT = 1_000
"""Columns of a passage that are shown; the whole text is in --json."""


def search(
    context: typer.Context,
    question: Annotated[str, typer.Argument(help="What to look for.")],
    index: Annotated[
        str | None,
        typer.Option(help="The index: a folder, or its address.", show_default=NEAREST_INDEX),
    ] = None,
    mode: ModeOption = None,
    k: Annotated[int, typer.Option("-k", "--top", help="How many hits.")] = 10,
    candidates: Annotated[int, typer.Option(help="How many passages of each ranking are read.")] = 100,
    where: Annotated[
        str | None,
        typer.Option(help="Only passages with such fields: 'lang = \"en\" and year > 1999'."),
    ] = None,
    fusion: FusionOption = None,
    token_weights: TokenWeightsOption = None,
    rerank: Annotated[bool, typer.Option(help="For hybrid: with late interaction.")] = True,
    cross: Annotated[str | None, typer.Option(help="The cross-encoder of mode cross.")] = None,
    model: Annotated[
        str | None, typer.Option(help="The index's model, if it was moved: a directory or a hub name.")
    ] = None,
    precision: QuestionPrecision = "fp32",
    explain: Annotated[
        bool,
        typer.Option("--explain", help="Say which tokens matched, how strongly, and each stage's score."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show the best passages for a question, the words that matched marked."""
    check_cross(mode, cross)
    with loading("the libraries"):
        from ernie_search.index import parse_filter
        from ernie_search.index.opening import on_disk
        from ernie_search.search import explain as explained
    fused, condition = parse_fusion(fusion), parse_filter(where) if where is not None else None
    asked = named_index(index)
    if context.obj == OWN_PROCESS and on_disk(asked):
        import_lancedb()
    # One question is not worth reading every file: `verify` does that, and here sizes are compared.
    searcher, chosen = open_searcher(asked, model, mode, cross, precision=precision, verify=False)
    hits = searcher.search(
        *(question, k),
        mode=chosen,
        candidates=candidates,
        where=condition,
        fusion=fused,
        token_weights=token_weights,
        rerank=rerank,
    )
    matches = searcher.matches(question, hits)
    reasons = explained(searcher, question, hits) if explain else []
    if as_json:
        pairs = zip(hits, matches, strict=True)
        shown = [hit_json(rank, hit, found) for rank, (hit, found) in enumerate(pairs, 1)]
        for one, reason in zip(shown, reasons, strict=False):
            one |= {"query": question, "explanation": reason.as_json()}
            one |= {} if reason.grid is None else reason.grid.as_json()
        print_json(shown)
    else:
        show_hits(hits, matches, reasons)


def hit_json(rank: int, hit: "Hit", matches: "list[WordMatch]") -> dict[str, Any]:
    """One hit as plain values; the matches' places refer to title, a space, and text."""
    marks = [{"start": one.start, "stop": one.stop, "strength": one.strength} for one in matches]
    return hit.as_json(rank) | {"matches": marks}


def show_hits(
    hits: "list[Hit]", matches: "list[list[WordMatch]]", reasons: "Sequence[Explanation]" = ()
) -> None:
    """Print hits for people: styled on a terminal, ``*marked*`` in a file or pipe; each with its reason."""
    from rich.padding import Padding
    from rich.text import Text

    from ernie_search.search import mark_hit

    out = console()
    if not hits:
        out.print("Nothing found.")
    for rank, (hit, found) in enumerate(zip(hits, matches, strict=True), 1):
        title, text = mark_hit(hit, found)
        text.truncate(LONGEST_TEXT, overflow="ellipsis")
        if not out.is_terminal:
            title, text = with_stars(title), with_stars(text)
        head = f"{rank:>3}  {hit.score:.3f}  "
        shown = Text(" ").join(title.split()) if hit.title else printable(hit.id, one_line=True)
        out.print(head, shown, sep="", soft_wrap=True)
        out.print(Padding(text, (0, 0, 0 if reasons else 1, 5)))
        for line in explanation_lines(reasons[rank - 1]) if reasons else ():
            out.print(Padding(line, (0, 0, 0, 5)))
        if reasons:
            out.print()


def with_stars(text: "Text") -> "Text":
    """The text with ``*`` around what was styled, for output without styles."""
    from rich.text import Text

    plain = text.plain
    for start, stop, _ in sorted(text.spans, reverse=True):
        plain = f"{plain[:start]}*{plain[start:stop]}*{plain[stop:]}"
    return Text(plain)
