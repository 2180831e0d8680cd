"""The main job in a few calls: what the commands do, from Python."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ernie_search.data import open_collection, validate
from ernie_search.data.collection import hold
from ernie_search.data.sources import open_documents
from ernie_search.encoding.build import make_index
from ernie_search.encoding.sync import noted_model, sync_folder
from ernie_search.errors import SettingsError
from ernie_search.index import Index, open_index
from ernie_search.index.opening import is_shards, on_disk
from ernie_search.runtime import default_model

if TYPE_CHECKING:
    from ernie_search.pipeline.stage import Observer
    from ernie_search.training import TrainResult


def train(
    source: str | Path,
    output: str | Path,
    recipe: str = "default",
    *,
    observer: "Observer | None" = None,
    **settings: Any,
) -> "TrainResult":
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
    from ernie_search.pipeline.recipe import load_recipe  # torch, which the extra "train" brings
    from ernie_search.pipeline.runner import train_recipe

    chosen = load_recipe(recipe, settings)
    collection = hold(open_collection(source))
    validate(collection)
    return train_recipe(chosen, collection, Path(output), observer)


def build_index(
    source: str | Path, model: str | Path | None = None, output: str | Path = ".ernie-search", **options: Any
) -> Index:
    """Make an index of documents or a collection, or bring it up to date; interrupted, it resumes.

    Args:
        source: a folder of documents, a BEIR folder, ``api:``, ..., or a folder of shards, which needs no
            model. An index of documents is kept in step with their folder: see
            :func:`ernie_search.encoding.sync.sync_folder`.
        model: a directory or hub name; by default the model that made the index, or for a new one the
            bundled model if it is installed, else ``sentence-transformers/all-MiniLM-L6-v2``.
        output: a folder (the commands' default one if not given), ``memory://``, or
            ``qdrant+http://host:6333/name``.
        **options: ``chunk_words``, ``tokens``, ...: see :func:`ernie_search.encoding.build.make_index`.

    Returns:
        The finished index, open for reading; ``Searcher.open`` takes it, or its folder.

    Raises:
        ErnieSearchError: see :func:`ernie_search.encoding.build.make_index`.
    """
    files = open_documents(str(source)) if on_disk(output) and not is_shards(Path(source)) else None
    if files is None:
        return make_index(source, model or _model_of(source, output), output, **options).index
    if options.pop("chunk_overlap", 0):
        raise SettingsError(
            "chunk_overlap: documents are cut between paragraphs, without overlap; leave it out"
        )
    words = options.pop("chunk_words", None)
    found = sync_folder(files, model, output, default_model=default_model, words=words, **options)
    return open_index(found.folder)


def _model_of(source: str | Path, output: str | Path) -> str | None:
    """The model that made the index, or the default one; None for shards."""
    if is_shards(Path(source)):
        return None
    return noted_model(output) or default_model()
