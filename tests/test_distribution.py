"""The sdist builds a wheel that holds the whole package and runs; a wheel that does not is found out."""

import zipfile
from pathlib import Path

import pytest

from distribution import ROOT, build, faults


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("dist"))[1]


def test_the_wheel_from_the_sdist_is_complete_and_runs(wheel: Path):
    assert faults(wheel) == []


def test_its_metadata_names_licence_paper_and_command(wheel: Path):
    with zipfile.ZipFile(wheel) as archive:
        (folder,) = {name.split("/")[0] for name in archive.namelist() if ".dist-info/" in name}
        metadata = archive.read(f"{folder}/METADATA").decode()
        entry_points = archive.read(f"{folder}/entry_points.txt").decode()
    assert "License-Expression: Apache-2.0" in metadata
    assert "Project-URL: Paper, https://arxiv.org/abs/2205.09153" in metadata
    assert (ROOT / "README.md").read_text(encoding="utf-8").strip() in metadata
    assert "ernie-search = ernie_search.cli:main" in entry_points


@pytest.mark.parametrize(
    ("drop", "add", "fault"),
    [
        ("ernie_search/py.typed", None, "lacks ernie_search/py.typed"),
        (None, ("tests/x.py", ""), "holds tests/x.py, which is not in the package"),
        ("ernie_search/cli/__init__.py", ("ernie_search/cli/__init__.py", "raise OSError(7)"), "OSError: 7"),
    ],
)
def test_a_faulty_wheel_is_found_out(
    wheel: Path, tmp_path: Path, drop: str | None, add: tuple[str, str] | None, fault: str
):
    broken = tmp_path / wheel.name
    with zipfile.ZipFile(wheel) as whole, zipfile.ZipFile(broken, "w") as other:
        for name in whole.namelist():
            if name != drop:
                other.writestr(name, whole.read(name))
        if add is not None:
            other.writestr(*add)
    (found,) = faults(broken)
    assert fault in found
