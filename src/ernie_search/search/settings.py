"""What a search may be asked for: the modes and the options that all ways to search share."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypedDict, get_args

from ernie_search._util.files import did_you_mean
from ernie_search.errors import IndexStateError, SettingsError
from ernie_search.index import Filter, Index
from ernie_search.search.fusion import Fusion, TokenWeights
from ernie_search.types import check_question

Mode = Literal["words", "dense", "late", "hybrid", "cross"]
"""``words``: BM25 alone, which needs no model. ``dense``: the single vectors alone. ``late``: their best
candidates, re-ranked by the token matrices. ``hybrid``: the candidates of the single vectors and of BM25, by
all readings together (see ``Fusion``), late interaction among them where there are token matrices. ``cross``:
as the best of ``hybrid``, ``late`` and ``dense`` that the index can do, and then the first are read by the
cross-encoder."""

ByParent = bool | Literal["auto"]
"""Whether pieces of a document count as that document; ``auto``: if the index holds any piece."""


def best_mode(index: Index) -> Mode:
    """The mode of a search that names none: hybrid where there are words, else late, else dense."""
    if "bm25" in index.capabilities:
        return "hybrid"
    return "late" if index.has_tokens else "dense"


def check_mode(mode: Mode, index: Index, *, can_cross: bool, name: str = "this index") -> None:
    """Refuse a mode that an index has no means for; needs no model, so it can be asked before one is loaded.

    Args:
        mode: to search in.
        index: to be searched.
        can_cross: whether there is a cross-encoder.
        name: what to call the index in the message.

    Raises:
        SettingsError: an unknown mode; words or hybrid where nothing searches by words; cross without a
            cross-encoder.
        IndexStateError: late where there are no token matrices.
    """
    if mode not in get_args(Mode):
        raise SettingsError(f"mode={mode!r}: unknown{did_you_mean(mode, get_args(Mode))}")
    best = best_mode(index)
    if mode in ("words", "hybrid") and "bm25" not in index.capabilities:
        raise SettingsError(f"{name} cannot search by words; use mode {best}")
    if mode == "cross" and not can_cross:
        raise SettingsError(f"mode cross needs a cross-encoder; name one with --cross, or use mode {best}")
    if mode == "late" and not index.has_tokens:
        raise IndexStateError(f"{name} holds no token matrices; use mode {best}, or index again with tokens")


class SearchOptions(TypedDict, total=False):
    """The options of every search, by keyword; see ``SearchSettings``."""

    mode: Mode | None
    candidates: int
    by_parent: ByParent
    where: Filter | None
    fusion: Fusion | None
    token_weights: TokenWeights | None
    rerank: bool
    cross_candidates: int | None
    exact: bool


@dataclass(frozen=True, slots=True)
class SearchSettings:
    """How to search.

    Attributes:
        mode: see ``Mode``; None for ``best_mode``.
        candidates: passages that late interaction scores, and that each ranking gives to a fusion;
            any further hits follow in the first stage's order.
        by_parent: a document cut into pieces is one hit, with text and scores of its best piece, whose id is
            ``Hit.passage``.
        where: only passages whose fields meet it, in every stage.
        fusion: for hybrid mode. None: as ``ernie-search tune`` found best for this index; else ``absolute``,
            or ``rrf`` where the index keeps no statistics of its words (Qdrant).
        token_weights: how much each of the question's tokens counts in late interaction; None: as tuned, else
            as ``DEFAULTS`` say.
        rerank: for hybrid mode: whether late interaction takes part, where there are token matrices.
        cross_candidates: passages that the cross-encoder reads; None stands for ``k``.
        exact: compare with every vector, also where the index has an approximate index.
    """

    mode: Mode | None = None
    candidates: int = 100
    by_parent: ByParent = "auto"
    where: Filter | None = None
    fusion: Fusion | None = None
    token_weights: TokenWeights | None = None
    rerank: bool = True
    cross_candidates: int | None = None
    exact: bool = False

    def first_mode(self, index: Index) -> Mode:
        """The mode before any cross-encoder: what ranks the passages that it reads."""
        return best_mode(index) if self.mode in (None, "cross") else self.mode

    def uses_tokens(self, index: Index) -> bool:
        """Whether late interaction takes part."""
        mode = self.first_mode(index)
        return mode == "late" or (mode == "hybrid" and self.rerank and index.has_tokens)

    def check(self, texts: Sequence[str], k: int, index: Index, *, can_cross: bool) -> None:
        """Refuse what cannot be answered.

        Raises:
            SettingsError: an unknown mode or token weights; ``k`` or a number of candidates below 1; a mode
                or filter that the index has no means for; cross mode without a cross-encoder.
            IndexStateError: late mode, but the index holds no token matrices.
            DataError: an empty question.
        """
        if isinstance(texts, str):
            raise SettingsError(
                "search_many takes a list of questions, not one string; use search for a single one"
            )
        check_mode(best_mode(index) if self.mode is None else self.mode, index, can_cross=can_cross)
        if self.token_weights not in (None, *get_args(TokenWeights)):
            raise SettingsError(
                f"token_weights={self.token_weights!r}: unknown"
                f"{did_you_mean(str(self.token_weights), get_args(TokenWeights))}"
            )
        if k < 1 or self.candidates < 1:
            raise SettingsError(f"k={k}, candidates={self.candidates}: both must be at least 1")
        if self.cross_candidates is not None and self.cross_candidates < 1:
            raise SettingsError(f"cross_candidates={self.cross_candidates}: must be at least 1")
        if self.where is not None and "filters" not in index.capabilities:
            raise SettingsError("this index knows no filters; leave out where")
        for place, text in enumerate(texts):
            check_question(text, f"question {place + 1} of {len(texts)}")
