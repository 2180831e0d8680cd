"""Why a hit was found: which question token matched which passage token, and how strongly."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ernie_search._util.words import words
from ernie_search.encoder import Encoder
from ernie_search.search.highlight import best_of_rows, full_text, similarities, token_spans
from ernie_search.search.searcher import Searcher
from ernie_search.types import Hit


@dataclass(frozen=True, slots=True)
class TokenMatch:
    """One question token and the passage token that MaxSim picks for it.

    Attributes:
        question: its characters ``start:stop`` of the question; None if the tokenizer cannot say.
        passage: likewise, of the hit's full text (title, a space, text).
        question_text, passage_text: the tokens as text.
        strength: their cosine. The mean over all question tokens is the late stage's score.
    """

    question: tuple[int, int] | None
    passage: tuple[int, int] | None
    question_text: str
    passage_text: str
    strength: float


@dataclass(frozen=True, slots=True, eq=False)
class TokenGrid:
    """Every token of a question by every token of a passage, as a heat map draws them.

    Attributes:
        question: the question's tokens as text, Lq of them.
        passage: the passage's, Lp.
        similarity: their cosines, ``(Lq, Lp)`` float32; the largest of a row is what MaxSim picks.
    """

    question: list[str]
    passage: list[str]
    similarity: NDArray[np.float32]

    def as_json(self) -> dict[str, Any]:
        """Plain values, as ``report --examples`` reads them: cosines to four digits, for there are many."""
        return {
            "query_tokens": self.question,
            "passage_tokens": self.passage,
            "similarity": [[round(cosine, 4) for cosine in row] for row in self.similarity.tolist()],
        }


@dataclass(frozen=True, slots=True)
class Explanation:
    """A hit, why.

    Attributes:
        hit: with its ``stages``.
        tokens: a match for each question token, in the question's order; none where the index has no token
            matrices.
        shared_words: what question and passage have in common for BM25, in the question's order.
        grid: what ``tokens`` is picked from; None where that is empty.
    """

    hit: Hit
    tokens: list[TokenMatch]
    shared_words: list[str]
    grid: TokenGrid | None = None

    def as_json(self) -> dict[str, Any]:
        """Plain values, without the hit itself and the grid: ``tokens``, ``shared_words``."""
        return {
            "tokens": [
                {
                    "question": _place(one.question, one.question_text),
                    "passage": _place(one.passage, one.passage_text),
                    "strength": one.strength,
                }
                for one in self.tokens
            ],
            "shared_words": self.shared_words,
        }


def explain(searcher: Searcher, question: str, hits: Sequence[Hit]) -> list[Explanation]:
    """Say of each hit why it was found.

    The question is encoded once; the passages' stored token matrices are used, none is encoded again.

    Args:
        searcher: that found them.
        question: as asked.
        hits: of its ``search``.

    Raises:
        IndexStateError: a hit is no longer in the index.
    """
    asked = list(dict.fromkeys(words(question)))
    shared = []
    for hit in hits:
        there = set(words(full_text(hit)))
        shared.append([word for word in asked if word in there])
    if not searcher.index.has_tokens or not hits:
        return [Explanation(hit, [], one) for hit, one in zip(hits, shared, strict=True)]
    encoding = searcher.model.encode_joint([question], "query")
    model, query, ids = searcher.model, encoding.tokens[0], encoding.token_ids[0]
    own = _pieces(model, question, ids)
    stored = searcher.index.fetch_tokens([hit.passage for hit in hits])
    found = []
    for hit, start, stop, common in zip(hits, stored.offsets[:-1], stored.offsets[1:], shared, strict=True):
        rows = stored.values[start:stop]
        theirs = _pieces(model, full_text(hit), stored.token_ids[start:stop])
        if not len(query) or not len(rows):
            found.append(Explanation(hit, [], common))
            continue
        cosines = np.clip(similarities(query, rows), -1.0, 1.0)  # rounding brings equal rows to 1.0000001
        grid = TokenGrid([text for _, text in own], [text for _, text in theirs], cosines)
        found.append(Explanation(hit, _matches(grid, own, theirs), common, grid))
    return found


Piece = tuple[tuple[int, int] | None, str]
"""Where a token stands, and its text."""


def _pieces(model: Encoder, text: str, token_ids: NDArray[np.int32]) -> list[Piece]:
    """Each token's place in ``text`` and its characters; without places, the vocabulary's word for it."""
    spans = token_spans(model, text, token_ids, widen=False)
    if spans is not None:
        return [(span, text[span[0] : span[1]]) for span in spans]
    return [(None, name) for name in model.token_texts(token_ids.tolist())]


def _matches(grid: TokenGrid, own: Sequence[Piece], theirs: Sequence[Piece]) -> list[TokenMatch]:
    places, cosines = best_of_rows(grid.similarity)
    return [
        TokenMatch(own[row][0], theirs[place][0], own[row][1], theirs[place][1], strength)
        for row, (place, strength) in enumerate(zip(places.tolist(), cosines.tolist(), strict=True))
    ]


def _place(span: tuple[int, int] | None, text: str) -> dict[str, Any]:
    return {"text": text} if span is None else {"text": text, "start": span[0], "stop": span[1]}
