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
        joint: the same, to both from one pass; the other two are ``None`` then.
    """

    seconds: float | None
    peak_mb: float | None
    packages: tuple[str, ...]
    settings: dict[str, Any]
    dense: Encode | None = None
    tokens: Encode | None = None
    joint: Encode | None = None


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
        write_vectors(folder, trained, read_lines(job[name]), task)
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


def write_vectors(folder: Path, trained: Trained, texts: list[str], task: str) -> None:
    """All vectors of the readings that the model has.

    Single vectors are one ``.npy`` of ``(N, d)`` float32. Token vectors are raw float16, text after text; a
    ``.npy`` beside them says ``d`` and how many each text has.
    """
    parts: list[Any] = []
    with TokenFile(folder / f"tokens-{task}") as tokens:
        for some in chunks(texts):
            if trained.joint is not None:
                dense, matrices = trained.joint(some, task)
            else:
                dense = None if trained.dense is None else trained.dense(some, task)
                matrices = None if trained.tokens is None else trained.tokens(some, task)
            if dense is not None:
                parts.append(np.asarray(dense, dtype=np.float32))
            if matrices is not None:
                tokens.write(matrices)
    if parts:
        np.save(folder / f"dense-{task}.npy", np.concatenate(parts))


class TokenFile:
    """Token vectors on their way to disk; without any, no file is left."""

    def __init__(self, path: Path) -> None:
        self.path, self.dim = path, 0
        self.lengths: list[int] = []

    def __enter__(self) -> "TokenFile":
        self.handle = open(self.path.with_suffix(".f16"), "wb")
        return self

    def write(self, matrices: Any) -> None:
        """One matrix a text, ``(tokens, d)``."""
        for matrix in matrices:
            values = np.asarray(matrix, dtype=np.float16)
            self.lengths.append(len(values))
            self.dim = values.shape[1]
            self.handle.write(values.tobytes())

    def __exit__(self, *_: object) -> None:
        self.handle.close()
        if self.lengths:
            np.save(self.path.with_suffix(".npy"), np.array([self.dim, *self.lengths]))
        else:
            self.path.with_suffix(".f16").unlink()


def trainer_arguments(job: dict[str, Any]) -> dict[str, Any]:
    """What all trainers built on transformers take: the same steps, batch, seed, rate and precision."""
    return {
        "output_dir": str(Path(job["folder"]) / "trainer"),
        "max_steps": job["steps"],
        "per_device_train_batch_size": job["batch"],
        "learning_rate": job["learning_rate"],
        "warmup_steps": round(job["warmup"] * job["steps"]),
        "bf16": job["bf16"],
        "use_cpu": True,  # else bf16 is refused where there is no GPU
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
