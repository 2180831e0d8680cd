"""Settings by name, and as much work as fits into the time."""

import re
from pathlib import Path

import pytest

from ernie_search.adaptation.plan import (
    AdaptPlan,
    AdaptSettings,
    Labels,
    Rates,
    default_training,
    fitted,
    make_plan,
    parse_adapt,
)
from ernie_search.adaptation.recipe import read_adapt_recipe
from ernie_search.errors import SettingsError, StorageError
from ernie_search.training import TrainSettings

LAPTOP = Rates(passages=40.0, step=2.5)


def test_settings_are_named_by_their_group():
    found = parse_adapt({"train.steps": "50", "check.passages": 100, "labels": False, "lists.margin": 0.1})
    assert (found.train.steps, found.checked.passages, found.labels) == (50, 100, False)
    assert found.lists.margin == 0.1
    assert found.train.pooling == "weighted"  # of the adaptation, not of every training
    assert found.questions == AdaptSettings().questions


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("train.stepz", "unknown setting 'stepz'; did you mean 'steps'"),
        ("train", "setting 'train' is a group"),
        ("checked", "unknown setting 'checked'"),
        ("lables", "unknown setting 'lables'"),
        ("teach.steps", "unknown setting 'teach.steps'"),
    ],
)
def test_unknown_settings_are_refused(name, message):
    with pytest.raises(SettingsError, match=message):
        parse_adapt({name: 1})


def test_the_defaults_are_a_training_that_can_be():
    train = AdaptSettings().train
    assert train.check() == train
    assert train.pooling == "weighted"
    assert train.head == "pca"
    assert train.list_passages < AdaptSettings().lists.length
    assert not train.listed  # until a term is given a weight that reads them
    listed = parse_adapt({"train.direct_weight": 1}).train
    assert listed.check().listed == train.list_passages
    pure = parse_adapt({"train.dense_weight": 0, "train.late_weight": 0}).train
    assert not pure.check().contrastive


def test_a_laptop_adapts_to_2640_passages_in_half_an_hour():
    plan = make_plan(2640, LAPTOP, AdaptSettings(), 30)
    assert plan.total <= 1800
    assert plan.steps >= 100
    assert plan.questions >= 2500


def test_of_enough_labels_only_the_held_out_questions_are_searched_and_time_is_left_for_steps():
    settings = AdaptSettings()
    without, few, many = (make_plan(2640, LAPTOP, settings, 12, labels=Labels(n)) for n in (0, 99, 1000))
    assert many.steps > without.steps >= few.steps
    assert (many.questions, many.made) == (5_000, 500)  # of which a tenth of the passages measure
    assert few.made == few.questions < 5_000
    mixed = settings.model_copy(update={"labels_alone": 0})
    assert make_plan(2640, LAPTOP, mixed, 12, labels=Labels(1000)).steps <= few.steps
    measured = make_plan(2640, LAPTOP, settings, labels=Labels(1000, 5000)).seconds["score"]
    assert measured > 2 * make_plan(2640, LAPTOP, settings, labels=Labels(1000)).seconds["score"]


def test_labels_that_take_too_long_are_named():
    with pytest.raises(SettingsError, match=r"and 87,000 labelled questions take at least .* --no-labels"):
        make_plan(2640, LAPTOP, AdaptSettings(), 30, labels=Labels(80_000, 7_000))


def test_less_time_is_fewer_steps_and_too_little_is_refused():
    settings = AdaptSettings()
    whole, short = (make_plan(2640, LAPTOP, settings, minutes) for minutes in (None, 16))
    assert (whole.steps, whole.questions) == (150, 5_000)
    assert short.steps < whole.steps
    assert 0.9 * 960 < short.total <= 960
    with pytest.raises(SettingsError, match="--minutes 1: 2,640 passages take at least"):
        make_plan(2640, LAPTOP, settings, 1)


@pytest.mark.parametrize(("steps", "checkpoints", "refresh"), [(300, 3, 100), (250, 3, 84), (90, 1, 90)])
def test_a_shorter_training_fills_its_cache_no_more_often_than_it_must(steps, checkpoints, refresh):
    train = fitted(parse_adapt({"train.direct_weight": 1}).train, steps)
    assert (train.steps, train.checkpoints, train.refresh_steps) == (steps, checkpoints, refresh)


def test_checkpoints_and_fills_of_ones_own_stay():
    own = parse_adapt({"train.direct_weight": 1, "train.checkpoints": 1, "train.refresh_steps": 20}).train
    assert fitted(own, 100).model_dump() == own.model_copy(update={"steps": 100}).model_dump()


def test_without_a_cache_the_checkpoints_stay():
    assert fitted(AdaptSettings().train, 90).checkpoints == AdaptSettings().train.checkpoints


def test_no_more_questions_are_planned_than_passages_give():
    assert make_plan(10, LAPTOP, AdaptSettings()).questions == 40


def test_a_plan_is_read_as_it_was_written(tmp_path):
    plan = make_plan(100, LAPTOP, AdaptSettings())
    assert AdaptPlan.read(tmp_path) is None
    plan.write(tmp_path)
    assert AdaptPlan.read(tmp_path) == plan
    (tmp_path / "plan.json").write_text('{"passages": "many"}')
    with pytest.raises(StorageError, match="not readable"):
        AdaptPlan.read(tmp_path)


def test_lists_are_read_from_text_as_command_lines_have_them():
    found = parse_adapt({"check.shares": "0.3, 1", "questions.kinds": "span,title"})
    assert found.checked.shares == (0.3, 1.0)
    assert found.questions.kinds == ("span", "title")
    assert parse_adapt({"check.labelled_shares": None}).checked.labelled_shares == ()
    assert parse_adapt({"check.shares": 1.0}).checked.shares == (1.0,)
    with pytest.raises(SettingsError, match=r"setting shares\.0"):
        parse_adapt({"check.shares": "1.5"})
    with pytest.raises(SettingsError, match=r"setting shares\.0='half'"):
        parse_adapt({"check.shares": "half,1"})


def test_the_shipped_recipe_says_what_the_defaults_are():
    base, values = read_adapt_recipe("adapt")
    assert base is None
    assert parse_adapt(values) == AdaptSettings()
    groups = {"questions": AdaptSettings().questions, "lists": AdaptSettings().lists}
    for group, settings in (groups | {"check": AdaptSettings().checked}).items():
        named = {name.partition(".")[2] for name in values if name.startswith(f"{group}.")}
        assert named == set(type(settings).model_fields)  # a new setting is in the recipe, too
    usual, own = TrainSettings().model_dump(), default_training().model_dump()
    changed = {f"train.{name}" for name, value in own.items() if value != usual[name]}
    assert changed - values.keys() == {"train.onnx"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("trian: {steps: 3}", "mine.yaml: unknown key 'trian'; did you mean 'train'"),
        ("train: 3", "mine.yaml: train: 3 is no group of settings; write train: {NAME: VALUE}"),
        ("base: 3", "mine.yaml: base: 3 is not a model name"),
        ("- train", "mine.yaml: a recipe of an adaptation is a mapping"),
        ("stages: [{warm-up: {}}]", "mine.yaml: is a recipe of a training"),
        ("train: {steps: [}", "mine.yaml:1: not readable as YAML"),
    ],
)
def test_a_faulty_recipe_is_refused_by_its_name(tmp_path, monkeypatch, text, message):
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text(text)
    with pytest.raises(SettingsError, match=re.escape(message)):
        read_adapt_recipe("mine.yaml")


def test_a_recipe_may_be_empty_and_have_empty_groups(tmp_path):
    for text in ("", "# train: {steps: 3}\n", "train:\n  # steps: 3\n"):
        (tmp_path / "mine.yaml").write_text(text)
        assert read_adapt_recipe(tmp_path / "mine.yaml") == (None, {})


def test_a_recipe_that_is_none_or_not_there_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="no such recipe file; the shipped one is 'adapt'"):
        read_adapt_recipe(tmp_path / "mine.yaml")
    with pytest.raises(SettingsError, match="--recipe default: is no YAML file"):
        read_adapt_recipe("default")
