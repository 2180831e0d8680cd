"""What each way to search finds: BM25, dense, late, hybrid, hybrid with late interaction; MRR@10.

SQuAD dev and pubmedqa test, each over its whole corpus. Weights are never tuned on the questions they are
measured on: on SQuAD each half of dev is ranked with the weights that suit the other half best, on pubmedqa
the weights are tuned on dev. p values are paired randomisation tests against the best other row.
"""

from typing import Any

from benchmarks.encoded import ENCODED, model_of, shards_of
from benchmarks.figures import SHARED, Figure, arguments, emit

MEASURE = "MRR@10"
ROWS = ("bm25", "dense", "late", "hybrid", "hybrid weighted", "hybrid + late", "hybrid + late weighted")
DEPTH = 100
QUICK = (1500, 150)
"""Passages and questions of a quick run of SQuAD."""


def tuned(searcher: Any, qrels: Any, queries: list[Any], rerank: bool) -> Any:
    """The weights that rank these questions best."""
    from ernie_search.evaluation import evaluate_run

    judged = {query.id: qrels[query.id] for query in queries}
    return searcher.tune(
        queries,
        lambda run: evaluate_run(judged, run, [MEASURE]).of(MEASURE),
        kind="weighted",
        candidates=DEPTH,
        rerank=rerank,
    ).fusion


def runs(searcher: Any, collection: Any, split: str, notes: dict[str, Any]) -> dict[str, Any]:
    """The run of each row; the weights that were found go into ``notes``."""
    from ernie_search.search import Fusion

    queries = collection.queries(split)
    found: dict[str, Any] = {"bm25": {}}
    rankings = searcher.index.bm25([query.text for query in queries], DEPTH)
    for query, ranking in zip(queries, rankings, strict=True):
        found["bm25"][query.id] = dict(zip(ranking.ids, ranking.scores.tolist(), strict=True))
    for name, options in (
        ("dense", {"mode": "dense"}),
        ("late", {"mode": "late"}),
        ("hybrid", {"mode": "hybrid", "rerank": False, "fusion": Fusion("rrf")}),
        ("hybrid + late", {"mode": "hybrid", "fusion": Fusion("rrf")}),
    ):
        found[name] = searcher.run(queries, DEPTH, candidates=DEPTH, **options)
    if split == "dev":  # each half with the weights of the other
        halves = [
            (queries[0::2], queries[1::2], collection.qrels("dev")),
            (queries[1::2], queries[0::2], collection.qrels("dev")),
        ]
    else:
        halves = [(collection.queries("dev"), queries, collection.qrels("dev"))]
    for name, rerank in (("hybrid weighted", False), ("hybrid + late weighted", True)):
        found[name], notes[name] = {}, []
        for learnt, asked, qrels in halves:
            fusion = tuned(searcher, qrels, learnt, rerank)
            notes[name].append({key: round(weight, 2) for key, weight in fusion.weights.items()})
            options = {"mode": "hybrid", "rerank": rerank, "fusion": fusion}
            found[name] |= searcher.run(asked, DEPTH, candidates=DEPTH, **options)
    return found


def figures_of(name: str, split: str, collection: Any, searcher: Any) -> list[Figure]:
    """A figure for each row, and the best one."""
    from ernie_search.evaluation import compare, evaluate_run

    notes: dict[str, Any] = {}
    found = runs(searcher, collection, split, notes)
    qrels = collection.qrels(split)
    measured = {row: evaluate_run(qrels, found[row], [MEASURE]) for row in ROWS}
    means = {row: measured[row].mean(MEASURE) for row in ROWS}
    figures = []
    for row in ROWS:
        other = max((one for one in ROWS if one != row), key=means.__getitem__)
        p = compare(measured[row], measured[other], MEASURE).p
        settings = {"questions": len(qrels), "p": p, "weights": notes.get(row, "")}
        key = f"{name}_{row.replace(' + ', '_').replace(' ', '_')}"
        figures.append(
            Figure(key, means[row], MEASURE, other, means[other], means[row] / means[other], settings)
        )
    best = max(ROWS, key=means.__getitem__)
    without = max((row for row in ROWS if "+" not in row), key=means.__getitem__)
    p = compare(measured[best], measured[without], MEASURE).p
    settings = {"row": best, "p": p, "questions": len(qrels)}
    key = "best" if name == "squad" else f"best_{name}"
    return [
        *figures,
        Figure(key, means[best], MEASURE, without, means[without], means[best] / means[without], settings),
    ]


def main() -> None:
    """Encode, search, compare; ``--quick`` takes a part of SQuAD."""
    from ernie_search.data import open_collection
    from ernie_search.index import index_shards
    from ernie_search.search import Searcher

    args = arguments(__doc__ or "", model="", work=ENCODED)
    if not SHARED.is_dir():
        raise SystemExit(f"{SHARED}: the labelled collections are needed here")
    model: Any = model_of(args.model)
    figures: list[Figure] = []
    for name, split in (("squad", "dev"), ("pubmedqa", "test")):
        collection: Any = open_collection(str(SHARED / name))
        kept = name
        if args.quick and name == "squad":
            from benchmarks.small_squad import small_squad

            collection, kept = small_squad(collection, *QUICK), "squad-{}-{}".format(*QUICK)
        shards = shards_of(model, kept, collection, args.work)
        searcher = Searcher(model, index_shards(shards, "memory://", tokens="fp16"))
        figures += figures_of(name, split, collection, searcher)
        for one in figures:
            one.settings.setdefault("model", args.model or "untrained base")
    emit(figures, args.json)


if __name__ == "__main__":
    main()
