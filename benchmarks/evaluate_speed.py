"""Measuring a run file over ir_measures alone, and the seconds of the tests between two runs.

Both sides read the same run and qrels files (made up: 9,158 questions x 1,000 hits, as SQuAD's test split
would have) and give the same measures; ours also checks the file, breaks ties and keeps every question's
value. Each side in a fresh process, in turn, the quickest round of each counts.
"""

import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure, arguments, emit
from benchmarks.isolated import isolated
from ernie_search.evaluation import DEFAULT_MEASURES as NAMES

PASSAGES = 20_958


def make(folder: str, questions: int, hits: int) -> None:
    """A qrels file, and two runs of which the second is a little better."""
    import numpy as np

    generator = np.random.default_rng(0)
    with open(Path(folder) / "qrels.txt", "w", encoding="utf-8") as qrels:
        for query in range(questions):
            qrels.write(f"q{query} 0 p{query} 1\n")
    for name, share in (("a", 0.5), ("b", 0.55)):
        with open(Path(folder) / f"{name}.trec", "w", encoding="utf-8") as run:
            for query in range(questions):
                found = generator.choice(PASSAGES, hits, replace=False)
                if query not in found and generator.random() < share:
                    found[int(generator.integers(0, min(20, hits)))] = query
                scores = np.sort(generator.random(hits))[::-1]
                run.writelines(
                    f"q{query} Q0 p{passage} {rank} {score!r} {name}\n"
                    for rank, (passage, score) in enumerate(
                        zip(found.tolist(), scores.tolist(), strict=True), 1
                    )
                )


def ours(folder: str) -> dict[str, Any]:
    """Our reading and measuring."""
    from ernie_search.evaluation import evaluate_run, read_qrels, read_run

    started = time.perf_counter()
    measured = evaluate_run(read_qrels(Path(folder) / "qrels.txt"), read_run(Path(folder) / "a.trec"), NAMES)
    means = [measured.mean(name) for name in NAMES]
    return {"seconds": time.perf_counter() - started, "means": means}


def theirs(folder: str) -> dict[str, Any]:
    """ir_measures as its documentation calls it."""
    import ir_measures
    from ir_measures import RR, R, nDCG

    wanted = [RR @ 10, nDCG @ 10, *(R @ k for k in (1, 5, 10, 20, 50, 100, 1000))]
    import ernie_search.evaluation  # noqa: F401 - both pay for their imports before the clock starts

    started = time.perf_counter()
    qrels = ir_measures.read_trec_qrels(str(Path(folder) / "qrels.txt"))
    run = ir_measures.read_trec_run(str(Path(folder) / "a.trec"))
    found = ir_measures.calc_aggregate(wanted, qrels, run)
    return {"seconds": time.perf_counter() - started, "means": [found[one] for one in wanted]}


def significance(folder: str) -> dict[str, Any]:
    """Every measure of two runs: an interval of each, the test and the interval of the difference."""
    from ernie_search.evaluation import compare, evaluate_run, read_qrels, read_run

    qrels = read_qrels(Path(folder) / "qrels.txt")
    a, b = (evaluate_run(qrels, read_run(Path(folder) / f"{name}.trec"), NAMES) for name in "ab")
    started = time.perf_counter()
    for name in NAMES:
        a.interval(name)
        b.interval(name)
        compare(b, a, name)
    return {"seconds": time.perf_counter() - started}


def main() -> None:
    """Rounds of: ours, theirs; then the tests."""
    args = arguments(__doc__ or "", rounds=3, questions=9158, hits=1000)
    rounds = 1 if args.quick else args.rounds
    questions = min(1000, args.questions) if args.quick else args.questions
    folder = tempfile.mkdtemp()
    try:
        isolated(make, folder, questions, args.hits)
        mine, peers = [], []
        for _ in range(rounds):
            mine.append(isolated(ours, folder))
            peers.append(isolated(theirs, folder))
        tests = isolated(significance, folder)
    finally:
        shutil.rmtree(folder)
    worst = max(abs(x - y) for x, y in zip(mine[0]["means"], peers[0]["means"], strict=True))
    if worst > 1e-9:
        raise SystemExit(f"the two sides differ by {worst}: nothing was compared")
    own, peer = (min(one["seconds"] for one in side) for side in (mine, peers))
    settings = {"questions": questions, "hits": args.hits, "measures": len(NAMES), "rounds": rounds}
    emit(
        [
            Figure("over_ir_measures", own, "seconds", "ir_measures alone", peer, own / peer, settings),
            Figure("significance_seconds", tests["seconds"], "seconds", settings=settings),
        ],
        args.json,
    )


if __name__ == "__main__":
    main()
