"""Models between the base and the adapted one: the untrained weights of tokens, and means of all weights."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch

from ernie_search._util.files import atomic_directory
from ernie_search.data import Collection
from ernie_search.errors import ModelError
from ernie_search.model import JointEncoder, ScoreSettings, from_base, load, load_joint
from ernie_search.model.pooling import keep_positive, word_weights
from ernie_search.runtime.settings import SETTINGS_FILE
from ernie_search.training import TrainSettings
from ernie_search.training.beginning import begin

TokenWeights = Literal["root", "idf"]
"""What a token weighs in the single vector before any training: the root of its idf, or its idf."""


def save_start(
    base: str, collection: Collection, settings: TrainSettings, folder: Path, weights: TokenWeights
) -> None:
    """Save what the training begins with: the base, its tokens weighted, and a head by PCA.

    A base whose tokens are weighted already, as an adapted one's, keeps its weights.

    Args:
        base: a name or a directory.
        collection: whose passages say how often a token occurs.
        settings: of the training, for its length of questions, its seed, its pooling and its head.
        folder: of the model, which appears whole or not at all.
        weights: of its tokens.

    Raises:
        ModelError: the base cannot be had, or its pooling cannot be changed.
    """
    joint = (Path(base) / SETTINGS_FILE).is_file()
    before = ScoreSettings.read(Path(base)) if joint else ScoreSettings()
    # As long as the base reads, whatever the training does: a candidate must not lose by reading less.
    passage_length = load(base, device="cpu").length_of("passage")
    lengths = {"query_length": settings.query_length, "passage_length": passage_length}
    model = from_base(base, settings=before.model_copy(update=lengths), seed=settings.seed, device="cpu")
    begin(model, collection, settings.model_copy(update={"pooling_start": weights}), fresh=not joint)
    with atomic_directory(folder) as temporary:
        model.save(str(temporary), create_model_card=False)


def blend(start: Path, adapted: Path, share: float) -> JointEncoder:
    """The model whose every weight is ``share`` of the way from one model to another of the same shape.

    Raises:
        ModelError: they are not of the same shape.
    """
    model = load_joint(start, device="cpu")
    if share > 0:
        model.load_state_dict(
            mixed(model.state_dict(), load_joint(adapted, device="cpu").state_dict(), share)
        )
    weigher = word_weights(model)
    if weigher is not None:
        keep_positive(weigher.emb_layer.weight)
    return model.eval()


def mixed(first: Mapping[str, Any], second: Mapping[str, Any], share: float) -> dict[str, Any]:
    """``(1 - share) first + share second``, by name; what is no number of its own stays the first's."""
    if first.keys() != second.keys() or any(first[name].shape != second[name].shape for name in first):
        raise ModelError(
            "the two models have other weights than each other, so there is nothing between them"
        )
    return {
        name: torch.lerp(value, second[name].to(value.dtype), share) if value.is_floating_point() else value
        for name, value in first.items()
    }
