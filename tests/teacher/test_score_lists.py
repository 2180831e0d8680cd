"""Scores of lists: right, once, and nobody else's."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from torch import nn

from ernie_search.errors import DataError, ModelError, StorageError
from ernie_search.mining.lists import Lists, write_lists
from ernie_search.model.cross_encoder import new_cross_encoder, score_pairs
from ernie_search.teacher import ListScoreSettings, Teachers, score_lists, train_teachers
from ernie_search.teacher import teachers as teachers_module
from ernie_search.teacher.score_folder import ScoredList, ScoreFolder
from ernie_search.teacher.teachers import fold_of
from tiny_teacher import TRAIN, collection, lists, settings, training_lists

SETTINGS = ListScoreSettings(shard_size=5, precision="fp32")
SHARDS = -(-TRAIN // 5)


class Killed(Exception):  # noqa: N818 - not an error, a stop
    """Raised in the middle of scoring."""


@pytest.fixture(scope="module")
def ready(base, tmp_path_factory) -> str:
    """One untrained cross-encoder, as a ready one of the hub would be."""
    folder = tmp_path_factory.mktemp("ready") / "model"
    new_cross_encoder(base, max_length=60, seed=1, device="cpu").save(str(folder))
    return str(folder)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many pairs each call of the model was given."""
    counted: list[int] = []

    def counting(model, pairs, **options):
        counted.append(len(pairs))
        return score_pairs(model, pairs, **options)

    monkeypatch.setattr(teachers_module, "score_pairs", counting)
    return counted


def stop_after(lists_done: int):
    done = 0

    def progress(count: int) -> None:
        nonlocal done
        done += count
        if done >= lists_done:
            raise Killed

    return progress


def test_each_question_is_scored_by_the_teacher_that_has_not_seen_it(base, tmp_path):
    mined = lists(tmp_path / "lists")
    teachers = train_teachers(collection(), mined, tmp_path / "run", settings(base, checkpoints=1))
    scored = score_lists(tmp_path / "run", collection(), mined, tmp_path / "scored", SETTINGS)
    texts = {p.id: p.full_text for p in collection().passages()}
    questions = {q.id: q.text for q in collection().queries("train")}
    found = list(scored)
    assert [(one.query, one.positives, one.negatives) for one in found] == [
        (one.query, one.positives, one.negatives) for one in training_lists()
    ]
    for one in found:
        model = teachers.all[fold_of(one.positives, 2)]
        pairs = [(questions[one.query], texts[p]) for p in (*one.positives, *one.negatives)]
        expected = model.predict(pairs, activation_fn=nn.Identity())
        np.testing.assert_allclose([*one.positive_scores, *one.negative_scores], expected, atol=1e-5)
    about = scored.manifest["scores"]
    assert about["pairs"] == sum(1 + len(one.negatives) for one in found)
    first = [one.positive_scores[0] > max(one.negative_scores) for one in found]
    assert about["positive_first"] == pytest.approx(np.mean(first), abs=1e-4)
    entropies = []
    for one in found:
        shares = np.exp([one.positive_scores[0], *one.negative_scores])
        shares /= shares.sum()
        entropies.append(-np.sum(shares * np.log(shares)))
    assert about["entropy"] == pytest.approx(np.mean(entropies), abs=1e-4)
    assert scored.manifest["settings"] == {"seed": 0}  # what the lists said of themselves stays


def test_a_second_time_calls_the_model_zero_times(ready, tmp_path, calls):
    mined = lists(tmp_path / "lists")
    first = score_lists(ready, collection(), mined, tmp_path / "scored", SETTINGS)
    assert sum(calls) == first.manifest["scores"]["pairs"]
    calls.clear()
    done: list[int] = []
    again = score_lists(ready, collection(), mined, tmp_path / "scored", SETTINGS, progress=done.append)
    assert calls == []
    assert sum(done) == TRAIN
    assert again.fingerprint == first.fingerprint


def test_only_what_is_missing_is_scored_and_ends_the_same(ready, tmp_path, calls):
    mined = lists(tmp_path / "lists")
    whole = score_lists(ready, collection(), mined, tmp_path / "whole", SETTINGS)
    calls.clear()
    with pytest.raises(Killed):
        score_lists(ready, collection(), mined, tmp_path / "scored", SETTINGS, progress=stop_after(10))
    assert len(calls) == 2
    leftovers = tmp_path / "scored" / "shards" / "scores-00002.parquet"
    leftovers.write_bytes(b"half")  # written, but not yet in the manifest
    with pytest.raises(StorageError, match="no manifest"):
        Lists.open(tmp_path / "scored")
    done: list[int] = []
    scored = score_lists(ready, collection(), mined, tmp_path / "scored", SETTINGS, progress=done.append)
    assert len(calls) == SHARDS
    assert sum(done) == TRAIN
    assert scored.fingerprint == whole.fingerprint
    # Killed between the last shard and the lists: nothing is scored again.
    (tmp_path / "scored" / "manifest.json").unlink()
    assert (
        score_lists(ready, collection(), mined, tmp_path / "scored", SETTINGS).fingerprint
        == whole.fingerprint
    )
    assert len(calls) == SHARDS
    # A shard that was deleted is the only one scored anew.
    (tmp_path / "scored" / "manifest.json").unlink()
    (tmp_path / "scored" / "shards" / "scores-00001.parquet").unlink()
    assert (
        score_lists(ready, collection(), mined, tmp_path / "scored", SETTINGS).fingerprint
        == whole.fingerprint
    )
    assert len(calls) == SHARDS + 1


def test_a_kill_between_the_lists_and_their_manifest_is_gone_on_from(ready, tmp_path, calls):
    mined = lists(tmp_path / "lists")
    whole = score_lists(ready, collection(), mined, tmp_path / "scored", SETTINGS)
    # Of the two files that are moved up, the first one is in its place.
    (tmp_path / "scored" / ".lists").mkdir()
    (tmp_path / "scored" / "manifest.json").rename(tmp_path / "scored" / ".lists" / "manifest.json")
    again = score_lists(ready, collection(), mined, tmp_path / "scored", SETTINGS)
    assert again.fingerprint == whole.fingerprint
    assert len(calls) == SHARDS
    assert not (tmp_path / "scored" / ".lists").exists()


def test_a_folder_goes_on_with_its_own_shard_size_and_precision(ready, tmp_path, monkeypatch):
    mined = lists(tmp_path / "lists")
    with pytest.raises(Killed):
        score_lists(ready, collection(), mined, tmp_path / "scored", SETTINGS, progress=stop_after(5))
    monkeypatch.setattr("ernie_search.teacher.score.prefers_bf16", lambda device: True)
    with pytest.raises(DataError, match="scored in fp32, asked for bf16"):
        changed = ListScoreSettings(precision="bf16")
        score_lists(ready, collection(), mined, tmp_path / "scored", changed)
    scored = score_lists(ready, collection(), mined, tmp_path / "scored", ListScoreSettings())
    assert scored.manifest["scores"]["precision"] == "fp32"
    assert len(list((tmp_path / "scored" / "shards").iterdir())) == SHARDS


def test_a_shard_altered_by_hand_is_noticed(ready, tmp_path):
    mined = lists(tmp_path / "lists")
    score_lists(ready, collection(), mined, tmp_path / "scored", SETTINGS)
    shard = tmp_path / "scored" / "shards" / "scores-00001.parquet"
    table = pq.read_table(shard)
    pq.write_table(table.slice(0, table.num_rows - 1), shard)
    with pytest.raises(DataError, match=r"scores-00001.parquet: its bytes changed since it was written"):
        score_lists(ready, collection(), mined, tmp_path / "scored", SETTINGS)
    shard.unlink()
    lists_file = tmp_path / "scored" / "lists.parquet"
    lists_file.write_bytes(lists_file.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"lists.parquet: its bytes changed"):
        score_lists(ready, collection(), mined, tmp_path / "scored", SETTINGS)


def test_scores_of_another_corpus_teacher_or_lists_are_refused(base, ready, tmp_path):
    mined = lists(tmp_path / "lists")
    score_lists(ready, collection(), mined, tmp_path / "scored", SETTINGS)
    other = collection(passages=[*collection().passages()][::-1])
    with pytest.raises(
        DataError, match=f"lists of data {collection().fingerprint}, memory is {other.fingerprint}"
    ):
        score_lists(ready, other, mined, tmp_path / "scored", SETTINGS)
    with pytest.raises(DataError, match=r"holds other scores \(data .*; choose another folder"):
        score_lists(ready, other, lists(tmp_path / "others", other), tmp_path / "scored", SETTINGS)
    fewer = write_lists(
        tmp_path / "fewer", training_lists()[:9], data_fingerprint=collection().fingerprint, about={}
    )
    with pytest.raises(DataError, match=rf"holds other scores \(lists {mined.fingerprint}, now"):
        score_lists(ready, collection(), fewer, tmp_path / "scored", SETTINGS)
    with pytest.raises(DataError, match=r"holds other scores \(teachers "):
        short = Teachers.open(ready, max_length=20)
        score_lists(short, collection(), mined, tmp_path / "scored", SETTINGS)


def test_what_is_no_folder_of_scores_is_left_alone(ready, tmp_path):
    mined = lists(tmp_path / "lists")
    with pytest.raises(StorageError, match=r"holds 'lists.parquet' but no scores.json"):
        score_lists(ready, collection(), mined, tmp_path / "lists", SETTINGS)
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="is a file"):
        score_lists(ready, collection(), mined, tmp_path / "file", SETTINGS)


def test_a_passage_that_the_corpus_lacks_is_named(ready, tmp_path):
    gone = collection(passages=[p for p in collection().passages() if p.id != "p3"])
    mined = lists(tmp_path / "lists", gone)
    with pytest.raises(DataError, match="question 'q3': its positive 'p3' is not in the corpus"):
        score_lists(ready, gone, mined, tmp_path / "scored", SETTINGS)
    assert not (tmp_path / "scored").exists()


def test_the_manifest_says_whose_scores_these_are(ready, tmp_path):
    mined = lists(tmp_path / "lists")
    score_lists(ready, collection(), mined, tmp_path / "scored", SETTINGS)
    found = json.loads(Path(tmp_path / "scored" / "scores.json").read_text(encoding="utf-8"))
    assert found["key"] == {
        "teachers": Teachers.open(ready).fingerprints,
        "data": collection().fingerprint,
        "lists": mined.fingerprint,
        "max_length": [60],
        "split": "train",
    }
    assert found["precision"] == "fp32"
    assert len(found["shards"]) == SHARDS


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("key", [1]),
        ("key", None),
        ("shards", ["a"]),
        ("shards", {"a": 1}),
        ("shard_size", "5"),
        ("seconds", "long"),
        ("unheard", 1),
    ],
)
def test_a_value_of_another_type_in_a_folder_of_scores_is_one_line(tmp_path, name, value):
    ScoreFolder(tmp_path, {"teachers": ["x"]}, "fp32", 5).write()
    path = tmp_path / "scores.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))
    with pytest.raises(DataError, match=rf"scores.json: not readable as scores \(.*{name}") as caught:
        ScoreFolder.begin(tmp_path, {"teachers": ["x"]}, precision="fp32", shard_size=5)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["scores-00000.parquet", ""])
def test_a_folder_where_a_file_of_scores_belongs_is_one_line(tmp_path, name):
    state = ScoreFolder.begin(tmp_path, {}, precision="fp32", shard_size=5)
    if name:
        (tmp_path / "shards" / name).mkdir(parents=True)
    else:
        (tmp_path / "shards").touch()
    with pytest.raises(StorageError, match="a folder stands where a file belongs, or a file where"):
        state.add(0, [ScoredList("q", {"cross": (1.0,)})], 1.0)


@pytest.mark.parametrize(
    "text", ["[]", "{}", '{"teachers": 3}', '{"teachers": [1]}', '{"teachers": [{"model": "m"}]}']
)
def test_a_folder_that_does_not_say_its_teachers_is_one_line(tmp_path, text):
    (tmp_path / "teachers.json").write_text(text)
    with pytest.raises(ModelError, match=r"teachers.json: not as it was written \("):
        Teachers.open(tmp_path)
