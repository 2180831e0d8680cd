"""From the text of a question to ten hits with their texts: SQuAD's 20,958 passages in a LanceDB store.

Each mode answers the same dev questions one by one, then eight callers ask at once, each as soon as it has
its answer. The store is what ``ernie-search index`` makes with the bundled model; encoding the corpus takes
minutes, once: it is kept in the work folder (``zero_shot --work`` makes the same). Questions go through ONNX
Runtime in a process without torch, as they do where the core alone is installed; ``late_over_torch`` and
``hybrid_late_over_torch`` compare with processes that encode them with torch, in turn. ``parts`` are the
stages of a search in the default mode, hybrid with late interaction, each timed by itself.
"""

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.encoded import BASE, ENCODED
from benchmarks.figures import Figure, arguments, emit, median, squad_folder
from benchmarks.isolated import isolated

MODES: dict[str, dict[str, Any]] = {
    "words": {"mode": "words"},
    "dense": {"mode": "dense"},
    "late": {"mode": "late"},
    "hybrid": {"mode": "hybrid", "rerank": False},
    "hybrid_late": {"mode": "hybrid"},
}
QUICK = (300, 20)
"""Passages and questions of a quick run."""
CALLERS, K, WARM, ROUNDS = 8, 10, 10, 2


def prepare(model: str, quick: bool, tokens: str, work: str) -> tuple[str, int]:
    """The store's folder and its passages; what is there is not made again."""
    from benchmarks.small_squad import small_squad
    from ernie_search import build_index
    from ernie_search.data import open_collection, write_beir

    source, name = squad_folder(), "squad"
    Path(work).mkdir(parents=True, exist_ok=True)
    if quick:
        name = "squad-{}-{}".format(*QUICK)
        source = Path(work) / f"{name}-source"
        if not source.is_dir():
            write_beir(small_squad(open_collection(str(squad_folder())), *QUICK), source)
    if tokens != "auto":
        name = f"{name}-{tokens}"
    if model != BASE:
        name = f"{name}-{Path(model).name}"
    settings = {} if tokens == "auto" else {"tokens": tokens}
    folder = Path(work) / name
    build_index(source, model, folder, **settings).close()
    from ernie_search.index import open_index

    with open_index(folder, check=False) as store:
        return str(folder), len(store)


def questions_of(count: int) -> list[str]:
    """Dev questions, evenly drawn."""
    from ernie_search.data import open_collection

    asked: Any = open_collection(str(squad_folder())).queries("dev")
    return [query.text for query in asked[:: max(1, len(asked) // count)][:count]]


def measure(
    model: str, folder: str, runtime: str, texts: list[str], candidates: int, modes: list[str], last: bool
) -> dict[str, Any]:
    """Milliseconds of every question by mode; with ``last``, also with callers, and the parts of a search."""
    import sys

    from ernie_search.encoding.opening import open_encoder
    from ernie_search.search import Searcher

    searcher = Searcher.open(folder, open_encoder(model, runtime=runtime), verify=False)  # type: ignore[arg-type]
    found: dict[str, Any] = {"torch": "torch" in sys.modules}
    for name in modes:

        def one(text: str, options: dict[str, Any] = MODES[name]) -> float:
            started = time.perf_counter()
            searcher.search(text, K, candidates=candidates, **options)
            return 1000 * (time.perf_counter() - started)

        for text in texts[:WARM]:
            one(text)
        found[name] = {"alone": [one(text) for text in texts]}
        if last:
            started = time.perf_counter()
            with ThreadPoolExecutor(CALLERS) as callers:
                found[name]["beside"] = list(callers.map(one, texts))
            found[name]["rate"] = len(texts) / (time.perf_counter() - started)
    return found | ({"parts": parts(searcher, texts, candidates)} if last else {})


def parts(searcher: Any, texts: list[str], candidates: int) -> dict[str, float]:
    """The median milliseconds of each stage of a search in the default mode."""
    from ernie_search.search.readings import cosines, word_shares

    times: dict[str, list[float]] = {}

    def timed(name: str, function: Callable[[], Any]) -> Any:
        started = time.perf_counter()
        result = function()
        times.setdefault(name, []).append(1000 * (time.perf_counter() - started))
        return result

    index = searcher.index
    for text in texts:
        encoding = timed("encode", lambda t=text: searcher.model.encode_joint([t], "query"))
        vector, tokens = encoding.dense[0], encoding.tokens[0]
        (near,) = timed("nearest", lambda e=encoding: index.nearest(e.dense, candidates))
        (words,) = timed("words", lambda t=text: index.bm25([t], candidates))
        head = sorted({*near.ids, *words.ids})
        timed("cosines", lambda v=vector, h=head: cosines(index, v, h, unit_vectors=True))
        timed("word shares", lambda t=text, h=head, w=words: word_shares(index, t, h, w))
        timed("late scores", lambda q=tokens, h=head: index.late_scores(q, h))
        timed("  of it fetch and read tokens", lambda h=head: index.stored_tokens(h))
        timed("fetch texts", lambda h=head: index.get(h[:K]))
        times.setdefault("candidates", []).append(len(head))
    return {name: round(median(values), 2) for name, values in times.items()}


def p95(values: list[float]) -> float:
    """The value that 95 of 100 stay below."""
    return sorted(values)[int(0.95 * len(values))]


def main() -> None:
    """Every mode, alone and with eight callers, and beside torch; ``--quick`` takes a part of SQuAD."""
    args = arguments(
        __doc__ or "", model=BASE, tokens="auto", questions=200, candidates=100, work=ENCODED, threads=0
    )
    if args.threads:
        os.environ["OMP_NUM_THREADS"] = str(args.threads)
    questions = QUICK[1] if args.quick else args.questions
    folder, passages = isolated(prepare, args.model, args.quick, args.tokens, args.work)
    texts = questions_of(questions)
    late = ["late", "hybrid_late"]
    beside: dict[str, dict[str, list[float]]] = {"onnx": {}, "torch": {}}
    found: dict[str, Any] = {}
    for turn in range(ROUNDS):
        for runtime in ("torch", "onnx"):
            last = runtime == "onnx" and turn == ROUNDS - 1
            modes = list(MODES) if last else late
            found = isolated(measure, args.model, folder, runtime, texts, args.candidates, modes, last)
            for mode in late:
                beside[runtime].setdefault(mode, []).extend(found[mode]["alone"])
    split, cores = found.pop("parts"), os.cpu_count()
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    settings = {
        "model": Path(args.model).name,
        "passages": passages,
        "tokens": args.tokens,
        "candidates": args.candidates,
        "questions": questions,
        "cores": cores,
        "threads": os.environ.get("OMP_NUM_THREADS", "all"),
        "torch_loaded": found.pop("torch"),
    }
    dense, figures = median(found["dense"]["alone"]), []
    for mode, one in found.items():
        alone = beside["onnx"].get(mode, one["alone"])
        p50 = median(alone)
        extra = {"p95": round(p95(alone), 1)} | ({"parts": split} if mode == "hybrid_late" else {})
        figures.append(Figure(f"{mode}_p50_ms", p50, "ms", "dense", dense, p50 / dense, settings | extra))
        held = settings | {"callers": CALLERS}
        held |= {"p50": round(median(one["beside"]), 1), "p95": round(p95(one["beside"]), 1)}
        figures.append(Figure(f"{mode}_callers_{CALLERS}", one["rate"], "questions/s", settings=held))
    for mode in late:
        ours, theirs = median(beside["onnx"][mode]), median(beside["torch"][mode])
        key = f"{mode}_over_torch"
        figures.append(
            Figure(key, ours / theirs, "share", "questions through torch, ms", theirs, None, settings)
        )
    emit(figures, args.json)


if __name__ == "__main__":
    main()
