"""The stage ``score`` with a sum for a teacher: what it reads, and what it leaves."""

import json
import math
from pathlib import Path

import pytest

from ernie_search._util.settings import parse_typed
from ernie_search.errors import DataError, SettingsError
from ernie_search.mining import Lists
from ernie_search.pipeline.stage import Available, Done, InputPaths, Task
from ernie_search.pipeline.stages.score import Score, ScoreStageSettings
from ernie_search.teacher import LateScores
from ernie_search.teacher.tuning import Figure, TunedSum
from ernie_search.types import Query
from tiny_teacher import DEV, TRAIN, collection, lists

BEFORE = Available(model="warm-up", mined="mine", lists="mine", teacher="teacher")


def stage(**settings) -> Score:
    return Score("score", parse_typed(ScoreStageSettings, settings))


def execute(folder: Path, given: Lists, **settings) -> tuple[Done, list[tuple[str, dict]]]:
    seen: list[tuple[str, dict]] = []
    inputs = InputPaths("none", lists=given.folder)
    task = Task(collection(), folder, inputs, lambda name, values: seen.append((name, values)))
    return stage(precision="fp32", **settings).execute(task), seen


def test_a_sum_reads_what_its_components_need():
    assert stage().reads(BEFORE).named == {"lists": "mine", "teacher": "teacher"}
    assert stage(teacher={"cross": 1, "late": 0.5}).reads(BEFORE).named == {
        "lists": "mine",
        "teacher": "teacher",
        "model": "warm-up",
    }
    no_teacher = Available(model="warm-up", mined="mine", lists="mine")
    assert stage(teacher="late=1,bm25=0.1").reads(no_teacher).named == {"lists": "mine", "model": "warm-up"}
    assert stage(teacher="late=1", late="elsewhere").reads(no_teacher).named == {"lists": "mine"}
    with pytest.raises(SettingsError, match="has late in its teacher; put a warm-up before it"):
        stage(teacher="late=1").reads(Available(mined="mine"))
    with pytest.raises(SettingsError, match="needs a teacher to score with"):
        stage().reads(no_teacher)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"llm": 1}, "'llm' is no component; choose among cross, late and bm25, or import scores of that"),
        ("cross", "'cross' is not name=weight"),
        ({"cross": 0}, "a weight above 0 is needed"),
        ({"cross": -1}, "a weight is a number of at least 0"),
    ],
)
def test_a_teacher_that_makes_no_sum_is_refused(value, message):
    with pytest.raises(SettingsError, match=message):
        stage(teacher=value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"imports": "llm=scores.jsonl"}, "'llm' has no weight in teacher"),
        ({"teacher": "bm25=1", "imports": {"bm25": "scores.jsonl"}}, "name 'bm25': choose another one"),
        ({"teacher": "llm=1", "imports": "scores.jsonl"}, "'scores.jsonl' is not name=file"),
        ({"teacher": "llm=1", "imports": "llm=a,llm=b"}, "each name once"),
        ({"teacher": "a b=1", "imports": {"a b": "s.jsonl"}}, "name 'a b': choose another one"),
        ({"teacher": "llm=1", "imports": {"llm": ""}}, "'llm' has no file"),
        ({"teacher": "llm=1", "imports": "llm=s.jsonl", "tune_on": "dev"}, "tune_on=dev re-ranks passages"),
    ],
)
def test_imports_that_make_no_sum_are_refused(settings, message):
    with pytest.raises(SettingsError, match=message):
        stage(**settings)


def test_scores_of_others_are_a_component(tmp_path):
    given, file = lists(tmp_path / "lists"), tmp_path / "scores.jsonl"
    with pytest.raises(DataError, match=r"scores.jsonl: no such file of scores; correct score.imports"):
        stage(teacher="llm=1", imports={"llm": str(file)}).check("base", None)
    file.write_text("{}")
    with pytest.raises(DataError, match=r"scores.jsonl:1: 0 columns of the question"):
        stage(teacher="llm=1", imports={"llm": str(file)}).check("base", None)
    rows = [
        {"query-id": one.query, "corpus-id": passage, "score": place}
        for one in given
        for place, passage in enumerate(one.passages)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows[1:]))  # one pair has none
    settings = {"teacher": "bm25=0.5,llm=2", "imports": f"llm={file}"}
    before = stage(**settings).sources
    done, seen = execute(tmp_path / "score", given, **settings)
    first, *others = Lists.open(tmp_path / "score" / done.gives)
    assert math.isnan((*first.positive_scores, *first.negative_scores)[0])
    for one in others:
        assert one.parts["llm"] == tuple(map(float, range(len(one.passages))))
        total = [0.5 * x + 2 * y for x, y in zip(one.parts["bm25"], one.parts["llm"], strict=True)]
        assert (*one.positive_scores, *one.negative_scores) == pytest.approx(total)
    assert done.counts["imported"]["llm"]["scored"] == len(rows) - 1
    assert any("passages of the lists have a score" in values.get("text", "") for _, values in seen)
    # An interrupted stage imports again, and goes on; another file is another input.
    again, _ = execute(tmp_path / "score", given, **settings)
    assert again.counts == done.counts
    file.write_text(json.dumps(rows[0]) + "\n")
    assert stage(**settings).sources != before
    assert list(before) == ["imports.llm"]  # a stage's own inputs have names, too


def test_lists_are_scored_by_the_sum_and_marked(tmp_path):
    done, _ = execute(tmp_path / "score", lists(tmp_path / "lists"), teacher="bm25=2", margin=-100)
    made = Lists.open(tmp_path / "score" / done.gives)
    assert len(made) == TRAIN
    for one in made:
        assert (*one.positive_scores, *one.negative_scores) == tuple(2 * x for x in one.parts["bm25"])
    assert done.counts["weights"] == {"bm25": 2.0}
    assert done.counts["components"]["bm25"]["lists"] == TRAIN
    marked, _ = execute(tmp_path / "marked", lists(tmp_path / "lists"), teacher="bm25=2", margin=100)
    assert all(one.kept and not any(one.kept[:3]) for one in Lists.open(tmp_path / "marked" / marked.gives))


def test_weights_are_chosen_on_dev_once(tmp_path):
    given = lists(tmp_path / "lists")
    done, seen = execute(tmp_path / "score", given, teacher="bm25=7", tune_on="dev")
    assert done.counts["weights"] == {"bm25": 1.0}
    assert "weights.json" in done.outputs
    file = tmp_path / "score" / "weights.json"
    assert json.loads(file.read_text())["about"]["questions"] == DEV
    assert [values["done"] for _, values in seen if values.get("what") == "questions re-ranked"] == [DEV]
    # What a killed call chose is taken as it is.
    file.write_text(file.read_text().replace('"bm25": 1.0', '"bm25": 3.0'))
    again, seen = execute(tmp_path / "score", given, teacher="bm25=7", tune_on="dev")
    assert again.counts["weights"] == {"bm25": 3.0}
    assert not any(values.get("what") == "questions re-ranked" for _, values in seen)


@pytest.mark.parametrize(
    "change", [{"tune_questions": 4}, {"tune_on": "train"}, {"teacher": "bm25=7,late=1"}, {"asked": "snow"}]
)
def test_weights_that_a_killed_call_chose_by_something_else_are_chosen_anew(tmp_path, change, monkeypatch):
    chosen = []

    def tune(teacher, data, *, split, questions, progress):
        chosen.append((split, questions, list(teacher.weights)))
        return TunedSum(dict.fromkeys(teacher.weights, 1.0), DEV, [], *[Figure("x", 0.0, 0.0, 0.0)] * 3, 1)

    monkeypatch.setattr("ernie_search.pipeline.stages.score.tune_sum", tune)
    monkeypatch.setattr(LateScores, "key", {"late": "a model"})
    data = collection()

    def weigh(**settings):
        one = stage(**{"teacher": "bm25=7", "tune_on": "dev", "late": "any"} | settings)
        task = Task(data, tmp_path / "score", InputPaths("none"), lambda name, values: None)
        return one._teacher(task).weights

    weigh()
    weigh()
    assert len(chosen) == 1
    if "asked" in change:
        first, *others = data.queries("dev")
        data = collection(queries=[*data.queries("train"), Query(first.id, "where is snow?"), *others])
        change = {}
    weigh(**change)
    assert len(chosen) == 2
    file = tmp_path / "score" / "weights.json"
    saved = json.loads(file.read_text())
    del saved["about"]["chosen_by"]  # as it was written before there was one
    file.write_text(json.dumps(saved))
    weigh(**change)
    assert len(chosen) == 3
