"""The store from the command line: build, add, delete, stats, optimize, verify, search."""

import json

import pytest

from ernie_search.cli.output import binary_size


@pytest.fixture
def store(run_cli, collection, stub_model, tmp_path):
    result = run_cli("index", "build", collection, "--model", stub_model, "--output", tmp_path / "store")
    assert result.exit_code == 0, result.output
    assert "3 x 256" in result.stdout
    assert f"--index {tmp_path / 'store'}" in result.stdout
    return tmp_path / "store"


def test_build_again_is_no_harm(run_cli, collection, stub_model, store):
    result = run_cli("index", "build", collection, "--model", stub_model, "--output", store, "--json")
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)
    assert (figures["passages"], figures["token_format"], figures["search"]) == (3, "fp16", "exact")
    # From the shards that lie beside it no model is needed.
    again = run_cli("index", "build", f"{store}-shards", "--output", store)
    assert again.exit_code == 0, again.output


def test_build_needs_a_model_for_a_collection(run_cli, collection, tmp_path):
    result = run_cli("index", "build", collection, "--output", tmp_path / "store")
    assert result.exit_code == 2
    assert "--model" in result.stderr
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("mode", ["late", "dense"])
def test_search_asks_a_store_as_it_asks_shards(run_cli, store, index_folder, mode):
    found = [
        json.loads(run_cli("search", "rice in water", "--index", one, "--mode", mode, "--json").stdout)
        for one in (store, index_folder)
    ]
    assert [hit["id"] for hit in found[0]] == [hit["id"] for hit in found[1]]
    assert found[0][0]["id"] == "rice"


def test_add_and_delete(run_cli, collection, stub_model, store):
    with open(collection / "corpus.jsonl", "a", encoding="utf-8") as handle:
        handle.write(
            json.dumps({"_id": "oats", "title": "Oats", "text": "Oats like a wet and cool land."}) + "\n"
        )
    added = run_cli("index", "add", store, collection, "--model", stub_model)
    assert added.exit_code == 0, added.output
    assert "4 passages added or replaced" in added.stdout
    best = json.loads(run_cli("search", "oats wet land", "--index", store, "--json").stdout)[0]
    assert best["id"] == "oats"
    removed = json.loads(run_cli("index", "delete", store, "--id", "oats", "--id", "none", "--json").stdout)
    assert (removed["removed"], removed["passages"]) == (1, 3)
    by_filter = run_cli("index", "delete", store, "--where", 'id = "tea"')
    assert "1 passages removed, 2 left" in by_filter.stdout


def test_a_filter_that_nothing_meets(run_cli, store):
    options = ("search", "tea", "--index", store, "--where", 'id = "coffee"')
    found = run_cli(*options)
    assert (found.exit_code, found.stdout) == (0, "Nothing found.\n")
    assert json.loads(run_cli(*options, "--json").stdout) == []


def test_stats_optimize_verify(run_cli, stub_model, store):
    stats = run_cli("index", "stats", store)
    assert "stub (f00d)" in stats.stdout
    assert "MiB" in stats.stdout  # in GiB a small store would be of size 0.0
    assert run_cli("index", "optimize", store).exit_code == 0
    checked = run_cli("index", "verify", store, "--model", stub_model)
    assert checked.exit_code == 0
    assert "sound. 3 passages" in checked.stdout
    assert "3 of them encoded again" in checked.stdout
    by_itself = run_cli("index", "verify", store)
    assert "3 of them encoded again" in by_itself.stdout
    assert "encoded again" not in run_cli("index", "verify", store, "--sample", "0").stdout
    stub_model.rmdir()
    moved = run_cli("index", "verify", store)
    assert moved.exit_code == 0
    assert "no vector compared, as stub is not where it was" in moved.stdout


@pytest.mark.parametrize(
    ("size", "said"), [(0, "0.0 MiB"), (2**19, "0.5 MiB"), (2**30, "1.0 GiB"), (3 * 2**39, "1536.0 GiB")]
)
def test_a_number_of_bytes_is_said_in_the_unit_that_shows_it(size, said):
    assert binary_size(size) == said


def test_a_store_without_tokens_says_which_mode_is_left(run_cli, collection, stub_model, tmp_path):
    place = tmp_path / "s"
    made = run_cli("index", "build", collection, "--model", stub_model, "--output", place, "--tokens", "none")
    assert made.stdout.endswith(f"--index {place} --mode dense\n")


def test_int8_vectors(run_cli, collection, stub_model, tmp_path):
    made = run_cli(
        *("index", "build", collection, "--model", stub_model, "--output", tmp_path / "s", "--dense", "int8")
    )
    assert made.exit_code == 0, made.output
    assert "int8, the best scored again with the full ones" in made.stdout
    best = json.loads(run_cli("search", "rice in water", "--index", tmp_path / "s", "--json").stdout)[0]
    assert best["id"] == "rice"
    other = run_cli("index", "build", collection, "--model", stub_model, "--output", tmp_path / "s")
    assert other.exit_code == 2
    assert "made with dense='int8', not 'fp32'" in other.stderr


def test_verify_names_the_broken_file(run_cli, store):
    path = max((store / "passages.lance" / "data").iterdir(), key=lambda one: one.stat().st_size)
    broken = bytearray(path.read_bytes())
    broken[len(broken) // 2] ^= 4
    path.write_bytes(broken)
    for command in (
        ["index", "verify", store],
        ["search", "tea", "--index", store],
        ["index", "optimize", store],
    ):
        result = run_cli(*command)
        assert result.exit_code == 2
        assert path.name in result.stderr
        assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("command", ["stats", "verify", "optimize"])
def test_a_version_file_with_a_byte_too_many_is_one_line(run_cli, store, command):
    for version in (store / "passages.lance" / "_versions").iterdir():
        version.write_bytes(version.read_bytes() + b"x")
    result = run_cli("index", command, store)
    assert result.exit_code == 2
    assert ".manifest: holds" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["delete", "STORE"], "--id"),
        (["delete", "STORE", "--where", "(" * 3000], "more than 100 brackets"),
        (["delete", "STORE", "--where", f"year = {'9' * 5000}"], "the number at character 8 is too large"),
        (["delete", "STORE", "--where", "lang ="], "expected a value"),
        (["delete", "STORE", "--where", "lang = 'en'"], "no field 'lang'"),
        (["stats", "nowhere"], "not a store"),
        (["build", "x", "--output", "y", "--field", "year"], "--model"),
        (["verify", "nowhere"], "not a store"),
    ],
)
def test_refusals_are_one_line(run_cli, store, arguments, message):
    result = run_cli("index", *[store if one == "STORE" else one for one in arguments])
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_help_lists_the_commands(run_cli):
    result = run_cli("index", "--help")
    for name in ("encode", "build", "add", "delete", "stats", "optimize", "verify"):
        assert name in result.stdout
