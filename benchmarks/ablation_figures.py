"""What the ablations of two collections share: the recipe, the rows, and the figures read from them."""

import shutil
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.figures import ROOT, Figure
from benchmarks.small_squad import small_squad
from ernie_search.ablation import ablate, declared_rows
from ernie_search.data import Collection
from ernie_search.evaluation import holm
from ernie_search.pipeline import load_recipe

Values = dict[str, Any]

RECIPE: Values = {
    "layers": 3,  # where there is headroom; the whole base is a table of its own
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
TAUGHT: Values = {
    f"{stage}.{name}": value
    for stage in ("warm-up", "cascade")
    for name, value in {
        "pooling": "weighted",
        "head": "pca",
        "question_weights": "root",
        "late_temperature": 0.04,
        "teacher_temperature": 0.05,
    }.items()
}
"""How both trainings pool and teach; rows called throughout have a pooling of their own."""
THROUGHOUT = str(ROOT / "benchmarks" / "throughout.yaml")
THROUGHOUT_ROWS = (
    *("alone-base-pooling", "alone", "both", "interaction-base-pooling", "interaction", "full"),
    *("late-interaction", "ceiling-late"),
)
THROUGHOUT_PAIRS = {
    "pooling_gain": ("alone", "alone-base-pooling"),
    "pooling_gain_with_interaction": ("interaction", "interaction-base-pooling"),
    "full_over_alone_throughout": ("full", "alone-base-pooling"),
    "distillation_gain": ("interaction", "alone"),
    "distillation_gain_base_pooling": ("interaction-base-pooling", "alone-base-pooling"),
    "distillation_over_multitask": ("interaction", "both"),
}
"""Figures of the one training of ``throughout.yaml``, where *full* is *interaction*."""
LEAK_FREE: Values = {"mine.leave_out": "dev,test", "warm-up.leave_out_splits": "dev,test"}
QUICK: Values = {
    "warm-up.steps": 4,
    "mine.max_questions": 64,
    "mine.number": 4,
    "teacher.steps": 4,
    "teacher.layers": 1,
    "teacher.negatives": 3,
    "cascade.steps": 4,
}
ROWS = (
    *("warm", "alone", "alone-throughout", "alone-throughout-weighted"),
    *("interaction-throughout", "interaction-throughout-weighted", "interaction", "full"),
    *("late-interaction", "ceiling-late", "ceiling-cross"),
)
"""Rows of the figures, as far as the recipe has them."""
WHOLE_ROWS = ("alone-throughout", "alone-throughout-weighted", "full")
QUICK_ROWS = ("warm", "alone-throughout", "interaction-throughout", "interaction", "full")
CUT_PAIRS = {
    "pooling_gain": ("alone-throughout-weighted", "alone-throughout"),
    "pooling_gain_with_interaction": ("interaction-throughout-weighted", "interaction-throughout"),
    "full_over_alone_throughout": ("full", "alone-throughout"),
    "distillation_gain": ("interaction-throughout-weighted", "alone-throughout-weighted"),
    "distillation_gain_base_pooling": ("interaction-throughout", "alone-throughout"),
    "cascade_gain": ("full", "interaction"),
    "cascade_gain_late": ("ceiling-late", "late-interaction"),
    "full_over_warm": ("full", "warm"),
}
"""Figures of the base cut to 3 layers; the cascade's gain of late interaction is over fewer questions."""
WHOLE_PAIRS = {
    "whole_base": ("full", "alone-throughout"),
    "pooling_gain_whole_base": ("alone-throughout-weighted", "alone-throughout"),
}
OTHER_PAIRS = {
    "full_over_alone": ("full", "alone"),
    "full_over_multitask": ("full", "both"),
    "full_over_kl": ("full", "kl"),
    "full_over_marginmse": ("full", "marginmse"),
    "full_over_frozen_late": ("full", "frozen-late"),
    "full_over_ensemble": ("full", "ensemble"),
}
"""Where these rows are asked for; ``dense_over_best_peer`` and the like are of ``benchmarks.peers``."""


def options(work: Path) -> Values:
    """Command-line options of an ablation's benchmark, with their defaults.

    ``parts``, with commas: ``throughout`` and ``throughout-whole``, one training of the base cut to 3 layers
    and of the whole; ``cut`` and ``whole``, the same with mined lists and a cross-encoder. ``leak_free`` 1:
    positives of dev and test are no negatives, in folders of its own. ``set``: settings of the recipe, with
    commas.
    """
    return {
        "work": str(work),
        "rows": "",
        "seeds": 3,
        "split": "test",
        "set": "",
        "parts": "throughout,throughout-whole,cut,whole",
        "leak_free": 0,
    }


def figures(
    collection: Collection, args: Namespace, changes: Mapping[str, Any], clusters: list[str]
) -> list[Figure]:
    """Run the rows that are left, in the folders of ``--work``, and read the figures.

    Args:
        collection: with train, dev and test.
        args: of :func:`options`.
        changes: of the recipe, beside :data:`RECIPE`.
        clusters: tests by cluster.
    """
    settings = {**RECIPE, **TAUGHT, **changes}
    seeds, split, work = list(range(args.seeds)), args.split, Path(args.work)
    names: tuple[str, ...] | None = tuple(name for name in args.rows.split(",") if name) or None
    if args.leak_free:
        settings |= LEAK_FREE
        work = work.with_name(f"{work.name}_leak_free")
    if args.quick:
        collection = small_squad(collection, 1000, 100)
        settings |= QUICK | (dict.fromkeys(LEAK_FREE, "dev") if args.leak_free else {})
        names, seeds, split = names or QUICK_ROWS, [0, 1], "dev"
        work = work.with_name(f"{work.name}_quick")
        shutil.rmtree(work, ignore_errors=True)
    given: Values = dict(change.split("=", 1) for change in args.set.split(",") if change)
    settings |= given
    found: list[Figure] = []
    for part in args.parts.split(","):
        once, whole = part.startswith("throughout"), part.endswith("whole")
        if args.quick and (whole or part == "throughout"):
            continue  # the same code over more layers, and over fewer stages
        own = {key: value for key, value in settings.items() if not (whole and key == "layers")}
        if once:
            own = once_trained(own, given, whole=whole)
        recipe = load_recipe(THROUGHOUT if once else "squad", own)
        rows = names or (THROUGHOUT_ROWS if once else WHOLE_ROWS if whole else ROWS)
        asked = [name for name in declared_rows(recipe) if name in rows]
        table = ablate(
            recipe,
            collection,
            work / part,
            rows=asked,
            seeds=seeds,
            split=split,
            keep_vectors=True,
            clusters=clusters,
        ).table
        common = {"part": part, "split": split, "questions": table["rows"][0]["questions"], **own}
        pairs = WHOLE_PAIRS if whole else CUT_PAIRS | OTHER_PAIRS
        if once:
            pairs = {key if not whole else f"{key}_whole": pair for key, pair in THROUGHOUT_PAIRS.items()}
        found += [*_pairs(table, pairs, common), *_single(table, part, common)]
    return found


def once_trained(settings: Values, given: Values, *, whole: bool) -> Values:
    """Changes of ``throughout.yaml``: of the settings, those of the warm-up that a call or a set gives."""
    kept = {key: value for key, value in settings.items() if key in ("layers", "warm-up.passage_length")}
    if whole:
        kept |= {"warm-up.learning_rate": 5e-5}
    leaks = {key: value for key, value in settings.items() if key == "warm-up.leave_out_splits"}
    return kept | leaks | {key: value for key, value in given.items() if key.startswith("warm-up.")}


def gain_of(table: Mapping[str, Any], ours: str, peer: str) -> Values | None:
    """A row's gain over another, wherever the table has it."""
    row = next((row for row in table["rows"] if row["row"] == ours), None)
    if row is None:
        return None
    named = {"alone": row["over_alone"], "both": row["over_both"], **row["over"]}
    gain: Values | None = named.get(peer)
    return gain


def _pairs(table: Mapping[str, Any], pairs: Mapping[str, tuple[str, str]], common: Values) -> list[Figure]:
    """Each gain with its tests; Holm's correction is over these figures alone, which were chosen before."""
    gains = {key: gain for key, pair in pairs.items() if (gain := gain_of(table, *pair)) is not None}
    corrected = dict(zip(gains, holm([gain["p"] for gain in gains.values()]), strict=True))
    rows = {row["row"]: row for row in table["rows"]}
    found = []
    for key, gain in gains.items():
        ours, peer = (rows[name]["MRR@10"] for name in pairs[key])
        settings = {
            "ours": round(ours, 4),
            "row": pairs[key][0],
            "interval_95": _interval(gain),
            "p": gain["p"],
            "p_holm": corrected[key],
            "clustered": [_clustered(gains, key, one) for one in gain["clustered"]],
            "by_seed": [
                {
                    "seed": one["seed"],
                    "difference": round(one["difference"], 4),
                    "p": one["p"],
                    "clustered": {
                        test["by"]: {"interval_95": _interval(test), "p": test["p"]}
                        for test in one["clustered"]
                    },
                }
                for one in gain["seeds"]
            ],
            **common,
        }
        value = round(gain["difference"], 4)
        found.append(
            Figure(key, value, "MRR@10", pairs[key][1], peer, ours / peer if peer else None, settings)
        )
    return found


def _clustered(gains: Mapping[str, Values], key: str, test: Values) -> Values:
    """A test by cluster, with Holm's correction over the figures that have one by the same cluster."""
    family = {
        other: one["p"]
        for other, gain in gains.items()
        for one in gain["clustered"]
        if one["by"] == test["by"]
    }
    corrected = dict(zip(family, holm(list(family.values())), strict=True))
    about = {"by": test["by"], "clusters": test["clusters"], "interval_95": _interval(test), "p": test["p"]}
    return about | {"p_holm": corrected[key]}


def _interval(found: Mapping[str, Any]) -> list[float]:
    return [round(found["low"], 4), round(found["high"], 4)]


def _single(table: Mapping[str, Any], part: str, common: Values) -> list[Figure]:
    """The gap closed with its ceilings, then every row's own figures."""
    found = []
    name = "gap_closed" if part in ("cut", "throughout") else f"gap_closed_{part}"
    for row in table["rows"]:
        if row["row"] == "full" and row["gap_closed"] is not None:
            found.append(
                Figure(name, round(row["gap_closed"], 3), "share", settings=table["ceiling"] | common)
            )
    for row in table["rows"]:
        own = {key: row[key] for key in ("what", "recall@50", "seconds", "seeds", "MRR@10 by seed")}
        key = f"row_{row['row']}" if part == "cut" else f"row_{row['row']}_{part}"
        found.append(Figure(key, round(row["MRR@10"], 4), "MRR@10", settings=own | common))
    return found
