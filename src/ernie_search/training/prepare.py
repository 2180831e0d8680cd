"""From a collection to what a run trains on: sampled questions, BM25 negatives, a dev sample."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from ernie_search.data import Collection
from ernie_search.errors import DataError
from ernie_search.mining import BM25, mine_negatives
from ernie_search.training.batches import Example
from ernie_search.training.dev import DevSample
from ernie_search.training.settings import TrainSettings
from ernie_search.types import Qrels, Query

DISTINCT_NEGATIVES = 8
"""Negatives mined a question, for each step to draw from."""


@dataclass(slots=True)
class TrainingData:
    """Everything that a run reads of its collection.

    Attributes:
        examples: questions with their positives and mined negatives.
        passages: texts of all passages that ``examples`` name.
        dev: the sample that is measured on the way; ``None`` without a dev split.
        filled: negatives that BM25 did not find, drawn from the corpus instead.
    """

    examples: list[Example]
    passages: dict[str, str]
    dev: DevSample | None
    filled: int


def sample(queries: Iterable[Query], number: int, seed: int) -> list[Query]:
    """``number`` of the queries (0: all), chosen by a hash of seed and id: stable whatever the order."""
    ordered = sorted(queries, key=lambda query: hashlib.sha256(f"{seed}:{query.id}".encode()).digest())
    return sorted(ordered[: number or None], key=lambda query: query.id)


def relevant(qrels: Qrels, query: str) -> list[str]:
    """Known positives of a query, in a stable order."""
    return sorted(passage for passage, grade in qrels.get(query, {}).items() if grade > 0)


def prepare(collection: Collection, settings: TrainSettings) -> TrainingData:
    """Sample, mine with BM25, and read the texts that are needed; memory holds those and BM25's index.

    Raises:
        DataError: no training questions, or a positive that the corpus lacks.
    """
    qrels = collection.qrels("train")
    questions = [query for query in collection.queries("train") if relevant(qrels, query.id)]
    if not questions:
        raise DataError(
            f"{collection.source}: split 'train' has no question with a relevant passage; add qrels/train.tsv"
        )
    questions = sample(questions, settings.max_questions, settings.seed if settings.max_questions else 0)
    dev_qrels = collection.qrels("dev") if "dev" in collection.splits else {}
    dev_all = (
        [query for query in collection.queries("dev") if relevant(dev_qrels, query.id)] if dev_qrels else []
    )
    dev_questions = sample(dev_all, settings.dev_questions, 0) if settings.evaluations else []

    corpus_ids: list[str] = []

    def seen() -> Iterable[object]:
        for passage in collection.passages():
            corpus_ids.append(passage.id)
            yield passage

    bm25 = BM25(seen())  # type: ignore[arg-type]
    depth = settings.negative_last + 10
    train_run = bm25.search(questions, k=depth)
    dev_run = bm25.search(dev_questions, k=20) if dev_questions else {}
    mined = mine_negatives(
        train_run,
        {query.id: qrels[query.id] for query in questions},
        max(settings.negatives, min(DISTINCT_NEGATIVES, settings.negative_last - settings.negative_first)),
        first=settings.negative_first,
        last=settings.negative_last,
        seed=settings.seed,
        corpus_ids=corpus_ids,
    )
    examples = [
        Example(query.text, tuple(relevant(qrels, query.id)), tuple(mined.negatives.get(query.id, ())))
        for query in questions
    ]
    wanted = {passage for one in examples for passage in (*one.positives, *one.negatives)}
    pool = _dev_pool(dev_questions, dev_qrels, dev_run, corpus_ids, settings.dev_passages)
    texts = {p.id: p.full_text for p in collection.passages() if p.id in wanted or p.id in pool}
    for asked, judged in ((questions, qrels), (dev_questions, dev_qrels)):
        for query in asked:
            for passage in relevant(judged, query.id):
                if passage not in texts:
                    raise DataError(
                        f"{collection.source}: question {query.id!r}: its positive {passage!r} is not in the "
                        "corpus; add it or drop the judgement"
                    )
    dev = None
    if dev_questions:
        kept = {
            query.id: {p: g for p, g in dev_qrels[query.id].items() if p in texts} for query in dev_questions
        }
        dev = DevSample(
            {q.id: q.text for q in dev_questions}, kept, {p: texts[p] for p in sorted(pool) if p in texts}
        )
    return TrainingData(examples, {p: text for p, text in texts.items() if p in wanted}, dev, mined.filled)


def _dev_pool(
    questions: list[Query], qrels: Qrels, run: dict[str, dict[str, float]], corpus: list[str], size: int
) -> set[str]:
    """Every positive, then BM25's best for each question in turn, up to ``size`` passages."""
    pool = {passage for query in questions for passage in relevant(qrels, query.id)}
    ranked = [sorted(run.get(q.id, {}).items(), key=lambda item: (-item[1], item[0])) for q in questions]
    for rank in range(max(map(len, ranked), default=0)):
        for hits in ranked:
            if len(pool) >= size:
                return pool
            if rank < len(hits):
                pool.add(hits[rank][0])
    pool.update(corpus[: max(0, size - len(pool))])
    return pool
