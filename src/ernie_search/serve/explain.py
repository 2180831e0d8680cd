"""Why a passage was found: its words, how strongly each matched, and which of the question's tokens."""

from collections.abc import Sequence
from typing import Any

from ernie_search.encoder import Encoder
from ernie_search.index import Index
from ernie_search.search.highlight import FAINT, best_matches, fallback_words, full_text, token_spans
from ernie_search.serve.prepared import Row
from ernie_search.types import Hit


def question_tokens(model: Encoder, question: str, row: Row) -> list[dict[str, Any]]:
    """The question's tokens: text, and the characters ``start:stop`` of it; none without matrices."""
    if row.token_ids is None:
        return []
    spans = token_spans(model.tokenizer, question, row.token_ids)
    if spans is None:
        return []
    return [{"text": question[start:stop], "start": start, "stop": stop} for start, stop in spans]


def explain(
    model: Encoder, index: Index, question: str, row: Row, hits: Sequence[Hit]
) -> list[list[dict[str, Any]]]:
    """For each hit the words that MaxSim picks: places in title, a space and text; cosine; question tokens.

    Args:
        model: its tokenizer is used.
        index: holds the passages' token matrices; without them the question's own words are marked.
        question: what was asked.
        row: the question's vectors.
        hits: as found.
    """
    if not hits:
        return []
    if not index.has_tokens or row.tokens is None or not len(row.tokens):
        return [
            [{"start": one.start, "stop": one.stop, "strength": 1.0, "tokens": []} for one in found]
            for found in (fallback_words(question, full_text(hit)) for hit in hits)
        ]
    asked = token_spans(model.tokenizer, question, row.token_ids) if row.token_ids is not None else None
    stored = index.fetch_tokens([hit.passage for hit in hits])
    found = []
    for hit, start, stop in zip(hits, stored.offsets[:-1], stored.offsets[1:], strict=True):
        text, ids = full_text(hit), stored.token_ids[start:stop]
        spans = token_spans(model.tokenizer, text, ids) if stop > start else []
        if spans is None:  # the stored tokens are not this text's: mark what stands in both
            words = fallback_words(question, text)
            found.append([{"start": o.start, "stop": o.stop, "strength": 1.0, "tokens": []} for o in words])
            continue
        if not spans:
            found.append([])
            continue
        places, cosines = best_matches(row.tokens, stored.values[start:stop])
        found.append(_words(text, question, spans, asked, places.tolist(), cosines.tolist()))
    return found


def _words(
    text: str,
    question: str,
    spans: Sequence[tuple[int, int]],
    asked: Sequence[tuple[int, int]] | None,
    places: Sequence[int],
    cosines: Sequence[float],
) -> list[dict[str, Any]]:
    """A word for each place that was picked, with all question tokens that picked it; faint ones left out."""
    words: dict[tuple[int, int], dict[str, Any]] = {}
    for number, (place, cosine) in enumerate(zip(places, cosines, strict=True)):
        start, stop = spans[place]
        if not any(character.isalnum() for character in text[start:stop]):
            continue
        word = words.setdefault((start, stop), {"start": start, "stop": stop, "strength": -1.0, "tokens": []})
        strength = round(min(cosine, 1.0), 4)
        word["strength"] = max(word["strength"], strength)
        of = question[slice(*asked[number])] if asked is not None else ""
        word["tokens"].append({"token": number, "text": of, "strength": strength})
    floor = FAINT * max((word["strength"] for word in words.values()), default=0.0)
    kept = sorted(words.items())
    return [word for _, word in kept if word["strength"] >= floor]
