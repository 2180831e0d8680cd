"""Models and indexes for mteb: an encoder by single vectors, and a search model in any mode."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

try:
    from mteb.models.model_meta import ModelMeta, ScoringFunction
    from mteb.similarity_functions import dot_score, pairwise_dot_score
    from mteb.types import PromptType
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"needs {error.name}, which is not installed: pip install 'ernie-search[mteb]'", name=error.name
    ) from None

from ernie_search._util.words import detect_language
from ernie_search.encoder import Encoder
from ernie_search.encoding.opening import open_encoder
from ernie_search.errors import DataError, SettingsError
from ernie_search.index import In, Index, MemoryIndex, make_spec, passage_batch
from ernie_search.index.codecs import codec
from ernie_search.search import Mode, Searcher, SearchOptions, best_mode
from ernie_search.types import Passage, Query, Run, Task

BLOCK = 1024
"""Passages that are encoded and stored together."""
SAMPLE = 400
"""Passages that the language is detected from."""
KINDS = {"words": "sparse", "dense": "dense", "late": "late-interaction"}
"""What mteb calls our modes; the others are hybrid."""


def meta_of(encoder: Encoder | None, name: str, revision: str, mode: str, dim: int | None) -> ModelMeta:
    """What mteb notes of a model; results are kept by name and revision, so both tell modes and models apart.

    Args:
        encoder: None in mode words.
        name: of the model.
        revision: changes whenever the results would.
        mode: how it searches.
        dim: of its single vectors.
    """
    readable = re.sub(r"[^\w.-]+", "-", Path(name).name).strip("-") or "model"
    return ModelMeta(
        loader=None,
        name=f"ernie-search/{readable}-{mode}",
        revision=revision,
        release_date=None,
        languages=None,
        n_parameters=None,
        memory_usage_mb=None,
        max_tokens=None,
        embed_dim=dim,
        license=None,
        open_weights=None,
        public_training_code=None,
        public_training_data=None,
        framework=["ONNX"],
        similarity_fn_name=ScoringFunction.DOT_PRODUCT if mode == "dense" else ScoringFunction.CUSTOM,
        use_instructions=False,
        training_datasets=None,
        model_type=[KINDS.get(mode, "hybrid")],
        experiment_kwargs=None if encoder is None else {"mode": mode, "kind": encoder.kind},
    )


class ErnieSearchEncoder:
    """A model's single vectors as mteb's encoder, for every kind of task."""

    def __init__(
        self,
        model_name: str | Path | Encoder,
        revision: str | None = None,
        *,
        device: str | None = None,
        **_: Any,
    ) -> None:
        """Open the model.

        Args:
            model_name: a directory, a hub name, or an open model.
            revision: of a hub name.
            device: for torch.

        Raises:
            ModelError: see ``open_encoder``.
        """
        if isinstance(model_name, str | Path):
            name = f"{model_name}@{revision}" if revision else model_name
            self._encoder = open_encoder(name, use="passages", device=device)
        else:
            self._encoder = model_name

    def encode(
        self,
        inputs: Iterable[Mapping[str, Any]],
        *,
        task_metadata: Any,
        hf_split: str,
        hf_subset: str,
        prompt_type: PromptType | None = None,
        **_: Any,
    ) -> np.ndarray[Any, Any]:
        """The single vectors ``(N, D)`` of all batches; texts that are no questions are read as passages."""
        texts = [text for batch in inputs for text in batch["text"]]
        task: Task = "query" if prompt_type == PromptType.query else "passage"
        return self._encoder.encode_joint(texts, task, tokens=False).dense

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Dot products ``(N, M)``: the model's scores."""
        return dot_score(embeddings1, embeddings2)

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Dot products of rows ``(N,)``."""
        return pairwise_dot_score(embeddings1, embeddings2)

    @property
    def mteb_model_meta(self) -> ModelMeta:
        """See ``meta_of``."""
        return meta_of(self._encoder, self._encoder.name, self._encoder.fingerprint, "dense", None)


class ErnieSearchModel:
    """A model, or an index that is there already, as mteb's search model: in any mode of ours."""

    def __init__(
        self,
        model: str | Path | Encoder | None = None,
        *,
        store: str | Path | Index | None = None,
        mode: Mode | None = None,
        tokens: str = "fp16",
    ) -> None:
        """Open the model, or the index with its model.

        Args:
            model: a directory, a hub name or an open model, which indexes each task's corpus in memory; with
                a store, the store's model if it was moved.
            store: an index of the task's corpus, which is searched as it is.
            mode: words, dense, late or hybrid; None for the best.
            tokens: how token vectors are stored in memory.

        Raises:
            SettingsError: neither a model nor a store.
            IndexStateError, ModelError: see ``Searcher.open`` and ``open_encoder``.
        """
        if model is None and store is None:
            raise SettingsError("give model= (which indexes each corpus) or store= (an index of the corpus)")
        self._store = None if store is None else Searcher.open(store, model, mode=mode)
        self._searcher = self._store
        self._tokens = tokens
        self._encoder: Encoder | None = None
        if self._store is None and model is not None:
            is_name = isinstance(model, str | Path)
            self._encoder = open_encoder(model, use="passages") if is_name else model  # type: ignore[arg-type,assignment]
        self._mode: Mode = mode or ("hybrid" if self._store is None else best_mode(self._store.index))

    def index(self, corpus: Any, *, task_metadata: Any, hf_split: str, hf_subset: str, **_: Any) -> None:
        """Index a task's corpus in memory; a store is compared with its size alone.

        Args:
            corpus: rows with ``id``, ``text`` and perhaps ``title``. Those without any text cannot be found.

        Raises:
            DataError: the store holds fewer passages than the corpus, or the corpus has no text.
        """
        if self._store is not None:
            if len(self._store.index) < len(corpus):
                raise DataError(
                    f"the store holds {len(self._store.index)} passages, {task_metadata.name} has "
                    f"{len(corpus)}; give an index of this corpus"
                )
            return
        if self._encoder is None:
            raise SettingsError("no model to index with; give model=")
        index = _memory_index(self._encoder, corpus, self._mode, self._tokens)
        self._searcher = Searcher(self._encoder, index)

    def search(
        self,
        queries: Any,
        *,
        task_metadata: Any,
        hf_split: str,
        hf_subset: str,
        top_k: int,
        top_ranked: Mapping[str, Sequence[str]] | None = None,
        **_: Any,
    ) -> Run:
        """Rank a task's questions.

        Args:
            queries: rows with ``id`` and ``text``.
            top_k: passages of each.
            top_ranked: of re-ranking tasks: the only passages that count, by question.

        Returns:
            Question id to passage id to score.

        Raises:
            SettingsError: before ``index``.
        """
        if self._searcher is None:
            raise SettingsError("nothing is indexed yet; call index first")
        asked = [Query(str(row["id"]), str(row["text"])) for row in queries if str(row["text"]).strip()]
        found: Run = {str(row["id"]): {} for row in queries}
        k = min(top_k, len(self._searcher.index))
        if top_ranked is None:
            return found | self._searcher.run(asked, k, mode=self._mode)
        for query in asked:
            only = tuple(str(one) for one in top_ranked.get(query.id, ()))
            options = SearchOptions(mode=self._mode, where=In("id", only), candidates=max(len(only), 1))
            found |= self._searcher.run([query], max(min(top_k, len(only)), 1), **options)
        return found

    @property
    def mteb_model_meta(self) -> ModelMeta:
        """See ``meta_of``."""
        if self._store is not None:
            spec = self._store.index.spec
            return meta_of(None, spec.model_name, spec.model_fingerprint, self._mode, spec.dim)
        encoder = self._encoder
        if encoder is None:
            raise SettingsError("no model; give model=")
        return meta_of(encoder, encoder.name, encoder.fingerprint, self._mode, None)


def _passages(corpus: Any) -> Iterator[Passage]:
    for row in corpus:
        text, title = str(row.get("text") or "").strip(), str(row.get("title") or "").strip()
        if text or title:
            yield Passage(str(row["id"]), text or title, title if text else "")


def _memory_index(encoder: Encoder, corpus: Any, mode: Mode, tokens: str) -> MemoryIndex:
    """An index in memory of a corpus, with token vectors where the mode reads them."""
    passages = _passages(corpus)
    with_tokens = mode in ("late", "hybrid")
    index: MemoryIndex | None = None
    while block := list(islice(passages, BLOCK)):
        encoding = encoder.encode_joint([one.full_text for one in block], "passage", tokens=with_tokens)
        if index is None:
            spec = make_spec(
                model_name=encoder.name,
                model_fingerprint=encoder.fingerprint,
                dim=encoding.dense.shape[1],
                language=detect_language(one.full_text for one in block[:SAMPLE]),
                **({"token_dim": encoder.token_dim, "tokens": tokens} if with_tokens else {"tokens": "none"}),
            )
            index = MemoryIndex(spec, codec(tokens, encoder.token_dim) if with_tokens else None)
        index.upsert(passage_batch(block, encoding, encoder))
    if index is None:
        raise DataError("the corpus has no text to index")
    return index
