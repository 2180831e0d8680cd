"""The main job in a few calls: what the commands do, from Python."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import ernie_search.model
from ernie_search.data import chunk_passages, open_collection, validate
from ernie_search.encoding import EncodedCollection, encode_collection
from ernie_search.files import fingerprint
from ernie_search.hardware import keep_freed_memory
from ernie_search.recipes.engine import Observer
from ernie_search.recipes.recipe import load_recipe
from ernie_search.recipes.run import train_recipe
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
    """Validate a collection and train on it; the same call goes on with an interrupted run.

    Args:
        source: BEIR folder, ``api:``, ...; with a ``train`` split; ``dev`` chooses the best checkpoint.
        output: folder of the run: with one stage, its ``best`` and ``last``; with several, a folder each, and
            ``model``.
        recipe: a shipped one's name, or a YAML file.
        observer: told of every event.
        **settings: ``base``, ``layers``, ``seed``, and the settings of the stage, over the recipe's; with
            several stages say whose: ``**{"cascade.steps": 200}``.

    Raises:
        ErnieSearchError: see :func:`ernie_search.recipes.run_recipe`.
    """
    chosen = load_recipe(recipe, settings)
    collection = open_collection(source)
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

    Raises:
        ErnieSearchError: see :func:`ernie_search.encoding.encode_collection`.
    """
    keep_freed_memory()
    collection = open_collection(source)
    validate(collection)
    passages: Iterable[Passage] = collection.passages()
    data = collection.fingerprint
    if chunk_words is not None:
        passages = chunk_passages(passages, chunk_words, chunk_overlap)
        data = fingerprint(data, "chunks", chunk_words, chunk_overlap)
    return encode_collection(
        ernie_search.model.load(model),
        passages,
        Path(output),
        data_fingerprint=data,
        shard_size=shard_size,
        with_tokens=tokens,
        model_path=model,
        progress=progress,
    )
