"""``adapt``: the plan, the verdict, and what to type next."""

import json

from ernie_search.adaptation.plan import Rates
from ernie_search.adaptation.run import begin
from ernie_search.errors import SettingsError
from tiny_adapt import SETTINGS, beir
from tiny_model import sentence_base


def changes(**more):
    values = SETTINGS | {"check.shares": None} | more
    return [
        part for key, value in values.items() if value is not None for part in ("--set", f"{key}={value}")
    ]


def test_a_plan_a_verdict_and_the_next_command(run_cli, tmp_path):
    base, source = sentence_base(tmp_path / "base", layers=2), beir(tmp_path / "docs")
    output = tmp_path / "run"
    command = ("adapt", source, "--output", output, "--base", base, *changes())
    planned = run_cli(*command, "--dry-run", "--json")
    assert planned.exit_code == 0, planned.output
    plan = json.loads(planned.stdout)
    assert (plan["passages"], plan["steps"]) == (60, 4)
    assert plan["total"] > 0
    assert set(plan["states"].values()) == {"to do"}
    assert not output.exists()
    done = run_cli(*command)
    assert done.exit_code == 0, done.output
    *_, model, following = done.stdout.splitlines()
    assert model.startswith(f"model: {output / 'model'} (")
    assert (
        following
        == f"Next: ernie-search index {source} --model {output / 'model'} --output {output / 'index'}"
    )
    assert "Keep what you have: " in done.stdout or "Use it: " in done.stdout
    assert "What made questions cannot tell" in done.stdout
    again = run_cli(*command, "--json")
    found = json.loads(again.stdout)
    assert found["model"] == str(output / "model")
    assert found["sentence"] in done.stdout


def test_a_recipe_s_labels_are_left_out_unless_the_command_takes_them(run_cli, monkeypatch, tmp_path):
    taken: list[bool] = []

    def only_begun(source, output, *, observer, **asked):
        taken.append(begin(source, output, **asked, write=False).settings.labels)
        raise SettingsError("that was all")

    monkeypatch.setattr("ernie_search.adaptation.run.adapt", only_begun)
    monkeypatch.setattr("ernie_search.adaptation.run.measure_rates", lambda *given: Rates(100.0, 1.0))
    base, source = sentence_base(tmp_path / "base", layers=1), beir(tmp_path / "docs", 30)
    (tmp_path / "mine.yaml").write_text("labels: false\n")
    recipe = ("--recipe", tmp_path / "mine.yaml")
    for more in (recipe, (*recipe, "--labels"), (), ("--no-labels",)):
        result = run_cli("adapt", source, "--output", tmp_path / "run", "--base", base, *more)
        assert result.exit_code == 2, result.output
        assert "that was all" in result.stderr
    assert taken == [False, True, True, False]


def test_mistakes_are_one_line(run_cli, tmp_path):
    source = beir(tmp_path / "docs", 30)
    for more, message in (
        (("--set", "train.stepz=3"), "unknown setting 'stepz'"),
        (("--questions", "nowhere.jsonl"), "no such file of questions"),
        (("--base", str(tmp_path / "none")), "none"),
        (("--recipe", "nowhere.yaml"), "nowhere.yaml: no such recipe file"),
    ):
        result = run_cli("adapt", source, "--output", tmp_path / "run", *more)
        assert result.exit_code == 2, result.output
        assert message in result.stderr
        assert len(result.stderr.strip().splitlines()) == 1
