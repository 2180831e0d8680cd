"""``teacher`` and ``score``: from lists to scored lists by typing two commands."""

import json
import os

import pytest

from ernie_search.data import BeirCollection, write_beir
from ernie_search.mining.lists import Lists


@pytest.fixture
def weather(tmp_path, monkeypatch):
    """A BEIR folder, its lists, and a tiny base."""
    from sentence_transformers import CrossEncoder

    import tiny_teacher
    from tiny_model import bare_base

    monkeypatch.setattr(CrossEncoder, "_create_model_card", lambda *args, **kwargs: None)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    write_beir(tiny_teacher.collection(), tmp_path / "weather")
    tiny_teacher.lists(tmp_path / "lists", BeirCollection(tmp_path / "weather", "weather"))
    return tmp_path / "lists", tmp_path / "weather", bare_base(tmp_path / "base", layers=1)


def test_teachers_are_trained_and_their_scores_asked(run_cli, weather, tmp_path):
    lists, source, base = weather
    changes = {"base": base, "steps": 2, "questions_per_batch": 4, "max_length": 60, "precision": "fp32"}
    options = [part for name, value in changes.items() for part in ("--set", f"{name}={value}")]
    command = ["teacher", lists, source, "--output", tmp_path / "run", *options]
    made = run_cli(*command)
    assert made.exit_code == 0, made.output
    assert "teacher 2 of 2" in made.stderr
    assert "MRR on lists it is not trained on" in made.stderr
    assert "Next: ernie-search score" in made.stdout
    again = run_cli(*command, "--json")
    assert [path[-15:] for path in json.loads(again.stdout)["models"]] == [
        "teacher-0/model",
        "teacher-1/model",
    ]
    asked = ["score", lists, source, "--teacher", tmp_path / "run", "--output", tmp_path / "scored"]
    done = run_cli(*asked)
    assert done.exit_code == 0, done.output
    assert "24 lists, 120 pairs scored" in done.stdout
    assert Lists.open(tmp_path / "scored").scored
    assert json.loads(run_cli(*asked, "--json").stdout)["scores"]["pairs"] == 120


def test_what_is_wrong_is_one_line(run_cli, weather, tmp_path):
    lists, source, _ = weather
    wrong = run_cli("teacher", lists, source, "--output", tmp_path / "run", "--set", "step=2")
    assert wrong.exit_code == 2
    assert wrong.stderr.splitlines()[-1].startswith("error: unknown setting 'step'; did you mean 'steps'?")
    wrong = run_cli(
        "score", lists, source, "--teacher", tmp_path / "nowhere", "--output", tmp_path / "scored"
    )
    assert wrong.exit_code == 2
    assert "cannot be loaded as a cross-encoder" in wrong.stderr
