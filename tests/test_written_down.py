"""Results of the whole method over a tiny model, against values that were written down once.

A change that is only meant to move code must leave them as they are. ``python tests/test_written_down.py``
prints them anew, with the SHA-256 of all weights, for a change that is meant to alter results.
"""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file

sys.path.append(str(Path(__file__).parent))

import ernie_search
from ernie_search.search import SearchOptions
from tiny_model import sentence_base
from tiny_recipe import tiny_stages, write_recipe
from tiny_training import collection

WRITTEN = Path(__file__).with_name("written_down.json")
TOLERANCE = 1e-4
"""Relative; processors add up in another order, and four steps of training carry that on."""


def beir_folder(folder: Path) -> Path:
    """The tiny collection as a BEIR folder; its dev questions are its test questions, too."""
    (folder / "qrels").mkdir(parents=True)
    tiny = collection()
    passages = [{"_id": one.id, "title": one.title, "text": one.text} for one in tiny.passages()]
    queries = [{"_id": one.id, "text": one.text} for one in (*tiny.queries("train"), *tiny.queries("dev"))]
    for name, rows in (("corpus", passages), ("queries", queries)):
        (folder / f"{name}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    for split in ("train", "dev"):
        lines = [f"{q}\t{p}\t{grade}" for q, found in tiny.qrels(split).items() for p, grade in found.items()]
        text = "\n".join(["query-id\tcorpus-id\tscore", *lines])
        (folder / "qrels" / f"{split}.tsv").write_text(f"{text}\n")
    return folder


def recipe_file(folder: Path) -> Path:
    """All five kinds of stages, four steps a training, every term of the loss."""
    stages = tiny_stages()
    stages[-1]["cascade"] |= {"attention_weight": 0.1, "dual_weight": 0.1}
    for stage in stages:
        for kind in stage.keys() & {"warm-up", "cascade"}:
            # A lead counts whose order is right: on another processor a near tie may count otherwise.
            stage[kind]["follow_lead"] = False
    return write_recipe(folder, sentence_base(folder / "base", layers=2), stages=stages)


def results(folder: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Figures of every step on the way, and the SHA-256 of weights and vectors."""
    source, recipe = beir_folder(folder / "crops"), recipe_file(folder)
    model = ernie_search.train(str(source), folder / "run", str(recipe)).model
    digests = {}
    weights: dict[str, float] = {}
    for path in sorted((folder / "run").rglob("*.safetensors")):
        name = str(path.relative_to(folder / "run"))
        if "checkpoint" not in name:
            digests[name] = hashlib.sha256(path.read_bytes()).hexdigest()
            weights[name] = sum(
                float(np.abs(one.astype(np.float64)).sum()) for one in load_file(path).values()
            )
    lists = pq.read_table(folder / "run" / "score" / "lists" / "lists.parquet").to_pylist()
    ernie_search.build_index(str(source), model, folder / "index")
    searcher = ernie_search.Searcher.open(folder / "index")
    queries = list(ernie_search.open_collection(str(source)).queries("dev"))
    qrels = ernie_search.open_collection(str(source)).qrels("dev")
    found: dict[str, Any] = {}
    for mode in ("dense", "late"):
        options = SearchOptions(mode=mode, token_weights="even")  # so that a new default alters nothing here
        hits = searcher.search_many([query.text for query in queries[:3]], 5, **options)
        found[mode] = {
            "hits": [[[hit.id, hit.score] for hit in some] for some in hits],
            "measures": {
                name: ernie_search.evaluate_run(qrels, searcher.run(queries, 10, **options)).mean(name)
                for name in ("MRR@10", "nDCG@10")
            },
        }
    digests["vectors"] = hashlib.sha256(
        searcher.model.encode_joint(["tea"], "query").dense.tobytes()
    ).hexdigest()
    return {"weights": weights, "lists": lists[:3], "search": found}, digests


def same(found: Any, written: Any, place: str = "") -> list[str]:
    """Where two trees of figures differ."""
    if isinstance(written, dict):
        if not isinstance(found, dict) or set(found) != set(written):
            return [f"{place}: {found} in place of {written}"]
        return [line for key in written for line in same(found[key], written[key], f"{place}/{key}")]
    if isinstance(written, list):
        if not isinstance(found, list) or len(found) != len(written):
            return [f"{place}: {found} in place of {written}"]
        pairs = enumerate(zip(found, written, strict=True))
        return [line for number, (one, other) in pairs for line in same(one, other, f"{place}/{number}")]
    if isinstance(written, float):
        return [] if found == pytest.approx(written, rel=TOLERANCE) else [f"{place}: {found}, not {written}"]
    return [] if found == written else [f"{place}: {found!r}, not {written!r}"]


@pytest.mark.slow
def test_results_are_those_written_down(tmp_path: Path) -> None:
    figures, _ = results(tmp_path)
    assert same(json.loads(json.dumps(figures)), json.loads(WRITTEN.read_text(encoding="utf-8"))) == []


def test_a_difference_is_seen() -> None:
    written = {"a": [1.0, "p1"], "b": 2.0}
    assert same({"a": [1.00001, "p1"], "b": 2.0}, written) == []
    assert same({"a": [1.001, "p1"], "b": 2.0}, written) == ["/a/0: 1.001, not 1.0"]
    assert same({"a": [1.0, "p2"], "b": 2.0}, written) == ["/a/1: 'p2', not 'p1'"]
    assert len(same({"a": [1.0], "b": 2.0}, written)) == 1
    assert len(same({"a": [1.0, "p1"]}, written)) == 1


if __name__ == "__main__":
    import os
    import tempfile

    os.environ["ERNIE_SEARCH_BF16"] = "never"
    with tempfile.TemporaryDirectory() as place:
        figures, digests = results(Path(place))
    WRITTEN.write_text(f"{json.dumps(figures, indent=1)}\n", encoding="utf-8")
    sys.stdout.write(f"{json.dumps(digests, indent=1)}\n")
