"""Bytes a passage and what they cost in ranking: late interaction over SQuAD dev with each token codec.

One model encodes the corpus once; its token matrices are then stored in each format, and the same dense
candidates are re-ranked from it. The loss is relative to fp32, with a paired randomisation test.
"""

import time
from typing import Any

import numpy as np

from benchmarks.encoded import ENCODED, model_of, shards_of
from benchmarks.figures import Figure, arguments, emit, squad_folder

MEASURE = "MRR@10"
CODECS = ("fp32", "fp16", "int8", "2bit", "1bit")
QUICK = (1500, 100)
"""Passages and questions of a quick run."""


def bytes_a_passage(name: str, dim: int) -> int:
    """Of 100 random tokens: it does not depend on their values.

    A form that is read with the tokens' vocabulary ids counts them, too; the others keep them for statistics
    alone, 200 bytes more.
    """
    from ernie_search.index.codecs import train_codec
    from ernie_search.index.token_ids import pack_ids

    random = np.random.default_rng(0)
    rows = random.standard_normal((200, dim)).astype(np.float32)
    ids = random.integers(0, 30_000, 200).astype(np.int32)
    codec = train_codec(name, dim, rows, 0, sample_ids=ids)
    packed = pack_ids(ids[:100])
    return len(codec.encode([rows[:100]], [packed])[0]) + (len(packed) if codec.needs_ids else 0)


def main() -> None:
    """Encode, store in each format, re-rank, compare; ``--quick`` takes a part of SQuAD."""
    from ernie_search.data import open_collection
    from ernie_search.evaluation import compare, evaluate_run
    from ernie_search.index import index_shards
    from ernie_search.search import Searcher

    args = arguments(__doc__ or "", model="", dim=128, candidates=100, work=ENCODED)
    collection: Any = open_collection(str(squad_folder()))
    name = "squad"
    if args.quick:
        from benchmarks.small_squad import small_squad

        collection, name = small_squad(collection, *QUICK), "squad-{}-{}".format(*QUICK)
    model = model_of(args.model, args.dim)
    shards = shards_of(model, name, collection, args.work)
    qrels, queries = collection.qrels("dev"), collection.queries("dev")
    figures, exact = [], None
    named = {"model": args.model or "untrained base", "d": model.token_dim, "questions": len(queries)}
    for name in CODECS:
        started = time.perf_counter()
        store = index_shards(shards, "memory://", tokens=name)
        seconds = round(time.perf_counter() - started, 1)
        held = sum(len(blob) for batch in store.scan(["tokens"]) for blob in batch["tokens"].to_pylist())
        run = Searcher(model, store).run(queries, 100, mode="late", candidates=args.candidates)
        found = evaluate_run(qrels, run)
        exact = exact or found
        value, base = found.mean(MEASURE), exact.mean(MEASURE)
        store.close()
        settings = named | {
            "stored_mb": round(held / 1e6, 1),
            "store_seconds": seconds,
            MEASURE: round(value, 4),
        }
        for dim in (64, 128):
            size = bytes_a_passage(name, dim)
            figures.append(
                Figure(f"bytes_{name}_d{dim}", size, "bytes a passage of 100 tokens", settings={"d": dim})
            )
        if name != "fp32":
            p = compare(found, exact, MEASURE).p
            loss = (base - value) / base
            figures.append(
                Figure(f"loss_{name}", loss, "relative", "fp32", base, value / base, settings | {"p": p})
            )
    emit(figures, args.json)


if __name__ == "__main__":
    main()
