"""What a recipe is going to do: each stage with its size, how far it is, and about how long it takes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from ernie_search.data import Collection
from ernie_search.recipes.attention_teacher import check_attention_teachers
from ernie_search.recipes.engine import State, done_as, fingerprints, state_of
from ernie_search.recipes.given_lists import GivenLists
from ernie_search.recipes.how_far import share_left
from ernie_search.recipes.kinds import KINDS, MineStage, TeacherStage
from ernie_search.recipes.manifest import StageManifest, weights_identity
from ernie_search.recipes.order import Inputs, wire
from ernie_search.recipes.recipe import Recipe
from ernie_search.recipes.run import folder_of
from ernie_search.recipes.stage import Stage
from ernie_search.teacher.train import check_same_data
from ernie_search.training.prepare import relevant


@dataclass(frozen=True, slots=True)
class Sizes:
    """What a stage works through; 0 where it does none of that.

    Attributes:
        text: for people.
        steps, passages, questions: of the stage.
        pairs: of question and passage that a cross-encoder reads.
    """

    text: str
    steps: int = 0
    passages: int = 0
    questions: int = 0
    pairs: int = 0


@dataclass(frozen=True, slots=True)
class PlannedStage:
    """One line of the plan.

    Attributes:
        stage, what: what is done, and in words.
        sizes: of the whole stage.
        state, left: how far it is, and the share of its work that is left.
    """

    stage: Stage
    what: str
    sizes: Sizes
    state: State
    left: float = 1.0


@dataclass(frozen=True, slots=True)
class Plan:
    """All stages of a recipe over a collection.

    Attributes:
        stages: in their order.
        passages, questions: of the collection, and of its ``train`` split with a positive.
        seconds: estimates by stage of what is left, where they were made.
        lists: those that were given to the recipe.
    """

    stages: list[PlannedStage]
    passages: int
    questions: int
    seconds: Mapping[str, float] = field(default_factory=dict)
    lists: GivenLists | None = None


def make_plan(recipe: Recipe, collection: Collection, output: Path | None) -> Plan:
    """Sizes and states; writes nothing.

    Args:
        recipe: what to do.
        collection: read once, for its counts.
        output: folder of the run; ``None`` for one that does not exist yet.

    Raises:
        TrainingError, StorageError: a stage in the folder is another one, or was altered.
        DataError: no ``train`` split, or given lists of another collection.
        ModelError: attention is to teach, and teacher and student have other tokenizers.
    """
    if recipe.lists is not None:
        check_same_data(recipe.lists.lists, collection)
    check_attention_teachers(recipe.stages, recipe.base, recipe.lists)
    passages = sum(1 for _ in collection.passages())
    qrels = collection.qrels("train")
    questions = sum(1 for query in qrels if relevant(qrels, query))
    identity, data = weights_identity(recipe.base), collection.fingerprint
    made: dict[str, StageManifest] = {}
    planned = []
    lists: dict[str, tuple[int, int]] = {}
    for stage, inputs in zip(recipe.stages, wire(recipe.stages, recipe.lists), strict=True):
        state: State = "to do"
        folder = None if output is None else folder_of(recipe, output, stage)
        if folder is not None:
            state = state_of(folder)
            known = _known(inputs, made)
            if state == "done" and known:
                read = fingerprints(stage, inputs, made, data, identity, recipe.layers)
                found = done_as(stage, folder, read)
                if found is not None:
                    made[stage.name] = found
        sizes = _sizes(stage, inputs, passages, questions, lists)
        left = share_left(stage, folder, state, lists=sizes.questions, passages=passages)
        planned.append(PlannedStage(stage, _what(stage), sizes, state, left))
    return Plan(planned, passages, questions, lists=recipe.lists)


def plan_table(plan: Plan, title: str) -> Table:
    """A line for given lists, and a line a stage; with estimates, a column for them and their sum."""
    table = Table(title=Text(title), title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in ("stage", "what", "size"):
        table.add_column(name, overflow="fold")
    table.add_column("state")
    if plan.seconds:
        table.add_column("about", justify="right")
    if plan.lists is not None:
        cells = ["lists", f"made before, in {plan.lists.folder}", plan.lists.text, "given"]
        table.add_row(*map(Text, cells))
    for one in plan.stages:
        cells = [one.stage.name, one.what, one.sizes.text, one.state]
        if plan.seconds:
            cells.append("-" if one.state == "done" else duration(plan.seconds[one.stage.name]))
        table.add_row(*map(Text, cells))
    if plan.seconds:
        left = sum(plan.seconds.values())
        table.add_row(*map(Text, ("all that is left", "", "", "", duration(left))))
    return table


def duration(seconds: float) -> str:
    """``40 s``, ``12 min``, ``3.5 h``: no more exact than an estimate is."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _known(inputs: Inputs, made: Mapping[str, StageManifest]) -> bool:
    """Whether all that the stage reads is done, so that it can be compared with what it was made from."""
    return all(name in made for name in inputs.named.values())


def _what(stage: Stage) -> str:
    if isinstance(stage.settings, TeacherStage) and stage.settings.use:
        return "take a ready cross-encoder"
    if stage.training is not None and stage.kind == "cascade" and not stage.training.cross_terms:
        return "train the joint model on the mined lists"
    return KINDS[stage.kind].what


def _sizes(
    stage: Stage, inputs: Inputs, passages: int, questions: int, lists: dict[str, tuple[int, int]]
) -> Sizes:
    """The stage's sizes; ``lists`` gathers how many lists a mine makes, and how long they are."""
    settings = stage.settings
    if stage.training is not None:
        train = stage.training
        group = f"{train.questions_per_batch} x (1 + {train.negatives})"
        return Sizes(f"{train.steps:,} steps x {group}", steps=train.steps)
    if isinstance(settings, MineStage):
        asked = min(settings.max_questions or questions, questions)
        lists[stage.name] = (asked, settings.number)
        text = f"{passages:,} passages; {asked:,} questions x {settings.number}"
        return Sizes(text, passages=passages, questions=asked)
    if isinstance(settings, TeacherStage):
        if settings.use:
            return Sizes(settings.use)
        lists_read = settings.folds * settings.steps * settings.questions_per_batch
        text = (
            f"{settings.folds} x {settings.steps:,} steps x {settings.questions_per_batch} "
            f"x (1 + {settings.negatives})"
        )
        return Sizes(text, steps=settings.folds * settings.steps, pairs=lists_read * (1 + settings.negatives))
    if isinstance(inputs.lists, GivenLists):
        asked, sizes = len(inputs.lists.lists), inputs.lists.sizes
        pairs = sizes.positives + sizes.negatives
        return Sizes(f"{asked:,} lists = {pairs:,} pairs", questions=asked, pairs=pairs)
    asked, number = lists[inputs.lists or ""]
    pairs = asked * (1 + number)
    return Sizes(f"{asked:,} x (1 + {number}) = {pairs:,} pairs", questions=asked, pairs=pairs)
