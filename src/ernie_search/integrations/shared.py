"""What the retrievers of all frameworks share: stores or a service, metadata of hits, kinds of errors."""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from ernie_search.encoding.projected import ProjectedEncoder
from ernie_search.errors import ErnieSearchError, IndexStateError, SettingsError
from ernie_search.index import Index, as_filter
from ernie_search.integrations.asked import Asked, Source
from ernie_search.search import Fusion, Mode, Searcher, SearchOptions
from ernie_search.search.opening import Seen, look_at, renewed, resolve
from ernie_search.types import Hit

Store: TypeAlias = str | Path | Index | Searcher
"""An index's folder or address, an open one, or a searcher over it."""

LINKS = ("source", "url", "link", "document_url", "path")
"""Fields that say where a passage is from, by preference."""


def open_source(
    store: Store | Sequence[Store] | None,
    url: str | None,
    *,
    model: str | Path | None = None,
    mode: Mode | None = None,
    api_key: str | None = None,
    timeout: float = 10.0,
) -> Source:
    """Open stores in this process, or the client of a service.

    Args:
        store: one or several.
        url: of a service, instead.
        model: the store's model, if it was moved.
        mode: in which it will be searched, if that is known.
        api_key: of the service.
        timeout: seconds for an answer of the service.

    Raises:
        SettingsError: neither or both of a store and a URL; and as ``Stores`` and ``Service``.
        IndexStateError, ModelError: see ``Searcher.open``.
    """
    if (store is None) == (url is None):
        raise SettingsError("give store= (an index, in this process) or url= (of a service), one of them")
    if url is not None:
        from ernie_search.integrations.service import Service  # httpx, which the frameworks bring

        return Service(url, api_key, timeout)
    given: list[Any] = list(store) if isinstance(store, list | tuple) else [store]
    return Stores(given, model, mode)


class _Opened:
    """One store, which follows what other processes write into it.

    Attributes:
        name: what messages call it.
        searcher: over its newest commit, as far as was looked.
    """

    def __init__(self, store: Store, model: Any, mode: Mode | None) -> None:
        self._address = str(store) if isinstance(store, str | Path) else None
        self._model, self._mode = model, mode
        self.name = self._address or "the store"
        self._seen = self._look()
        self.searcher = store if isinstance(store, Searcher) else self._opened(store)

    def _look(self) -> Seen | None:
        return None if self._address is None else look_at(self._address, writable=False)

    def _opened(self, store: str | Path | Index) -> Searcher:
        target = resolve(str(store)) if isinstance(store, str | Path) else store
        return Searcher.open(target, self._model, mode=self._mode)

    def follow(self) -> bool:
        """Open the newest commit if there is another one; whether there was.

        While a writer replaces the files there is nothing to see, and the open commit stays in use.
        """
        now = self._look()
        if self._address is None or now is None or now == self._seen:
            return False
        old = self.searcher
        try:
            if not old.has_model or now.pointer != (self._seen.pointer if self._seen else b""):
                raise SettingsError("of another place, or without a model, everything is opened anew")
            self.searcher = renewed(old)
        except ErnieSearchError:
            self.searcher = self._opened(self._address)
        self._seen = now
        if self.searcher is not old:
            old.index.close()
        return True

    def search(self, question: str, k: int, options: SearchOptions) -> list[Hit]:
        self.follow()
        try:
            return self.searcher.search(question, k, **options)
        except Exception as error:
            if self.follow():  # it was rewritten under the search
                return self.searcher.search(question, k, **options)
            if isinstance(error, ErnieSearchError):
                raise
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise IndexStateError(
                f"{self.name}: cannot be searched ({first:.200}); if another process rewrites it, wait until "
                "that has ended, else see: ernie-search doctor"
            ) from error


class Stores:
    """Indexes that are opened once, in this process, and searched from any thread."""

    def __init__(self, stores: Sequence[Store], model: str | Path | None = None, mode: Mode | None = None):
        """Open them.

        Args:
            stores: one or several; several have to be of one model, as hits are merged by their scores.
            model: of theirs, if it was moved.
            mode: in which they will be searched, if that is known.

        Raises:
            SettingsError: no store; several in mode words, whose scores depend on the collection.
            IndexStateError, ModelError: see ``Searcher.open``.
        """
        if not stores:
            raise SettingsError("store is empty; name an index")
        self._lock = threading.Lock()
        self._check(len(stores), mode)
        first = _Opened(stores[0], model, mode)
        shared = first.searcher.model if len(stores) > 1 else None
        if isinstance(shared, ProjectedEncoder):  # each index has a projection of its own
            shared = shared.encoder
        self._opened = [first, *(_Opened(one, shared, mode) for one in stores[1:])]

    @staticmethod
    def _check(count: int, mode: Mode | None) -> None:
        if count > 1 and mode == "words":
            raise SettingsError(
                "mode words: its scores of different collections cannot be compared; search one store, or in "
                "another mode"
            )

    def search(self, question: str, asked: Asked) -> list[Hit]:
        """See ``Source``.

        Raises:
            ErnieSearchError: see ``Searcher.search``; one line.
        """
        several = len(self._opened) > 1
        self._check(len(self._opened), asked.mode)
        options = SearchOptions(mode=asked.mode, where=as_filter(asked.condition))
        if several:
            options["fusion"] = Fusion("absolute")  # the same weights for all
        with self._lock:
            found = [hit for one in self._opened for hit in one.search(question, asked.k, options)]
        if several:
            found = sorted(found, key=lambda hit: -hit.score)[: asked.k]
        return asked.kept(found)

    async def asearch(self, question: str, asked: Asked) -> list[Hit]:
        """See ``Source``: in a thread."""
        return await asyncio.to_thread(self.search, question, asked)


def metadata_of(hit: Hit) -> dict[str, Any]:
    """What frameworks show of a hit: its fields, and over them ``id``, ``passage``, ``title``, ``score``.

    ``source`` is the first of the fields ``LINKS`` that it has, else the document's id.
    """
    source = next((hit.fields[name] for name in LINKS if hit.fields.get(name)), hit.parent or hit.id)
    own = {"id": hit.id, "passage": hit.passage, "title": hit.title, "score": hit.score, "source": source}
    return {**hit.fields, **own, **({} if hit.start is None else {"start": hit.start})}


@contextmanager
def raised_as(kind: type[Exception]) -> Iterator[None]:
    """Raise what we raise on purpose as the framework's kind of error, in one line and without a cause."""
    try:
        yield
    except ErnieSearchError as error:
        raise (error if isinstance(error, kind) else kind(" ".join(str(error).split()))) from None
