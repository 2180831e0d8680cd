"""How often ``train`` reads a small collection from disk."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import ernie_search
from ernie_search._util import files
from ernie_search.data import write_beir
from ernie_search.pipeline import recipe as recipe_module
from tiny_training import collection

CORPUS = "corpus.jsonl"
opened: list[str] | None = None


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if opened is not None and event == "open" and str(arguments[0]).endswith(CORPUS):
        opened.append(str(arguments[0]))


sys.addaudithook(_hook)  # for good: a hook can't be taken back


@pytest.fixture
def opens() -> Iterator[list[str]]:
    """Every opening of a corpus in this process."""
    global opened
    opened = []
    yield opened
    opened = None


def test_all_five_stages_read_the_corpus_three_times_at_most_and_hash_it_once(
    tiny_recipe: Callable[..., Path], tmp_path: Path, opens: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data, hashed, calls = tmp_path / "crops", [], []
    write_beir(collection(), data)
    os.utime(data / CORPUS, (1e9, 1e9))  # as files are that were not written this very second
    sha256_file, stage_inputs = files.sha256_file, recipe_module.stage_inputs

    def hashing(path: Path) -> str:
        hashed.append(Path(path).name)
        return sha256_file(path)

    def counted_inputs(*arguments: Any) -> Any:
        calls.append(arguments)
        return stage_inputs(*arguments)

    monkeypatch.setattr(files, "sha256_file", hashing)
    monkeypatch.setattr(recipe_module, "stage_inputs", counted_inputs)
    opens.clear()
    recipe = str(tiny_recipe())
    first = ernie_search.train(str(data), tmp_path / "run", recipe)
    assert first.model == tmp_path / "run" / "model"
    assert hashed.count(CORPUS) == 1
    assert len(opens) <= 3 + 1
    assert len(calls) == 1
    opens.clear()
    assert ernie_search.train(str(data), tmp_path / "run", recipe) == first
    assert len(opens) == 1  # validated; its hash is remembered


def test_a_corpus_that_changed_is_hashed_again(tmp_path: Path) -> None:
    write_beir(collection(), tmp_path / "crops")
    from ernie_search.data import open_collection

    path = tmp_path / "crops" / CORPUS
    os.utime(path, (1e9, 1e9))
    before = open_collection(str(tmp_path / "crops")).fingerprint
    changed = path.read_text().replace("much", "mush")
    path.write_text(changed)
    os.utime(path, (1e9 + 1, 1e9 + 1))
    assert open_collection(str(tmp_path / "crops")).fingerprint != before
