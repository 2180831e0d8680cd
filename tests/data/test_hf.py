"""Hugging Face data sets from local folders in the hub's own layout; nothing is fetched."""

import json
import re
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ernie_search.data import find_problems, open_collection
from ernie_search.errors import DataError
from ernie_search.types import Passage

sys.path.append(str(Path(__file__).parent))
from real_forms import CARD, JUDGED, hub_triple, write_jsonl

TRIPLETS = {"anchor": ["a", "a", "b"], "positive": ["A", "A", "B"], "negative": ["B", "C", "A"]}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """The library leaves lock files in its cache even where it only streams."""
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture
def triple(tmp_path):
    return hub_triple(tmp_path / "scifact")


def test_beir_triple(triple):
    collection = open_collection(f"hf:{triple}")
    assert (collection.name, collection.splits) == ("scifact", ["train", "test"])
    assert list(collection.passages()) == [
        Passage("31715818", "Tea is grown in Assam.", "Tea"),
        Passage("14717500", "Coffee came from Ethiopia.", "", {"page": 3}),
        Passage("5", "Only a title"),
    ]
    assert collection.qrels("test") == {"3": {"14717500": 2, "5": 0}}
    assert [query.text for query in collection.queries("train")] == ["where does tea grow"]
    assert find_problems(collection) == []


def test_judgements_in_a_second_data_set(triple, tmp_path):
    card = CARD[: CARD.index("- config_name: default")] + CARD[CARD.index("- config_name: corpus") :]
    (triple / "README.md").write_text(card)
    second = tmp_path / "scifact-qrels"
    write_jsonl(second / "validation.jsonl", JUDGED["test"])
    for source in (f"hf:{triple}", f"hf:{triple}?qrels={second}"):
        collection = open_collection(source)
        assert collection.splits == ["dev"]
        assert collection.qrels("dev") == {"3": {"14717500": 2, "5": 0}}


def test_a_retrieval_set_has_no_roles_of_columns(triple):
    with pytest.raises(DataError, match=r"a retrieval set, whose columns are known; leave out query, or"):
        open_collection(f"hf:{triple}?query=anchor")


def test_fingerprint_follows_local_content(triple):
    before = open_collection(f"hf:{triple}").fingerprint
    assert open_collection(f"hf:{triple}").fingerprint == before
    write_jsonl(triple / "qrels" / "test.jsonl", JUDGED["test"][:1])
    assert open_collection(f"hf:{triple}").fingerprint != before


def parquet_folder(folder, **splits):
    folder.mkdir()
    for split, columns in splits.items():
        pq.write_table(pa.table(columns), folder / f"{split}-00000-of-00001.parquet")
    return folder


def test_training_set(tmp_path):
    dev = {"anchor": ["c"], "positive": ["A"], "negative": ["B"]}
    folder = parquet_folder(tmp_path / "triplets", train=TRIPLETS, validation=dev)
    collection = open_collection(f"hf:{folder}")
    ids = {passage.text: passage.id for passage in collection.passages()}
    assert list(ids) == ["A", "B", "C"]
    assert collection.splits == ["train", "dev"]
    first, second = collection.queries("train")
    assert collection.qrels("train") == {
        first.id: {ids["A"]: 1, ids["B"]: 0, ids["C"]: 0},
        second.id: {ids["B"]: 1, ids["A"]: 0},
    }
    assert find_problems(collection) == []
    assert open_collection(f"hf:{folder}?split=validation").splits == ["dev"]


def test_files_and_saved_sets(tmp_path):
    import datasets

    folder = parquet_folder(tmp_path / "triplets", train=TRIPLETS)
    (file,) = folder.iterdir()
    from_folder = list(open_collection(f"hf:{folder}").passages())
    assert list(open_collection(f"hf:{file}").passages()) == from_folder
    datasets.disable_progress_bars()
    datasets.DatasetDict({"train": datasets.Dataset.from_dict(TRIPLETS)}).save_to_disk(tmp_path / "saved")
    assert list(open_collection(f"hf:{tmp_path / 'saved'}").passages()) == from_folder


def test_several_configs(tmp_path):
    for name in ("pair", "triplet"):
        parquet_folder(tmp_path / name, train=TRIPLETS)
    configs = "".join(f"- config_name: {n}\n  data_files: {n}/*.parquet\n" for n in ("pair", "triplet"))
    (tmp_path / "README.md").write_text(f"---\nconfigs:\n{configs}---\n")
    with pytest.raises(DataError, match=r"several configs; choose one: \?config=pair\|triplet"):
        open_collection(f"hf:{tmp_path}")
    with pytest.raises(DataError, match="no config 'tripplet'; did you mean 'triplet'"):
        open_collection(f"hf:{tmp_path}?config=tripplet")
    assert open_collection(f"hf:{tmp_path}?config=triplet").splits == ["train"]


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        ({"a": ["x"], "b": ["y"]}, "", "no column 'text'; known: a, b; say which it is with ?text=COLUMN"),
        ({"query": ["x"], "positiv": ["y"]}, "", "no column 'positive'; did you mean 'positiv'?"),
        (TRIPLETS, "?query=ankor", "no column 'ankor'; did you mean 'anchor'?"),
        (TRIPLETS, "?split=tran", "no split 'tran'; did you mean 'train'?"),
        (TRIPLETS, "?quary=anchor", "no option 'quary'; did you mean 'query'?"),
    ],
)
def test_faults_of_columns(tmp_path, columns, options, message):
    folder = parquet_folder(tmp_path / "set", train=columns)
    with pytest.raises(DataError, match=re.escape(message)):
        open_collection(f"hf:{folder}{options}")


def test_faults_of_rows(triple, tmp_path):
    folder = parquet_folder(tmp_path / "set", train={"query": ["a", ""], "positive": ["A", "B"]})
    (error,) = find_problems(open_collection(f"hf:{folder}"))
    assert str(error) == f"hf:{folder}: train, row 2: empty 'query'; fill it in or remove the line"
    write_jsonl(triple / "qrels" / "test.jsonl", [{"query-id": "3", "corpus-id": "5", "score": 0.5}])
    errors = find_problems(open_collection(f"hf:{triple}"))
    assert "qrels 'test', row 1: relevance 0.5 is not a whole number" in str(errors[0])
    write_jsonl(triple / "qrels" / "test.jsonl", [{"query-id": "3", "corpus-id": "5", "score": 2**31}])
    errors = find_problems(open_collection(f"hf:{triple}"))
    assert "qrels 'test', row 1: relevance '2147483648' does not fit into 32 bits" in str(errors[0])
    for split in ("train", "test"):
        write_jsonl(triple / "qrels" / f"{split}.jsonl", [{"query": "3", "corpusid": "5", "relevant": 1}])
    errors = find_problems(open_collection(f"hf:{triple}"))
    assert "qrels: no column 'score'" in str(errors[0])


def test_what_the_library_refuses_is_one_line(tmp_path):
    with pytest.raises(DataError, match=r"^hf:nobody/nothing: Couldn't reach [^\n]*$"):
        open_collection("hf:nobody/nothing")
    path = tmp_path / "broken.parquet"
    path.write_bytes(b"PAR1 this is none")
    with pytest.raises(DataError, match=r"^hf:[^\n]*$"):
        list(open_collection(f"hf:{path}").passages())
    path = tmp_path / "notes.docx"
    path.write_text(json.dumps({}))
    with pytest.raises(DataError, match=r"'\.docx' is none of \.parquet"):
        open_collection(f"hf:{path}")
