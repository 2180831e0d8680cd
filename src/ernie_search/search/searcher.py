"""The searcher: a model and an index together answer questions."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, get_args

from ernie_search.encoder import Encoder
from ernie_search.errors import DataError, IndexStateError, SettingsError
from ernie_search.files import did_you_mean
from ernie_search.index import Index, MemoryIndex
from ernie_search.search.highlight import WordMatch, fallback_words, full_text, matching_words
from ernie_search.search.rerank import rerank
from ernie_search.search.staged import Staged, best_by_parent
from ernie_search.shards import read_manifest
from ernie_search.types import Hit, Query, Run

Mode = Literal["dense", "late"]
"""``dense``: the single vectors alone. ``late``: their best candidates, re-ranked by the token matrices."""

ByParent = bool | Literal["auto"]
"""Whether pieces of a document count as that document; ``auto``: if the index holds any piece."""

RUN_BLOCK = 1024
"""Questions of a run that are encoded and ranked together; bounds memory, whatever the length of the run."""

GROWTH = 4
"""How much deeper to look when a ranking of passages held too few different documents."""


class Searcher:
    """Searches an index with the model that made it.

    The encoder pads, and may run in bf16, so a question's vector may differ in its last bits between batches,
    and with it the scores; everything after the encoder gives the same for a question alone as among others.
    """

    def __init__(self, model: Encoder, index: Index) -> None:
        """Join them.

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

    @classmethod
    def open(
        cls, index_dir: Path | str, model: Encoder | str | Path | None = None, *, verify: bool = True
    ) -> "Searcher":
        """Open an index on disk, and load the model that its manifest names.

        Args:
            index_dir: what ``encode_collection`` wrote.
            model: the model itself, or where it is now if it was moved.
            verify: check the SHA-256 of every shard.

        Raises:
            IndexStateError: the index is missing, unfinished, damaged, or of another model.
            ModelError: the model cannot be loaded.
        """
        folder = Path(index_dir)
        index = MemoryIndex.open(folder, verify=verify)
        if model is None:
            recorded = read_manifest(folder).model_path
            path = Path(os.path.normpath(folder / recorded))
            if not recorded or not path.is_dir():
                where = f"no longer at {path}" if recorded else "not noted in it"
                raise IndexStateError(
                    f"{folder}: the model of this index, {index.model_name} ({index.model_fingerprint}), "
                    f"is {where}; "
                    "name its directory with --model"
                )
            model = path
        if isinstance(model, str | Path):
            from ernie_search.model import load  # torch: only those who need it wait for it

            model = load(model)
        return cls(model, index)

    def search(
        self,
        query: str,
        k: int = 10,
        *,
        mode: Mode = "late",
        candidates: int = 100,
        by_parent: ByParent = "auto",
    ) -> list[Hit]:
        """The ``k`` best hits for one question; see ``search_many``."""
        return self.search_many([query], k, mode=mode, candidates=candidates, by_parent=by_parent)[0]

    def search_many(
        self,
        texts: Sequence[str],
        k: int = 10,
        *,
        mode: Mode = "late",
        candidates: int = 100,
        by_parent: ByParent = "auto",
    ) -> list[list[Hit]]:
        """The ``k`` best hits for each question, best first.

        Args:
            texts: questions.
            k: hits for each; fewer if the index holds fewer.
            mode: "dense" or "late".
            candidates: passages that late mode re-ranks; any further hits follow in dense order.
            by_parent: a document cut into pieces is one hit, with text and scores of its best piece, whose id
                is ``fields["passage"]``.

        Returns:
            For each question hits with their text; ``stages`` says what each stage scored.

        Raises:
            DataError: an empty question.
            SettingsError: an unknown mode, or ``k`` or ``candidates`` below 1.
            IndexStateError: late mode, but the index holds no token matrices.
        """
        return [self._hits(staged) for staged in self._rank(texts, k, mode, candidates, by_parent)]

    def run(
        self,
        queries: Sequence[Query],
        k: int = 1000,
        *,
        mode: Mode = "late",
        candidates: int = 100,
        by_parent: ByParent = "auto",
        progress: Callable[[int], None] | None = None,
    ) -> Run:
        """Rank ``k`` passages for every question, to be measured.

        In late mode the re-ranked candidates come first; the remaining dense hits follow in their order.

        Args:
            queries: with ids that differ.
            k, mode, candidates, by_parent: as for ``search_many``.
            progress: called with the number of questions done since its last call.

        Raises:
            DataError: an id that repeats, or an empty question; and as ``search_many``.
        """
        run: Run = {}
        for start in range(0, len(queries), RUN_BLOCK):
            block = queries[start : start + RUN_BLOCK]
            rankings = self._rank([query.text for query in block], k, mode, candidates, by_parent)
            for query, staged in zip(block, rankings, strict=True):
                if query.id in run:
                    raise DataError(f"question id {query.id!r} repeats; give every question an id of its own")
                run[query.id] = dict(zip(staged.ids, staged.scores.tolist(), strict=True))
            if progress is not None:
                progress(len(block))
        return run

    def matches(self, question: str, hits: Sequence[Hit]) -> list[list[WordMatch]]:
        """For each hit the words of its ``full_text`` that match the question best; for ``mark_hit``.

        The question is encoded once; the passages' stored token matrices are used, none is encoded again.
        """
        if not self.index.has_tokens:
            return [fallback_words(question, full_text(hit)) for hit in hits]
        query_tokens = self.model.encode_joint([question], "query").tokens[0]
        stored = self.index.fetch_tokens([str(hit.fields.get("passage", hit.id)) for hit in hits])
        found = []
        for hit, start, stop in zip(hits, stored.offsets[:-1], stored.offsets[1:], strict=True):
            values, ids = stored.values[start:stop], stored.token_ids[start:stop]
            found.append(
                matching_words(self.model.tokenizer, question, full_text(hit), query_tokens, values, ids)
            )
        return found

    def _rank(
        self, texts: Sequence[str], k: int, mode: Mode, candidates: int, by_parent: ByParent
    ) -> list[Staged]:
        """Both stages, and the reduction to documents, for a batch of questions."""
        self._check(texts, k, mode, candidates)
        if not texts:
            return []
        grouped = self.index.has_parents if by_parent == "auto" else by_parent
        late = mode == "late"
        encoding = self.model.encode_joint(texts, "query", tokens=late)
        depth = max(k, candidates) if late else k
        found = self.index.nearest(encoding.dense, depth)
        if grouped:
            while depth < len(self.index) and any(len(set(self.index.parents(one.ids))) < k for one in found):
                depth *= GROWTH
                found = self.index.nearest(encoding.dense, depth)
        results = []
        for place, ranking in enumerate(found):
            staged = Staged.of_dense(ranking)
            if late:
                staged = rerank(self.index, encoding.tokens[place], staged, candidates)
            if grouped:
                results.append(best_by_parent(staged, self.index.parents(staged.passages), k))
            else:
                results.append(staged.take(range(min(k, len(staged.ids)))))
        return results

    def _check(self, texts: Sequence[str], k: int, mode: str, candidates: int) -> None:
        if isinstance(texts, str):
            raise SettingsError(
                "search_many takes a list of questions, not one string; use search for a single one"
            )
        if mode not in get_args(Mode):
            raise SettingsError(f"mode={mode!r}: unknown{did_you_mean(mode, get_args(Mode))}")
        if k < 1 or candidates < 1:
            raise SettingsError(f"k={k}, candidates={candidates}: both must be at least 1")
        if mode == "late" and not self.index.has_tokens:
            raise IndexStateError(
                "this index holds no token matrices; use mode dense or index again with tokens"
            )
        for place, text in enumerate(texts):
            if not text.strip():
                raise DataError(f"question {place + 1} of {len(texts)} is empty; ask something")

    def _hits(self, staged: Staged) -> list[Hit]:
        hits = []
        for place, passage in enumerate(self.index.get(staged.passages)):
            found, score = staged.ids[place], float(staged.scores[place])
            fields = passage.fields if found == passage.id else {**passage.fields, "passage": passage.id}
            hits.append(Hit(found, score, passage.text, passage.title, fields, staged.stages_of(place)))
        return hits
