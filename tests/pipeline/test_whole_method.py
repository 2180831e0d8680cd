"""All stages for real, over the tiny base: killed at any event, the same call ends with the same weights."""

import json
import os
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from ernie_search._util.files import sha256_file
from ernie_search.errors import ModelError, StorageError, TrainingError
from ernie_search.mining import Lists
from ernie_search.model.cross_encoder import new_cross_encoder
from ernie_search.pipeline import Recipe, estimate, load_recipe, make_plan, run_recipe, train_recipe
from ernie_search.pipeline.manifest import StageManifest
from ernie_search.pipeline.stages import KINDS
from tiny_training import collection, weights

Events = list[tuple[str, str]]


class Killed(BaseException):
    """As a kill: nothing may catch it."""


def watch(events: Events, kill_at: int = -1) -> Callable[[str, dict[str, Any]], None]:
    def observer(event: str, values: dict[str, Any]) -> None:
        events.append((event, str(values.get("name", values.get("what", "")))))
        if len(events) - 1 == kill_at:
            raise Killed

    return observer


def test_the_whole_method_runs_and_goes_on_after_a_kill(
    tiny_recipe: Callable[..., Path], tmp_path: Path
) -> None:
    recipe, events = load_recipe(str(tiny_recipe())), []
    output = tmp_path / "run"
    result = train_recipe(recipe, collection(), output, watch(events))
    assert result.model == output / "model"
    assert result.steps == 4
    begun = [name for event, name in events if event == "stage"]
    assert begun == ["warm-up", "mine", "teacher", "score", "cascade"]
    assert not (output / "mine" / "shards").exists()
    lists = Lists.open(output / "score" / "lists")
    assert lists.scored
    assert len(lists) == 40
    counts = json.loads((output / "mine" / "stage.json").read_text())["counts"]
    assert counts["lists"] == 40
    before = weights(output / "model")
    # Every stage is killed at the middle of its events, and the folder goes on from there.
    places = [place for place, (event, _) in enumerate(events) if event == "stage"] + [len(events)]
    other, seen = tmp_path / "killed", 0
    for start, stop in pairwise(places):
        with pytest.raises(Killed):
            train_recipe(recipe, collection(), other, watch([], (stop - start) // 2))
        seen += 1
        name = events[start][1]
        assert not (other / name / "stage.json").exists()
        # Up to the end of this stage only, so that the next one is killed, too.
        with pytest.raises(Killed):
            train_recipe(recipe, collection(), other, _stop_after(name))
    assert seen == 5
    assert weights(train_recipe(recipe, collection(), other).model) == before
    again: Events = []
    run_recipe(recipe, collection(), output, watch(again))
    assert again == []


WHAT_STAGES_LEAVE = {
    "warm-up": {
        *("best/model.safetensors", "last/token_head.safetensors", "best/tokenizer.json"),
        *("result.json", "training.json"),
    },
    "mine": {"run.trec", "lists/lists.parquet", "lists/manifest.json"},
    "teacher": {
        *("teachers/teacher-0/model/model.safetensors", "teachers/teacher-1/model/config.json"),
        "teachers/teachers.json",
    },
    "score": {
        *("scored/lists.parquet", "lists/lists.parquet", "scored/manifest.json", "lists/manifest.json"),
    },
    "cascade": {"best/ernie_search.json", "last/model.safetensors"},
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recipe, Path]:
    """A recipe, and its finished folder, made under a relative path as people type it."""
    from tiny_model import sentence_base
    from tiny_recipe import write_recipe

    folder = tmp_path_factory.mktemp("trained")
    recipe = load_recipe(str(write_recipe(folder, sentence_base(folder / "base", layers=2))))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        train_recipe(recipe, collection(), Path("run"))
    return recipe, folder / "run"


@pytest.mark.parametrize("name", KINDS)
def test_whatever_a_real_stage_left_is_missed_when_altered(name: str, trained: tuple[Recipe, Path]) -> None:
    recipe, output = trained
    manifest = StageManifest.read(output / name)
    assert manifest is not None
    assert manifest.outputs.keys() >= WHAT_STAGES_LEAVE[name]
    for inside in manifest.outputs:
        path = output / name / inside
        before = path.read_bytes()
        for changed in (before + b" ", bytes([before[0] ^ 1]) + before[1:]):
            path.write_bytes(changed)
            with pytest.raises(StorageError) as caught:
                train_recipe(recipe, collection(), output)
            assert f"{path} was altered since then (its SHA-256 differs), after stage" in str(caught.value)
        path.unlink()
        with pytest.raises(StorageError, match=f"{path} is missing, after stage"):
            train_recipe(recipe, collection(), output)
        path.write_bytes(before)
    assert train_recipe(recipe, collection(), output).model == output / "model"


def test_files_whose_size_and_time_are_the_same_are_not_read_again(
    trained: tuple[Recipe, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, source = trained
    output = Path(shutil.copytree(source, tmp_path / "copy"))  # with the files' times
    for path in output.rglob("stage.json"):
        values = json.loads(path.read_text())
        for name, record in values["outputs"].items():
            record["modified"] = (path.parent / name).stat().st_mtime_ns
        path.write_text(json.dumps(values))
    touched = output / "mine" / "lists" / "lists.parquet"
    os.utime(touched, (1e9, 1e9))
    read: list[Path] = []

    def hashed(path: Path) -> str:
        read.append(path)
        return sha256_file(path)

    monkeypatch.setattr("ernie_search.pipeline.manifest.remembered_sha256", hashed)
    assert train_recipe(recipe, collection(), output).model == output / "model"
    assert [path for path in read if path.is_relative_to(output / "mine")] == [touched]
    assert not [path for path in read if path.is_relative_to(output / "teacher")]


def test_a_ready_cross_encoder_that_changed_is_refused(
    tiny_recipe: Callable[..., Path], tiny_base: Path, tmp_path: Path
) -> None:
    ready, output = tmp_path / "ready", tmp_path / "run"
    for seed, stop in ((1, "teacher"), (2, None)):
        made = new_cross_encoder(str(tiny_base), max_length=60, device="cpu", seed=seed)
        made.save(str(ready), create_model_card=False)
        recipe = load_recipe(str(tiny_recipe()), {"teacher.use": str(ready)})
        if stop is not None:
            with pytest.raises(Killed):
                train_recipe(recipe, collection(), output, _stop_after(stop))
    with pytest.raises(TrainingError, match=r"stage 'teacher' was made from something else \(use "):
        train_recipe(recipe, collection(), output)


def test_a_ready_cross_encoder_that_changes_before_it_scores_is_refused(
    tiny_recipe: Callable[..., Path], tiny_base: Path, tmp_path: Path
) -> None:
    ready = tmp_path / "ready"

    def make(seed: int) -> None:
        made = new_cross_encoder(str(tiny_base), max_length=60, device="cpu", seed=seed)
        made.save(str(ready), create_model_card=False)

    def observer(event: str, values: dict[str, Any]) -> None:
        if event == "stage-done" and values["name"] == "teacher":
            make(2)

    make(1)
    recipe = load_recipe(str(tiny_recipe()), {"teacher.use": str(ready)})
    with pytest.raises(ModelError, match="ready: not the cross-encoder that this training began with"):
        train_recipe(recipe, collection(), tmp_path / "run", observer)


def _stop_after(name: str) -> Callable[[str, dict[str, Any]], None]:
    def observer(event: str, values: dict[str, Any]) -> None:
        if event == "stage-done" and values["name"] == name:
            raise Killed

    return observer


def test_a_ready_cross_encoder_takes_the_teachers_place(
    tiny_recipe: Callable[..., Path], tiny_base: Path, tmp_path: Path
) -> None:
    ready = tmp_path / "ready"
    new_cross_encoder(str(tiny_base), max_length=60, device="cpu").save(str(ready), create_model_card=False)
    output = tmp_path / "run"
    recipe = load_recipe(str(tiny_recipe()), {"teacher.use": str(ready), "cascade.attention_weight": 1.0})
    train_recipe(recipe, collection(), output)
    assert json.loads((output / "teacher" / "ready.json").read_text())["use"] == str(ready)
    made = json.loads((output / "cascade" / "stage.json").read_text())
    assert set(made["inputs"]) == {"collection", "model", "lists", "teacher"}


def test_the_plan_has_sizes_states_and_times_and_writes_nothing(
    tiny_recipe: Callable[..., Path], tmp_path: Path
) -> None:
    recipe, output = load_recipe(str(tiny_recipe())), tmp_path / "run"
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    plan = estimate(make_plan(recipe, collection(), output), recipe, collection())
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    assert (plan.passages, plan.questions) == (40, 40)
    assert [one.state for one in plan.stages] == ["to do"] * 5
    assert [one.sizes.text for one in plan.stages] == [
        "4 steps x 8 x (1 + 1)",
        "40 passages; 40 questions x 4",
        "2 x 4 steps x 4 x (1 + 3)",
        "40 x (1 + 4) = 200 pairs",
        "4 steps x 8 x (1 + 1)",
    ]
    assert all(seconds > 0 for seconds in plan.seconds.values())
    with pytest.raises(Killed):
        train_recipe(recipe, collection(), output, _stop_after("mine"))
    (output / "teacher").mkdir()
    (output / "teacher" / "part").write_text("")
    plan = make_plan(recipe, collection(), output)
    assert [one.state for one in plan.stages] == ["done", "done", "resumes", "to do", "to do"]
    assert [one.left for one in plan.stages] == [0.0, 0.0, 1.0, 1.0, 1.0]
    shutil.rmtree(output)
