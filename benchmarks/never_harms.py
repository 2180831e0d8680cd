"""Interaction distillation over a dual-encoder alone, after few and many steps: the worst difference.

A cell is a set, a number of steps and a seed: both are trained from the base on BM25's negatives, with the
same questions in the same order, and their single vectors ranked over the set's whole corpus. Sets:
``api:`` with the whole base; SQuAD with the base cut to 3 layers; covidqa with the whole base, trained on
pseudo-questions (spans of 5 to 12 words of passages drawn uniformly over the corpus) and measured on its
real questions. Each cell is kept as JSON in ``--work``, so an interrupted call goes on.
"""

import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.figures import ROOT, SHARED, Figure, arguments, emit, squad_folder
from benchmarks.small_squad import small_squad
from ernie_search._util.files import fingerprint, read_json, write_json
from ernie_search.ablation.ablate import dense_run
from ernie_search.data import Collection, MemoryCollection, open_collection
from ernie_search.evaluation import evaluate_run, question_clusters
from ernie_search.evaluation.comparison import compare
from ernie_search.model import load_joint
from ernie_search.pipeline import load_recipe
from ernie_search.training import train
from ernie_search.training.prepare import TrainingData, prepare
from ernie_search.types import Passage, Qrels, Query

MEASURE = "MRR@10"
STEPS = "20,60,200"
SETTINGS: dict[str, Any] = {"evaluations": 0, "checkpoints": 1, "onnx": False, "passage_length": 128}
ALONE = {"late_weight": 0, "interaction_weight": 0}
PSEUDO_QUESTIONS = 4000
SPAN = (5, 12)
"""Words of a pseudo-question."""


@dataclass(frozen=True)
class Set:
    """A collection to train and measure on.

    Attributes:
        open: gives it, with a split ``train``.
        split: to measure on.
        layers: of the base; ``None``: all.
        changes: settings beside :data:`SETTINGS`.
    """

    open: Callable[[], Collection]
    split: str
    layers: int | None
    changes: dict[str, Any]


def pseudo_questions(
    passages: Sequence[Passage], number: int = PSEUDO_QUESTIONS, seed: int = 0
) -> tuple[list[Query], Qrels]:
    """Spans of passages drawn uniformly, each asking for its passage; fewer where there are no more."""
    generator = random.Random(seed)
    texts = [one.text.split() for one in passages]
    usable = [place for place, words in enumerate(texts) if len(words) > SPAN[1]]
    queries: list[Query] = []
    qrels: Qrels = {}
    seen = set()
    for _ in range(10 * number if usable else 0):
        if len(queries) == number:
            break
        place, length = generator.choice(usable), generator.randint(*SPAN)
        start = generator.randrange(len(texts[place]) - length + 1)
        span = texts[place][start : start + length]
        text = " ".join(span)
        if text in seen or sum(word.strip(".,;:()").isalpha() for word in span) < SPAN[0]:
            continue  # numbers and references say nothing of a passage
        seen.add(text)
        queries.append(Query(f"pseudo{len(queries):05d}", text))
        qrels[queries[-1].id] = {passages[place].id: 1}
    return queries, qrels


def pseudo_covidqa() -> MemoryCollection:
    """covidqa with pseudo-questions for training; its real questions are the split ``test``."""
    folder = SHARED / "covidqa"
    if not folder.is_dir():
        raise SystemExit(f"{folder}: covidqa as a BEIR folder is needed here")
    real = open_collection(str(folder))
    passages = list(real.passages())
    queries, qrels = pseudo_questions(passages)
    asked, judged = [*queries, *real.queries("test")], {"train": qrels, "test": real.qrels("test")}
    return MemoryCollection("covidqa with pseudo-questions", "covidqa", passages, asked, judged)


SETS = {
    "api": Set(lambda: open_collection("api:"), "test", None, {}),
    "squad": Set(lambda: open_collection(str(squad_folder())), "test", 3, {"learning_rate": 3e-4}),
    "covidqa": Set(pseudo_covidqa, "test", None, {}),
}


class Cells:
    """Trains and measures the cells of one set; the collection and its negatives are made when needed."""

    def __init__(self, name: str, work: Path, quick: bool) -> None:
        self.name, self.work, self.quick, self.set = name, work, quick, SETS[name]
        self.layers = 1 if quick else self.set.layers
        self.split = "dev" if quick and name != "covidqa" else self.set.split
        self._collection: Collection | None = None
        self._data: dict[int, TrainingData] = {}

    @property
    def collection(self) -> Collection:
        """The set, small for a quick run."""
        if self._collection is None:
            self._collection = self.set.open()
            if self.quick:
                self._collection = small_squad(self._collection, 200, 40, ("train", self.split))
        return self._collection

    def measured(self, steps: int, seed: int) -> dict[str, Any]:
        """One cell: read, or trained and measured."""
        path = self.work / "cells" / f"{self.name}-{steps}-{seed}.json"
        changes = {**SETTINGS, **self.set.changes, "steps": steps, "seed": seed}
        if self.quick:
            changes |= {"questions_per_batch": 8, "passage_length": 64}
        recipe = load_recipe("squad-small", changes)
        made_by = [recipe.train.model_dump(mode="json"), recipe.base, self.collection.fingerprint]
        about = fingerprint(made_by, changes, self.layers, self.split, self.quick)
        if path.is_file() and (known := read_json(path))["about"] == about:
            return dict(known["cell"])
        runs = {}
        for row, own in (("alone", ALONE), ("interaction", {})):
            runs[row] = self._row(f"{self.name}-{steps}-{seed}-{row}", changes | own, seed)
        qrels = self.collection.qrels(self.split)
        measured = {row: evaluate_run(qrels, run, [MEASURE]) for row, run in runs.items()}
        clusters = question_clusters("passage", qrels, self.collection.passages)
        found = compare(measured["interaction"], measured["alone"], MEASURE, clusters=[clusters])
        (by_passage,) = found.clustered
        cell = {
            "set": self.name,
            "steps": steps,
            "seed": seed,
            "questions": len(qrels),
            "alone": round(measured["alone"].mean(MEASURE), 4),
            "interaction": round(measured["interaction"].mean(MEASURE), 4),
            "difference": round(found.difference, 4),
            "interval_95": [round(found.low, 4), round(found.high, 4)],
            "p": found.p,
            "clusters": by_passage.clusters,
            "interval_95_by_passage": [round(by_passage.low, 4), round(by_passage.high, 4)],
            "p_by_passage": by_passage.p,
        }
        write_json(path, {"about": about, "cell": cell})
        return cell

    def _row(self, label: str, changes: dict[str, Any], seed: int) -> Any:
        recipe = load_recipe("squad-small", changes)
        if seed not in self._data:
            self._data[seed] = prepare(self.collection, recipe.train)
        folder = self.work / "models" / label
        result = train(
            self.collection,
            folder,
            recipe.train,
            base=recipe.base,
            layers=self.layers,
            data=self._data[seed],
        )
        run = dense_run(load_joint(result.last), self.collection, self.split, folder)
        shutil.rmtree(folder)  # its figures are kept in the cell
        return run


def main() -> None:
    """Measure the cells that are left; ``--quick``: two steps on small corpora."""
    args = arguments(
        __doc__ or "", work=str(ROOT / "runs" / "never_harms"), sets=",".join(SETS), steps=STEPS, seeds=1
    )
    work, steps = Path(args.work), [int(one) for one in args.steps.split(",")]
    if args.quick:
        work, steps = work.with_name(f"{work.name}_quick"), [2]
        shutil.rmtree(work, ignore_errors=True)
    cells = []
    for name in args.sets.split(","):
        one = Cells(name, work, args.quick)
        for number in steps:
            for seed in range(args.seeds):
                cells.append(one.measured(number, seed))
    worst = min(cells, key=lambda cell: cell["difference"])
    about = {"worst": f"{worst['set']}, {worst['steps']} steps, seed {worst['seed']}", "cells": cells}
    emit(
        [Figure("never_harms", worst["difference"], MEASURE, "alone", worst["alone"], None, about)], args.json
    )


if __name__ == "__main__":
    main()
