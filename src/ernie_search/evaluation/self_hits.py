"""Questions that are passages themselves: whether a question may find itself."""

from collections.abc import Mapping
from typing import Literal

from ernie_search.types import Qrels, Run

SelfHits = Literal["drop", "keep"]
"""What to do with a hit whose id is the question's own."""


def drop_self_hits(run: Run, qrels: Qrels | None = None) -> tuple[Run, int]:
    """The run without hits whose id is the question's own, and how many questions had one.

    In ArguAna (and in any collection where a passage asks for its like) the best hit of a question is
    the question itself, which nobody judged; BEIR's published figures leave it out. A pair that is judged
    relevant stays: there the two ids are equal, and the passage is meant.

    Args:
        run: left as it is; lists without a self-hit are shared with the result.
        qrels: what is judged relevant.
    """
    kept: Run = {}
    dropped = 0
    for query, scores in run.items():
        relevant: Mapping[str, int] = (qrels or {}).get(query, {})
        if query in scores and relevant.get(query, 0) <= 0:
            kept[query] = {passage: score for passage, score in scores.items() if passage != query}
            dropped += 1
        else:
            kept[query] = scores
    return kept, dropped


def self_hits_note(name: str, dropped: int) -> str | None:
    """What to say of it; ``None`` where nothing was dropped."""
    if not dropped:
        return None
    return (
        f"{name}: a hit with the question's own id was dropped for {dropped:,} questions, as for ArguAna "
        "(--self-hits keep leaves them in)"
    )
