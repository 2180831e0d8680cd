"""Weighted sums of components, against the sum that the definition spells."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from torch import nn

from ernie_search.errors import DataError, SettingsError
from ernie_search.mining import BM25, TrainingList, write_lists
from ernie_search.model.cross_encoder import load_cross_encoder, new_cross_encoder
from ernie_search.model.loading import load
from ernie_search.teacher import ListScoreSettings, TeacherSum, open_sum, parse_weights, score_lists
from ernie_search.teacher.components import Asked, LateScores
from ernie_search.teacher.judging import accuracy_advice, positive_rank
from ernie_search.teacher.sums import SavedWeights
from tiny_model import sentence_base
from tiny_teacher import TRAIN, collection, lists

SETTINGS = ListScoreSettings(shard_size=5, precision="fp32")
WEIGHTS = {"cross": 1.0, "late": 0.5, "bm25": 0.02}


class Killed(Exception):  # noqa: N818 - not an error, a stop
    """Raised in the middle of scoring."""


@pytest.fixture(scope="module")
def cross(base, tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("cross") / "model"
    new_cross_encoder(base, max_length=60, seed=1, device="cpu").save(str(folder))
    return str(folder)


@pytest.fixture(scope="module")
def late(tmp_path_factory) -> str:
    return str(sentence_base(tmp_path_factory.mktemp("late") / "model", layers=1))


def the_sum(cross: str, late: str, weights: dict[str, float] = WEIGHTS, **options) -> TeacherSum:
    return open_sum(weights, collection(), cross=cross, late=late, **options)


def naive(one: TrainingList, cross: str, late: str) -> dict[str, list[float]]:
    """Every component's scores of a list, one pair at a time."""
    data = collection()
    texts = {p.id: p.full_text for p in data.passages()}
    question = {q.id: q.text for q in data.queries("train")}[one.query]
    model, reader = load(late), load_cross_encoder(cross)
    tokens = model.encode_joint([question], "query", bf16=False).tokens[0]
    words = BM25(data.passages())
    found: dict[str, list[float]] = {"cross": [], "late": [], "bm25": []}
    ranked = words.search([q for q in data.queries("train") if q.id == one.query], k=1000)[one.query]
    for passage in one.passages:
        pair = [(question, texts[passage])]
        found["cross"].append(float(reader.predict(pair, activation_fn=nn.Identity())[0]))
        theirs = model.encode_joint([texts[passage]], "passage", bf16=False).tokens[0]
        found["late"].append(float(np.mean([max(float(a @ b) for b in theirs) for a in tokens])))
        found["bm25"].append(ranked.get(passage, 0.0))
    return found


def test_a_sum_is_the_sum_of_its_components(cross, late, tmp_path):
    mined = lists(tmp_path / "lists")
    scored = score_lists(the_sum(cross, late), collection(), mined, tmp_path / "scored", SETTINGS)
    for one in list(scored)[::7]:
        expected = naive(one, cross, late)
        assert set(one.parts) == {"cross", "late", "bm25"}
        for name, scores in expected.items():
            np.testing.assert_allclose(one.parts[name], scores, atol=2e-5, err_msg=name)
        total = sum(WEIGHTS[name] * np.array(expected[name]) for name in WEIGHTS)
        np.testing.assert_allclose([*one.positive_scores, *one.negative_scores], total, atol=5e-5)
    about = scored.manifest["scores"]
    assert about["weights"] == WEIGHTS
    assert about["teacher"] == "cross=1, late=0.5, bm25=0.02"
    ranks = [positive_rank(one.parts["late"][:1], one.parts["late"][1:]) for one in scored]
    found = about["components"]["late"]
    assert found["lists"] == TRAIN
    assert found["positive_first"] == pytest.approx(np.mean([rank == 1 for rank in ranks]), abs=1e-4)
    assert found["mrr"] == pytest.approx(np.mean([1 / rank for rank in ranks]), abs=1e-4)


def test_other_weights_sum_anew_and_score_nothing_again(cross, late, tmp_path, monkeypatch):
    mined = lists(tmp_path / "lists")
    first = list(score_lists(the_sum(cross, late), collection(), mined, tmp_path / "scored", SETTINGS))

    def never(*_args, **_options):
        raise AssertionError("scored again")

    monkeypatch.setattr(LateScores, "scores", never)
    monkeypatch.setattr("ernie_search.teacher.teachers.score_pairs", never)
    other = {"cross": 0.0, "late": 2.0, "bm25": 0.0}
    again = score_lists(the_sum(cross, late, other), collection(), mined, tmp_path / "scored", SETTINGS)
    for one, before in zip(again, first, strict=True):
        assert one.parts == before.parts
        np.testing.assert_allclose(
            [*one.positive_scores, *one.negative_scores], 2 * np.array(one.parts["late"]), rtol=1e-6
        )
    # From the parts of scored lists alone, without any model.
    alone = open_sum({"bm25": 1.0}, collection(), there=["bm25"])
    words = score_lists(alone, collection(), again, tmp_path / "words", SETTINGS)
    for one in words:
        assert (*one.positive_scores, *one.negative_scores) == one.parts["bm25"]
    with pytest.raises(SettingsError, match=r"no scores of component 'llm' \(known: bm25, cross, late\)"):
        score_lists(TeacherSum({"llm": 1.0}), collection(), again, tmp_path / "llm", SETTINGS)
    with pytest.raises(SettingsError, match=r"'late'.*name a model with --late"):
        score_lists(TeacherSum({"late": 1.0}), collection(), mined, tmp_path / "late", SETTINGS)


def test_a_sum_resumes_and_keeps_its_components(cross, late, tmp_path):
    mined = lists(tmp_path / "lists")
    weights = {"late": 1.0, "bm25": 0.1}
    teacher = open_sum(weights, collection(), late=late)
    whole = score_lists(teacher, collection(), mined, tmp_path / "whole", SETTINGS)
    done = 0

    def stop(count: int) -> None:
        nonlocal done
        done += count
        if done >= 10:
            raise Killed

    with pytest.raises(Killed):
        score_lists(teacher, collection(), mined, tmp_path / "scored", SETTINGS, progress=stop)
    fewer = open_sum({"late": 1.0}, collection(), late=late)
    with pytest.raises(DataError, match=r"holds other scores \(bm25 k1=0.9, b=0.4, now None"):
        score_lists(fewer, collection(), mined, tmp_path / "scored", SETTINGS)
    scored = score_lists(teacher, collection(), mined, tmp_path / "scored", SETTINGS)
    assert scored.fingerprint == whole.fingerprint
    with pytest.raises(DataError, match=r"holds other scores \(late_question_weights even, now idf\)"):
        other = open_sum(weights, collection(), late=late, late_question_weights="idf")
        score_lists(other, collection(), mined, tmp_path / "scored", SETTINGS)


def test_shards_from_before_there_were_components_are_read(cross, tmp_path):
    mined = lists(tmp_path / "lists")
    whole = score_lists(cross, collection(), mined, tmp_path / "scored", SETTINGS)
    state = json.loads((tmp_path / "scored" / "scores.json").read_text())
    from ernie_search._util.files import sha256_file

    for name in state["shards"]:
        path = tmp_path / "scored" / "shards" / name
        rows = pq.read_table(path).to_pylist()
        import pyarrow as pa

        scores = [dict(row["parts"])["cross"] for row in rows]
        pq.write_table(
            pa.table(
                {
                    "query": [row["query"] for row in rows],
                    "positive_scores": [one[:1] for one in scores],
                    "negative_scores": [one[1:] for one in scores],
                }
            ),
            path,
        )
        state["shards"][name] = sha256_file(path)
    (tmp_path / "scored" / "scores.json").write_text(json.dumps(state))
    (tmp_path / "scored" / "manifest.json").unlink()
    again = score_lists(cross, collection(), mined, tmp_path / "scored", SETTINGS)
    assert again.fingerprint == whole.fingerprint


def test_idf_weights_of_question_tokens(late):
    data = collection()
    texts = {p.id: p.full_text for p in data.passages()}
    asked = [Asked("where is the rain?", ("p0", "n0"))]
    teacher = LateScores(late, data, question_weights="idf")
    model = teacher.model
    read = model.encode_joint([asked[0].text], "query", bf16=False)
    known = [set(model.tokenizer(text)["input_ids"]) for text in texts.values()]
    ids = read.token_ids[0].tolist()
    holders = np.array([sum(number in one for one in known) for number in ids])
    weights = np.log1p((len(texts) - holders + 0.5) / (holders + 0.5))
    special = np.array([number in model.tokenizer.all_special_ids for number in ids])
    if special.any():
        weights[special] = weights[~special].mean()
    for passage, score in zip(("p0", "n0"), teacher.scores(asked, texts, bf16=False)[0], strict=True):
        theirs = model.encode_joint([texts[passage]], "passage", bf16=False).tokens[0]
        best = (read.tokens[0] @ theirs.T).max(axis=1)
        assert score == pytest.approx(float(weights @ best / weights.sum()), abs=1e-5)
    with pytest.raises(SettingsError, match="question weights 'idff'; did you mean 'idf'"):
        LateScores(late, data, question_weights="idff")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cross", "'cross' is not NAME=WEIGHT"),
        ("cross=x", "'cross=x' is not NAME=WEIGHT"),
        ("cross=1,cross=2", "'cross' comes twice"),
        ("cross=-1", "cross=-1: a weight is a number of at least 0"),
        ("cross=0,late=0", "a weight above 0 is needed"),
    ],
)
def test_weights_that_make_no_sum_are_one_line(text: str, message: str):
    with pytest.raises(SettingsError, match=message):
        parse_weights(text)


def test_weights_are_saved_and_read(tmp_path):
    assert parse_weights("cross=1, late=0.5,bm25=0.02") == WEIGHTS
    saved = SavedWeights(WEIGHTS, "runs/teacher", None, "idf", {"questions": 3})
    saved.write(tmp_path / "w.json")
    assert SavedWeights.read(tmp_path / "w.json") == saved
    (tmp_path / "w.json").write_text('{"weights": {"cross": "much"}}')
    with pytest.raises(DataError, match=r"w.json: not readable as a teacher's weights \(weights.cross"):
        SavedWeights.read(tmp_path / "w.json")


def test_a_component_worse_than_bm25_is_said(tmp_path):
    nan = float("nan")
    parts = {"bad": (1.0, 2.0, 3.0), "bm25": (3.0, 1.0, 2.0), "llm": (nan, 1.0, 2.0)}
    one = TrainingList("q0", ("p0",), ("n0", "n1"), (0.0,), (0.0, 0.0), parts=parts)
    mined = write_lists(tmp_path / "a", [one], data_fingerprint=collection().fingerprint, about={})
    weights = {"bad": 1.0, "bm25": 0.0, "llm": 0.0}
    scored = score_lists(TeacherSum(weights), collection(), mined, tmp_path / "b", SETTINGS)
    (found,) = scored
    assert (*found.positive_scores, *found.negative_scores) == parts["bad"]  # weight 0 adds no NaN
    components = scored.manifest["scores"]["components"]
    assert [one["mrr"] for one in components.values()] == [0.3333, 1.0, 0.0]
    assert components["llm"]["lists"] == 0
    advice = accuracy_advice(scored)
    assert advice is not None
    assert advice.startswith("bad (mean reciprocal rank 0.333) ranks these lists worse than BM25 (1.000);")
    fine = score_lists(TeacherSum({"bm25": 1.0}), collection(), mined, tmp_path / "c", SETTINGS)
    assert accuracy_advice(fine) is None
    assert Path(fine.folder / "scores.json").is_file()
