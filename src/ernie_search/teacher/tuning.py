"""Weights of a teacher's components, chosen by re-ranking questions that no component was trained on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ernie_search.data import Collection
from ernie_search.errors import DataError, SettingsError
from ernie_search.evaluation import bootstrap_interval, drop_self_hits
from ernie_search.mining.negatives import best_first
from ernie_search.teacher.components import Asked
from ernie_search.teacher.sums import CROSS, LATE, WORDS, TeacherSum
from ernie_search.teacher.teachers import QUESTIONS_TOGETHER, fold_of, passage_texts
from ernie_search.training.prepare import sample
from ernie_search.types import Query, Run

STEPS = (0.0, 0.0625, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""Weights that are tried for a component, in units in which its scores spread as those of the first one."""
ROUNDS = 3
"""Most rounds over all components."""
DEPTH = 10
"""Of MRR@10."""


@dataclass(frozen=True, slots=True)
class Figure:
    """MRR@10 of a ranking: the mean over the questions, and the ends of its 95 % bootstrap interval.

    The interval takes the questions as independent; several of one passage make it too narrow.
    """

    name: str
    mrr: float
    low: float
    high: float

    @staticmethod
    def of(name: str, values: NDArray[np.float64]) -> "Figure":
        """From ``(Q,)`` reciprocal ranks."""
        low, high = bootstrap_interval(values)
        return Figure(name, round(float(values.mean()), 4), round(low, 4), round(high, 4))


@dataclass(frozen=True, slots=True)
class TunedSum:
    """Weights, and what they bring.

    Attributes:
        weights: by component, on the components' own scales; the best one alone has weight 1.
        questions: how many they were chosen by.
        components: each alone.
        first_stage: the ranking that was re-ranked.
        best: the sum with these weights, on the questions that they were chosen by: optimistic.
        held_out: the sum, each half of the questions with weights chosen by the other half: what to expect.
        tried: weights that were tried.
    """

    weights: dict[str, float]
    questions: int
    components: list[Figure]
    first_stage: Figure
    best: Figure
    held_out: Figure
    tried: int


@dataclass(slots=True)
class Pools:
    """Candidates of Q questions, K at most each, in the order of their ids.

    Attributes:
        parts: by component ``(Q, K)`` scores; -inf where a question has fewer candidates.
        first: ``(Q, K)`` scores of the first stage.
        relevant: ``(Q, K)`` whether the passage is relevant.
        present: ``(Q, K)`` whether there is a candidate.
        half: ``(Q,)`` the half of the question, by its positives, so that those of one passage are together.
    """

    parts: dict[str, NDArray[np.float64]]
    first: NDArray[np.float64]
    relevant: NDArray[np.bool_]
    present: NDArray[np.bool_]
    half: NDArray[np.int64]
    tried: int = field(default=0)

    def values(self, scores: NDArray[np.float64], rows: NDArray[np.bool_] | None = None) -> Any:
        """``(Q,)`` reciprocal ranks of the best relevant passage, 0 below rank 10; equal scores by id."""
        which = slice(None) if rows is None else rows
        relevant, present = self.relevant[which], self.present[which]
        scores = np.where(present, scores[which], -np.inf)
        ours = np.where(relevant, scores, -np.inf)
        best = ours.argmax(axis=1)[:, None]  # the first of equal ones, which has the smallest id
        top = np.take_along_axis(ours, best, axis=1)
        before = (scores > top) | ((scores == top) & (np.arange(scores.shape[1]) < best) & present)
        rank = 1 + before.sum(axis=1)
        found = relevant.any(axis=1) & (rank <= DEPTH)
        return np.where(found, 1 / rank, 0.0)

    def summed(self, weights: Mapping[str, float]) -> NDArray[np.float64]:
        """``(Q, K)`` weighted sums."""
        total = np.zeros(self.first.shape)
        for name, weight in weights.items():
            total += weight * self.parts[name]
        return total


def tune_sum(
    teacher: TeacherSum,
    collection: Collection,
    *,
    split: str = "dev",
    run: Run | None = None,
    questions: int = 500,
    k: int = 50,
    seed: int = 0,
    bf16: bool | None = None,
    progress: Callable[[int], None] | None = None,
) -> TunedSum:
    """Choose the components' weights by MRR@10 of re-ranking a split's questions.

    One component after the other gets the best of :data:`STEPS`, the others fixed, until nothing changes.
    What the weights bring is measured by halves: on each with weights that were chosen on the other.

    Args:
        teacher: its computed components; cross-encoders give the mean of their scores, since none was trained
            on these questions. Its weights are not used.
        collection: for texts and judgements.
        split: its questions; not those that results are reported on.
        run: the ranking that is re-ranked; by default BM25's.
        questions: most of them, a seeded sample; 0 takes all.
        k: passages that are re-ranked. A relevant passage below them counts as not found.
        seed: of the sample.
        bf16: whether to compute in bf16; by default where that is faster.
        progress: called with the number of questions done since its last call.

    Raises:
        SettingsError: no component, or ``k`` below 2.
        DataError: fewer than two questions with a judgement; a passage of the run that the corpus lacks.
        ModelError: a component cannot be loaded.
    """
    if not teacher.computed:
        raise SettingsError("no component to weigh; name a cross-encoder, a late-interaction model, or BM25")
    if k < 2:
        raise SettingsError(f"k={k}: re-rank at least 2 passages a question")
    qrels = collection.qrels(split)
    judged = [
        query
        for query in collection.queries(split)
        if any(grade > 0 for grade in qrels.get(query.id, {}).values())
    ]
    asked = sample(judged, questions, seed)
    if len(asked) < 2:
        raise DataError(
            f"{collection.source}: split {split!r} has {len(asked)} questions with a relevant passage"
        )
    if run is None:
        words = teacher.bm25
        if words is None:
            from ernie_search.teacher.components import BM25Scores

            words = BM25Scores(collection)
        run = words.index.search(asked, k + 1)
    kept, _ = drop_self_hits({query.id: run.get(query.id, {}) for query in asked}, qrels)
    pools = _pools(teacher, collection, asked, qrels, kept, k, bf16, progress)
    rows = np.ones(len(asked), bool)
    weights = _search(pools, rows)
    held_out = np.zeros(len(asked))
    for half in (0, 1):
        inside = pools.half == half
        if inside.any():
            chosen = _search(pools, ~inside) if (~inside).any() else weights
            held_out[inside] = pools.values(pools.summed(chosen), inside)
    return TunedSum(
        weights,
        len(asked),
        [Figure.of(name, pools.values(part)) for name, part in pools.parts.items()],
        Figure.of("first stage", pools.values(pools.first)),
        Figure.of("sum", pools.values(pools.summed(weights))),
        Figure.of("sum, held out", held_out),
        pools.tried,
    )


def _pools(
    teacher: TeacherSum,
    collection: Collection,
    asked: list[Query],
    qrels: Mapping[str, Mapping[str, int]],
    run: Run,
    k: int,
    bf16: bool | None,
    progress: Callable[[int], None] | None,
) -> Pools:
    """Score the first ``k`` candidates of every question with every component."""
    top = [sorted(best_first(run[query.id], f"run, question {query.id!r}")[:k]) for query in asked]
    texts = passage_texts(
        collection,
        {p: f"run, question {q.id!r}: passage" for q, found in zip(asked, top, strict=True) for p in found},
    )
    shape = (len(asked), k)
    pools = Pools(
        {name: np.full(shape, -np.inf) for name in teacher.computed},
        np.full(shape, -np.inf),
        np.zeros(shape, bool),
        np.zeros(shape, bool),
        np.zeros(len(asked), np.int64),
    )
    for row, (query, found) in enumerate(zip(asked, top, strict=True)):
        relevant = [passage for passage, grade in qrels[query.id].items() if grade > 0]
        pools.half[row] = fold_of(relevant, 2)
        pools.present[row, : len(found)] = True
        pools.relevant[row, : len(found)] = [passage in relevant for passage in found]
        pools.first[row, : len(found)] = [run[query.id][passage] for passage in found]
    waiting = iter(range(len(asked)))
    while group := list(islice(waiting, QUESTIONS_TOGETHER)):
        lists = [Asked(asked[row].text, tuple(top[row])) for row in group]
        for name, scores in _scores(teacher, lists, texts, bf16).items():
            for row, own in zip(group, scores, strict=True):
                pools.parts[name][row, : len(own)] = own
        if progress is not None:
            progress(len(group))
    for name, part in pools.parts.items():
        pools.parts[name] = np.where(pools.present, part, 0.0)
    return pools


def _scores(
    teacher: TeacherSum, asked: list[Asked], texts: Mapping[str, str], bf16: bool | None
) -> dict[str, list[NDArray[np.float32]]]:
    found: dict[str, list[NDArray[np.float32]]] = {}
    if teacher.cross is not None and CROSS in teacher.computed:
        pairs = [(one.text, texts[passage]) for one in asked for passage in one.passages]
        flat = teacher.cross.mean_scores(pairs, bf16=bf16) if pairs else np.zeros(0, np.float32)
        ends = np.cumsum([len(one.passages) for one in asked])
        found[CROSS] = list(np.split(flat, ends[:-1]))
    if teacher.late is not None and LATE in teacher.computed:
        found[LATE] = teacher.late.scores(asked, texts, bf16=bf16)
    if teacher.bm25 is not None and WORDS in teacher.computed:
        found[WORDS] = teacher.bm25.scores(asked)
    return found


def _search(pools: Pools, rows: NDArray[np.bool_]) -> dict[str, float]:
    """The best weights on some of the questions, by coordinate search from the best component alone."""
    alone = {name: float(pools.values(part, rows).mean()) for name, part in pools.parts.items()}
    names = sorted(alone, key=lambda name: (-alone[name], name))
    units = {name: _spread(pools, name, rows) for name in names}
    steps = {name: 1.0 if name == names[0] else 0.0 for name in names}

    def measured(tried: Mapping[str, float]) -> float:
        pools.tried += 1
        weights = {name: step / units[name] for name, step in tried.items()}
        return float(pools.values(pools.summed(weights), rows).mean())

    best = alone[names[0]]
    for _ in range(ROUNDS):
        before = dict(steps)
        for name in names[1:]:
            for step in STEPS:
                value = measured({**steps, name: step})
                if value > best + 1e-9:
                    best, steps = value, {**steps, name: step}
        if steps == before:
            break
    first = units[names[0]]
    return {name: float(f"{steps[name] * first / units[name]:.3g}") for name in pools.parts}


def _spread(pools: Pools, name: str, rows: NDArray[np.bool_]) -> float:
    """Mean standard deviation of a component's scores within a question's candidates."""
    deviations = [
        float(part[present].std())
        for part, present in zip(pools.parts[name][rows], pools.present[rows], strict=True)
        if present.any()
    ]
    return max(float(np.mean(deviations)) if deviations else 1.0, 1e-6)
