"""``train RECIPE`` with its plan, and ``ablate``: arguments, tables, JSON, refusals."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from ernie_search.data import write_beir
from tiny_training import collection, settings


@pytest.fixture
def base(tmp_path: Path) -> str:
    from tiny_model import sentence_base

    return str(sentence_base(tmp_path / "base", layers=2))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_beir(collection(), tmp_path / "crops")
    return tmp_path / "crops"


@pytest.fixture
def recipe(tmp_path: Path, base: str) -> Path:
    """Warm-up, mine, cascade without a teacher: the fewest stages that make a plan."""
    train = settings(steps=2, evaluations=1, checkpoints=1).model_dump()
    mine = {"last": 8, "number": 4, "near_duplicate": 0}
    stages: list[Any] = [{"warm-up": train}, {"mine": mine}, {"cascade": train}]
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump({"base": base, "stages": stages}), encoding="utf-8")
    return path


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "run"


def test_a_recipe_shows_its_plan_and_runs_its_stages(run_cli, data, recipe, output):
    result = run_cli("train", recipe, "--source", data, "--output", output, "--set", "cascade.steps=3")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[0].startswith(f"model: {output / 'model'} (3 steps in ")
    plan = [line.split() for line in result.stderr.splitlines() if line.rstrip().endswith(" to do")]
    assert [line[0] for line in plan] == ["warm-up", "mine", "cascade"]
    said = [line for line in result.stderr.splitlines() if line.startswith("stage ")]
    assert [line.split(":")[0] for line in said if "done in" not in line] == [
        *("stage warm-up", "stage mine", "stage cascade")
    ]
    again = run_cli("train", recipe, "--source", data, "--output", output, "--set", "cascade.steps=3")
    assert again.stdout.splitlines()[0] == f"{output}: trained already; delete the folder to train anew."
    states = [line.split()[-1] for line in again.stderr.splitlines() if line.split()[:1] == ["mine"]]
    assert states == ["done"]
    other = run_cli("train", recipe, "--source", data, "--output", output, "--set", "cascade.steps=4")
    assert other.exit_code == 2
    assert "stage 'cascade' was done with other settings (steps 3, now 4)" in other.stderr
    changed = output / "mine" / "run.trec"
    changed.write_text(changed.read_text().replace("p1 ", "p2 "))
    altered = run_cli("train", recipe, "--source", data, "--output", output, "--set", "cascade.steps=3")
    assert altered.exit_code == 2
    assert altered.stderr.startswith(f"error: {changed} was altered since then")


def test_a_dry_run_prints_sizes_and_times_and_writes_nothing(run_cli, data, recipe, output, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    result = run_cli("train", recipe, "--source", data, "--output", output, "--dry-run")
    assert result.exit_code == 0, result.output
    # The title has the recipe's path, which may be long enough to be broken into lines.
    assert "tiny.yaml: 40 passages, 40 training questions" in " ".join(result.stdout.split())
    assert "40 passages; 40 questions x 4" in result.stdout
    assert "all that is left" in result.stdout
    without = run_cli("train", recipe, "--source", data, "--dry-run", "--json")
    plan = json.loads(without.stdout)
    assert [one["stage"] for one in plan["stages"]] == ["warm-up", "mine", "cascade"]
    assert plan["seconds"] >= 0
    assert sorted(tmp_path.rglob("*")) == before


def test_a_dry_run_of_a_collection_takes_the_default_recipe(run_cli, data, base):
    options = ["--base", base, "--set", "query_length=32", "--set", "passage_length=60"]
    result = run_cli("train", data, *options, "--dry-run")
    assert result.exit_code == 0, result.output
    assert "default: 40 passages" in result.stdout
    assert "400 steps x 32 x (1 + 1)" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["squad", "--output", "o"], "recipe squad names no collection; give one with --source"),
        (["squad", "--output", "o", "--recipe", "demo"], "squad is a recipe, and --recipe demo is another"),
        (["data", "--output", "o", "--source", "other"], "data is no recipe's name, so it is the collection"),
        (["data"], "train needs a folder to write to; give one with --output"),
        (["squad", "--set", "steps=3"], "the recipe has 5 stages; say whose, as in cascade.steps"),
        (["squad", "--set", "casade.steps=3"], "unknown stage 'casade'; did you mean 'cascade'?"),
        (["squad", "--set", "cascade.stepz=3"], "unknown setting 'stepz'; did you mean 'steps'?"),
        (["absent.yaml", "--output", "o"], "absent.yaml: no such recipe file"),
    ],
)
def test_wrong_arguments_are_one_line(run_cli, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    result = run_cli("train", *arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert words in result.stderr
    assert result.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_ablate_writes_its_table_and_prints_it(run_cli, data, recipe, output):
    command = [
        "ablate",
        recipe,
        "--source",
        data,
        "--output",
        output,
        "--rows",
        "bm25,alone,both",
        "--seeds",
        "0",
    ]
    result = run_cli(*command)
    assert result.exit_code == 0, result.output
    assert (output / "table.md").read_text() in result.stdout
    table = json.loads(run_cli(*command, "--json").stdout)
    assert table == json.loads((output / "table.json").read_text())
    assert [row["row"] for row in table["rows"]] == ["bm25", "alone", "both"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--seeds", "a"], "--seeds a: must be distinct whole numbers separated by commas"),
        (["--seeds", "1,1"], "--seeds 1,1: must be distinct"),
        (["--rows", "allone"], "unknown row 'allone'; did you mean 'alone'?"),
        (["--rows", "kl"], "row 'kl' needs a teacher's scores"),
        (["--split", "tset"], "no split 'tset'"),
    ],
)
def test_ablate_refuses_in_one_line(run_cli, data, recipe, output, options, words):
    result = run_cli("ablate", recipe, "--source", data, "--output", output, *options)
    assert result.exit_code == 2
    assert words in result.stderr
    assert result.stderr.count("\n") == 1
    assert not output.exists()
