"""Everything that ``compare`` and the report say of some runs, from one place."""

from collections.abc import Mapping
from dataclasses import dataclass

from ernie_search.evaluation.answers import Answers
from ernie_search.evaluation.breakdown import Bucket, breakdown, by_answer_type, by_length, by_rank
from ernie_search.evaluation.comparison import RunComparison
from ernie_search.evaluation.effects import Effect, effects, first_ranks
from ernie_search.types import Qrels, Run


@dataclass(frozen=True, slots=True)
class PairFindings:
    """One run over another, question by question, in the deciding measure.

    Attributes:
        name, over: the two runs.
        effects: of every question, the best won first.
        where: title -> kinds of questions.
    """

    name: str
    over: str
    effects: list[Effect]
    where: dict[str, list[Bucket]]


def pair_findings(
    comparison: RunComparison,
    runs: Mapping[str, Run],
    *,
    qrels: Qrels | None = None,
    texts: Mapping[str, str] | None = None,
    answers: Answers | None = None,
    bm25: Run | None = None,
) -> list[PairFindings]:
    """The effects of each pair that was compared, and where they are.

    Args:
        comparison: of these runs.
        runs: by name.
        qrels: for the ranks of the first relevant passages.
        texts: of the questions, by id; for their length.
        answers: for their type.
        bm25: a run of BM25; needs ``qrels``.
    """
    measure = comparison.measures[0]
    ids = comparison.questions.ids
    judged = {query: (qrels or {}).get(query, {}) for query in ids}
    ranks = {name: first_ranks(run, judged) if qrels else {} for name, run in runs.items()}
    kinds = {}
    if texts:
        kinds["by the question's length"] = by_length(
            {query: texts[query] for query in ids if query in texts}
        )
    if bm25 is not None and qrels:
        kinds["by BM25's rank of the first relevant passage"] = by_rank(first_ranks(bm25, judged))
    if answers:
        kinds["by the answer"] = by_answer_type({query: answers[query] for query in ids if query in answers})
    found = []
    for pair in comparison.pairs_of(measure):
        own, other = comparison.measured(pair.name), comparison.measured(pair.over)
        each = effects(own, other, measure, ranks[pair.name], ranks[pair.over])
        where = {title: breakdown(each, labels, order) for title, (labels, order) in kinds.items()}
        found.append(PairFindings(pair.name, pair.over, each, where))
    return found
