"""Examples: passages with their matching words shaded, and heat maps of question tokens by passage tokens."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ernie_search._util.files import read_json
from ernie_search.errors import DataError
from ernie_search.report.page import Content, Html, Section, details, join, tag

MOST = 20
"""Examples shown; each heat map has a cell a pair of tokens."""


def examples_section(path: Path) -> Section:
    """The examples of a JSON file: a list of objects, of which each has either or both of

    - ``text`` (``title``) and ``matches`` [{start, stop, strength}], as ``search --json`` prints them, places
      counted in title, a space, and text;
    - ``query_tokens`` (Lq), ``passage_tokens`` (Lp) and ``similarity`` (Lq x Lp), cosines; ``search --json
      --explain`` adds them.

    ``query``, ``id`` and ``score`` are shown where given. An object ``{"query", "hits": [...]}`` gives its
    question to its hits.

    Raises:
        DataError: the file is of another form; it says which example.
    """
    found = read_json(path)
    if isinstance(found, dict) and isinstance(found.get("hits"), list):
        found = [{"query": found.get("query"), **hit} for hit in found["hits"] if isinstance(hit, dict)]
    if not isinstance(found, list):
        raise DataError(f"{path}: not a list of examples; write one with: ernie-search search ... --json")
    shown = []
    for number, one in enumerate(found[:MOST], 1):
        try:
            shown.append(_example(one))
        except (AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
            raise DataError(
                f"{path}: example {number} has neither text with matches nor tokens with similarity ({error})"
            ) from error
    return Section(
        "Examples",
        join(shown),
        "The stronger the shade of a word, the better it matched a token of the question.",
    )


def _example(one: dict[str, Any]) -> Html:
    about = [str(one[key]) for key in ("id", "score") if one.get(key) is not None]
    parts: list[Content] = [tag("h3", one["query"])] if one.get("query") else []
    if "text" in one:
        title = str(one.get("title") or "")
        text = f"{title} {one['text']}" if title else str(one["text"])
        parts.append(tag("p", marked(text, one.get("matches", [])), class_="passage"))
    elif "similarity" not in one:
        raise ValueError("no text")
    if "similarity" in one:
        grid = heat_map(one["query_tokens"], one["passage_tokens"], one["similarity"])
        parts.append(details("Every question token by every passage token", grid, opened=True))
    if about:
        parts.append(tag("p", ", ".join(about), class_="soft"))
    return tag("div", parts)


def marked(text: str, matches: Sequence[dict[str, Any]]) -> list[Content]:
    """The text with its matches shaded by strength, from the weakest shown to the strongest."""
    strengths = [float(one["strength"]) for one in matches]
    low, high = min(strengths, default=0.0), max(strengths, default=1.0)
    parts: list[Content] = []
    place = 0
    for one in sorted(matches, key=lambda match: int(match["start"])):
        start, stop, strength = int(one["start"]), int(one["stop"]), float(one["strength"])
        if start < place or stop > len(text):
            continue
        share = 0.35 + 0.65 * ((strength - low) / (high - low) if high > low else 1.0)
        parts += [
            text[place:start],
            tag("mark", text[start:stop], style=f"--v:{share:.2f}", title=f"{strength:.3f}"),
        ]
        place = stop
    return [*parts, text[place:]]


def _short(share: float) -> str:
    """``.93``, or ``1`` where that is what it rounds to: narrow, as a table has hundreds of columns."""
    text = f"{share:.2f}"
    return "1" if text == "1.00" else text.removeprefix("0")


def heat_map(
    query_tokens: Sequence[str], passage_tokens: Sequence[str], similarity: Sequence[Sequence[float]]
) -> Html:
    """A table: a row a question token, a column a passage token; each row's best cell has its value."""
    if len(similarity) != len(query_tokens) or any(len(row) != len(passage_tokens) for row in similarity):
        raise ValueError(f"similarity is not {len(query_tokens)} x {len(passage_tokens)}")
    rows = []
    for token, values in zip(query_tokens, similarity, strict=True):
        cells = [max(0.0, min(1.0, float(value))) for value in values]
        best = max(range(len(cells)), key=cells.__getitem__, default=-1)
        rows.append(
            tag(
                "tr",
                tag("th", token, scope="row"),
                [
                    tag(
                        "td",
                        _short(value) if place == best else "",
                        style=f"--v:{value:.2f}",
                    )
                    for place, value in enumerate(cells)
                ],
            )
        )
    head = tag("tr", tag("td"), [tag("th", tag("div", token), scope="col") for token in passage_tokens])
    grid = tag("table", tag("thead", head), tag("tbody", rows), class_="heat")
    return tag("div", grid, class_="scroll", tabindex=0, role="region", aria_label="heat map")
