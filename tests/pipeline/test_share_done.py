"""The share of an interrupted stage that is done, by its files; and what a plan makes of it."""

from pathlib import Path
from typing import Any

import pytest

from ernie_search._util.files import checksums, write_json
from ernie_search.data import MemoryCollection
from ernie_search.pipeline import load_recipe, make_plan
from ernie_search.pipeline.plan import PILOT_QUESTIONS, pilot
from ernie_search.pipeline.stage import Sizes
from ernie_search.training.checkpoints import CHECKPOINT_FILE
from ernie_search.types import Passage, Query
from tiny_training import collection

STAGES = {stage.name: stage for stage in load_recipe("squad").stages}


def checkpoint(folder: Path, step: int) -> None:
    made = folder / f"checkpoint-{step}"
    made.mkdir(parents=True)
    (made / "model.safetensors").write_bytes(b"weights")
    write_json(made / CHECKPOINT_FILE, checksums(made))


def left(name: str, folder: Path, **sizes: int) -> float:
    found = STAGES[name].share_done(folder, Sizes("", **({"questions": 1000, "passages": 8192} | sizes)))
    return max(0.0, 1.0 - found)


@pytest.mark.parametrize("name", STAGES)
def test_where_nothing_is_there_all_is_left(name: str, tmp_path: Path) -> None:
    assert left(name, tmp_path) == 1.0


def test_a_training_goes_on_from_its_latest_whole_checkpoint(tmp_path: Path) -> None:
    steps = STAGES["cascade"].training.steps  # type: ignore[union-attr]
    (tmp_path / "run.json").write_text("{}")
    assert left("cascade", tmp_path) == 1.0
    checkpoint(tmp_path, steps // 4)
    checkpoint(tmp_path, steps // 2)
    (tmp_path / f"checkpoint-{steps}").mkdir()  # without its manifest it is not whole
    assert left("cascade", tmp_path) == pytest.approx(0.5)


def test_finished_teachers_count_whole(tmp_path: Path) -> None:
    first, second = (tmp_path / "teachers" / f"teacher-{number}" for number in range(2))
    checkpoint(second, STAGES["teacher"].settings.steps // 2)  # type: ignore[attr-defined]
    assert left("teacher", tmp_path) == pytest.approx(0.75)
    first.mkdir()
    write_json(first / "result.json", {})
    assert left("teacher", tmp_path) == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("name", "place", "size"),
    [
        ("score", "scored/shards/scores-0000{}.parquet", "questions"),
        ("mine", "shards/shard-0000{}.parquet", "passages"),
    ],
)
def test_shards_count_with_what_they_hold(name: str, place: str, size: str, tmp_path: Path) -> None:
    held = STAGES[name].settings.shard_size  # type: ignore[attr-defined]
    for number in range(3):
        path = tmp_path / place.format(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert left(name, tmp_path, **{size: 4 * held}) == pytest.approx(0.25)
    assert left(name, tmp_path, **{size: 3 * held - 5}) == 0.0  # the last is not full


def test_a_run_that_was_written_leaves_little_of_mining(tmp_path: Path) -> None:
    (tmp_path / "run.trec").touch()
    assert left("mine", tmp_path) == 0.0


def test_a_plan_knows_what_is_left(tiny_recipe: Any, tmp_path: Path) -> None:
    recipe, output = load_recipe(str(tiny_recipe())), tmp_path / "run"
    checkpoint(output / "warm-up", 1)
    plan = make_plan(recipe, collection(), output)
    assert [one.left for one in plan.stages] == [0.75, 1.0, 1.0, 1.0, 1.0]


def test_a_pilot_has_the_questions_of_the_largest_batch() -> None:
    asked = [Query(f"q{number}", f"question {number}") for number in range(PILOT_QUESTIONS + 100)]
    passages = [Passage(f"p{number}", "", f"text {number}") for number in range(PILOT_QUESTIONS + 100)]
    qrels = {"train": {f"q{number}": {f"p{number}": 1} for number in range(len(asked))}}
    data = MemoryCollection("many", "here", passages, asked, qrels)
    assert len(list(pilot(data).queries("train"))) == PILOT_QUESTIONS
    assert len(list(pilot(data, PILOT_QUESTIONS + 50).queries("train"))) == PILOT_QUESTIONS + 50
