"""The runner with stub stages: skip, resume, refuse, notice; what real stages do is tested in the rooms."""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from ernie_search.data import Collection, MemoryCollection
from ernie_search.errors import SettingsError, StorageError, TrainingError
from ernie_search.pipeline import Recipe, load_recipe, run_recipe
from ernie_search.pipeline.manifest import FileRecord, StageManifest
from ernie_search.pipeline.runner import done_as
from ernie_search.pipeline.stage import Done, Stage, Task
from ernie_search.pipeline.stages import KINDS
from ernie_search.types import Passage, Query

STAGES: list[Any] = [
    {"warm-up": {"steps": 3}},
    {"mine": {"number": 2}},
    {"teacher": {"steps": 4, "questions_per_batch": 8}},
    {"score": {}},
    {"cascade": {"steps": 5, "cascade_weight": 1}},
]
NAMES = ["warm-up", "mine", "teacher", "score", "cascade"]


class Killed(BaseException):
    """As a kill: nothing may catch it."""


@dataclass
class Stubs:
    """Stages that write what they were given, in two parts; killed between them on demand."""

    kill: str = ""
    calls: list[str] = field(default_factory=list)

    def execute(self, stage: Stage[Any], task: Task) -> Done:
        self.calls.append(stage.name)
        folder = task.folder / "best"
        folder.mkdir(parents=True, exist_ok=True)
        read = [task.inputs.model, task.inputs.lists, task.inputs.teacher]
        texts = [
            (Path(one) / "text").read_text() for one in read if one is not None and Path(str(one)).is_dir()
        ]
        (folder / "part").write_text("half")
        if self.kill == stage.name:
            self.kill = ""
            raise Killed
        (folder / "text").write_text(
            f"{stage.settings.model_dump_json()} {texts} {task.collection.fingerprint}"
        )
        return Done("best", ("best",), {"texts": len(texts)})

    def run(self, recipe: Recipe, collection: Collection, output: Path, observer: Any = None) -> Path:
        """The recipe with these in the place of what the kinds do."""
        with pytest.MonkeyPatch.context() as patch:
            for kind in KINDS.values():
                patch.setattr(kind, "execute", lambda stage, task: self.execute(stage, task))
            return run_recipe(recipe, collection, output, observer)


def collection(text: str = "tea") -> MemoryCollection:
    passages = [Passage("p", text), Passage("o", "rice")]
    return MemoryCollection("c", "memory", passages, [Query("q", "tea?")], {"train": {"q": {"p": 1}}})


def recipe(tmp_path: Path, stages: list[Any] | None = None, **overrides: Any) -> Any:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"base": "some/base", "stages": stages or STAGES}))
    return load_recipe(str(path), overrides)


def contents(output: Path) -> dict[str, str]:
    """All files but the clock's."""
    return {
        str(path.relative_to(output)): path.read_text()
        for path in sorted(output.rglob("*"))
        if path.is_file() and path.name != "stage.json"
    }


def test_stages_run_once_and_the_last_model_is_the_recipes(tmp_path: Path) -> None:
    stubs, output, events = Stubs(), tmp_path / "run", []
    model = stubs.run(recipe(tmp_path), collection(), output, lambda name, values: events.append(name))
    assert model == output / "model"
    assert stubs.calls == NAMES
    assert events == ["stage", "stage-done"] * 5
    assert (model / "text").read_text() == (output / "cascade" / "best" / "text").read_text()
    before = contents(output)
    events.clear()
    assert stubs.run(recipe(tmp_path), collection(), output) == model
    assert (stubs.calls, events) == (NAMES, [])
    assert contents(output) == before


def test_the_manifest_says_what_was_made_from_what(tmp_path: Path) -> None:
    Stubs().run(recipe(tmp_path), collection(), tmp_path / "run")
    found = json.loads((tmp_path / "run" / "cascade" / "stage.json").read_text())
    assert set(found["inputs"]) == {"collection", "model", "lists"}
    assert set(found["outputs"]) == {"best/part", "best/text"}
    assert found["settings"]["cascade_weight"] == 1
    assert found["counts"].pop("peak_bytes", 2**30) > 2**20  # where the system can say it
    assert found["counts"] == {"texts": 2}
    assert {"torch", "python", "ernie-search"} <= set(found["versions"])
    first = json.loads((tmp_path / "run" / "warm-up" / "stage.json").read_text())
    assert first["inputs"]["base"] == "some/base"


def test_a_value_of_another_type_in_the_manifest_is_one_line(tmp_path: Path) -> None:
    file = {"sha256": "0", "size": 1, "modified": 2, "timed": False}
    written = StageManifest("a", "mine", {}, {}, "lists", {"f": FileRecord(**file)}, {}, {}, 1.5, None)
    written.write(tmp_path)
    assert StageManifest.read(tmp_path) == written
    whole = json.loads((tmp_path / "stage.json").read_text())
    changes = [{key: odd} for key in whole for odd in (5.5, [], [{}], {"a": [1]}, True)]
    changes += [{"outputs": {"f": file | {key: odd}}} for key in file for odd in (None, "1", [])]
    fitting = [{"seconds": 5.5}, {"outputs": {"f": file | {"sha256": "1"}}}]
    fitting += [{key: {"a": [1]}} for key in ("settings", "inputs", "counts")]
    for change in changes:
        (tmp_path / "stage.json").write_text(json.dumps(whole | change))
        if change in fitting:
            assert StageManifest.read(tmp_path) is not None
            continue
        with pytest.raises(StorageError, match=r"stage\.json: not of a stage in format 2; delete [^\n]*$"):
            StageManifest.read(tmp_path)


@pytest.mark.parametrize("name", NAMES)
def test_killed_in_any_stage_the_same_call_ends_with_the_same(tmp_path: Path, name: str) -> None:
    whole = Stubs()
    whole.run(recipe(tmp_path), collection(), tmp_path / "whole")
    stubs = Stubs(kill=name)
    with pytest.raises(Killed):
        stubs.run(recipe(tmp_path), collection(), tmp_path / "run")
    states = []
    stubs.run(
        recipe(tmp_path),
        collection(),
        tmp_path / "run",
        lambda event, values: states.append(values["state"]) if event == "stage" else None,
    )
    assert contents(tmp_path / "run") == contents(tmp_path / "whole")
    place = NAMES.index(name)
    assert stubs.calls == NAMES[: place + 1] + NAMES[place:]
    assert states == ["resumes"] + ["to do"] * (4 - place)


@pytest.mark.parametrize("how", ["altered", "removed"])
def test_an_output_changed_by_hand_is_named_with_what_to_do(tmp_path: Path, how: str) -> None:
    stubs, output = Stubs(), tmp_path / "run"
    stubs.run(recipe(tmp_path), collection(), output)
    changed = output / "mine" / "best" / "text"
    if how == "altered":
        changed.write_text("other")
    else:
        changed.unlink()
    with pytest.raises(StorageError) as caught:
        stubs.run(recipe(tmp_path), collection(), output)
    assert str(caught.value).startswith(f"{changed} ")
    assert f"after stage 'mine' was done; put it back, or delete {output / 'mine'}" in str(caught.value)
    assert stubs.calls == NAMES


def test_graphs_that_are_written_later_leave_a_finished_run_as_it_is(tmp_path: Path) -> None:
    stubs, output = Stubs(), tmp_path / "run"
    execute = stubs.execute

    def with_graph(stage: Stage[Any], task: Task) -> Done:
        done = execute(stage, task)
        for name in ("onnx/model.onnx", "ernie_search_files.json"):
            path = task.folder / "best" / name
            path.parent.mkdir(exist_ok=True)
            path.write_text("as the training left it")
        return done

    stubs.execute = with_graph  # type: ignore[method-assign]
    model = stubs.run(recipe(tmp_path), collection(), output)
    for folder in (output / "cascade" / "best", output / "warm-up" / "best", model):
        (folder / "onnx" / "model.onnx").write_text("as `export --onnx` wrote it")
        (folder / "ernie_search_files.json").write_text("and with another list")
    assert stubs.run(recipe(tmp_path), collection(), output) == model
    assert stubs.calls == NAMES
    # An earlier version noted them; what it noted is no longer compared.
    record = FileRecord("0" * 64, 1, 1)
    found = StageManifest.read(output / "cascade")
    assert found is not None
    older = replace(found, outputs={**found.outputs, "best/onnx/model.onnx": record})
    assert older.altered(output / "cascade") is None


def test_the_final_model_altered_by_hand_is_noticed(tmp_path: Path) -> None:
    output = tmp_path / "run"
    Stubs().run(recipe(tmp_path), collection(), output)
    (output / "model" / "text").write_text("other")
    with pytest.raises(StorageError, match="was altered or removed since it was copied from stage 'cascade'"):
        Stubs().run(recipe(tmp_path), collection(), output)


def test_a_folder_that_holds_a_strange_model_is_left_alone(tmp_path: Path) -> None:
    output = tmp_path / "run"
    (output / "model").mkdir(parents=True)
    with pytest.raises(StorageError, match="is no model of a recipe"):
        Stubs().run(recipe(tmp_path), collection(), output)


def test_a_stage_done_with_other_settings_is_refused_with_the_difference(tmp_path: Path) -> None:
    output = tmp_path / "run"
    Stubs().run(recipe(tmp_path), collection(), output)
    with pytest.raises(TrainingError) as caught:
        Stubs().run(recipe(tmp_path, **{"mine.number": 7}), collection(), output)
    assert f"{output / 'mine'}: stage 'mine' was done with other settings (number 2, now 7); " in str(
        caught.value
    )
    with pytest.raises(
        TrainingError, match=r"stage 'warm-up' was made from something else \(base some/base, now b\)"
    ):
        Stubs().run(recipe(tmp_path, base="b"), collection(), output)
    with pytest.raises(TrainingError, match=r"stage 'warm-up' was made from something else \(collection "):
        Stubs().run(recipe(tmp_path), collection("coffee"), output)


def test_a_teacher_of_other_weights_at_the_same_place_is_refused(tmp_path: Path) -> None:
    output, base = tmp_path / "run", tmp_path / "base"
    base.mkdir()
    (base / "model.safetensors").write_text("one")
    stubs, asked = Stubs(), recipe(tmp_path, **{"teacher.base": str(base)})
    stubs.run(asked, collection(), output)
    (base / "model.safetensors").write_text("two")
    with pytest.raises(
        TrainingError, match=r"stage 'teacher' was made from something else \(base [\w-]+, now [\w-]+\)"
    ):
        stubs.run(asked, collection(), output)
    manifest = json.loads((output / "teacher" / "stage.json").read_text())
    (base / "model.safetensors").write_text("one")
    stubs.run(asked, collection(), output)
    assert stubs.calls == NAMES
    # A stage that was done before its base was noted is taken as it is.
    del manifest["inputs"]["base"]
    found = StageManifest(**{**manifest, "outputs": {}})
    stage = next(one for one in asked.stages if one.kind == "teacher")
    found.write(tmp_path / "older")
    inputs = found.inputs | {"base": "any"}
    assert done_as(stage, tmp_path / "older", inputs) == found
    with pytest.raises(TrainingError, match="collection"):
        done_as(stage, tmp_path / "older", inputs | {"collection": "another"})


def test_what_comes_after_a_changed_stage_is_refused_until_it_is_deleted(tmp_path: Path) -> None:
    import shutil

    stubs, output = Stubs(), tmp_path / "run"
    stubs.run(recipe(tmp_path), collection(), output)
    shutil.rmtree(output / "teacher")
    changed = recipe(tmp_path, **{"teacher.steps": 9})
    with pytest.raises(TrainingError, match=r"stage 'score' was made from something else \(teacher "):
        stubs.run(changed, collection(), output)
    shutil.rmtree(output / "score")
    shutil.rmtree(output / "cascade")
    stubs.run(changed, collection(), output)
    assert stubs.calls == [*NAMES, "teacher", "score", "cascade"]
    assert (output / "model" / "text").read_text() == (output / "cascade" / "best" / "text").read_text()


def test_a_further_round_goes_on_from_what_is_done(tmp_path: Path) -> None:
    stubs, output = Stubs(), tmp_path / "run"
    stubs.run(recipe(tmp_path), collection(), output)
    more = [*STAGES, {"mine": {}}, {"score": {}}, {"cascade": {"steps": 6, "cascade_weight": 1}}]
    stubs.run(recipe(tmp_path, more), collection(), output)
    assert stubs.calls == [*NAMES, "mine-2", "score-2", "cascade-2"]
    assert (output / "model" / "text").read_text() == (output / "cascade-2" / "best" / "text").read_text()


def test_a_single_stage_runs_in_the_output_itself(tmp_path: Path) -> None:
    output = tmp_path / "run"
    assert Stubs().run(recipe(tmp_path, STAGES[:1]), collection(), output) == output / "best"
    assert {path.name for path in output.iterdir()} == {"best", "stage.json"}


def test_a_wrong_order_is_refused_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="stage 'mine' mines with a trained model"):
        recipe(tmp_path, [{"mine": {}}, {"warm-up": {}}])


def test_a_file_in_place_of_the_folder_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(StorageError, match="is a file"):
        Stubs().run(recipe(tmp_path), collection(), tmp_path / "run")
