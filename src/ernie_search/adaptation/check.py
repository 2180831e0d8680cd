"""The stage ``check``: the base, the adapted model and those between, on what none has learnt from."""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import BaseModel

from ernie_search._util.files import atomic_directory, read_json, write_json
from ernie_search._util.hardware import prefers_bf16
from ernie_search.adaptation.blend import blend
from ernie_search.adaptation.questioned import HELD_OUT, LABELLED, QuestionedCollection
from ernie_search.adaptation.reading import MEASURE, General, Sample, pool, runs
from ernie_search.adaptation.searching import read_found
from ernie_search.adaptation.stages import LABELS, SEARCHED, START, TRAINING, Step, never_learnt
from ernie_search.adaptation.verdict import (
    BASE,
    Candidate,
    CheckSettings,
    Verdict,
    candidate_shares,
    decide,
)
from ernie_search.errors import EvaluationError
from ernie_search.evaluation import evaluate_run, question_clusters
from ernie_search.model import load, load_joint
from ernie_search.model.onnx import add_onnx
from ernie_search.pipeline.stage import Done, Task
from ernie_search.runtime import resolve
from ernie_search.training.beginning import token_idf
from ernie_search.training.prepare import sample as sampled

VERDICT, MODEL, MEASURED, PRECISION = "verdict.json", "model", "measured", "precision.json"
WEIGHTS, HALFWAY, ADAPTED = "weights", "halfway", "adapted"
PATH = "path"
"""The field of a folder's passages that says whose pieces they are."""
LEAST_SHARE = 1e-3


class Checked(CheckSettings):
    """What is compared with what.

    Attributes:
        base: a name or a directory.
        labels: whether the source's own labelled questions count.
    """

    base: str
    labels: bool = True


@dataclass(frozen=True)
class Check(Step):
    """Measures every candidate, decides, and leaves the model that is kept."""

    kind: ClassVar[str] = "check"
    settings_type: ClassVar[type[BaseModel]] = Checked
    what = "compare with the base"

    def execute(self, task: Task) -> Done:
        """Measure what is not measured yet, decide, and save the kept model with its ONNX graph."""
        settings: Checked = self.settings
        task.folder.mkdir(parents=True, exist_ok=True)
        why = never_learnt(self.place("adapt"))
        verdict = Verdict.keep(why) if why else self._decided(task, settings)
        verdict.write(task.folder / VERDICT)
        self._save(verdict, settings.base, task.folder / MODEL)
        return Done(MODEL, (VERDICT, MODEL), {"use": verdict.use, "kept": verdict.kept})

    def _decided(self, task: Task, settings: Checked) -> Verdict:
        collection = self.questioned(settings.labels)
        sample = self._sample(collection, settings)
        if not sample.questions:
            return Verdict.keep("there are no held-out questions to measure by")
        base, before = self._measured(task, BASE, None, sample, lambda: load(settings.base, device="cpu"))
        clusters, others = self._clusters(collection, sample), []
        for share in candidate_shares(settings, clusters):
            name = name_of(share)
            model = self._model_at(share)
            one, general = self._measured(task, name, share, sample, model)
            others.append(replace(one, agreement=general.agreement(before)))
        return decide(base, others, clusters, settings)

    def _model_at(self, share: float) -> Callable[[], Any]:
        start, last = self.place("adapt", START), self.place("adapt", TRAINING, "last")
        return lambda: blend(start, last, share)

    def _sample(self, collection: QuestionedCollection, settings: Checked) -> Sample:
        found = read_found(self.place("filter", SEARCHED)) | read_found(self.place("score", LABELS))
        questions, qrels = {}, {}
        for split in (HELD_OUT, LABELLED):
            if split not in collection.splits:
                continue
            asked = sampled(collection.queries(split), settings.questions, 0)
            judged = collection.qrels(split)
            questions[split] = asked
            qrels[split] = {one.id: judged[one.id] for one in asked}
        every = [one for some in questions.values() for one in some]
        labels = {query: row for some in qrels.values() for query, row in some.items()}
        passages = pool(collection, every, labels, found, settings.passages) if every else {}
        idf = token_idf(load_joint(self.place("adapt", START), device="cpu"), collection)
        share = np.maximum(np.sqrt(idf), LEAST_SHARE).astype(np.float32)
        return Sample(questions, qrels, passages, found, share)

    def _measured(
        self, task: Task, name: str, share: float | None, sample: Sample, open_model: Callable[[], Any]
    ) -> tuple[Candidate, General]:
        """A candidate's figures, from its file where a call before this one measured it."""
        path = task.folder / MEASURED / f"{name}.json"
        if path.is_file():
            known = read_json(path)
            general = General(float(known["general"]), np.array(known["near"], np.int64))
            return Candidate(name, share, known["values"], general.mrr, 1.0), general
        task.observer("progress", {"what": f"measuring '{name}'", "done": 0, "total": None})
        found, general = runs(open_model(), sample, bf16=self._reads_bf16(task))
        values = {
            split: {
                mode: evaluate_run(sample.qrels[split], run, [MEASURE]).of(MEASURE).tolist()
                for mode, run in modes.items()
            }
            for split, modes in found.items()
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {"values": values, "general": general.mrr, "near": general.near.tolist()})
        return Candidate(name, share, values, general.mrr, 1.0), general

    def _reads_bf16(self, task: Task) -> bool:
        """Whether candidates are read in bf16: measured once, as it may come out differently another time."""
        path = task.folder / MEASURED / PRECISION
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, {"bf16": prefers_bf16("cpu")})
        return bool(read_json(path)["bf16"])

    def _clusters(self, collection: QuestionedCollection, sample: Sample) -> dict[str, list[str]]:
        """By split the file of each question's passage, or that passage, in the order of the ids."""
        found = {}
        for split, judged in sample.qrels.items():
            ids = sorted(judged)
            try:
                grouped = question_clusters(f"field:{PATH}", judged, collection.passages)
                labels = [grouped.of[one] for one in ids]
                if len(set(labels)) < self.settings.fewest:
                    raise EvaluationError("too few files")
            except EvaluationError:
                grouped = question_clusters("passage", judged, collection.passages)
                labels = [grouped.of[one] for one in ids]
            found[split] = labels
        return found

    def _save(self, verdict: Verdict, base: str, folder: Path) -> None:
        """The kept model: the base as it is, or a blend with its graph."""
        if folder.is_dir():
            return
        with atomic_directory(folder) as temporary:
            if verdict.share is None:
                shutil.copytree(resolve(base, weights=True).folder, temporary, dirs_exist_ok=True)
                return
            self._model_at(verdict.share)().save(str(temporary), create_model_card=False)
            add_onnx(load_joint(temporary, device="cpu"), temporary)


def name_of(share: float) -> str:
    """What a candidate is called."""
    return {0.0: WEIGHTS, 0.5: HALFWAY, 1.0: ADAPTED}.get(share, f"{share:g}")


def read_verdict(folder: Path) -> Verdict:
    """The verdict in the folder of a check."""
    values: Mapping[str, Any] = json.loads((folder / VERDICT).read_text(encoding="utf-8"))
    return Verdict.of(values)
