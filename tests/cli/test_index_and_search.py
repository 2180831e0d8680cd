"""``index`` and ``search`` from the command line to the printed hit."""

import json
import os
import shutil

import pytest

from ernie_search.index import open_index


def test_index_says_what_it_did_and_what_to_type_next(run_cli, collection, stub_model, tmp_path):
    result = run_cli("index", collection, "--model", stub_model, "--output", tmp_path / "i")
    assert result.exit_code == 0, result.output
    assert "passages 3 added, 0 replaced, 0 removed, 0 unchanged; 3 encoded now" in result.stdout
    assert "longer than the model reads, so cut: 1 passages" in result.stdout
    assert f"--index {tmp_path / 'i'}" in result.stdout
    again = run_cli("index", collection, "--model", stub_model, "--output", tmp_path / "i")
    assert f"{tmp_path / 'i'}: up to date with {collection}" in again.stdout
    assert not (tmp_path / "i.shards").exists()


def test_pieces_that_are_too_long_get_advice_of_their_own(run_cli, collection, stub_model, tmp_path):
    options = ["--model", stub_model, "--output"]
    whole = run_cli("index", collection, *options, tmp_path / "i")
    pieces = run_cli("index", collection, *options, tmp_path / "j", "--chunk-words", "100")
    assert "cut: 1 passages; --chunk-words makes pieces instead." in whole.stdout
    assert "cut: 1 passages; take fewer --chunk-words." in pieces.stdout


def test_index_json(run_cli, collection, stub_model, tmp_path):
    result = run_cli("index", collection, "--model", stub_model, "--output", tmp_path / "i", "--json")
    figures = json.loads(result.stdout)
    assert figures["passages"] == figures["encoded"] == figures["added"] == 3
    assert [figures[name] for name in ("replaced", "removed", "unchanged", "truncated")] == [0, 0, 0, 1]
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
    with open_index(tmp_path / "i") as index:
        assert len(index) > 3
    found = json.loads(run_cli("search", "much rain", "--index", tmp_path / "i", "-k", "1", "--json").stdout)
    assert found[0]["id"] == "tea"  # the document, by its best piece
    assert found[0]["text"] in "Tea grows on the hills of Assam and needs much rain."


def test_another_cut_replaces_the_passages(run_cli, collection, stub_model, tmp_path):
    options = ["--model", stub_model, "--output", tmp_path / "i", "--json"]
    assert run_cli("index", collection, *options).exit_code == 0
    figures = json.loads(run_cli("index", collection, *options, "--chunk-words", "6").stdout)
    assert figures["passages"] == figures["added"] > 3
    assert figures["removed"] == 3


def test_only_what_changed_is_encoded(run_cli, collection, stub_model, tmp_path):
    options = ["--model", stub_model, "--output", tmp_path / "i", "--json"]
    assert run_cli("index", collection, *options).exit_code == 0
    lines = (collection / "corpus.jsonl").read_text().splitlines()
    oats = json.dumps({"_id": "oats", "title": "Oats", "text": "Oats like a wet and cool land."})
    lines = [line.replace("Wheat likes", "Wheat loves") for line in lines if '"tea"' not in line] + [oats]
    (collection / "corpus.jsonl").write_text("\n".join(lines) + "\n")
    (collection / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq2\trice\t1\n")
    figures = json.loads(run_cli("index", collection, *options).stdout)
    names = ("encoded", "added", "replaced", "removed", "unchanged", "passages")
    assert [figures[name] for name in names] == [2, 1, 1, 1, 1, 3]
    best = json.loads(run_cli("search", "oats wet land", "--index", tmp_path / "i", "--json").stdout)[0]
    assert best["id"] == "oats"


def test_a_folder_of_shards_is_a_source(run_cli, collection, stub_model, tmp_path):
    options = ["--output", tmp_path / "i", "--json"]
    kept = ["--model", stub_model, "--shards", tmp_path / "kept"]
    assert run_cli("index", collection, *kept, *options).exit_code == 0
    other = ["--output", tmp_path / "j", "--json"]
    assert json.loads(run_cli("index", tmp_path / "kept", *other).stdout)["added"] == 3
    assert json.loads(run_cli("index", tmp_path / "kept", *other).stdout)["unchanged"] == 3
    refused = run_cli("search", "tea", "--index", tmp_path / "kept")
    assert refused.exit_code == 2
    assert f"make an index of it with: ernie-search index {tmp_path / 'kept'} --output DIR" in refused.stderr


def test_another_source_is_refused(run_cli, collection, stub_model, tmp_path):
    options = ["--model", stub_model, "--output", tmp_path / "i"]
    assert run_cli("index", collection, *options).exit_code == 0
    shutil.copytree(collection, tmp_path / "others")
    result = run_cli("index", tmp_path / "others", *options)
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    said = f"made from {os.path.relpath(collection)}, not {tmp_path / 'others'}; add these passages with: "
    assert f"{said}ernie-search index add" in result.stderr
    advised = f"index add {tmp_path / 'i'} {tmp_path / 'others'} --model DIR"
    assert f"ernie-search {advised}, or choose another folder" in result.stderr
    added = run_cli(*(stub_model if word == "DIR" else word for word in advised.split()), "--json")
    assert json.loads(added.stdout)["written"] == 3


def test_a_source_may_be_named_like_a_command(run_cli, collection, stub_model, tmp_path, monkeypatch):
    collection.rename(tmp_path / "add")
    monkeypatch.chdir(tmp_path)
    result = run_cli("index", "./add", "--model", stub_model, "--output", "i", "--json")
    assert json.loads(result.stdout)["added"] == 3
    assert run_cli("index", "add", "--model", stub_model).exit_code == 2


def test_index_without_tokens_searches_without_late(run_cli, collection, stub_model, tmp_path):
    options = ["--model", stub_model, "--output", tmp_path / "i", "--tokens", "none"]
    made = run_cli("index", collection, *options)
    assert made.exit_code == 0
    assert made.stdout.endswith(f"--index {tmp_path / 'i'}\n")  # what is to be typed next is possible
    usual = run_cli("search", "where tea grows", "--index", tmp_path / "i")
    assert usual.exit_code == 0
    late = run_cli("search", "where tea grows", "--index", tmp_path / "i", "--mode", "late")
    assert late.exit_code == 2
    assert "use mode hybrid" in late.stderr


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
    assert "no such" in result.stderr
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
    assert set(best["stages"]) == {"dense", "bm25", "late", "fused"}
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
