"""SQuAD dev over the whole corpus: what training, late interaction and distillation bring.

Rows are trained one by one into ``--work`` and measured into TREC runs there; an interrupted call goes on.
"""

import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.figures import ROOT, Figure, arguments, emit, squad_folder
from ernie_search.data import Collection, open_collection
from ernie_search.encoding import encode_collection
from ernie_search.evaluation import (
    bootstrap_interval,
    compare,
    evaluate_run,
    randomisation_test,
    read_run,
    write_run,
)
from ernie_search.index import index_shards
from ernie_search.model import JointEncoder, ScoreSettings, from_base, load
from ernie_search.pipeline import load_recipe
from ernie_search.search import Searcher
from ernie_search.training import TrainingData, prepare, train

ALONE: dict[str, Any] = {"late_weight": 0.0, "interaction_weight": 0.0}
BOTH: dict[str, Any] = {"interaction_weight": 0.0}
DISTILLED: dict[str, Any] = {}
CUT: dict[str, Any] = {"steps": 100, "learning_rate": 3e-4}
"""A base cut to 3 layers has more to learn than the whole one, which squad-small is made for."""
MEASURE = "MRR@10"


@dataclass
class Setup:
    """What all rows share."""

    collection: Collection
    work: Path
    overrides: dict[str, Any]
    data: dict[int, TrainingData]

    def prepared(self, seed: int) -> TrainingData:
        """Examples of one seed, shared by its rows."""
        if seed not in self.data:
            self.data[seed] = prepare(self.collection, self.recipe(seed, self.overrides).train)
        return self.data[seed]

    def recipe(self, seed: int, changes: dict[str, Any]) -> Any:
        """``squad-small`` with a row's changes."""
        return load_recipe("squad-small", {"seed": seed, **changes})


def measured(setup: Setup, name: str, model: JointEncoder | None, modes: list[str]) -> dict[str, Path]:
    """Runs of a model over dev, by mode; encodes the corpus once, and keeps only the runs."""
    paths = {mode: setup.work / "runs" / f"{name}.{mode}.trec" for mode in modes}
    if all(path.is_file() for path in paths.values()) or model is None:
        return paths
    shards = setup.work / "shards" / name
    late = "late" in modes
    encode_collection(
        model,
        setup.collection.passages(),
        shards,
        data_fingerprint=setup.collection.fingerprint,
        with_tokens=late,
    )
    searcher = Searcher(model, index_shards(shards, "memory://"))
    for mode, path in paths.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_run(path, searcher.run(setup.collection.queries("dev"), 1000, mode=mode))  # type: ignore[arg-type]
    shutil.rmtree(shards)
    return paths


def row(
    setup: Setup, name: str, layers: int, seed: int, changes: dict[str, Any], modes: list[str]
) -> dict[str, Path]:
    """Train one row (or find it trained) and measure it."""
    label = f"{name}-l{layers}-s{seed}"
    recipe = setup.recipe(seed, (CUT if layers < 6 else {}) | setup.overrides | changes)
    started = time.monotonic()
    result = train(
        setup.collection,
        setup.work / "models" / label,
        recipe.train,
        base=recipe.base,
        layers=layers if layers < 6 else None,
        data=setup.prepared(seed),
    )
    runs = measured(setup, label, None, modes)
    if not all(path.is_file() for path in runs.values()):
        measured(setup, label, load(result.last), modes)
    for checkpoint in (setup.work / "models" / label).glob("checkpoint-*"):
        shutil.rmtree(checkpoint)
    print_progress(setup, label, runs, result.seconds, time.monotonic() - started)
    return runs


def print_progress(
    setup: Setup, label: str, runs: dict[str, Path], train_seconds: float, seconds: float
) -> None:
    """One line a row, into the work folder's log."""
    qrels = setup.collection.qrels("dev")
    means = {mode: round(evaluate_run(qrels, read_run(path)).mean(MEASURE), 4) for mode, path in runs.items()}
    with open(setup.work / "progress.log", "a", encoding="utf-8") as log:
        log.write(f"{label} {means} trained in {train_seconds:.0f} s, row {seconds:.0f} s\n")


def base_row(setup: Setup, layers: int) -> dict[str, Path]:
    """The base as it comes, at the same lengths."""
    settings = setup.recipe(0, {}).train
    name = f"base-l{layers}"
    if (setup.work / "runs" / f"{name}.dense.trec").is_file():
        return measured(setup, name, None, ["dense"])
    lengths = ScoreSettings(query_length=settings.query_length, passage_length=settings.passage_length)
    model = from_base(setup.recipe(0, {}).base, settings=lengths, layers=layers if layers < 6 else None)
    return measured(setup, name, model, ["dense"])


def main() -> None:
    """Measure; ``--quick`` uses few steps, one seed, and a corpus of 3,000 passages."""
    args = arguments(__doc__ or "", work=str(ROOT / "runs" / "quality_squad"), seeds=3, both_seeds=1, steps=0)
    collection = open_collection(str(squad_folder()))
    overrides: dict[str, Any] = {"steps": args.steps} if args.steps else {}
    work, seeds = Path(args.work), args.seeds
    if args.quick:
        from benchmarks.small_squad import small_squad

        collection, overrides, seeds = small_squad(collection, 2000, 150), {"steps": 12, "evaluations": 0}, 1
        work = Path(f"{args.work}_quick")
        shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True, exist_ok=True)
    setup = Setup(collection, work, overrides, {})
    qrels = collection.qrels("dev")

    def scores(run: Path) -> Any:
        return evaluate_run(qrels, read_run(run))

    figures: list[Figure] = []

    def gain(key: str, ours: Path, peer: Path, peer_name: str, **settings: Any) -> None:
        a, b = scores(ours), scores(peer)
        found = compare(a, b, MEASURE)
        interval = [round(found.low, 4), round(found.high, 4)]
        figures.append(
            Figure(
                key,
                round(found.difference, 4),
                MEASURE,
                peer_name,
                round(b.mean(MEASURE), 4),
                round(a.mean(MEASURE) / b.mean(MEASURE), 4),
                {"ours": round(a.mean(MEASURE), 4), "interval_95": interval, "p": found.p, **settings},
            )
        )

    differences, both_differences = [], []
    for seed in range(seeds):
        alone = row(setup, "alone", 3, seed, ALONE, ["dense"])
        distilled = row(setup, "distilled", 3, seed, DISTILLED, ["dense", "late"] if seed == 0 else ["dense"])
        gain(
            "distillation_gain_seed",
            distilled["dense"],
            alone["dense"],
            "dual-encoder alone",
            layers=3,
            seed=seed,
        )
        differences.append(scores(distilled["dense"]).of(MEASURE) - scores(alone["dense"]).of(MEASURE))
        if seed == 0:
            base3 = base_row(setup, 3)
            gain("dense_gain_3_layers", alone["dense"], base3["dense"], "untrained base", layers=3, seed=seed)
            gain(
                "late_gain_3_layers", distilled["late"], distilled["dense"], "its own dense vector", layers=3
            )
    full = row(setup, "distilled", 6, 0, DISTILLED, ["dense", "late"])
    base6 = base_row(setup, 6)
    gain("dense_gain", full["dense"], base6["dense"], "untrained base", layers=6, seed=0)
    gain("late_gain", full["late"], full["dense"], "its own dense vector", layers=6, seed=0)
    for seed in range(min(seeds, args.both_seeds)):
        alone = row(setup, "alone", 3, seed, ALONE, ["dense"])
        both = row(setup, "both", 3, seed, BOTH, ["dense"])
        gain("both_losses_w0_seed", both["dense"], alone["dense"], "dual-encoder alone", layers=3, seed=seed)
        both_differences.append(scores(both["dense"]).of(MEASURE) - scores(alone["dense"]).of(MEASURE))
    for key, rows in (("distillation_gain", differences), ("both_losses_w0", both_differences)):
        if not rows:
            continue
        # One value a question: its mean over the seeds. The test is paired over questions.
        mean = sum(rows) / len(rows)
        low, high = bootstrap_interval(mean)
        settings = {
            "interval_95": [round(low, 4), round(high, 4)],
            "p": randomisation_test(mean),
            "seeds": len(rows),
        }
        figures.append(
            Figure(key, round(float(mean.mean()), 4), MEASURE, "dual-encoder alone", settings=settings)
        )
    emit(figures, args.json)


if __name__ == "__main__":
    main()
