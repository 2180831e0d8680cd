"""Whole adaptations over the tiny base: resumed after any kill to the same bytes, and what is too little."""

import json
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ernie_search
from ernie_search.adaptation.blend import blend, mixed
from ernie_search.adaptation.check import read_verdict
from ernie_search.adaptation.plan import AdaptPlan, Rates
from ernie_search.adaptation.questioned import LABELLED, QuestionedCollection
from ernie_search.adaptation.questions import Question, read_questions
from ernie_search.adaptation.run import Adapted, adapt, begin
from ernie_search.adaptation.settings import QuestionSettings
from ernie_search.adaptation.stages import SMALL, _without_advice, fitted, with_held_out
from ernie_search.data import open_collection
from ernie_search.errors import DataError, ModelError, SettingsError, StorageError, TrainingError
from ernie_search.mining import Lists
from ernie_search.model import load, load_joint
from ernie_search.model.pooling import word_weights
from ernie_search.search import Searcher
from ernie_search.training import TrainSettings
from fake_endpoint import good
from tiny_adapt import NUMBER, SETTINGS, beir, documents, passages
from tiny_model import sentence_base
from tiny_training import weights

STAGES = ("documents", "questions", "filter", "score", "adapt", "check")


class Killed(BaseException):
    """As a kill: nothing may catch it."""


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> str:
    return str(sentence_base(tmp_path_factory.mktemp("base") / "base", layers=2))


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    return beir(tmp_path_factory.mktemp("source") / "docs", labels=30)


@pytest.fixture(scope="module")
def done(tmp_path_factory, base, source) -> tuple[Path, Adapted]:
    folder = tmp_path_factory.mktemp("whole") / "run"
    return folder, adapt(source, folder, base=base, settings=SETTINGS)


def listening(said: list[str]) -> Callable[[str, dict[str, Any]], None]:
    """An observer that keeps the texts of all events."""
    return lambda name, values: said.append(str(values.get("text", "")))


def bytes_of(folder: Path) -> dict[str, bytes]:
    """What must be the same however often it was killed: questions, lists, weights, verdict."""
    names = ["questions/questions.jsonl", "filter/questions.jsonl", "score/lists/lists.parquet"]
    names += ["check/verdict.json"]
    found = {name: (folder / name).read_bytes() for name in names}
    for model in ("adapt/start", "adapt/training/last"):
        found |= {f"{model}/{name}": value for name, value in weights(folder / model).items()}
    return found


def test_every_stage_is_in_its_folder_and_the_model_can_be_indexed_with(done, source, tmp_path):
    folder, found = done
    assert [stage for stage in STAGES if not (folder / stage / "stage.json").is_file()] == []
    assert found.model == folder / "model"
    assert found.sentence.startswith("Use it: " if found.use else "Keep what you have: ")
    assert found.verdict == read_verdict(folder / "check")
    assert {row.split for row in found.verdict.rows} == {"held-out", LABELLED}
    assert {row.name for row in found.verdict.rows} == {"weights", "halfway", "adapted"}
    origin = json.loads((found.model / "adapt.json").read_text())
    assert origin["sentence"] == found.sentence
    ernie_search.build_index(source, found.model, tmp_path / "index").close()
    assert Searcher.open(tmp_path / "index").search("rain in assam", 3)


def test_lists_have_the_labelled_questions_and_all_made_ones_that_passed(done):
    folder, _ = done
    kept = [json.loads(line) for line in (folder / "filter" / "questions.jsonl").read_text().splitlines()]
    lists = {one.query: one for one in Lists.open(folder / "score" / "lists")}
    learnt = {row["id"] for row in kept if row["split"] == "train"}
    assert learnt <= set(lists)
    labelled = set(lists) - learnt
    assert labelled
    assert labelled < {f"q{row}" for row in range(30)}
    assert all(row["passage"] == lists[row["id"]].positives[0] for row in kept if row["split"] == "train")


def kinds_learnt_from(folder: Path) -> Counter[str]:
    """Questions of a run's lists by kind; ``label`` for the source's own."""
    made = {one.id: one.kind for one in read_questions(folder / "filter" / "questions.jsonl")}
    return Counter(made.get(one.query, "label") for one in Lists.open(folder / "score" / "lists"))


def test_of_enough_labels_rules_make_only_what_measures_and_a_person_s_own_are_learnt_from(base, tmp_path):
    source = beir(tmp_path / "docs", labels=30)
    own = tmp_path / "own.jsonl"
    own.write_text('{"text": "where do they sell old tea?", "passage": "p3"}\n')
    given = SETTINGS | {"labels_alone": 20}
    found = adapt(source, tmp_path / "run", base=base, settings=given, own=own)
    learnt = kinds_learnt_from(tmp_path / "run")
    assert learnt["own"] == 1
    assert learnt.keys() == {"own", "label"}
    assert learnt["label"] >= 20
    made = read_questions(tmp_path / "run" / "questions" / "questions.jsonl")
    assert {one.split for one in made if one.kind != "own"} == {"held-out"}
    assert {row.split for row in found.verdict.rows} >= {"held-out", "labelled"}
    counts = json.loads((tmp_path / "run" / "questions" / "stage.json").read_text())["counts"]
    assert counts["without_questions"] < NUMBER / 2  # of the passages that were asked about


def test_a_plan_counts_what_is_made_beside_the_labels(base, monkeypatch, tmp_path):
    monkeypatch.setattr("ernie_search.adaptation.run.measure_rates", lambda *given: Rates(100.0, 1.0))
    source = beir(tmp_path / "docs", labels=30)
    given = {"base": base, "minutes": 60, "write": False}
    held = len(QuestionedCollection(open_collection(str(source)), ()).queries(LABELLED))

    def made(enough: int, **more: Any) -> AdaptPlan:
        settings = SETTINGS | {"labels_alone": enough}
        return begin(source, tmp_path / "run", settings=settings, **given, **more).plan

    alone, mixed = made(30 - held), made(31 - held)
    assert mixed.made == mixed.questions > alone.made
    own = tmp_path / "own.jsonl"
    own.write_text('{"text": "where do they sell old tea?", "passage": "p3"}\n')
    assert made(30 - held, questions="openai:any").made == mixed.made  # what a model writes is searched
    assert made(30 - held, questions=own).made == mixed.made
    labels_off = begin(source, tmp_path / "run", settings=SETTINGS | {"labels": False}, **given).plan
    assert labels_off.seconds["score"] < alone.seconds["score"]


def test_labels_alone_without_held_out_questions_resume(base, tmp_path):
    source = beir(tmp_path / "docs", labels=30)
    given = {"base": base, "settings": SETTINGS | {"labels_alone": 20, "questions.held_out": 0}}
    found = adapt(source, tmp_path / "run", **given)
    assert not (tmp_path / "run" / "questions" / "questions.jsonl").read_text()
    shutil.rmtree(tmp_path / "run" / "check")
    (tmp_path / "run" / "questions" / "stage.json").unlink()
    shutil.rmtree(tmp_path / "run" / "model")
    again = adapt(source, tmp_path / "run", **given)
    assert again.sentence == found.sentence
    counts = json.loads((tmp_path / "run" / "questions" / "stage.json").read_text())["counts"]
    assert "why" not in counts


def test_a_folder_of_another_version_is_refused(base, tmp_path):
    source = beir(tmp_path / "docs")
    begin(source, tmp_path / "run", base=base, settings=SETTINGS)
    begun = json.loads((tmp_path / "run" / "adapt.json").read_text())
    (tmp_path / "run" / "adapt.json").write_text(json.dumps(begun | {"format": 1}))
    (tmp_path / "run" / "plan.json").write_text('{"of another form": 1}')
    with pytest.raises(TrainingError, match="was begun by another version"):
        begin(source, tmp_path / "run", base=base, settings=SETTINGS)


def test_what_a_model_writes_is_learnt_from_beside_enough_labels(base, fake, tmp_path):
    source = beir(tmp_path / "docs", labels=30)
    fake.answer = lambda number, body: good(number, body) if number < 6 else (402, {"error": "no money"})
    given = {"base_url": fake.url, "pause": 0.0, "workers": 1}
    settings = SETTINGS | {"labels_alone": 20}
    adapt(source, tmp_path / "run", base=base, settings=settings, questions="openai:any", endpoint=given)
    learnt = kinds_learnt_from(tmp_path / "run")
    assert learnt.keys() == {"generated", "label"}  # rules write nothing in the generator's place


def test_from_200_passages_on_labels_and_late_interaction_teach_over_the_batch(base, tmp_path):
    source = beir(tmp_path / "docs", number=SMALL + 20)
    shipped = {"train.follow_lead": True, "train.list_passages": 11}
    settings = SETTINGS | shipped | {"train.steps": 2, "questions.number": 200}
    adapt(source, tmp_path / "run", base=base, settings=settings)
    training = tmp_path / "run" / "adapt" / "training"
    used = json.loads((training / "training.json").read_text())["settings"]
    assert (used["dense_weight"], used["late_weight"], used["interaction_weight"]) == (1.0, 1.0, 3.0)
    assert (used["negatives"], used["direct_weight"]) == (0, 0.0)
    rows = [json.loads(line) for line in (training / "log.jsonl").read_text().splitlines()]
    logged = [row for row in rows if row["event"] == "log"]
    assert logged
    said = {"loss_dense", "loss_late", "raw_interaction", "lead_interaction"}
    assert all(said <= row.keys() for row in logged)


def test_a_batch_of_few_passages_has_no_labels_and_a_negative_of_its_list():
    train = TrainSettings(questions_per_batch=32, negatives=0, list_passages=31)
    few = fitted(train, 60, 20)
    assert (few.questions_per_batch, few.negatives, few.dense_weight, few.late_weight) == (20, 1, 0.0, 0.0)
    assert fitted(train, 10, 20).list_passages == 8  # all but the question's own and its negative
    assert fitted(train, SMALL, 400) == train


def test_of_few_labels_the_made_questions_are_learnt_from_too(done):
    folder, _ = done
    learnt = kinds_learnt_from(folder)
    assert learnt["label"]
    assert learnt["span"] > 6


def test_the_same_call_again_does_nothing_and_says_the_same(done, base, source):
    folder, found = done
    events: list[str] = []
    again = adapt(
        source, folder, base=base, settings=SETTINGS, observer=lambda name, values: events.append(name)
    )
    assert again == found
    assert events == []


KILLS = [("stage", stage) for stage in STAGES] + [("log", 1), ("log", 3), ("measure", 2)]


def test_killed_anywhere_it_resumes_to_the_same_bytes(done, base, source, tmp_path):
    _, whole = done
    left: list[Any] = list(KILLS)
    measured = 0

    def observer(name: str, values: dict[str, Any]) -> None:
        nonlocal measured
        measured += name == "progress" and str(values["what"]).startswith("measuring")
        now = [
            ("stage", values.get("name")) if name == "stage" else None,
            ("log", values.get("step")) if name == "log" else None,
            ("measure", measured) if name == "progress" else None,
        ]
        for one in now:
            if one in left:
                left.remove(one)
                raise Killed

    kills = 0
    for _ in range(len(KILLS) + 1):
        try:
            found = adapt(source, tmp_path / "run", base=base, settings=SETTINGS, observer=observer)
            break
        except Killed:
            kills += 1
    assert kills >= len(STAGES) + 1  # training may log less often than every step
    assert bytes_of(tmp_path / "run") == bytes_of(done[0])
    assert found.sentence == whole.sentence


def test_a_folder_of_something_else_or_an_altered_stage_is_refused(done, base, source, tmp_path):
    folder, _ = done
    with pytest.raises(TrainingError, match=r"train\.steps 4, now 5"):
        adapt(source, folder, base=base, settings=SETTINGS | {"train.steps": 5})
    with pytest.raises(TrainingError, match="was begun for something else"):
        adapt(beir(tmp_path / "others", 30), folder, base=base, settings=SETTINGS)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "note.txt").write_text("mine")
    with pytest.raises(StorageError, match="holds something else"):
        adapt(source, tmp_path / "full", base=base, settings=SETTINGS)
    copied = tmp_path / "copy"
    shutil.copytree(folder, copied)
    path = copied / "filter" / "questions.jsonl"
    path.write_text(path.read_text() + "\n")
    with pytest.raises(StorageError, match=r"filter.questions\.jsonl was altered"):
        adapt(source, copied, base=base, settings=SETTINGS)


@pytest.mark.parametrize(
    "left", [("adapt.json",), ("adapt.json", ".plan.json.4711.tmp"), (".adapt.json.1.tmp",)]
)
def test_killed_while_it_begins_it_begins_again(done, base, source, tmp_path, left):
    folder, _ = done
    run = tmp_path / "run"
    run.mkdir()
    for name in left:
        (run / name).write_bytes((folder / "adapt.json").read_bytes() if name == "adapt.json" else b'{"half')
    begin(source, run, base=base, settings=SETTINGS)
    assert {one.name for one in run.iterdir()} == {"adapt.json", "plan.json"}
    assert (run / "plan.json").read_bytes() == (folder / "plan.json").read_bytes()
    (run / "plan.json").unlink()
    with pytest.raises(TrainingError, match=r"train\.steps 4, now 5"):
        begin(source, run, base=base, settings=SETTINGS | {"train.steps": 5})


def test_the_untrained_weights_can_teach_as_a_frozen_teacher(done, base, source, tmp_path):
    frozen = SETTINGS | {"train.interaction_teacher": "frozen"}
    found = adapt(source, tmp_path / "run", base=base, settings=frozen)
    assert found.sentence
    rows = map(json.loads, (tmp_path / "run/adapt/training/log.jsonl").read_text().splitlines())
    assert all(row["loss"] > 0 for row in rows if row["event"] == "log")
    assert bytes_of(tmp_path / "run") != bytes_of(done[0])
    with pytest.raises(SettingsError, match=r"train\.attention_weight is above 0"):
        begin(source, tmp_path / "other", base=base, settings=SETTINGS | {"train.attention_weight": 1})


def test_between_two_models_every_weight_is_between(done):
    folder, _ = done
    start, last = folder / "adapt" / "start", folder / "adapt" / "training" / "last"
    first, second = (load_joint(one, device="cpu").state_dict() for one in (start, last))
    half = blend(start, last, 0.5).state_dict()
    changed = [
        name for name in first if first[name].is_floating_point() and not first[name].equal(second[name])
    ]
    assert any("emb_layer" in name for name in changed)
    for name in changed:
        torch.testing.assert_close(half[name], (first[name] + second[name]) / 2)
    whole = blend(start, last, 1.0).state_dict()
    assert all(torch.allclose(whole[name], second[name]) for name in second)
    with pytest.raises(ModelError, match="other weights"):
        mixed(first, dict(list(second.items())[1:]), 0.5)


def test_the_start_is_the_base_with_weighted_tokens(done, base):
    folder, _ = done
    start = load_joint(folder / "adapt" / "start", device="cpu")
    weigher = word_weights(start)
    assert weigher is not None
    assert float(weigher.emb_layer.weight.detach().std()) > 0
    before = load(base, device="cpu").encode_joint(["tea and rice"], "passage").tokens[0]
    after = start.encode_joint(["tea and rice"], "passage").tokens[0]
    products = [matrix @ matrix.T for matrix in (before, after)]
    np.testing.assert_allclose(*products, atol=0.05)  # the same states, in the head's fewer dimensions


def test_a_person_s_questions_are_learnt_from_beside_the_made_ones(base, tmp_path):
    source = beir(tmp_path / "docs")
    own = tmp_path / "own.jsonl"
    own.write_text('{"text": "where do they sell tea?", "passage": "p3"}\n')
    begun = begin(source, tmp_path / "run", base=base, settings=SETTINGS, own=own)
    assert begun.steps()[1].settings.own
    with pytest.raises(DataError, match="no such file of questions"):
        begin(source, tmp_path / "other", base=base, settings=SETTINGS, questions="nowhere.jsonl")
    with pytest.raises(SettingsError, match="are all already"):
        begin(source, tmp_path / "other", base=base, settings=SETTINGS, questions=own, own=own)


def test_a_recipe_s_settings_are_taken_and_changed(base, tmp_path):
    source = beir(tmp_path / "docs")
    mine = tmp_path / "mine.yaml"
    mine.write_text(f"base: {base}\nlabels: false\ntrain: {{steps: 7, learning_rate: 1.0e-4}}\n")
    begun = begin(source, tmp_path / "run", settings={"train.steps": 5}, recipe=mine)
    assert (begun.base, begun.settings.labels) == (base, False)
    assert (begun.settings.train.steps, begun.settings.train.learning_rate) == (5, 1e-4)
    assert begun.settings.train.pooling == "weighted"
    with pytest.raises(TrainingError, match=r"train\.steps 5, now 7"):
        begin(source, tmp_path / "run", recipe=mine)
    mine.write_text("train: {stepz: 7}")
    with pytest.raises(SettingsError, match=r"mine\.yaml: train: unknown setting 'stepz'"):
        begin(source, tmp_path / "other", base=base, recipe=mine)
    with pytest.raises(SettingsError, match="a recipe and settings that are complete"):
        begin(source, tmp_path / "other", base=base, recipe=mine, settings=begun.settings)


def test_of_a_person_s_questions_alone_some_are_held_out():
    mine = [Question(f"which {row}?", f"p{row % 50}") for row in range(100)]
    found = with_held_out(mine, QuestionSettings(held_out=0.1))
    held = {one.passage for one in found if one.split == "held-out"}
    assert 5 <= len(held) <= 25  # of 50 passages 0.3
    assert not held & {one.passage for one in found if one.split == "train"}
    assert [one.text for one in found] == [one.text for one in mine]
    marked = [*mine[:-1], replace(mine[-1], split="held-out")]
    assert with_held_out(marked, QuestionSettings(held_out=0.1)) == marked
    assert with_held_out(mine, QuestionSettings(held_out=0)) == mine


def test_a_person_s_questions_alone_reach_a_verdict(base, tmp_path):
    source = beir(tmp_path / "docs")
    own = tmp_path / "own.jsonl"
    rows = [{"text": " ".join(one.text.split()[2:9]), "passage": one.id} for one in passages()]
    own.write_text("\n".join(map(json.dumps, [*rows, rows[0] | {"passage": "p1"}])))
    found = adapt(source, tmp_path / "run", base=base, settings=SETTINGS, questions=own)
    assert {row.split for row in found.verdict.rows} == {"held-out"}
    assert found.verdict.decided_by == "held-out"


def test_an_endpoint_that_runs_out_of_money_writes_what_it_can_and_rules_the_others(base, fake, tmp_path):
    source = beir(tmp_path / "docs")
    fake.answer = lambda number, body: good(number, body) if number < 6 else (402, {"error": "no money"})
    given = {"base_url": fake.url, "pause": 0.0, "workers": 1, "prompt": "ask {number} of {passage}"}
    told: list[str] = []
    found = adapt(
        source,
        tmp_path / "run",
        base=base,
        settings=SETTINGS,
        questions="openai:any",
        endpoint=given,
        observer=listening(told),
    )
    assert found.sentence
    assert any("requests with the passages' texts, sent to http://127.0.0.1" in text for text in told)
    rows = read_questions(tmp_path / "run" / "questions" / "questions.jsonl")
    kinds = Counter(one.kind for one in rows if one.split == "train")
    assert kinds["generated"] >= 6
    assert kinds["span"] > 6
    counts = json.loads((tmp_path / "run" / "questions" / "stage.json").read_text())["counts"]
    assert "out of money" in counts["generator_gave_up"]
    asked = len(fake.bodies)
    again = {"settings": SETTINGS, "questions": "openai:any"}
    assert adapt(source, tmp_path / "run", base=base, endpoint=given, **again) == found
    assert len(fake.bodies) == asked
    assert begin(source, tmp_path / "run", base=base, endpoint=given, **again).asked_of_generator() == ""
    with pytest.raises(TrainingError, match="prompt"):
        adapt(source, tmp_path / "run", base=base, endpoint=given | {"prompt": "{passage}"}, **again)


def test_what_an_endpoint_would_take_is_refused_before_it_is_asked(base, fake, tmp_path, monkeypatch):
    monkeypatch.setattr("ernie_search.adaptation.run.measure_rates", lambda *given: Rates(100.0, 1.0))
    source = beir(tmp_path / "docs")
    given = {"questions": "openai:any", "settings": SETTINGS, "base": base}
    limits = {"base_url": fake.url, "limit_tokens": 100}
    with pytest.raises(SettingsError, match="more than --limit-tokens 100"):
        adapt(source, tmp_path / "run", endpoint=limits, **given)
    with pytest.raises(SettingsError, match="more than --limit-cost"):
        costs = {"base_url": fake.url, "price_in": 5.0, "price_out": 5.0, "limit_cost": 1e-6}
        begin(source, tmp_path / "dry", endpoint=costs, write=False, **given).asked_of_generator()
    assert fake.bodies == []
    said = begin(source, tmp_path / "dry", endpoint={"base_url": fake.url}, write=False, **given)
    assert "requests with the passages' texts, sent to" in said.asked_of_generator()
    assert not (tmp_path / "dry").exists()
    with pytest.raises(SettingsError, match="--base-url: of a model that writes questions"):
        begin(source, tmp_path / "dry", base=base, endpoint={"base_url": fake.url}, write=False)


@pytest.mark.parametrize(
    ("texts", "why"),
    [
        (["Tea is grown in the hills of Assam by many people."], "1 passages are too few to learn from"),
        (
            [f"{one} grows in the hills near the river." for one in ("tea", "rice")] * 5,
            "10 passages are too few",
        ),
        (["Tea is grown in the hills of Assam by many people."] * 120, "usable questions could be made"),
        (["tea"] * 120, "usable questions could be made"),
    ],
)
def test_too_little_keeps_the_base_and_says_why(base, tmp_path, texts, why):
    docs = tmp_path / "docs"
    docs.mkdir()
    rows = [json.dumps({"_id": f"p{row}", "text": text}) for row, text in enumerate(texts)]
    (docs / "corpus.jsonl").write_text("\n".join(rows))
    found = adapt(docs, tmp_path / "run", base=base)
    assert not found.use
    assert found.sentence.startswith("Keep what you have: ")
    assert why in found.sentence
    assert (found.model / "model.safetensors").read_bytes() == (Path(base) / "model.safetensors").read_bytes()


def test_a_folder_of_documents_with_broken_files_is_adapted_to(base, tmp_path):
    docs = documents(tmp_path / "docs")
    said: list[str] = []
    found = adapt(
        docs,
        tmp_path / "run",
        base=base,
        settings=SETTINGS,
        observer=listening(said),
    )
    counts = json.loads((tmp_path / "run" / "documents" / "stage.json").read_text())["counts"]
    assert counts["passages"] == 60
    assert counts["skipped"] == 6
    assert any("left out 6" in text for text in said)
    assert not found.changed
    (docs / "000.md").write_text("# Other\n\nSomething else altogether is said here now.\n")
    assert adapt(docs, tmp_path / "run", base=base, settings=SETTINGS).changed


def test_code_tables_and_texts_without_spaces_are_adapted_to(base, tmp_path):
    docs = tmp_path / "docs"
    docs.mkdir()
    for row, one in enumerate(passages(40)):
        name = one.text.split()[1]
        code = f"def {name}_{row}(tea):\n    total = tea * {row}\n    return total, '{name}'\n"
        table = f"| {name} | tons |\n|---|---|\n| tea | {row} |\n| old rice | {row * 7} |\n"
        kana = "".join(chr(0x3042 + (row * step * 7 + step) % 80) for step in range(1, 60))
        (docs / f"code{row:02}.md").write_text(f"```python\n{code}```\n", encoding="utf-8")
        (docs / f"table{row:02}.md").write_text(table, encoding="utf-8")
        (docs / f"kana{row:02}.md").write_text(f"{kana}。\n", encoding="utf-8")
    found = adapt(docs, tmp_path / "run", base=base, settings=SETTINGS)
    assert found.verdict.rows
    rows = read_questions(tmp_path / "run" / "questions" / "questions.jsonl")
    assert {one.passage[:4] for one in rows} == {"code", "tabl", "kana"}
    assert json.loads((tmp_path / "run" / "adapt" / "stage.json").read_text())["counts"]["steps"] == 4


def test_the_package_can_be_called(done, base, source):
    import ernie_search.adaptation.questions

    folder, found = done
    assert ernie_search.adapt(source, folder, base=base, settings=SETTINGS) == found


def test_nothing_to_read_is_one_line(base, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no file that can be read"):
        adapt(tmp_path / "empty", tmp_path / "run", base=base)


def test_a_training_gives_no_advice_on_temperatures_that_nobody_has_set() -> None:
    told: list[str] = []
    observe = _without_advice(lambda event, values: told.append(event))
    observe("advice", {"text": "raise teacher_temperature"})
    observe("step", {"step": 1})
    assert told == ["step"]
