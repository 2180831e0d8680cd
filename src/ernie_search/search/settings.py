"""What a search may be asked for: the modes and the options that all ways to search share."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypedDict, get_args

from ernie_search._util.files import did_you_mean
from ernie_search.errors import IndexStateError, SettingsError
from ernie_search.index import Filter, Index
from ernie_search.search.fusion import Fusion
from ernie_search.search.token_weights import TokenWeights
from ernie_search.types import check_question

Mode = Literal["dense", "late", "hybrid", "cross"]
"""``dense``: the single vectors alone. ``late``: their best candidates, re-ranked by the token matrices.
``hybrid``: the candidates of the single vectors and of BM25, fused, then re-ranked likewise. ``cross``: as
``late`` (or ``dense`` where there are no token matrices), and then the best are read by the cross-encoder."""

ByParent = bool | Literal["auto"]
"""Whether pieces of a document count as that document; ``auto``: if the index holds any piece."""


def best_mode(index: Index) -> Mode:
    """The mode of a search that names none: late interaction where there are token matrices, else dense."""
    return "late" if index.has_tokens else "dense"


def check_mode(mode: Mode, index: Index, *, can_cross: bool, name: str = "this index") -> None:
    """Refuse a mode that an index has no means for; needs no model, so it can be asked before one is loaded.

    Args:
        mode: to search in.
        index: to be searched.
        can_cross: whether there is a cross-encoder.
        name: what to call the index in the message.

    Raises:
        SettingsError: an unknown mode; hybrid where nothing searches by words; cross without a cross-encoder.
        IndexStateError: late where there are no token matrices.
    """
    if mode not in get_args(Mode):
        raise SettingsError(f"mode={mode!r}: unknown{did_you_mean(mode, get_args(Mode))}")
    best = best_mode(index)
    if mode == "hybrid" and "bm25" not in index.capabilities:
        raise SettingsError(f"{name} cannot search by words; use mode {best}")
    if mode == "cross" and not can_cross:
        raise SettingsError(f"mode cross needs a cross-encoder; name one with --cross, or use mode {best}")
    if mode == "late" and not index.has_tokens:
        raise IndexStateError(f"{name} holds no token matrices; use mode {best}, or index again with tokens")


class SearchOptions(TypedDict, total=False):
    """The options of every search, by keyword; see ``SearchSettings``."""

    mode: Mode
    candidates: int
    by_parent: ByParent
    where: Filter | None
    fusion: Fusion
    rerank: bool
    cross_candidates: int | None
    exact: bool
    token_weights: TokenWeights


@dataclass(frozen=True, slots=True)
class SearchSettings:
    """How to search.

    Attributes:
        mode: see ``Mode``.
        candidates: passages that are re-ranked by late interaction, and that each ranking gives to a fusion;
            any further hits follow in the first stage's order.
        by_parent: a document cut into pieces is one hit, with text and scores of its best piece, whose id is
            ``Hit.passage``.
        where: only passages whose fields meet it, in every stage.
        fusion: for hybrid mode.
        rerank: for hybrid mode: whether late interaction follows, where there are token matrices.
        cross_candidates: passages that the cross-encoder reads; None stands for ``k``.
        exact: compare with every vector, also where the index has an approximate index.
        token_weights: of the question's tokens in late interaction; see ``TokenWeights``.
    """

    mode: Mode = "late"
    candidates: int = 100
    by_parent: ByParent = "auto"
    where: Filter | None = None
    fusion: Fusion = Fusion()  # noqa: RUF009 - frozen
    rerank: bool = True
    cross_candidates: int | None = None
    exact: bool = False
    token_weights: TokenWeights = "auto"

    def uses_tokens(self, index: Index) -> bool:
        """Whether late interaction takes part."""
        if self.mode == "late":
            return True
        return index.has_tokens and (self.mode == "cross" or (self.mode == "hybrid" and self.rerank))

    def check(self, texts: Sequence[str], k: int, index: Index, *, can_cross: bool) -> None:
        """Refuse what cannot be answered.

        Raises:
            SettingsError: an unknown mode; ``k`` or a number of candidates below 1; hybrid mode or a filter
                that the index has no means for; cross mode without a cross-encoder.
            IndexStateError: late mode, but the index holds no token matrices.
            DataError: an empty question.
        """
        if isinstance(texts, str):
            raise SettingsError(
                "search_many takes a list of questions, not one string; use search for a single one"
            )
        check_mode(self.mode, index, can_cross=can_cross)
        if k < 1 or self.candidates < 1:
            raise SettingsError(f"k={k}, candidates={self.candidates}: both must be at least 1")
        if self.cross_candidates is not None and self.cross_candidates < 1:
            raise SettingsError(f"cross_candidates={self.cross_candidates}: must be at least 1")
        if self.token_weights not in get_args(TokenWeights):
            known = did_you_mean(self.token_weights, get_args(TokenWeights))
            raise SettingsError(f"token_weights={self.token_weights!r}: unknown{known}")
        if self.where is not None and "filters" not in index.capabilities:
            raise SettingsError("this index knows no filters; leave out where")
        for place, text in enumerate(texts):
            check_question(text, f"question {place + 1} of {len(texts)}")
