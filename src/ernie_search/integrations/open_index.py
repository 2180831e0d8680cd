"""An index that stays open in a process for long: warm, and in its newest state, whoever rewrites it."""

import re
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from ernie_search.encoder import Encoder
from ernie_search.encoding.opening import ChosenPrecision
from ernie_search.encoding.projected import ProjectedEncoder
from ernie_search.errors import DataError, ErnieSearchError, IndexStateError, SettingsError
from ernie_search.integrations.documents import Documents
from ernie_search.search import Mode, Searcher, best_mode
from ernie_search.search.opening import Seen, look_at, renewed, resolve, usable_modes

T = TypeVar("T")

REST = 2.0
"""Seconds until a change that could not be opened is tried again."""


class OpenIndex:
    """A searcher over an index on disk or a server, and the documents of that index.

    For one thread at a time. Another process may write the index: ``use`` takes up its newest commit first.

    Attributes:
        name: what clients call it.
        address: the index's folder or address, or a pointer file.
        searcher, documents: of its newest state that could be opened.
    """

    def __init__(
        self,
        name: str,
        address: str,
        model: Encoder | str | Path | None = None,
        *,
        mode: Mode | None = None,
        precision: ChosenPrecision = "fp32",
        warm: bool = True,
    ) -> None:
        """Open it, and search once in every mode, so that the first question waits for nothing.

        Args:
            name: for clients.
            address: see ``resolve``.
            model: the model itself, or where it is now if it was moved.
            mode: of searches that name none; with words no model is loaded until another mode is asked for.
            precision: of the questions' encoder; see ``open_encoder``.
            warm: whether to search once.

        Raises:
            ErnieSearchError: see ``Searcher.open``.
        """
        self.name, self.address = name, address
        self._model, self._asked, self._precision = model, mode, precision
        self._warm = warm
        self._seen = look_at(address, writable=False)  # before it is opened, so that no change is missed
        self._failed: Seen | None = None
        self._again = 0.0
        self._sound = True
        self._hold(self._open())

    @classmethod
    def sharing(
        cls,
        name: str,
        address: str,
        shared: Encoder | None,
        *,
        model: str | Path | None = None,
        **options: Any,
    ) -> "OpenIndex":
        """Open an index with a model that is loaded already, where that made it; else with its own.

        Args:
            name, address, model: see above.
            shared: the loaded model.
            **options: see above.

        Raises:
            ErnieSearchError: see above.
        """
        if shared is not None:
            with suppress(IndexStateError):  # of another model; what else is wrong is found again
                inner = shared.encoder if isinstance(shared, ProjectedEncoder) else shared
                return cls(name, address, inner, **options)
        return cls(name, address, model, **options)

    @property
    def mode(self) -> Mode:
        """That of searches that name none."""
        return self._asked or best_mode(self.searcher.index)

    @property
    def modes(self) -> Sequence[str]:
        """Those that it can answer in."""
        return usable_modes(self.searcher)

    def use(self, work: Callable[["OpenIndex"], T]) -> T:
        """Call ``work`` with the index in its newest state.

        Raises:
            SettingsError, DataError: of ``work``, about what was asked for.
            IndexStateError: the index cannot be read; anything else that a library raised becomes this.
        """
        try:
            self._refresh()
            return work(self)
        except (SettingsError, DataError):
            raise
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # libraries raise their own, and a panic in Rust is no Exception
            self._sound = False  # all files are read when it is opened again, which the next use tries
            if isinstance(error, ErnieSearchError):
                raise
            line = " ".join(str(error).split())[:200]
            raise IndexStateError(f"{self.address}: {type(error).__name__}: {line}") from error

    def close(self) -> None:
        """Release the index."""
        self.searcher.index.close()

    def _refresh(self) -> None:
        now = look_at(self.address, writable=False)
        if now is None or (now == self._seen and self._sound):
            return
        if now == self._failed and time.monotonic() < self._again:
            return
        old = self.searcher
        try:
            new = self._successor(now)
        except Exception:
            # The old state goes on; where it cannot be read either, the work says so.
            self._failed, self._again = now, time.monotonic() + REST
            return
        self._seen, self._failed, self._sound = now, None, True
        self._hold(new)
        old.index.close()

    def _successor(self, now: Seen) -> Searcher:
        if self._seen is not None and now.pointer == self._seen.pointer and self.searcher.has_model:
            with suppress(SettingsError):  # of another model, or not on disk
                return self._warmed(renewed(self.searcher, trust=self._sound))
        return self._open()

    def _open(self) -> Searcher:
        target = resolve(self.address)
        return self._warmed(Searcher.open(target, self._model, mode=self._asked, precision=self._precision))

    def _warmed(self, searcher: Searcher) -> Searcher:
        if self._warm and len(searcher.index):
            for mode in ["words"] if self._asked == "words" else usable_modes(searcher):
                searcher.search("warm up", 1, mode=mode)  # type: ignore[arg-type]
        return searcher

    def _hold(self, searcher: Searcher) -> None:
        self.searcher, self.documents = searcher, Documents(searcher.index)


def named(addresses: Sequence[str]) -> dict[str, str]:
    """Names for indexes, by which clients tell them apart: ``NAME=ADDRESS``, or by the folder's own name.

    Raises:
        SettingsError: a name that repeats, or with other signs than letters, digits, ``-``, ``_`` and ``.``.
    """
    found: dict[str, str] = {}
    for one in addresses:
        given, equals, address = one.partition("=")
        if equals and not re.search(r"[/\\.:]", given):
            name = given
            if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,63}", name):
                raise SettingsError(
                    f"{one}: a name before = begins with a small letter or digit, and has these, -, _ and ."
                )
        else:
            address, name = one, _name_of(one)
        if name in found:
            raise SettingsError(f"{one}: {name!r} names {found[name]}, too; write NAME={address}")
        found[name] = address
    return found


def _name_of(address: str) -> str:
    parts = [part for part in re.split(r"[/\\]+", address.rstrip("/\\")) if part not in ("", ".", "..")]
    if "://" not in address:
        parts = [*Path(address).resolve().parts]
    if len(parts) > 1 and parts[-1].startswith("."):  # .ernie-search in the folder that it is of
        parts.pop()
    made = re.sub(r"[^a-z0-9_-]+", "-", (parts[-1] if parts else "").lower()).strip("-_")
    return made[:64] or "index"
