"""What the engine's two threads do with a batch: encode texts, rank questions, write in between.

A question that is alone is ranked where it was encoded: handed to another thread, and to another core's
cache, it would lose a millisecond. A lock keeps the index to one thread at a time.
"""

import copy
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ernie_search.search import Searcher
from ernie_search.serve.explain import explain, question_tokens
from ernie_search.serve.jobs import Answer, Chore, EncodeJob, Plan, RankJob, WriteJob
from ernie_search.serve.prepared import Prepared, Row, split
from ernie_search.types import Hit, Task


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
