"""Which earlier stage gives a stage its model, lists and teacher; an order without them is refused."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from ernie_search.errors import SettingsError
from ernie_search.recipes.given_lists import GivenLists
from ernie_search.recipes.kinds import MineStage, ScoreStage
from ernie_search.recipes.stage import Stage

LISTS_FROM = "put a mine before it, or give lists that are there already, with --lists"
Found = TypeVar("Found", bound=str | GivenLists)


@dataclass(frozen=True, slots=True)
class Inputs:
    """Names of the earlier stages that a stage reads; ``None`` where it reads none.

    Attributes:
        model: the last training before it; without one, a training starts from the recipe's base.
        lists: the stage whose lists it reads, or the lists that were given to the recipe.
        teacher: the stage whose cross-encoder it uses.
    """

    model: str | None = None
    lists: str | GivenLists | None = None
    teacher: str | None = None

    @property
    def named(self) -> dict[str, str]:
        """The stages among them, by what they give."""
        all_three = {"model": self.model, "lists": self.lists, "teacher": self.teacher}
        return {what: stage for what, stage in all_three.items() if isinstance(stage, str)}


@dataclass(frozen=True, slots=True)
class _Sofar:
    """What the stages before a stage have made.

    ``fewest``: negatives of the shortest list; ``shortage``: why, and what to do where more are wanted.
    """

    model: str | None = None
    mined: str | GivenLists | None = None
    lists: str | GivenLists | None = None
    scored: bool = False
    teacher: str | None = None
    fewest: int = 0
    shortage: str = ""


def wire(stages: Sequence[Stage], given: GivenLists | None = None) -> list[Inputs]:
    """The inputs of each stage.

    Args:
        stages: in their order.
        given: lists that were made before; they are what the stages read until one of them makes others.

    Raises:
        SettingsError: a stage whose input no stage before it makes. It names the stage and what to put
            before it.
    """
    sofar, found = _start(given), []
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
    return found


def check_whole(stages: Sequence[Stage], wired: Sequence[Inputs], given: GivenLists | None) -> None:
    """What a whole recipe must do, beside the order of its stages.

    Raises:
        SettingsError: it trains no model, or no stage reads the lists that were given to it.
    """
    if all(stage.training is None for stage in stages):
        raise SettingsError("no stage trains a model; add a stage such as '- warm-up: {steps: 80}'")
    if given is not None and all(inputs.lists is not given for inputs in wired):
        raise SettingsError(
            f"no stage reads the lists in {given.folder}, as a teacher, score or cascade with no mine before "
            "it does; leave them out, or take a recipe such as cascade"
        )


def _start(given: GivenLists | None) -> _Sofar:
    if given is None:
        return _Sofar()
    shortest = given.sizes.shortest
    shortage = (
        f"the shortest list in {given.folder} has {shortest}; lower negatives, or make longer lists: "
        "mine --number, denoise --keep-at-least"
    )
    scored = given.lists.scored
    return _Sofar(mined=given, lists=given, scored=scored, fewest=shortest, shortage=shortage)


def _inputs(stage: Stage, sofar: _Sofar) -> Inputs:
    def needs(what: Found | None, reason: str) -> Found:
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
        return Inputs(lists=needs(sofar.lists, f"trains on mined lists; {LISTS_FROM}"))
    if stage.kind == "score":
        return Inputs(
            lists=needs(sofar.mined, f"scores mined lists; {LISTS_FROM}"),
            teacher=needs(sofar.teacher, "needs a teacher to score with; put a teacher before it"),
        )
    return _cascade(stage, sofar)


def _cascade(stage: Stage, sofar: _Sofar) -> Inputs:
    settings = stage.training
    if sofar.lists is None or settings is None:
        raise SettingsError(f"stage {stage.name!r} trains on mined lists; {LISTS_FROM}")
    if settings.cross_terms and not sofar.scored:
        if isinstance(sofar.lists, GivenLists):
            unscored = f"in {sofar.lists.folder} have no scores; score them first (ernie-search score)"
        else:
            unscored = f"of {sofar.lists!r} have no scores; put a score before it"
        raise SettingsError(
            f"stage {stage.name!r} has {settings.cross_terms[0]}_weight above 0, and the lists {unscored}, "
            "or set the weight to 0"
        )
    if settings.negatives > sofar.fewest:
        raise SettingsError(f"stage {stage.name!r} has negatives={settings.negatives}, and {sofar.shortage}")
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
        return {"fewest": settings.number, "shortage": _shortage(f"{stage.name}.number={settings.number}")}
    if isinstance(settings, ScoreStage) and not (settings.maximum is None and settings.margin is None):
        least = settings.keep_at_least
        if least < sofar.fewest:
            return {"fewest": least, "shortage": _shortage(f"{stage.name}.keep_at_least={least}")}
    return {}


def _shortage(setting: str) -> str:
    return f"{setting} can leave lists of fewer; raise that one, or lower negatives"


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
