"""An index from the command line: its formats, add, delete, stats, optimize, verify, search."""

import json

import pytest

from ernie_search.cli.output import binary_size


@pytest.fixture
def index(run_cli, collection, stub_model, tmp_path):
    result = run_cli("index", collection, "--model", stub_model, "--output", tmp_path / "index")
    assert result.exit_code == 0, result.output
    assert "3 x 256" in result.stdout
    assert f"--index {tmp_path / 'index'}" in result.stdout
    return tmp_path / "index"


def test_build_again_is_no_harm(run_cli, collection, stub_model, index):
    result = run_cli("index", collection, "--model", stub_model, "--output", index, "--json")
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)
    assert (figures["passages"], figures["token_format"], figures["search"]) == (3, "fp16", "exact")


def test_a_collection_is_encoded_by_the_default_model(run_cli, collection, stub_model, tmp_path, monkeypatch):
    monkeypatch.setattr("ernie_search.cli.index.default_model", lambda: str(stub_model))
    result = run_cli("index", collection, "--output", tmp_path / "index")
    assert result.exit_code == 0, result.output
    assert "stub (f00d)" in result.stdout


def test_add_and_delete(run_cli, collection, stub_model, index):
    with open(collection / "corpus.jsonl", "a", encoding="utf-8") as handle:
        handle.write(
            json.dumps({"_id": "oats", "title": "Oats", "text": "Oats like a wet and cool land."}) + "\n"
        )
    added = run_cli("index", "add", index, collection, "--model", stub_model)
    assert added.exit_code == 0, added.output
    assert "4 passages added or replaced" in added.stdout
    best = json.loads(run_cli("search", "oats wet land", "--index", index, "--json").stdout)[0]
    assert best["id"] == "oats"
    removed = json.loads(run_cli("index", "delete", index, "--id", "oats", "--id", "none", "--json").stdout)
    assert (removed["removed"], removed["passages"]) == (1, 3)
    by_filter = run_cli("index", "delete", index, "--where", 'id = "tea"')
    assert "1 passages removed, 2 left" in by_filter.stdout


def test_a_filter_that_nothing_meets(run_cli, index):
    options = ("search", "tea", "--index", index, "--where", 'id = "coffee"')
    found = run_cli(*options)
    assert (found.exit_code, found.stdout) == (0, "Nothing found.\n")
    assert json.loads(run_cli(*options, "--json").stdout) == []


def test_stats_optimize_verify(run_cli, stub_model, index):
    stats = run_cli("index", "stats", index)
    assert "stub (f00d)" in stats.stdout
    assert "MiB" in stats.stdout  # in GiB a small index would be of size 0.0
    assert run_cli("index", "optimize", index).exit_code == 0
    checked = run_cli("index", "verify", index, "--model", stub_model)
    assert checked.exit_code == 0
    assert "sound. 3 passages" in checked.stdout
    assert "3 of them encoded again" in checked.stdout
    by_itself = run_cli("index", "verify", index)
    assert "3 of them encoded again" in by_itself.stdout
    assert "encoded again" not in run_cli("index", "verify", index, "--sample", "0").stdout
    stub_model.rmdir()
    moved = run_cli("index", "verify", index)
    assert moved.exit_code == 0
    assert "no vector compared, as stub is not where it was" in moved.stdout


@pytest.mark.parametrize(
    ("size", "said"), [(0, "0.0 MiB"), (2**19, "0.5 MiB"), (2**30, "1.0 GiB"), (3 * 2**39, "1536.0 GiB")]
)
def test_a_number_of_bytes_is_said_in_the_unit_that_shows_it(size, said):
    assert binary_size(size) == said


def test_an_index_without_tokens_is_searched_like_any_other(run_cli, collection, stub_model, tmp_path):
    place = tmp_path / "s"
    made = run_cli("index", collection, "--model", stub_model, "--output", place, "--tokens", "none")
    assert made.stdout.endswith(f'Next: ernie-search search "your question" --index {place}\n')
    found = run_cli("search", "rice in water", "--index", place, "--json")
    assert (found.exit_code, found.stderr, json.loads(found.stdout)[0]["id"]) == (0, "", "rice")


def test_int8_vectors(run_cli, collection, stub_model, tmp_path):
    made = run_cli(
        *("index", collection, "--model", stub_model, "--output", tmp_path / "s", "--dense", "int8")
    )
    assert made.exit_code == 0, made.output
    assert "int8, the best scored again with the full ones" in made.stdout
    best = json.loads(run_cli("search", "rice in water", "--index", tmp_path / "s", "--json").stdout)[0]
    assert best["id"] == "rice"
    again = ("index", collection, "--model", stub_model, "--output", tmp_path / "s")
    assert run_cli(*again).exit_code == 0
    other = run_cli(*again, "--dense", "fp32")
    assert other.exit_code == 2
    assert "made with dense='int8', not 'fp32'" in other.stderr


def test_verify_names_the_broken_file(run_cli, index):
    path = max((index / "passages.lance" / "data").iterdir(), key=lambda one: one.stat().st_size)
    broken = bytearray(path.read_bytes())
    broken[len(broken) // 2] ^= 4
    path.write_bytes(broken)
    for command in (["index", "verify", index], ["index", "optimize", index]):
        result = run_cli(*command)
        assert result.exit_code == 2
        assert path.name in result.stderr
        assert result.stderr.count("\n") == 1


def test_before_a_question_sizes_are_compared(run_cli, index):
    path = max((index / "passages.lance" / "data").iterdir(), key=lambda one: one.stat().st_size)
    path.write_bytes(path.read_bytes()[:-1])
    result = run_cli("search", "tea", "--index", index)
    assert result.exit_code == 2
    assert path.name in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("command", ["stats", "verify", "optimize"])
def test_a_version_file_with_a_byte_too_many_is_one_line(run_cli, index, command):
    for version in (index / "passages.lance" / "_versions").iterdir():
        version.write_bytes(version.read_bytes() + b"x")
    result = run_cli("index", command, index)
    assert result.exit_code == 2
    assert ".manifest: holds" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["delete", "INDEX"], "--id"),
        (["delete", "INDEX", "--where", "(" * 3000], "more than 100 brackets"),
        (["delete", "INDEX", "--where", f"year = {'9' * 5000}"], "the number at character 8 is too large"),
        (["delete", "INDEX", "--where", "lang ="], "expected a value"),
        (["delete", "INDEX", "--where", "lang = 'en'"], "no field 'lang'"),
        (["stats", "nowhere"], "so not an index"),
        (["x", "--output", "y", "--field", "year"], "--field year: expected NAME:str"),
        (["x", "--output", "y"], "x: no such folder"),
        (["api:", "--model", "m", "--output", "y", "--tokens", "int9"], "tokens: Input should be"),
        (["verify", "nowhere"], "so not an index"),
    ],
)
def test_refusals_are_one_line(run_cli, index, arguments, message):
    result = run_cli("index", *[index if one == "INDEX" else one for one in arguments])
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_help_lists_the_commands(run_cli):
    result = run_cli("index", "--help")
    for name in ("source", "--output", "add", "delete", "stats", "optimize", "verify"):
        assert name in result.stdout
