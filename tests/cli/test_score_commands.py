"""``score`` with weights, ``score-tune`` and ``score-import``: sums and other people's scores by typing."""

import json
import os

import pytest

from ernie_search.data import BeirCollection, write_beir
from ernie_search.mining.lists import Lists


@pytest.fixture
def weather(tmp_path, monkeypatch):
    """A BEIR folder, and its lists."""
    import tiny_teacher

    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    write_beir(tiny_teacher.collection(), tmp_path / "weather")
    tiny_teacher.lists(tmp_path / "lists", BeirCollection(tmp_path / "weather", "weather"))
    return tmp_path / "lists", tmp_path / "weather"


def test_weights_are_tuned_and_scored_with(run_cli, weather, tmp_path):
    lists, source = weather
    tuned = run_cli("score-tune", source, "--output", tmp_path / "w.json", "-k", 20)
    assert tuned.exit_code == 0, tuned.output
    assert "6 questions" in tuned.stdout
    for words in ("first stage", "bm25", "sum, held out", f"{tmp_path / 'w.json'}: bm25=1", "Next: "):
        assert words in tuned.stdout
    asked = ["score", lists, source, "--output", tmp_path / "scored", "--teacher"]
    done = run_cli(*asked, tmp_path / "w.json")
    assert done.exit_code == 0, done.output
    assert "24 lists, 120 pairs scored" in done.stdout
    halved = json.loads(run_cli(*asked, "bm25=0.5", "--json").stdout)
    assert halved["scores"]["weights"] == {"bm25": 0.5}
    first = next(iter(Lists.open(tmp_path / "scored")))
    assert first.positive_scores[0] == pytest.approx(first.parts["bm25"][0] / 2)
    figures = json.loads(run_cli("score-tune", source, "--output", tmp_path / "w.json", "--json").stdout)
    assert (figures["questions"], figures["weights"]) == (6, {"bm25": 1.0})


def test_scores_of_others_are_imported_and_weighed(run_cli, weather, tmp_path):
    lists, source = weather
    scores = tmp_path / "scores.csv"
    scores.write_text("qid,docid,score\nq0,p0,2\nq0,n0,1.5\nq0,n0,1\nx,p0,1\nq0,x,1\n")
    made = run_cli(
        "score-import", scores, source, "--lists", lists, "--name", "llm", "--output", tmp_path / "llm"
    )
    assert made.exit_code == 0, made.output
    assert "24 lists; 2 of 120 passages have a score (1.7%)" in made.stdout
    assert made.stderr.splitlines() == [
        f"warning: 1 rows repeat a pair; the first one counts; the first: {scores}:4",
        "warning: 1 rows of questions that the split lacks; the first: x",
        "warning: 1 rows of passages that the corpus lacks; the first: x",
    ]
    asked = ["score", tmp_path / "llm", source, "--output", tmp_path / "scored"]
    done = run_cli(*asked, "--teacher", "llm=1,bm25=0.1")
    assert done.exit_code == 0, done.output
    assert "llm x 1: positive on top 100.0%" in done.stdout
    alone = ["score-import", scores, source, "--output", tmp_path / "made", "--json"]
    assert json.loads(run_cli(*alone).stdout)["imported"]["coverage"] == 1.0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--teacher", "cross=1"], "no scores of component 'cross' (known: none); name a cross-encoder with"),
        (["--teacher", "llm=1"], "import scores under that name: ernie-search score-import --name llm"),
        (["--teacher", "bm25=x"], "'bm25=x' is not NAME=WEIGHT"),
        (["--teacher", "bm25=1", "--cross", "m"], "'cross' has no weight in the teacher; add cross=1"),
        (["--teacher", "model", "--late", "m"], "is a cross-encoder alone, beside --cross or --late"),
        (["--teacher", "absent.json"], "absent.json: no such file"),
        (["--teacher", "late=1", "--late", "m", "--late-question-weights", "idff"], "did you mean 'idf'?"),
    ],
)
def test_what_is_wrong_is_one_line(run_cli, weather, tmp_path, options, words):
    lists, source = weather
    wrong = run_cli("score", lists, source, "--output", tmp_path / "scored", *options)
    assert (wrong.exit_code, wrong.stderr.count("\n")) == (2, 1)
    assert words in wrong.stderr
    assert not (tmp_path / "scored").exists()
