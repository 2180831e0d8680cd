"""What token-level attention needs of its teacher, asked before anything runs: a tokenizer and a layer."""

from collections.abc import Sequence
from typing import Any

from transformers import AutoConfig

from ernie_search.errors import ModelError
from ernie_search.model.alignment import compare_tokenizers
from ernie_search.model.attention_maps import check_layer
from ernie_search.model.base import resolve_base
from ernie_search.model.saved_files import one_line
from ernie_search.model.tokenizer import open_tokenizer
from ernie_search.recipes.given_lists import GivenLists
from ernie_search.recipes.kinds import TeacherStage
from ernie_search.recipes.order import wire
from ernie_search.recipes.stage import Stage
from ernie_search.teacher import Teachers


def check_attention_teachers(stages: Sequence[Stage], base: str, lists: GivenLists | None = None) -> None:
    """Refuse a training whose attention teacher does not suit it, hours before it would refuse itself.

    Every model of a recipe reads as its base does, so the tokenizers of the bases are enough. What cannot be
    opened by itself is left to the stage that loads its model.

    Args:
        stages: of a recipe, in their order.
        base: of the student.
        lists: given to the recipe.

    Raises:
        ModelError: teacher and student read other tokens (it says which), or the teacher has no such layer.
    """
    by_name = {stage.name: stage for stage in stages}
    for stage, inputs in zip(stages, wire(stages, lists), strict=True):
        if stage.training is None or stage.training.attention_weight <= 0 or inputs.teacher is None:
            continue
        student, source = _opened(base), by_name[inputs.teacher]
        for model in _models(source):
            teacher = _opened(model)
            if student is not None and teacher is not None:
                compare_tokenizers(teacher, student)
            layers = _layers(model, source)
            if layers is not None:
                check_layer(model, layers, stage.training.attention_layer)


def _models(stage: Stage) -> list[str]:
    """What the teachers are, or are trained from."""
    settings = stage.settings
    if not isinstance(settings, TeacherStage):
        return []
    if settings.use is None:
        return [settings.base]
    try:
        return [str(model) for model in Teachers.open(settings.use).models]
    except ModelError:
        return []


def _layers(model: str, source: Stage) -> int | None:
    """Of the teacher: those that its stage keeps, or all that its config counts."""
    settings = source.settings
    if isinstance(settings, TeacherStage) and settings.layers and not settings.use:
        return settings.layers
    try:
        with one_line(f"{model}: its config cannot be read"):
            return int(AutoConfig.from_pretrained(resolve_base(model)).num_hidden_layers)
    except ModelError:
        return None


def _opened(model: str) -> Any:
    try:
        return open_tokenizer(model)
    except ModelError:
        return None
