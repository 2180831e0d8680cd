"""The registry of formats, and the page that describes them."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from ernie_search.data import open_collection
from ernie_search.data.sources import FORMATS, open_documents
from ernie_search.errors import DataError

PAGE = Path(__file__).resolve().parents[2] / "docs" / "data.md"


@pytest.mark.parametrize("scheme", sorted(set(FORMATS) - {"beir"}))
def test_the_page_has_an_example_of_each(scheme):
    assert re.search(rf"ernie-search data \w+ '?{scheme}:\S+", PAGE.read_text())


@pytest.mark.parametrize("scheme", sorted(set(FORMATS) - {"api", "beir"}))
def test_nothing_named(scheme):
    with pytest.raises(DataError, match=f"^{scheme}: *: nothing named after the colon"):
        open_collection(f"{scheme}: ")


@pytest.mark.parametrize(
    ("name", "scheme"),
    [("a.csv", "csv"), ("a.tsv.gz", "csv"), ("train.jsonl", "jsonl"), ("nq-train.json", "dpr")],
)
def test_a_file_without_a_format_gets_a_hint(tmp_path, name, scheme):
    (tmp_path / name).write_text("")
    with pytest.raises(DataError, match=re.escape(f"did you mean '{scheme}:{tmp_path / name}'?")):
        open_collection(str(tmp_path / name))


def test_a_path_is_as_good_as_its_text(tmp_path):
    (tmp_path / "a.md").write_text("Rice stands in water.")
    for place in (tmp_path, tmp_path / "a.md"):
        assert [one.text for one in open_collection(place).passages()] == ["Rice stands in water."]
        assert open_documents(place).source == f"files:{place}"


def test_the_heavy_packages_are_imported_when_they_are_needed():
    heavy = ("datasets", "ir_datasets", "torch")
    code = f"import sys, ernie_search.data; sys.exit(any(name in sys.modules for name in {heavy}))"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
