"""What every runner shares. It runs in the peers' own environments too, so it needs NumPy alone.

A runner is a script that takes the path of a job and leaves in the job's folder ``result.json`` (seconds and
memory of the training, versions, settings) and the vectors of all texts, as the peer itself encodes them.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

CHUNK = 512
"""Texts encoded at a time, so that token vectors go to disk as they come."""
BATCH = 32
"""Texts in a batch of the peers' encoders: their own default."""
Encode = Callable[[list[str], str], Any]


@dataclass
class Trained:
    """What a runner hands back.

    Attributes:
        seconds: of the training alone; ``None`` where the model was trained before.
        peak_mb: the most memory that the process had held when the training ended; ``None`` likewise.
        packages: whose versions are told.
        settings: that the training ran with.
        dense: texts and ``"query"`` or ``"passage"`` to one vector each; ``None`` where it has none.
        tokens: the same, to one matrix each.
    """

    seconds: float | None
    peak_mb: float | None
    packages: tuple[str, ...]
    settings: dict[str, Any]
    dense: Encode | None = None
    tokens: Encode | None = None


class Stopwatch:
    """Seconds and peak memory of a block."""

    seconds = 0.0
    peak_mb = 0.0


@contextmanager
def training() -> Any:
    """Measure a training: ``with training() as measured:``."""
    measured = Stopwatch()
    started = time.perf_counter()
    yield measured
    measured.seconds = time.perf_counter() - started
    measured.peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def read_lines(path: str) -> list[Any]:
    """A JSON value a line."""
    with open(path, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def main(run: Callable[[dict[str, Any]], Trained]) -> None:
    """Train as the job says, encode all texts, and say what it took; ``result.json`` comes last."""
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("WANDB_MODE", "disabled")
    import torch

    torch.manual_seed(job["seed"])
    trained = run(job)
    folder = Path(job["folder"])
    started = time.perf_counter()
    for task, name in (("query", "questions"), ("passage", "passages")):
        texts = read_lines(job[name])
        if trained.dense is not None:
            write_dense(folder / f"dense-{task}", trained.dense, texts, task)
        if trained.tokens is not None:
            write_tokens(folder / f"tokens-{task}", trained.tokens, texts, task)
    result = {
        "seconds": trained.seconds,
        "peak_mb": trained.peak_mb,
        "encode_seconds": round(time.perf_counter() - started, 2),
        "versions": {name: version(name) for name in ("torch", "transformers", *trained.packages)},
        "settings": trained.settings,
    }
    (folder / "result.json").write_text(json.dumps(result, indent=1), encoding="utf-8")


def chunks(texts: list[str]) -> Any:
    """The texts, ``CHUNK`` at a time."""
    return (texts[start : start + CHUNK] for start in range(0, len(texts), CHUNK))


def write_dense(path: Path, encode: Encode, texts: list[str], task: str) -> None:
    """All vectors as one ``.npy`` of ``(N, d)`` float32."""
    parts = [np.asarray(encode(some, task), dtype=np.float32) for some in chunks(texts)]
    np.save(path.with_suffix(".npy"), np.concatenate(parts))


def write_tokens(path: Path, encode: Encode, texts: list[str], task: str) -> None:
    """All token vectors, text after text, as raw float16; a ``.npy`` says how many each has, and ``d``."""
    lengths, dim = [], 0
    with open(path.with_suffix(".f16"), "wb") as handle:
        for some in chunks(texts):
            for matrix in encode(some, task):
                values = np.asarray(matrix, dtype=np.float16)
                lengths.append(len(values))
                dim = values.shape[1]
                handle.write(values.tobytes())
    np.save(path.with_suffix(".npy"), np.array([dim, *lengths]))


def trainer_arguments(job: dict[str, Any]) -> dict[str, Any]:
    """What all trainers built on transformers take: the same steps, batch, seed, rate and precision."""
    return {
        "output_dir": str(Path(job["folder"]) / "trainer"),
        "max_steps": job["steps"],
        "per_device_train_batch_size": job["batch"],
        "learning_rate": job["learning_rate"],
        "warmup_steps": round(job["warmup"] * job["steps"]),
        "bf16": job["bf16"],
        "seed": job["seed"],
        "logging_strategy": "no",
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }


def columns(job: dict[str, Any], with_scores: bool, temperature: float = 1.0) -> dict[str, list[Any]]:
    """The examples as columns: query, positive, negative_1 ...; label, where asked for."""
    examples = read_lines(job["examples"])
    found: dict[str, list[Any]] = {"query": [one["query"] for one in examples]}
    for place in range(len(examples[0]["passages"])):
        name = f"negative_{place}" if place else "positive"
        found[name] = [one["passages"][place] for one in examples]
    if with_scores:
        found["label"] = [[score / temperature for score in one["scores"]] for one in examples]
    return found
