"""The BEIR folder: what is read, what is written, and what each fault says."""

import gzip
import json
import re
from pathlib import Path

import pytest

from ernie_search.data import (
    BeirCollection,
    MemoryCollection,
    inspect_collection,
    open_collection,
    write_beir,
)
from ernie_search.errors import DataError
from ernie_search.types import Passage, Query


@pytest.mark.parametrize("packed", [False, True])
def test_reads_everything(make_folder, packed):
    collection = open_collection(str(make_folder(packed=packed)))
    assert list(collection.passages()) == [
        Passage("p1", "Tea is grown in Assam.", "Tea", {"page": 3}),
        Passage("p2", "Coffee came from Ethiopia."),
        Passage("p3", "Cocoa is traded in London."),
    ]
    assert collection.splits == ["dev"]
    assert collection.queries("dev") == [
        Query("q1", "Where does tea grow?", {"answers": ["Assam"]}),
        Query("q2", "Where is coffee from?"),
    ]
    assert collection.qrels("dev") == {"q1": {"p1": 2, "p3": 1}, "q2": {"p2": 1}}
    info = inspect_collection(collection)[1]
    assert (info.name, info.passages, info.queries, info.positives) == ("small", 3, {"dev": 2}, {"dev": 1.5})
    assert info.grades == {"dev": (1, 2)}


def test_queries_are_those_of_the_split(make_folder):
    collection = BeirCollection(make_folder(test=["q2\tp2\t1"], train=["q1\tp1\t1"], odd=["q1\tp2\t1"]))
    assert collection.splits == ["train", "test", "odd"]
    assert [query.id for query in collection.queries("test")] == ["q2"]


def test_bom_crlf_blank_lines_and_other_keys(make_folder):
    corpus = b'\xef\xbb\xbf{"_id": "a", "text": "one\\r\\n", "url": "u"}\r\n\r\n{"_id": "b", "text": "two"}'
    folder = make_folder(corpus, dev=b"\xef\xbb\xbfquery-id\tcorpus-id\tscore\r\nq1\ta\t1\r\n")
    collection = BeirCollection(folder)
    assert list(collection.passages()) == [Passage("a", "one\r\n", fields={"url": "u"}), Passage("b", "two")]
    assert collection.qrels("dev") == {"q1": {"a": 1}}


def test_passages_are_streamed(make_folder):
    """What stands after the broken line 3 is not read before it is asked for."""
    collection = BeirCollection(make_folder(['{"_id": "a", "text": "1"}', '{"_id": "b", "text": "2"}', "{"]))
    passages = collection.passages()
    assert next(passages).id == "a"
    assert next(passages).id == "b"
    with pytest.raises(DataError, match=r"corpus\.jsonl:3: "):
        next(passages)


def test_line_separators_inside_a_string_do_not_end_the_line(make_folder):
    text = "one\u2028two\u0085three\x0bfour"
    collection = BeirCollection(make_folder([json.dumps({"_id": "a", "text": text}, ensure_ascii=False)]))
    assert [passage.text for passage in collection.passages()] == [text]


GOOD = '{"_id": "good", "text": "good"}'


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"_id": "a", "text": "x"', "broken JSON"),
        ('["a", "x"]', "a list where an object belongs"),
        ('{"text": "x"}', "no '_id'"),
        ('{"_id": "a"}', "no 'text'"),
        ('{"_id": 7, "text": "x"}', "'_id' is a number where a string belongs"),
        ('{"_id": "a", "text": null}', "'text' is null where a string belongs"),
        ('{"_id": "a", "text": ["x"]}', "'text' is a list where a string belongs"),
        ('{"_id": "a", "text": true}', "'text' is a truth value where a string belongs"),
        ('{"_id": "a", "text": " \\n "}', "empty 'text'"),
        ('{"_id": "", "text": "x"}', "empty '_id'"),
        ('{"_id": "a b", "text": "x"}', "white space in '_id' 'a b'"),
        ('{"_id": "a", "text": "x", "title": 5}', "'title' is a number where a string belongs"),
        ('{"_id": "a", "text": "x", "metadata": "m"}', "'metadata' is a string where an object belongs"),
        ('{"_id": "a", "text": "\\ud83d"}', "half a surrogate pair"),
        ("[" * 100_000, "cannot be read"),
    ],
)
def test_faults_of_a_corpus_line(make_folder, line, message):
    folder = make_folder([GOOD, line])
    place = re.escape(f"{folder / 'corpus.jsonl'}:2: ")
    with pytest.raises(DataError, match=rf"^{place}.*{re.escape(message)}[^\n]*$"):
        list(BeirCollection(folder).passages())


@pytest.mark.parametrize(
    ("answers", "message"),
    [("Assam", "'answers' is a string where a list"), (["a", 7], "'answers' holds a number where a string")],
)
def test_faults_of_a_question(make_folder, answers, message):
    row = {"_id": "q1", "text": "Where?", "metadata": {"answers": answers}}
    folder = make_folder(queries=[row], dev=["q1\tp1\t1"])
    with pytest.raises(DataError, match=rf"queries\.jsonl:1: {message}"):
        BeirCollection(folder).queries("dev")


def test_bad_utf8_names_the_line(make_folder):
    folder = make_folder(GOOD.encode() + b'\n{"_id": "a", "text": "caf\xe9"}\n')
    with pytest.raises(DataError, match=r"corpus\.jsonl:2: not UTF-8 at byte 26 of the line"):
        list(BeirCollection(folder).passages())


def test_truncated_and_false_gz(make_folder):
    folder = make_folder(packed=True)
    path = folder / "corpus.jsonl.gz"
    rows = [json.dumps({"_id": f"p{n}", "text": f"{n * 7919} text"}) for n in range(2000)]
    whole = gzip.compress("\n".join(rows).encode())
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"corpus\.jsonl\.gz:\d+: the compressed file ends in the middle"):
        list(BeirCollection(folder).passages())
    path.write_bytes(b"not compressed")
    with pytest.raises(DataError, match=r"corpus\.jsonl\.gz:1: the compressed file is damaged"):
        list(BeirCollection(folder).passages())
    path.write_bytes(whole[:40] + b"\xff" * 40 + whole[80:])
    with pytest.raises(DataError, match=r"corpus\.jsonl\.gz:\d+: the compressed file is damaged"):
        list(BeirCollection(folder).passages())


def test_folders_that_are_none(tmp_path, make_folder):
    with pytest.raises(DataError, match="no such folder"):
        BeirCollection(tmp_path / "absent")
    with pytest.raises(DataError, match=r"no corpus\.jsonl or corpus\.jsonl\.gz"):
        BeirCollection(tmp_path)
    folder = make_folder()
    with pytest.raises(DataError, match="a file, not a folder"):
        BeirCollection(folder / "corpus.jsonl")
    with pytest.raises(DataError, match=r"no split 'dec'; did you mean 'dev'\?"):
        BeirCollection(folder).qrels("dec")
    (folder / "corpus.jsonl.gz").write_bytes(b"")
    with pytest.raises(DataError, match=r"both corpus\.jsonl and corpus\.jsonl\.gz"):
        BeirCollection(folder)


def test_corpus_alone_can_be_indexed_but_not_asked(make_folder):
    folder = make_folder()
    (folder / "queries.jsonl").unlink()
    with pytest.raises(DataError, match=r"qrels but no queries\.jsonl"):
        BeirCollection(folder).queries("dev")
    (folder / "qrels" / "dev.tsv").unlink()
    collection = BeirCollection(folder)
    assert collection.splits == []
    assert inspect_collection(collection)[1].passages == 3
    with pytest.raises(DataError, match="no judged questions at all"):
        collection.queries("dev")


def test_fingerprint_follows_the_content_not_the_place(make_folder, tmp_path):
    folder = make_folder()
    before = BeirCollection(folder).fingerprint
    moved = folder.rename(tmp_path / "elsewhere")
    assert BeirCollection(moved).fingerprint == before
    (moved / "qrels" / "dev.tsv").write_text("q1\tp1\t1\n")
    assert BeirCollection(moved).fingerprint != before


def test_write_and_read_again(make_folder, tmp_path):
    original = BeirCollection(make_folder(train=["q1\tp1\t2"], test=["q2\tp2\t1", "q1\tp3\t0"]))
    copy = write_beir(original, tmp_path / "copy")
    assert list(copy.passages()) == list(original.passages())
    for split in ("train", "test"):
        assert copy.qrels(split) == original.qrels(split)
        assert copy.queries(split) == original.queries(split)
    assert write_beir(copy, tmp_path / "copy").splits == ["train", "test"]


def test_writing_leaves_other_folders_alone(make_folder, tmp_path):
    original = BeirCollection(make_folder())
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter.txt").write_text("dear")
    with pytest.raises(DataError, match="is there and is no BEIR folder"):
        write_beir(original, tmp_path / "home")
    assert (tmp_path / "home" / "letter.txt").read_text() == "dear"


def test_failed_write_leaves_nothing(make_folder, tmp_path):
    broken = BeirCollection(make_folder([GOOD, "{"]))
    with pytest.raises(DataError):
        write_beir(broken, tmp_path / "copy")
    assert [path.name for path in tmp_path.iterdir()] == ["small"]


def test_memory_collection():
    judged = {"test": {"q": {"p": 1}}, "train": {"r": {"p": 0}}, "empty": {}}
    collection = MemoryCollection("m", "mem", [Passage("p", "x")], [Query("q", "?"), Query("r", "?")], judged)
    assert collection.splits == ["train", "test", "empty"]
    assert [query.id for query in collection.queries("test")] == ["q"]
    with pytest.raises(DataError, match="mem: split 'empty' has no questions"):
        collection.qrels("empty")
    collection.qrels("test")["q"]["p"] = 9
    assert collection.qrels("test") == {"q": {"p": 1}}
    other = MemoryCollection("m", "mem", [Passage("p", "y")], [Query("q", "?"), Query("r", "?")], judged)
    assert other.fingerprint != collection.fingerprint


@pytest.mark.parametrize("source", ["bier:{}", "BEIR2:{}"])
def test_unknown_format(source, tmp_path):
    with pytest.raises(DataError, match=r"unknown collection format .*'beir'|known: api, beir"):
        open_collection(source.format(tmp_path))


def test_sources(make_folder):
    folder: Path = make_folder()
    assert open_collection(f"beir:{folder}").source == f"beir:{folder}"
    assert open_collection(str(folder)).name == "small"
    with pytest.raises(DataError, match="no collection named"):
        open_collection(" ")
