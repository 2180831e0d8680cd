"""The loss for sentence-transformers' trainer: the same as our trainer's, and whole trainings with it."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from torch import nn
from transformers import PrinterCallback

import ernie_search
import tiny_model
from ernie_search.errors import ModelError, SettingsError, TrainingError
from ernie_search.losses import ErnieSearchLoss, LossSettings
from ernie_search.losses.ernie_search_loss import _candidates
from ernie_search.losses.lead import LEAD_FILE
from ernie_search.model import JointEncoder, ScoreSettings, adopt, fit_start, from_base
from ernie_search.model.pooling import LEAST_WEIGHT, word_weights
from ernie_search.training.batches import Collator, StepBatch
from ernie_search.training.settings import TrainSettings
from ernie_search.training.step import JointLoss
from tiny_training import CROPS, PLACES

QUESTIONS = [f"where does {crop} grow?" for crop in CROPS]
PASSAGES = {f"p{i}": f"{crop} is grown in {PLACES[i % 8]}." for i, crop in enumerate(CROPS)}
TERMS: dict[str, Any] = {
    "cascade_weight": 0.5,
    "direct_weight": 0.7,
    "margin_weight": 0.1,
    "dual_weight": 0.2,
}


def rows(count: int, negatives: int) -> StepBatch:
    """Questions with their passage and the next ones as negatives; the last question is the first again."""
    groups = [[f"p{(i + k) % count}" for k in range(1 + negatives)] for i in range(count)]
    scores = [[3.0 - k + 0.1 * (i % 5) for k in range(1 + negatives)] for i in range(count)]
    positives = [frozenset({group[0]}) for group in groups]
    positives[0] = positives[-1] = positives[0] | positives[-1]
    return StepBatch([*QUESTIONS[: count - 1], QUESTIONS[0]], groups, positives, scores)


def columns(model: SentenceTransformer, batch: StepBatch) -> list[dict[str, Any]]:
    """The batch as sentence-transformers' collator gives it to a loss."""
    passages = [[PASSAGES[one] for one in column] for column in zip(*batch.groups, strict=True)]
    return [model.preprocess(texts) for texts in (batch.questions, *passages)]


def undropped(model: JointEncoder) -> JointEncoder:
    """In training mode, as the lead is followed there alone, but without dropout."""
    for module in model.modules():
        if isinstance(module, nn.Dropout) and module.p:
            module.p = 1e-12
    return model.train()


@pytest.mark.parametrize(
    ("negatives", "changes"),
    [
        (0, {}),
        (2, {}),
        (3, TERMS),
        (2, {"interaction_teacher": "ensemble", "follow_lead": False}),
        (2, {"late_temperature": 0.04}),
        (1, {}),
    ],
    ids=["pairs", "negatives", "scores", "ensemble", "fitted", "copied"],
)
def test_it_is_the_loss_of_our_trainer_step_by_step(base, negatives, changes, request):
    lengths = ScoreSettings(token_dim=16, query_length=60, passage_length=60)
    model = from_base(base, settings=lengths, device="cpu")
    if request.node.callspec.id == "fitted":
        fit_start(model, list(PASSAGES.values()), pooling="weighted")
        assert word_weights(model) is not None
    model = undropped(model)
    batch = rows(8, negatives)
    if request.node.callspec.id == "copied":
        for row, end in ((1, ""), (2, "?"), (5, " .")):
            batch.questions[row] = PASSAGES[batch.groups[row][0]].strip(".").upper() + end
        copied = Collator(model, PASSAGES, 100_000)([batch])["copied"]
        assert [row for row in range(8) if copied[row]] == [1, 2, 5]
    chosen = TrainSettings(negatives=negatives, **changes)
    ours, theirs = JointLoss(model, chosen), ErnieSearchLoss(model, LossSettings(**changes))
    labels = torch.tensor(batch.scores) if "cascade_weight" in changes else None
    if labels is None:
        batch.scores.clear()
    for _ in range(3):  # the weights of distillation follow the steps before
        found = []
        for loss in (
            lambda: ours(Collator(model, PASSAGES, 100_000)([batch])),
            lambda: theirs(columns(model, batch), labels),
        ):
            model.zero_grad()
            parts = loss()
            torch.stack(list(parts.values())).sum().backward()
            grads = {name: one.grad.clone() for name, one in model.named_parameters() if one.grad is not None}
            found.append((parts, grads))
        (parts, grads), (other, theirs_grads) = found
        assert list(parts) == list(other)
        for name, value in parts.items():
            assert other[name].item() == pytest.approx(value.item(), rel=1e-6, abs=1e-6), name
        assert grads.keys() == theirs_grads.keys()
        for name, grad in grads.items():
            torch.testing.assert_close(theirs_grads[name], grad, rtol=1e-4, atol=1e-5)
    logged = ours.take_raw()
    assert theirs.take_raw() == pytest.approx(logged, abs=2e-5)
    assert ("lead_interaction" in logged) is chosen.follow_lead


def dataset(count: int = 40, negatives: int = 2, scores: bool = False) -> Dataset:
    batch = rows(count, negatives)
    named = {"anchor": batch.questions}
    for k in range(1 + negatives):
        named["positive" if k == 0 else f"negative_{k}"] = [PASSAGES[group[k]] for group in batch.groups]
    return Dataset.from_dict(named | ({"scores": batch.scores} if scores else {}))


def trainer_of(
    model: SentenceTransformer,
    output: Path,
    data: Dataset,
    settings: LossSettings | None = None,
    **changes: Any,
) -> SentenceTransformerTrainer:
    arguments = {"max_steps": 6, "save_steps": 3, "logging_steps": 1, "per_device_train_batch_size": 6}
    loss = ErnieSearchLoss(model, settings)
    evaluated = {"eval_dataset": data} if "eval_strategy" in changes else {}
    trainer = SentenceTransformerTrainer(
        model=model,
        args=SentenceTransformerTrainingArguments(
            output_dir=str(output),
            learning_rate=1e-3,
            learning_rate_mapping={"token_head": 1e-2},
            use_cpu=True,
            dataloader_pin_memory=False,
            report_to="none",
            disable_tqdm=True,
            **arguments | changes,
        ),
        train_dataset=data,
        loss=loss,
        callbacks=[loss.callback],
        **evaluated,
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def weights(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.safetensors"))}


def assert_reads_alike(folder: Path, model: SentenceTransformer, texts: Sequence[str]) -> None:
    """The saved directory is a plain SentenceTransformer, and to us a model with both readings."""
    expected = model.encode(list(texts))
    np.testing.assert_allclose(
        SentenceTransformer(str(folder), device="cpu").encode(list(texts)), expected, atol=1e-6
    )
    ours = ernie_search.load(str(folder), device="cpu").encode_joint(list(texts), "passage")
    np.testing.assert_allclose(ours.dense, expected, atol=1e-3)
    own = model.encode_joint(list(texts), "passage")
    for found, wanted in zip(ours.tokens, own.tokens, strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-3)


def test_a_training_saves_measures_and_resumes(base, tmp_path):
    changes = {"eval_strategy": "steps", "eval_steps": 3, "prompts": {"anchor": "where ", "positive": ""}}
    model = SentenceTransformer(base, device="cpu")
    untrained = model.encode(QUESTIONS[:3])
    trainer = trainer_of(model, tmp_path / "whole", dataset(), **changes)
    np.testing.assert_array_equal(model.encode(QUESTIONS[:3]), untrained)
    head = model.token_head.linear.weight.detach().clone()
    trainer.train()
    assert not torch.equal(model.token_head.linear.weight, head)
    model.save_pretrained(str(tmp_path / "saved"))
    trainer.save_model(str(tmp_path / "by the trainer"))
    assert weights(tmp_path / "saved") == weights(tmp_path / "by the trainer")
    assert_reads_alike(tmp_path / "saved", model, list(PASSAGES.values())[:5])

    history = trainer.state.log_history
    assert any("eval_loss_dense" in line for line in history)
    assert {"loss_late", "raw_interaction", "lead_interaction", "weight_interaction"} <= history[1].keys()

    shutil.copytree(tmp_path / "whole", tmp_path / "half")
    shutil.rmtree(tmp_path / "half" / "checkpoint-6")
    assert (tmp_path / "half" / "checkpoint-3" / LEAD_FILE).is_file()
    again = SentenceTransformer(base, device="cpu")
    resumed = trainer_of(again, tmp_path / "half", dataset(), **changes)
    resumed.train(resume_from_checkpoint=str(tmp_path / "half" / "checkpoint-3"))
    again.save_pretrained(str(tmp_path / "resumed"))
    assert weights(tmp_path / "resumed") == weights(tmp_path / "saved")
    leads = [
        json.loads((tmp_path / name / "checkpoint-6" / LEAD_FILE).read_text()) for name in ("whole", "half")
    ]
    assert leads[0] == leads[1]


def test_scores_add_the_cascade_and_a_saved_head_is_kept(base, tmp_path):
    model = SentenceTransformer(base, device="cpu")
    trainer = trainer_of(model, tmp_path / "run", dataset(scores=True), max_steps=2)
    trainer.train()
    assert "loss_cascade" in trainer.state.log_history[0]
    model.save_pretrained(str(tmp_path / "saved"))
    opened = SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    assert type(opened) is SentenceTransformer
    assert torch.equal(adopt(opened).token_head.linear.weight, model.token_head.linear.weight)
    assert opened.fingerprint == ernie_search.load(str(tmp_path / "saved"), device="cpu").fingerprint


def test_equal_texts_are_one_passage_and_no_negatives_of_equal_anchors(base):
    model = adopt(SentenceTransformer(base, device="cpu"))
    anchors = ["where does tea grow?", "where does rice grow?", "where does tea grow?"]
    positives = ["tea", "rice", "assam"]
    negatives = ["rice", "assam", "where does tea grow?"]
    features = [model.preprocess(texts) for texts in (anchors, positives, negatives)]
    who = _candidates(features, set(model.special_ids.tolist()))
    #                               tea  rice  rice  assam assam where...
    assert who.allowed.int().tolist() == [
        [1, 1, 0, 0, 0, 0],
        [1, 0, 1, 1, 0, 1],
        [0, 1, 0, 0, 1, 0],
    ]


def refused(base: str, data: Dataset, settings: LossSettings | None = None, **changes: Any) -> str:
    model = SentenceTransformer(base, device="cpu")
    loss = ErnieSearchLoss(model, settings)
    texts = data[:]
    scores = texts.pop("scores", None)
    features = [model.preprocess(column) for column in texts.values()]
    labels = None if scores is None else torch.tensor(scores)
    with pytest.raises(TrainingError) as caught:
        loss(features, changes.get("labels", labels))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_cannot_be_computed_is_one_clear_error(base):
    assert "scores of shape (4, 2) for 3 passages a row" in refused(
        base, dataset(4), LossSettings(cascade_weight=1), labels=torch.zeros(4, 2)
    )
    assert "scores of shape (4,) for 1 passages a row" in refused(base, dataset(4, 0), labels=torch.zeros(4))
    assert "the dataset has no scores" in refused(base, dataset(4), LossSettings(direct_weight=1))
    assert "no term reads them" in refused(base, dataset(4, scores=True), LossSettings())
    one = dataset(4, 0).select([0])
    assert "a batch of 1 has no negative" in refused(base, one)
    assert "it got 1 columns" in refused(base, dataset(4).select_columns(["anchor"]))


def test_what_cannot_have_a_token_head_is_one_clear_error(base):
    static = SentenceTransformer(
        modules=[StaticEmbedding(tiny_model.tokenizer(), embedding_dim=8)], device="cpu"
    )
    with pytest.raises(ModelError, match="starts with StaticEmbedding; a token head needs token states"):
        ErnieSearchLoss(static)
    with pytest.raises(ModelError, match="truncate_dim=8"):
        ErnieSearchLoss(SentenceTransformer(base, device="cpu", truncate_dim=8))

    class Own(SentenceTransformer):
        pass

    with pytest.raises(ModelError, match="Own: only a SentenceTransformer itself"):
        adopt(Own(base, device="cpu"))
    long = SentenceTransformer(base, device="cpu")
    with pytest.raises(ModelError, match="more than the base can read"):
        adopt(long, ScoreSettings(passage_length=5000))
    assert type(long) is SentenceTransformer
    with pytest.raises(SettingsError, match="need a model as teacher"):
        ErnieSearchLoss(long, LossSettings(attention_weight=1))
    assert type(long) is SentenceTransformer


def test_settings_for_an_adopted_model_are_not_dropped(base):
    model = adopt(SentenceTransformer(base, device="cpu"))
    with pytest.raises(SettingsError, match="has a token head already"):
        ErnieSearchLoss(model, score_settings=ScoreSettings(query_prompt="ask: "))
    same = ScoreSettings(token_dim=model.token_dim)
    assert ErnieSearchLoss(model, score_settings=same).student is model


def test_what_is_not_given_stays_the_model_s_own(base):
    own = SentenceTransformer(base, device="cpu")
    own.max_seq_length = 40
    model = adopt(own, ScoreSettings(query_prompt="ask: ", query_length=12))
    assert (model.score_settings.passage_length, model.max_seq_length) == (40, 40)
    assert (model.score_settings.query_length, model.prompts["query"]) == (12, "ask: ")
    assert model.score_settings.base == base


def test_a_wrapped_model_is_asked_itself(base):
    first, other = (SentenceTransformer(base, device="cpu") for _ in range(2))
    loss = ErnieSearchLoss(first)
    loss.model = nn.DataParallel(adopt(other))
    assert loss.student is other
    loss.model = nn.DataParallel(SentenceTransformer(base, device="cpu"))
    with pytest.raises(ModelError, match="has no token head"):
        _ = loss.student


def test_ways_of_teaching_that_a_dataset_cannot_have_are_refused(base):
    model = SentenceTransformer(base, device="cpu")
    with pytest.raises(SettingsError, match="distillation_candidates=list"):
        ErnieSearchLoss(model, LossSettings(distillation_candidates="list"))
    with pytest.raises(SettingsError, match="still_teacher"):
        ErnieSearchLoss(model, LossSettings(still_teacher=True))
    assert type(model) is SentenceTransformer
    own = LossSettings(distillation_candidates="own")
    assert "have nothing to rank" in refused(base, dataset(4, 0), own)


def test_the_callback_puts_token_weights_back(base):
    model = adopt(SentenceTransformer(base, device="cpu"))
    fit_start(model, list(PASSAGES.values()), pooling="weighted")
    weights = word_weights(model).emb_layer.weight
    with torch.no_grad():
        weights[3] = -1.0
    ErnieSearchLoss(model).callback.on_step_end(None, None, None)
    assert weights.min().item() == pytest.approx(LEAST_WEIGHT)
