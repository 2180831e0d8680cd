"""``matches`` of a hit, as JSON: which words matched which tokens of the question, and how strongly."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ernie_search.encoder import Encoder
from ernie_search.index import Index
from ernie_search.search.highlight import FAINT, best_matches, fallback_words, full_text, token_spans
from ernie_search.types import Hit


def question_tokens(
    model: Encoder,
    question: str,
    token_ids: NDArray[np.int32] | None,
    weights: NDArray[np.float32] | None = None,
) -> list[dict[str, Any]]:
    """The question's tokens: text, characters ``start:stop``, ``weight`` (1 on average); none without ids."""
    spans = token_spans(model, question, token_ids) if token_ids is not None else None
    if spans is None:
        return []
    heavy = [1.0] * len(spans) if weights is None else weights.tolist()
    return [
        {"text": question[start:stop], "start": start, "stop": stop, "weight": round(weight, 4)}
        for (start, stop), weight in zip(spans, heavy, strict=True)
    ]


def word_matches(
    model: Encoder,
    index: Index,
    question: str,
    hits: Sequence[Hit],
    tokens: NDArray[np.float32] | None,
    token_ids: NDArray[np.int32] | None,
    weights: NDArray[np.float32] | None = None,
) -> list[list[dict[str, Any]]]:
    """The words of each hit that MaxSim picks: characters of title, space and text; cosine; question tokens.

    Args:
        model: the tokens are its own.
        index: holds the passages' token matrices; without them the words of the question are marked.
        question: the question's text.
        hits: of the question.
        tokens: ``(Lq, d)``, the question's token matrix.
        token_ids: ``(Lq,)``.
        weights: ``(Lq,)``, how much each of its tokens counts; words that light ones pick may be left out.
    """
    if not hits:
        return []
    if not index.has_tokens or tokens is None or not len(tokens):
        return [
            [{"start": one.start, "stop": one.stop, "strength": 1.0, "tokens": []} for one in found]
            for found in (fallback_words(question, full_text(hit)) for hit in hits)
        ]
    asked = token_spans(model, question, token_ids) if token_ids is not None else None
    stored = index.fetch_tokens([hit.passage for hit in hits])
    share = np.ones(len(tokens)) if weights is None else weights / weights.max(initial=1.0)
    found = []
    for hit, start, stop in zip(hits, stored.offsets[:-1], stored.offsets[1:], strict=True):
        text, ids = full_text(hit), stored.token_ids[start:stop]
        spans = token_spans(model, text, ids) if stop > start else []
        if spans is None:  # the stored tokens are of another text: mark words that both have
            words = fallback_words(question, text)
            found.append([{"start": o.start, "stop": o.stop, "strength": 1.0, "tokens": []} for o in words])
            continue
        if not spans:
            found.append([])
            continue
        places, cosines = best_matches(tokens, stored.values[start:stop])
        found.append(_words(text, question, spans, asked, places.tolist(), cosines.tolist(), share.tolist()))
    return found


def _words(
    text: str,
    question: str,
    spans: Sequence[tuple[int, int]],
    asked: Sequence[tuple[int, int]] | None,
    places: Sequence[int],
    cosines: Sequence[float],
    shares: Sequence[float],
) -> list[dict[str, Any]]:
    """Each word that was picked, with the question tokens that picked it; faint words are left out.

    A word's strength is its best cosine. Whether it is faint, its cosine times the token's share says: its
    weight over that of the heaviest.
    """
    words: dict[tuple[int, int], dict[str, Any]] = {}
    weighed: dict[tuple[int, int], float] = {}
    for number, (place, cosine) in enumerate(zip(places, cosines, strict=True)):
        start, stop = spans[place]
        if not any(character.isalnum() for character in text[start:stop]):
            continue
        word = words.setdefault((start, stop), {"start": start, "stop": stop, "strength": -1.0, "tokens": []})
        strength = round(min(cosine, 1.0), 4)
        word["strength"] = max(word["strength"], strength)
        weighed[start, stop] = max(weighed.get((start, stop), -1.0), strength * shares[number])
        of = question[slice(*asked[number])] if asked is not None else ""
        word["tokens"].append({"token": number, "text": of, "strength": strength})
    floor = FAINT * max(weighed.values(), default=0.0)
    kept = sorted(words.items())
    return [word for place, word in kept if weighed[place] >= floor]
