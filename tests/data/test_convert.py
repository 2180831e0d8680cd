"""Every source becomes the same collection as a BEIR folder, whole or not at all."""

import gzip
import json
import sys
from pathlib import Path

import pytest

from ernie_search.data import MemoryCollection, convert, find_problems, inspect_collection, open_collection
from ernie_search.errors import DataError
from ernie_search.types import Passage, Query

sys.path.append(str(Path(__file__).parent))
from real_forms import DPR, DPR_TSV, hub_triple, marco


def dpr(folder):
    folder.mkdir()
    (folder / "nq-train.json").write_text(json.dumps(DPR))
    (folder / "psgs_w100.tsv").write_text(DPR_TSV)
    return folder


def table(path):
    path.write_text('query,positive,negative,answers\na,A,B,"[""x""]"\nb,B,C,y\n')
    return path


def as_dict(collection):
    judged = {split: collection.qrels(split) for split in collection.splits}
    asked = {split: {query.id: query for query in collection.queries(split)} for split in judged}
    return {passage.id: passage for passage in collection.passages()}, judged, asked


@pytest.mark.parametrize(
    ("scheme", "make"), [("hf", hub_triple), ("dpr", dpr), ("marco", marco), ("csv", table)]
)
def test_same_collection(tmp_path, scheme, make, monkeypatch):
    if scheme == "hf":
        datasets = pytest.importorskip("datasets")
        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    source = open_collection(f"{scheme}:{make(tmp_path / 'source')}")
    done = convert(source, tmp_path / "beir")
    assert as_dict(done.collection) == as_dict(source)
    assert find_problems(done.collection) == []
    assert (done.skipped, done.first) == (0, "")
    described = inspect_collection(done.collection)[1]
    for name in ("passages", "queries", "positives", "grades"):
        assert getattr(done.info, name) == getattr(described, name)


def test_questions_that_nobody_judged_are_kept(tmp_path):
    done = convert(open_collection(f"marco:{marco(tmp_path / 'm')}"), tmp_path / "beir")
    kept = sorted(query.id for _, query in done.collection.located_queries())
    assert kept == ["1048578", "121352", "634306", "7"]


def faulty():
    passages = [Passage("p", "x"), Passage("p", "y"), Passage("q", " "), Passage("r", "z")]
    judged = {"train": {"a": {"p": 1, "q": 1, "gone": 1}, "b": {"r": 1}}, "dev": {"lost": {"p": 1}}}
    return MemoryCollection("m", "mem", passages, [Query("a", "?"), Query("b", "?")], judged)


def test_refused_with_the_first_fault_and_nothing_is_left(tmp_path):
    with pytest.raises(DataError, match=r"^mem: passage 2: duplicate id 'p'[^\n]*\(3 more\)$"):
        convert(faulty(), tmp_path / "beir")
    assert list(tmp_path.iterdir()) == []


def test_skip_faulty(tmp_path):
    done = convert(faulty(), tmp_path / "beir", skip_faulty=True)
    assert (done.skipped, done.first.partition(";")[0]) == (5, "mem: passage 2: duplicate id 'p'")
    assert [passage.text for passage in done.collection.passages()] == ["x", "z"]
    assert done.collection.splits == ["train"]
    # with the empty passage went the judgement of it
    assert done.collection.qrels("train") == {"a": {"p": 1}, "b": {"r": 1}}
    assert find_problems(done.collection) == []
    assert done.info.queries == {"train": 2}


def test_a_cut_file_is_never_skipped(tmp_path):
    folder = marco(tmp_path / "m")
    whole = gzip.compress("".join(f"{n}\t{n * 7919}\n" for n in range(9000)).encode())
    (folder / "collection.tsv").unlink()
    (folder / "collection.tsv.gz").write_bytes(whole[:-3000])
    with pytest.raises(DataError, match="ends in the middle"):
        convert(open_collection(f"marco:{folder}"), tmp_path / "beir", skip_faulty=True)
    assert not (tmp_path / "beir").exists()


def test_starts_cleanly_after_a_kill(tmp_path):
    left = tmp_path / ".beir.tmp"
    (left / "qrels").mkdir(parents=True)
    (left / "qrels" / "old.tsv").write_text("half a li")
    done = convert(open_collection(f"dpr:{dpr(tmp_path / 'd')}"), tmp_path / "beir")
    assert done.collection.splits == ["train"]
    assert not left.exists()


def test_progress_counts_all(tmp_path):
    passages = [Passage(str(n), "x") for n in range(2500)]
    seen = []
    convert(MemoryCollection("m", "mem", passages, [], {}), tmp_path / "beir", progress=seen.append)
    assert sum(seen) == 2500
    assert len(seen) == 3


def labelled(tmp_path, text="# Logs\n\nThey rotate at night.\n"):
    """A folder of documents, converted, with a question and a judgement that a person wrote."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "logs.md").write_text(text)
    source, folder = open_collection(f"files:{tmp_path / 'docs'}"), tmp_path / "mine"
    convert(source, folder)
    (passage,) = source.passages()
    (folder / "queries.jsonl").write_text('{"_id": "q1", "text": "how do I rotate the logs"}\n')
    (folder / "qrels" / "dev.tsv").write_text(f"query-id\tcorpus-id\tscore\nq1\t{passage.id}\t1\n")
    return source, folder


def files_of(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_passages_without_questions_leave_what_a_person_wrote(tmp_path):
    source, folder = labelled(tmp_path)
    (folder / "marks.jsonl").write_text("{}\n")  # of a judging, say
    before = files_of(folder)
    (tmp_path / "docs" / "more.md").write_text("Another document.\n")
    done = convert(source, folder)
    after = files_of(folder)
    assert [one.text for one in done.collection.passages()] == ["They rotate at night.", "Another document."]
    assert {name for name in before if before[name] != after[name]} == {"corpus.jsonl"}
    assert after.keys() == before.keys()
    assert (done.kept, done.dangling) == (("queries.jsonl", "qrels/dev.tsv"), 0)
    (tmp_path / "docs" / "logs.md").write_text("They rotate at noon.\n")
    assert convert(source, folder).dangling == 1
    (tmp_path / "docs" / "logs.md").unlink()
    (tmp_path / "docs" / "more.md").unlink()
    whole = files_of(folder)
    with pytest.raises(DataError, match="no file that can be read"):
        convert(source, folder)
    assert files_of(folder) == whole
    (tmp_path / "docs" / "more.md").write_text("Another document.\n")
    done = convert(source, folder, replace=True)
    assert (done.collection.splits, done.kept) == ([], ())
    assert not (folder / "marks.jsonl").exists()


def test_a_packed_corpus_is_replaced_by_the_new_one(tmp_path):
    source, folder = labelled(tmp_path)
    packed = gzip.compress((folder / "corpus.jsonl").read_bytes())
    (folder / "corpus.jsonl").unlink()
    (folder / "corpus.jsonl.gz").write_bytes(packed)
    assert [one.text for one in convert(source, folder).collection.passages()] == ["They rotate at night."]
    assert sorted(files_of(folder)) == ["corpus.jsonl", "qrels/dev.tsv", "queries.jsonl"]


@pytest.mark.parametrize(
    ("file", "more", "what"),
    [
        ("queries.jsonl", '{"_id": "mine", "text": "and rice?"}\n', r"question 'mine' \(.*queries.jsonl:3\)"),
        ("qrels/train.tsv", "a\tq\t1\n", r"the judgement of 'a' and 'q' \(.*train.tsv:4\)"),
        ("qrels/dev.tsv", "a\tq\t1\n", r"the judgement of 'a' and 'q' \(.*dev.tsv:1\)"),
        ("qrels/notes.txt", "x", "qrels/notes.txt"),
        ("marks.jsonl", "{}\n", "marks.jsonl"),
    ],
)
def test_what_the_new_folder_would_lack_is_not_deleted(tmp_path, file, more, what):
    judged = {"train": {"a": {"p": 1}, "b": {"q": 1}}}
    passages, asked = [Passage("p", "x"), Passage("q", "y")], [Query("a", "?"), Query("b", "??")]
    source, folder = MemoryCollection("m", "mem", passages, asked, judged), tmp_path / "beir"
    convert(source, folder)
    convert(source, folder)  # the same again loses nothing
    with open(folder / file, "a", encoding="utf-8") as handle:
        handle.write(more)
    before = files_of(folder)
    with pytest.raises(DataError, match=f"has {what}, which the new folder would lack; .*--replace"):
        convert(source, folder)
    assert (files_of(folder), [one.name for one in tmp_path.iterdir()]) == (before, ["beir"])
    assert convert(source, folder, replace=True).collection.splits == ["train"]


def test_a_folder_that_a_kill_left_under_another_name_is_looked_at_too(tmp_path):
    source, folder = labelled(tmp_path)
    folder.rename(tmp_path / ".mine.old")
    assert convert(source, folder).kept == ("queries.jsonl", "qrels/dev.tsv")
