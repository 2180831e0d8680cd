"""A run as a stream: the same as read whole, one question at a time."""

from pathlib import Path

from ernie_search._util.trec import stream_run
from ernie_search.evaluation import read_run


def test_streamed_is_read_whole(tmp_path: Path) -> None:
    lines = [f"q{q} Q0 p{p} {p} {-p * q}.5 t\n" for q in range(5) for p in range(7)]
    (tmp_path / "run").write_text("\n".join(lines))
    assert dict(stream_run(tmp_path / "run")) == read_run(tmp_path / "run")


def test_a_question_whose_lines_are_apart_comes_twice(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("q Q0 a 1 2 t\nr Q0 a 1 2 t\nq Q0 b 2 1 t\n")
    assert list(stream_run(tmp_path / "run")) == [("q", {"a": 2.0}), ("r", {"a": 2.0}), ("q", {"b": 1.0})]
