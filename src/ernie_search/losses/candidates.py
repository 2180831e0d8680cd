"""``C(q)``: the passages of a batch that compete in a question's softmax.

A batch has Q questions, each with a group of ``1 + n`` passages, the positive first. The groups are laid out
one after the other, which gives ``P = Q (1 + n)`` columns of scores. A passage that occurs in several groups
is one candidate, not several: repeated columns would give it more weight than the others.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ernie_search.errors import TrainingError


@dataclass(frozen=True, slots=True)
class Candidates:
    """Masks that say which columns of a score matrix are candidates of which question.

    Attributes:
        positive: ``(Q,)`` column of each question's positive.
        allowed: ``(Q, P)`` bool; true once for each distinct passage (in the question's own group if it is
            there), false for the question's other known positives.
        own: ``(Q, P)`` bool; true for the allowed passages of the question's own group.
        denoised: ``(Q, P)`` bool; true for the question's denoised passages, which only the contrastive terms
            leave out; None without any.
        copied: which of the Q questions are copied from their positives, see
            :func:`~ernie_search.losses.copies.copies`; None without any. Known without asking a device.
    """

    positive: Tensor
    allowed: Tensor
    own: Tensor
    denoised: Tensor | None = None
    copied: tuple[bool, ...] | None = None

    @property
    def contrastive(self) -> Tensor:
        """``(Q, P)`` bool: the candidates of the contrastive terms, which are all but the denoised ones."""
        return self.allowed if self.denoised is None else self.allowed & ~self.denoised

    def to(self, device: Any) -> "Candidates":
        """A copy of the masks on another device."""
        denoised = None if self.denoised is None else self.denoised.to(device)
        return Candidates(
            self.positive.to(device), self.allowed.to(device), self.own.to(device), denoised, self.copied
        )


def candidates(
    groups: Sequence[Sequence[str]],
    positives: Sequence[set[str] | frozenset[str]],
    denoised: Sequence[set[str] | frozenset[str]] = (),
    *,
    strict: bool = True,
) -> Candidates:
    """Build the masks of a batch from passage ids: in-batch negatives without false ones.

    A denoised passage stands among a question's negatives and is likely relevant to it, as a teacher found.
    No contrastive term may push it away, so it is masked there wherever it stands in the batch. The terms
    that follow a teacher keep it: they learn from it how relevant it is.

    Args:
        groups: a list of passage ids for each question: its positive, then its hard negatives.
        positives: for each question, the ids of all passages known to be relevant, and of any other that
            is no negative.
        denoised: for each question, the ids of its denoised negatives, whether in its group or not; ``()``
            without any.
        strict: refuse a question without any negative; otherwise its softmax has its positive alone.

    Returns:
        The masks, on the CPU.

    Shapes:
        - ``groups``: Q lists of ``1 + n`` ids
        - returns: ``positive (Q,)``, ``allowed``, ``own`` and ``denoised (Q, P)`` with ``P = Q (1 + n)``

    Raises:
        TrainingError: groups of different sizes, or a question without any negative. One whose negatives are
            all denoised is not refused: its contrastive loss is zero.

    Source: in-batch negatives as in DPR (Karpukhin et al. 2020, arXiv 2004.04906); the masking of known
    positives and of repeated passages is ours.

    Example:
        >>> from ernie_search.losses import candidates
        >>> who = candidates([["p1", "n1"], ["p2", "p1"]], positives=[{"p1"}, {"p2"}])
        >>> who.positive.tolist()
        [0, 2]
        >>> who.allowed.int().tolist()  # p1 occurs twice: each question sees it once
        [[1, 1, 1, 0], [0, 1, 1, 1]]
        >>> who = candidates([["p1", "n1"], ["p2", "n2"]], [{"p1"}, {"p2"}], denoised=[{"n1"}, {"n1"}])
        >>> who.contrastive.int().tolist()  # n1 is likely relevant to both questions
        [[1, 0, 1, 1], [1, 0, 1, 1]]
    """
    size = len(groups[0])
    if any(len(group) != size for group in groups):
        raise TrainingError(
            f"groups of different sizes in one batch: {sorted({len(g) for g in groups})}; give each {size}"
        )
    flat = [passage for group in groups for passage in group]
    positive = torch.arange(len(groups)) * size
    allowed = torch.ones(len(groups), len(flat), dtype=torch.bool)
    own = torch.zeros_like(allowed)
    places: dict[str, list[int]] = defaultdict(list)
    for column, passage in enumerate(flat):
        places[passage].append(column)
    repeated = {passage: columns for passage, columns in places.items() if len(columns) > 1}
    for columns in repeated.values():
        allowed[:, columns[1:]] = False
    for row, known in enumerate(positives):
        own[row, row * size : (row + 1) * size] = True
        for column, passage in enumerate(groups[row], row * size):
            if passage in repeated:
                allowed[row, repeated[passage]] = False
                allowed[row, column] = True
        masked = [column for passage in known for column in places.get(passage, ())]
        allowed[row, masked] = False
        allowed[row, row * size] = True
    if strict and not bool((allowed.sum(dim=1) > 1).all()):
        raise TrainingError(
            "a question has no negative among its candidates, so there is nothing to learn; "
            "set questions_per_batch to 2 or more, or negatives to 1 or more"
        )
    return Candidates(positive, allowed, own & allowed, _places_of(denoised, places, positive, allowed))


def _places_of(
    denoised: Sequence[set[str] | frozenset[str]],
    places: Mapping[str, Sequence[int]],
    positive: Tensor,
    allowed: Tensor,
) -> Tensor | None:
    """``(Q, P)``: where each question's denoised passages stand; None where there are none."""
    if not any(denoised):
        return None
    found = torch.zeros_like(allowed)
    for row, passages in enumerate(denoised):
        found[row, [column for passage in passages for column in places.get(passage, ())]] = True
        found[row, positive[row]] = False
    return found
