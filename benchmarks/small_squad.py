"""A smaller SQuAD, or another set, for quick runs: some questions, their passages, a sample of the others."""

from collections.abc import Sequence

from ernie_search.data import Collection, MemoryCollection


def small_squad(
    collection: Collection, passages: int, questions: int, splits: Sequence[str] = ("train", "dev")
) -> MemoryCollection:
    """All passages of the kept questions, filled up with every n-th other passage."""
    qrels, queries, wanted = {}, {}, set()
    for split in splits:
        kept = collection.queries(split)
        kept = kept[:: max(1, len(kept) // questions)][:questions]
        full = collection.qrels(split)
        qrels[split] = {query.id: full[query.id] for query in kept}
        queries.update({query.id: query for query in kept})
        wanted.update(passage for grades in qrels[split].values() for passage in grades)
    everything = list(collection.passages())
    step = max(1, len(everything) // passages)
    chosen = [p for place, p in enumerate(everything) if p.id in wanted or place % step == 0]
    return MemoryCollection("small squad", "squad", chosen, list(queries.values()), qrels)
