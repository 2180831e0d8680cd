"""``data validate`` and ``data convert``."""

import json

from ernie_search.data import open_collection


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
