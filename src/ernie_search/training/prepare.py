"""The data of a training, from a collection: sampled questions, their negatives, and a dev sample."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sentence_transformers.base.evaluation import BaseEvaluator

from ernie_search.data import Collection
from ernie_search.encoder import Encoding
from ernie_search.errors import DataError
from ernie_search.evaluation import drop_self_hits, evaluate_run
from ernie_search.losses.copies import is_copy
from ernie_search.mining import BM25, mine_negatives
from ernie_search.mining.lists import Lists
from ernie_search.mining.negatives import best_first, relevant_elsewhere
from ernie_search.mining.passage_table import text_key
from ernie_search.model import JointEncoder
from ernie_search.training.batches import Example
from ernie_search.training.settings import TrainSettings
from ernie_search.types import Passage, Qrels, Query, Run

MEASURE = "MRR@10"


@dataclass(slots=True)
class DevSample:
    """A sample to measure during training: questions, their qrels, and a pool with all their positives.

    The pool is small, so figures over it are higher than those over the whole corpus; they only choose a
    checkpoint.
    """

    questions: dict[str, str]
    qrels: Qrels
    passages: dict[str, str]


class DevEvaluator(BaseEvaluator):
    """MRR@10 of the single vector and of late interaction over the dev sample."""

    def __init__(self, sample: DevSample, *, late: bool, bf16: bool | None = None) -> None:
        """``bf16``: the training's precision; measured again, it could lead to another best model."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.sample, self.late, self.bf16 = sample, late, bf16
        self.primary_metric = "late_mrr"

    def __call__(
        self, model: Any, output_path: str | None = None, epoch: float = -1, steps: int = -1
    ) -> dict[str, float]:
        """Measure, see :meth:`measure`."""
        return self.measure(model)

    def measure(self, model: JointEncoder) -> dict[str, float]:
        """MRR@10 as ``{"dense_mrr": .., "late_mrr": ..}``, the second only if late interaction is trained."""
        sample = self.sample
        options: dict[str, Any] = {"tokens": self.late, "bf16": self.bf16}
        questions = model.encode_joint(list(sample.questions.values()), "query", **options)
        passages = model.encode_joint(list(sample.passages.values()), "passage", **options)
        scores = {"dense_mrr": self._mrr(questions.dense @ passages.dense.T)}
        if self.late:
            flat = np.concatenate(passages.tokens)
            starts = np.cumsum([0, *(len(matrix) for matrix in passages.tokens[:-1])])
            late = [
                shares @ np.maximum.reduceat(matrix @ flat.T, starts, axis=1)
                for matrix, shares in zip(questions.tokens, _token_shares(model, questions), strict=True)
            ]
            scores["late_mrr"] = self._mrr(np.stack(late))
        return scores

    def _mrr(self, scores: np.ndarray[Any, Any]) -> float:
        names = list(self.sample.passages)
        run: Run = {}
        for question, row in zip(self.sample.questions, scores, strict=True):
            top = np.argsort(-row, kind="stable")[:11]  # one more, as the question itself may be there
            run[question] = {names[place]: float(row[place]) for place in top}
        run, _ = drop_self_hits(run, self.sample.qrels)
        return float(evaluate_run(self.sample.qrels, run, [MEASURE]).mean(MEASURE))


def _token_shares(model: JointEncoder, questions: Encoding) -> Iterator[NDArray[np.float32]]:
    """What each token of a question counts, ``(n,)`` with sum 1, as in the training."""
    if model.question_weights is None:
        for matrix in questions.tokens:
            yield np.full(len(matrix), 1 / max(1, len(matrix)), np.float32)
        return
    weights = model.question_weights.cpu().numpy()
    for ids in questions.token_ids:
        own: NDArray[np.float32] = weights[ids]
        yield own / np.float32(max(float(own.sum()), 1e-9))


DISTINCT_NEGATIVES = 8
"""Negatives mined per question, for each step to draw from; more where it shows more of them."""
DEV_CORPUS = 200_000
"""Passages that BM25 searches for the dev sample where it mines no negatives: its index of MS MARCO's 8.8
million takes 18 GB, and a part is enough for a sample of a thousand."""


@dataclass(slots=True)
class TrainingData:
    """Everything that a training reads of its collection.

    Attributes:
        examples: questions with their positives and negatives; with scores, where the lists have them.
        passages: texts of all passages of ``examples``.
        dev: the sample to measure during training; ``None`` without a dev split.
        filled: negatives drawn from the corpus because BM25 found too few.
        left_out: passages in BM25's ranks that are relevant in ``leave_out_splits``.
    """

    examples: list[Example]
    passages: dict[str, str]
    dev: DevSample | None
    filled: int
    left_out: int = 0


COPIES_LOOKED_AT = 1000
"""Questions looked at for :func:`copies_advice`, at least, of all parts of the training."""


def copies_advice(data: TrainingData, settings: TrainSettings) -> str | None:
    """One line if most questions are copied from their passages, where late interaction would teach."""
    if settings.copied_questions == "taught" or settings.interaction_weight == 0:
        return None
    looked_at = data.examples[:: max(1, len(data.examples) // COPIES_LOOKED_AT)]
    copied = sum(
        any(is_copy(one.question, data.passages[positive]) for positive in one.positives) for one in looked_at
    )
    if 2 * copied <= len(looked_at):
        return None
    return (
        f"{copied} of {len(looked_at)} training questions looked at are copied from their passages word for "
        "word: late interaction finds them by matching words, and does not teach the single vector on them "
        "(copied_questions=taught: it does); questions as people ask them teach more, and a model can write "
        "some: ernie-search questions SOURCE --questions hub:MODEL"
    )


def sample(queries: Iterable[Query], number: int, seed: int) -> list[Query]:
    """``number`` of the queries (0: all), chosen by a hash of seed and id: stable whatever the order."""
    ordered = sorted(queries, key=lambda query: hashlib.sha256(f"{seed}:{query.id}".encode()).digest())
    return sorted(ordered[: number or None], key=lambda query: query.id)


def relevant(qrels: Qrels, query: str) -> list[str]:
    """Known positives of a query, in a stable order."""
    return sorted(passage for passage, grade in qrels.get(query, {}).items() if grade > 0)


def prepare(collection: Collection, settings: TrainSettings, lists: Lists | None = None) -> TrainingData:
    """Sample questions, find their negatives, and read the texts of both.

    Memory holds those texts, and BM25's index where it is needed: for the negatives, unless ``lists`` brings
    them (with 16 bytes of each text), and for the dev sample. With lists that sample comes from a part of a
    corpus of more than :data:`DEV_CORPUS` passages, so its figures then can't be compared with a warm-up's.

    Args:
        collection: with a ``train`` split.
        settings: of the training.
        lists: mined lists, with or without a teacher's scores; only their questions are trained on.

    Raises:
        DataError: no training questions, a positive that the corpus lacks, or lists of another collection.
    """
    if lists is not None and lists.data_fingerprint != collection.fingerprint:
        raise DataError(
            f"{lists.folder}: these lists were mined from another collection than {collection.source}, or it "
            "has changed since; mine again"
        )
    qrels = collection.qrels("train")
    questions = [query for query in collection.queries("train") if relevant(qrels, query.id)]
    if not questions:
        raise DataError(
            f"{collection.source}: split 'train' has no question with a relevant passage; add qrels/train.tsv"
        )
    if lists is not None:
        # Read twice, so that a sample of many lists is all that memory holds.
        listed = {one.query for one in lists}
        questions = [query for query in questions if query.id in listed]
    questions = sample(questions, settings.max_questions, settings.seed if settings.max_questions else 0)
    dev_qrels = collection.qrels("dev") if "dev" in collection.splits else {}
    dev_all = (
        [query for query in collection.queries("dev") if relevant(dev_qrels, query.id)] if dev_qrels else []
    )
    dev_questions = sample(dev_all, settings.dev_questions, 0) if settings.evaluations else []

    bm25, filled, left_out = None, 0, 0
    if lists is None:
        keys: dict[str, bytes] = {}
        bm25 = BM25(_with_text_keys(collection, keys))
        held = relevant_elsewhere(collection, settings.leave_out_splits, "train")
        examples, filled, left_out = _bm25_examples(bm25, questions, qrels, keys, settings, held)
        keys.clear()
    else:
        examples = _list_examples(lists, questions)
        if dev_questions:
            judged_relevant = {one for query in dev_questions for one in relevant(dev_qrels, query.id)}
            bm25 = BM25(_sample_passages(collection, DEV_CORPUS, judged_relevant))
    wanted = {passage for one in examples for passage in (*one.positives, *one.negatives)}
    pool: set[str] = set()
    if bm25 is not None and dev_questions:
        dev_run = bm25.search(dev_questions, k=20)
        pool = _dev_pool(dev_questions, dev_qrels, dev_run, bm25.passage_ids, settings.dev_passages)
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
    return TrainingData(
        examples, {p: text for p, text in texts.items() if p in wanted}, dev, filled, left_out
    )


def _with_text_keys(collection: Collection, keys: dict[str, bytes]) -> Iterator[Passage]:
    """Yield the passages, and note in ``keys`` each one's text key by its id."""
    for passage in collection.passages():
        keys[passage.id] = text_key(passage.full_text)
        yield passage


def _sample_passages(collection: Collection, number: int, wanted: set[str]) -> Iterator[Passage]:
    """About ``number`` passages, chosen by a hash of their ids, and the wanted ones."""
    share = min(1.0, number / max(1, sum(1 for _ in collection.passages())))
    for passage in collection.passages():
        place = int.from_bytes(hashlib.sha256(f"dev:{passage.id}".encode()).digest()[:8], "big")
        if place < share * 2**64 or passage.id in wanted:
            yield passage


def _bm25_examples(
    bm25: BM25,
    questions: list[Query],
    qrels: Qrels,
    keys: dict[str, bytes],
    settings: TrainSettings,
    held: set[str],
) -> tuple[list[Example], int, int]:
    """Examples with BM25's negatives, how many were drawn from the corpus, and how many were ``held``."""
    distinct = max(DISTINCT_NEGATIVES, settings.negatives + settings.listed)
    mined = mine_negatives(
        bm25.search(questions, k=settings.negative_last + 10),
        {query.id: qrels[query.id] for query in questions},
        max(settings.negatives, min(distinct, settings.negative_last - settings.negative_first)),
        first=settings.negative_first,
        last=settings.negative_last,
        seed=settings.seed,
        corpus_ids=bm25.passage_ids,
        text_keys=keys,
        question_keys={query.id: text_key(query.text) for query in questions},
        held=held,
    )
    examples = [
        Example(
            query.text,
            tuple(relevant(qrels, query.id)),
            tuple(mined.negatives.get(query.id, ())),
            id=query.id,
        )
        for query in questions
    ]
    return examples, mined.filled, mined.left_out


def _list_examples(lists: Lists, questions: list[Query]) -> list[Example]:
    """Examples from mined lists, in the order of the questions."""
    texts = {query.id: query.text for query in questions}
    found = {
        one.query: Example(
            texts[one.query],
            one.positives,
            one.negatives,
            one.positive_scores,
            one.negative_scores,
            one.query,
            one.kept,
        )
        for one in lists
        if one.query in texts
    }
    return [found[query.id] for query in questions]


def _dev_pool(
    questions: list[Query], qrels: Qrels, run: dict[str, dict[str, float]], corpus: list[str], size: int
) -> set[str]:
    """Every positive, then BM25's best for each question in turn, up to ``size`` passages."""
    pool = {passage for query in questions for passage in relevant(qrels, query.id)}
    ranked = [best_first(run.get(q.id, {}), f"question {q.id!r}") for q in questions]
    for rank in range(max(map(len, ranked), default=0)):
        for hits in ranked:
            if len(pool) >= size:
                return pool
            if rank < len(hits):
                pool.add(hits[rank])
    pool.update(corpus[: max(0, size - len(pool))])
    return pool
