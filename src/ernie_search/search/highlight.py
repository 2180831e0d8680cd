"""Which words of a passage matched a question: from the stored token matrices to marked text."""

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.style import Style
from rich.text import Text

from ernie_search._util.words import printable
from ernie_search.encoder import Encoder
from ernie_search.types import Hit, Passage

LONGEST_WORD = 40
"""Characters. Scripts without spaces have "words" as long as a sentence; there only the token is marked."""

SHORTEST_PLAIN_WORD = 4
"""Characters. Without token matrices shorter words are not marked: nearly all of them are function words."""

FAINT = 0.6
"""Matches below this share of a passage's strongest are left out. A question's "how", "did", "of" always pick
some token; looked at on SQuAD, what they pick lies below this, and what explains the hit above."""

STYLES = (
    Style(color="cyan"),
    Style(bold=True, color="yellow"),
    Style(bold=True, underline=True, color="green"),
)
"""From the weakest third of a passage's matches to the strongest; bold and underline show without colours."""


@dataclass(frozen=True, slots=True)
class WordMatch:
    """Characters ``start:stop`` of a text, and how strongly they match: a cosine, at most 1."""

    start: int
    stop: int
    strength: float


def full_text(item: Hit | Passage) -> str:
    """Title and text as one string, as the passage was encoded; match positions refer to it."""
    return f"{item.title} {item.text}" if item.title else item.text


def best_matches(
    query_tokens: NDArray[np.floating[Any]], passage_tokens: NDArray[np.floating[Any]]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """For each question token the passage token that MaxSim picks: places ``(Lq,)`` and cosines ``(Lq,)``.

    Args:
        query_tokens: ``(Lq, d)``.
        passage_tokens: ``(L, d)``, at least one row.
    """
    return best_of_rows(similarities(query_tokens, passage_tokens))


def similarities(
    query_tokens: NDArray[np.floating[Any]], passage_tokens: NDArray[np.floating[Any]]
) -> NDArray[np.float32]:
    """Cosines ``(Lq, L)`` of token matrices ``(Lq, d)`` and ``(L, d)``, whose rows are of length one."""
    return np.asarray(query_tokens, np.float32) @ np.asarray(passage_tokens, np.float32).T


def best_of_rows(similarity: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Places and values, ``(Lq,)`` each, of the largest in each row of ``(Lq, L)``; L is at least 1."""
    best = similarity.argmax(axis=1)
    return best, similarity[np.arange(len(best)), best]


def token_spans(
    model: Encoder, text: str, token_ids: Sequence[int] | NDArray[np.int32], *, widen: bool = True
) -> list[tuple[int, int]] | None:
    """The characters behind stored tokens; None if they are not this text's tokens.

    The stored tokens are those of the text in order, without special and prompt tokens, cut at the model's
    limit: so walking along the text's own tokens meets every one of them.

    Args:
        model: whose tokens they are.
        text: the passage's full text.
        token_ids: ``(L,)`` ids behind the rows of its token matrix.
        widen: to the whole word that a token is a piece of.
    """
    pieces = model.pieces(text)
    own, words, spans = pieces.ids, pieces.words, pieces.spans
    extent: dict[int, tuple[int, int]] = {}
    for word, (start, stop) in zip(words, spans, strict=True):
        if word is not None:
            known = extent.get(word, (start, stop))
            extent[word] = (min(known[0], start), max(known[1], stop))
    found: list[tuple[int, int]] = []
    place = 0
    for wanted in np.asarray(token_ids).tolist():
        while place < len(own) and own[place] != wanted:
            place += 1
        if place == len(own):
            return None
        word = words[place]
        start, stop = spans[place] if word is None else extent[word]
        if not widen or stop - start > LONGEST_WORD:
            start, stop = spans[place]
        found.append(_trimmed(text, start, stop))
        place += 1
    return found


def matching_words(
    model: Encoder,
    question: str,
    text: str,
    query_tokens: NDArray[np.floating[Any]],
    passage_tokens: NDArray[np.floating[Any]],
    token_ids: Sequence[int] | NDArray[np.int32],
) -> list[WordMatch]:
    """The words of ``text`` that MaxSim picks for the question's tokens, but for faint ones, in order.

    Args:
        model: whose tokens they are.
        question: what was asked; used only if the stored tokens do not fit the text.
        text: the passage's full text.
        query_tokens: ``(Lq, d)``.
        passage_tokens: ``(L, d)``, as stored.
        token_ids: ``(L,)``, as stored.
    """
    spans = token_spans(model, text, token_ids) if len(token_ids) and len(query_tokens) else None
    if spans is None:
        return fallback_words(question, text)
    strengths: dict[tuple[int, int], float] = {}
    for place, cosine in zip(
        *(array.tolist() for array in best_matches(query_tokens, passage_tokens)), strict=True
    ):
        start, stop = spans[place]
        # What matches no word at all (a lone "?", say) explains nothing to a reader.
        if any(character.isalnum() for character in text[start:stop]):
            strengths[start, stop] = max(min(cosine, 1.0), strengths.get((start, stop), -1.0))
    floor = FAINT * max(strengths.values(), default=0.0)
    kept = sorted((span, strength) for span, strength in strengths.items() if strength >= floor)
    return [WordMatch(start, stop, strength) for (start, stop), strength in kept]


def fallback_words(question: str, text: str) -> list[WordMatch]:
    """Words that stand in the question too, each of strength 1: for an index without token matrices."""
    asked = {word.casefold() for word in re.findall(r"\w+", question) if len(word) >= SHORTEST_PLAIN_WORD}
    return [
        WordMatch(*hit.span(), 1.0) for hit in re.finditer(r"\w+", text) if hit.group().casefold() in asked
    ]


def mark(text: str, matches: Sequence[WordMatch]) -> Text:
    """The text as a terminal may show it (see ``printable``), its matches styled by strength.

    Brackets stay brackets: nothing in it is read as markup.
    """
    return _marked(text, matches, _shades(matches))


def mark_hit(hit: Hit, matches: Sequence[WordMatch]) -> tuple[Text, Text]:
    """Title (on one line) and text of a hit, marked; ``matches`` refer to its ``full_text``."""
    shades, shift = _shades(matches), len(hit.title) + 1 if hit.title else 0
    moved = [WordMatch(max(one.start - shift, 0), max(one.stop - shift, 0), one.strength) for one in matches]
    return _marked(hit.title, matches, shades, one_line=True), _marked(hit.text, moved, shades)


def _shades(matches: Sequence[WordMatch]) -> list[Style]:
    """A style for each match, by its strength among all of them."""
    weakest = min((match.strength for match in matches), default=0.0)
    spread = max((match.strength for match in matches), default=0.0) - weakest
    shares = [(match.strength - weakest) / spread if spread > 0 else 1.0 for match in matches]
    return [STYLES[min(int(share * len(STYLES)), len(STYLES) - 1)] for share in shares]


def _marked(
    text: str, matches: Sequence[WordMatch], styles: Sequence[Style], *, one_line: bool = False
) -> Text:
    """The text as it is shown, which may be longer or shorter, and the styles where the words went."""
    marked = Text()
    cuts = {min(place, len(text)) for match in matches for place in (match.start, match.stop)}
    places: dict[int, int] = {}
    for start, stop in itertools.pairwise(sorted({0, len(text), *cuts})):
        places[start] = len(marked)
        marked.append(printable(text[start:stop], one_line=one_line))
    places[len(text)] = len(marked)
    for match, style in zip(matches, styles, strict=True):
        marked.stylize(style, places[min(match.start, len(text))], places[min(match.stop, len(text))])
    return marked


def _trimmed(text: str, start: int, stop: int) -> tuple[int, int]:
    """Without the white space that some tokenizers count to the word."""
    while start < stop and text[start].isspace():
        start += 1
    while stop > start and text[stop - 1].isspace():
        stop -= 1
    return start, stop
