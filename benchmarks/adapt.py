"""Adaptation without labels: what it gains on labelled sets whose labels it never saw; does it know?

For each set ``ernie_search.adapt`` gets the passages alone (``labels`` off), half an hour at most. Then the
whole corpus is indexed and asked the set's own questions, by the base and by the adapted model: the single
vector, and the default mode. Beside it stand the same made questions with contrastive loss alone, and with
sentence-transformers' own MultipleNegativesRankingLoss for the same seconds. Where the verdict was to keep
the base, the model halfway to the trained one is what is measured, to compare the verdict with the truth.

Every part of a set is a file in ``--work``; the same command resumes. ``--beside 0`` leaves out what the
other losses train, which takes as long again; ``--set`` changes settings of ``adapt``, with commas.
``--labelled 1`` asks instead what a set with a split ``train`` gains, beside its labels alone in a training
that is otherwise the same; ``--set labels_alone=0`` mixes the made questions in, however many labels there
are. p values and intervals are clustered by passage. What teaches was chosen on covidqa; what was looked at
more than once is in RESULTS.md.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.figures import SHARED, Figure, arguments, emit
from benchmarks.zero_shot import BASE, DEPTH, SPLITS, clustered, collection_of, index_of

MEASURES = ("MRR@10", "nDCG@10")
SETS = ("covidqa", "squad", "shifts-amazon", "pubmedqa", "api")
LABELLED = ("api", "pubmedqa")
"""Sets with a split ``train`` whose split ``test`` is measured."""
QUICK_SET, QUICK_QUESTIONS, QUICK_PASSAGES = "pubmedqa", 60, 300
QUICK: dict[str, Any] = {
    "train.steps": 4,
    "train.checkpoints": 1,
    "questions.number": 400,
    "check.shares": (1.0,),
    "check.passages": 200,
    "check.questions": 50,
    "train.passage_length": 64,
}
MODES = {"dense": "dense", "default": "hybrid", "late": "late"}
GAP_LEAST = 0.05
"""Of a late interaction over its single vector, below which no gap is counted."""


def cell(path: Path, make: Callable[[], Any]) -> Any:
    """What a file holds, or what is made now and put there."""
    if not path.is_file():
        found = make()
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(found))
        temporary.replace(path)
    return json.loads(path.read_text())


def measured(name: str, source: Any, model: str, queries: Any, qrels: Any, work: Path) -> dict[str, Any]:
    """Both measures of every question, by mode, over the whole corpus."""
    from ernie_search import Searcher
    from ernie_search.evaluation import evaluate_run

    searcher = Searcher.open(index_of(name, source, model, work))
    found: dict[str, Any] = {}
    for label, mode in MODES.items():
        run = searcher.run(queries, DEPTH, mode=mode)
        one = evaluate_run(qrels, run, list(MEASURES))
        found[label] = {measure: one.of(measure).tolist() for measure in MEASURES}
    searcher.index.close()
    return found | {"ids": list(one.query_ids)}


def adapted(
    source: Any,
    folder: Path,
    base: str,
    minutes: float | None,
    settings: Mapping[str, Any],
    *,
    labels: bool = False,
) -> Any:
    """One adaptation: its verdict, its seconds, and the model that is measured."""
    import ernie_search
    from ernie_search.adaptation.verdict import CheckSettings

    found = ernie_search.adapt(
        str(source), folder, base=base, minutes=minutes, settings={"labels": labels, **settings}
    )
    model = found.model
    last = folder / "adapt" / "training" / "last"
    if not found.use and last.is_dir():
        model = folder.with_name(f"{folder.name}-adapted")
        if not model.is_dir():
            blended(folder / "adapt" / "start", last, max(CheckSettings().shares), model)
    plan = json.loads((folder / "plan.json").read_text())
    row = {"use": found.use, "kept": found.verdict.kept, "sentence": found.sentence, "model": str(model)}
    return row | {"seconds": found.seconds, "passages": plan["passages"], "steps": plan["steps"]}


def blended(start: Path, last: Path, share: float, output: Path) -> None:
    """The model ``share`` of the way from untrained to trained weights, with its ONNX graph."""
    from ernie_search._util.files import atomic_directory
    from ernie_search.adaptation.blend import blend
    from ernie_search.model import load_joint
    from ernie_search.model.onnx import add_onnx

    with atomic_directory(output) as temporary:
        blend(start, last, share).save(str(temporary), create_model_card=False)
        add_onnx(load_joint(temporary, device="cpu"), temporary)


def contrastive(folder: Path, output: Path, base: str) -> str:
    """The same made questions with contrastive loss alone, in the batch, for as many steps."""
    from ernie_search.adaptation.questioned import QuestionedCollection
    from ernie_search.adaptation.questions import read_questions
    from ernie_search.data import BeirCollection
    from ernie_search.training import TrainSettings, train

    stage = json.loads((folder / "adapt" / "stage.json").read_text())
    made = read_questions(folder / "filter" / "questions.jsonl")
    collection = QuestionedCollection(
        BeirCollection(folder / "documents" / "beir"),
        [one for one in made if one.split == "train"],
        labels=False,
    )
    given = stage["settings"]["train"]
    names = ("steps", "questions_per_batch", "learning_rate", "seed", "query_length")
    settings = TrainSettings(
        **{name: given[name] for name in names},
        passage_length=stage["counts"]["passage_length"],
        negatives=0,
        late_weight=0.0,
        interaction_weight=0.0,
        evaluations=0,
        onnx=False,
    )
    return str(train(collection, output, settings, base=base).last)


def labels_alone(folder: Path, output: Path) -> str:
    """The labels without the made questions, from the same start, for as many steps, with the same losses."""
    from ernie_search.adaptation.questioned import QuestionedCollection
    from ernie_search.data import BeirCollection
    from ernie_search.mining.lists import Lists, write_lists
    from ernie_search.training import TrainSettings, train

    stage = json.loads((folder / "adapt" / "stage.json").read_text())
    collection = QuestionedCollection(BeirCollection(folder / "documents" / "beir"), [])
    labelled = {one.id for one in collection.queries("train")}
    lists = write_lists(
        output.with_name(f"{output.name}-lists"),
        (one for one in Lists.open(folder / "score" / "lists") if one.query in labelled),
        data_fingerprint=collection.fingerprint,
        about={"made_by": "labels alone"},
    )
    settings = TrainSettings(**stage["settings"]["train"])
    settings = settings.model_copy(
        update={"passage_length": stage["counts"]["passage_length"], "evaluations": 0, "onnx": False}
    )
    return str(train(collection, output, settings, base=str(folder / "adapt" / "start"), lists=lists).last)


def labelled_cells(
    name: str, work: Path, base: str, limit: int, minutes: float | None, settings: Any
) -> dict[str, Any]:
    """Base, labels with made questions, and labels alone, of a set with a split ``train``."""
    place = work / f"{name}-labelled"
    place.mkdir(parents=True, exist_ok=True)
    source, collection, queries, qrels = collection_of(name, work, limit)
    if "train" not in collection.splits or SPLITS.get(name, "test") != "test":
        raise SystemExit(
            f"{name}: --labelled needs a split train and measures on test; name one of {','.join(LABELLED)}"
        )
    if limit:
        source = small(collection, queries, qrels, place / "small", keep=("train",))
    cells = place / "cells"

    def measure(label: str, model: str) -> Any:
        return cell(
            cells / f"{label}.json", lambda: measured(label, source, model, queries, qrels, place / "indexes")
        )

    run = cell(
        cells / "run.json",
        lambda: adapted(source, place / "run", base, minutes, settings, labels=True),
    )
    alone = cell(cells / "alone-model.json", lambda: labels_alone(place / "run", place / "alone"))
    found = {"base": measure("base", base), "run": run, "adapted": measure("adapted", run["model"])}
    halfway = place / "alone-halfway"
    if not halfway.is_dir():
        blended(place / "run" / "adapt" / "start", Path(alone), 0.5, halfway)
    found |= {"labels alone": measure("labels-alone", alone)}
    found |= {"labels alone, halfway": measure("labels-alone-halfway", str(halfway))}
    found["clusters"] = [min(qrels[one]) for one in found["base"]["ids"]]
    return found


def labelled_figures(name: str, found: Mapping[str, Any]) -> Iterator[Figure]:
    """What labels and made questions gain over the base and over the labels alone, by mode."""
    run = found["run"]
    about = {"kept": run["kept"], "steps": run["steps"], "verdict": run["sentence"]}
    for mode in MODES:
        for ours, theirs in LABELLED_ROWS:
            row = difference(found, ours, theirs, mode, MEASURES[0])
            means = {one: round(float(np.mean(found[one][mode][MEASURES[0]])), 4) for one in (ours, theirs)}
            label = f"{ours}_over_{theirs}_{name}_{mode}".replace(",", "").replace(" ", "_")
            settings = about | means | {one: row[one] for one in ("low", "high", "p")}
            yield Figure(label, row["mean"], MEASURES[0], theirs, means[theirs], None, settings)


def peer(folder: Path, output: Path, base: str, seconds: float) -> str:
    """sentence-transformers' own loss on the same pairs of texts, for the same seconds."""
    from datasets import Dataset
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
    from transformers import TrainerCallback

    from ernie_search._util.hardware import prefers_bf16
    from ernie_search.adaptation.questions import read_questions
    from ernie_search.data import BeirCollection
    from ernie_search.runtime import resolve

    class Stop(TrainerCallback):
        """Ends the training when its time is over."""

        def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            control.should_training_stop = time.monotonic() - started > seconds

    made = [one for one in read_questions(folder / "filter" / "questions.jsonl") if one.split == "train"]
    texts = {one.id: one.full_text for one in BeirCollection(folder / "documents" / "beir").passages()}
    rows = {"anchor": [one.text for one in made], "positive": [texts[one.passage] for one in made]}
    model = SentenceTransformer(str(resolve(base, weights=True).folder), device="cpu")
    args = SentenceTransformerTrainingArguments(
        str(output / "trainer"),
        per_device_train_batch_size=min(32, len(made)),
        learning_rate=2e-5,
        max_steps=100_000,
        lr_scheduler_type="constant_with_warmup",
        warmup_steps=10,
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        bf16=prefers_bf16(),  # as ours
        seed=0,
        disable_tqdm=True,
    )
    started = time.monotonic()
    SentenceTransformerTrainer(
        model,
        args,
        train_dataset=Dataset.from_dict(rows),
        loss=MultipleNegativesRankingLoss(model),
        callbacks=[Stop()],
    ).train()
    model.save(str(output / "model"), create_model_card=False)
    return str(output / "model")


def small(collection: Any, queries: Any, qrels: Any, folder: Path, *, keep: tuple[str, ...] = ()) -> Path:
    """A few hundred passages of a collection, with those that answer, as a BEIR folder.

    Of the splits ``keep`` the questions whose passages are among them stay.
    """
    from ernie_search.data import MemoryCollection, write_beir

    if not folder.is_dir():
        wanted = {passage for query in queries for passage in qrels[query.id]}
        passages = list(collection.passages())
        others = [one for one in passages if one.id not in wanted]
        kept = [one for one in passages if one.id in wanted] + others[: max(0, QUICK_PASSAGES - len(wanted))]
        there, asked, judged = {one.id for one in kept}, list(queries), {"test": qrels}
        for split in keep:
            rows = collection.qrels(split)
            some = [one for one in collection.queries(split) if there & set(rows[one.id])]
            asked += some
            judged[split] = {one.id: {p: g for p, g in rows[one.id].items() if p in there} for one in some}
        write_beir(MemoryCollection("small", "small", kept, asked, judged), folder)
    return folder


def cells_of(
    name: str, work: Path, base: str, limit: int, minutes: float | None, settings: Any, *, beside: bool = True
) -> dict[str, Any]:
    """All parts of one set; without ``beside``, not those that other losses train."""
    place = work / name
    place.mkdir(parents=True, exist_ok=True)
    source, collection, queries, qrels = collection_of(name, work, limit)
    if limit:
        source = small(collection, queries, qrels, place / "small")
    cells = place / "cells"

    def measure(label: str, model: str) -> Any:
        return cell(
            cells / f"{label}.json", lambda: measured(label, source, model, queries, qrels, place / "indexes")
        )

    found: dict[str, Any] = {"base": measure("base", base)}
    run = cell(cells / "run.json", lambda: adapted(source, place / "run", base, minutes, settings))
    found["run"] = run
    found["adapted"] = measure("adapted", run["model"])
    if beside:
        trained = json.loads((place / "run" / "adapt" / "stage.json").read_text())
        plain = cell(
            cells / "contrastive-model.json", lambda: contrastive(place / "run", place / "contrastive", base)
        )
        found["contrastive"] = measure("contrastive", plain)
        other = cell(
            cells / "peer-model.json", lambda: peer(place / "run", place / "peer", base, trained["seconds"])
        )
        found["peer"] = measure("peer", other)
    found["clusters"] = [min(qrels[one]) for one in found["base"]["ids"]]
    return found


LABELLED_ROWS = (
    ("adapted", "base"),
    ("adapted", "labels alone"),
    ("adapted", "labels alone, halfway"),
    ("labels alone", "base"),
)


def difference(found: Mapping[str, Any], ours: str, theirs: str, mode: str, measure: str) -> dict[str, float]:
    """Mean difference of two models' runs, with interval and p by passage."""
    values = np.array(found[ours][mode][measure]) - np.array(found[theirs][mode][measure])
    return clustered(values, found["clusters"])


ROWS = {
    "gain": ("adapted", "base", "dense"),
    "gain_hybrid_late": ("adapted", "base", "default"),
    "over_contrastive": ("adapted", "contrastive", "dense"),
    "over_tsdae": ("adapted", "peer", "dense"),
}


def figures_of(name: str, found: Mapping[str, Any]) -> Iterator[Figure]:
    """The figures of one set."""
    run = found["run"]
    about = {"set": name, "kept": run["kept"], "steps": run["steps"], "questions": len(found["base"]["ids"])}
    for key, (ours, theirs, mode) in ROWS.items():
        for measure in MEASURES if theirs in found else ():
            row = difference(found, ours, theirs, mode, measure)
            before = float(np.mean(found[theirs][mode][measure]))
            after = float(np.mean(found[ours][mode][measure]))
            label = f"{key}_{name}" if measure == MEASURES[0] else f"{key}_{name}_ndcg"
            settings = about | {"after": round(after, 4)} | {one: row[one] for one in ("low", "high", "p")}
            yield Figure(label, row["mean"], measure, theirs, before, None, settings)
    first = MEASURES[0]
    before, late = (float(np.mean(found["base"][mode][first])) for mode in ("dense", "late"))
    gain = difference(found, "adapted", "base", "dense", first)["mean"]
    if late - before >= GAP_LEAST:
        yield Figure(f"gap_closed_{name}", gain / (late - before), "share", "its late interaction", late)
    yield Figure(f"minutes_{name}", run["seconds"] / 60, "minutes", settings={"passages": run["passages"]})
    right = run["use"] == (gain > 0)
    yield Figure(f"verdict_right_{name}", float(right), "1 or 0", settings={"verdict": run["sentence"]})


def totals(found: Mapping[str, Mapping[str, Any]]) -> Iterator[Figure]:
    """Over all sets: the mean gain, sets with p below 0.01, gap closed, verdicts that were right."""
    first = MEASURES[0]
    for key, (ours, theirs, mode) in ROWS.items():
        rows = [difference(one, ours, theirs, mode, first) for one in found.values() if theirs in one]
        if not rows:
            continue
        sure = sum(row["p"] < 0.01 and row["mean"] > 0 for row in rows)
        settings = {
            "sets": list(found),
            "p below 0.01": sure,
            "above 0": sum(row["mean"] > 0 for row in rows),
        }
        yield Figure(key, float(np.mean([row["mean"] for row in rows])), first, theirs, settings=settings)
    single = [figure for name, one in found.items() for figure in figures_of(name, one)]
    for key, of in (("gap_closed", np.mean), ("verdict_right", np.sum), ("minutes", np.max)):
        values = [one.value for one in single if one.figure.startswith(f"{key}_")]
        if values:
            yield Figure(
                key, float(of(values)), {"gap_closed": "share", "minutes": "minutes"}.get(key, "sets")
            )


def main() -> None:
    """Adapt to each set, measure, compare; ``--quick`` takes one small set and a few steps."""
    args = arguments(__doc__ or "", model=BASE, sets="", work="", minutes=30.0, beside=1, labelled=0, set="")
    if not SHARED.is_dir():
        raise SystemExit(f"{SHARED}: the labelled collections are needed here")
    sets = args.sets or ",".join(LABELLED if args.labelled else SETS)
    names = [QUICK_SET] if args.quick else sets.split(",")
    settings, limit = (QUICK, QUICK_QUESTIONS) if args.quick else ({}, 0)
    minutes = None if args.quick else args.minutes
    settings = settings | dict(one.split("=", 1) for one in args.set.split(",") if one)
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(args.work or temporary)
        found = {}
        for name in names if args.labelled else ():
            one = labelled_cells(name, work, args.model, limit, minutes, settings)
            emit(list(labelled_figures(name, one)), args.json)
        for name in () if args.labelled else names:
            started = time.monotonic()
            found[name] = cells_of(name, work, args.model, limit, minutes, settings, beside=bool(args.beside))
            print(f"{name}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
            emit(list(figures_of(name, found[name])), args.json)
        if found:
            emit(list(totals(found)), args.json)


if __name__ == "__main__":
    main()
