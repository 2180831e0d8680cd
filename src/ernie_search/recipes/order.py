"""Which earlier stage gives a stage its model, lists and teacher; an order without them is refused."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ernie_search.errors import SettingsError
from ernie_search.recipes.kinds import MineStage, ScoreStage
from ernie_search.recipes.stage import Stage


@dataclass(frozen=True, slots=True)
class Inputs:
    """Names of the earlier stages that a stage reads; ``None`` where it reads none.

    Attributes:
        model: the last training before it; without one, a training starts from the recipe's base.
        lists: the stage whose lists it reads.
        teacher: the stage whose cross-encoder it uses.
    """

    model: str | None = None
    lists: str | None = None
    teacher: str | None = None

    @property
    def named(self) -> dict[str, str]:
        """What there is, by what it is."""
        all_three = {"model": self.model, "lists": self.lists, "teacher": self.teacher}
        return {what: stage for what, stage in all_three.items() if stage is not None}


@dataclass(frozen=True, slots=True)
class _Sofar:
    """What the stages before a stage have made; ``fewest``: negatives of the shortest list."""

    model: str | None = None
    mined: str | None = None
    lists: str | None = None
    scored: bool = False
    teacher: str | None = None
    fewest: int = 0
    fewest_by: str = ""


def wire(stages: Sequence[Stage]) -> list[Inputs]:
    """The inputs of each stage.

    Raises:
        SettingsError: a stage whose input no stage before it makes, or no training at all. It names the
            stage and what to put before it.
    """
    sofar, found = _Sofar(), []
    for stage in stages:
        inputs = _inputs(stage, sofar)
        found.append(inputs)
        if stage.training is not None:
            sofar = replace(sofar, model=stage.name)
        elif stage.kind == "mine":
            sofar = replace(sofar, mined=stage.name, lists=stage.name, scored=False, **_fewest(stage, sofar))
        elif stage.kind == "teacher":
            sofar = replace(sofar, teacher=stage.name)
        else:
            sofar = replace(sofar, lists=stage.name, scored=True, **_fewest(stage, sofar))
    if sofar.model is None:
        raise SettingsError("no stage trains a model; add a stage such as '- warm-up: {steps: 80}'")
    return found


def _inputs(stage: Stage, sofar: _Sofar) -> Inputs:
    def needs(what: str | None, reason: str) -> str:
        if what is None:
            raise SettingsError(f"stage {stage.name!r} {reason}")
        return what

    if stage.training is not None and sofar.model is None:
        _no_frozen_teacher(stage)
    if stage.kind == "warm-up":
        _no_teacher(stage)
        return Inputs(model=sofar.model)
    if stage.kind == "mine":
        return Inputs(model=needs(sofar.model, "mines with a trained model; put a warm-up before it"))
    if stage.kind == "teacher":
        if getattr(stage.settings, "use", None):
            return Inputs()
        return Inputs(lists=needs(sofar.lists, "trains on mined lists; put a mine before it"))
    if stage.kind == "score":
        return Inputs(
            lists=needs(sofar.mined, "scores mined lists; put a mine before it"),
            teacher=needs(sofar.teacher, "needs a teacher to score with; put a teacher before it"),
        )
    return _cascade(stage, sofar)


def _cascade(stage: Stage, sofar: _Sofar) -> Inputs:
    settings = stage.training
    if sofar.lists is None or settings is None:
        raise SettingsError(f"stage {stage.name!r} trains on mined lists; put a mine before it")
    if settings.cross_terms and not sofar.scored:
        raise SettingsError(
            f"stage {stage.name!r} has {settings.cross_terms[0]}_weight above 0, and the lists of "
            f"{sofar.lists!r} have no scores; put a score before it, or set the weight to 0"
        )
    if settings.negatives > sofar.fewest:
        raise SettingsError(
            f"stage {stage.name!r} has negatives={settings.negatives}, and {sofar.fewest_by} can leave lists "
            "of fewer; raise that one, or lower negatives"
        )
    teacher = None
    if settings.attention_weight > 0:
        teacher = sofar.teacher
        if teacher is None:
            raise SettingsError(
                f"stage {stage.name!r} has attention_weight above 0, and no stage before it makes a teacher; "
                "put a teacher before it, or set the weight to 0"
            )
    return Inputs(model=sofar.model, lists=sofar.lists, teacher=teacher)


def _fewest(stage: Stage, sofar: _Sofar) -> dict[str, Any]:
    """The shortest list that a stage leaves; a training takes as many negatives of every list."""
    settings = stage.settings
    if isinstance(settings, MineStage):
        return {"fewest": settings.number, "fewest_by": f"{stage.name}.number={settings.number}"}
    if isinstance(settings, ScoreStage) and not (settings.maximum is None and settings.margin is None):
        least = settings.keep_at_least
        if least < sofar.fewest:
            return {"fewest": least, "fewest_by": f"{stage.name}.keep_at_least={least}"}
    return {}


def _no_teacher(stage: Stage) -> None:
    settings = stage.training
    if settings is None:
        return
    terms = [*settings.cross_terms, *(["attention"] if settings.attention_weight > 0 else [])]
    if terms:
        raise SettingsError(
            f"stage {stage.name!r} has {terms[0]}_weight above 0, and a warm-up has no teacher; "
            "set it in a cascade after a score"
        )


def _no_frozen_teacher(stage: Stage) -> None:
    """A recipe's frozen teacher is the model that the training starts from; the base has no token head."""
    settings = stage.training
    frozen = settings is not None and settings.interaction_teacher == "frozen"
    if frozen and settings is not None and settings.interaction_weight > 0:
        raise SettingsError(
            f"stage {stage.name!r} has interaction_teacher=frozen, and no training before it makes that "
            "teacher; put a warm-up before it, or set interaction_teacher=late"
        )
