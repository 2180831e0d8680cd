"""The identity of a training: what leads to other weights is another one; where it lies does not matter."""

import json
from pathlib import Path
from typing import Any

import pytest

from ernie_search.errors import TrainingError
from ernie_search.training.folder import (
    TRAINING_FILE,
    check_identity,
    is_unchecked,
    model_identity,
    same_model,
    write_identity,
)
from tiny_model import sentence_base


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return sentence_base(tmp_path / "model", layers=1)


def edited(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    "change",
    [
        lambda model: edited(model / "1_Pooling" / "config.json", pooling_mode="cls"),
        lambda model: edited(model / "config_sentence_transformers.json", similarity_fn_name="dot"),
        lambda model: edited(model / "tokenizer_config.json", model_max_length=9),
        lambda model: edited(model / "config.json", hidden_act="relu"),
        lambda model: (model / "model.safetensors").write_bytes(b"others"),
    ],
    ids=["pooling", "similarity", "tokenizer", "config", "weights"],
)
def test_whatever_changes_its_vectors_makes_it_another_model(model: Path, change: Any) -> None:
    before = model_identity(str(model))
    change(model)
    assert model_identity(str(model)) != before


def test_weights_in_torch_s_own_format_count(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"one")
    before = model_identity(str(tmp_path))
    (tmp_path / "pytorch_model.bin").write_bytes(b"two")
    assert model_identity(str(tmp_path)) != before


def test_where_it_lies_and_what_lies_beside_it_do_not_count(model: Path, tmp_path: Path) -> None:
    before = model_identity(str(model))
    (model / "README.md").write_text("a card")
    (model / "ernie_search_files.json").write_text("{}")
    for beside in ("onnx", "checkpoint-4", ".best.tmp"):
        (model / beside).mkdir()
        (model / beside / "model.safetensors").write_bytes(b"")
        (model / beside / "config.json").write_text("{}")
    assert model_identity(str(model.rename(tmp_path / "moved"))) == before
    assert model_identity("some/name") == "some/name"


def test_a_folder_begun_under_another_spelling_goes_on(model: Path, tmp_path: Path) -> None:
    identity = {"base": str(model), "base_weights": model_identity(str(model)), "settings": {"steps": 3}}
    write_identity(tmp_path, identity, "fp32")
    elsewhere = identity | {"base": f"../{model.name}"}
    assert check_identity(tmp_path, elsewhere, "auto") == "fp32"
    for other in ({"settings": {"steps": 4}}, {"base_weights": "0-1"}):
        with pytest.raises(TrainingError, match="holds another training"):
            check_identity(tmp_path, identity | other, "auto")
    # An earlier version noted the weights alone.
    (tmp_path / TRAINING_FILE).unlink()
    write_identity(tmp_path, identity | {"base_weights": identity["base_weights"].split("-")[0]}, "fp32")
    assert check_identity(tmp_path, elsewhere, "auto") == "fp32"


def test_a_name_of_the_hub_is_compared_as_it_is(tmp_path: Path) -> None:
    identity = {"base": "a/b", "base_weights": "a/b"}
    write_identity(tmp_path, identity, "fp32")
    with pytest.raises(TrainingError, match="base a/b, now a/b-large"):
        check_identity(tmp_path, {"base": "a/b-large", "base_weights": "a/b-large"}, "fp32")


def test_an_older_identity_is_the_beginning_of_a_newer_one() -> None:
    assert same_model("ab", "ab-cd")
    assert not same_model("ab", "abc-d")
    assert not same_model("ab-cd", "ab-ce")
    assert not same_model(None, "None-x")


def test_graphs_and_the_card_may_change_after_a_training() -> None:
    assert all(map(is_unchecked, ("best/onnx/model.onnx", "README.md", "best/ernie_search_files.json")))
    assert not any(map(is_unchecked, ("best/model.safetensors", "onnx", "best/1_Pooling/config.json")))
