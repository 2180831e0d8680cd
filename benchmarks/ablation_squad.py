"""SQuAD test over the whole corpus: what each part of the method brings, under one recipe.

The recipe is ``squad`` with the base cut to 3 layers, where there is headroom, passages cut at 128 tokens and
fewer steps (``--set`` changes any of it). Shared stages run once; each row and seed is trained, measured and
kept in ``--work``, so an interrupted call goes on and a later one adds rows. Everything was chosen on dev;
``--split dev`` is for choosing, test for the last look.
"""

import shutil
from pathlib import Path
from typing import Any

from benchmarks.figures import ROOT, Figure, arguments, emit, squad_folder
from ernie_search.ablation import ablate
from ernie_search.data import open_collection
from ernie_search.pipeline import load_recipe

RECIPE: dict[str, Any] = {
    "layers": 3,
    "warm-up.steps": 100,  # after 300 the last stage has less left to gain: RESULTS.md
    "warm-up.learning_rate": 3e-4,
    "warm-up.passage_length": 128,
    "warm-up.evaluations": 0,
    "warm-up.checkpoints": 1,
    "mine.max_questions": 6000,
    "teacher.layers": 6,  # whole: cut to 3 it would hardly rank better than the late interaction
    "teacher.max_length": 192,
    "teacher.held_out": 200,
    "cascade.steps": 200,
    "cascade.passage_length": 128,
    "cascade.evaluations": 0,
    "cascade.checkpoints": 1,
    "rows.marginmse.margin_weight": 0.1,  # at 1 its gradient is all that is left after clipping
}
QUICK: dict[str, Any] = {
    "warm-up.steps": 4,
    "mine.max_questions": 64,
    "mine.number": 4,
    "teacher.steps": 4,
    "teacher.negatives": 3,
    "cascade.steps": 4,
}
PAIRS = {
    "full_over_alone": ("full", "alone"),
    "full_over_multitask": ("full", "both"),
    "full_over_alone_throughout": ("full", "alone-throughout"),
    "full_over_kl": ("full", "kl"),
    "full_over_marginmse": ("full", "marginmse"),
    "full_over_frozen_late": ("full", "frozen-late"),
    "full_over_ensemble": ("full", "ensemble"),
}


def main() -> None:
    """Run the rows that are left, then print what they say; ``--quick``: a few steps on a small corpus."""
    args = arguments(
        __doc__ or "", work=str(ROOT / "runs" / "ablation_squad"), rows="", seeds=3, split="test", set=""
    )
    collection, changes, work = open_collection(str(squad_folder())), dict(RECIPE), Path(args.work)
    names = [name for name in args.rows.split(",") if name] or None
    seeds, split = list(range(args.seeds)), args.split
    if args.quick:
        from benchmarks.small_squad import small_squad

        collection, changes = small_squad(collection, 2000, 150), changes | QUICK
        names, seeds, split = names or ["alone", "both", "full"], [0], "dev"
        work = Path(f"{args.work}_quick")
        shutil.rmtree(work, ignore_errors=True)
    for change in filter(None, args.set.split(",")):
        name, _, value = change.partition("=")
        changes[name] = value
    recipe = load_recipe("squad", changes)
    table = ablate(recipe, collection, work, rows=names, seeds=seeds, split=split, keep_vectors=True).table
    common = {"split": split, "questions": table["rows"][0]["questions"], **changes}
    emit([*_pairs(table, common), *_single(table, common)], args.json)


def _pairs(table: dict[str, Any], common: dict[str, Any]) -> list[Figure]:
    """Each gain over a peer: mean over seeds, and every seed."""
    rows = {row["row"]: row for row in table["rows"]}
    figures = []
    for key, (ours, peer) in PAIRS.items():
        found = rows.get(ours, {}).get("over", {}).get(peer)
        if found is None:
            continue
        settings = {
            "ours": round(rows[ours]["MRR@10"], 4),
            "interval_95": [round(found["low"], 4), round(found["high"], 4)],
            "p": found["p"],
            "by_seed": found["seeds"],
            **common,
        }
        value, theirs = found["difference"], rows[peer]["MRR@10"]
        figures.append(
            Figure(key, round(value, 4), "MRR@10", peer, theirs, rows[ours]["MRR@10"] / theirs, settings)
        )
    return figures


def _single(table: dict[str, Any], common: dict[str, Any]) -> list[Figure]:
    """The gap closed with its ceilings, then every row's own figures."""
    figures = []
    for row in table["rows"]:
        if row["row"] == "full" and row["gap_closed"] is not None:
            figures.append(
                Figure("gap_closed", round(row["gap_closed"], 3), "share", settings=table["ceiling"])
            )
    for row in table["rows"]:
        own = {key: row[key] for key in ("what", "recall@50", "seconds", "seeds", "MRR@10 by seed")}
        figures.append(Figure(f"row_{row['row']}", round(row["MRR@10"], 4), "MRR@10", settings=own | common))
    return figures


if __name__ == "__main__":
    main()
