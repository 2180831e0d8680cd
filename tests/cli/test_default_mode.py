"""``search`` and ``evaluate``: without ``--mode`` the best that the index can; what it can't is refused."""

import json

import pytest


@pytest.fixture(params=["collection", "shards"])
def bare_index(request, run_cli, collection, stub_model, tmp_path):
    """The collection, indexed without token matrices; by way of shards that have none."""
    folder, shards = tmp_path / "bare", tmp_path / "shards"
    options = ["--model", stub_model, "--output", folder]
    if request.param == "collection":
        made = run_cli("index", collection, *options, "--tokens", "none")
    else:
        first = ["--output", tmp_path / "first", "--shards", shards, "--tokens", "none"]
        assert run_cli("index", collection, "--model", stub_model, *first).exit_code == 0
        made = run_cli("index", shards, "--output", folder)
    assert made.exit_code == 0, made.output
    return folder


def commands(collection, index):
    """Both commands, to be asked of an index."""
    return [("search", "rice in water", "--index", index), ("evaluate", collection, "--index", index)]


def untimed(printed):
    """JSON without the seconds that a search took."""
    found = json.loads(printed)
    for system in found["systems"] if isinstance(found, dict) else ():
        del system["seconds"]
    return found


def test_without_token_matrices_it_is_hybrid_all_the_same(run_cli, collection, bare_index):
    for command in commands(collection, bare_index):
        named, unnamed = run_cli(*command, "--mode", "hybrid", "--json"), run_cli(*command, "--json")
        assert (unnamed.exit_code, unnamed.stderr) == (0, "")
        assert untimed(unnamed.stdout) == untimed(named.stdout)


def test_without_words_it_is_what_is_left_and_says_so(run_cli, collection, index_folder, monkeypatch):
    from ernie_search.index.lance import LanceIndex

    monkeypatch.setattr(LanceIndex, "capabilities", frozenset({"filters"}))
    for command in commands(collection, index_folder):
        named, unnamed = run_cli(*command, "--mode", "late", "--json"), run_cli(*command, "--json")
        assert (named.exit_code, named.stderr) == (0, "")
        assert untimed(unnamed.stdout) == untimed(named.stdout)
        assert unnamed.stderr == (
            f"note: {index_folder} cannot search by words, so it is searched in mode late\n"
        )


def test_words_need_no_model(run_cli, collection, index_folder, monkeypatch):
    def load(path, **options):
        raise AssertionError("the model was loaded")

    monkeypatch.setattr("ernie_search.encoding.opening.open_encoder", load)
    for command in commands(collection, index_folder):
        result = run_cli(*command, "--mode", "words", "--json")
        assert (result.exit_code, result.stderr) == (0, "")
    explained = run_cli("search", "rice in water", "--index", index_folder, "--mode", "words", "--explain")
    assert explained.exit_code == 0
    assert "shared words: rice, water" in explained.stdout


def test_late_is_refused_before_the_model_is_loaded(run_cli, collection, bare_index, monkeypatch):
    def load(path, **options):
        raise AssertionError("the model was loaded")

    monkeypatch.setattr("ernie_search.encoding.opening.open_encoder", load)
    for command in commands(collection, bare_index):
        result = run_cli(*command, "--mode", "late")
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr == (
            f"error: {bare_index} holds no token matrices; use mode hybrid, or index again with tokens\n"
        )


def test_a_run_is_saved_under_the_mode_that_was_taken(run_cli, collection, bare_index, tmp_path):
    saved = tmp_path / "out.run"
    report = run_cli("evaluate", collection, "--index", bare_index, "--save-run", saved, "--json")
    assert json.loads(report.stdout)["systems"][0]["system"] == "bare (hybrid)"
    assert saved.read_text(encoding="utf-8").splitlines()[0].endswith("ernie-search-hybrid")


@pytest.mark.parametrize("command", ["search", "evaluate"])
def test_the_help_says_what_is_taken(run_cli, command):
    said = " ".join(run_cli(command, "--help").stdout.replace("│", " ").split())
    assert "hybrid, or what the index can do without words" in said
