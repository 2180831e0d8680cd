"""The joint loss against the plain computation on one padded batch, and the groups of the optimizer."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from ernie_search.losses import candidates
from ernie_search.model import JointEncoder, ScoreSettings, from_base
from ernie_search.training import TrainingData, TrainSettings, prepare
from ernie_search.training.batches import Collator, StepBatch, StepBatches
from ernie_search.training.joint import JointTraining
from ernie_search.training.step import JointLoss
from tiny_training import collection, settings


@pytest.fixture(scope="module")
def data() -> TrainingData:
    return prepare(collection(), settings())


@pytest.fixture
def model(base: str) -> JointEncoder:
    """In eval mode, so that dropout is off."""
    lengths = ScoreSettings(token_dim=16, query_length=32, passage_length=60)
    return from_base(base, settings=lengths, device="cpu").eval()


def step_of(data: TrainingData, chosen: TrainSettings) -> StepBatch:
    batches = StepBatches(data.examples, steps=1, questions=8, negatives=chosen.negatives, seed=chosen.seed)
    return batches[0]


def read_padded(model: JointEncoder, texts: list[str], length: int) -> tuple[Tensor, list[Tensor]]:
    """Both readings from one padded batch, as sentence-transformers makes it."""
    tokenized = model.tokenizer(texts, padding=True, truncation=True, max_length=length, return_tensors="pt")
    features = model({"input_ids": tokenized.input_ids, "attention_mask": tokenized.attention_mask})
    special = [model.tokenizer.cls_token_id, model.tokenizer.sep_token_id, model.tokenizer.pad_token_id]
    tokens = []
    for row, ids in zip(features["token_embeddings"], tokenized.input_ids, strict=True):
        kept = row[~torch.isin(ids, torch.tensor(special))]
        tokens.append(nn.functional.normalize(model.token_head.linear(kept), dim=-1))
    return nn.functional.normalize(features["sentence_embedding"], dim=-1), tokens


def spelled_out(model: JointEncoder, data: TrainingData, chosen: TrainSettings) -> dict[str, Tensor]:
    """The formulas of docs/method.md, by question, with duplicates encoded as often as they occur."""
    step = step_of(data, chosen)
    texts = [data.passages[passage] for group in step.groups for passage in group]
    question, question_tokens = read_padded(model, step.questions, chosen.query_length)
    passage, passage_tokens = read_padded(model, texts, chosen.passage_length)
    who = candidates(step.groups, step.positives)
    sums: dict[str, list[Tensor]] = {"dense": [], "late": [], "interaction": []}
    for row in range(len(step.questions)):
        kept = who.allowed[row].nonzero().flatten().tolist()
        place = kept.index(int(who.positive[row]))
        dense = torch.stack([question[row] @ passage[column] for column in kept])
        late = torch.stack(
            [(question_tokens[row] @ passage_tokens[column].T).max(dim=1).values.mean() for column in kept]
        )
        sums["dense"].append(-torch.log_softmax(dense / chosen.dense_temperature, 0)[place])
        sums["late"].append(-torch.log_softmax(late / chosen.late_temperature, 0)[place])
        teacher = torch.softmax(late.detach() / chosen.teacher_temperature, 0)
        student = torch.log_softmax(dense / chosen.student_temperature, 0)
        sums["interaction"].append((teacher * (teacher.log() - student)).sum())
    weights = {
        "dense": chosen.dense_weight,
        "late": chosen.late_weight,
        "interaction": chosen.interaction_weight,
    }
    return {f"loss_{name}": torch.stack(values).mean() * weights[name] for name, values in sums.items()}


def micro_batched(
    model: JointEncoder, data: TrainingData, chosen: TrainSettings, budget: int
) -> dict[str, Tensor]:
    features = Collator(model, data.passages, budget)([step_of(data, chosen)])
    assert (len(features["passages"]) > 1) == (budget < 1000)
    parts: dict[str, Tensor] = JointLoss(model, chosen)(features)
    return parts


def gradients(model: JointEncoder, parts: dict[str, Tensor]) -> dict[str, Tensor]:
    model.zero_grad()
    torch.stack(list(parts.values())).sum().backward()
    return {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}


@pytest.mark.parametrize("budget", [1, 150, 100_000])
@pytest.mark.parametrize("negatives", [0, 2])
def test_losses_and_gradients_equal_the_definition_on_one_padded_batch(model, data, budget, negatives):
    chosen = settings(negatives=negatives)
    ours, oracle = micro_batched(model, data, chosen, budget), spelled_out(model, data, chosen)
    assert ours.keys() == oracle.keys()
    for name, value in oracle.items():
        torch.testing.assert_close(ours[name], value, rtol=1e-4, atol=1e-5)
    found, expected = gradients(model, ours), gradients(model, oracle)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(
            found[name], value, rtol=1e-3, atol=1e-5, msg=lambda text, n=name: f"{n}: {text}"
        )


PARTS = {"dense": "dense_weight", "late": "late_weight", "interaction": "interaction_weight"}


@pytest.mark.parametrize(
    ("zero", "untouched"),
    [
        (["interaction_weight"], ["interaction_distillation"]),
        (["late_weight", "interaction_weight"], ["interaction_distillation", "maxsim"]),
        (["dense_weight"], []),
    ],
)
def test_a_part_without_weight_is_not_computed(model, data, monkeypatch, zero, untouched):
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("computed")

    for name in untouched:
        monkeypatch.setattr(f"ernie_search.losses.terms.{name}", refuse)
    chosen = settings(**dict.fromkeys(zero, 0.0))
    model.attach_tokens = chosen.needs_tokens
    loss = JointLoss(model, chosen)
    parts = loss(Collator(model, data.passages, 1000)([step_of(data, chosen)]))
    left = {name for name, weight in PARTS.items() if weight not in zero}
    assert set(parts) == {f"loss_{name}" for name in left}
    raw = loss.take_raw()
    assert set(raw) == {f"raw_{name}" for name in left} | (
        {"teacher_entropy"} if "interaction" in left else set()
    )
    assert loss.take_raw() == {}


def test_raw_parts_are_means_without_their_weights(model, data):
    chosen = settings(late_weight=0.5, interaction_weight=4.0)
    loss, features = JointLoss(model, chosen), Collator(model, data.passages, 1000)([step_of(data, chosen)])
    loss(features)  # the same again: a mean of two equal ones
    parts = loss(features)
    raw = loss.take_raw()
    assert raw["raw_late"] == pytest.approx(parts["loss_late"].item() / 0.5, abs=1e-4)
    assert raw["raw_interaction"] == pytest.approx(parts["loss_interaction"].item() / 4, abs=1e-4)


def test_the_collator_encodes_a_shared_passage_once_and_counts_what_it_cuts(base, data):
    short = ScoreSettings(token_dim=16, query_length=8, passage_length=60)
    model = from_base(base, settings=short, device="cpu")
    step = StepBatch(["where does tea grow?", "rice"], [["p0", "p5"], ["p1", "p0"]], [frozenset({"p0"})] * 2)
    step.positives[1] = frozenset({"p1"})
    features = Collator(model, {f"p{i}": "tea" for i in range(9)}, 1000)([step])
    assert len(features["passage_order"]) == 3
    assert features["columns"].tolist() == [0, 1, 2, 0]
    assert features["truncated"] == {"query": 1, "passage": 0}


def test_the_token_head_has_a_rate_of_its_own(base, data, tmp_path: Path):
    chosen = settings(learning_rate=1e-4, head_learning_rate=5e-3, weight_decay=0.02)
    model = from_base(base, settings=ScoreSettings(query_length=32, passage_length=60), device="cpu")
    run = JointTraining(tmp_path / "run", chosen, model, data, lambda event, values: None)
    groups = run.trainer.create_optimizer().param_groups
    names = {id(value): name for name, value in model.named_parameters()}
    seen = [names[id(value)] for group in groups for value in group["params"]]
    assert sorted(seen) == sorted(names.values())  # each once
    for group in groups:
        for value in group["params"]:
            name = names[id(value)]
            assert group["lr"] == (5e-3 if "token_head" in name else 1e-4)
            assert group["weight_decay"] == (0.0 if name.endswith("bias") or "LayerNorm" in name else 0.02)
