"""A LanceDB store of 10,000, 100,000 and 1,000,000 vectors: building, memory, and the time of a question.

Vectors as ``synthetic`` makes them from SQuAD's, 384 dimensions, questions SQuAD's own; texts of five words
and no token matrices, so that the vectors are what is measured. Building is everything from the first upsert
until ``optimize`` returns, in a process of its own, whose peak memory counts whole. Questions are asked one
by one on one core, with the recall of the ten best against exact search; the peer is the store's own exact
search. The growth of search is that of the approximate index with the least work that reaches the recall.
Every size is kept in the work folder and measured once; ``--again`` asks the questions anew.
"""

import json
import math
import os
import resource
import shutil
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.encoded import ENCODED, model_of, shards_of
from benchmarks.figures import ROOT, Figure, arguments, emit, median, squad_folder
from benchmarks.isolated import isolated

SIZES, QUICK_SIZES = (10_000, 100_000, 1_000_000), (2_000, 20_000, 60_000)
QUICK_SEEDS = 2_000
ENOUGH, K = 0.95, 10
EXACT_QUESTIONS = 10
LONGEST_S = 6 * 3600
"""A single step may take this long on a busy machine."""
COMMIT_BLOCKS = 32
"""Blocks of 8,192 between commits."""
EFFORTS = (0.1, 0.15, 0.2, 0.3, 0.4, 0.55, 0.75, 1.0, 1.5, 2.0, 3.0)
"""Of what the store would do by itself: lists read, or candidates kept in a graph."""


def prepare(work: str, model: str, sizes: tuple[int, ...], quick: bool, questions: int) -> None:
    """Real vectors, and the noise that fits them, into ``work``."""
    from benchmarks.small_squad import small_squad
    from benchmarks.synthetic import fitted
    from ernie_search.data import open_collection
    from ernie_search.shards import read_shards

    collection: Any = open_collection(str(squad_folder()))
    if quick:
        collection = small_squad(collection, QUICK_SEEDS, questions)
    encoder = model_of(model)
    shards = shards_of(encoder, f"squad-{QUICK_SEEDS}-{questions}" if quick else "squad", collection, ENCODED)
    real = np.concatenate([shard.dense for shard in read_shards(shards)]).astype(np.float32)
    asked = collection.queries("train")
    texts = [query.text for query in asked[:: max(1, len(asked) // questions)][:questions]]
    vectors = encoder.encode_joint(texts, "query", tokens=False).dense.astype(np.float32)
    cloud, found = fitted(real, vectors, round((sizes[0] * sizes[-1]) ** 0.5))
    np.savez(Path(work) / "cloud.npz", real=real, questions=vectors, noise=cloud.noise)
    (Path(work) / "cloud.json").write_text(json.dumps(found | {"seeds": len(real)}))


def cloud_of(work: str) -> tuple[Any, np.ndarray]:
    """The cloud and the questions that ``prepare`` kept."""
    from benchmarks.synthetic import Cloud

    with np.load(Path(work) / "cloud.npz") as held:
        return Cloud(held["real"], float(held["noise"])), held["questions"]


def build(work: str, size: int, ann: str) -> dict[str, float]:
    """The store of ``size`` passages: seconds to write and to optimize, peak memory and disk in GB."""
    from ernie_search.index import make_batch, make_spec, open_index

    cloud, _ = cloud_of(work)
    folder = store_folder(work, size, ann)
    shutil.rmtree(folder, ignore_errors=True)
    # Approximate at every size here; how the small ones are searched exactly is timed as well.
    spec = make_spec(
        model_name="synthetic", model_fingerprint="0", dim=cloud.real.shape[1], ann=ann, exact_below=256
    )
    spent = {"making": 0.0}
    started = time.perf_counter()
    store = open_index(folder, spec, "w")
    first = 0
    blocks = cloud.blocks(size)
    number = 0
    while True:
        begun = time.perf_counter()
        block = next(blocks, None)
        spent["making"] += time.perf_counter() - begun
        if block is None:
            break
        ids = [f"p{row:08}" for row in range(first, first + len(block))]
        store.upsert(
            make_batch(
                model_name="synthetic",
                model_fingerprint="0",
                ids=ids,
                titles=[""] * len(ids),
                texts=[f"passage {one} group {hash_of(one)} of {size}" for one in ids],
                fields=["{}"] * len(ids),
                dense=block,
            )
        )
        first += len(block)
        number += 1
        if number % COMMIT_BLOCKS == 0:
            store.commit()
    store.commit()
    written = time.perf_counter()
    store.optimize()
    done = time.perf_counter()
    disk = store.stats().disk_bytes
    store.close()
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, in bytes
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return {
        "write_seconds": written - started - spent["making"],
        "optimize_seconds": done - written,
        "seconds": done - started - spent["making"],
        "peak_gb": peak / 1e9,
        "disk_gb": disk / 1e9,
    }


def hash_of(one: str) -> int:
    """One of 1,000 groups, the same in every run."""
    return int(one[1:]) * 7919 % 1000


def truth(work: str, size: int) -> list[list[str]]:
    """The ids of the ten best passages of each question, from the vectors themselves."""
    cloud, questions = cloud_of(work)
    scores = np.full((len(questions), K), -np.inf, np.float32)
    rows = np.zeros((len(questions), K), np.int64)
    first = 0
    for block in cloud.blocks(size):
        joined = np.concatenate([scores, questions @ block.T], axis=1)
        places = np.concatenate(
            [rows, np.broadcast_to(first + np.arange(len(block)), (len(questions), len(block)))], axis=1
        )
        best = np.argpartition(-joined, K - 1, axis=1)[:, :K]
        scores, rows = (np.take_along_axis(one, best, axis=1) for one in (joined, places))
        first += len(block)
    return [[f"p{row:08}" for row in one] for one in rows.tolist()]


def distances(work: str, size: int) -> float:
    """Nearest over mean distance at ``size``."""
    from benchmarks.synthetic import contrast

    cloud, questions = cloud_of(work)
    return contrast(questions, cloud.blocks(size))


def one_core() -> None:
    """This process, and every thread of it, on one core."""
    import threadpoolctl

    threadpoolctl.threadpool_limits(1)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    os.environ["LANCE_CPU_THREADS"] = "1"  # read when LanceDB is loaded


def ask(work: str, size: int, ann: str, best: list[list[str]]) -> dict[str, Any]:
    """Milliseconds and recall at each effort, and of exact search."""
    one_core()
    from ernie_search.index import open_index
    from ernie_search.index.lance_reader import ef_for, probes_for

    _, questions = cloud_of(work)
    store: Any = open_index(store_folder(work, size, ann), check=False)
    own = store._reader.spec

    def timed(rows: Any, exact: bool = False) -> tuple[list[float], list[float]]:
        times, recalls = [], []
        for row in rows:
            started = time.perf_counter()
            (ranking,) = store.nearest(questions[row], K, exact=exact)
            times.append(1000 * (time.perf_counter() - started))
            recalls.append(len(set(ranking.ids) & set(best[row])) / K)
        return times, recalls

    def measured(effort: float) -> dict[str, float]:
        if ann == "ivf_hnsw_sq":
            changed = {"ef": max(K, round(effort * ef_for(own, K)))}
        else:
            changed = {"probes": max(1, round(effort * probes_for(own, size)))}
        store._reader.spec = own.model_copy(update=changed)
        timed(range(min(20, len(questions))))  # what the index keeps in memory is read now
        times, recalls = timed(range(len(questions)))
        ordered = sorted(times)
        return {
            "effort": next(iter(changed.values())),
            "p50": median(times),
            "p95": ordered[int(0.95 * len(ordered))],
            "recall": float(np.mean(recalls)),
        }

    ladder = [measured(effort) for effort in EFFORTS]
    default = measured(1.0)
    store._reader.spec = own
    times, recalls = timed(range(min(EXACT_QUESTIONS, len(questions))), exact=True)
    stats = store.stats()
    small = {}
    if size < default_threshold():
        store._reader.spec = own.model_copy(update={"exact_below": default_threshold()})
        timed([0])
        small = {"p50_small": median(timed(range(len(questions)))[0])}
    store.close()
    return {
        "ladder": ladder,
        "default": default,
        "exact": median(times),
        "exact_recall": float(np.mean(recalls)),
        "search": stats.search,
        "unindexed": stats.unindexed,
    } | small


def default_threshold() -> int:
    """Passages from which a store searches approximately."""
    from ernie_search.index import IndexSpec

    return int(IndexSpec.model_fields["exact_below"].default)


def store_folder(work: str, size: int, ann: str) -> Path:
    """Where the store of ``size`` passages is."""
    return Path(work) / f"{ann}-{size}"


def kept(path: Path, make: Callable[[], Any], again: bool = False) -> Any:
    """What ``make`` gives; from ``path`` if it was made before."""
    if path.is_file() and not again:
        return json.loads(path.read_text())
    found = make()
    path.with_suffix(".tmp").write_text(json.dumps(found))
    path.with_suffix(".tmp").replace(path)
    return found


def least(found: dict[str, Any]) -> dict[str, float]:
    """The least effort with the recall; the most where none has."""
    enough = [one for one in found["ladder"] if one["recall"] >= ENOUGH]
    return enough[0] if enough else max(found["ladder"], key=lambda one: one["recall"])


def exponent(small: float, large: float, sizes: tuple[int, int]) -> float:
    """Of n, between two sizes."""
    return math.log(large / small) / math.log(sizes[1] / sizes[0])


def main() -> None:
    """Build and ask at each size."""
    from ernie_search.index import IndexSpec

    args = arguments(
        __doc__ or "",
        model="",
        ann=IndexSpec.model_fields["ann"].default,
        questions=200,
        again=0,
        work=str(ROOT / "runs" / "index_scale"),
    )
    sizes = QUICK_SIZES if args.quick else SIZES
    work = Path(f"{args.work}_quick" if args.quick else args.work)
    if args.quick:
        shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True, exist_ok=True)
    if not (work / "cloud.json").is_file():
        isolated(prepare, str(work), args.model, sizes, args.quick, args.questions)
    shape = json.loads((work / "cloud.json").read_text())
    figures, found = [], {}
    for size in sizes:
        name, place = f"{args.ann}-{size}", str(work)
        run = partial(isolated, timeout=LONGEST_S)
        built = kept(work / f"{name}.build.json", partial(run, build, place, size, args.ann))
        best = kept(work / f"{size}.truth.json", partial(run, truth, place, size))
        near = kept(work / f"{size}.contrast.json", partial(run, distances, place, size))
        asking = partial(run, ask, place, size, args.ann, best)
        asked = kept(work / f"{name}.ask.json", asking, bool(args.again))
        found[size] = built, asked
        figures += figures_of(size, built, asked, shape | {"contrast": round(near, 4)})
    small, large = sizes[-2:]
    pair = {"from": small, "to": large, "index": args.ann}
    reached = [least(found[size][1]) for size in (small, large)]
    both = pair | {"recall": [one["recall"] for one in reached], "effort": [one["effort"] for one in reached]}
    growth = exponent(reached[0]["p50"], reached[1]["p50"], (small, large))
    figures.append(Figure("growth_search", growth, "exponent of n", settings=both))
    growth = exponent(found[small][0]["seconds"], found[large][0]["seconds"], (small, large))
    figures.append(Figure("growth_build", growth, "exponent of n", settings=pair))
    emit(figures, args.json)


def figures_of(
    size: int, built: dict[str, float], asked: dict[str, Any], shape: dict[str, Any]
) -> list[Figure]:
    """The figures of one size."""
    short = f"{size // 1_000_000}m" if size % 1_000_000 == 0 else f"{size // 1000}k"
    default = asked["default"]
    settings = {key: round(value, 4) for key, value in shape.items()} | {
        "index": asked["search"],
        "recall": round(default["recall"], 4),
        "p95": round(default["p95"], 2),
        "threads": 1,
        "ladder": [(one["effort"], round(one["recall"], 4), round(one["p50"], 2)) for one in asked["ladder"]],
    }
    peer = "exact", asked["exact"], asked["exact"] / default["p50"]
    # A store of this size searches exactly in memory if it is left its own threshold.
    exactly = "p50_small" in asked
    figures = [
        Figure(f"p50_ms_{short}" + "_approximate" * exactly, default["p50"], "ms", *peer, settings),
        Figure(
            f"build_minutes_{short}",
            built["seconds"] / 60,
            "minutes",
            settings={key: round(built[key], 1) for key in ("write_seconds", "optimize_seconds", "disk_gb")}
            | {"cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()},
        ),
        Figure(f"build_peak_gb_{short}", built["peak_gb"], "GB"),
    ]
    if exactly:
        figures.append(Figure(f"p50_ms_{short}", asked["p50_small"], "ms", settings={"index": "in memory"}))
    return figures


if __name__ == "__main__":
    main()
