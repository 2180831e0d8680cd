"""The worker: everything that a request needs of one version of index and model."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import numpy as np

from ernie_search.errors import IndexStateError, SettingsError, StorageError
from ernie_search.index import Index, passage_batch
from ernie_search.search import Searcher, maxsim
from ernie_search.search.documents import DocumentPart, read_around, read_document
from ernie_search.search.opening import usable_modes
from ernie_search.search.rerank import mean_cosines
from ernie_search.serve.batches import (
    Answer,
    Batches,
    EncodedText,
    EncodeJob,
    IndexJob,
    Plan,
    PreparedModel,
    RankJob,
    joined,
)
from ernie_search.serve.queues import AdmissionQueue, Batcher, ClosedError
from ernie_search.serve.settings import Limits
from ernie_search.serve.telemetry import log
from ernie_search.types import Passage, Task

T = TypeVar("T")

PIECE = 16
"""Texts of one long request that are encoded at a time, so that questions get their turn in between."""

SMALL = 1024
"""Passages up to which an index is merged after ``Limits.merge_after`` writes."""

Observe = Callable[[str, int], None]


class Worker:
    """Everything that a request needs of one version of index and model."""

    _texts: AdmissionQueue
    _pairs: AdmissionQueue

    def __init__(
        self,
        searcher: Searcher,
        limits: Limits,
        *,
        writable: bool = False,
        observe: Observe | None = None,
        before: "Worker | None" = None,
    ) -> None:
        """Take over ``searcher``; nothing else may use it, its index or its model afterwards.

        Args:
            searcher: the index with its model.
            limits: of queues and batches.
            writable: take upserts and deletions.
            observe: told of each batch; see ``Batcher``.
            before: the worker to be replaced, where it has the same model: the two take turns at it.

        Raises:
            SettingsError: ``writable``, but the index cannot be changed.
        """
        if writable and not searcher.index.writable:
            raise SettingsError("--writable: this index was opened for reading; open it for writing")
        self.searcher, self.index, self.model = searcher, searcher.index, searcher.model
        self.writable, self._limits = writable, limits
        self._lock: threading.Lock = before._lock if before is not None else threading.Lock()
        self._prepared = PreparedModel(self.model, self._lock)
        queues = [AdmissionQueue(limits.seconds, limits.queue) for _ in range(2)]
        self._texts, self._pairs = queues if before is None else (before._texts, before._pairs)
        options: dict[str, Any] = {"queue": limits.queue, "together": limits.together}
        if observe is not None:
            options["observe"] = observe
        self.batches = Batches(
            *(searcher, self._prepared, self._lock),
            crossed=limits.crossed,
            commit=lambda: self._changeable().commit(),
        )
        self._encode: Batcher[EncodeJob, list[EncodedText] | Answer] = Batcher(
            "encode", self.batches.encode, size=lambda job: len(job.texts), **options
        )
        self._rank: Batcher[RankJob | IndexJob, Any] = Batcher(
            "rank",
            self.batches.rank,
            size=lambda job: 0 if isinstance(job, IndexJob) and job.upkeep else 1,
            **options,
        )
        self.modes = usable_modes(searcher)
        self.dim = 0
        self.trouble: str | None = None
        """Why the index can no longer be read, if so; the model still encodes."""
        self._writes = 0
        self._optimizing: asyncio.Task[None] | None = None

    def warm_up(self) -> None:
        """Search once in every mode, so that the first question does not wait for lazy initialisation."""
        tokens = self.index.has_tokens
        row = self._encode.work_now([EncodeJob(("warm up",), "query", tokens)])[0]
        if not isinstance(row, list):
            raise row if isinstance(row, Exception) else TypeError("vectors were asked for")
        self.dim = len(row[0].dense)
        for mode in self.modes if len(self.index) else ():
            plan = Plan(mode, 1, 1, explain=True)
            lone = EncodeJob(("warm up",), "query", tokens, plan)
            for answer in (
                self._encode.work_now([lone])[0],
                self._rank.work_now([RankJob(plan, row[0], "warm up")])[0],
            ):
                if isinstance(answer, Exception):
                    raise answer

    @property
    def model_name(self) -> str:
        """The model's name as clients see it: only the last part of a path."""
        return str(self.model.name).replace("\\", "/").rstrip("/").rpartition("/")[2]

    @property
    def can_filter(self) -> bool:
        """Whether searches can be filtered, if only by id."""
        return "filters" in self.index.capabilities

    @property
    def fields(self) -> dict[str, str]:
        """The fields that filters can use, with their types."""
        return dict(self.index.spec.fields)

    @property
    def waiting(self) -> int:
        """Texts and questions in the queues."""
        return self._encode.waiting + self._rank.waiting + self._texts.waiting + self._pairs.waiting

    async def encode(self, texts: Sequence[str], task: Task, *, tokens: bool) -> list[EncodedText]:
        """Encode texts, long lists piece by piece, so that questions are encoded in between.

        Raises:
            BusyError: the queue is full; none of the texts was encoded.
        """

        async def rows(piece: Sequence[str], admitted: bool) -> list[EncodedText]:
            return await self._rows(piece, task, tokens=tokens, admitted=admitted)

        return await self._piecewise(texts, rows)

    async def _piecewise(
        self, texts: Sequence[str], work: Callable[[Sequence[str], bool], Awaitable[list[T]]]
    ) -> list[T]:
        """What ``work`` returns for the texts; it is told whether the request has been admitted already."""
        if len(texts) <= PIECE:
            return await work(texts, False)
        found = await self._texts.process(_pieces(texts), lambda piece: work(piece, True))
        return [one for piece in found for one in piece]

    async def _rows(
        self, texts: Sequence[str], task: Task, *, tokens: bool, admitted: bool = False
    ) -> list[EncodedText]:
        found = await self._encode.submit(EncodeJob(tuple(texts), task, tokens), admitted=admitted)
        return found if isinstance(found, list) else []

    async def token_count(self, texts: Sequence[str]) -> int:
        """Count the own tokens of texts before truncation, on another thread: what clients call usage."""
        return await asyncio.to_thread(lambda: sum(len(self.model.pieces(text).ids) for text in texts))

    async def examine(self, *, thorough: bool = False) -> str | None:
        """Check that the index can be read: the reason in one line if it cannot, else None.

        Args:
            thorough: also search it, instead of only comparing its files.

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
            await self._rank.submit(IndexJob(look, upkeep=True))
        except ClosedError:
            raise
        except Exception as error:
            return " ".join(str(error).split()) or type(error).__name__
        return None

    async def search(self, question: str, plan: Plan) -> Answer:
        """Encode a question and rank passages; ``milliseconds``: "encode", "wait", "rank", "explain"."""
        self._refuse_if_lost()
        started = time.perf_counter()
        if plan.mode == "words" and not plan.explain:  # which marks what the tokens match
            row = EncodedText(np.zeros(0, np.float32))
            found_by_words: Answer = await self._rank.submit(RankJob(plan, row, question))
            return found_by_words
        job = EncodeJob((question,), "query", self.index.has_tokens, plan)
        found = await self._encode.submit(job)
        if isinstance(found, Answer):
            answer = found
        else:
            spent = (time.perf_counter() - started) * 1000
            answer = await self._rank.submit(RankJob(plan, found[0], question), admitted=True)
            answer.milliseconds["encode"] = spent
        waited = (time.perf_counter() - started) * 1000 - sum(answer.milliseconds.values())
        answer.milliseconds["wait"] = max(waited, 0.0)
        return answer

    async def search_vector(self, vector: Sequence[float], plan: Plan) -> Answer:
        """Rank passages by a vector that the client made, in mode dense."""
        self._refuse_if_lost()
        row = EncodedText(np.asarray(vector, np.float32))
        answer: Answer = await self._rank.submit(RankJob(plan, row))
        return answer

    async def rerank(self, question: str, texts: Sequence[str], *, cross: bool = False) -> list[float]:
        """Score texts by MaxSim with the question (at most 1), or as logits of the cross-encoder.

        Texts are encoded and scored piece by piece, so that the token matrices of one piece alone are held.

        Raises:
            BusyError: the queue is full; none of the texts was scored.
            SettingsError: the model has no token vectors.
        """
        scorer = self.searcher.cross
        if cross and scorer is not None:

            async def logits(piece: Sequence[str]) -> Any:
                pairs = [(question, text) for text in piece]
                return await self._rank.submit(IndexJob(partial(scorer, pairs)), admitted=True)

            found = await self._pairs.process(_pieces(texts), logits)
            return [float(score) for piece in found for score in piece]
        asked: list[EncodedText] = []

        async def cosines(piece: Sequence[str], admitted: bool) -> list[float]:
            rows = await self._rows(piece, "passage", tokens=True, admitted=admitted)
            if not asked:
                asked.extend(await self._rows([question], "query", tokens=True, admitted=True))
            if asked[0].tokens is None:
                raise SettingsError("this model has no token vectors, so it cannot re-rank")
            scores = maxsim(asked[0].tokens, [row.tokens for row in rows if row.tokens is not None])
            return [float(score) for score in mean_cosines(scores)]

        return await self._piecewise(texts, cosines)

    async def read(self, wanted: str, first: int | None, count: int) -> DocumentPart:
        """Passages of a document.

        Args:
            wanted: a passage's id, or a document's.
            first: place of the first of them in the document; None: so that the passage is in the middle.
            count: passages at most.

        Raises:
            UnknownPassageError: there is neither.
        """
        self._refuse_if_lost()
        work = (
            partial(read_around, self.index, wanted, (count - 1) // 2, count // 2)
            if first is None
            else partial(read_document, self.index, wanted, first, count)
        )
        part: DocumentPart = await self._rank.submit(IndexJob(work))
        return part

    async def upsert(self, passages: Sequence[Passage]) -> int:
        """Encode passages and add them, or replace those of the same ids; durable when this returns."""
        self._refuse_if_lost()
        rows = await self.encode([one.full_text for one in passages], "passage", tokens=self.index.has_tokens)
        encoding = joined(rows, tokens=self.index.has_tokens)

        def write() -> int:
            return self._changeable().upsert(passage_batch(passages, encoding, self._prepared))

        return await self._write(write, encoded=True)

    async def delete(self, ids: Sequence[str] | None, where: Any) -> int:
        """Remove passages by id or by filter; durable when this returns."""
        self._refuse_if_lost()
        return await self._write(lambda: self._changeable().delete(ids, where))

    async def close(self) -> None:
        """Finish what is in the queues, then close the index."""
        await self._encode.close()
        if self._optimizing is not None:
            await self._optimizing
        await self._rank.close()
        self.index.close()

    async def _write(self, work: Callable[[], int], *, encoded: bool = False) -> int:
        def counted() -> tuple[int, int]:
            return work(), len(self.index)  # not on the event loop: a server's index asks the network

        try:
            done, passages = await self._rank.submit(IndexJob(counted, writes=True), admitted=encoded)
        except StorageError as error:
            log("write failed", level="error", reason=str(error))
            raise
        self._writes += 1
        if self._writes >= merge_due(passages, self._limits) and self._optimizing is None:
            self._writes, self._optimizing = 0, asyncio.create_task(self._optimize())
        return int(done)

    async def _optimize(self) -> None:
        """Merge the small files that commits leave, and remove old ones, in steps.

        Between two steps the index answers whatever is in the queue.
        """
        steps = self._changeable().optimizing()
        try:
            while not await self._rank.submit(IndexJob(lambda: next(steps, True), upkeep=True)):
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
    """Number of writes after which merging an index of ``passages`` passages pays off.

    The cost of a write grows with the files since the last merge, that of a merge with the passages. Their
    sum is least where the writes between two merges grow with the square root of the passages.
    """
    return min(limits.optimize_after, int(limits.merge_after * max(1.0, (passages / SMALL) ** 0.5)))


def _pieces(texts: Sequence[str]) -> list[Sequence[str]]:
    return [texts[start : start + PIECE] for start in range(0, len(texts), PIECE)]
