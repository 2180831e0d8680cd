"""SQuAD test over the whole corpus: this project's recipe beside other libraries, from one warm-up.

All systems go on from the same warm-up, on the same questions, positives, hard negatives and teacher's
scores, for the same steps and batch, in the same precision, each in a process of its own. The start's single
vector is a mean under weights of tokens, which sentence-transformers trains on; M3, which has no such
pooling, starts from a warm-up with the mean, of the same steps.

The shared stages are read from an ablation's folder (``--ablation``, a part such as ``cut`` of what ``python
-m benchmarks.ablation_squad`` makes; ``--make 1`` makes there what is missing), as are this project's own
trained rows; the first seed's is trained here again, beside the peers, for its seconds and memory. With the
first seed all systems are trained, in all variants; the other seeds are for this project and, for each
reading, the peer that is best on dev. Single vectors search exactly; late interaction re-ranks, for all
alike, the passages that the start and BM25 find. Which settings each peer has, and why, is in ``systems.py``
and in every figure.
"""

import gzip
import pickle
import shutil
from pathlib import Path
from typing import Any

from benchmarks.ablation_figures import QUICK, RECIPE, TAUGHT
from benchmarks.figures import ROOT, Figure, arguments, emit, squad_folder
from benchmarks.peers.inputs import Inputs, mean_start, prepare_inputs, shared_stages
from benchmarks.peers.result import Result, best_on_dev, first_seed, further_seeds
from benchmarks.peers.rows import MEASURES, Bench
from benchmarks.peers.systems import DOCUMENTED, System, chosen
from benchmarks.peers.table import comparisons, row_figures
from ernie_search.ablation.rows import trained_as
from ernie_search.data import Collection, open_collection
from ernie_search.evaluation import Measured, evaluate_run
from ernie_search.mining import BM25
from ernie_search.pipeline import load_recipe
from ernie_search.pipeline.recipe import Recipe

SMALL = (300, 80)
"""Passages and questions of ``--quick``, which tries the documented variants alone."""


def main() -> None:
    """Run the rows that are left, then print what they say; ``--quick``: a few steps on a small corpus."""
    args = arguments(
        __doc__ or "",
        work=str(ROOT / "runs" / "peers_squad"),
        ablation=str(ROOT / "runs" / "ablation_squad" / "cut"),
        environments=str(ROOT / "runs" / "peer_environments"),
        rows="",
        variants="",
        seeds=3,
        make=0,
        dev_questions=1000,
        set="",
    )
    source, split, work, ablation = str(squad_folder()), "test", Path(args.work), Path(args.ablation)
    collection: Collection = open_collection(source)
    changes, seeds, variants = {**RECIPE, **TAUGHT}, list(range(args.seeds)), args.variants
    if args.quick:
        from benchmarks.small_squad import small_squad

        collection, changes = small_squad(collection, *SMALL), changes | QUICK
        split, seeds, work = "train", [0], Path(f"{args.work}_quick")
        variants = variants or DOCUMENTED
        shutil.rmtree(work / "rows", ignore_errors=True)
        ablation = work / "ablation"
    for change in filter(None, args.set.split(",")):
        name, _, value = change.partition("=")
        changes[name] = value
    recipe = load_recipe("squad", changes)
    given = shared_stages(recipe, collection, ablation, make=args.quick or bool(args.make))
    systems, mean = chosen(args.rows, variants), str(given.model)
    if any(system.mean_only for system in systems):
        mean = mean_start(recipe, collection, work / "mean-start", mean)
    inputs = prepare_inputs(
        recipe, collection, work / "inputs", given, split, args.dev_questions, seeds, mean
    )
    qrels = {name: _judged(collection, name, inputs) for name in (split, "dev")}
    ours = {"collection": source, "small": SMALL if args.quick else None, "lists": str(given.lists)}
    bench = Bench(work, Path(args.environments), inputs, qrels, ours)
    results: dict[str, tuple[System, Result]] = {}
    for system in systems:
        results[system.name] = system, first_seed(bench, system, seeds[0])
    trained = _trained(recipe, ablation, seeds[1:])
    for name in sorted(best_on_dev(results, seeds[0]) if seeds[1:] else ()):
        further_seeds(bench, *results[name], seeds[1:], trained)
    common = {
        "split": split,
        "questions": len(inputs.questions[split]),
        "bf16": inputs.bf16,
        "recipe": "squad",
        **{name: value for name, value in changes.items() if name.startswith(("cascade", "layers"))},
    }
    figures = comparisons(results, split, common)
    for system, result in results.values():
        figures += row_figures(system, result, split, common)
    emit([*figures, _bm25(collection, inputs, qrels[split], split, common)], args.json)


def _trained(recipe: Recipe, ablation: Path, seeds: list[int]) -> dict[int, Path]:
    """The whole method's models in an ablation's folder, by seed; it may have been trained as another row."""
    rows = ablation / "rows" / trained_as(recipe).get("full", "full")
    stages = {seed: rows / f"seed-{seed}" / "train" for seed in seeds}
    return {seed: stage / "last" for seed, stage in stages.items() if (stage / "stage.json").is_file()}


def _judged(collection: Collection, split: str, inputs: Inputs) -> dict[str, dict[str, int]]:
    asked = {query.id for query in inputs.questions[split]}
    return {query: dict(grades) for query, grades in collection.qrels(split).items() if query in asked}


def _bm25(collection: Collection, inputs: Inputs, qrels: Any, split: str, common: dict[str, Any]) -> Figure:
    """BM25 over the same corpus; its index as it would lie on a disk, compressed."""
    index = BM25(collection.passages())
    measured: Measured = evaluate_run(qrels, index.search(inputs.questions[split], 100), MEASURES)
    size = len(gzip.compress(pickle.dumps(index), 1)) / len(inputs.passages)
    settings = {"recall@50": round(measured.mean("recall@50"), 4), "bytes_a_passage": round(size), **common}
    return Figure("row_bm25", round(measured.mean("MRR@10"), 4), "MRR@10", settings=settings)


if __name__ == "__main__":
    main()
