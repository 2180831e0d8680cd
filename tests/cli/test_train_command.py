"""``train``: from a folder of texts to a model, in a second over the tiny base."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from ernie_search.data import write_beir
from ernie_search.errors import SettingsError
from ernie_search.model import load
from ernie_search.types import Query
from tiny_training import CROPS, collection, settings, weights

FILLED = (
    "320 of 320 negatives are random passages: BM25 found too few in ranks 0 to 30 "
    "(negative_first, negative_last)"
)
"""Of the crops: a question shares its words with its own passage alone."""


@pytest.fixture
def base(tmp_path: Path) -> str:
    from tiny_model import sentence_base

    return str(sentence_base(tmp_path / "base", layers=2))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_beir(collection(), tmp_path / "crops")
    return tmp_path / "crops"


@pytest.fixture
def recipe(tmp_path: Path, base: str) -> Path:
    path = tmp_path / "tiny.yaml"
    train = settings(steps=6, evaluations=2, checkpoints=2).model_dump()
    path.write_text(yaml.safe_dump({"base": base, "stages": [{"warm-up": train}]}), encoding="utf-8")
    return path


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "run"


def test_a_model_is_trained_and_what_to_type_next_is_said(run_cli, data, recipe, output):
    result = run_cli("train", data, "--output", output, "--recipe", recipe, "--set", "query_length=12")
    assert result.exit_code == 0, result.output
    first, dev, cut, following = result.stdout.splitlines()
    assert first.startswith(f"model: {output / 'best'} (6 steps in ")
    assert dev.startswith("dev sample: MRR@10 0.")
    assert cut.startswith("longer than the model reads, so cut: ")
    assert cut.endswith(" of questions, 0.0% of passages")
    assert " 0.0% of questions" not in cut
    model, index = output / "best", output / "index"
    assert following == f"Next: ernie-search index {data} --model {model} --output {index}"
    lines = result.stderr.splitlines()  # no chatter of libraries among them
    assert lines[0].startswith("reading questions")
    assert lines[1] == FILLED
    assert all(line.startswith(("step ", "warning: the teacher's entropy is ")) for line in lines[2:])
    assert load(output / "best").length_of("query") == 12


@pytest.mark.parametrize("caches", [True, False])
def test_large_blocks_go_back_to_the_system_under_gradient_caching(
    run_cli, data, recipe, output, monkeypatch, caches
):
    asked: list[str] = []

    def stop(*args: object) -> None:
        raise SettingsError("that is all")

    monkeypatch.setattr("ernie_search._util.hardware.return_large_blocks", lambda: asked.append("blocks"))
    monkeypatch.setattr("ernie_search.pipeline.train_recipe", stop)
    changes = f"gradient_cache={str(caches).lower()}"
    result = run_cli("train", data, "--output", output, "--recipe", recipe, "--set", changes)
    assert result.stderr.endswith("error: that is all\n")
    assert asked == ["blocks"] * caches


def test_random_negatives_are_counted_and_said_only_where_there_are_any(run_cli, recipe, tmp_path):
    shared = [Query(f"q{i}", f"where is {crop} grown?") for i, crop in enumerate(CROPS)]
    judged = {"train": {f"q{i}": {f"p{i}": 1} for i in range(len(CROPS))}}
    # Every passage has 'grown', so BM25 ranks them all; then the first question asks otherwise.
    for number, queries in enumerate((shared, [Query("q0", "tea"), *shared[1:]])):
        data, output = tmp_path / f"data-{number}", tmp_path / f"run-{number}"
        write_beir(collection(queries=queries, qrels=judged), data)
        result = run_cli("train", data, "--output", output, "--recipe", recipe, "--json")
        assert result.exit_code == 0, result.output
        said = [line for line in result.stderr.splitlines() if "random passages" in line]
        assert said == [FILLED.replace("320 of", "8 of")] * number
        stage = json.loads((output / "stage.json").read_text(encoding="utf-8"))
        kept = json.loads((output / "result.json").read_text(encoding="utf-8"))
        assert (
            json.loads(result.stdout)["filled"] == kept["filled"] == stage["counts"]["filled"] == 8 * number
        )


def test_the_same_command_again_says_that_it_is_done(run_cli, data, recipe, output):
    command = ["train", data, "--output", output, "--recipe", recipe]
    first = run_cli(*command)
    before = weights(output / "last")
    again = run_cli(*command)
    assert (again.exit_code, again.stderr) == (0, "")
    assert again.stdout.splitlines()[0] == f"{output}: trained already; delete the folder to train anew."
    assert again.stdout.splitlines()[1:] == first.stdout.splitlines()
    assert weights(output / "last") == before


def test_json_has_it_all(run_cli, data, recipe, output):
    command = ["train", data, "--output", output, "--recipe", recipe, "--layers", "1", "--json"]
    report = json.loads(run_cli(*command).stdout)
    assert report["model"] == str(output / "best")
    assert report["last"] == str(output / "last")
    assert report["steps"] == 6
    assert 0 <= report["best_metric"] <= 1
    assert report["best_step"] in (3, 6)
    assert set(report["truncated"]) == {"query", "passage"}
    assert report["trained_now"] is True
    assert json.loads(run_cli(*command).stdout) == report | {"trained_now": False}
    assert load(output / "best").backbone.config.num_hidden_layers == 1


def test_a_loss_that_is_no_number_is_one_line_and_the_best_stays(run_cli, data, recipe, output, monkeypatch):
    from ernie_search.losses import contrastive

    calls = iter(range(100))

    def spoiled(*args: Any, **kwargs: Any) -> Any:
        return contrastive(*args, **kwargs) * (math.nan if next(calls) >= 8 else 1)  # two a step: the fifth

    monkeypatch.setattr("ernie_search.losses.terms.contrastive", spoiled)
    result = run_cli("train", data, "--output", output, "--recipe", recipe)
    assert result.exit_code == 2
    assert result.stdout == ""
    last = result.stderr.splitlines()[-1]
    assert last.startswith(f"error: {output}: the loss is nan at step 5; checkpoint-3 is kept. Lower ")
    assert weights(output / "best") == weights(output / "checkpoint-3")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--set", "stepz=3"], "unknown setting 'stepz'; did you mean 'steps'?"),
        (["--set", "steps=many"], "setting steps='many'"),
        (["--set", "steps"], "--set steps: not of the form KEY=VALUE"),
        (["--set", "=3"], "--set =3: not of the form KEY=VALUE"),
        (["--set", "steps=[1"], "--set steps=[1: the value cannot be read"),
        (["--set", "steps=[1]"], "--set steps=[1]: the value must be"),
        (["--set", "steps="], "--set steps=: the value must be"),
        (["--recipe", "squad-smal"], "did you mean 'squad-small'?"),
        (["--recipe", "absent.yaml"], "absent.yaml: no such recipe file"),
        (["--base", "absent/base"], "absent/base: "),
        (["--layers", "9"], "layers=9: the base has 2 layers"),
        (["--set", "questions_per_batch=64"], "40 training questions are fewer than questions_per_batch=64"),
    ],
)
def test_wrong_options_are_one_line(run_cli, data, recipe, output, options, words):
    result = run_cli("train", data, "--output", output, "--recipe", recipe, *options)
    assert result.exit_code == 2
    line = result.stderr.splitlines()[-1]
    assert line.startswith("error: ")
    assert words in line
    assert not (output / "training.json").exists()


def test_a_broken_collection_is_named_before_anything_is_read_for_training(run_cli, data, recipe, output):
    with open(data / "corpus.jsonl", "a", encoding="utf-8") as handle:
        handle.write("{broken\n")
    result = run_cli("train", data, "--output", output, "--recipe", recipe)
    assert result.exit_code == 2
    assert "corpus.jsonl:41: " in result.stderr
    assert result.stderr.count("\n") == 1
    assert not output.exists()
