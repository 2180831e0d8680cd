"""The searcher: a model and an index together answer questions."""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Unpack

import numpy as np
from numpy.typing import NDArray

from ernie_search.encoder import Encoder, Encoding
from ernie_search.encoding import opening
from ernie_search.encoding.opening import ChosenPrecision, Runtime
from ernie_search.encoding.projected import projected_for
from ernie_search.errors import DataError, IndexStateError, SettingsError
from ernie_search.index import Index, Ranking, open_index
from ernie_search.search.fusion import (
    DEFAULTS,
    EVEN,
    Fusion,
    FusionKind,
    Staged,
    TokenWeights,
    best_by_parent,
    fuse,
)
from ernie_search.search.highlight import WordMatch, fallback_words, full_text, matching_words
from ernie_search.search.readings import (
    absolute,
    absolute_weights,
    has_unit_vectors,
    situation,
)
from ernie_search.search.rerank import PairScorer, open_cross_encoder, rerank, rerank_cross
from ernie_search.search.settings import Mode, SearchOptions, SearchSettings, check_mode
from ernie_search.search.tuning import Tuning, read_tuned, tune_weights
from ernie_search.types import Hit, Query, Run

GROWTH = 4
"""How much deeper to look when a ranking of passages held too few different documents."""


def first_rankings(
    index: Index,
    texts: Sequence[str],
    dense: NDArray[np.float32] | None,
    depth: int,
    settings: SearchSettings,
) -> list[dict[str, Ranking]]:
    """The rankings that each question's passages come from, ``depth`` deep, by the stage's name.

    Args:
        index: to search.
        texts: Q questions.
        dense: their vectors ``(Q, D)``; None in mode words.
        depth: how deep to go into each ranking.
        settings: mode and filter.
    """
    mode = settings.first_mode(index)
    found: list[dict[str, Ranking]] = [{} for _ in texts]
    if dense is not None:
        near = index.nearest(dense, depth, where=settings.where, exact=settings.exact)
        for one, ranking in zip(found, near, strict=True):
            one["dense"] = ranking
    if mode in ("words", "hybrid"):
        for one, ranking in zip(found, index.bm25(texts, depth, where=settings.where), strict=True):
            one["bm25"] = ranking
    return found


def deep_enough(
    index: Index,
    texts: Sequence[str],
    dense: NDArray[np.float32] | None,
    k: int,
    depth: int,
    settings: SearchSettings,
) -> list[dict[str, Ranking]]:
    """As ``first_rankings``, as deep as it takes to hold ``k`` different documents for each question."""

    def short(rankings: dict[str, Ranking]) -> bool:
        ids = list(dict.fromkeys(one for ranking in rankings.values() for one in ranking.ids))
        return len(ids) >= depth and len(set(index.parents(ids))) < k

    found = first_rankings(index, texts, dense, depth, settings)
    while depth < len(index) and any(map(short, found)):
        depth *= GROWTH
        found = first_rankings(index, texts, dense, depth, settings)
    return found


RUN_BLOCK = 1024
"""Questions of a run that are encoded and ranked together; bounds memory, whatever the length of the run."""


class Searcher:
    """Searches an index with the model that made it.

    The encoder pads, and may run in bf16, so a question's vector may differ in its last bits between batches,
    and with it the scores; everything after the encoder gives the same for a question alone as among others.
    """

    def __init__(
        self, model: Encoder | None, index: Index, cross: PairScorer | None = None, *, tuned: bool = True
    ) -> None:
        """Join them.

        Args:
            model: that made the index; None for mode words alone.
            index: to search.
            cross: the cross-encoder of mode ``cross``; see ``open_cross_encoder``.
            tuned: search as ``ernie-search tune`` found best, where it did.

        Raises:
            IndexStateError: the index was made by another model, or its tuned weights cannot be read.
        """
        self.index = index
        self.cross = cross
        self.tuned = read_tuned(index) if tuned else None
        self._load: Callable[[], Encoder] | None = None
        self._model: Encoder | None = None
        self._unit_vectors: list[bool] = []  # once known; a copy of this searcher has the same list
        if model is not None:
            self.model = model

    @property
    def model(self) -> Encoder:
        """The model, which a searcher opened for mode words loads when it is first needed.

        Raises:
            SettingsError: it was given none.
            IndexStateError, ModelError: see ``open``.
        """
        if self._model is None:
            if self._load is None:
                raise SettingsError("this searcher has no model; search in mode words, or open it with one")
            self.model = self._load()
        return self._model  # type: ignore[return-value]

    @model.setter
    def model(self, model: Encoder) -> None:
        fingerprint = model.fingerprint
        if fingerprint != self.index.model_fingerprint:
            raise IndexStateError(
                f"the index was made by model {self.index.model_name} ({self.index.model_fingerprint}), not "
                f"by {model.name} ({fingerprint}); use that model, or index again with this one"
            )
        self._model = projected_for(self.index, model)

    @property
    def has_model(self) -> bool:
        """Whether the model is there; in mode words nobody may have needed it yet."""
        return self._model is not None

    @property
    def note(self) -> str:
        """What a user should know of the model: questions in another precision than the passages; or ""."""
        if not self.has_model:
            return ""
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
        """Open an index on disk or a server's, and load the model that it names; in mode words when needed.

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
        searcher = cls(None, found)
        searcher._load = partial(_open_model, model, found, name, runtime, precision)
        if mode != "words":
            _ = searcher.model
        searcher.cross = open_cross_encoder(cross) if isinstance(cross, str | Path) else cross
        return searcher

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

    def search_vectors(
        self, dense: NDArray[np.float32], k: int = 10, **options: Unpack[SearchOptions]
    ) -> list[list[Hit]]:
        """The ``k`` best hits for questions that are given as single vectors, in mode dense.

        Args:
            dense: ``(Q, D)``, by the index's model; no model is asked.
            k: hits for each; fewer if the index holds fewer.
            **options: see ``SearchSettings``; what concerns other modes than dense counts nothing.

        Raises:
            SettingsError, IndexStateError: see ``SearchSettings.check``; vectors of another length.
        """
        settings = SearchSettings(**(options | {"mode": "dense"}))
        settings.check((), k, self.index, can_cross=False)
        rankings = self._rankings([""] * len(dense), dense, k, k, settings)
        found = [Staged.of("dense", one["dense"]) for one in rankings]
        return [self._hits(one) for one in self._best(found, k, settings)]

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
        measure: Callable[[Run], NDArray[np.float64] | float],
        *,
        kind: FusionKind = "absolute",
        progress: Callable[[int], None] | None = None,
        **options: Unpack[SearchOptions],
    ) -> Tuning:
        """The weights with which hybrid mode ranks the questions of a dev split best.

        Every question is searched once; then only the weighing is done again.

        Args:
            queries: of the dev split.
            measure: of a run, higher is better; see ``tune_weights``.
            kind: ``absolute`` or ``weighted``.
            progress: called with the number of questions done since its last call.
            **options: of the searches that will be made; ``mode`` and ``fusion`` are set here.

        Raises:
            DataError, SettingsError: see ``tune_weights`` and ``search_many``.
        """
        depth = 2 * options.get("candidates", SearchSettings().candidates)  # the two rankings may share none
        fusion = Fusion("absolute") if kind == "absolute" else Fusion("rrf")
        by_parent = options.get("by_parent", "auto")
        asked = SearchOptions(**{**options, "mode": "hybrid", "fusion": fusion, "by_parent": False})
        late = SearchSettings(**asked).uses_tokens(self.index)
        before = absolute_weights(self.index, None, late=late) if kind == "absolute" else EVEN
        untuned = copy.copy(self)  # what was tuned before is no default to be compared with
        untuned.tuned = None
        token_weights = untuned.token_weights_of(SearchSettings(**asked)) if late else "even"
        found = dict(untuned._ranked(queries, depth, progress, asked))
        if self.index.has_parents if by_parent == "auto" else by_parent:
            found = {
                one: replace(staged, ids=self.index.parents(staged.ids)) for one, staged in found.items()
            }
        return replace(tune_weights(found, measure, kind, before), token_weights=token_weights)

    def matches(self, question: str, hits: Sequence[Hit]) -> list[list[WordMatch]]:
        """For each hit the words of its ``full_text`` that match the question best; for ``mark_hit``.

        The question is encoded once; the passages' stored token matrices are used, none is encoded again.
        Without them, or without a model, the words that both have.
        """
        if not self.index.has_tokens or not self.has_model:
            return [fallback_words(question, full_text(hit)) for hit in hits]
        encoding = self.model.encode_joint([question], "query")
        weights = self.weights_of(encoding.token_ids[0])
        # Cosines for the heaviest token; the others less, which leaves out what matters little.
        query_tokens = encoding.tokens[0] * (weights / weights.max(initial=1.0))[:, None]
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
        encoding = self._encoded(texts, settings)
        dense = None if encoding is None else encoding.dense
        fused = settings.first_mode(index) == "hybrid"
        depth = max(k, settings.candidates) if fused or settings.uses_tokens(index) else k
        rankings = self._rankings(texts, dense, k, depth, settings)
        found = self._fused(texts, encoding, rankings, settings)
        if settings.mode == "cross" and self.cross is not None:
            found = rerank_cross(index, self.cross, texts, found, settings.cross_candidates or k)
        return self._best(found, k, settings)

    def fusion_of(self, settings: SearchSettings) -> Fusion:
        """How hybrid mode fuses: as was asked for, as tuned, or by what the index can do."""
        if settings.fusion is not None:
            return settings.fusion
        if self.tuned is not None:
            return self.tuned.fusion
        return Fusion("absolute" if self.index.statistics() is not None else "rrf")

    def token_weights_of(self, settings: SearchSettings) -> TokenWeights:
        """How much the question's tokens count: as was asked for, as tuned, or as the situation says.

        Raises:
            SettingsError: by idf or its root, where the index keeps no statistics.
        """
        tuned = None if self.tuned is None else self.tuned.token_weights
        usual = DEFAULTS[situation(self.index, late=True)].token_weights
        wanted = settings.token_weights or tuned or usual
        if wanted == "even" or self.index.statistics() is not None:
            return wanted
        if settings.token_weights is not None:
            asked = settings.token_weights
            raise SettingsError(
                f"token_weights={asked!r}: this kind of index keeps no statistics of its tokens"
            )
        return "even"

    def weights_of(
        self, token_ids: NDArray[np.int32], settings: SearchSettings | None = None
    ) -> NDArray[np.float32]:
        """How much each of a question's tokens ``(Lq,)`` counts in late interaction; 1 on average."""
        wanted = self.token_weights_of(settings or SearchSettings())
        if wanted == "even" or not len(token_ids):
            return np.ones(len(token_ids), np.float32)
        statistics = self.index.statistics()
        if statistics is None:  # not by idf then
            return np.ones(len(token_ids), np.float32)
        weights = np.asarray(statistics.token_weights(token_ids), np.float32)
        if wanted == "root":
            weights = np.sqrt(weights)
            weights /= weights.mean()
        return weights

    def _encoded(self, texts: Sequence[str], settings: SearchSettings) -> Encoding | None:
        """The questions' vectors; the rows of their token matrices times their weights."""
        index = self.index
        if settings.first_mode(index) == "words":
            return None
        late = settings.uses_tokens(index)
        encoding = self.model.encode_joint(texts, "query", tokens=late)
        if late and self.token_weights_of(settings) != "even":
            pairs = zip(encoding.tokens, encoding.token_ids, strict=True)
            # max_j <w q, p_j> = w max_j <q, p_j>: so MaxSim is the weighted mean
            tokens = [matrix * self.weights_of(ids, settings)[:, None] for matrix, ids in pairs]
            return _Encoded(encoding.dense, tokens, encoding.token_ids, encoding.truncated)
        return encoding

    def _fused(
        self,
        texts: Sequence[str],
        encoding: Encoding | None,
        rankings: Sequence[dict[str, Ranking]],
        settings: SearchSettings,
    ) -> list[Staged]:
        """One ranking of each question: fused and re-ranked, as the mode has it."""
        index, late = self.index, settings.uses_tokens(self.index)
        tokens = encoding.tokens if encoding is not None and late else None
        if settings.first_mode(index) != "hybrid" or encoding is None:
            found = [Staged.of(*next(iter(one.items()))) for one in rankings]
            fusion = None
        else:
            fusion = self.fusion_of(settings)
            if fusion.kind == "absolute":
                weights = absolute_weights(index, fusion.weights, late=late)
                there = {"dense"} | ({"late"} if tokens is not None else set())
                there |= {"bm25"} if index.statistics() is not None else set()
                if not any(weights.get(name, 0.0) > 0 for name in there):
                    raise SettingsError(
                        f"fusion {fusion}: nothing that counts can be read here; give a weight to "
                        f"{' or '.join(sorted(there))}"
                    )
                return [
                    absolute(
                        *(index, text, encoding.dense[row], None if tokens is None else tokens[row]),
                        *(rankings[row], settings.candidates, weights),
                        unit_vectors=self._has_unit_vectors(),
                    )
                    for row, text in enumerate(texts)
                ]
            found = [fuse(one, fusion) for one in rankings]
        if tokens is None:
            return found
        return [
            rerank(index, matrix, staged, settings.candidates, fusion)
            for matrix, staged in zip(tokens, found, strict=True)
        ]

    def _rankings(
        self,
        texts: Sequence[str],
        dense: NDArray[np.float32] | None,
        k: int,
        depth: int,
        settings: SearchSettings,
    ) -> list[dict[str, Ranking]]:
        """As ``first_rankings``, as deep as it takes for ``k`` documents where these are found."""
        if self._grouped(settings):
            return deep_enough(self.index, texts, dense, k, depth, settings)
        return first_rankings(self.index, texts, dense, depth, settings)

    def _best(self, found: Sequence[Staged], k: int, settings: SearchSettings) -> list[Staged]:
        """The ``k`` best passages, or documents where these are found."""
        if self._grouped(settings):
            return [best_by_parent(staged, self.index.parents(staged.passages), k) for staged in found]
        return [staged.take(range(min(k, len(staged.ids)))) for staged in found]

    def _grouped(self, settings: SearchSettings) -> bool:
        """Whether documents are found, and not the pieces that they were cut into."""
        return self.index.has_parents if settings.by_parent == "auto" else settings.by_parent

    def _has_unit_vectors(self) -> bool:
        if not self._unit_vectors:
            found = has_unit_vectors(self.index)
            if not len(self.index):  # as long as nothing is there, nothing is known
                return found
            self._unit_vectors.append(found)
        return self._unit_vectors[0]

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


@dataclass(frozen=True, slots=True)
class _Encoded:
    """An ``Encoding`` whose token matrices were changed."""

    dense: NDArray[np.float32]
    tokens: list[NDArray[np.float32]]
    token_ids: list[NDArray[np.int32]]
    truncated: int


def _open_model(
    model: Encoder | str | Path | None,
    index: Index,
    name: str,
    runtime: Runtime = "auto",
    precision: ChosenPrecision = "fp32",
) -> Encoder:
    """The model itself, from where it was moved, or the one that the index names."""
    if model is None:
        model = model_of(index, name)
    if isinstance(model, str | Path):
        model = opening.open_encoder(model, runtime=runtime, precision=precision)
    return model


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
