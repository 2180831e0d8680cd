"""A whole recipe in two processes: trainings shared, the rest done once; what fails is said by both."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ernie_search.ablation import ablate
from ernie_search.errors import SettingsError, TrainingError
from ernie_search.pipeline import load_recipe, run_recipe
from ernie_search.pipeline.stage import Done, InputPaths, Task
from ernie_search.pipeline.stages.mine import Mine, MineStageSettings
from ernie_search.pipeline.subprocess_stage import in_subprocess
from ranks import launch
from tiny_training import collection

RUN = """
import json, os, sys
from pathlib import Path
from ernie_search.errors import ErnieSearchError
from ernie_search.pipeline import load_recipe, run_recipe
from tiny_training import collection

output, rank, events = Path(sys.argv[1]), os.environ["RANK"], []
recipe = load_recipe(sys.argv[2], json.loads(sys.argv[3]))
told = lambda event, values: events.append([event, str(values.get("name", ""))])
try:
    model = run_recipe(recipe, collection(), output, told)
    said = {"model": str(model), "events": events}
except ErnieSearchError as error:
    said = {"error": str(error)}
Path(f"{output}-said-{rank}").write_text(json.dumps(said))
sys.exit("error" in said)
"""
HERE = os.pathsep.join(map(str, (Path(__file__).parent, Path(__file__).parents[1])))
"""Where another process finds this file's stages."""
SETTINGS = MineStageSettings()
WITHOUT_DEV: dict[str, Any] = {"warm-up.evaluations": 0, "cascade.evaluations": 0}


def said(output: Path) -> list[dict[str, Any]]:
    return [json.loads(Path(f"{output}-said-{rank}").read_text()) for rank in range(2)]


@pytest.mark.slow  # starts several processes
def test_two_processes_run_a_recipe_as_one(tiny_recipe: Callable[..., Path], tmp_path: Path) -> None:
    output = tmp_path / "run"
    done = launch(2, RUN, str(output), str(tiny_recipe()), json.dumps(WITHOUT_DEV))
    assert done.returncode == 0, done.stderr
    first, second = said(output)
    assert first["model"] == second["model"] == str(output / "model")
    begun = [name for event, name in first["events"] if event == "stage"]
    assert begun == ["warm-up", "mine", "teacher", "score", "cascade"]
    assert ["progress", ""] in first["events"]  # told by the process that mined
    assert second["events"] == []
    # Read by one process, the folder is finished: nothing is left to do, and nothing contradicts it.
    again: list[str] = []
    recipe = load_recipe(str(tiny_recipe()), WITHOUT_DEV)
    assert run_recipe(recipe, collection(), output, lambda event, _: again.append(event)) == output / "model"
    assert again == []


@pytest.mark.slow
def test_a_stage_that_refuses_ends_both_with_its_reason(
    tiny_recipe: Callable[..., Path], tmp_path: Path
) -> None:
    output = tmp_path / "run"
    changes = {"warm-up.evaluations": 0, "mine.leave_out": "no-such-split"}
    done = launch(2, RUN, str(output), str(tiny_recipe(2)), json.dumps(changes))
    assert done.returncode != 0
    first, second = said(output)
    assert "no-such-split" in first["error"]
    assert "rank 0 ended the training" in second["error"]
    assert "no-such-split" in second["error"]
    assert (output / "warm-up" / "stage.json").is_file()


class Dies(Mine):
    def execute(self, task: Task) -> Done:
        raise MemoryError("much too much")


class Tells(Mine):
    def execute(self, task: Task) -> Done:
        task.observer("progress", {"what": "texts", "done": 1, "total": 2})
        seen = sorted(name for name in os.environ if name in ("RANK", "WORLD_SIZE", "MASTER_PORT", "HOME"))
        return Done("a", ("a",), {"sees": seen})


@pytest.fixture
def task(tmp_path: Path) -> tuple[Task, list[str]]:
    told: list[str] = []
    folder = tmp_path / "stage"
    return Task(collection(), folder, InputPaths("model"), lambda event, _: told.append(event)), told


def test_a_stage_in_a_process_of_its_own_knows_nothing_of_the_launcher(
    task: tuple[Task, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RANK", "WORLD_SIZE", "MASTER_PORT"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("PYTHONPATH", HERE, prepend=os.pathsep)
    done = in_subprocess(Tells("mine", SETTINGS), task[0])
    assert done.counts.pop("peak_bytes", 2**30) > 2**20  # type: ignore[attr-defined]
    assert done == Done("a", ("a",), {"sees": ["HOME"]})
    assert task[1] == ["progress"]


def test_a_process_that_dies_is_said(task: tuple[Task, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", HERE, prepend=os.pathsep)
    with pytest.raises(TrainingError, match=r"stage 'mine' ended with status 1; see its own message"):
        in_subprocess(Dies("mine", SETTINGS), task[0])


def test_an_ablation_refuses_several_processes(
    tiny_recipe: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(SettingsError, match="without torchrun"):
        ablate(load_recipe(str(tiny_recipe())), collection(), tmp_path / "table")
