"""Gradient caching gives the gradients of the plain step, under the same dropout; and runs with it resume."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ernie_search.errors import TrainingError
from ernie_search.losses import maxsim
from ernie_search.mining.lists import Lists, TrainingList, write_lists
from ernie_search.model import JointEncoder, ScoreSettings, from_base
from ernie_search.training import TrainingData, TrainSettings, prepare, train
from ernie_search.training.batches import Collator, StepBatches
from ernie_search.training.step import JointLoss
from ernie_search.training.teachers import StepTeachers
from ranks import OneTeacher
from tiny_training import collection, settings, weights, with_copies

WHOLE: dict[str, Any] = {
    "cascade_weight": 0.5,
    "direct_weight": 0.7,
    "margin_weight": 0.1,
    "attention_weight": 0.3,
    "dual_weight": 0.2,
    "negatives": 3,
}


@pytest.fixture(scope="module")
def cross(tmp_path_factory: pytest.TempPathFactory) -> OneTeacher:
    return OneTeacher(tmp_path_factory.mktemp("teachers") / "one")


@pytest.fixture(scope="module")
def lists(tmp_path_factory: pytest.TempPathFactory) -> Lists:
    """Five negatives a question, scored; some shared by several questions of a step."""
    rows = [
        TrainingList(
            f"q{i}",
            (f"p{i}",),
            tuple(f"p{(i + shift) % 40}" for shift in (1, 3, 8, 13, 21)),
            (4.0,),
            (0.5, -1.0, 1.5, 0.0, -0.5),
        )
        for i in range(40)
    ]
    folder = tmp_path_factory.mktemp("lists") / "scored"
    return write_lists(folder, rows, data_fingerprint=collection().fingerprint, about={})


@pytest.fixture(scope="module")
def data(lists: Lists) -> TrainingData:
    return with_copies(prepare(collection(), settings(**WHOLE), lists))


@pytest.fixture
def model(base: str) -> JointEncoder:
    """Training, with much dropout."""
    lengths = ScoreSettings(token_dim=16, query_length=32, passage_length=60)
    made = from_base(base, settings=lengths, device="cpu").train()
    for module in made.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.3
    return made


def one_step(
    model: JointEncoder, data: TrainingData, chosen: TrainSettings, teachers: StepTeachers
) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor]:
    """Parts, gradients by parameter, and the random number after the step."""
    model.attach_tokens = chosen.needs_tokens
    step = StepBatches(data.examples, steps=1, questions=8, negatives=chosen.negatives, seed=0)[0]
    features = Collator(model, data.passages, 100, with_pairs=chosen.attention_weight > 0)([step])
    assert len(features["passages"]) > 3
    assert 0 < sum(features["copied"]) < 8
    model.zero_grad()
    torch.manual_seed(11)
    parts: dict[str, Tensor] = JointLoss(model, chosen, teachers)(features)
    (torch.stack(list(parts.values())).sum() * 0.5).backward()  # scaled, as gradient accumulation does
    grads = {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}
    return parts, grads, torch.rand(1)


CASES: dict[str, dict[str, Any]] = {
    "default": {},
    "dense alone": {"late_weight": 0.0, "interaction_weight": 0.0},
    "whole": WHOLE,
    "dual passages": {"dual_weight": 1.0, "dual_passages": True},
    "no detach, own list": {"detach_teacher": False, "distillation_candidates": "own", "negatives": 2},
    "ensemble": {"interaction_teacher": "ensemble", "negatives": 2},
    "frozen": {"interaction_teacher": "frozen", "late_weight": 0.0},
}


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_cached_gradients_are_the_plain_ones(
    model, data, cross, base, name, recompute, tmp_path, monkeypatch
):
    if recompute:
        monkeypatch.setattr("ernie_search.training.step.WINNERS_KEPT", 0)
    chosen = settings(**CASES[name])
    frozen = None
    if name == "frozen":
        frozen = tmp_path / "frozen"
        from_base(base, settings=model.score_settings, seed=5, device="cpu").save(str(frozen))
    teachers = StepTeachers(cross, frozen)
    teachers.fit(model, chosen)
    plain = one_step(model, data, chosen, teachers)
    cached = one_step(model, data, chosen.model_copy(update={"gradient_cache": True}), teachers)
    assert plain[0].keys() == cached[0].keys()
    for part, value in plain[0].items():
        torch.testing.assert_close(cached[0][part], value, rtol=1e-5, atol=1e-6)
    assert plain[1].keys() == cached[1].keys()
    for parameter, value in plain[1].items():
        torch.testing.assert_close(cached[1][parameter], value, rtol=1e-4, atol=1e-5, msg=parameter)
    assert torch.equal(plain[2], cached[2])  # the next step draws what it would have drawn


def test_the_dropout_of_the_second_encoding_is_that_of_the_first(model, data, monkeypatch):
    drawn: list[list[Tensor]] = [[]]
    forward = nn.Dropout.forward

    def watched(self: nn.Dropout, values: Tensor) -> Tensor:
        result = forward(self, values)
        drawn[-1].append((result == 0).detach())
        return result

    monkeypatch.setattr(nn.Dropout, "forward", watched)
    backward = JointLoss.forward

    def two(self: JointLoss, features: Any, labels: None = None) -> Any:
        found = backward(self, features, labels)
        drawn.append([])
        return found

    monkeypatch.setattr(JointLoss, "forward", two)
    one_step(model, data, settings(gradient_cache=True), StepTeachers())
    first, second = drawn
    assert len(first) == len(second) > 10
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


def test_no_graph_of_the_encoder_is_kept(model, data, monkeypatch):
    from ernie_search.training.step import EncoderPasses

    kept: list[bool] = []
    read = EncoderPasses._read

    def watched(self: EncoderPasses, features: Any) -> Any:
        output = read(self, features)
        kept.append(output.cls.requires_grad)
        return output

    monkeypatch.setattr(EncoderPasses, "_read", watched)
    one_step(model, data, settings(gradient_cache=True), StepTeachers())
    half = len(kept) // 2
    assert kept == [False] * half + [True] * half


def test_a_part_alone_has_no_gradient(model, data):
    step = StepBatches(data.examples, steps=1, questions=8, negatives=1, seed=0)[0]
    features = Collator(model, data.passages, 100)([step])
    parts = JointLoss(model, settings(gradient_cache=True))(features)
    with pytest.raises(TrainingError, match="only their sum has a gradient"):
        (parts["loss_dense"] * 2 + parts["loss_late"]).backward()


def test_maxsim_that_keeps_nothing_has_the_same_gradients():
    generator = torch.Generator().manual_seed(3)
    queries, passages = torch.randn(5, 4, 8, generator=generator), torch.randn(9, 6, 8, generator=generator)
    masks = (
        torch.rand(5, 4, generator=generator) > 0.3,
        (torch.rand(9, 6, generator=generator) > 0.3).index_fill(1, torch.tensor([2]), True),
    )
    found = []
    for recompute in (False, True):
        q, p = queries.clone().requires_grad_(), passages.clone().requires_grad_()
        scores = maxsim(q, masks[0], p, masks[1], recompute=recompute)
        scores.logsumexp(dim=1).sum().backward()
        found.append((scores.detach(), q.grad, p.grad))
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


def test_a_cached_run_learns_and_goes_on_bit_for_bit(base, lists, cross, tmp_path):
    class StopError(Exception):
        pass

    def stop(event: str, values: dict[str, Any]) -> None:
        if event == "checkpoint" and values["step"] == 4:
            raise StopError

    chosen = settings(**WHOLE, gradient_cache=True, steps=8, evaluations=1, checkpoints=2, token_budget=100)
    how: dict[str, Any] = {"base": base, "lists": lists, "teachers": StepTeachers(cross)}
    whole = train(collection(), tmp_path / "whole", chosen, **how)
    with pytest.raises(StopError):
        train(collection(), tmp_path / "cut", chosen, **how, observer=stop)
    cut = train(collection(), tmp_path / "cut", chosen, **how)
    assert weights(whole.last) == weights(cut.last)
