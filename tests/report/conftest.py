"""A run folder, an ablation and runs as other rooms write them; their texts try to break out of the page."""

import json
from pathlib import Path

import numpy as np
import pytest

from ernie_search.evaluation.comparison import compare_runs
from ernie_search.evaluation.effects import pair_findings
from ernie_search.report import (
    Report,
    ablation_sections,
    comparison_sections,
    comparison_tiles,
    examples_section,
    read_folder,
    scatter_section,
    training_sections,
    training_tiles,
)
from ernie_search.types import Qrels, Run

EVIL = (
    "<script>fetch('https://evil.test/x')</script>"
    '<img src="https://evil.test/y" onerror=alert(1)>'
    " & \x00 \"'"
)


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """A recipe with a finished training, a mining without a log, and a training that was cut off."""
    folder = tmp_path / "squad-run"
    warm = folder / "warm-up"
    warm.mkdir(parents=True)
    with open(warm / "log.jsonl", "w", encoding="utf-8") as log:
        for step in range(1, 401):
            values = {
                "loss": 3 / step,
                "raw_dense": 2 / step,
                "raw_late": 1 / step,
                "loss_dense": 2 / step,
                "loss_late": 1 / step,
                "grad_norm": 5.0,
                "learning_rate": 1e-4,
                "teacher_entropy": 0.9,
            }
            log.write(json.dumps({"event": "log", "step": step, **values}) + "\n")
            if step % 100 == 0:
                log.write(json.dumps({"event": "dev", "step": step, "eval_dense_mrr": step / 1000}) + "\n")
        log.write('{"event": "log", "step": 401, "lo')
    run = {
        "settings": {"steps": 400, "seed": 1, "prompt": EVIL},
        "versions": {"torch": "2.13"},
        "collection": "abc123",
        "base": EVIL,
        "layers": None,
    }
    (warm / "training.json").write_text(json.dumps(run))
    result = {
        "seconds": 4000.0,
        "steps": 400,
        "best_step": 300,
        "best_metric": 0.4,
        "model": "best",
        "last": "last",
        "truncated": {"query": 0.0, "passage": 0.125},
    }
    (warm / "result.json").write_text(json.dumps(result))
    (folder / "mine").mkdir()
    stage = {
        "name": "mine",
        "kind": "mine",
        "seconds": 70.2,
        "seed": 0,
        "settings": {"last": 30},
        "counts": {"lists": 40, "peak_bytes": 2**30},
        "inputs": {"model": "ffee"},
        "versions": {"torch": "2.13"},
    }
    (folder / "mine" / "stage.json").write_text(json.dumps(stage))
    (folder / "cascade" / "checkpoint-3").mkdir(parents=True)
    (folder / "cascade" / "log.jsonl").write_text(
        '{"event": "log", "step": 1, "loss": NaN, "grad_norm": 1.0}\n'
    )
    return folder


@pytest.fixture
def ablation_folder(tmp_path: Path) -> Path:
    """A folder of ``ablate`` with two rows."""
    gain = {"difference": 0.03, "low": 0.01, "high": 0.05, "p": 0.0002, "seeds": []}
    rows = [
        {
            "row": name,
            "what": EVIL,
            "seeds": [0, 1],
            "questions": 9,
            "MRR@10": mean,
            "recall@50": 0.8,
            "MRR@10 by seed": [mean - 0.01, mean + 0.01],
            "gap_closed": gap,
            "seconds": 61.0,
            "over_alone": over,
            "over_both": None,
        }
        for name, mean, gap, over in (("alone", 0.49, None, None), ("interaction", 0.52, 0.125, gain))
    ]
    ceiling = {
        "valid": True,
        "why": "",
        "questions": 9,
        "late": 0.7,
        "cross": 0.75,
        "alone": 0.49,
        "value": 0.75,
    }
    table = {
        "recipe": "squad",
        "split": "dev",
        "steps": 10,
        "base": "b",
        "layers": 3,
        "ceiling": ceiling,
        "rows": rows,
    }
    folder = tmp_path / "ablation"
    folder.mkdir()
    (folder / "table.json").write_text(json.dumps(table))
    return folder


@pytest.fixture
def examples_file(tmp_path: Path) -> Path:
    """One example with both forms."""
    one = {
        "query": f"who? {EVIL}",
        "title": "Ada",
        "text": f"wrote notes {EVIL}",
        "id": "p1",
        "score": 0.5,
        "matches": [{"start": 0, "stop": 3, "strength": 0.9}, {"start": 10, "stop": 15, "strength": 0.7}],
        "query_tokens": ["who", "?"],
        "passage_tokens": ["ada", "wrote", "<b>"],
        "similarity": [[0.9, 0.2, 0.1], [0.1, 1.0, -0.3]],
    }
    path = tmp_path / "examples.json"
    path.write_text(json.dumps([one]))
    return path


@pytest.fixture
def runs() -> tuple[Qrels, dict[str, Run], dict[str, str]]:
    """Qrels, two runs, and the questions' texts."""
    generator = np.random.default_rng(0)
    qrels: Qrels = {f"q{i:02d}": {"hit": 1} for i in range(60)}
    found: dict[str, Run] = {}
    for name, deepest in (("before", 12), (f"after {EVIL}", 5)):
        found[name] = {}
        for query in qrels:
            order = [f"p{i}" for i in range(30)]
            order.insert(int(generator.integers(0, deepest)), "hit")
            found[name][query] = {p: 1 - rank / 40 + generator.random() / 100 for rank, p in enumerate(order)}
    return qrels, found, {query: f"question {query}? {EVIL}" for query in qrels}


@pytest.fixture
def whole(run_folder, ablation_folder, examples_file, runs) -> Report:
    """A report with every section."""
    qrels, found, texts = runs
    result = compare_runs(found, ["MRR@10", "recall@5"], qrels=qrels)
    before, after = found
    pairs = pair_findings(
        result, found, qrels=qrels, texts=texts, bm25=found[before], answers={"q00": ["Ada"]}
    )
    ceiling = compare_runs({**found, "the teacher": found[after]}, ["MRR@10"], qrels=qrels)
    stages = read_folder(run_folder)
    more, tiles = ablation_sections(ablation_folder)
    return Report(
        f"Report {EVIL}",
        [*comparison_tiles(result), *training_tiles(stages), *tiles],
        [EVIL],
        [
            *comparison_sections(result, pairs, found, qrels=qrels, texts=texts, ceiling=ceiling),
            scatter_section(after, found[after], before, found[before], qrels),
            *more,
            *training_sections(stages),
            examples_section(examples_file),
        ],
    )
