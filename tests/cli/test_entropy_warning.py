"""A cross-encoder that is almost flat or almost one-hot is warned of, by the scoring and by the training."""

import os
from pathlib import Path

import pytest
import torch
import yaml

from ernie_search.data import BeirCollection, write_beir
from ernie_search.mining.lists import TrainingList, write_lists
from ernie_search.model.cross_encoder import new_cross_encoder
from tiny_training import TRAIN, collection, settings

NEGATIVES = 3
FLAT = (
    "the teacher's entropy is 1.39 nats over 4 candidates, of 1.39 at most: almost flat, it prefers nothing; "
    "lower cross_temperature until it is 0.3 to 1.0"
)
ONE_HOT = (
    "the teacher's entropy is 0.00 nats over 4 candidates: almost one-hot, it says nothing that the labels "
    "don't; raise cross_temperature until it is 0.3 to 1.0"
)


@pytest.fixture
def data(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    write_beir(collection(), tmp_path / "crops")
    return tmp_path / "crops"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    from tiny_model import sentence_base

    return sentence_base(tmp_path / "base", layers=1)


def lists(folder: Path, data: Path, positive: float | None) -> Path:
    """Scored ones, where the positive's logit is given and its negatives have 0."""
    rows = []
    for i in range(TRAIN):
        others = tuple(f"p{(i + k) % TRAIN}" for k in range(1, NEGATIVES + 1))
        scores = () if positive is None else ((positive,), (0.0,) * NEGATIVES)
        rows.append(TrainingList(f"q{i}", (f"p{i}",), others, *scores))
    fingerprint = BeirCollection(data, str(data)).fingerprint
    write_lists(folder, rows, data_fingerprint=fingerprint, about={"settings": {"seed": 0}})
    return folder


@pytest.mark.parametrize(
    ("positive", "changes", "warning"),
    [
        (0.0, {}, FLAT),
        (60.0, {}, ONE_HOT),
        (4.0, {}, None),
        (4.0, {"cross_temperature": 0.2}, ONE_HOT),
        (4.0, {"cross_temperature": 40.0}, FLAT),
    ],
)
def test_a_cascade_says_the_entropy_and_what_to_set(
    run_cli, data, base, tmp_path, positive, changes, warning
):
    train = settings(steps=2, evaluations=0, checkpoints=1, negatives=NEGATIVES, cascade_weight=1.0)
    recipe = tmp_path / "cascade.yaml"
    stage = {"cascade": train.model_dump() | changes}
    recipe.write_text(yaml.safe_dump({"base": str(base), "stages": [stage]}), encoding="utf-8")
    scored = lists(tmp_path / "lists", data, positive)
    result = run_cli("train", recipe, "--source", data, "--lists", scored, "--output", tmp_path / "run")
    assert result.exit_code == 0, result.output
    said = [line for line in result.stderr.splitlines() if "cross_temperature" in line]
    assert said == ([] if warning is None else [f"warning: {warning}"])  # once, not at each step


@pytest.mark.parametrize(("scale", "warning"), [(0.0, FLAT), (1e6, ONE_HOT)])
def test_score_says_the_same_of_its_scores(run_cli, data, base, tmp_path, scale, warning):
    teacher = new_cross_encoder(str(base), max_length=60, device="cpu")
    with torch.no_grad():
        for parameter in teacher.model.classifier.parameters():
            parameter.mul_(scale)
    teacher.save(str(tmp_path / "teacher"), create_model_card=False)
    unscored = lists(tmp_path / "lists", data, None)
    command = ["score", unscored, data, "--teacher", tmp_path / "teacher", "--output", tmp_path / "scored"]
    result = run_cli(*command)
    assert result.exit_code == 0, result.output
    said = [line for line in result.stderr.splitlines() if "cross_temperature" in line]
    assert said == [f"warning: with cross_temperature=2, as trainings have it, {warning}"]
