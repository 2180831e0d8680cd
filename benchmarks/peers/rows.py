"""A row of the comparison: one system, variant and seed, trained in a process of its own, then measured."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.figures import ROOT
from benchmarks.peers.environments import PeerError, python_of
from benchmarks.peers.inputs import Inputs
from benchmarks.peers.measure import bytes_a_passage, dense_search, late_rerank, remove_vectors
from benchmarks.peers.systems import DENSE, OURS, System, Variant
from ernie_search._util.files import fingerprint, read_json, sha256_file, write_json
from ernie_search.evaluation import Measured, evaluate_run, read_run, write_run
from ernie_search.types import Qrels

RUNNERS = Path(__file__).parent / "runners"
MEASURES = ("MRR@10", "recall@50")


@dataclass(frozen=True, slots=True)
class Row:
    """What one training came to.

    Attributes:
        told: the runner's ``result.json``: seconds, peak_mb, versions, settings.
        bytes_a_passage: by reading.
        measured: by reading and split.
    """

    told: dict[str, Any]
    bytes_a_passage: dict[str, float]
    measured: dict[tuple[str, str], Measured] = field(default_factory=dict)


class Bench:
    """Where all rows are made and kept."""

    def __init__(
        self, work: Path, environments: Path, inputs: Inputs, qrels: dict[str, Qrels], ours: dict[str, Any]
    ) -> None:
        """Nothing is run yet.

        Args:
            work: ``rows/SYSTEM/VARIANT/seed-N``.
            environments: of the peers.
            inputs: what all are given.
            qrels: by split.
            ours: options of this project's own runner.
        """
        self.work, self.environments, self.inputs = work, environments, inputs
        self.qrels, self.ours = qrels, ours

    def job(self, system: System, variant: Variant, seed: int, trained: Path | None) -> dict[str, Any]:
        """What the runner reads."""
        inputs, settings = self.inputs, self.inputs.settings
        options: dict[str, Any] = dict(variant.options)
        if system.name == OURS:
            precision = "bf16" if inputs.bf16 else "fp32"
            changes = {"seed": seed, "precision": precision}
            plain = settings.model_copy(update=changes).model_dump(mode="json")
            options |= self.ours | {"settings": plain, "trained": str(trained or "")}
        return {
            "folder": str(self.work / "rows" / system.name / variant.name / f"seed-{seed}"),
            "start": str(inputs.given.model),
            "plain": str(inputs.plain(mean=system.mean_only)),
            "head": str(inputs.plain(mean=system.mean_only) / "head.npy"),
            "examples": str(inputs.examples(seed)),
            "passages": str(inputs.folder / "passages.jsonl"),
            "questions": str(inputs.folder / "questions.jsonl"),
            "steps": settings.steps,
            "batch": settings.questions_per_batch,
            "seed": seed,
            "learning_rate": variant.learning_rate or settings.learning_rate,
            "warmup": variant.warmup,
            "query_length": settings.query_length,
            "passage_length": settings.passage_length,
            "token_dim": 128,
            "bf16": inputs.bf16,
            "options": options,
        }

    def row(self, system: System, variant: Variant, seed: int, trained: Path | None = None) -> Row:
        """Train and measure, or read what an earlier call left.

        Args:
            system, variant, seed: which row.
            trained: for this project's own: a model that was trained before.

        Raises:
            PeerError: the peer can't be installed or run here.
        """
        job = self.job(system, variant, seed, trained)
        folder = Path(job["folder"])
        made_by = fingerprint(self.inputs.fingerprint, _comparable(job), _of_environment(system))
        kept = folder / "row.json"
        if not (kept.is_file() and read_json(kept)["made_by"] == made_by):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            self._run(system, job, folder)
            told = read_json(folder / "result.json")
            sizes = {reading: bytes_a_passage(folder, reading) for reading in system.readings}
            digests = self._search(system, folder)
            remove_vectors(folder)
            for name in ("trainer", "train", "m3", "cache"):
                shutil.rmtree(folder / name, ignore_errors=True)
            write_json(
                kept, {"made_by": made_by, "told": told, "bytes_a_passage": sizes, "run_sha256": digests}
            )
        found = read_json(kept)
        row = Row(found["told"], found["bytes_a_passage"])
        for reading in system.readings:
            for split, judged in self.qrels.items():
                path = folder / f"{reading}-{split}.trec"
                if sha256_file(path) != found["run_sha256"][path.name]:
                    raise SystemExit(f"{path} was altered since it was made; delete {kept} to make it again")
                row.measured[reading, split] = evaluate_run(judged, read_run(path), MEASURES)
        return row

    def _run(self, system: System, job: dict[str, Any], folder: Path) -> None:
        print(f"{folder}: training", file=sys.stderr, flush=True)
        python = python_of(system.environment, self.environments)
        path, log = folder / "job.json", folder / "log.txt"
        path.write_text(json.dumps(job, indent=1), encoding="utf-8")
        own = {"PYTHONPATH": str(ROOT)} if system.name == OURS else {"PYTHONPATH": ""}
        with open(log, "w", encoding="utf-8") as handle:
            done = subprocess.run(
                [str(python), str(RUNNERS / system.script), str(path)],
                env=os.environ | own | {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"},
                cwd=folder,
                stdout=handle,
                stderr=subprocess.STDOUT,
                check=False,
            )
        if done.returncode or not (folder / "result.json").is_file():
            lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["no output"]
            raise PeerError(f"{system.name}: {lines[-1]} (exit status {done.returncode}; see {log})")

    def _search(self, system: System, folder: Path) -> dict[str, str]:
        """Write the run files of every reading and split; their SHA-256 by name."""
        inputs, digests = self.inputs, {}
        asked = [query.id for queries in inputs.questions.values() for query in queries]
        for reading in system.readings:
            if reading == DENSE:
                run = dense_search(folder, asked, inputs.passages)
            else:
                first = {query: hits for split in inputs.first.values() for query, hits in split.items()}
                run = late_rerank(folder, asked, inputs.passages, first)
            for split, queries in inputs.questions.items():
                path = folder / f"{reading}-{split}.trec"
                write_run(path, {one.id: run.get(one.id, {}) for one in queries}, tag=system.name)
                digests[path.name] = sha256_file(path)
        return digests


def _comparable(job: dict[str, Any]) -> dict[str, Any]:
    """The job without places, which say nothing of what comes out."""
    places = ("folder", "start", "plain", "head", "examples", "passages", "questions", "options")
    options = {name: value for name, value in job["options"].items() if name not in ("collection", "lists")}
    if "trained" in options:
        options["trained"] = bool(options["trained"])
    return {name: value for name, value in job.items() if name not in places} | {"options": options}


def _of_environment(system: System) -> str:
    """The pinned versions that it runs with; empty in this project's own environment."""
    if system.environment is None:
        return ""
    return sha256_file(Path(__file__).parent / "requirements" / f"{system.environment}.txt")
