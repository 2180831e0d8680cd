"""The lead of a teacher: what it counts, and what follows from it for the weight of a term."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from ernie_search.losses import LossSettings, candidates
from ernie_search.losses.lead import COMPARED, FULL_LEAD, MEMORY, Compared, Lead, contested
from ernie_search.losses.parts import LossParts
from ernie_search.losses.terms import StepReadings
from ernie_search.model import EncoderOutput


def compared(teacher: list[list[float]], student: list[list[float]], kept: Tensor | None = None) -> Compared:
    """Of questions whose positive is the first candidate."""
    scores = torch.tensor(teacher)
    known = torch.ones(scores.shape, dtype=torch.bool) if kept is None else kept
    return Compared(scores, torch.tensor(student), known, torch.zeros(len(scores), dtype=torch.long))


def test_a_question_counts_what_teacher_and_student_differ_on():
    both_right = ([0.9, 0.1, 0.2, 0.3], [0.9, 0.1, 0.2, 0.3])
    teacher_right_twice_student_once = ([0.5, 0.1, 0.2, 0.9], [0.5, 0.8, 0.9, 0.1])
    student_right = ([0.1, 0.2, 0.0, 0.0], [0.3, 0.2, 0.0, 0.0])
    both_wrong = ([0.1, 0.2, 0.3, 0.4], [0.1, 0.2, 0.3, 0.4])
    rows = [both_right, teacher_right_twice_student_once, student_right, both_wrong]
    found = contested(compared([row[0] for row in rows], [row[1] for row in rows]))
    assert found.tolist() == pytest.approx([1 / 3 - 1, 2])


def test_a_lead_depends_on_no_scale_and_not_on_candidates_that_are_none():
    generator = torch.Generator().manual_seed(0)
    teacher, student = torch.randn(2, 30, 9, generator=generator)
    kept = torch.rand(30, 9, generator=generator) > 0.3
    kept[0, 0] = False  # a question whose positive nobody scored
    first = torch.zeros(30, dtype=torch.long)
    found = contested(Compared(teacher, student, kept, first))
    torch.testing.assert_close(contested(Compared(9 * teacher + 2, 0.1 * student, kept, first)), found)
    torch.testing.assert_close(contested(Compared(teacher[1:], student[1:], kept[1:], first[1:])), found)
    spoiled = teacher.masked_fill(~kept, math.inf)
    spoiled[:, 0] = teacher[:, 0]
    torch.testing.assert_close(contested(Compared(spoiled, student, kept, first)), found)


def test_the_share_grows_with_the_evidence_and_is_0_behind_or_within_the_noise():
    lead = Lead()
    assert lead.share("interaction") == 0
    shares = []
    for _ in range(6):
        lead.update("interaction", torch.tensor([1.5, 3.0]))  # a lead of one half
        shares.append(lead.share("interaction").item())
    assert shares[0] == 0  # three questions: the error is 0.58
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert lead.mean("interaction").item() == pytest.approx(0.5)
    for _ in range(2 * MEMORY):
        lead.update("interaction", torch.tensor([-0.3, 3.0]))
    assert lead.share("interaction") == 0
    lead.update("cascade", torch.tensor([1.0, 20.0]))  # 0.05, and an error of 0.22
    assert lead.share("cascade") == 0
    assert lead.share("direct") == 0


def test_between_nothing_and_the_full_lead_the_share_is_linear():
    lead = Lead()
    for _ in range(8 * MEMORY):
        lead.update("margin", torch.tensor([0.1 * 1e6, 1e6]))
    assert lead.share("margin").item() == pytest.approx(0.1 / FULL_LEAD, abs=0.01)


def test_the_state_is_read_as_it_was_written(tmp_path: Path):
    lead, other = Lead(), Lead()
    for step in range(7):
        lead.update("interaction", torch.tensor([0.1 * step, 3.0 + step]))
    lead.write(tmp_path)
    other.read(tmp_path)
    for one in (lead, other):
        one.update("interaction", torch.tensor([0.7, 5.0]))
    assert torch.equal(lead.sums("interaction"), other.sums("interaction"))


def readings(settings: LossSettings, late_is_right: bool) -> tuple[StepReadings, Tensor, Tensor]:
    """A step of 24 questions in which one reading is right and the other is not, and both as leaves."""
    groups = [[f"p{row}", f"n{row}"] for row in range(24)]
    who = candidates(groups, [{group[0]} for group in groups])
    right = torch.zeros(24, 48)
    right[torch.arange(24), who.positive] = 1.0
    wrong = -right
    late, dense = (right, wrong) if late_is_right else (wrong, right)
    late, dense = late.requires_grad_(), dense.clone().requires_grad_()

    def none(*arguments: object) -> Tensor:
        raise AssertionError("asked")

    empty = EncoderOutput(torch.zeros(1, 1))
    step = StepReadings(
        settings, empty, [], who.positive, who, None, none, none, none, {}, none, slice(0, 24), False, False
    )
    step.__dict__.update(late=late, dense=dense)
    return step, late, dense


def test_a_teacher_behind_gives_no_gradient_and_one_ahead_its_whole_weight():
    settings = LossSettings(dense_weight=0.0, late_weight=1e-9, interaction_weight=3.0)
    for ahead in (True, False):
        parts = LossParts()
        for _ in range(3):
            step, _, dense = readings(settings, ahead)
            found = parts.weighted(step, training=True)
            found["loss_interaction"].backward()
        logged = parts.means.take()
        assert logged["raw_interaction"] > 0
        if ahead:
            assert dense.grad.abs().sum() > 0
            assert logged["lead_interaction"] == 1
            assert 1.5 < logged["weight_interaction"] < 3  # nothing was known in the first of three steps
            assert found["loss_interaction"].item() == pytest.approx(3 * logged["raw_interaction"], rel=1e-4)
        else:
            assert dense.grad.abs().sum() == 0
            assert (logged["lead_interaction"], logged["weight_interaction"]) == (-1, 0)


def test_copied_questions_neither_show_a_lead_nor_are_taught():
    copied = torch.arange(24) % 3 == 0
    for copies in ("left_out", "taught"):
        settings = LossSettings(copied_questions=copies, late_weight=1e-9)
        parts = LossParts()
        for _ in range(3):
            step, _, dense = readings(settings, late_is_right=True)
            step.who = replace(step.who, copied=tuple(copied.tolist()))
            parts.weighted(step, training=True)["loss_interaction"].backward()
        assert bool((dense.grad[copied] != 0).any()) == (copies == "taught")
        assert bool((dense.grad[~copied] != 0).any(dim=1).all())
        assert parts.means.take()["teacher_entropy"] >= 0
    step, _, _ = readings(LossSettings(), late_is_right=True)
    alone = LossParts()
    alone.weighted(step, training=True)
    assert alone.lead.sums("interaction")[1] == 24
    whole = alone.means.take()["raw_interaction"]
    step.who = replace(step.who, copied=tuple(copied.tolist()))
    some = LossParts()
    some.weighted(step, training=True)
    assert some.lead.sums("interaction")[1] == 16
    # The others, which are all alike here, don't get the weight of those that are left out.
    assert some.means.take()["raw_interaction"] == pytest.approx(whole * 16 / 24, rel=1e-3)


def test_where_all_questions_are_copied_nothing_is_taught_and_no_entropy_logged():
    parts = LossParts()
    for _ in range(3):
        step, _, dense = readings(LossSettings(late_weight=1e-9), late_is_right=True)
        step.who = replace(step.who, copied=(True,) * 24)
        parts.weighted(step, training=True)["loss_interaction"].backward()
    assert dense.grad.abs().sum() == 0
    logged = parts.means.take()
    assert (logged["raw_interaction"], logged["lead_interaction"], logged["weight_interaction"]) == (0, 0, 0)
    assert "teacher_entropy" not in logged


@pytest.mark.parametrize(
    ("training", "follow"), [(True, False), (False, True)], ids=["follow_lead=false", "evaluation"]
)
def test_weights_stay_where_they_follow_nothing(training: bool, follow: bool):
    step, _, _ = readings(LossSettings(follow_lead=follow), late_is_right=False)
    parts = LossParts()
    found = parts.weighted(step, training=training)
    assert found["loss_interaction"].item() == pytest.approx(
        3 * parts.means.take()["raw_interaction"], rel=1e-4
    )
    assert all(parts.lead.sums(term).sum() == 0 for term in ("interaction", "cascade"))


def test_the_share_of_the_gradient_at_the_token_vectors_is_the_lead_s():
    parts, distilled = LossParts(), LossSettings()
    assert parts.token_gradient(distilled, training=True) == 0  # nothing is known yet
    parts.lead.update("interaction", torch.tensor([40.0, 40.0]))
    share = parts.token_gradient(distilled, training=True)
    assert share == parts.lead.share("interaction") == 1
    parts.lead.update("interaction", torch.tensor([-400.0, 400.0]))
    assert share == 1  # a step keeps its own
    for changes in (
        {"late_gradient": "whole"},
        {"follow_lead": False},
        {"interaction_weight": 0},
        {"interaction_teacher": "ensemble"},
        {"dense_weight": 0},
    ):
        assert parts.token_gradient(LossSettings(**changes), training=True) is None
    assert parts.token_gradient(distilled, training=False) is None


def test_ranks_add_their_labels_together_once_a_step(monkeypatch: pytest.MonkeyPatch):
    """Whatever terms their batches have: one exchange of one shape, outside the forward pass."""
    other = torch.zeros(len(COMPARED), 3)
    place = list(COMPARED).index("cascade")
    other[place] = torch.tensor([2.0, 4.0, 1.0])  # the other rank's batch had scores
    shapes = []

    def all_reduce(found: Tensor) -> None:
        shapes.append(tuple(found.shape))
        found += other

    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    monkeypatch.setattr(dist, "all_reduce", all_reduce)
    parts = LossParts()
    parts.lead.wait_for_all()
    settings = LossSettings(late_weight=1e-9)
    parts.weighted(readings(settings, late_is_right=True)[0], training=True)
    parts.weighted(readings(settings, late_is_right=True)[0], training=True)  # two micro-batches
    assert shapes == []
    assert parts.lead.mean("interaction") == 0  # not yet
    alone = LossParts()
    alone.weighted(readings(settings, late_is_right=True)[0], training=True)
    mine = alone.lead.sums("interaction")
    parts.lead.settle()
    assert shapes == [(len(COMPARED), 3)]
    assert parts.lead.mean("interaction") == alone.lead.mean("interaction")
    assert parts.lead.sums("interaction")[1] == 2 * mine[1]
    assert parts.lead.mean("cascade") == 0.5
    assert parts.lead.sums("direct").tolist() == [0, 0, 0]
    before = parts.lead.sums("interaction").clone()
    other.zero_()
    parts.lead.settle()  # nothing new: nothing fades
    assert torch.equal(parts.lead.sums("interaction"), before)
