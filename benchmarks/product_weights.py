"""The weights of the absolute sum over the product's own readings: those that a search itself shows.

    python -m benchmarks.product_weights --work DIR --sets covidqa,pubmedqa,...

``fusion_weights`` computes the readings by itself, over several kinds of words. This one takes the indexes
that ``zero_shot`` made in DIR, asks each collection's questions in the default mode, and reads from the hits'
stages what each reading said of every candidate. Weights are chosen as there: by the least mean square of
what is lost to each collection's own best, and for each collection without it.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.figures import Figure, arguments, emit
from benchmarks.fusion_weights import BM25, DENSE, Grid, chosen, named
from benchmarks.zero_shot import collection_of

DEPTH, KEPT = 100, 10
SETS = "covidqa,shifts-amazon,squad,pubmedqa,xquad,api"

Readings = dict[str, NDArray[np.float64]]


def readings_of(searcher: Any, queries: list[Any], qrels: Mapping[str, Mapping[str, int]]) -> list[Readings]:
    """For each question what each reading says of its candidates ``(n,)``, and "relevant"."""
    found = []
    for query in queries:
        (staged,) = searcher.rank([query.text], 2 * DEPTH, candidates=DEPTH, mode="hybrid")
        read = ~np.isnan(staged.stages["dense"])
        values = {name: np.nan_to_num(staged.stages[name][read]) for name in ("dense", "late")}
        values["bm25"] = np.nan_to_num(staged.stages.get("bm25", np.zeros(len(read)))[read])
        good = qrels[query.id]
        held = np.flatnonzero(read).tolist()
        values["relevant"] = np.asarray([good.get(staged.ids[row], 0) > 0 for row in held], np.float64)
        found.append(values)
    return found


def reciprocal(one: Readings, scores: NDArray[np.float64]) -> float:
    """The reciprocal rank of the first relevant candidate within ten; 0 where there is none."""
    ranked = one["relevant"][np.argsort(-scores, kind="stable")[:KEPT]]
    places = np.flatnonzero(ranked)
    return 1.0 / (1.0 + float(places[0])) if len(places) else 0.0


def grid_of(readings: list[Readings]) -> Grid:
    """MRR@10 for every pair of weights, beside 1 for late interaction."""
    return {
        (dense, bm25): float(
            np.mean(
                [reciprocal(one, one["late"] + dense * one["dense"] + bm25 * one["bm25"]) for one in readings]
            )
        )
        for dense in DENSE
        for bm25 in BM25
    }


def main() -> None:
    """Read, try all pairs, choose with and without each collection."""
    from ernie_search.search import Searcher

    args = arguments(__doc__ or "", work="", sets=SETS, limit=1_000)
    grids: dict[str, Grid] = {}
    started = time.monotonic()
    for name in args.sets.split(","):
        folder = Path(args.work) / name
        if not folder.is_dir():
            raise SystemExit(f"{folder}: no index; make it with: python -m benchmarks.zero_shot --work DIR")
        _, _, queries, qrels = collection_of(name, Path(args.work), 150 if args.quick else args.limit)
        searcher = Searcher.open(folder, verify=False)
        grids[name] = grid_of(readings_of(searcher, queries, qrels))
        searcher.index.close()
    both = chosen(grids)
    spent = {"seconds": round(time.monotonic() - started), "weights": named(both, "late")}
    figures = [
        Figure(
            "chosen_on_all", float(np.mean([one[both] for one in grids.values()])), "MRR@10", settings=spent
        )
    ]
    for name, grid in grids.items():
        without = chosen({other: one for other, one in grids.items() if other != name})
        about = {"weights": named(without, "late"), "chosen_on_all": round(grid[both], 4)}
        figures.append(
            Figure(
                f"left_out_{name}",
                grid[without],
                "MRR@10",
                "its own best",
                max(grid.values()),
                settings=about,
            )
        )
    emit(figures, args.json)


if __name__ == "__main__":
    main()
