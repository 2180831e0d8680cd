"""A new kind of stage is a class and a line of ``KINDS``: planned, executed, resumed, skipped, refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import Field

from ernie_search._util.settings import TypedSettings
from ernie_search.errors import SettingsError, StorageError, TrainingError
from ernie_search.pipeline import Recipe, estimate, load_recipe, make_plan, plan_table, run_recipe
from ernie_search.pipeline.manifest import StageManifest
from ernie_search.pipeline.plan import MeasuredRates
from ernie_search.pipeline.stage import Available, Done, Inputs, ListCount, Rates, Sizes, Stage, Task
from ernie_search.pipeline.stages import KINDS
from ernie_search.pipeline.stages.warm_up import WarmUp
from tiny_training import collection


class Killed(BaseException):
    """As a kill: nothing may catch it."""


class CountSettings(TypedSettings):
    block: int = Field(10, ge=1)
    seed: int = 0


class Count(Stage[CountSettings]):
    """Counts the words of the corpus, a file a block of passages."""

    kind = "count"
    settings_type = CountSettings
    reported = (("words", "words"),)

    @property
    def what(self) -> str:
        return "count the words"

    def reads(self, before: Available) -> Inputs:
        return Inputs(model=self.needs(before.model, "counts for a model; put a warm-up before it"))

    def leaves(self, before: Available) -> Available:
        return replace(before)

    def sizes(self, passages: int, questions: int, lists: ListCount | None) -> Sizes:
        return Sizes(f"{passages} passages", passages=passages)

    def seconds(self, sizes: Sizes, rates: Rates) -> float:
        return sizes.passages / rates.passages_per_second

    def share_done(self, folder: Path, sizes: Sizes) -> float:
        return len(list(folder.glob("part-*"))) * self.settings.block / sizes.passages

    def execute(self, task: Task) -> Done:
        assert Path(task.inputs.model).is_dir()
        texts = [passage.text for passage in task.collection.passages()]
        for start in range(0, len(texts), self.settings.block):
            part = task.folder / f"part-{start}"
            if not part.is_file():
                part.parent.mkdir(parents=True, exist_ok=True)
                part.write_text(str(sum(len(text.split()) for text in texts[start:][: self.settings.block])))
                task.observer("progress", {"what": "parts", "done": start, "total": len(texts)})
        words = sum(int(part.read_text()) for part in task.folder.glob("part-*"))
        (task.folder / "words").write_text(str(words))
        return Done("words", ("words",), {"words": words})


def warm(stage: WarmUp, task: Task) -> Done:
    """A training that takes no time."""
    (task.folder / "best").mkdir(parents=True)
    (task.folder / "best" / "weights").write_text("w")
    return Done("best", ("best",))


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    monkeypatch.setitem(KINDS, Count.kind, Count)
    monkeypatch.setattr(WarmUp, "execute", warm)
    path = tmp_path / "mine.yaml"
    path.write_text("base: some/base\nstages: [warm-up, {count: {block: 10}}]\n")
    return load_recipe(str(path), {"count.seed": "7"})


WORDS = sum(len(passage.text.split()) for passage in collection().passages())


def test_it_is_planned_resumed_and_skipped(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, told = tmp_path / "run", []

    def observer(event: str, values: dict[str, Any]) -> None:
        told.append((event, values))
        if event == "progress" and values["done"] == 10:
            raise Killed

    assert recipe.stages[1].settings == CountSettings(block=10, seed=7)
    plan = make_plan(recipe, collection(), output)
    assert [str(cell) for cell in next(iter(plan_table(plan, "p").columns)).cells] == ["warm-up", "count"]
    assert (plan.stages[1].stage.what, plan.stages[1].sizes.text) == ("count the words", "40 passages")
    with pytest.raises(Killed):
        run_recipe(recipe, collection(), output, observer)
    plan = make_plan(recipe, collection(), output)
    assert [(one.state, one.left) for one in plan.stages] == [("done", 0.0), ("resumes", 0.5)]
    monkeypatch.setattr(MeasuredRates, "__init__", lambda self, *_: setattr(self, "passages_per_second", 4.0))
    assert estimate(plan, recipe, collection()).seconds == {"warm-up": 0.0, "count": 5.0}
    told.clear()
    assert run_recipe(recipe, collection(), output, observer) == output / "model"
    assert [event for event, _ in told] == ["stage", "progress", "progress", "stage-done"]
    assert told[0][1]["state"] == "resumes"
    assert told[-1][1]["reported"] == [f"{WORDS} words"]
    made = StageManifest.read(output / "count")
    assert made is not None
    assert (set(made.inputs), set(made.outputs), made.seed) == ({"collection", "model"}, {"words"}, 7)
    told.clear()
    run_recipe(recipe, collection(), output, observer)
    assert told == []
    assert [one.state for one in make_plan(recipe, collection(), output).stages] == ["done", "done"]


def test_it_is_refused_where_it_cannot_be(recipe: Recipe, tmp_path: Path) -> None:
    output, path = tmp_path / "run", tmp_path / "wrong.yaml"
    path.write_text("base: some/base\nstages: [count, warm-up]\n")
    with pytest.raises(SettingsError, match="stage 'count' counts for a model; put a warm-up before it"):
        load_recipe(str(path))
    with pytest.raises(SettingsError, match=r"unknown setting 'blok'; did you mean 'block'"):
        load_recipe(recipe.name, {"count.blok": 1})
    run_recipe(recipe, collection(), output)
    with pytest.raises(TrainingError, match=r"'count' was done with other settings \(block 10, now 9\)"):
        run_recipe(load_recipe(recipe.name, {"count.block": 9, "count.seed": 7}), collection(), output)
    (output / "count" / "words").write_text("x" * len(str(WORDS)))
    with pytest.raises(StorageError, match=r"words was altered .*, after stage 'count' was done"):
        run_recipe(recipe, collection(), output)


def test_a_stage_that_leaves_nothing_of_what_it_declares_is_not_done(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Count, "execute", lambda stage, task: Done("words", ("words",)))
    with pytest.raises(StorageError, match="count/words: the stage did not leave it"):
        run_recipe(recipe, collection(), tmp_path / "run")
    assert not (tmp_path / "run" / "count" / "stage.json").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_says_what_it_is(kind: str) -> None:
    stage = KINDS[kind](kind, KINDS[kind].settings_type())
    assert (stage.kind, KINDS[stage.kind]) == (kind, type(stage))
    assert stage.what
    assert stage.share_done(Path("nowhere"), Sizes("")) == 0.0
