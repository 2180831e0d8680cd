"""The main job in a few calls: what the commands do, from Python."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ernie_search.data import open_collection, validate
from ernie_search.data.collection import hold
from ernie_search.encoding.build import make_index
from ernie_search.index import Index

if TYPE_CHECKING:
    from ernie_search.pipeline.stage import Observer
    from ernie_search.training import TrainResult


def train(
    source: str,
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


def build_index(source: str | Path, model: str | Path | None, output: str | Path, **options: Any) -> Index:
    """Make an index of a collection, or bring it up to date; the same call resumes an interrupted one.

    Args:
        source: BEIR folder, ``api:``, ..., or a folder of shards, which needs no model.
        model: a trained model's directory.
        output: a folder, ``memory://``, or ``qdrant+http://host:6333/name``.
        **options: ``chunk_words``, ``tokens``, ...: see :func:`ernie_search.encoding.build.make_index`.

    Returns:
        The finished index, open for reading; ``Searcher.open`` takes it, or its folder.

    Raises:
        ErnieSearchError: see :func:`ernie_search.encoding.build.make_index`.
    """
    return make_index(source, model, output, **options).index
