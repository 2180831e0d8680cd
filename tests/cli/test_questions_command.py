"""``questions``: from a folder to a filtered file, the plan, and what is refused."""

import json
from pathlib import Path

import pytest

from adapt_crops import crops
from ernie_search.adaptation import read_questions
from ernie_search.data import write_beir
from fake_endpoint import FakeEndpoint, good

LOCAL = ("--questions", "openai:m", "--base-url", "http://127.0.0.1:9/v1")


@pytest.fixture
def many(tmp_path: Path) -> Path:
    write_beir(crops(120), tmp_path / "many")
    return tmp_path / "many"


def test_questions_are_made_filtered_and_shown(run_cli, many: Path, stub_model: Path, tmp_path: Path):
    output = tmp_path / "q"
    command = ("questions", many, "--output", output, "--model", stub_model, "--per-passage", 3)
    result = run_cli(*command)
    assert result.exit_code == 0, result.output
    found = read_questions(output / "questions.jsonl")
    assert f"{len(found):,} questions of 120 passages" in result.output
    assert len(found) > 100
    assert not (output / "questions.jsonl.parts").exists()
    again = run_cli(*command, "--json")
    assert json.loads(again.stdout)["questions"] == len(found)
    refused = run_cli(*command, "--seed", 1)
    assert refused.exit_code == 2
    assert "was made otherwise (other: settings)" in refused.output


def test_an_index_that_is_there_is_taken_if_it_holds_the_passages(
    run_cli, many: Path, stub_model: Path, index_folder: Path, tmp_path: Path
):
    own = tmp_path / "many-index"
    assert run_cli("index", many, "--model", stub_model, "--output", own).exit_code == 0
    command = ("questions", many, "--model", stub_model, "--number", 60)
    assert run_cli(*command, "--output", tmp_path / "a.jsonl", "--index", own).exit_code == 0
    refused = run_cli(*command, "--output", tmp_path / "b.jsonl", "--index", index_folder)
    assert refused.exit_code == 2
    assert "does not hold all passages" in refused.output


def test_a_file_is_of_the_index_that_filtered_it(
    run_cli, many: Path, stub_model: Path, index_folder: Path, tmp_path: Path
):
    own, other = tmp_path / "many-index", tmp_path / "moved"
    assert run_cli("index", many, "--model", stub_model, "--output", own).exit_code == 0
    command = ("questions", many, "--model", stub_model, "--number", 60, "--output", tmp_path / "q.jsonl")
    assert run_cli(*command, "--index", own).exit_code == 0
    own.rename(other)
    assert run_cli(*command, "--index", other).exit_code == 0
    for index in (("--index", index_folder), ()):
        refused = run_cli(*command, *index)
        assert refused.exit_code == 2
        assert "was made otherwise (other: search)" in refused.output


def test_the_plan_makes_nothing(run_cli, many: Path, tmp_path: Path):
    result = run_cli("questions", many, "--output", tmp_path / "q.jsonl", "--number", 40, "--dry-run")
    assert result.exit_code == 0, result.output
    assert "up to 40 questions of 10 passages, drawn from 120" in result.output
    result = run_cli(
        *("questions", many, "--output", tmp_path / "q.jsonl", "--number", 40, "--dry-run", "--json"),
        *("--questions", "openai:tiny", "--base-url", "http://127.0.0.1:9/v1"),
    )
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["generator"]["requests"] <= 10
    assert not list(tmp_path.glob("q.*"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--kinds", "span,own"), "kind own is not made by rules"),
        (("--kinds", "keywords"), "no kind is left to train on"),
        (("--kinds", "spam"), "setting kinds"),
        (("--held-out", "1.5"), "setting held_out"),
        (("--base-url", "http://x/v1"), "--base-url: of a model that writes questions"),
        (("--questions", "gpt"), "name hub:MODEL or openai:MODEL"),
        (("--own", "nothing.jsonl"), "no such file"),
        (("--index", "x"), "--index: of the filter; leave --no-filter out"),
        (("--model", "x"), "--model: of the filter; leave --no-filter out"),
        (("--depth", "20"), "--depth: of the filter; leave --no-filter out"),
        ((*LOCAL, "--price-out", "1"), "--price-out: needs --price-in, too"),
        (("--questions", "openai:m", "--base-url", "http://[::1/v1"), "give http://HOST:PORT/v1"),
        ((*LOCAL, "--timeout", "-1"), "--timeout -1.0: must be above 0"),
    ],
)
def test_what_cannot_be_is_one_line(run_cli, many: Path, tmp_path: Path, options, said):
    result = run_cli("questions", many, "--output", tmp_path / "q.jsonl", "--no-filter", *options)
    assert result.exit_code == 2
    assert said in result.output
    assert len(result.output.strip().splitlines()) == 1


def test_the_limit_is_checked_before_the_first_request(run_cli, many: Path, tmp_path: Path):
    result = run_cli(
        *("questions", many, "--output", tmp_path / "q.jsonl", "--no-filter", "--limit-tokens", 100),
        *("--questions", "openai:tiny", "--base-url", "http://127.0.0.1:9/v1"),
    )
    assert result.exit_code == 2
    assert "requests with the passages' texts, sent to http://127.0.0.1:9/v1" in result.output
    assert "more than --limit-tokens 100" in result.output


def test_what_a_model_left_is_asked_by_the_same_command(run_cli, many: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    fake = FakeEndpoint()
    try:
        fake.answer = lambda n, body: good(n, body) if n < 20 else (402, {"error": "no money"})
        command = ("questions", many, "--output", tmp_path / "q.jsonl", "--no-filter", "--per-passage", 2)
        command += ("--questions", "openai:m", "--base-url", fake.url)
        first = run_cli(*command)
        assert first.exit_code == 0, first.output
        assert "passages that the model wrote none of; rules wrote theirs" in first.output
        assert "the same command asks about the passages that are left" in first.output
        fake.answer = good
        limited = run_cli(*command, "--limit-tokens", 1)
        assert limited.exit_code == 0, limited.output
        assert "the limit of 1 tokens is reached" in limited.output
        assert "the same command asks about the passages that are left" in limited.output
        second = run_cli(*command)
        assert second.exit_code == 0, second.output
        assert "requests with the passages' texts" in second.output
        assert "the model" not in second.output
        train = [one for one in read_questions(tmp_path / "q.jsonl") if one.split == "train"]
        assert {one.kind for one in train} == {"generated"}
        asked = len(fake.bodies)
        assert "requests" not in run_cli(*command).output
        assert len(fake.bodies) == asked
    finally:
        fake.close()


def test_broken_files_of_a_folder_are_passed_over(run_cli, tmp_path: Path):
    folder = tmp_path / "docs"
    folder.mkdir()
    for one in crops(110).passages():
        (folder / f"{one.id}.md").write_text(f"# {one.title}\n\n{one.text}\n")
    for number in range(11):
        (folder / f"broken{number}.ipynb").write_bytes(b"{broken \xff\x00")
    result = run_cli("questions", folder, "--output", tmp_path / "q.jsonl", "--no-filter", "--number", 80)
    assert result.exit_code == 0, result.output
    assert "of 20 passages, drawn from 110" in result.output
