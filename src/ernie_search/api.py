"""The main job in a few calls: what the commands do, from Python."""

from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import ernie_search.model
from ernie_search._util.files import fingerprint
from ernie_search.data import chunk_passages, open_collection, validate
from ernie_search.data.collection import hold
from ernie_search.data.validation import first_of, inspect_collection
from ernie_search.encoding import EncodedCollection, encode_collection
from ernie_search.encoding.executors import Executor, LocalExecutor
from ernie_search.index import Store, open_index, passage_batch
from ernie_search.index.spec import check_same_model
from ernie_search.pipeline.recipe import load_recipe
from ernie_search.pipeline.runner import train_recipe
from ernie_search.pipeline.stage import Observer
from ernie_search.training import TrainResult
from ernie_search.types import Passage


def train(
    source: str,
    output: str | Path,
    recipe: str = "default",
    *,
    observer: Observer | None = None,
    **settings: Any,
) -> TrainResult:
    """Validate a collection and train on it; the same call resumes an interrupted training.

    Args:
        source: BEIR folder, ``api:``, ...; with a ``train`` split; ``dev`` chooses the best checkpoint.
        output: training folder: with one stage, its ``best`` and ``last``; with several, a folder each, and
            ``model``.
        recipe: a shipped one's name, or a YAML file.
        observer: told of every event.
        **settings: ``base``, ``layers``, ``seed``, ``lists`` (a folder of lists that are there already), and
            the settings of the stage, over the recipe's; with several stages say whose:
            ``**{"cascade.steps": 200}``.

    Raises:
        ErnieSearchError: see :func:`ernie_search.pipeline.run_recipe`.
    """
    chosen = load_recipe(recipe, settings)
    collection = hold(open_collection(source))
    validate(collection)
    return train_recipe(chosen, collection, Path(output), observer)


def build_index(
    source: str,
    model: str | Path,
    output: str | Path,
    *,
    chunk_words: int | None = None,
    chunk_overlap: int = 0,
    tokens: bool = True,
    shard_size: int = 4096,
    progress: Callable[[int], None] | None = None,
    executor: Executor | None = None,
    expect: Callable[[int], None] | None = None,
) -> EncodedCollection:
    """Validate a collection and encode it; the same call goes on with an interrupted one.

    Args:
        source: BEIR folder, ``api:``, ...
        model: a trained model's directory.
        output: folder of the index.
        chunk_words, chunk_overlap: cut longer passages into overlapping pieces of so many words; search then
            scores a document by its best piece.
        tokens: store token matrices, which late interaction needs.
        shard_size: passages a file.
        progress: called with the number of passages done since its last call.
        executor: where passages are encoded (``ernie_search.encoding.executors.open_executor``); by default
            in this process.
        expect: told how many passages there are before the first is encoded; not where they are cut.

    Raises:
        ErnieSearchError: see :func:`ernie_search.encoding.encode_collection`.
    """
    collection = open_collection(source)
    errors, info = inspect_collection(collection)
    if errors:
        raise first_of(errors)
    if expect is not None and info is not None and chunk_words is None:
        expect(info.passages)
    passages: Iterable[Passage] = collection.passages()
    data = collection.fingerprint
    if chunk_words is not None:
        passages = chunk_passages(passages, chunk_words, chunk_overlap)
        data = fingerprint(data, "chunks", chunk_words, chunk_overlap)
    # What is sent to other machines must not lie on a GPU of this one.
    device = None if executor is None or isinstance(executor, LocalExecutor) else "cpu"
    return encode_collection(
        ernie_search.model.load(model, device=device),
        passages,
        Path(output),
        data_fingerprint=data,
        shard_size=shard_size,
        with_tokens=tokens,
        model_path=model,
        progress=progress,
        executor=executor,
    )


def add_to_index(
    source: str,
    index: str | Path,
    model: str | Path,
    *,
    chunk_words: int | None = None,
    chunk_overlap: int = 0,
    block: int = 1024,
    progress: Callable[[int], None] | None = None,
) -> int:
    """Encode a collection's passages into a store that is there; those of the same id are replaced.

    Committed block by block, so that an interruption loses one at most; the same call again is no harm.

    Args:
        source: BEIR folder, ``api:``, ...
        index: the store's folder or address.
        model: directory of the model that made the store.
        chunk_words, chunk_overlap: as for ``build_index``.
        block: passages encoded and committed together.
        progress: called with the number of passages done since its last call.

    Returns:
        Passages written.

    Raises:
        IndexStateError: no such store, another model, or another writer at work.
        DataError: a collection that does not hold what it should.
    """
    collection = open_collection(source)
    validate(collection)
    passages: Iterable[Passage] = collection.passages()
    if chunk_words is not None:
        passages = chunk_passages(passages, chunk_words, chunk_overlap)
    store: Store = open_index(index, mode="w")
    written, stream = 0, iter(passages)
    try:
        encoder = ernie_search.model.load(model)
        check_same_model(store.spec, encoder.name, encoder.fingerprint)
        while some := list(islice(stream, block)):
            texts = [one.full_text for one in some]
            encoding = encoder.encode_joint(texts, "passage", tokens=store.has_tokens)
            written += store.upsert(passage_batch(some, encoding, encoder))
            store.commit()
            if progress is not None:
                progress(len(some))
    finally:
        store.close()
    return written
