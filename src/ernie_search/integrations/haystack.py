"""A retriever component for Haystack 2."""

from pathlib import Path
from typing import Any

try:
    from haystack import Document, component, default_from_dict, default_to_dict
    from haystack.core.errors import ComponentError, SerializationError
    from haystack.utils import Secret, deserialize_secrets_inplace
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"needs {error.name}, which is not installed: pip install 'ernie-search[haystack]'", name=error.name
    ) from None

from ernie_search.errors import ErnieSearchError
from ernie_search.integrations.asked import Asked, Source
from ernie_search.integrations.haystack_filters import condition_of
from ernie_search.integrations.shared import metadata_of, open_source, raised_as
from ernie_search.search import Mode
from ernie_search.types import Hit


class RetrievalError(ErnieSearchError, ComponentError):
    """A search that failed, in one line."""


@component
class ErnieSearchRetriever:
    """Documents for a question, from an index in this process or from a service."""

    def __init__(
        self,
        store: Any = None,
        *,
        url: str | None = None,
        api_key: Secret | None = None,
        model: str | None = None,
        top_k: int = 10,
        filters: str | dict[str, Any] | None = None,
        mode: Mode | None = None,
        min_score: float | None = None,
        timeout: float = 10.0,
    ) -> None:
        """Take the settings; the store is opened by ``warm_up``, or by the first question.

        Args:
            store: an index's folder or address, an open index or searcher, or several.
            url: of a service that ``ernie-search serve`` started, instead.
            api_key: of the service.
            model: the store's model, if it was moved.
            top_k: documents at most.
            filters: Haystack's (``{"field": "meta.year", "operator": ">=", "value": 2000}``), or ours: text,
                or field to value or list of values.
            mode: words, dense, late, hybrid or cross; None for the best that the index can do.
            min_score: documents that score less are left out; what a score means depends on the mode.
            timeout: seconds for an answer of the service.
        """
        self.store, self.url, self.api_key, self.model = store, url, api_key, model
        self.top_k, self.filters, self.mode = top_k, filters, mode
        self.min_score, self.timeout = min_score, timeout
        self._source: Source | None = None

    def to_dict(self) -> dict[str, Any]:
        """Serialise the component.

        Raises:
            SerializationError: an open store has no address to write down.
        """
        given = self.store if isinstance(self.store, list | tuple) else [self.store]
        if not all(one is None or isinstance(one, str | Path) for one in given):
            raise SerializationError("store: an open index has no address; give its folder or address")
        several = isinstance(self.store, list | tuple)
        return default_to_dict(
            self,
            store=[str(one) for one in given] if several else None if self.store is None else str(self.store),
            url=self.url,
            api_key=None if self.api_key is None else self.api_key.to_dict(),
            model=self.model,
            top_k=self.top_k,
            filters=self.filters,
            mode=self.mode,
            min_score=self.min_score,
            timeout=self.timeout,
        )

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "ErnieSearchRetriever":
        """The component again."""
        deserialize_secrets_inplace(data["init_parameters"], keys=["api_key"])
        found: ErnieSearchRetriever = default_from_dict(cls, data)
        return found

    def warm_up(self) -> None:
        """Open the store, or prepare the service's client; once.

        Raises:
            RetrievalError: neither or both of a store and a URL, or it cannot be opened.
        """
        self._opened()

    def _opened(self) -> Source:
        if self._source is None:
            with raised_as(RetrievalError):
                key = None if self.api_key is None else self.api_key.resolve_value()
                options: dict[str, Any] = {"model": self.model, "mode": self.mode, "timeout": self.timeout}
                self._source = open_source(self.store, self.url, api_key=key, **options)
        return self._source

    @component.output_types(documents=list[Document])
    def run(
        self, query: str, filters: str | dict[str, Any] | None = None, top_k: int | None = None
    ) -> dict[str, list[Document]]:
        """Search; ``filters`` and ``top_k`` stand for those of the component.

        Raises:
            RetrievalError: the store or the service refuses.
            FilterError: of Haystack's filters one that we have no words for.
        """
        source, asked = self._opened(), self._asked(filters, top_k)
        with raised_as(RetrievalError):
            return {"documents": [_document(hit) for hit in source.search(query, asked)]}

    @component.output_types(documents=list[Document])
    async def run_async(
        self, query: str, filters: str | dict[str, Any] | None = None, top_k: int | None = None
    ) -> dict[str, list[Document]]:
        """As ``run``, without holding up the event loop."""
        source, asked = self._opened(), self._asked(filters, top_k)
        with raised_as(RetrievalError):
            return {"documents": [_document(hit) for hit in await source.asearch(query, asked)]}

    def _asked(self, filters: str | dict[str, Any] | None, top_k: int | None) -> Asked:
        given = self.filters if filters is None else filters
        k = self.top_k if top_k is None else top_k
        return Asked(k, self.mode, condition_of(given), self.min_score)


def _document(hit: Hit) -> Document:
    meta = metadata_of(hit)
    return Document(id=hit.passage, content=hit.text, meta=meta, score=meta.pop("score"))
