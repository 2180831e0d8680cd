"""The searcher: a model and an index together answer questions."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Unpack

import numpy as np
from numpy.typing import NDArray

from ernie_search.encoder import Encoder
from ernie_search.encoding import opening
from ernie_search.encoding.opening import ChosenPrecision, Runtime
from ernie_search.errors import DataError, IndexStateError
from ernie_search.index import Index, open_index
from ernie_search.search.fusion import Fusion, Staged, best_by_parent, fuse, tune_weights
from ernie_search.search.highlight import WordMatch, fallback_words, full_text, matching_words
from ernie_search.search.rerank import PairScorer, open_cross_encoder, rerank, rerank_cross
from ernie_search.search.settings import Mode, SearchOptions, SearchSettings, check_mode
from ernie_search.types import Hit, Query, Run

GROWTH = 4
"""How much deeper to look when a ranking of passages held too few different documents."""


def first_stage(
    index: Index, texts: Sequence[str], dense: NDArray[np.float32], depth: int, settings: SearchSettings
) -> list[Staged]:
    """For each question ``depth`` candidates or more (fused rankings overlap only in part), best first.

    Args:
        index: to search.
        texts: Q questions.
        dense: their vectors ``(Q, D)``.
        depth: how deep to go into each ranking.
        settings: mode, fusion and filter.
    """
    near = index.nearest(dense, depth, where=settings.where, exact=settings.exact)
    if settings.mode != "hybrid":
        return [Staged.of_dense(ranking) for ranking in near]
    found = index.bm25(texts, depth, where=settings.where)
    return [fuse({"dense": a, "bm25": b}, settings.fusion) for a, b in zip(near, found, strict=True)]


def by_documents(
    index: Index,
    texts: Sequence[str],
    dense: NDArray[np.float32],
    k: int,
    depth: int,
    settings: SearchSettings,
) -> list[Staged]:
    """As ``first_stage``, as deep as it takes to hold ``k`` different documents for each question."""
    found = first_stage(index, texts, dense, depth, settings)
    while depth < len(index) and any(
        len(one.ids) >= depth and len(set(index.parents(one.ids))) < k for one in found
    ):
        depth *= GROWTH
        found = first_stage(index, texts, dense, depth, settings)
    return found


RUN_BLOCK = 1024
"""Questions of a run that are encoded and ranked together; bounds memory, whatever the length of the run."""


class Searcher:
    """Searches an index with the model that made it.

    The encoder pads, and may run in bf16, so a question's vector may differ in its last bits between batches,
    and with it the scores; everything after the encoder gives the same for a question alone as among others.
    """

    def __init__(self, model: Encoder, index: Index, cross: PairScorer | None = None) -> None:
        """Join them.

        Args:
            model: that made the index.
            index: to search.
            cross: the cross-encoder of mode ``cross``; see ``open_cross_encoder``.

        Raises:
            IndexStateError: the index was made by another model.
        """
        fingerprint = model.fingerprint
        if fingerprint != index.model_fingerprint:
            raise IndexStateError(
                f"the index was made by model {index.model_name} ({index.model_fingerprint}), not by "
                f"{model.name} ({fingerprint}); use that model, or index again with this one"
            )
        self.model = model
        self.index = index
        self.cross = cross

    @property
    def note(self) -> str:
        """What a user should know of the model: questions in another precision than the passages; or ""."""
        asked, stored = getattr(self.model, "precision", "fp32"), self.index.spec.passages_in
        if asked == stored:
            return ""
        return f"questions are encoded in {asked}, the passages were in {stored}: ranks may differ a little"

    @classmethod
    def open(
        cls,
        index: Path | str | Index,
        model: Encoder | str | Path | None = None,
        *,
        cross: PairScorer | str | Path | None = None,
        mode: Mode | None = None,
        verify: bool = True,
        runtime: Runtime = "auto",
        precision: ChosenPrecision = "fp32",
    ) -> "Searcher":
        """Open an index on disk or a server's, and load the model that it names.

        Args:
            index: its folder or address, or an open one, as ``build_index`` returns it.
            model: the model itself, or where it is now if it was moved.
            cross: a cross-encoder, or where it is.
            mode: in which it will be searched, if that is known: refused here, before a model is loaded,
                where the index has no means for it.
            verify: check the SHA-256 of every file.
            runtime, precision: of the questions' encoder; see ``open_encoder``.

        Raises:
            IndexStateError: the index is missing, unfinished, damaged, of another model, or without what
                ``mode`` needs.
            SettingsError: an address of an unknown kind; and of ``mode`` as ``check_mode``.
            ModelError: the model or the cross-encoder cannot be loaded.
        """
        found = open_index(index, check=verify) if isinstance(index, str | Path) else index
        name = str(index) if isinstance(index, str | Path) else "this index"
        if mode is not None:
            check_mode(mode, found, can_cross=cross is not None, name=name)
        if model is None:
            model = model_of(found, name)
        if isinstance(model, str | Path):
            model = opening.open_encoder(model, runtime=runtime, precision=precision)
        if isinstance(cross, str | Path):
            cross = open_cross_encoder(cross)
        return cls(model, found, cross)

    def search(self, query: str, k: int = 10, **options: Unpack[SearchOptions]) -> list[Hit]:
        """The ``k`` best hits for one question; see ``search_many``."""
        return self.search_many([query], k, **options)[0]

    def search_many(
        self, texts: Sequence[str], k: int = 10, **options: Unpack[SearchOptions]
    ) -> list[list[Hit]]:
        """The ``k`` best hits for each question, best first; equal ones always in the same order.

        Args:
            texts: questions.
            k: hits for each; fewer if the index holds fewer.
            **options: see ``SearchSettings``.

        Returns:
            For each question hits with their text; ``stages`` says what each stage scored.

        Raises:
            SettingsError, DataError, IndexStateError: see ``SearchSettings.check``.
        """
        return [self._hits(staged) for staged in self.rank(texts, k, **options)]

    def run(
        self,
        queries: Sequence[Query],
        k: int = 1000,
        *,
        progress: Callable[[int], None] | None = None,
        **options: Unpack[SearchOptions],
    ) -> Run:
        """Rank ``k`` passages for every question, to be measured.

        The re-ranked candidates come first; the remaining hits follow in their order.

        Args:
            queries: with ids that differ.
            k: hits for each.
            progress: called with the number of questions done since its last call.
            **options: see ``SearchSettings``.

        Raises:
            DataError: an id that repeats, or an empty question; and as ``search_many``.
        """
        run: Run = {}
        for query_id, staged in self._ranked(queries, k, progress, options):
            run[query_id] = dict(zip(staged.ids, staged.scores.tolist(), strict=True))
        return run

    def tune(
        self,
        queries: Sequence[Query],
        measure: Callable[[Run], float],
        *,
        progress: Callable[[int], None] | None = None,
        **options: Unpack[SearchOptions],
    ) -> Fusion:
        """The weights with which hybrid mode ranks the questions of a dev split best.

        Args:
            queries: of the dev split.
            measure: of a run; see ``tune_weights``.
            progress: called with the number of questions done since its last call.
            **options: of the searches that will be made; ``mode`` and ``fusion`` are set here.

        Raises:
            DataError, SettingsError: see ``tune_weights`` and ``search_many``.
        """
        depth = options.get("candidates", SearchSettings().candidates)
        asked = SearchOptions(**{**options, "mode": "hybrid", "fusion": Fusion()})
        return Fusion("weighted", tune_weights(dict(self._ranked(queries, depth, progress, asked)), measure))

    def matches(self, question: str, hits: Sequence[Hit]) -> list[list[WordMatch]]:
        """For each hit the words of its ``full_text`` that match the question best; for ``mark_hit``.

        The question is encoded once; the passages' stored token matrices are used, none is encoded again.
        """
        if not self.index.has_tokens:
            return [fallback_words(question, full_text(hit)) for hit in hits]
        query_tokens = self.model.encode_joint([question], "query").tokens[0]
        stored = self.index.fetch_tokens([hit.passage for hit in hits])
        found = []
        for hit, start, stop in zip(hits, stored.offsets[:-1], stored.offsets[1:], strict=True):
            values, ids = stored.values[start:stop], stored.token_ids[start:stop]
            found.append(matching_words(self.model, question, full_text(hit), query_tokens, values, ids))
        return found

    def rank(self, texts: Sequence[str], k: int, **options: Unpack[SearchOptions]) -> list[Staged]:
        """As ``search_many``, without the texts: ids, scores, and what each stage scored."""
        settings = SearchSettings(**options)
        settings.check(texts, k, self.index, can_cross=self.cross is not None)
        if not texts:
            return []
        index = self.index
        late = settings.uses_tokens(index)
        grouped = index.has_parents if settings.by_parent == "auto" else settings.by_parent
        encoding = self.model.encode_joint(texts, "query", tokens=late)
        depth = max(k, settings.candidates) if late or settings.mode == "hybrid" else k
        if grouped:
            found = by_documents(index, texts, encoding.dense, k, depth, settings)
        else:
            found = first_stage(index, texts, encoding.dense, depth, settings)
        if late:
            fusion = settings.fusion if settings.mode == "hybrid" else None
            found = [
                rerank(index, tokens, staged, settings.candidates, fusion)
                for tokens, staged in zip(encoding.tokens, found, strict=True)
            ]
        if settings.mode == "cross" and self.cross is not None:
            found = rerank_cross(index, self.cross, texts, found, settings.cross_candidates or k)
        if grouped:
            return [best_by_parent(staged, index.parents(staged.passages), k) for staged in found]
        return [staged.take(range(min(k, len(staged.ids)))) for staged in found]

    def _ranked(
        self,
        queries: Sequence[Query],
        k: int,
        progress: Callable[[int], None] | None,
        options: SearchOptions,
    ) -> Iterator[tuple[str, Staged]]:
        """Rankings by question id, a block of questions at a time."""
        seen: set[str] = set()
        for start in range(0, len(queries), RUN_BLOCK):
            block = queries[start : start + RUN_BLOCK]
            for query, staged in zip(
                block, self.rank([query.text for query in block], k, **options), strict=True
            ):
                if query.id in seen:
                    raise DataError(f"question id {query.id!r} repeats; give every question an id of its own")
                seen.add(query.id)
                yield query.id, staged
            if progress is not None:
                progress(len(block))

    def _hits(self, staged: Staged) -> list[Hit]:
        hits = []
        for place, passage in enumerate(self.index.get(staged.passages)):
            found, score = staged.ids[place], float(staged.scores[place])
            hits.append(
                Hit(
                    found,
                    score,
                    passage.text,
                    passage.title,
                    passage.fields,
                    staged.stages_of(place),
                    passage.id,
                    passage.parent,
                    passage.start,
                )
            )
        return hits


def model_of(index: Index, name: str) -> Path | str:
    """The model that made an index, as noted in it: its directory, its hub name, or the bundled base's.

    Raises:
        IndexStateError: it is not noted, or no longer there.
    """
    folder = index.model_folder
    if folder is not None and folder.is_dir():
        return folder
    if index.spec.model_ref:
        return index.spec.model_ref
    where = f"no longer at {folder}" if folder is not None else "not noted in it"
    raise IndexStateError(
        f"{name}: the model of this index, {index.model_name} ({index.model_fingerprint}), is {where}; "
        "name its directory with --model"
    )
