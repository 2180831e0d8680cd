"""``evaluate beir:NAME``: fetched by ir_datasets (here from files under its name), indexed once, measured."""

import json

import pytest

from ernie_search.data import open_collection
from ernie_search.data.standard_sets import NAMES, standard_set
from ernie_search.errors import DataError


@pytest.fixture
def package(tmp_path, monkeypatch):
    monkeypatch.setenv("IR_DATASETS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("IR_DATASETS_TMP", str(tmp_path / "tmp"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    module = pytest.importorskip("ir_datasets", reason="the extra ernie-search[irds] is not installed")
    monkeypatch.setattr(module.registry, "_registered", dict(module.registry._registered))
    return module


@pytest.fixture
def fetched(package, tmp_path):
    """SciFact, as if it had been fetched."""
    files = {
        "docs.tsv": "tea\tTea grows on the hills of Assam.\nrice\tRice stands in water.\n",
        "q.tsv": "q1\twhere tea grows\nq2\trice in water\n",
        "qrels": "q1 0 tea 1\nq2 0 rice 1\n",
    }
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    docs, queries, qrels = (str(tmp_path / name) for name in files)
    for name in ("beir/scifact", "beir/scifact/train", "beir/scifact/test"):
        del package.registry._registered[name]
    package.registry.register("beir/scifact", package.create_dataset(docs))
    package.registry.register("beir/scifact/test", package.create_dataset(docs, queries, qrels))
    return tmp_path


def test_one_command_fetches_indexes_and_measures(run_cli, fetched, stub_model, monkeypatch):
    monkeypatch.chdir(fetched)
    (fetched / ".ernie-search").mkdir()  # the nearest index is not the set's
    report = run_cli("evaluate", "beir:scifact", "--model", stub_model, "--json")
    assert report.exit_code == 0, report.output
    (system,) = json.loads(report.stdout)["systems"]
    assert system["measures"]["nDCG@10"]["mean"] == 1.0
    kept = list((fetched / "cache" / "ernie-search" / "standard").glob("scifact-*"))
    before = [one.stat().st_mtime_ns for one in kept[0].rglob("*") if one.is_file()]
    assert run_cli("evaluate", "beir:scifact", "--model", stub_model, "--json").exit_code == 0
    assert [one.stat().st_mtime_ns for one in kept[0].rglob("*") if one.is_file()] == before


def test_without_a_network_it_is_one_line(run_cli, package, stub_model, monkeypatch):
    monkeypatch.setenv("IR_DATASETS_DL_TRIES", "1")
    result = run_cli("evaluate", "beir:scifact", "--model", stub_model)
    assert result.exit_code == 2
    line = result.stderr.splitlines()[-1]
    assert "beir:scifact: cannot be fetched, which takes a network once; check the connection" in line
    assert "Traceback" not in result.output


def test_a_folder_of_a_sets_name_is_read_as_one(tmp_path, monkeypatch, collection):
    monkeypatch.chdir(tmp_path)
    collection.rename(tmp_path / "scifact")
    assert standard_set("beir:scifact") is None
    assert open_collection("beir:scifact").splits == ["test"]


def test_unknown_names_and_other_sources(tmp_path, monkeypatch, package):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="neither a folder nor one of BEIR's sets; did you mean 'scifact'"):
        open_collection("beir:scifat")
    with pytest.raises(DataError, match="no such folder"):
        open_collection("beir:some/where/else")
    assert standard_set("irds:beir/scifact") is None
    assert {f"beir/{name}" for name in NAMES} <= set(package.registry)
