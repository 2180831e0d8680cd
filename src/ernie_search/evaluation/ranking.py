"""The one order in which a run's passages stand: every measure and every file written follows it."""

import math
from collections.abc import Mapping
from itertools import islice
from operator import gt

from ernie_search.errors import EvaluationError


def ranked(scores: Mapping[str, float], query_id: str) -> list[str]:
    """Passage ids from best to worst: score descending, equal scores by id ascending (by code point).

    The field's tools disagree here: trec_eval (so pytrec_eval) puts the *higher* id first and rounds
    scores to 32 bits before comparing them, MS MARCO's script puts the lower id first. One run would
    be ranked in two ways in one table, so we rank it ourselves.

    Args:
        scores: passage id -> score, higher is better; infinite scores are allowed.
        query_id: whose scores these are, for the message.

    Raises:
        EvaluationError: a score is NaN, which has no place in any order.
    """
    values = list(scores.values())
    if any(map(math.isnan, values)):
        passage_id = next(one for one, score in scores.items() if math.isnan(score))
        raise EvaluationError(
            f"query {query_id!r}, passage {passage_id!r}: the score is NaN; repair the run first"
        )
    if all(map(gt, values, islice(values, 1, None))):  # as run files have them: nothing to sort
        return list(scores)
    return sorted(scores, key=lambda passage_id: (-scores[passage_id], passage_id))
