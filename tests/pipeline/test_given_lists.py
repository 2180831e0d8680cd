"""Recipes that read lists made before: the order with them, and a cascade that trains as inside a recipe."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from ernie_search._util.files import fingerprint
from ernie_search.ablation.rows import declared_rows
from ernie_search.errors import DataError, SettingsError, StorageError, TrainingError
from ernie_search.mining import DenoiseSettings, Lists, TrainingList, denoise, write_lists
from ernie_search.model.cross_encoder import new_cross_encoder
from ernie_search.pipeline import load_recipe, make_plan, plan_table, shipped, train_recipe
from ernie_search.pipeline.recipe import make_stage, stage_names
from ernie_search.pipeline.stage import GivenLists, Inputs, Stage, stage_inputs
from tiny_training import TRAIN, collection, weights

CASCADE = ("cascade", {"cascade_weight": 1})


def lists(folder: Path, *, scored: bool = True, shortest: int = 3) -> GivenLists:
    """A list a training question, of 5 negatives; the last has fewer."""
    data = collection().fingerprint
    lengths = [5] * (TRAIN - 1) + [shortest]
    made = [
        TrainingList(
            f"q{i}",
            (f"p{i}",),
            tuple(f"p{(i + k + 1) % TRAIN}" for k in range(length)),
            (2.0,) if scored else (),
            tuple(-float(k) for k in range(length)) if scored else (),
        )
        for i, length in enumerate(lengths)
    ]
    write_lists(folder, made, data_fingerprint=data, about={"counts": {}})
    return GivenLists.open(folder)


def stages(*written: str | tuple[str, dict[str, Any]]) -> list[Stage[Any]]:
    pairs = [one if isinstance(one, tuple) else (one, {}) for one in written]
    names = stage_names([name for name, _ in pairs])
    return [make_stage(n, kind, values) for (n, kind), (_, values) in zip(names, pairs, strict=True)]


def test_given_lists_are_read_until_a_stage_makes_others(tmp_path: Path) -> None:
    given = lists(tmp_path / "lists")
    assert (given.sizes.shortest, given.sizes.positives, given.sizes.negatives) == (3, 40, 39 * 5 + 3)
    assert stage_inputs(stages(CASCADE), given) == [Inputs(lists=given)]
    ready = ("teacher", {"use": "some/cross-encoder"})
    attention = ("cascade", {"cascade_weight": 1, "attention_weight": 1})
    assert stage_inputs(stages(ready, attention), given)[1] == Inputs(lists=given, teacher="teacher")
    path = stages("teacher", "score", CASCADE, "mine", "score", CASCADE)
    assert stage_inputs(path, given) == [
        Inputs(lists=given),
        Inputs(lists=given, teacher="teacher"),
        Inputs(lists="score", teacher=None),
        Inputs(model="cascade"),
        Inputs(lists="mine", teacher="teacher"),
        Inputs(model="cascade", lists="score-2"),
    ]


@pytest.mark.parametrize(
    ("path", "scored", "words"),
    [
        (
            (CASCADE,),
            False,
            "stage 'cascade' has cascade_weight above 0, and the lists in FOLDER have no scores; score",
        ),
        (
            (("cascade", {"negatives": 4}),),
            True,
            "stage 'cascade' has negatives=4, and the shortest list in FOLDER has 3; lower negatives",
        ),
        (
            (("cascade", {"attention_weight": 1}),),
            True,
            "stage 'cascade' has attention_weight above 0, and no stage before it makes a teacher; put a",
        ),
        ((("cascade", {"interaction_teacher": "frozen"}),), True, "stage 'cascade' has interaction_teacher="),
        (("score", CASCADE), True, "stage 'score' needs a teacher to score with; put a teacher before it"),
        (("warm-up",), True, "no stage reads the lists in FOLDER"),
        (("warm-up", "mine", "cascade"), True, "no stage reads the lists in FOLDER"),
        ((("teacher", {"use": "x"}),), True, "no stage trains a model"),
    ],
)
def test_what_cannot_work_with_the_lists_says_what_to_do(
    tmp_path: Path, path: Any, scored: bool, words: str
) -> None:
    given, file = lists(tmp_path / "lists", scored=scored), tmp_path / "mine.yaml"
    written = [one if isinstance(one, str) else dict([one]) for one in path]
    file.write_text(yaml.safe_dump({"base": "b", "lists": str(given.folder), "stages": written}))
    with pytest.raises(SettingsError) as caught:
        load_recipe(str(file))
    assert str(caught.value).startswith(f"{file}: " + words.replace("FOLDER", str(given.folder)))
    assert "\n" not in str(caught.value)


def test_the_advice_is_none_that_is_refused_in_turn(tmp_path: Path) -> None:
    given = lists(tmp_path / "lists", shortest=0)
    with pytest.raises(SettingsError, match="has 0; make longer lists: mine --number") as caught:
        stage_inputs(stages(CASCADE), given)
    assert "lower negatives" not in str(caught.value)


def test_the_shipped_cascade_asks_for_a_model_and_lists(tmp_path: Path) -> None:
    assert "cascade" in shipped()
    with pytest.raises(SettingsError, match=r"^cascade: names no base to start from; give one with --base"):
        load_recipe("cascade")
    with pytest.raises(
        SettingsError, match=r"trains on mined lists; put a mine before it, or give .* --lists"
    ):
        load_recipe("cascade", {"base": "b"})
    with pytest.raises(StorageError, match="make some with: ernie-search mine"):
        load_recipe("cascade", {"base": "b", "lists": tmp_path / "absent"})
    given = lists(tmp_path / "lists", shortest=4)
    found = load_recipe("cascade", {"base": "b", "lists": tmp_path / "lists", "negatives": 2})
    assert found.lists is not None
    assert (found.base, found.single, found.lists.fingerprint) == ("b", True, given.fingerprint)
    assert {"both", "cascade", "full"} <= set(declared_rows(found))  # an ablation reads them, too
    whole = load_recipe("squad").stages[-1].training
    assert found.train == (whole and whole.model_copy(update={"negatives": 2}))


def test_lists_in_a_recipe_file_and_what_is_no_folder(tmp_path: Path) -> None:
    given, path = lists(tmp_path / "lists"), tmp_path / "mine.yaml"
    path.write_text(f"base: a\nlists: {given.folder}\nstages: [{{cascade: {{negatives: 2}}}}]\n")
    found = load_recipe(str(path)).lists
    assert found is not None
    assert found.fingerprint == given.fingerprint
    with pytest.raises(SettingsError, match=r"mine\.yaml: lists=3 is no folder"):
        load_recipe(str(path), {"lists": 3})


def test_the_plan_shows_the_lists_and_those_of_another_collection_are_refused(tmp_path: Path) -> None:
    lists(tmp_path / "lists")
    path = tmp_path / "mine.yaml"
    path.write_text(f"base: a\nlists: {tmp_path / 'lists'}\nstages: [teacher, score, cascade]\n")
    recipe = load_recipe(str(path), {"cascade.negatives": 1})
    plan = make_plan(recipe, collection(), None)
    assert plan.lists is recipe.lists
    assert plan.stages[1].sizes.text == f"40 lists = {40 + 39 * 5 + 3} pairs"
    cells = [list(column.cells) for column in plan_table(plan, "plan").columns]
    assert [str(column[0]) for column in cells] == [
        "lists",
        f"made before, in {tmp_path / 'lists'}",
        "40 lists of 3 negatives or more, scored",
        "given",
    ]
    other = collection(qrels={"train": {"q0": {"p0": 1}}})
    with pytest.raises(DataError, match="name the collection that they were mined from"):
        make_plan(recipe, other, None)
    with pytest.raises(DataError, match="name the collection that they were mined from"):
        train_recipe(recipe, other, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_cascade_on_given_lists_is_the_one_inside_a_recipe(
    tiny_recipe: Callable[..., Path], tiny_base: Path, tmp_path: Path
) -> None:
    ready = tmp_path / "ready"
    new_cross_encoder(str(tiny_base), max_length=60, device="cpu").save(str(ready), create_model_card=False)
    whole, alone = tmp_path / "whole", tmp_path / "alone"
    short = {"steps": 2, "evaluations": 0, "checkpoints": 1}
    changes = {f"{stage}.{name}": value for stage in ("warm-up", "cascade") for name, value in short.items()}
    train_recipe(load_recipe(str(tiny_recipe()), {"teacher.use": str(ready), **changes}), collection(), whole)
    by_hand = denoise(Lists.open(whole / "score" / "scored"), tmp_path / "clean", DenoiseSettings())
    last = yaml.safe_load(tiny_recipe().read_text())["stages"][-1:]
    one = tiny_recipe(1, stages=last)

    def recipe() -> Any:
        base = str(whole / "warm-up" / "last")
        return load_recipe(str(one), {"base": base, "lists": str(by_hand.folder), **short})

    result = train_recipe(recipe(), collection(), alone)
    assert weights(result.model) == weights(whole / "model")
    inputs = json.loads((alone / "stage.json").read_text())["inputs"]
    assert inputs["lists"] == by_hand.fingerprint
    assert inputs["collection"] == collection().fingerprint
    before = fingerprint((alone / "stage.json").read_text())
    moved = by_hand.folder.rename(tmp_path / "moved")
    moved.rename(by_hand.folder)  # lists are known by what they are, not by when they were put there
    train_recipe(recipe(), collection(), alone)
    assert fingerprint((alone / "stage.json").read_text()) == before
    lists(by_hand.folder)
    with pytest.raises(TrainingError, match=r"made from something else \(lists .{16}, now .{16}\)"):
        train_recipe(recipe(), collection(), alone)
    assert [one.state for one in make_plan(recipe(), collection(), None).stages] == ["to do"]
    with pytest.raises(TrainingError, match="made from something else"):
        make_plan(recipe(), collection(), alone)
