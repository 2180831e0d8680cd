"""The demo's adaptation: rows of the model that came out, or why there are none."""

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ernie_search.adaptation import demo as room
from ernie_search.adaptation.demo import ROWS, adapt_demo
from ernie_search.adaptation.run import Adapted
from ernie_search.adaptation.verdict import Verdict
from ernie_search.data import MemoryCollection, open_collection, write_beir
from ernie_search.errors import SettingsError, TrainingError
from ernie_search.evaluation import SystemResult, evaluate_run
from ernie_search.pipeline import DemoResult
from ernie_search.pipeline.demo import FIRST, SINGLE
from ernie_search.types import Passage, Query
from tiny_model import TEXTS, sentence_base


@pytest.fixture
def shown(tmp_path: Path) -> DemoResult:
    """A demo that found nothing with its untrained model."""
    passages = [Passage(f"p{place}", text) for place, text in enumerate(TEXTS)]
    questions = [Query(f"q{place}", text) for place, text in enumerate(TEXTS)]
    qrels = {f"q{place}": {f"p{place}": 1} for place in range(len(TEXTS))}
    made = MemoryCollection("demo", "demo", passages, questions, {"train": qrels, "test": qrels})
    write_beir(made, tmp_path / "collection")
    nothing = evaluate_run(qrels, {name: {"x": 1.0} for name in qrels})
    rows = [SystemResult(name, nothing) for name in (SINGLE, FIRST)]
    return DemoResult(
        rows, ["first"], {"passages": len(TEXTS)}, None, tmp_path / "base-index", tmp_path / "collection"
    )


class Adapter:
    """In the place of ``adapt``: remembers what was asked, and gives what it was told to."""

    def __init__(self, model: Path, *, use: bool) -> None:
        self.asked: list[dict[str, Any]] = []
        self.found = Adapted(model, use, "Use it: so.", Verdict(use, "halfway", 0.5, "Use it: so."), 1.0)

    def __call__(self, source: str, output: Path, **options: Any) -> Adapted:
        self.asked.append({"source": source, "output": output, **options})
        return self.found


def test_the_adapted_model_is_measured_on_the_questions_of_the_demo(
    shown: DemoResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = Adapter(sentence_base(tmp_path / "model"), use=True)
    monkeypatch.setattr(room, "adapt", adapter)
    said: list[str] = []
    found = adapt_demo(shown, 3.0, say=said.append)
    assert [row.name for row in found.rows] == list(ROWS)
    hybrid = found.rows[1].measured
    assert hybrid.mean("MRR@10") > 0.9  # each question is its passage
    assert list(hybrid.query_ids) == sorted(
        one.id for one in open_collection(str(shown.collection)).queries("test")
    )
    verdict, truth = found.words
    assert "Use it: so." in verdict
    assert truth.count("gains") == 2
    (asked,) = adapter.asked
    assert asked["settings"] == {"labels": False}  # those of the split train would decide otherwise
    assert asked["minutes"] == 3.0
    before = (tmp_path / "adapted-search" / "hybrid.trec").stat().st_mtime_ns
    again = adapt_demo(shown, 3.0, say=said.append)
    assert [row.measured.mean("MRR@10") for row in again.rows] == [
        row.measured.mean("MRR@10") for row in found.rows
    ]
    assert (tmp_path / "adapted-search" / "hybrid.trec").stat().st_mtime_ns == before
    other = sentence_base(tmp_path / "other", layers=2)  # the folder was deleted, and another model came out
    monkeypatch.setattr(room, "adapt", Adapter(other, use=True))
    adapt_demo(shown, 3.0, say=said.append)
    assert (tmp_path / "adapted-search" / "hybrid.trec").stat().st_mtime_ns > before


def test_where_the_base_is_kept_there_is_nothing_to_measure(
    shown: DemoResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "adapt", Adapter(tmp_path, use=False))
    found = adapt_demo(shown, 3.0, say=lambda text: None)
    assert found.rows == []
    assert len(found.words) == 1


@pytest.mark.parametrize("kind", [SettingsError, TrainingError])
def test_too_few_minutes_leave_the_demo_its_table(
    kind: type[Exception], shown: DemoResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*given: Any, **options: Any) -> Adapted:
        raise kind("--minutes 1 are too few")

    monkeypatch.setattr(room, "adapt", refuse)
    found = adapt_demo(shown, 1.0, say=lambda text: None)
    assert (found.rows, found.words) == ([], ["Nothing was adapted: --minutes 1 are too few"])


@pytest.mark.parametrize(("options", "rows"), [([], 2), (["--adapt", "3"], 4)])
def test_the_command_adapts_where_it_is_asked_to(
    options: list[str], rows: int, shown: DemoResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ernie_search.cli import app
    from ernie_search.encoding.build import make_index
    from ernie_search.pipeline import demo as first

    model = sentence_base(tmp_path / "model")
    make_index(str(shown.collection), model, shown.index).index.close()
    monkeypatch.setattr("ernie_search.pipeline.run_demo", lambda output, **given: shown)
    monkeypatch.setattr(first, "BASELINE", SINGLE)
    monkeypatch.setattr(room, "adapt", Adapter(model, use=True))
    result = CliRunner().invoke(app, ["demo", *options, "--json", str(tmp_path / "table.json")])
    assert result.exit_code == 0, result.output
    from ernie_search._util.files import read_json

    written = read_json(tmp_path / "table.json")
    assert len(written["systems"]) == rows
    assert ("adapted without labels" in result.output) == bool(options)
