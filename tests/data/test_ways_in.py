"""One rule for all formats: titles without texts, ids with white space, and values that JSON lacks."""

import json
import sys
from pathlib import Path

import pytest

from ernie_search.data import MemoryCollection, convert, find_problems, open_collection
from ernie_search.types import Passage, Query

sys.path.append(str(Path(__file__).parent))
from real_forms import write_jsonl

FORMATS = ("beir", "jsonl", "csv", "hf", "marco", "dpr", "tsv", "memory")


def write(kind, tmp_path, identifier="p", title="", text="", fields=None):
    """A collection with a sound passage, and after it the one that is given."""
    row = {"title": title, "text": text}
    path = tmp_path / f"in-{kind}"
    path.mkdir(exist_ok=True)
    if kind == "memory":
        made = Passage(identifier, text, title, fields or {})
        return MemoryCollection("m", "mem", [Passage("sound", "x"), made], [], {})
    if kind == "beir":
        rows = [{"_id": "sound", "text": "x"}, {"_id": identifier, **row, "metadata": fields or {}}]
        write_jsonl(path / "corpus.jsonl", rows)
        return open_collection(str(path))
    if kind in ("jsonl", "hf"):
        rows = [{"id": "sound", "title": "", "text": "x"}, {"id": identifier, **row, **(fields or {})}]
        return open_collection(f"{kind}:{write_jsonl(path / 'p.jsonl', rows)}")
    if kind == "csv":
        (path / "p.csv").write_text(f'id,title,text\nsound,,x\n"{identifier}",{title},{text}\n')
        return open_collection(f"csv:{path / 'p.csv'}")
    if kind == "marco":
        (path / "collection.tsv").write_text(f"sound\tx\n{identifier}\t{text}\nlast\ty\n")
        (path / "titles.tsv").write_text(f"sound\t-\n{identifier}\t{title or '-'}\nlast\tY\n")
        return open_collection(f"marco:{path}")
    if kind == "tsv":
        (path / "p.tsv").write_text(f"id\ttext\ttitle\nsound\tx\t\n{identifier}\t{text}\t{title}\n")
        return open_collection(f"dpr:{path / 'p.tsv'}")
    contexts = [{"passage_id": "sound", "text": "x", "title": ""}, {"passage_id": identifier, **row}]
    examples = [{"question": f"{number}?", "positive_ctxs": [one]} for number, one in enumerate(contexts)]
    (path / "train.json").write_text(json.dumps(examples))
    return open_collection(f"dpr:{path / 'train.json'}")


@pytest.fixture(autouse=True)
def cached_in_tmp(tmp_path, monkeypatch, request):
    if "hf" in request.node.callspec.id if hasattr(request.node, "callspec") else "":
        datasets = pytest.importorskip("datasets")
        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.mark.parametrize("kind", FORMATS)
def test_a_title_without_a_text_is_the_text(kind, tmp_path):
    collection = write(kind, tmp_path, title="Tea in the hills")
    assert find_problems(collection) == []
    done = convert(collection, tmp_path / "out")
    assert list(done.collection.passages())[1] == Passage("p", "Tea in the hills")


@pytest.mark.parametrize("kind", FORMATS)
def test_a_passage_with_neither_is_refused_or_dropped_and_counted(kind, tmp_path):
    collection = write(kind, tmp_path)
    (fault,) = find_problems(collection)
    assert "empty 'text'" in str(fault)
    done = convert(collection, tmp_path / "out", skip_faulty=True)
    assert done.skipped == 1
    assert "p" not in [passage.id for passage in done.collection.passages()]


@pytest.mark.parametrize("identifier", ["a b", "a\u00a0b"])
@pytest.mark.parametrize("kind", FORMATS)
def test_an_id_with_white_space_is_refused_with_its_place(kind, identifier, tmp_path):
    (fault,) = find_problems(write(kind, tmp_path, identifier, text="tea"))
    place, _, what = str(fault).partition(": white space in ")
    assert repr(identifier) in what
    line = {"dpr": "1", "memory": "passage 2", "hf": "row 2", "csv": "3", "tsv": "3"}.get(kind, "2")
    assert place.endswith(line)


@pytest.mark.parametrize("kind", ["beir", "jsonl", "memory"])
@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400", "-1e400"])
def test_numbers_that_json_lacks_are_null(kind, number, tmp_path):
    value = json.loads(number)
    collection = write(kind, tmp_path, text="tea", fields={"year": value, "all": [value, 1.5]})
    if number.endswith("400") and kind != "memory":
        path = next((tmp_path / f"in-{kind}").iterdir())
        path.write_text(path.read_text().replace("Infinity", number.removeprefix("-")))
    assert find_problems(collection) == []
    done = convert(collection, tmp_path / "out")
    line = (tmp_path / "out" / "corpus.jsonl").read_text().splitlines()[1]
    fields = json.loads(line, parse_constant=pytest.fail)["metadata"]
    assert fields["all"] == [None, 1.5]
    assert fields.get("year") is None
    assert done.info.passages == 2


@pytest.mark.parametrize(
    "row", [{"_id": "p", "title": float("nan"), "text": "x"}, {"_id": "p", "title": "x"}]
)
def test_a_missing_title_or_text_as_tables_export_it(row, tmp_path):
    write_jsonl(tmp_path / "corpus.jsonl", [row])
    assert list(open_collection(str(tmp_path)).passages()) == [Passage("p", "x")]


@pytest.mark.parametrize("kind", ["beir", "jsonl", "dpr"])
@pytest.mark.parametrize("part", ["identifier", "title", "text"])
def test_half_a_surrogate_pair_is_refused_with_its_place(kind, part, tmp_path):
    collection = write(kind, tmp_path, **({"title": "T", "text": "x"} | {part: "PLACEHOLDER"}))
    path = next((tmp_path / f"in-{kind}").iterdir())
    path.write_text(path.read_text().replace("PLACEHOLDER", "a\\ud83d"))
    (fault,) = find_problems(collection)
    assert f"{path.name}:{1 if kind == 'dpr' else 2}: " in str(fault)
    assert "half a surrogate pair" in str(fault)


def test_half_a_surrogate_pair_in_a_field_of_a_passage_and_of_a_question(make_folder):
    sound = '{"_id": "q1", "text": "?"}'
    folder = make_folder(
        ['{"_id": "p1", "text": "x", "metadata": {"by": ["\\udc00"]}}', '{"_id": "p2", "text": "y"}'],
        [sound, '{"_id": "q2", "text": "?", "metadata": {"answers": ["\\ud800"]}}'],
        dev=["q1\tp2\t1"],
    )
    found = [str(error).replace(f"{folder}/", "") for error in find_problems(open_collection(str(folder)))]
    assert [error.partition(" holds half a surrogate pair")[0] for error in found] == [
        "corpus.jsonl:1: fields.by",
        "queries.jsonl:2: fields.answers",
    ]


def test_ids_of_questions_have_no_white_space_either():
    judged = {"dev": {"a b": {"p": 1}}}
    collection = MemoryCollection("m", "mem", [Passage("p", "x")], [Query("a b", "?")], judged)
    found = [str(error) for error in find_problems(collection)]
    assert len(found) == 1
    assert found[0].startswith("mem: query 1: white space in 'id' 'a b'")


def test_a_positive_that_has_a_title_alone(tmp_path):
    (tmp_path / "t.csv").write_text("query,title,positive,negative\na,Tea,,C\nb,,B,\n")
    collection = open_collection(f"csv:{tmp_path / 't.csv'}")
    assert find_problems(collection) == []
    assert [(one.title, one.text) for one in collection.passages()] == [("", "Tea"), ("", "C"), ("", "B")]


def test_a_split_that_is_lost_whole_is_named(make_folder, tmp_path):
    folder = make_folder(
        [{"_id": "p1", "text": ""}, {"_id": "p2", "text": "x"}], dev=["q1\tp2\t1"], test=["q2\tp1\t1"]
    )
    done = convert(open_collection(str(folder)), tmp_path / "out", skip_faulty=True)
    assert (done.collection.splits, done.lost, done.skipped) == (["dev"], ("test",), 2)
