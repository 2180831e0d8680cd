"""A retriever for LangChain."""

from typing import Any

from pydantic import Field, PrivateAttr, SecretStr

try:
    from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
    from langchain_core.documents import Document
    from langchain_core.exceptions import LangChainException
    from langchain_core.retrievers import BaseRetriever
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"needs {error.name}, which is not installed: pip install 'ernie-search[langchain]'", name=error.name
    ) from None

from ernie_search.errors import ErnieSearchError
from ernie_search.integrations.asked import Asked, Source
from ernie_search.integrations.shared import metadata_of, open_source, raised_as
from ernie_search.search import Mode
from ernie_search.types import Hit


class RetrievalError(ErnieSearchError, LangChainException):
    """A search that failed, in one line."""


class ErnieSearchRetriever(BaseRetriever):
    """Documents for a question, from an index in this process or from a service.

    ``k``, ``mode``, ``filter`` and ``min_score`` may also be given to ``invoke`` and ``ainvoke``.

    Attributes:
        store: an index's folder or address, an open index or searcher, or several; opened once.
        url: of a service that ``ernie-search serve`` started, instead.
        api_key: of the service.
        model: the store's model, if it was moved.
        k: documents at most.
        mode: words, dense, late, hybrid or cross; None for the best that the index can do.
        filter: text such as ``lang = "en" and year >= 2000``, or field to value or list of values.
        min_score: documents that score less are left out; what a score means depends on the mode.
        timeout: seconds for an answer of the service.

    Raises:
        RetrievalError: the index or the service cannot be opened, or refuses the question.
    """

    store: Any = None
    url: str | None = None
    api_key: SecretStr | None = None
    model: str | None = None
    k: int = Field(10, ge=1)
    mode: Mode | None = None
    filter: Any = None
    min_score: float | None = None
    timeout: float = Field(10.0, gt=0)

    _source: Source = PrivateAttr()

    def model_post_init(self, context: Any, /) -> None:
        """Open the store, or prepare the service's client."""
        super().model_post_init(context)
        key = None if self.api_key is None else self.api_key.get_secret_value()
        with raised_as(RetrievalError):
            self._source = open_source(
                self.store, self.url, model=self.model, mode=self.mode, api_key=key, timeout=self.timeout
            )

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, **asked: Any
    ) -> list[Document]:
        with raised_as(RetrievalError):
            return [_document(hit) for hit in self._source.search(query, self._asked(asked))]

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **asked: Any
    ) -> list[Document]:
        with raised_as(RetrievalError):
            return [_document(hit) for hit in await self._source.asearch(query, self._asked(asked))]

    def _asked(self, given: dict[str, Any]) -> Asked:
        """What one call asks for, over what the retriever was made with."""
        own = {"k": self.k, "mode": self.mode, "filter": self.filter, "min_score": self.min_score}
        unknown = sorted(given.keys() - own.keys())
        if unknown:
            raise RetrievalError(f"{unknown[0]}: unknown; a call takes {', '.join(own)}")
        chosen = own | given
        return Asked(chosen["k"], chosen["mode"], chosen["filter"], chosen["min_score"])


def _document(hit: Hit) -> Document:
    return Document(id=hit.id, page_content=hit.text, metadata=metadata_of(hit))
