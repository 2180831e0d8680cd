"""The interface of a stage of a pipeline: its inputs and outputs, its size, its duration, its work."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar

from pydantic import BaseModel

from ernie_search._util.settings import parse_typed
from ernie_search.data import Collection
from ernie_search.errors import ModelError, SettingsError
from ernie_search.mining import Lists, ListSizes
from ernie_search.teacher import Teachers
from ernie_search.training import TrainSettings

LISTS_FROM = "put a mine before it, or give lists that are there already, with --lists"
READY_FINGERPRINT = "ready_fingerprint"
"""In a manifest's counts: the fingerprint of a ready cross-encoder when it was taken."""
QUESTION_SHARE = 0.3
"""Encoding time of a question, as a share of a passage's."""

S = TypeVar("S", bound=BaseModel)
T = TypeVar("T")

Observer = Callable[[str, dict[str, Any]], None]
"""Called with ``stage`` (one begins: name, kind, state), ``stage-done`` (name, kind, seconds, counts, and in
``reported`` those that are shown, in words), ``progress`` (what, done, total), and every training's events.
"""


@dataclass(frozen=True, slots=True)
class GivenLists:
    """A folder of lists from ``mine``, ``score`` or ``denoise`` that a recipe starts with, with sizes."""

    lists: Lists
    sizes: ListSizes

    @staticmethod
    def open(folder: Path) -> "GivenLists":
        """Open lists; all are read, for the shortest.

        Raises:
            StorageError: there are none.
            DataError: they are broken, or were altered since they were written.
        """
        lists = Lists.open(folder)
        return GivenLists(lists, lists.sizes())

    @property
    def folder(self) -> Path:
        """The folder of the lists."""
        return self.lists.folder

    @property
    def fingerprint(self) -> str:
        """16 hex digits of the lists and their collection, wherever they lie."""
        return self.lists.fingerprint

    @property
    def text(self) -> str:
        """A description for users."""
        scores = "scored" if self.lists.scored else "no scores"
        return f"{len(self.lists):,} lists of {self.sizes.shortest} negatives or more, {scores}"


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
        """The inputs that come from stages: names of the stages by the kind of input."""
        all_three = {"model": self.model, "lists": self.lists, "teacher": self.teacher}
        return {what: stage for what, stage in all_three.items() if isinstance(stage, str)}


@dataclass(frozen=True, slots=True)
class Available:
    """What a stage may read, because the stages before it make it.

    Attributes:
        model, teacher: the last training, and the last stage that makes a teacher.
        mined, lists: the last lists as they were mined, and the last lists of all; ``scored`` says whether
            these have a teacher's scores.
        fewest: negatives of the shortest list.
        shortage: why it is so short, and what to do where more are wanted.
    """

    model: str | None = None
    mined: str | GivenLists | None = None
    lists: str | GivenLists | None = None
    scored: bool = False
    teacher: str | None = None
    fewest: int = 0
    shortage: str = ""

    @staticmethod
    def at_start(given: GivenLists | None) -> "Available":
        """What a recipe's first stage may read: the given lists, if any."""
        if given is None:
            return Available()
        shortest = given.sizes.shortest
        lower = "lower negatives, or " if shortest else ""  # terms that need a teacher's scores refuse 0
        shortage = (
            f"the shortest list in {given.folder} has {shortest}; {lower}make longer lists: "
            "mine --number, denoise --keep-at-least"
        )
        scored = given.lists.scored
        return Available(mined=given, lists=given, scored=scored, fewest=shortest, shortage=shortage)

    def with_fewest(self, fewest: int, setting: str) -> "Available":
        """The same, with shorter lists because of a setting."""
        shortage = f"{setting} can leave lists of fewer; raise that one, or lower negatives"
        return replace(self, fewest=fewest, shortage=shortage)


@dataclass(frozen=True, slots=True)
class TeacherModel:
    """The cross-encoder that a stage makes or takes, according to its settings.

    Attributes:
        base: what it is trained from, or the ready one's directory or name.
        layers: of the base that are kept; ``None`` keeps all.
        max_length: tokens that it reads of a pair.
        ready: whether it is taken as it is.
    """

    base: str
    layers: int | None
    max_length: int
    ready: bool


@dataclass(frozen=True, slots=True)
class ListCount:
    """The lists that a stage makes: ``text`` for users, their number, and the number of their pairs."""

    text: str
    number: int
    pairs: int


@dataclass(frozen=True, slots=True)
class Sizes:
    """The amount of a stage's work, by kind; 0 for what it does not do.

    Attributes:
        text: for users.
        steps, passages, questions: of the stage.
        pairs: of question and passage that a cross-encoder reads.
        made: the lists that it makes from mined passages.
    """

    text: str
    steps: int = 0
    passages: int = 0
    questions: int = 0
    pairs: int = 0
    made: ListCount | None = None


class Rates(Protocol):
    """Speeds of this machine, each measured when it is first needed."""

    @property
    def passages_per_second(self) -> float:
        """Passages encoded per second, both readings."""

    @property
    def pairs_per_second(self) -> float:
        """Pairs that the recipe's cross-encoder scores per second."""

    @property
    def products_per_second(self) -> float:
        """Products of a question's and a passage's vector per second in exact search."""

    def seconds_per_step(self, settings: TrainSettings) -> float:
        """Seconds of a joint training step, without a cross-encoder's work for it."""


@dataclass(frozen=True, slots=True)
class InputPaths:
    """Paths of the inputs of a stage.

    Attributes:
        model: directory of the model to start from, or the recipe's base.
        layers: to keep of the base; ``None`` for a directory of an earlier stage.
        lists: folder of lists.
        teacher: folder of teachers, or the name of a ready cross-encoder.
        frozen: directory of a frozen late-interaction teacher.
        teacher_fingerprint: of a ready cross-encoder when it was taken; ``None`` for teachers of a stage's
            own, whose folder says what they must be.
    """

    model: str
    layers: int | None = None
    lists: Path | None = None
    teacher: Path | str | None = None
    frozen: Path | None = None
    teacher_fingerprint: str | None = None

    def open_lists(self) -> Lists | None:
        """The lists, if there are any.

        Raises:
            StorageError, DataError: they are not there, or were altered.
        """
        return None if self.lists is None else Lists.open(self.lists)

    def open_teacher(self) -> Teachers | None:
        """The teachers, if there are any.

        Raises:
            ModelError: the ready cross-encoder is no longer the one that was taken.
        """
        if self.teacher is None:
            return None
        found = Teachers.open(self.teacher)
        if self.teacher_fingerprint not in (None, found.fingerprint):
            raise ModelError(
                f"{self.teacher}: not the cross-encoder that this training began with (its fingerprint "
                "differs); put that one back, or choose another output folder"
            )
        return found


@dataclass(frozen=True, slots=True)
class Task:
    """What a stage is executed with: the collection, its own folder, its inputs, and the observer."""

    collection: Collection
    folder: Path
    inputs: InputPaths
    observer: Observer


@dataclass(frozen=True, slots=True)
class Done:
    """What a finished stage returns.

    Attributes:
        gives: what later stages read: a path inside the folder, or the name of a ready model.
        outputs: files and folders inside the folder that must stay as they are; at least one, each there.
        timed: other such files, which hold durations: done again, the stage is the same without them.
        counts: to be kept in the manifest.
        seconds: where the stage knows better than the clock of the last call.
    """

    gives: str
    outputs: tuple[str, ...]
    counts: Mapping[str, Any] = field(default_factory=dict)
    timed: tuple[str, ...] = ()
    seconds: float | None = None


@dataclass(frozen=True)
class Stage(ABC, Generic[S]):
    """One step of a pipeline. A kind of stage is a subclass, in a file of its own, named in ``KINDS``.

    Attributes:
        name: its kind; a later stage of the same kind has its number after it, as ``mine-2``.
        settings: of the kind's own type.
        kind: what a recipe calls such a stage.
        settings_type: the type of ``settings``.
        reported: counts of a finished stage that are shown, with words for each.
        shared: whether several processes share it; any other stage is executed for the first of them.
        noted_since: inputs that manifests of earlier versions lack; a finished stage without one is taken as
            it is.
    """

    name: str
    settings: S
    kind: ClassVar[str]
    settings_type: ClassVar[type[BaseModel]]
    reported: ClassVar[tuple[tuple[str, str], ...]] = ()
    shared: ClassVar[bool] = False
    noted_since: ClassVar[tuple[str, ...]] = ()

    @property
    @abstractmethod
    def what(self) -> str:
        """A short description for the plan."""

    @abstractmethod
    def reads(self, before: Available) -> Inputs:
        """The inputs among what is available.

        Raises:
            SettingsError: an input is missing; the message says which stage to put before this one.
        """

    @abstractmethod
    def leaves(self, before: Available) -> Available:
        """What the stages after this one may read."""

    @abstractmethod
    def sizes(self, passages: int, questions: int, lists: ListCount | None) -> Sizes:
        """The amount of work.

        Args:
            passages, questions: of the collection, and of its ``train`` split with a positive.
            lists: that the stage reads.
        """

    @abstractmethod
    def seconds(self, sizes: Sizes, rates: Rates) -> float:
        """Estimated duration."""

    @abstractmethod
    def share_done(self, folder: Path, sizes: Sizes) -> float:
        """The finished share of an interrupted stage, by the files in its folder; 1 or more for all."""

    @abstractmethod
    def execute(self, task: Task) -> Done:
        """Do the work, or what an interrupted call left of it."""

    @property
    def training(self) -> TrainSettings | None:
        """The settings of a training of the joint model; ``None`` for the other kinds."""
        return None

    @property
    def teacher(self) -> TeacherModel | None:
        """The cross-encoder that the stage makes; ``None`` for the other kinds."""
        return None

    @property
    def sources(self) -> dict[str, str]:
        """Fingerprints of further inputs, beside the collection, the base and other stages, by name."""
        return {}

    def check(self, base: str, teacher: TeacherModel | None) -> None:
        """Refuse, before any stage begins, what would be refused hours later.

        Args:
            base: of the recipe's model.
            teacher: that the stage uses.
        """

    def changed(self, values: Mapping[str, Any]) -> Self:
        """The same stage with some settings changed.

        Raises:
            SettingsError: an unknown setting, or a value that does not fit.
        """
        settings: Any = parse_typed(self.settings_type, {**self.settings.model_dump(), **values})
        return replace(self, settings=settings)

    def needs_lists(self, before: Available, reason: str, *, mined: bool = False) -> str | GivenLists:
        """The last lists, or the last mined ones.

        Raises:
            SettingsError: there are none.
        """
        found = before.mined if mined else before.lists
        if found is None:
            raise SettingsError(f"stage {self.name!r} {reason}; {LISTS_FROM}")
        return found

    def needs(self, value: T | None, reason: str) -> T:
        """``value``, unless it is missing.

        Raises:
            SettingsError: it is; ``reason`` says why it is needed, and what to do.
        """
        if value is None:
            raise SettingsError(f"stage {self.name!r} {reason}")
        return value


def stage_inputs(stages: Sequence[Stage[Any]], given: GivenLists | None = None) -> list[Inputs]:
    """The inputs of each stage, checked.

    Args:
        stages: in their order.
        given: lists that were made before, which the stages read until one of them makes others.

    Raises:
        SettingsError: no stage before one makes its input; the message names both.
    """
    before = Available.at_start(given)
    found = []
    for stage in stages:
        found.append(stage.reads(before))
        before = stage.leaves(before)
    return found


def available_after(stages: Sequence[Stage[Any]], given: GivenLists | None) -> Available:
    """What a stage after these may read."""
    found = Available.at_start(given)
    for stage in stages:
        found = stage.leaves(found)
    return found


class Counter:
    """A ``progress`` callback that reports the sum of finished items to the observer."""

    def __init__(self, observer: Observer, what: str, total: int | None = None) -> None:
        self.observer, self.what, self.total, self.done = observer, what, total, 0

    def __call__(self, more: int) -> None:
        """Count ``more`` finished items."""
        self.done += more
        self.observer("progress", {"what": self.what, "done": self.done, "total": self.total})
