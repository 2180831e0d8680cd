"""From the text of a question to ten hits with their texts: SQuAD's 20,958 passages in a LanceDB store.

Each mode answers the same dev questions one by one, then eight callers ask at once, each as soon as it has
its answer. The default model is the untrained base with all its layers: how fast a search is does not depend
on what the weights have learnt. Encoding the corpus takes ten minutes on one core, once; shards and store are
kept in the work folder. ``parts`` are the stages of a late search, each timed by itself.
"""

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.encoded import ENCODED, model_of, shards_of
from benchmarks.figures import Figure, arguments, emit, median, squad_folder
from benchmarks.isolated import isolated

MODES: dict[str, dict[str, Any]] = {
    "dense": {"mode": "dense"},
    "late": {"mode": "late"},
    "hybrid": {"mode": "hybrid", "rerank": False},
    "hybrid_late": {"mode": "hybrid"},
}
QUICK = (1500, 60)
"""Passages and questions of a quick run."""
CALLERS, K, WARM = 8, 10, 10


def prepare(model: str, quick: bool, tokens: str, work: str) -> tuple[str, str, int]:
    """The store's folder, the model's name for the settings, passages; what is there is not made again."""
    from benchmarks.small_squad import small_squad
    from ernie_search.data import open_collection
    from ernie_search.index import index_shards, open_index

    collection: Any = open_collection(str(squad_folder()))
    if quick:
        collection = small_squad(collection, *QUICK)
    encoder = model_of(model)
    name = "squad-{}-{}".format(*QUICK) if quick else "squad"
    shards = shards_of(encoder, name, collection, work)
    folder = Path(work) / f"store-{name}-{tokens}-{encoder.fingerprint}"
    done = folder / "store.json"
    if not done.is_file() or done.stat().st_mtime < (shards / "manifest.json").stat().st_mtime:
        index_shards(shards, folder, tokens=tokens).close()
    with open_index(folder) as store:
        return str(folder), model or f"{encoder.name}, untrained", len(store)


def measure(model: str, folder: str, questions: int, candidates: int) -> dict[str, Any]:
    """Milliseconds of every question by mode, questions a second with callers, and the parts of a search."""
    from ernie_search.data import open_collection
    from ernie_search.index import open_index
    from ernie_search.search import Searcher

    asked: Any = open_collection(str(squad_folder())).queries("dev")
    texts = [query.text for query in asked[:: max(1, len(asked) // questions)][:questions]]
    searcher = Searcher(model_of(model), open_index(folder))
    found: dict[str, Any] = {}
    for name, options in MODES.items():

        def one(text: str, options: dict[str, Any] = options) -> float:
            started = time.perf_counter()
            searcher.search(text, K, candidates=candidates, **options)
            return 1000 * (time.perf_counter() - started)

        for text in texts[:WARM]:
            one(text)
        alone = [one(text) for text in texts]
        started = time.perf_counter()
        with ThreadPoolExecutor(CALLERS) as callers:
            beside = list(callers.map(one, texts))
        found[name] = {"alone": alone, "beside": beside, "rate": len(texts) / (time.perf_counter() - started)}
    return found | {"parts": parts(searcher, texts, candidates)}


def parts(searcher: Any, texts: list[str], candidates: int) -> dict[str, float]:
    """The median milliseconds of each stage of a late search, and of words."""
    from ernie_search.index.maxsim import maxsim_scores

    times: dict[str, list[float]] = {}

    def timed(name: str, function: Callable[[], Any]) -> Any:
        started = time.perf_counter()
        result = function()
        times.setdefault(name, []).append(1000 * (time.perf_counter() - started))
        return result

    for text in texts:
        encoding = timed("encode", lambda t=text: searcher.model.encode_joint([t], "query"))
        (near,) = timed("nearest", lambda e=encoding: searcher.index.nearest(e.dense, candidates))
        timed("words", lambda t=text: searcher.index.bm25([t], candidates))
        stored = timed("fetch tokens", lambda n=near: searcher.index.stored_tokens(n.ids))
        timed("maxsim", lambda e=encoding, s=stored: maxsim_scores(e.tokens[0], s))
        timed("fetch texts", lambda n=near: searcher.index.get(n.ids[:K]))
    return {name: round(median(values), 2) for name, values in times.items()}


def p95(values: list[float]) -> float:
    """The value that 95 of 100 stay below."""
    return sorted(values)[int(0.95 * len(values))]


def main() -> None:
    """Every mode, alone and with eight callers; ``--quick`` takes a part of SQuAD."""
    args = arguments(__doc__ or "", model="", tokens="fp16", questions=300, candidates=100, work=ENCODED)
    questions = QUICK[1] if args.quick else args.questions
    folder, name, passages = isolated(prepare, args.model, args.quick, args.tokens, args.work)
    found = isolated(measure, args.model, folder, questions, args.candidates)
    split = found.pop("parts")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    settings = {
        "model": name,
        "passages": passages,
        "tokens": args.tokens,
        "candidates": args.candidates,
        "questions": questions,
        "cores": cores,
    }
    dense, figures = median(found["dense"]["alone"]), []
    for mode, one in found.items():
        p50 = median(one["alone"])
        extra = {"p95": round(p95(one["alone"]), 1)} | ({"parts": split} if mode == "late" else {})
        figures.append(Figure(f"{mode}_p50_ms", p50, "ms", "dense", dense, p50 / dense, settings | extra))
        held = (
            settings
            | {"callers": CALLERS}
            | {"p50": round(median(one["beside"]), 1), "p95": round(p95(one["beside"]), 1)}
        )
        figures.append(Figure(f"{mode}_callers_{CALLERS}", one["rate"], "questions/s", settings=held))
    emit(figures, args.json)


if __name__ == "__main__":
    main()
