"""The whole method's terms in one step, spelled out question by question; and runs that use them."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import CrossEncoder
from torch import Tensor, nn
from transformers import BertConfig, BertForSequenceClassification

import tiny_model
from ernie_search.errors import DataError, SettingsError
from ernie_search.losses import candidates, maxsim
from ernie_search.losses.terms import TERMS
from ernie_search.mining.lists import Lists, TrainingList, write_lists
from ernie_search.model import JointEncoder, ScoreSettings, from_base
from ernie_search.model.card import TERM_DESCRIPTIONS
from ernie_search.pipeline.recipe import rows_file
from ernie_search.training import TrainingData, prepare, train
from ernie_search.training.batches import Collator, StepBatch, StepBatches
from ernie_search.training.settings import TrainSettings
from ernie_search.training.step import JointLoss
from ernie_search.training.teachers import StepTeachers
from event_files import scalars
from tiny_training import collection, settings

WHOLE: dict[str, Any] = {
    "cascade_weight": 0.5,
    "direct_weight": 0.7,
    "margin_weight": 0.1,
    "attention_weight": 0.3,
    "dual_weight": 0.2,
    "negatives": 3,
    "cross_temperature": 1.5,
}


def test_every_term_has_a_weight_a_line_of_the_model_card_and_is_set_to_0_by_rows():
    weights = {f"{name}_weight" for name in TERMS}
    assert {name for name in TrainSettings.model_fields if name.endswith("_weight")} == weights
    assert set(TERM_DESCRIPTIONS) == weights
    assert {"dense_weight", *rows_file()["weights"]} == weights


def score(question: int, passage: int) -> float:
    """A teacher that knows the answer, and prefers some wrong passages to others."""
    return 4.0 if question == passage else math.sin(1.0 + question * 7 + passage * 3)


@pytest.fixture(scope="module")
def lists(tmp_path_factory: pytest.TempPathFactory) -> Lists:
    """Five negatives a question, scored."""
    rows = []
    for i in range(40):
        negatives = [(i + shift) % 40 for shift in (1, 3, 8, 13, 21)]
        rows.append(
            TrainingList(
                f"q{i}",
                (f"p{i}",),
                tuple(f"p{n}" for n in negatives),
                (score(i, i),),
                tuple(score(i, n) for n in negatives),
            )
        )
    folder = tmp_path_factory.mktemp("lists") / "scored"
    return write_lists(folder, rows, data_fingerprint=collection().fingerprint, about={})


@pytest.fixture(scope="module")
def data(lists: Lists) -> TrainingData:
    return prepare(collection(), settings(**WHOLE), lists)


@pytest.fixture
def model(base: str) -> JointEncoder:
    """In eval mode, so that dropout is off."""
    lengths = ScoreSettings(token_dim=16, query_length=32, passage_length=60)
    return from_base(base, settings=lengths, device="cpu").eval()


class TwoTeachers:
    """Cross-encoders of the tiny vocabulary; questions about even passages belong to the first."""

    def __init__(self, folder: Path) -> None:
        self.all = []
        for seed in (1, 2):
            torch.manual_seed(seed)
            config = BertConfig(
                vocab_size=len(tiny_model.VOCABULARY),
                hidden_size=32,
                num_hidden_layers=2,
                num_attention_heads=4,
                intermediate_size=48,
                max_position_embeddings=128,
                num_labels=1,
                initializer_range=0.2,
            )
            path = folder / str(seed)
            BertForSequenceClassification(config).save_pretrained(path)
            tiny_model.tokenizer().save_pretrained(path)
            self.all.append(CrossEncoder(str(path), device="cpu"))
        self.fingerprint = "two"

    def of(self, positives: frozenset[str]) -> int:
        return int(min(positives)[1:]) % 2


@pytest.fixture(scope="module")
def teachers(tmp_path_factory: pytest.TempPathFactory) -> TwoTeachers:
    return TwoTeachers(tmp_path_factory.mktemp("teachers"))


def step_of(data: TrainingData, chosen: Any) -> StepBatch:
    batches = StepBatches(data.examples, steps=1, questions=8, negatives=chosen.negatives, seed=chosen.seed)
    return batches[0]


def computed(
    model: JointEncoder, data: TrainingData, chosen: Any, teachers: StepTeachers
) -> tuple[dict[str, Tensor], JointLoss]:
    loss = JointLoss(model, chosen, teachers)
    collator = Collator(model, data.passages, 100, with_pairs=chosen.attention_weight > 0)
    return loss(collator([step_of(data, chosen)])), loss


def own_scores(model: JointEncoder, data: TrainingData, step: StepBatch) -> tuple[Tensor, Tensor]:
    """``(Q, 1 + n)`` dense and late scores of every question's own list, one text at a time."""
    dense, late = [], []
    for question, group in zip(step.questions, step.groups, strict=True):
        asked = read(model, question, "query")
        answers = [read(model, data.passages[passage], "passage") for passage in group]
        dense.append(torch.stack([asked[0] @ answer[0] for answer in answers]))
        late.append(torch.stack([(asked[1] @ a[1].T).max(dim=1).values.mean() for a in answers]))
    return torch.stack(dense), torch.stack(late)


def read(model: JointEncoder, text: str, task: Any) -> tuple[Tensor, Tensor]:
    length = model.length_of(task)
    tokenized = model.tokenizer([text], truncation=True, max_length=length, return_tensors="pt")
    output = model.read({"input_ids": tokenized.input_ids, "attention_mask": tokenized.attention_mask})
    tokens, mask = output.late()
    return output.cls[0], tokens[0][mask[0]]


def test_a_group_has_the_scores_of_its_passages(data):
    step = step_of(data, settings(**WHOLE))
    for name, group, scores in zip(step.ids, step.groups, step.scores, strict=True):
        expected = [score(int(name[1:]), int(passage[1:])) for passage in group]
        assert scores == pytest.approx(expected)


def test_cascade_direct_and_margin_equal_their_definition(model, data):
    chosen = settings(**WHOLE | {"attention_weight": 0.0, "dual_weight": 0.0})
    parts, loss = computed(model, data, chosen, StepTeachers())
    step = step_of(data, chosen)
    with torch.no_grad():
        dense, late = own_scores(model, data, step)
    sums: dict[str, list[float]] = {"cascade": [], "direct": [], "margin": []}
    entropies = []
    for row, scores in enumerate(step.scores):
        teacher = np.exp(np.array(scores) / 1.5)
        teacher /= teacher.sum()
        entropies.append(-(teacher * np.log(teacher)).sum())
        for name, student, temperature in (
            ("cascade", late, chosen.cascade_temperature),
            ("direct", dense, chosen.direct_temperature),
        ):
            log_p = torch.log_softmax(student[row] / temperature, 0).numpy()
            sums[name].append(float((teacher * (np.log(teacher) - log_p)).sum()))
        for place in range(1, len(scores)):
            margin = float(dense[row, 0] - dense[row, place]) * chosen.margin_scale
            sums["margin"].append((margin - (scores[0] - scores[place])) ** 2)
    for name, values in sums.items():
        expected = float(np.mean(values)) * chosen.weight(name)
        assert parts[f"loss_{name}"].item() == pytest.approx(expected, rel=1e-4, abs=1e-6)
    assert loss.take_raw()["cross_entropy"] == pytest.approx(float(np.mean(entropies)), abs=1e-4)


def test_attention_comes_from_the_teacher_of_each_question(model, data, teachers):
    chosen = settings(**WHOLE | {"dual_weight": 0.0})
    together = StepTeachers(teachers)
    together.fit(model, chosen)
    parts, _ = computed(model, data, chosen, together)
    assert parts["loss_attention"].item() > 0
    step = step_of(data, chosen)
    pairs = [
        (known, text, data.passages[group[0]])
        for known, text, group in zip(step.positives, step.questions, step.groups, strict=True)
    ]
    targets = together.attention(model, pairs, 24, 40)
    for row, pair in enumerate(pairs):
        alone = together.attention(model, [pair], 24, 40)
        torch.testing.assert_close(targets.map[row], alone.map[0])
        torch.testing.assert_close(targets.row_weight[row], alone.row_weight[0])
    # The sums over rows of the definition, pair by pair.
    total, weight = 0.0, 0.0
    for row, (_, question, passage) in enumerate(pairs):
        asked, answer = read(model, question, "query")[1], read(model, passage, "passage")[1]
        rows, columns = targets.query_kept[row], targets.passage_kept[row]
        assert int(rows.sum()) == len(asked)
        assert int(columns.sum()) == len(answer)
        wanted = targets.map[row][rows][:, columns]
        found = torch.log_softmax(asked @ answer.T / chosen.attention_temperature, dim=1)
        kl = (torch.xlogy(wanted, wanted) - wanted * found).sum(dim=1)
        total += (kl * targets.row_weight[row][rows]).sum().item()
        weight += float(targets.row_weight[row][rows].sum())
    expected = total / weight * chosen.attention_weight
    assert parts["loss_attention"].item() == pytest.approx(expected, rel=1e-3)


def test_dual_compares_two_passes_that_drop_different_units(model, data):
    chosen = settings(**WHOLE | {"attention_weight": 0.0})
    without_dropout, _ = computed(model, data, chosen, StepTeachers())
    assert without_dropout["loss_dual"].item() == pytest.approx(0, abs=1e-6)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.3
    model.train()
    dropped, _ = computed(model, data, chosen, StepTeachers())
    assert dropped["loss_dual"].item() > 1e-4


def test_a_frozen_teacher_gets_no_gradient_and_its_scores_are_its_own(model, data, base, tmp_path):
    other = from_base(base, settings=model.score_settings, seed=5, device="cpu").eval()
    with torch.no_grad():
        for value in other.parameters():
            value.add_(torch.randn(value.shape, generator=torch.Generator().manual_seed(3)) * 0.05)
    other.save(str(tmp_path / "frozen"))
    chosen = settings(interaction_teacher="frozen", late_weight=0.0, negatives=3)
    assert not chosen.needs_tokens
    frozen = StepTeachers(frozen=tmp_path / "frozen")
    frozen.fit(model, chosen)
    model.attach_tokens = chosen.needs_tokens
    parts, _ = computed(model, data, chosen, frozen)
    step = step_of(data, chosen)
    with torch.no_grad():
        answers = [read(other, data.passages[p], "passage") for group in step.groups for p in group]
        students = [model.encode(data.passages[p]) for group in step.groups for p in group]
    who = candidates(step.groups, step.positives)
    expected = []
    for row, question in enumerate(step.questions):
        asked = read(other, question, "query")
        late = torch.stack([(asked[1] @ a[1].T).max(dim=1).values.mean() for a in answers]).detach()
        dense = torch.tensor(np.stack(students) @ model.encode(question))
        kept = who.allowed[row]
        teacher = torch.log_softmax(late[kept] / chosen.teacher_temperature, 0)
        student = torch.log_softmax(dense[kept] / chosen.student_temperature, 0)
        expected.append(float((teacher.exp() * (teacher - student)).sum()))
    found = parts["loss_interaction"].item()
    assert found == pytest.approx(float(np.mean(expected)) * chosen.interaction_weight, rel=1e-3)
    torch.stack(list(parts.values())).sum().backward()
    assert all(value.grad is None for value in frozen.frozen_late().parameters())


def test_the_ensemble_teaches_both_readings(model, data):
    chosen = settings(interaction_teacher="ensemble", late_weight=0.0, dense_weight=1e-9, negatives=3)
    parts, _ = computed(model, data, chosen, StepTeachers())
    parts["loss_interaction"].backward()
    assert model.token_head.linear.weight.grad.abs().sum() > 0


def test_terms_without_weight_need_nothing(model, data, monkeypatch):
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("computed")

    for name in ("listwise_distillation", "margin_mse", "attention_sums", "dual_regularization"):
        monkeypatch.setattr(f"ernie_search.losses.terms.{name}", refuse)
    chosen = settings(late_weight=0.0, interaction_weight=0.0, negatives=3)
    monkeypatch.setattr("ernie_search.losses.terms.maxsim", refuse)
    parts, _ = computed(model, data, chosen, StepTeachers())
    assert set(parts) == {"loss_dense"}


def test_direct_distillation_alone_reads_no_tokens():
    chosen = settings(late_weight=0.0, interaction_weight=0.0, direct_weight=1.0)
    assert not chosen.needs_tokens
    assert settings(late_weight=0.0, interaction_weight=0.0, cascade_weight=1.0).needs_tokens


def test_the_whole_method_trains_and_goes_on_bit_for_bit(base, lists, teachers, tmp_path):
    class StopError(Exception):
        pass

    def stop(event: str, values: dict[str, Any]) -> None:
        if event == "checkpoint" and values["step"] == 4:
            raise StopError

    chosen = settings(**WHOLE | {"dual_passages": True})
    how: dict[str, Any] = {"base": base, "lists": lists, "teachers": StepTeachers(teachers)}
    whole = train(collection(), tmp_path / "whole", chosen, **how)
    with pytest.raises(StopError):
        train(collection(), tmp_path / "cut", chosen, **how, observer=stop)
    cut = train(collection(), tmp_path / "cut", chosen, **how)
    for name in ("model.safetensors", "token_head.safetensors"):
        assert (whole.last / name).read_bytes() == (cut.last / name).read_bytes()
    assert (tmp_path / "whole" / "curves.png").stat().st_size > 10_000
    lines = (tmp_path / "whole" / "log.jsonl").read_text(encoding="utf-8").splitlines()
    log = [event for event in map(json.loads, lines) if event["event"] == "log"]
    for folder in ("whole", "cut"):
        shown = scalars(tmp_path / folder)
        terms = ("dense", "late", "interaction", "cascade", "direct", "attention", "dual")
        parts = [f"{kind}_{term}" for kind in ("loss", "raw") for term in terms]
        entropies = [f"{of}_entropy" for of in ("teacher", "cross", "attention", "matching")]
        for name in ("loss", *parts, "grad_norm", *entropies):
            assert shown[f"train/{name}"] == pytest.approx({one["step"]: one[name] for one in log}), name
        assert {"eval/dense_mrr", "eval/late_mrr"} <= set(shown)


def test_training_goes_on_from_a_joint_model_with_its_head(base, lists, tmp_path):
    warm = train(collection(), tmp_path / "warm", settings(steps=2), base=base)
    chosen = settings(steps=1, learning_rate=1e-12, head_learning_rate=1e-12, weight_decay=0.0)
    after = train(collection(), tmp_path / "after", chosen, base=str(warm.last), lists=lists)
    from ernie_search.model import load

    before, found = load(warm.last, device="cpu"), load(after.last, device="cpu")
    torch.testing.assert_close(found.token_head.linear.weight, before.token_head.linear.weight)
    assert found.score_settings.base == before.score_settings.base


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"cascade_weight": 1.0}, "cascade_weight is above 0 and the lists have no teacher's scores"),
        ({"attention_weight": 1.0}, "attention_weight is above 0 and there is no cross-encoder"),
        ({"interaction_teacher": "frozen"}, "interaction_teacher=frozen needs the directory"),
        ({"direct_weight": 1.0, "negatives": 0}, "leaves the cross-encoder nothing"),
    ],
)
def test_a_term_without_its_teacher_is_refused(base, tmp_path, changes, words):
    with pytest.raises(SettingsError, match=words):
        train(collection(), tmp_path / "run", settings().model_copy(update=changes), base=base)
    assert not (tmp_path / "run").exists()


def test_an_even_attention_is_said_with_the_layers_that_are_less_even(base, lists, tmp_path):
    teachers = TwoTeachers(tmp_path)
    for teacher in teachers.all:
        with torch.no_grad():
            sharp, even = (layer.attention.self.query for layer in teacher.model.bert.encoder.layer)
            sharp.weight.mul_(20)
            even.weight.zero_()
            even.bias.zero_()

    def advice(folder: str, **changes: Any) -> list[str]:
        said: list[str] = []

        def observer(event: str, values: dict[str, Any]) -> None:
            if event == "advice" and "token-level attention" in values["text"]:
                said.append(values["text"])

        chosen = settings(**WHOLE | {"steps": 1, "evaluations": 0} | changes)
        how: dict[str, Any] = {"base": base, "lists": lists, "teachers": StepTeachers(teachers)}
        train(collection(), tmp_path / folder, chosen, **how, observer=observer)
        return said

    (text,) = advice("last")
    assert text.startswith("token-level attention: layer 1 of the cross-encoder attends almost evenly")
    assert "(1.00 of the largest entropy)" in text
    assert "the least even layers are 0 (" in text
    assert advice("first", attention_layer=0) == advice("none", attention_weight=0.0) == []


def test_dual_without_dropout_is_refused(base, tmp_path, monkeypatch):
    def all_of_them(model: nn.Module) -> list[nn.Dropout]:  # they get the rate of attention's, which is 0
        return [module for module in model.modules() if isinstance(module, nn.Dropout)]

    monkeypatch.setattr("ernie_search.model.base.attention_dropouts", all_of_them)
    with pytest.raises(SettingsError, match=r"no dropout of .* is active"):
        train(collection(), tmp_path / "run", settings(dual_weight=1.0), base=base)


def test_lists_of_another_corpus_are_refused(base, tmp_path):
    rows = [TrainingList("q0", ("p0",), ("p1",))]
    other = write_lists(tmp_path / "lists", rows, data_fingerprint="other", about={})
    with pytest.raises(DataError, match="mined from another collection"):
        train(collection(), tmp_path / "run", settings(), base=base, lists=other)


def test_a_flat_teacher_draws_one_line_of_advice(base, tmp_path):
    told = []

    def listen(event: str, values: dict[str, Any]) -> None:
        if event == "advice":
            told.append(values["text"])

    chosen = settings(teacher_temperature=50.0, steps=6)
    train(collection(), tmp_path / "run", chosen, base=base, observer=listen)
    assert len(told) == 1
    assert "almost flat" in told[0]
    assert "teacher_temperature" in told[0]


def test_maxsim_of_the_step_is_the_mean_over_the_questions_tokens(model):
    """The oracle above leans on it."""
    asked, answer = read(model, "where does tea grow?", "query"), read(model, "tea grows", "passage")
    ones = [torch.ones(1, len(tokens), dtype=torch.bool) for tokens in (asked[1], answer[1])]
    found = maxsim(asked[1][None], ones[0], answer[1][None], ones[1])
    assert found.item() == pytest.approx((asked[1] @ answer[1].T).max(dim=1).values.mean().item(), rel=1e-5)
