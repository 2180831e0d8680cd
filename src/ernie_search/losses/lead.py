"""The lead of a teacher over its student on the labels of the batches: one that is behind does not teach.

Each question has a positive, and so a question that both can answer: which of the other candidates are
below it? Where teacher and student give the same answers, nothing is learned of who is better. Where they
differ, one of them is right. A question's lead is, over the candidates that they differ on, the share in
which the teacher is right less the share in which the student is: from -1 to 1. The lead is the mean over
the contested questions, those with any difference.

It compares orders alone, so it depends on no scale and no temperature. And it does not saturate: the
reciprocal rank in a batch is near 1 for any two readings worth training, and their difference near 0, while a
lead counts only the candidates that are hard for one of the two. A difference of log-likelihoods would mostly
measure whose temperature fits.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ernie_search._util.files import read_json, write_json
from ernie_search.losses.terms import StepReadings

LEAD_FILE = "lead.json"
MEMORY = 50
"""Steps that the mean goes back. A student catches up within some hundred steps, and 50 steps of 32 questions
hold several hundred contested ones: a standard error of about 0.03, small beside :data:`FULL_LEAD`."""
FULL_LEAD = 0.2
"""The lead from which on a term has its whole weight: the teacher is right in three of five contested
questions (0.6 - 0.4). Below, the weight falls linearly to zero, so that no step switches a term on or off."""


@dataclass(frozen=True, slots=True)
class Compared:
    """What a teacher and its student say of the same candidates.

    Attributes:
        teacher, student: ``(Q, P)`` scores, without gradients.
        kept: ``(Q, P)`` bool: the candidates that both judge and that the labels say something about; none of
            a copied question, where those are left out.
        positive: ``(Q,)`` column of each question's positive.
    """

    teacher: Tensor
    student: Tensor
    kept: Tensor
    positive: Tensor


def contested(compared: Compared) -> Tensor:
    """The questions on which teacher and student differ.

    Returns:
        ``(2,)``: the sum of their leads, and their number.
    """
    column = compared.positive[:, None]
    others = compared.kept & compared.kept.gather(1, column)
    others = others.scatter(1, column, False)
    teacher, student = (scores.gather(1, column) > scores for scores in (compared.teacher, compared.student))
    ahead = (teacher & ~student & others).sum(dim=1)
    behind = (student & ~teacher & others).sum(dim=1)
    differ = ahead + behind
    return torch.stack([((ahead - behind) / differ.clamp(min=1)).sum(), (differ > 0).sum()])


def _interaction(step: StepReadings) -> Compared:
    dense, settings = step.dense.detach(), step.settings
    if settings.interaction_teacher == "frozen":
        teacher = step.frozen
    else:
        teacher = (step.still.batch if settings.still_teacher else step.late).detach()
        if settings.interaction_teacher == "ensemble":
            teacher = teacher / settings.teacher_temperature + dense / settings.student_temperature
    # Of a whole list the labels say no more than of the batch, where there are more candidates to differ on.
    kept = step.who.contrastive
    if settings.distillation_candidates == "own":
        kept = kept & step.who.own
    return Compared(teacher, dense, step.without_copied(kept), step.who.positive)


def _of_cross(step: StepReadings, student: Tensor) -> Compared:
    first = torch.zeros_like(step.who.positive)
    return Compared(step.cross, student.detach(), step.scored & step.list_labelled, first)


COMPARED: dict[str, Callable[[StepReadings], Compared]] = {
    "interaction": _interaction,
    "cascade": lambda step: _of_cross(step, step.list_late),
    "direct": lambda step: _of_cross(step, step.list_dense),
    "margin": lambda step: _of_cross(step, step.list_dense),
}
"""The terms whose weight follows the lead of their teacher. Attention has no scores to compare, and in dual
regularization nobody is the teacher."""


class Lead(nn.Module):
    """The running lead of each term's teacher, and the share of its weight that follows from it.

    A step's share comes from the steps before it: it does not depend on what the step's own labels happen to
    say. It is ``(lead - its standard error) / FULL_LEAD``, between 0 and 1; the error is at most one over the
    root of the number of contested questions. So a term starts at 0, grows with the evidence that its teacher
    is ahead, and a lead within the noise counts as none. The state is three sums a term, in buffers: of the
    leads, of the contested questions, and of these under the squared decay, for the decayed mean's error.
    """

    def __init__(self) -> None:
        super().__init__()
        for name in COMPARED:
            self.register_buffer(name, torch.zeros(3))
        self._waiting: dict[str, Tensor] | None = None

    def sums(self, term: str) -> Tensor:
        """``(3,)``: the state of a term."""
        return self.get_buffer(term)

    def mean(self, term: str) -> Tensor:
        """The running lead; 0 where nothing was contested yet."""
        leads, count, _ = self.sums(term)
        found: Tensor = leads / count.clamp(min=torch.finfo(count.dtype).tiny)
        return found

    def share(self, term: str) -> Tensor:
        """The share of its weight that a term has, from 0 to 1."""
        _, count, squared = self.sums(term)
        error = squared.sqrt() / count.clamp(min=torch.finfo(count.dtype).tiny)
        share = ((self.mean(term) - error) / FULL_LEAD).clamp(0, 1)
        return torch.where(count > 0, share, torch.zeros_like(share))

    def update(self, term: str, found: Tensor) -> None:
        """Add one step's :func:`contested` questions."""
        keep = 1 - 1 / MEMORY
        decay = torch.tensor([keep, keep, keep**2], device=found.device)
        leads, count = found.detach().to(torch.float32)
        self.sums(term).copy_(self.sums(term) * decay + torch.stack([leads, count, count]))

    def follow(self, step: StepReadings) -> dict[str, Tensor]:
        """The share of each active term, after which the step's own labels are added to the mean.

        With :meth:`wait_for_all`, they are added by the next :meth:`settle` instead.

        Args:
            step: its readings.
        """
        shares = {}
        for term in step.settings.active_terms:
            if term not in COMPARED:
                continue
            found = contested(COMPARED[term](step)).to(torch.float32)
            self.to(found.device)  # the trainer has done it; a loop of one's own may not
            shares[term] = self.share(term)
            if self._waiting is None:
                self.update(term, found)
            else:
                steps = found.new_ones(1)
                self._waiting[term] = self._waiting.get(term, 0) + torch.cat([found, steps])
        return shares

    def wait_for_all(self) -> None:
        """Let labels wait for :meth:`settle` from now on, where several ranks have batches of their own."""
        if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            self._waiting = {}

    def settle(self) -> None:
        """Add what has waited, of all ranks, which must call this together.

        One exchange of a size that never changes: ranks may hold batches of other datasets at a time, whose
        active terms differ, and an exchange a term within a forward pass would then meet another's.
        """
        if self._waiting is None:
            return
        nothing = torch.zeros(3, device=self.sums(next(iter(COMPARED))).device)
        found = torch.stack([self._waiting.get(term, nothing) for term in COMPARED])
        dist.all_reduce(found)
        for term, row in zip(COMPARED, found, strict=True):
            if row[2] > 0:
                self.update(term, row[:2])
        self._waiting = {}

    def write(self, folder: Path) -> None:
        """Write ``lead.json`` into a checkpoint."""
        write_json(folder / LEAD_FILE, {term: self.sums(term).tolist() for term in COMPARED})

    def read(self, folder: Path) -> None:
        """Continue from the state in a checkpoint."""
        for term, sums in read_json(folder / LEAD_FILE).items():
            self.sums(term).copy_(torch.tensor(sums))
