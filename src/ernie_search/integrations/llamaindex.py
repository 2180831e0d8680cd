"""A retriever for LlamaIndex."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

try:
    from llama_index.core.base.base_retriever import BaseRetriever
    from llama_index.core.schema import (
        NodeRelationship,
        NodeWithScore,
        QueryBundle,
        RelatedNodeInfo,
        TextNode,
    )
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"needs {error.name}, which is not installed: pip install 'ernie-search[llamaindex]'", name=error.name
    ) from None

from ernie_search.errors import ErnieSearchError
from ernie_search.integrations.asked import Asked, Condition
from ernie_search.integrations.shared import Store, metadata_of, open_source, raised_as
from ernie_search.search import Mode
from ernie_search.types import Hit

NOT_FOR_MODELS = ["id", "passage", "score", "start"]
"""Metadata that says nothing to a language model, so it is left out of what the model reads."""


class RetrievalError(ErnieSearchError, ValueError):
    """A search that failed, in one line."""


class ErnieSearchRetriever(BaseRetriever):
    """Nodes with scores for a question, from an index in this process or from a service."""

    def __init__(
        self,
        store: Store | Sequence[Store] | None = None,
        *,
        url: str | None = None,
        api_key: str | None = None,
        model: str | Path | None = None,
        similarity_top_k: int = 10,
        mode: Mode | None = None,
        filter: Condition | None = None,  # noqa: A002 - as in the other frameworks
        min_score: float | None = None,
        timeout: float = 10.0,
        **options: Any,
    ) -> None:
        """Open the store, or prepare the service's client.

        Args:
            store: an index's folder or address, an open index or searcher, or several; opened once.
            url: of a service that ``ernie-search serve`` started, instead.
            api_key: of the service.
            model: the store's model, if it was moved.
            similarity_top_k: nodes at most.
            mode: words, dense, late, hybrid or cross; None for the best that the index can do.
            filter: text such as ``lang = "en" and year >= 2000``, or field to value or list of values.
            min_score: nodes that score less are left out; what a score means depends on the mode.
            timeout: seconds for an answer of the service.
            **options: of LlamaIndex's ``BaseRetriever``: ``callback_manager``, ``verbose``, ...

        Raises:
            RetrievalError: the index or the service's address cannot be opened.
        """
        super().__init__(**options)
        self._asked = Asked(similarity_top_k, mode, filter, min_score)
        with raised_as(RetrievalError):
            self._source = open_source(store, url, model=model, mode=mode, api_key=api_key, timeout=timeout)

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        with raised_as(RetrievalError):
            return [_node(hit) for hit in self._source.search(query_bundle.query_str, self._asked)]

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        with raised_as(RetrievalError):
            return [_node(hit) for hit in await self._source.asearch(query_bundle.query_str, self._asked)]


def _node(hit: Hit) -> NodeWithScore:
    """A node for the passage, whose source is the document."""
    node = TextNode(
        id_=hit.passage,
        text=hit.text,
        metadata=metadata_of(hit),
        excluded_llm_metadata_keys=NOT_FOR_MODELS,
        excluded_embed_metadata_keys=NOT_FOR_MODELS,
        start_char_idx=hit.start,
        relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=hit.parent or hit.id)},
    )
    return NodeWithScore(node=node, score=hit.score)
