"""An open index with its model: one thread encodes, one ranks, both on batches; see ``batches``."""

import asyncio
import copy
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from ernie_search.errors import IndexStateError, SettingsError, StorageError
from ernie_search.index import Filter, Index, passage_batch
from ernie_search.search import PairScorer, Searcher, maxsim
from ernie_search.search.rerank import mean_cosines
from ernie_search.serve.batcher import Batcher, ClosedError
from ernie_search.serve.explain import explain, question_tokens
from ernie_search.serve.line import Line
from ernie_search.serve.opening import usable_modes
from ernie_search.serve.prepared import Prepared, Row, Rows, joined, split
from ernie_search.serve.settings import Limits
from ernie_search.serve.telemetry import log
from ernie_search.types import Hit, Passage, Task


@dataclass(frozen=True, slots=True)
class Plan:
    """How to search; questions of one plan are ranked together."""

    mode: str
    k: int
    candidates: int
    where: Filter | None = None


@dataclass(frozen=True, slots=True)
class EncodeJob:
    """Texts of one request to encode together.

    Attributes:
        texts, task, tokens: see ``Encoder.encode_joint``.
        then: what is asked of the index, where the one text is a question for it.
        explain: see ``RankJob``.
    """

    texts: tuple[str, ...]
    task: Task
    tokens: bool
    then: Plan | None = None
    explain: bool = False


@dataclass(frozen=True, slots=True)
class RankJob:
    """A question whose vectors are there. An empty question is a search by vector alone."""

    plan: Plan
    row: Row
    question: str = ""
    explain: bool = False


@dataclass(frozen=True, slots=True)
class WriteJob:
    """A change of the index, without its commit: those that wait together are committed together."""

    work: Callable[[], int]


@dataclass(frozen=True, slots=True)
class Chore:
    """Work on the index that no client asked for, between requests; it takes no place in the queue."""

    work: Callable[[], object]


@dataclass(slots=True)
class Answer:
    """Hits, why they were found, and where the time went.

    Attributes:
        hits: best first.
        matches: words of each hit; see ``explain``; empty unless asked for.
        question_tokens: see ``explain.question_tokens``.
        milliseconds: by stage.
    """

    hits: list[Hit]
    matches: list[list[dict[str, Any]]] = field(default_factory=list)
    question_tokens: list[dict[str, Any]] = field(default_factory=list)
    milliseconds: dict[str, float] = field(default_factory=dict)


class Batches:
    """Works on batches; ``encode`` and ``rank`` may each be called by one thread at a time."""

    def __init__(
        self,
        searcher: Searcher,
        prepared: Prepared,
        model_lock: threading.Lock,
        *,
        crossed: int,
        commit: Callable[[], None],
    ) -> None:
        """Over one index and model.

        Args:
            searcher: the index with its model.
            prepared: that model, for questions whose vectors are there.
            model_lock: held while the model encodes.
            crossed: most candidates that a cross-encoder reads for one question.
            commit: makes what was written durable.
        """
        self.searcher, self._prepared, self._model_lock = searcher, prepared, model_lock
        self._crossed, self._commit = crossed, commit
        self.index_lock = threading.Lock()

    def encode(self, jobs: list[EncodeJob]) -> list[list[Row] | Answer | Exception]:
        """Vectors for each job; for a lone question its answer, if nothing else uses the index now."""
        started = time.perf_counter()
        encoded = self._encoded(jobs)
        if len(jobs) > 1 or jobs[0].then is None or jobs[0].then.mode == "cross":
            return [*encoded]
        rows, plan = encoded[0], jobs[0].then
        if isinstance(rows, Exception) or not self.index_lock.acquire(blocking=False):
            return [rows]
        try:
            spent = (time.perf_counter() - started) * 1000
            answer = self.rank_group(plan, [RankJob(plan, rows[0], jobs[0].texts[0], jobs[0].explain)])[0]
        except Exception as error:
            return [error]
        finally:
            self.index_lock.release()
        if isinstance(answer, Answer):
            answer.milliseconds["encode"] = spent
        return [answer]

    def _encoded(self, jobs: list[EncodeJob]) -> list[list[Row] | Exception]:
        groups: dict[tuple[Task, bool], list[int]] = {}
        for place, job in enumerate(jobs):
            groups.setdefault((job.task, job.tokens), []).append(place)
        results: list[list[Row] | Exception] = [[] for _ in jobs]
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

    def rank(self, jobs: list[RankJob | WriteJob | Chore | Callable[[], Any]]) -> list[Any]:
        """An answer, a count or whatever was called for, for each job, in its place."""
        with self.index_lock:
            return self._ranked(jobs)

    def _ranked(self, jobs: list[RankJob | WriteJob | Chore | Callable[[], Any]]) -> list[Any]:
        """Searches of one plan together; what writes in its turn, after the searches that came before it.

        Writes are committed together at the end: a commit costs more than a write.
        """
        results: list[Any] = [None] * len(jobs)
        written: list[int] = []
        groups: dict[Plan, list[int]] = {}

        def flush() -> None:
            for plan, places in groups.items():
                try:
                    answers = self.rank_group(plan, [jobs[place] for place in places])  # type: ignore[misc]
                except Exception as error:
                    answers = [error] * len(places)
                for place, answer in zip(places, answers, strict=True):
                    results[place] = answer
            groups.clear()

        for place, job in enumerate(jobs):
            if isinstance(job, RankJob):
                groups.setdefault(job.plan, []).append(place)
                continue
            flush()
            try:
                results[place] = job() if callable(job) else job.work()
                written += [place] if isinstance(job, WriteJob) else []
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
        """Questions of one plan, searched together; whoever calls holds ``index_lock``."""
        started = time.perf_counter()
        options: dict[str, Any] = {} if plan.where is None else {"where": plan.where}
        if plan.mode == "cross":
            options["cross_candidates"] = min(plan.k, self._crossed)
        typed = [job for job in jobs if job.question]
        model = self._prepared.with_rows({job.question: job.row for job in typed})
        found: dict[int, list[Hit]] = {}
        if typed:
            # A copy, so that whatever the searcher holds beside its model is kept.
            searcher = copy.copy(self.searcher)
            searcher.model = model
            texts = [job.question for job in typed]
            ranked = searcher.search_many(
                texts,
                plan.k,
                mode=plan.mode,  # type: ignore[arg-type]
                candidates=plan.candidates,
                **options,
            )
            found.update(zip(map(id, typed), ranked, strict=True))
        vectors = [job for job in jobs if not job.question]
        if vectors:
            matrix = np.stack([job.row.dense for job in vectors])
            found.update(
                zip(map(id, vectors), self.searcher.index.search(matrix, plan.k, **options), strict=True)
            )
        spent = (time.perf_counter() - started) * 1000
        return [self._answer(model, job, found[id(job)], spent) for job in jobs]

    def _answer(self, model: Prepared, job: RankJob, hits: list[Hit], spent: float) -> Answer | Exception:
        answer = Answer(hits, milliseconds={"rank": spent})
        if not job.explain:
            return answer
        started = time.perf_counter()
        try:
            answer.matches = explain(model, self.searcher.index, job.question, job.row, hits)
            answer.question_tokens = question_tokens(model, job.question, job.row)
        except Exception as error:
            return error
        answer.milliseconds["explain"] = (time.perf_counter() - started) * 1000
        return answer


PIECE = 16
"""Texts of one long request that are encoded at a time, so that questions get their turn in between."""

SMALL = 1024
"""Passages up to which an index is merged after ``Limits.merge_after`` writes."""

Observe = Callable[[str, int], None]


class Engine:
    """Everything that a request needs of one version of index and model."""

    def __init__(
        self,
        searcher: Searcher,
        limits: Limits,
        *,
        writable: bool = False,
        observe: Observe | None = None,
        before: "Engine | None" = None,
    ) -> None:
        """Take over ``searcher``; nothing else may use it, its index or its model afterwards.

        Args:
            searcher: the index with its model.
            limits: of queues and batches.
            writable: take upserts and deletions.
            observe: told of each batch; see ``Batcher``.
            before: the engine that has the same model and goes on for a while; they take turns at it.

        Raises:
            SettingsError: ``writable``, but the index cannot be changed.
        """
        if writable and not searcher.index.writable:
            raise SettingsError("--writable: this index was opened for reading; open it for writing")
        self.searcher, self.index, self.model = searcher, searcher.index, searcher.model
        self.writable, self._limits = writable, limits
        self._lock: threading.Lock = before._lock if before is not None else threading.Lock()
        with self._lock:
            tokenizers = [copy.deepcopy(self.model.tokenizer) for _ in range(2)]
        self._prepared = Prepared(self.model, tokenizers[0], self._lock)
        self._counter, self._counting = tokenizers[1], threading.Lock()
        if before is not None:
            self._line: Line = before._line
            self._crossing: Line = before._crossing
        else:
            self._line = Line(limits.seconds, limits.queue)
            self._crossing = Line(limits.seconds, limits.queue)
        options: dict[str, Any] = {"queue": limits.queue, "together": limits.together}
        if observe is not None:
            options["observe"] = observe
        self.batches = Batches(
            *(searcher, self._prepared, self._lock),
            crossed=limits.crossed,
            commit=lambda: self._changeable().commit(),
        )
        self._encode: Batcher[EncodeJob, list[Row] | Answer] = Batcher(
            "encode", self.batches.encode, size=lambda job: len(job.texts), **options
        )
        self._rank: Batcher[RankJob | WriteJob | Chore | Callable[[], Any], Any] = Batcher(
            "rank", self.batches.rank, size=lambda job: 0 if isinstance(job, Chore) else 1, **options
        )
        self.modes = usable_modes(searcher)
        self.dim = 0
        self.trouble: str | None = None
        """Why the index cannot be read any more; the model still answers."""
        self._writes = 0
        self._optimizing: asyncio.Task[None] | None = None

    def warm_up(self) -> None:
        """Run everything once, so that the first question does not wait for what is made on first use."""
        tokens = self.index.has_tokens
        row = self._encode.work_now([EncodeJob(("warm up",), "query", tokens)])[0]
        if not isinstance(row, list):
            raise row if isinstance(row, Exception) else TypeError("vectors were asked for")
        self.dim = len(row[0].dense)
        for mode in self.modes if len(self.index) else ():
            plan = Plan(mode, 1, 1)
            lone = EncodeJob(("warm up",), "query", tokens, plan, explain=True)
            for answer in (
                self._encode.work_now([lone])[0],
                self._rank.work_now([RankJob(plan, row[0], "warm up", explain=True)])[0],
            ):
                if isinstance(answer, Exception):
                    raise answer

    @property
    def model_name(self) -> str:
        """What clients are told of the model's name: of a path only the last part."""
        return str(self.model.name).replace("\\", "/").rstrip("/").rpartition("/")[2]

    @property
    def can_filter(self) -> bool:
        """Whether searches can be filtered, be it by id alone."""
        return "filters" in self.index.capabilities

    @property
    def fields(self) -> dict[str, str]:
        """The fields that filters can ask for, with their types."""
        return dict(self.index.spec.fields)

    @property
    def waiting(self) -> int:
        """Texts and questions that wait for their turn."""
        return self._encode.waiting + self._rank.waiting + self._line.waiting + self._crossing.waiting

    async def encode(self, texts: Sequence[str], task: Task, *, tokens: bool) -> list[Row]:
        """Vectors of texts; questions that arrive in between are not kept waiting by long lists.

        Raises:
            BusyError: too many wait; nothing of these was worked on.
        """
        if len(texts) <= PIECE:
            return await self._rows(texts, task, tokens=tokens)
        found = await self._line.through(
            _pieces(texts), lambda piece: self._rows(piece, task, tokens=tokens, admitted=True)
        )
        return [row for rows in found for row in rows]

    async def _rows(
        self, texts: Sequence[str], task: Task, *, tokens: bool, admitted: bool = False
    ) -> list[Row]:
        found = await self._encode.submit(EncodeJob(tuple(texts), task, tokens), admitted=admitted)
        return found if isinstance(found, list) else []

    async def token_count(self, texts: Sequence[str]) -> int:
        """Tokens of texts, uncut, for clients that are told what they used; on a thread, as it takes long."""

        def count() -> int:
            with self._counting:
                return sum(len(self._counter(text, verbose=False)["input_ids"]) for text in texts)

        return await asyncio.to_thread(count)

    async def examine(self, *, thorough: bool = False) -> str | None:
        """What keeps the index from being read, in one line; None where it can.

        Args:
            thorough: ask it, too, instead of only looking at its files.

        Raises:
            ClosedError: after ``close``.
        """

        def look() -> None:
            self.index.check_files()
            if thorough and len(self.index):
                self.index.search(np.full((1, self.dim), self.dim**-0.5, np.float32), 1)
                if "bm25" in self.index.capabilities:
                    self.index.bm25(["passage"], 1)

        try:
            await self._rank.submit(Chore(look))
        except ClosedError:
            raise
        except Exception as error:
            return " ".join(str(error).split()) or type(error).__name__
        return None

    async def search(self, question: str, plan: Plan, *, explain: bool = False) -> Answer:
        """Encode and rank; ``milliseconds`` has "encode" and "rank" with their waiting, and "explain"."""
        self._refuse_if_lost()
        started = time.perf_counter()
        job = EncodeJob((question,), "query", self.index.has_tokens, plan, explain)
        found = await self._encode.submit(job)
        if isinstance(found, Answer):
            answer = found
        else:
            spent = (time.perf_counter() - started) * 1000
            answer = await self._rank.submit(RankJob(plan, found[0], question, explain), admitted=True)
            answer.milliseconds["encode"] = spent
        waited = (time.perf_counter() - started) * 1000 - sum(answer.milliseconds.values())
        answer.milliseconds["wait"] = max(waited, 0.0)
        return answer

    async def search_vector(self, vector: Sequence[float], plan: Plan) -> Answer:
        """Rank by a vector that the client made, in mode dense."""
        self._refuse_if_lost()
        row = Row(np.asarray(vector, np.float32))
        answer: Answer = await self._rank.submit(RankJob(plan, row))
        return answer

    async def rerank(self, question: str, texts: Sequence[str], *, cross: bool = False) -> list[float]:
        """MaxSim of the question with each text, encoded now, at most 1; or the cross-encoder's logits."""
        scorer = self.searcher.cross
        if cross and scorer is not None:

            async def logits(piece: Sequence[str]) -> list[float]:
                work = partial(_logits, scorer, [(question, text) for text in piece])
                found: list[float] = await self._rank.submit(work, admitted=True)
                return found

            return [one for piece in await self._crossing.through(_pieces(texts), logits) for one in piece]
        rows = await self.encode(texts, "passage", tokens=True)
        asked = (await self._rows([question], "query", tokens=True, admitted=True))[0]
        if asked.tokens is None:
            raise SettingsError("this model gives no token vectors, so it cannot re-rank")
        found = maxsim(asked.tokens, [row.tokens for row in rows if row.tokens is not None])
        return [float(score) for score in mean_cosines(found)]

    async def upsert(self, passages: Sequence[Passage]) -> int:
        """Encode passages and add them, or replace those of the same ids; durable when this returns."""
        self._refuse_if_lost()
        rows = await self.encode([one.full_text for one in passages], "passage", tokens=self.index.has_tokens)
        encoding: Rows = joined(rows, tokens=self.index.has_tokens)

        def write() -> int:
            return self._changeable().upsert(passage_batch(passages, encoding, self._prepared))

        return await self._write(write, encoded=True)

    async def delete(self, ids: Sequence[str] | None, where: Any) -> int:
        """Remove passages by id or by filter; durable when this returns."""
        self._refuse_if_lost()
        return await self._write(lambda: self._changeable().delete(ids, where))

    async def close(self) -> None:
        """Finish what waits, then release the index."""
        await self._encode.close()
        if self._optimizing is not None:
            await self._optimizing
        await self._rank.close()
        self.index.close()

    async def _write(self, work: Callable[[], int], *, encoded: bool = False) -> int:
        try:
            done = int(await self._rank.submit(WriteJob(work), admitted=encoded))
        except StorageError as error:
            log("write failed", level="error", reason=str(error))
            raise
        self._writes += 1
        if self._writes >= merge_due(len(self.index), self._limits) and self._optimizing is None:
            self._writes, self._optimizing = 0, asyncio.create_task(self._optimize())
        return done

    async def _optimize(self) -> None:
        """Every commit leaves small files; merged, they are found faster, and old ones go.

        Step by step: whatever waits has its turn between two.
        """
        steps = self._changeable().optimizing()
        try:
            while not await self._rank.submit(Chore(lambda: next(steps, True))):
                pass
        except Exception as error:
            log("optimize failed", level="error", reason=f"{type(error).__name__}: {error}")
        finally:
            self._optimizing = None

    def _refuse_if_lost(self) -> None:
        if self.trouble is not None:
            raise IndexStateError(self.trouble)

    def _changeable(self) -> Index:
        if not self.writable:
            raise SettingsError("this index is served read-only")
        return self.index


def merge_due(passages: int, limits: Limits) -> int:
    """Writes after which an index of so many passages is worth merging.

    Each write costs something for every file since the last merge, a merge something for every passage: so
    their sum is least where the writes between two merges grow as the root of the passages.
    """
    return min(limits.optimize_after, int(limits.merge_after * max(1.0, (passages / SMALL) ** 0.5)))


def _pieces(texts: Sequence[str]) -> list[Sequence[str]]:
    return [texts[start : start + PIECE] for start in range(0, len(texts), PIECE)]


def _logits(scorer: PairScorer, pairs: Sequence[tuple[str, str]]) -> list[float]:
    return [float(score) for score in scorer(pairs)]
