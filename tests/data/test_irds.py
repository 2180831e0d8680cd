"""ir_datasets: its own readers over small files, registered as its data sets are; nothing is fetched."""

import re
import sys

import pytest

from ernie_search.data import find_problems, open_collection
from ernie_search.errors import DataError
from ernie_search.types import Passage, Query


@pytest.fixture
def package(tmp_path, monkeypatch):
    monkeypatch.setenv("IR_DATASETS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("IR_DATASETS_TMP", str(tmp_path / "tmp"))
    module = pytest.importorskip("ir_datasets", reason="the extra ernie-search[irds] is not installed")
    monkeypatch.setattr(module.registry, "_registered", dict(module.registry._registered))
    return module


@pytest.fixture
def tiny(package, tmp_path):
    files = {
        "docs.tsv": "d1\tTea is grown in Assam.\nd2\tCoffee came from Ethiopia.\n",
        "train.tsv": "1\twhere does tea grow\n",
        "test.tsv": "2\twhere is coffee from\n3\tnot judged\n1\twhere does tea grow\n",
        "train.qrels": "1 0 d1 1\n",
        "test.qrels": "2 0 d2 2\n2 0 d1 0\n",
    }
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    docs = str(tmp_path / "docs.tsv")
    package.registry.register("tiny", package.create_dataset(docs))
    for split in ("train", "test"):
        paths = [str(tmp_path / f"{split}.{kind}") for kind in ("tsv", "qrels")]
        package.registry.register(f"tiny/{split}", package.create_dataset(docs, *paths))
    return tmp_path


def test_subsets_are_splits(tiny):
    collection = open_collection("irds:tiny")
    assert (collection.name, collection.splits) == ("tiny", ["train", "test"])
    assert next(collection.passages()) == Passage("d1", "Tea is grown in Assam.")
    assert collection.queries("test") == [Query("2", "where is coffee from")]
    assert collection.qrels("test") == {"2": {"d2": 2, "d1": 0}}
    assert [query.id for _, query in collection.located_queries()] == ["1", "2", "3"]
    assert find_problems(collection) == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("2 0 d1 2147483648", "relevance '2147483648' does not fit into 32 bits"),
        ("2 0 d1 -2147483649", "relevance '-2147483649' does not fit into 32 bits"),
    ],
)
def test_judgements_that_runs_and_measures_cannot_hold(tiny, line, message):
    with open(tiny / "test.qrels", "a", encoding="utf-8") as handle:
        handle.write(f"{line}\n")
    (problem,) = find_problems(open_collection("irds:tiny"))
    assert str(problem).startswith(f"irds:tiny/test: qrels 3: {message}")


def test_one_subset_and_named_ones(tiny):
    assert open_collection("irds:tiny/test").splits == ["test"]
    collection = open_collection("irds:tiny?splits=dev:train,test")
    assert collection.splits == ["dev", "test"]
    assert collection.qrels("dev") == {"1": {"d1": 1}}
    assert collection.fingerprint != open_collection("irds:tiny").fingerprint
    with pytest.raises(DataError, match="no subset 'tset' with judgements; did you mean 'test'"):
        open_collection("irds:tiny?splits=tset")


def test_kinds_of_documents_and_topics(package):
    from ir_datasets.datasets.beir import BeirTitleDoc
    from ir_datasets.datasets.msmarco_document import MsMarcoDocument
    from ir_datasets.formats import TrecQuery

    from ernie_search.data.irds import passage_of, query_of

    assert passage_of(BeirTitleDoc("1", "text", "title")) == Passage("1", "text", "title")
    assert passage_of(MsMarcoDocument("1", "u", "title", "body")) == Passage(
        "1", "body", "title", {"url": "u"}
    )
    assert passage_of(BeirTitleDoc("1", "", "title")) == Passage("1", "title")
    topic = query_of(TrecQuery("301", "crime", "what crimes?", "a crime is"))
    assert topic == Query("301", "crime", {"description": "what crimes?", "narrative": "a crime is"})


def test_known_data_sets_resolve_without_being_fetched(package):
    assert open_collection("irds:beir/scifact").splits == ["train", "test"]
    collection = open_collection("irds:msmarco-passage?splits=train,dev:dev/small,trec-dl-2019/judged")
    assert collection.splits == ["train", "dev", "trec-dl-2019.judged"]


def test_faults(tiny, package):
    with pytest.raises(
        DataError, match=re.escape("irds:beir/scifcat: no such data set; did you mean 'beir/scifact")
    ):
        open_collection("irds:beir/scifcat")
    (tiny / "docs.tsv").write_text("d1\tx\nd2\t\nd 3\ty\n")
    errors = [str(error) for error in find_problems(open_collection("irds:tiny"))]
    assert errors[0].startswith("irds:tiny: docs 2: empty 'text'")
    assert errors[1].startswith("irds:tiny: docs 3: white space in '_id'")
    (tiny / "docs.tsv").write_text("".join(f"d {n}\tx\n" for n in range(25)))
    assert len(find_problems(open_collection("irds:tiny"))) == 20
    (tiny / "docs.tsv").write_text("d1\tx\nd2\tx\n")
    (tiny / "test.qrels").unlink()
    assert "irds:tiny/test: qrels 1: cannot be read (" in str(find_problems(open_collection("irds:tiny"))[-1])


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "ir_datasets", None)
    with pytest.raises(DataError, match=re.escape("pip install 'ernie-search[irds]'")):
        open_collection("irds:beir/scifact")
