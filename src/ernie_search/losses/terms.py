"""The terms of the loss: each one function of a step's readings, and one line in :data:`TERMS`.

``L = L_DE + L_LI + w_i L_LI>DE + w_c L_CE>LI + w_d L_CE>DE + w_a L_att + w_r L_dual`` (docs/method.md, "The
total loss"), and MarginMSE and two other teachers of the single vector for comparison. A term of weight zero
is not called, so that what only it needs (a second pass, a teacher's pass, the token matrix) is not computed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ernie_search.errors import SettingsError, TrainingError
from ernie_search.losses.attention import attention_means, attention_sums
from ernie_search.losses.cached import CachedPassages
from ernie_search.losses.candidates import Candidates
from ernie_search.losses.contrastive import contrastive
from ernie_search.losses.dual import dual_regularization
from ernie_search.losses.ensemble import ensemble_distillation
from ernie_search.losses.interaction import interaction_distillation
from ernie_search.losses.late_interaction import maxsim
from ernie_search.losses.listwise import listwise_distillation
from ernie_search.losses.margin_mse import margin_mse
from ernie_search.losses.settings import LossSettings
from ernie_search.model import EncoderOutput
from ernie_search.model.attention import AttentionTargets
from ernie_search.model.base import attention_rate


@dataclass(frozen=True, slots=True)
class ListedPassages:
    """Passages of each question's list beyond its group: cached, so that they get no gradient.

    Attributes:
        cached: their vectors, for this rank's questions.
        allowed: ``(Q, M)`` bool; false where a list is shorter than the longest of the step, and at the
            question itself.
        denoised: ``(Q, M)`` bool; true for negatives that are likely relevant.
        scores: ``(Q, M)`` logits of the cross-encoder; NaN where it gave none.
    """

    cached: CachedPassages
    allowed: Tensor
    denoised: Tensor
    scores: Tensor


@dataclass(frozen=True, slots=True)
class LateScores:
    """Scores of late interaction: ``(Q, P)`` of the batch, ``(Q, M)`` of list passages where there are."""

    batch: Tensor
    listed: Tensor | None = None


@dataclass
class StepReadings:
    """The readings of one step: Q questions, P = Q (1 + n) candidate places, B distinct passages.

    Scores are of the whole step, on every rank; the questions are this rank's own.

    Attributes:
        settings: of the loss.
        questions: this rank's questions, all Q of them where there is one.
        passages: B rows of all ranks, in blocks; a passage that several groups show is one row.
        columns: ``(P,)`` the row, of the rows of all blocks, of each candidate place.
        who: candidates of each question.
        cross_scores: ``(Q, 1 + n)`` logits of the cross-encoder over each question's own list, the positive
            first; NaN where it gave none.
        second_pass: the questions (or both sides) encoded once more: its ``(Q, P)`` dense scores.
        frozen_late: ``(Q, P)`` scores of a frozen late-interaction teacher.
        attention: what the cross-encoder attends to, on each question's positive.
        entropies: mean entropy of each teacher, in nats, by name; filled by the terms.
        whole: gathers rows of this rank's questions into those of all Q questions.
        mine: which of the Q questions are this rank's.
        recompute: MaxSim keeps nothing for its backward.
        frugal: attention keeps nothing for its backward.
        listed: further passages of each question's list, where a term sees them.
        still_late: the late interaction of the same weights without dropout, where it teaches.
    """

    settings: LossSettings
    questions: EncoderOutput
    passages: list[EncoderOutput]
    columns: Tensor
    who: Candidates
    cross_scores: Tensor | None
    second_pass: Callable[[], Tensor]
    frozen_late: Callable[[], Tensor]
    attention: Callable[[Sequence[int], int, int], AttentionTargets]
    entropies: dict[str, Tensor]
    whole: Callable[[Tensor], Tensor]
    mine: slice
    recompute: bool
    frugal: bool
    listed: ListedPassages | None = None
    still_late: Callable[[], LateScores] | None = None

    @cached_property
    def dense(self) -> Tensor:
        """``(Q, P)`` scores of the single vectors."""
        return self._scores([self.questions.cls @ block.cls.t() for block in self.passages])

    @cached_property
    def late(self) -> Tensor:
        """``(Q, P)`` scores of late interaction."""
        asked, weights = self.questions.late(), self.questions.weights
        return self._scores(
            [
                maxsim(*asked, *block.late(), query_weights=weights, recompute=self.recompute)
                for block in self.passages
            ]
        )

    def _scores(self, blocks: list[Tensor]) -> Tensor:
        return self.whole(torch.cat(blocks, dim=1)[:, self.columns])

    @cached_property
    def still(self) -> LateScores:
        """Scores of the same weights' late interaction without dropout, computed once."""
        if self.still_late is None:
            raise TrainingError("this step has no pass without dropout; set still_teacher to false")
        return self.still_late()

    @cached_property
    def frozen(self) -> Tensor:
        """``(Q, P)`` scores of the frozen teacher, computed once."""
        return self.frozen_late()

    @cached_property
    def listed_dense(self) -> Tensor | None:
        """``(Q, M)`` scores of the single vectors with the list passages."""
        return None if self.listed is None else self.whole(self.listed.cached.dense(self.questions.cls))

    @cached_property
    def listed_late(self) -> Tensor | None:
        """``(Q, M)`` scores of late interaction with the list passages."""
        if self.listed is None:
            return None
        return self.whole(self.listed.cached.late(*self.questions.late(), self.questions.weights))

    def whole_list(self, scores: Tensor, listed: Tensor | None) -> Tensor:
        """``(Q, 1 + n + M)`` of each question's whole list: its own group, then the list passages.

        Args:
            scores: ``(Q, P)`` of the batch.
            listed: ``(Q, M)`` of the list passages; ``None`` without any.
        """
        own = self.own(scores)
        return own if listed is None else torch.cat([own, listed], dim=1)

    @property
    def list_dense(self) -> Tensor:
        """``(Q, 1 + n + M)`` scores of the single vectors with each question's whole list."""
        return self.whole_list(self.dense, self.listed_dense)

    @property
    def list_late(self) -> Tensor:
        """``(Q, 1 + n + M)`` scores of late interaction with each question's whole list."""
        return self.whole_list(self.late, self.listed_late)

    @property
    def list_labelled(self) -> Tensor:
        """``(Q, 1 + n + M)`` bool: places of the whole list whose labels count; denoised ones' do not."""
        listed = None if self.listed is None else self.listed.allowed & ~self.listed.denoised
        return self.whole_list(self.who.own & self.who.contrastive, listed)

    def distilled(self, scores: Tensor, listed: Tensor | None) -> Tensor:
        """The scores, of those of the batch and of the lists, that interaction distillation compares."""
        whole_list = self.settings.distillation_candidates == "list"
        return self.whole_list(scores, listed) if whole_list else scores

    @property
    def distilled_over(self) -> Tensor:
        """``(Q, P)`` or ``(Q, 1 + n + M)`` bool: the candidates of interaction distillation.

        Questions copied from their positives have none, unless they are to be taught on.
        """
        kind = self.settings.distillation_candidates
        if kind == "list":
            found = self.whole_list(self.who.own, None if self.listed is None else self.listed.allowed)
        else:
            found = self.who.own if kind == "own" else self.who.allowed
        return self.without_copied(found)

    @property
    def copied(self) -> tuple[bool, ...] | None:
        """Which questions interaction distillation leaves out, as they are copied; None: no one."""
        return self.who.copied if self.settings.copied_questions == "left_out" else None

    def without_copied(self, mask: Tensor) -> Tensor:
        """``(Q, ...)`` bool: the mask without the rows of the questions that are left out."""
        if self.copied is None:
            return mask
        return mask & ~torch.tensor(self.copied, device=mask.device)[:, None]

    @property
    def taught(self) -> float:
        """The share of the questions that interaction distillation does not leave out."""
        return 1.0 if self.copied is None else 1 - sum(self.copied) / len(self.copied)

    @property
    def late_teacher(self) -> Tensor:
        """Scores of the late interaction that teaches, over :attr:`distilled_over`."""
        if self.settings.interaction_teacher == "frozen":
            return self.frozen
        if self.settings.still_teacher:
            return self.distilled(self.still.batch, self.still.listed)
        return self.distilled(self.late, self._if_listed("late"))

    @property
    def dense_student(self) -> Tensor:
        """Scores of the single vectors, over :attr:`distilled_over`."""
        return self.distilled(self.dense, self._if_listed("dense"))

    def _if_listed(self, reading: Literal["dense", "late"]) -> Tensor | None:
        """Scores of the list passages, if interaction distillation sees them: else they are not computed."""
        if self.settings.distillation_candidates != "list":
            return None
        return self.listed_dense if reading == "dense" else self.listed_late

    def own(self, scores: Tensor) -> Tensor:
        """``(Q, P)`` of the batch to ``(Q, 1 + n)`` of each question's own list, the positive first."""
        count = len(scores)
        rows = torch.arange(count, device=scores.device)
        return scores.reshape(count, count, -1)[rows, rows]

    @cached_property
    def cross(self) -> Tensor:
        """``(Q, 1 + n + M)`` logits of the cross-encoder over the whole list, zero where unknown."""
        return torch.nan_to_num(self._cross_scores)

    @cached_property
    def scored(self) -> Tensor:
        """``(Q, 1 + n + M)`` bool: places of the list that are candidates and have a teacher's score."""
        allowed = None if self.listed is None else self.listed.allowed
        return self.whole_list(self.who.own, allowed) & self._cross_scores.isfinite()

    @property
    def _cross_scores(self) -> Tensor:
        if self.cross_scores is None:
            raise TrainingError("the batch has no teacher scores; train on lists that a teacher scored")
        if self.listed is None:
            return self.cross_scores
        return torch.cat([self.cross_scores, self.listed.scores], dim=1)


def dense(step: StepReadings) -> Tensor:
    """``L_DE``: contrastive loss of the single vectors."""
    return contrastive(step.dense, step.who, step.settings.dense_temperature)


def late(step: StepReadings) -> Tensor:
    """``L_LI``: contrastive loss of late interaction."""
    return contrastive(step.late, step.who, step.settings.late_temperature)


def interaction(step: StepReadings) -> Tensor:
    """``L_LI>DE``: late interaction, a frozen model, or the sum of both teaches the single vector.

    Questions that are left out count as zero, so that few others among them do not get their weight.
    """
    settings = step.settings
    if settings.interaction_teacher == "ensemble":
        both = ensemble_distillation(
            step.late_teacher,
            step.dense_student,
            step.distilled_over,
            late_temperature=settings.teacher_temperature,
            dense_temperature=settings.student_temperature,
        )
        loss, entropy = both.dense + both.late, both.teacher_entropy
    else:
        distilled = interaction_distillation(
            step.late_teacher,
            step.dense_student,
            step.distilled_over,
            teacher_temperature=settings.teacher_temperature,
            student_temperature=settings.student_temperature,
            detach_teacher=settings.detach_teacher,
        )
        loss, entropy = distilled.loss, distilled.teacher_entropy
    if step.taught > 0:
        step.entropies["teacher_entropy"] = entropy
    return loss * step.taught


def _from_cross(step: StepReadings, student: Tensor, temperature: float) -> Tensor:
    distilled = listwise_distillation(
        step.cross,
        student,
        step.scored,
        teacher_temperature=step.settings.cross_temperature,
        student_temperature=temperature,
    )
    step.entropies["cross_entropy"] = distilled.teacher_entropy
    return distilled.loss


def cascade(step: StepReadings) -> Tensor:
    """``L_CE>LI``: the cross-encoder teaches late interaction."""
    return _from_cross(step, step.list_late, step.settings.cascade_temperature)


def direct(step: StepReadings) -> Tensor:
    """``L_CE>DE``: the cross-encoder teaches the single vector directly."""
    return _from_cross(step, step.list_dense, step.settings.direct_temperature)


def margin(step: StepReadings) -> Tensor:
    """MarginMSE: the cross-encoder teaches the single vector its margins; for comparison."""
    return margin_mse(step.cross, step.list_dense, step.scored, student_scale=step.settings.margin_scale)


def attention(step: StepReadings) -> Tensor:
    """``L_att``: the cross-encoder's attention on the positives teaches token similarities."""
    questions, question_mask = step.questions.late()
    positives = step.columns[step.who.positive[step.mine]]
    sums, first = questions.new_zeros(len(positives), 4), 0
    for block in step.passages:
        passages, passage_mask = block.late()
        here = (positives >= first) & (positives < first + len(passages))
        asked, rows = here.nonzero().flatten(), positives[here] - first
        first += len(passages)
        if not len(asked):
            continue
        targets = step.attention(asked.tolist(), questions.shape[1], passages.shape[1])
        arguments = (
            targets.map,
            targets.row_weight,
            questions[asked],
            passages[rows],
            targets.query_kept & question_mask[asked],
            targets.passage_kept & passage_mask[rows],
            step.settings.attention_temperature,
        )
        if step.frugal:
            again = checkpoint(attention_sums, *arguments, use_reentrant=False, preserve_rng_state=False)
            found = cast(Tensor, again)
        else:
            found = attention_sums(*arguments)
        sums = sums.index_copy(0, asked, found)
    attended = attention_means(step.whole(sums))
    step.entropies["attention_entropy"] = attended.teacher_entropy
    step.entropies["matching_entropy"] = attended.student_entropy
    return attended.loss


def dual(step: StepReadings) -> Tensor:
    """``L_dual``: two passes with other dropout must score alike."""
    temperature = step.settings.dual_temperature
    return dual_regularization(step.dense, step.second_pass(), step.who.allowed, temperature=temperature)


def check_dropout(model: nn.Module, settings: LossSettings) -> None:
    """Refuse dual regularization of a model without dropout.

    Raises:
        SettingsError: both passes would be the same.
    """
    if settings.dual_weight > 0 and not any(
        (one.p if isinstance(one, nn.Dropout) else attention_rate(one) or 0) > 0 for one in model.modules()
    ):
        name = getattr(model, "name", "the model")
        raise SettingsError(
            f"dual_weight is {settings.dual_weight:g}, and no dropout of {name} is active, so both "
            "passes are the same and the term is always 0; set dual_weight to 0, or "
            "hidden_dropout above 0"
        )


TERMS: dict[str, Callable[[StepReadings], Tensor]] = {
    "dense": dense,
    "late": late,
    "interaction": interaction,
    "cascade": cascade,
    "direct": direct,
    "margin": margin,
    "attention": attention,
    "dual": dual,
}
"""Every term by its name; its weight is the setting ``NAME_weight``."""
