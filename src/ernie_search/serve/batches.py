"""The work of the service's two threads, in batches: one encodes texts, the other searches and writes."""

import copy
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ernie_search.encoder import Encoder, Encoding, Pieces
from ernie_search.index import Filter
from ernie_search.search import Fusion, Searcher, SearchSettings
from ernie_search.serve.matches import question_tokens, word_matches
from ernie_search.types import Hit, Task


@dataclass(frozen=True, slots=True)
class EncodedText:
    """Vectors of one text: ``dense (D,)``; ``tokens (L, d)`` and ``token_ids (L,)``, or None."""

    dense: NDArray[np.float32]
    tokens: NDArray[np.float32] | None = None
    token_ids: NDArray[np.int32] | None = None


@dataclass(slots=True)
class EncodedTexts:
    """The vectors of several texts: an ``Encoding``."""

    dense: NDArray[np.float32]
    tokens: list[NDArray[np.float32]] = field(default_factory=list)
    token_ids: list[NDArray[np.int32]] = field(default_factory=list)
    truncated: int = 0


def split(encoding: Encoding) -> list[EncodedText]:
    """The vectors of each text of an encoding."""
    count = len(encoding.dense)
    matrices: list[NDArray[np.float32] | None] = [*encoding.tokens] or [None] * count
    ids: list[NDArray[np.int32] | None] = [*encoding.token_ids] or [None] * count
    return [EncodedText(*parts) for parts in zip(encoding.dense, matrices, ids, strict=True)]


def joined(rows: Sequence[EncodedText], *, tokens: bool = True) -> EncodedTexts:
    """Texts that were encoded one by one as one encoding."""
    dense = np.stack([row.dense for row in rows])
    if not tokens or any(row.tokens is None for row in rows):
        return EncodedTexts(dense)
    matrices = [row.tokens for row in rows if row.tokens is not None]
    return EncodedTexts(dense, matrices, [row.token_ids for row in rows if row.token_ids is not None])


class PreparedModel:
    """A model that returns vectors of known questions, and lets the real model encode all other texts."""

    def __init__(
        self,
        model: Encoder,
        lock: threading.Lock,
        rows: Mapping[str, EncodedText] | None = None,
    ) -> None:
        """Stand in for ``model``.

        Args:
            model: the real model.
            lock: held while the real model encodes.
            rows: questions and their vectors.
        """
        self._model, self._lock, self._rows = model, lock, dict(rows or {})
        self.kind, self.name, self.token_dim = model.kind, model.name, model.token_dim
        self.fingerprint = model.fingerprint

    def with_rows(self, rows: Mapping[str, EncodedText]) -> "PreparedModel":
        """A copy that knows other questions."""
        other = copy.copy(self)  # the fingerprint may be costly to ask for
        other._rows = dict(rows)
        return other

    def pieces(self, text: str) -> Pieces:
        """See ``Encoder``."""
        return self._model.pieces(text)

    def token_texts(self, ids: Sequence[int]) -> list[str]:
        """See ``Encoder``."""
        return self._model.token_texts(ids)

    def prefers_bf16(self) -> bool:
        """See ``Encoder``."""
        return self._model.prefers_bf16()

    def encode_joint(
        self,
        texts: Sequence[str],
        task: Task,
        *,
        tokens: bool = True,
        token_budget: int | None = None,
        progress: Callable[[int], None] | None = None,
        bf16: bool | None = None,
    ) -> Encoding:
        """See ``Encoder``."""
        rows = [self._rows.get(text) for text in texts] if task == "query" else [None]
        known = [row for row in rows if row is not None and (row.tokens is not None or not tokens)]
        if texts and len(known) == len(texts):
            return joined(known, tokens=tokens)
        with self._lock:
            return self._model.encode_joint(
                texts, task, tokens=tokens, token_budget=token_budget, progress=progress, bf16=bf16
            )


@dataclass(frozen=True, slots=True)
class Plan:
    """Settings of a search; questions with the same plan are searched together."""

    mode: str
    k: int
    candidates: int
    where: Filter | None = None
    explain: bool = False
    fusion: str | None = None
    token_weights: str | None = None


@dataclass(frozen=True, slots=True)
class EncodeJob:
    """Texts of one request, to be encoded.

    Attributes:
        texts, task, tokens: see ``Encoder.encode_joint``.
        then: how to search with the text, if it is a question for the index.
    """

    texts: tuple[str, ...]
    task: Task
    tokens: bool
    then: Plan | None = None


@dataclass(frozen=True, slots=True)
class RankJob:
    """An encoded question, to be searched.

    Attributes:
        plan: how to search.
        row: the question's vectors.
        question: its text; empty if only a vector was given.
    """

    plan: Plan
    row: EncodedText
    question: str = ""


@dataclass(frozen=True, slots=True)
class IndexJob:
    """A call on the index's thread.

    Attributes:
        work: the function to call.
        writes: whether it changes the index; writes of one batch are committed together after it.
        upkeep: whether no client asked for it; then it has no size in the queue, and is never refused.
    """

    work: Callable[[], Any]
    writes: bool = False
    upkeep: bool = False


@dataclass(slots=True)
class Answer:
    """Hits of one question, their explanations, and the time that was spent.

    Attributes:
        hits: best first.
        matches: words of each hit, see ``word_matches``; empty unless asked for.
        question_tokens: see ``matches.question_tokens``.
        milliseconds: by what they were spent on: "encode", "wait", "rank", "explain".
    """

    hits: list[Hit]
    matches: list[list[dict[str, Any]]] = field(default_factory=list)
    question_tokens: list[dict[str, Any]] = field(default_factory=list)
    milliseconds: dict[str, float] = field(default_factory=dict)


class Batches:
    """Functions that process batches of jobs: ``encode`` on one thread, ``rank`` on another."""

    def __init__(
        self,
        searcher: Searcher,
        prepared: PreparedModel,
        model_lock: threading.Lock,
        *,
        crossed: int,
        commit: Callable[[], None],
    ) -> None:
        """Use one index and its model.

        Args:
            searcher: the index with its model.
            prepared: the same model, for questions that are encoded already.
            model_lock: held while the model encodes.
            crossed: most candidates that a cross-encoder reads for one question.
            commit: makes writes durable.
        """
        self.searcher, self._prepared, self._model_lock = searcher, prepared, model_lock
        self._crossed, self._commit = crossed, commit
        self.index_lock = threading.Lock()

    def encode(self, jobs: list[EncodeJob]) -> list[list[EncodedText] | Answer | Exception]:
        """The vectors of each job's texts, or the answer to a single question if the index is free."""
        started = time.perf_counter()
        encoded = self._encoded(jobs)
        if len(jobs) > 1 or jobs[0].then is None or jobs[0].then.mode == "cross":
            return [*encoded]
        rows, plan = encoded[0], jobs[0].then
        if isinstance(rows, Exception) or not self.index_lock.acquire(blocking=False):
            return [rows]
        try:
            spent = (time.perf_counter() - started) * 1000
            answer = self.rank_group(plan, [RankJob(plan, rows[0], jobs[0].texts[0])])[0]
        except Exception as error:
            return [error]
        finally:
            self.index_lock.release()
        if isinstance(answer, Answer):
            answer.milliseconds["encode"] = spent
        return [answer]

    def _encoded(self, jobs: list[EncodeJob]) -> list[list[EncodedText] | Exception]:
        groups: dict[tuple[Task, bool], list[int]] = {}
        for place, job in enumerate(jobs):
            groups.setdefault((job.task, job.tokens), []).append(place)
        results: list[list[EncodedText] | Exception] = [[] for _ in jobs]
        for (task, tokens), places in groups.items():
            texts = [text for place in places for text in jobs[place].texts]
            try:
                with self._model_lock:
                    rows = split(self.searcher.model.encode_joint(texts, task, tokens=tokens))
            except Exception as error:
                for place in places:
                    results[place] = error
                continue
            for place in places:
                results[place], rows = rows[: len(jobs[place].texts)], rows[len(jobs[place].texts) :]
        return results

    def rank(self, jobs: list[RankJob | IndexJob]) -> list[Any]:
        """The result of each job: an ``Answer``, or what an ``IndexJob`` returned."""
        with self.index_lock:
            return self._ranked(jobs)

    def _ranked(self, jobs: list[RankJob | IndexJob]) -> list[Any]:
        """Search questions of one plan together; other jobs run in their turn, after earlier searches.

        All writes are committed once, at the end, since a commit costs more than a write.
        """
        results: list[Any] = [None] * len(jobs)
        written: list[int] = []
        groups: dict[tuple[Plan, str], list[int]] = {}

        def flush() -> None:
            for (plan, _), places in groups.items():
                try:
                    answers = self.rank_group(plan, [jobs[place] for place in places])  # type: ignore[misc]
                except Exception as error:
                    answers = [error] * len(places)
                for place, answer in zip(places, answers, strict=True):
                    results[place] = answer
            groups.clear()

        for place, job in enumerate(jobs):
            if isinstance(job, RankJob):
                # Python takes 1, 1.0 and True for equal; filters don't, so their words tell plans apart.
                groups.setdefault((job.plan, repr(job.plan.where)), []).append(place)
                continue
            flush()
            try:
                results[place] = job.work()
                written += [place] if job.writes else []
            except Exception as error:
                results[place] = error
        flush()
        try:
            if written:
                self._commit()
        except Exception as error:
            for place in written:
                results[place] = error
        return results

    def rank_group(self, plan: Plan, jobs: Sequence[RankJob]) -> Sequence[Answer | Exception]:
        """Search questions of one plan together; the caller holds ``index_lock``."""
        started = time.perf_counter()
        k = min(plan.k, max(len(self.searcher.index), 1))
        options: dict[str, Any] = {} if plan.where is None else {"where": plan.where}
        if plan.mode == "cross":
            options["cross_candidates"] = min(k, self._crossed)
        typed = [job for job in jobs if job.question]
        weighing = {
            "fusion": None if plan.fusion is None else Fusion.parse(plan.fusion),
            "token_weights": plan.token_weights,
        }
        model = self._prepared.with_rows({job.question: job.row for job in typed})
        found: dict[int, list[Hit]] = {}
        if typed:
            # A copy with another model: its other settings stay.
            searcher = copy.copy(self.searcher)
            searcher.model = model
            texts = [job.question for job in typed]
            ranked = searcher.search_many(
                texts,
                k,
                mode=plan.mode,  # type: ignore[arg-type]
                candidates=plan.candidates,
                **(options | weighing),
            )
            found.update(zip(map(id, typed), ranked, strict=True))
        vectors = [job for job in jobs if not job.question]
        if vectors:
            matrix = np.stack([job.row.dense for job in vectors])
            nearest = self.searcher.search_vectors(matrix, k, **options)
            found.update(zip(map(id, vectors), nearest, strict=True))
        spent = (time.perf_counter() - started) * 1000
        return [self._answer(model, job, found[id(job)], spent) for job in jobs]

    def _answer(
        self, model: PreparedModel, job: RankJob, hits: list[Hit], spent: float
    ) -> Answer | Exception:
        answer = Answer(hits, milliseconds={"rank": spent})
        if not job.plan.explain:
            return answer
        started = time.perf_counter()
        try:
            vectors = job.row.tokens, job.row.token_ids
            weights = None
            if vectors[1] is not None:
                settings = SearchSettings(token_weights=job.plan.token_weights)  # type: ignore[arg-type]
                weights = self.searcher.weights_of(vectors[1], settings)
            answer.matches = word_matches(model, self.searcher.index, job.question, hits, *vectors, weights)
            answer.question_tokens = question_tokens(model, job.question, vectors[1], weights)
        except Exception as error:
            return error
        answer.milliseconds["explain"] = (time.perf_counter() - started) * 1000
        return answer
