"""``index`` and ``search`` from the command line to the printed hit."""

import json

import pytest

from ernie_search.shards import read_manifest


def test_index_says_what_it_did_and_what_to_type_next(run_cli, collection, stub_model, tmp_path):
    result = run_cli("index", collection, "--model", stub_model, "--output", tmp_path / "i")
    assert result.exit_code == 0
    assert "3 passages (3 encoded now)" in result.stdout
    assert "longer than the model reads, so cut: 1 passages" in result.stdout
    assert f"--index {tmp_path / 'i'}" in result.stdout
    again = run_cli("index", collection, "--model", stub_model, "--output", tmp_path / "i")
    assert "3 passages (all there already)" in again.stdout


def test_pieces_that_are_too_long_get_advice_of_their_own(run_cli, collection, stub_model, tmp_path):
    options = ["--model", stub_model, "--output"]
    whole = run_cli("index", collection, *options, tmp_path / "i")
    pieces = run_cli("index", collection, *options, tmp_path / "j", "--chunk-words", "100")
    assert "cut: 1 passages; --chunk-words makes pieces instead." in whole.stdout
    assert "cut: 1 passages; take fewer --chunk-words." in pieces.stdout


def test_index_json(run_cli, collection, stub_model, tmp_path):
    result = run_cli("index", collection, "--model", stub_model, "--output", tmp_path / "i", "--json")
    figures = json.loads(result.stdout)
    assert figures["passages"] == figures["encoded"] == 3
    assert figures["index"] == str(tmp_path / "i")


def test_index_cuts_long_passages_on_request(run_cli, collection, stub_model, tmp_path):
    options = [
        "--model",
        stub_model,
        "--output",
        tmp_path / "i",
        "--chunk-words",
        "6",
        "--chunk-overlap",
        "2",
    ]
    assert run_cli("index", collection, *options).exit_code == 0
    assert read_manifest(tmp_path / "i").passages > 3
    found = json.loads(run_cli("search", "much rain", "--index", tmp_path / "i", "-k", "1", "--json").stdout)
    assert found[0]["id"] == "tea"  # the document, by its best piece
    assert found[0]["text"] in "Tea grows on the hills of Assam and needs much rain."


def test_another_cut_is_other_data(run_cli, collection, stub_model, tmp_path):
    options = ["--model", stub_model, "--output", tmp_path / "i"]
    assert run_cli("index", collection, *options).exit_code == 0
    result = run_cli("index", collection, *options, "--chunk-words", "6")
    assert result.exit_code == 2
    assert str(tmp_path / "i") in result.stderr


def test_index_without_tokens_searches_dense_only(run_cli, collection, stub_model, tmp_path):
    options = ["--model", stub_model, "--output", tmp_path / "i", "--no-tokens"]
    made = run_cli("index", collection, *options)
    assert made.exit_code == 0
    assert made.stdout.endswith(
        f"--index {tmp_path / 'i'} --mode dense\n"
    )  # what is to be typed next is possible
    dense = run_cli("search", "where tea grows", "--index", tmp_path / "i", "--mode", "dense")
    assert dense.exit_code == 0
    late = run_cli("search", "where tea grows", "--index", tmp_path / "i", "--mode", "late")
    assert late.exit_code == 2
    assert "dense" in late.stderr


@pytest.mark.parametrize(
    "options", [["--chunk-overlap", "3"], ["--chunk-words", "5", "--chunk-overlap", "5"]]
)
def test_impossible_cuts_are_refused_before_anything_is_written(
    run_cli, collection, stub_model, tmp_path, options
):
    result = run_cli("index", collection, "--model", stub_model, "--output", tmp_path / "i", *options)
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "i").exists()


def test_a_broken_line_is_named_before_anything_is_written(run_cli, collection, stub_model, tmp_path):
    with open(collection / "corpus.jsonl", "a", encoding="utf-8") as handle:
        handle.write("{broken\n")
    result = run_cli("index", collection, "--model", stub_model, "--output", tmp_path / "i")
    assert result.exit_code == 2
    assert "corpus.jsonl:4" in result.stderr
    assert not (tmp_path / "i").exists()


def test_a_missing_model_directory_is_one_line(run_cli, collection, tmp_path):
    result = run_cli("index", collection, "--model", tmp_path / "absent", "--output", tmp_path / "i")
    assert result.exit_code == 2
    assert "no such model directory" in result.stderr
    assert not (tmp_path / "i").exists()


@pytest.mark.parametrize("mode", ["late", "dense"])
def test_search_shows_rank_score_title_and_marked_words(run_cli, index_folder, mode):
    result = run_cli("search", "rice in water", "--index", index_folder, "--mode", mode, "-k", "2")
    assert result.exit_code == 0
    first = result.stdout.splitlines()[0]
    assert first.split()[0] == "1"
    assert first.endswith("*Rice*")
    assert "[paddy]" in result.stdout  # brackets are text, not markup
    assert "*in* *water*" in result.stdout
    assert len([line for line in result.stdout.splitlines() if line.startswith("  2  ")]) == 1


def test_search_shows_the_id_where_there_is_no_title(run_cli, index_folder):
    result = run_cli("search", "wheat in summer", "--index", index_folder, "-k", "1")
    assert result.stdout.splitlines()[0].endswith("  wheat")


def test_search_json_has_everything_of_a_hit(run_cli, index_folder):
    hits = json.loads(run_cli("search", "where tea grows", "--index", index_folder, "--json").stdout)
    assert [hit["rank"] for hit in hits] == [1, 2, 3]
    best = hits[0]
    assert (best["id"], best["title"]) == ("tea", "Tea")
    assert set(best["stages"]) == {"dense", "late"}
    whole = f"{best['title']} {best['text']}"
    assert "grows" in {whole[one["start"] : one["stop"]] for one in best["matches"]}


def test_search_without_an_index_says_how_to_make_one(run_cli, tmp_path):
    result = run_cli("search", "tea", "--index", tmp_path / "absent")
    assert result.exit_code == 2
    assert "ernie-search index" in result.stderr
    assert result.stderr.count("\n") == 1


def test_an_empty_question_is_refused(run_cli, index_folder):
    result = run_cli("search", "  ", "--index", index_folder)
    assert result.exit_code == 2
    assert "empty" in result.stderr
