"""The rates that ``scale`` computes with: measured on this machine, on a sample of the user's collection."""

import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np

from ernie_search.data import Collection
from ernie_search.encoding import encode_collection
from ernie_search.files import sha256_file
from ernie_search.hardware import cores, processor_name
from ernie_search.index import make_batch, make_spec, open_index
from ernie_search.index.ingest import load
from ernie_search.index.spec import spec_for
from ernie_search.model import JointEncoder
from ernie_search.process_memory import keep_freed_memory
from ernie_search.recipes.budget import PILOT_TEXTS, pairs_a_second, products_a_second, seconds_a_step
from ernie_search.recipes.estimate import pilot
from ernie_search.recipes.scale import Rates
from ernie_search.shards import read_manifest, read_shard, write_shard
from ernie_search.training import TrainSettings, prepare
from ernie_search.training.prepare import relevant

SAMPLE = 512
"""Passages encoded, packed and stored for the measurement."""
INDEXED = 20_000
"""Vectors that the approximate index is built over."""


def measure(
    model: JointEncoder,
    teacher: str,
    collection: Collection,
    work: Path,
    settings: TrainSettings | None = None,
) -> Rates:
    """Time a few passages, pairs, steps and writes; takes about two minutes on two cores.

    Args:
        model: that encodes and is trained.
        teacher: base or directory of the cross-encoder.
        collection: with a ``train`` split of some judged questions.
        work: an empty folder for a small store; what it holds afterwards can be deleted.
        settings: of the training steps.

    Raises:
        DataError, TrainingError: too few training questions for a batch.
        ModelError: the teacher cannot be had.
    """
    keep_freed_memory()
    settings = settings or TrainSettings(max_questions=0, evaluations=0)
    few = pilot(collection, settings.questions_per_batch)
    passages = list(islice(few.passages(), SAMPLE))
    texts = {passage.id: passage.full_text for passage in few.passages()}
    model.encode_joint([one.full_text for one in passages[:8]], "passage")
    shards = work / "shards"
    encoding = _seconds(
        lambda: encode_collection(model, passages, shards, data_fingerprint="sample", shard_size=SAMPLE)
    )
    manifest = read_manifest(shards)
    shard = read_shard(shards / manifest.shards[0].file)

    def pack() -> None:
        with open(work / "packed", "wb") as handle:
            write_shard(handle, shard)
        sha256_file(work / "packed")

    packing = min(_seconds(pack) for _ in range(3))
    with open_index(work / "store", spec_for(manifest, {}), "w") as store:
        storing = _seconds(lambda: (load(store, shards), store.commit()))
    pairs = [(query.text, texts[relevant(few.qrels("train"), query.id)[0]]) for query in few.queries("train")]
    step = seconds_a_step(model, prepare(few, settings), settings)
    return Rates(
        passages_a_second=round(len(passages) / encoding, 2),
        pairs_a_second=round(pairs_a_second(teacher, None, pairs[:PILOT_TEXTS]), 2),
        seconds_a_step=round(step, 4),
        questions_per_batch=settings.questions_per_batch,
        products_a_second=round(products_a_second(manifest.dim)),
        stored_a_second=round(len(passages) / storing, 1),
        packed_bytes_a_second=round((work / "packed").stat().st_size / packing),
        dim=manifest.dim,
        token_dim=manifest.token_dim,
        tokens_a_passage=round(manifest.tokens / len(passages), 1),
        text_bytes=round(sum(len(one.full_text.encode()) for one in passages) / len(passages), 1),
        index_a_second=round(INDEXED / _indexing(shard.dense, work / "ann"), 1),
        index_passages=INDEXED,
        machine=f"{cores()} cores of {processor_name()}, {model.device}",
    )


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _indexing(real: "np.ndarray[tuple[int, int], np.dtype[np.float32]]", folder: Path) -> float:
    """Seconds to build the approximate index over copies of real vectors with noise."""
    random = np.random.default_rng(0)
    chosen = real[random.integers(0, len(real), INDEXED)]
    noisy = chosen + 0.4 / np.sqrt(real.shape[1]) * random.standard_normal(chosen.shape, dtype=np.float32)
    ids = [f"p{number}" for number in range(INDEXED)]
    blank = [""] * INDEXED
    dim = real.shape[1]
    spec = make_spec(model_name="sample", model_fingerprint="0", dim=dim, exact_below=256)
    with open_index(folder, spec, "w") as store:
        store.upsert(
            make_batch(
                model_name="sample",
                model_fingerprint="0",
                ids=ids,
                titles=blank,
                texts=ids,
                fields=["{}"] * INDEXED,
                dense=noisy.astype(np.float32),
            )
        )
        store.commit()
        return _seconds(store.optimize)
