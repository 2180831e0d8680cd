"""Why a hit was found, as lines for people: coloured on a terminal, plain in a file or pipe."""

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from ernie_search.words import printable

if TYPE_CHECKING:
    from rich.text import Text

    from ernie_search.search import Explanation, TokenMatch

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
    for one in reason.tokens:
        share = (one.strength - weakest) / spread if spread > 0 else 1.0
        yield _match_line(one, reason, width, share)


def _match_line(match: "TokenMatch", reason: "Explanation", width: int, share: float) -> "Text":
    """``token  0.93  ####  ... what stands around the [token] it matched ...``, coloured by its share."""
    from rich.text import Text

    from ernie_search.search.highlight import STYLES, full_text

    style = STYLES[min(int(share * len(STYLES)), len(STYLES) - 1)]
    bar = "\u2588" * round(max(match.strength, 0.0) * BAR)
    line = Text(no_wrap=True, overflow="ellipsis")
    line.append(f"{_flat(match.question_text):>{width}}", style)
    line.append(f"  {match.strength:6.3f}  ").append(f"{bar:<{BAR}}  ", style)
    if match.passage is None:
        return line.append(_flat(match.passage_text), style)
    text, (start, stop) = full_text(reason.hit), match.passage
    before, after = text[max(0, start - CONTEXT) : start], text[stop : stop + CONTEXT]
    line.append("\u2026" if start > CONTEXT else "").append(_flat(before))
    line.append(f"[{_flat(text[start:stop])}]", style)
    return line.append(_flat(after)).append("\u2026" if stop + CONTEXT < len(text) else "")
