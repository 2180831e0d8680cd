"""``data validate`` and ``data convert``."""

import json

import pytest

from ernie_search.data import inspect_collection, open_collection


def test_a_sound_collection_is_counted(run_cli, collection):
    result = run_cli("data", "validate", collection)
    assert result.exit_code == 0
    assert "3 passages" in result.stdout
    assert "1.00" in result.stdout
    report = json.loads(run_cli("data", "validate", collection, "--json").stdout)
    assert report["queries"] == {"test": 3}
    assert report["fingerprint"] == open_collection(str(collection)).fingerprint


def test_each_problem_is_a_line_with_its_place(run_cli, collection):
    with open(collection / "corpus.jsonl", "a", encoding="utf-8") as handle:
        handle.write('{"_id": "tea", "text": "again"}\n{broken\n')
    result = run_cli("data", "validate", collection)
    assert result.exit_code == 2
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert len(lines) == 2
    assert "corpus.jsonl:4" in lines[0]
    assert "corpus.jsonl:5" in lines[1]


def test_convert_writes_the_same_collection(run_cli, collection, tmp_path):
    result = run_cli("data", "convert", collection, tmp_path / "copy")
    assert result.exit_code == 0
    before, after = open_collection(str(collection)), open_collection(str(tmp_path / "copy"))
    assert list(before.passages()) == list(after.passages())
    assert before.qrels("test") == after.qrels("test")


def test_convert_refuses_a_broken_collection_and_writes_nothing(run_cli, collection, tmp_path):
    (collection / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\tnowhere\t1\n")
    result = run_cli("data", "convert", collection, tmp_path / "copy")
    assert result.exit_code == 2
    assert "test.tsv:2" in result.stderr
    assert not (tmp_path / "copy").exists()


def test_convert_keeps_the_labels_of_a_folder_of_documents(run_cli, tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "tea.md").write_text("It grows in Assam.\n")
    command = ("data", "convert", f"files:{tmp_path / 'docs'}", tmp_path / "mine")
    assert run_cli(*command).exit_code == 0
    (tmp_path / "mine" / "queries.jsonl").write_text('{"_id": "q1", "text": "Where is tea?"}\n')
    (tmp_path / "mine" / "qrels" / "dev.tsv").write_text("q1\tnot-there\t1\n")
    result = run_cli(*command)
    assert result.exit_code == 0
    assert "kept: queries.jsonl, qrels/dev.tsv of" in result.stdout
    assert "judgements of passages that are there no longer: 1" in result.stdout
    assert open_collection(str(tmp_path / "mine")).qrels("dev") == {"q1": {"not-there": 1}}


def test_convert_refuses_to_delete_labels_unless_told_to(run_cli, collection, tmp_path):
    command = ("data", "convert", collection, tmp_path / "copy")
    assert run_cli(*command).exit_code == 0
    with open(tmp_path / "copy" / "queries.jsonl", "a", encoding="utf-8") as handle:
        handle.write('{"_id": "mine", "text": "Where is tea?"}\n')
    result = run_cli(*command)
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "question 'mine'" in result.stderr
    assert "--replace" in result.stderr
    assert run_cli(*command, "--replace").exit_code == 0
    assert "mine" not in (tmp_path / "copy" / "queries.jsonl").read_text()


@pytest.fixture
def faq(tmp_path):
    path = tmp_path / "faq.csv"
    path.write_text("question,reply\nWhere does tea grow?,In Assam.\nWhere is rice?,In water.\n")
    return path


def test_convert_a_table(run_cli, faq, tmp_path):
    result = run_cli("data", "convert", f"csv:{faq}?positive=reply", tmp_path / "faq")
    assert result.exit_code == 0, result.output
    assert inspect_collection(open_collection(str(tmp_path / "faq")))[1].queries == {"train": 2}


def test_a_wrong_column_is_one_line(run_cli, faq, tmp_path):
    result = run_cli("data", "convert", f"csv:{faq}?positive=replay", tmp_path / "faq")
    assert result.exit_code == 2
    assert result.stderr == f"error: {faq}:1: no column 'replay'; did you mean 'reply'?\n"


def test_skip_faulty_says_what_was_left_out(run_cli, faq, tmp_path):
    with open(faq, "a", encoding="utf-8") as handle:
        handle.write("Why?,\n")
    source = f"csv:{faq}?positive=reply"
    assert run_cli("data", "convert", source, tmp_path / "faq").exit_code == 2
    result = run_cli("data", "convert", source, tmp_path / "faq", "--skip-faulty")
    assert result.exit_code == 0
    assert "left out: 1 faulty items" in result.stdout
    assert "faq.csv:4: empty 'reply'" in result.stdout


def test_stats(run_cli, collection):
    result = run_cli("data", "stats", collection, "--passage-length", "10")
    assert result.exit_code == 0, result.output
    assert "lengths in words" in result.stdout
    report = json.loads(run_cli("data", "stats", collection, "--passage-length", "10", "--json").stdout)
    assert (report["passages"], report["unit"], report["splits"]["test"]["queries"]) == (3, "words", 3)
    assert report["lengths"]["truncated"] == 2 / 3
    assert report["overlaps"] == []


@pytest.mark.needs_torch
def test_stats_in_tokens_of_a_model(run_cli, collection, tmp_path):
    from tiny_model import tokenizer

    tokenizer().save_pretrained(tmp_path / "model")
    report = json.loads(run_cli("data", "stats", collection, "--model", tmp_path / "model", "--json").stdout)
    assert (report["unit"], report["lengths"]["limit"]) == ("tokens", 256)


@pytest.mark.needs_torch
@pytest.mark.parametrize("config", [None, {"model_type": "bert"}, {"model_type": "none-such"}])
def test_stats_by_a_model_without_a_tokenizer(run_cli, collection, tmp_path, config):
    (tmp_path / "model").mkdir()
    if config is not None:
        (tmp_path / "model" / "config.json").write_text(json.dumps(config))
    result = run_cli("data", "stats", collection, "--model", tmp_path / "model")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.count("\n") == 1
    assert "model: no tokenizer in this directory" in result.stderr


def test_a_broken_question_is_the_only_line(run_cli, collection):
    lines = (collection / "queries.jsonl").read_text().splitlines()
    (collection / "queries.jsonl").write_text("\n".join([*lines[:2], lines[2][:-1]]) + "\n")
    for command in ("validate", "stats"):
        result = run_cli("data", command, collection)
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr.startswith(f"error: {collection / 'queries.jsonl'}:3: broken JSON")
        assert result.stderr.count("\n") == 1
