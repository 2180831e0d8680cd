"""How much an adaptation asks, learns and measures, and how long that takes on this machine."""

import math
import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import Field
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from ernie_search._util.files import read_json, write_json
from ernie_search._util.settings import TypedSettings, parse_typed, read_record
from ernie_search.adaptation.blend import TokenWeights
from ernie_search.adaptation.lists import ListSettings
from ernie_search.adaptation.make import FEWEST_PASSAGES
from ernie_search.adaptation.questioned import suffices
from ernie_search.adaptation.rules import Rules
from ernie_search.adaptation.sample import draw
from ernie_search.adaptation.settings import QuestionSettings
from ernie_search.adaptation.verdict import CheckSettings
from ernie_search.data import Collection, MemoryCollection
from ernie_search.errors import DataError, SettingsError, StorageError
from ernie_search.model import ScoreSettings, from_base
from ernie_search.pipeline.plan import duration, passages_per_second, seconds_per_step
from ernie_search.training import TrainSettings, prepare
from ernie_search.training.trainer import steps_between_checkpoints
from ernie_search.types import Query

PILOT_PASSAGES = 200
PILOT_TEXTS = 64
SEARCHES = 0.45
"""Questions searched in the time of one passage's encoding, with the bundled base on two cores: two stages
with 3,000 and 4,500 questions took 114 and 120 seconds where 1.5 said 69 and 57."""
FEWEST_STEPS, FEWEST_QUESTIONS = 20, 400
ROOM = 1.15
"""Of the estimates: what they leave out (reading, saving, the filter)."""
PLAN_FILE = "plan.json"

PARTS = {"questions": "questions", "lists": "lists", "train": "train", "check": "checked"}
"""Groups of settings, as plain values call them, and the attribute of each."""


def default_training() -> TrainSettings:
    """The settings of an adaptation's training.

    The model's own late interaction teaches its single vector over all passages of the batch, beside the
    labels. The teacher's sum over each question's list has no weight: its passages' cached vectors fall
    behind the encoder, and it makes the training 1.1 to 1.8 times as long, for nothing that shows in the
    single vector (benchmarks/NOTES.md).
    """
    return TrainSettings(
        steps=150,  # 300 gained 0.009 on covidqa, and cost the default mode 0.011 on documentation
        learning_rate=3e-5,
        head_learning_rate=1e-4,
        pooling_learning_rate=3e-3,
        pooling="weighted",
        head="pca",
        question_weights="root",
        negatives=0,
        list_passages=31,
        distillation_candidates="batch",
        dense_weight=1.0,
        late_weight=1.0,
        interaction_weight=3.0,
        copied_questions="taught",  # of the made questions, spans and titles are; measured so
        direct_weight=0.0,
        late_temperature=0.04,
        teacher_temperature=0.05,
        cross_temperature=0.1,  # of the sum: about one nat over a list of 32 of PubMedQA; at 0.05 a tenth
        evaluations=0,
        checkpoints=3,
        refresh_steps=100,
        onnx=False,
    )


class AdaptSettings(TypedSettings):
    """All settings of an adaptation.

    Attributes:
        questions: which are made.
        lists: what is learnt from, for each.
        train: of the training; its ``passage_length`` is the longest that ``fit_lengths`` may choose.
        checked: what is compared, and what the verdict asks for; ``check`` in plain values.
        labels: whether the source's own labelled questions count.
        token_weights: what a token weighs before the training: the root of its idf, or its idf.
        fit_lengths: let the training read passages as long as nearly all are, up to its ``passage_length``.
        labels_alone: so many labelled training questions are learnt from without rules' questions, of which
            then only the held-out ones are made: of the same steps, made ones take the labels' place, and
            teach less (benchmarks/NOTES.md). 0: never. What a person brings, or has a model write, is
            learnt from in any case.
        fewest_passages, fewest_questions: below which nothing is trained: what is left is too little to learn
            from.
    """

    questions: QuestionSettings = Field(default_factory=QuestionSettings)
    lists: ListSettings = Field(default_factory=ListSettings)
    train: TrainSettings = Field(default_factory=default_training)
    checked: CheckSettings = Field(default_factory=CheckSettings)
    labels: bool = True
    token_weights: TokenWeights = "root"
    fit_lengths: bool = True
    labels_alone: int = Field(100, ge=0)
    fewest_passages: int = Field(FEWEST_PASSAGES, ge=2)
    fewest_questions: int = Field(32, ge=2)


def parse_adapt(values: Mapping[str, Any]) -> AdaptSettings:
    """Settings from plain values: ``steps`` of the training is ``train.steps``, and so on.

    Raises:
        SettingsError: an unknown name, or a value that does not fit.
    """
    chosen = AdaptSettings()
    inner: dict[str, dict[str, Any]] = {}
    own: dict[str, Any] = {}
    for name, value in values.items():
        part, dot, key = str(name).partition(".")
        if dot and part in PARTS:
            inner.setdefault(part, {})[key] = value
        elif part in PARTS:
            raise SettingsError(
                f"setting {name!r} is a group; name one of its settings, as in {name}.NAME=..."
            )
        else:
            own[str(name)] = value
    found: dict[str, Any] = {attribute: getattr(chosen, attribute) for attribute in PARTS.values()}
    for part, changes in inner.items():
        before = found[PARTS[part]]
        try:
            found[PARTS[part]] = parse_typed(type(before), {**before.model_dump(), **changes})
        except SettingsError as error:
            raise SettingsError(f"{part}: {error}") from error
    if "checked" in own:
        raise SettingsError("unknown setting 'checked'; name one of its settings, as in check.NAME=...")
    parsed = parse_typed(AdaptSettings, {**chosen.model_dump(exclude=set(PARTS.values())), **own})
    return parsed.model_copy(update=found)


@dataclass(frozen=True, slots=True)
class Rates:
    """Speeds of this machine with the base.

    Attributes:
        passages: encoded per second.
        step: seconds of a training step.
    """

    passages: float
    step: float


@dataclass(frozen=True, slots=True)
class AdaptPlan:
    """What an adaptation will do; written when it begins, so that a resumed one does the same.

    Attributes:
        passages: of the source.
        questions: of the passages that are drawn, at most.
        made: of these, how many are made at most: where labels are learnt from alone, the held-out ones.
        steps: of the training.
        seconds: estimates by stage, where they were made.
    """

    passages: int
    questions: int
    made: int
    steps: int
    seconds: dict[str, float]

    @property
    def total(self) -> float:
        """Seconds of all stages."""
        return sum(self.seconds.values())

    def write(self, folder: Path) -> None:
        """Write ``plan.json``."""
        write_json(folder / PLAN_FILE, asdict(self))

    @staticmethod
    def read(folder: Path) -> "AdaptPlan | None":
        """The plan of a folder; None where there is none.

        Raises:
            StorageError: it is broken.
        """
        path = folder / PLAN_FILE
        if not path.is_file():
            return None
        try:
            return read_record(AdaptPlan, read_json(path))
        except ValueError as error:
            raise StorageError(f"{path}: not readable ({error}); delete {folder} and begin again") from error


@dataclass(frozen=True, slots=True)
class Labels:
    """Labelled questions of a source, as they count.

    Attributes:
        learnt: that can be learnt from.
        measured: that only measure.
    """

    learnt: int = 0
    measured: int = 0


def make_plan(
    passages: int,
    rates: Rates | None,
    settings: AdaptSettings,
    minutes: float | None = None,
    *,
    labels: Labels = Labels(),
) -> AdaptPlan:
    """As many questions and steps as fit into the time; all that the settings say, where none is given.

    Args:
        passages: of the source.
        rates: of this machine; None, where the time is not limited, for no estimates.
        settings: of the adaptation; ``labels`` only where the source has some.
        minutes: that it may take.
        labels: of the source.

    Raises:
        SettingsError: the time is too short for the least; it says how long that takes.
    """
    asked = min(settings.questions.number, passages * settings.questions.per_passage)
    whole = _planned(passages, asked, settings.train.steps, rates, settings, labels)
    if rates is None or minutes is None or whole.total <= minutes * 60:
        return whole
    alone = suffices(labels.learnt, settings.labels_alone)
    for share in [number / 20 for number in range(19, -1, -1)]:
        steps = max(min(FEWEST_STEPS, settings.train.steps), round(settings.train.steps * share))
        fewer = max(min(FEWEST_QUESTIONS, asked), round(asked * max(share, 0.1)))
        plan = _planned(passages, asked if alone else fewer, steps, rates, settings, labels)
        if plan.total <= minutes * 60:
            return plan
    searched = labels.learnt + labels.measured
    also = f" and {searched:,} labelled questions" if searched > plan.made else ""
    smaller = "a smaller source, or --no-labels" if also else "or a smaller source"
    raise SettingsError(
        f"--minutes {minutes:g}: {passages:,} passages{also} take at least {duration(plan.total)} on this "
        f"machine; give more time, {smaller}"
    )


def estimated(plan: AdaptPlan, rates: Rates, settings: AdaptSettings, labels: Labels = Labels()) -> AdaptPlan:
    """The same plan with estimates."""
    return _planned(plan.passages, plan.questions, plan.steps, rates, settings, labels)


def fitted(train: TrainSettings, steps: int) -> TrainSettings:
    """A training of so many steps, whose checkpoints fall where its cache of list passages is made anew.

    It is made anew at each checkpoint, so that a resumed training goes on bit for bit. In a shorter training
    than was set, as many checkpoints would encode the corpus once more each.
    """
    changes: dict[str, int] = {"steps": steps}
    if train.refresh_steps and train.listed:
        fills = math.ceil(steps / train.refresh_steps)
        if fills <= train.checkpoints:
            changes |= {"checkpoints": fills, "refresh_steps": math.ceil(steps / fills)}
    return train.model_copy(update=changes)


def _planned(
    passages: int, questions: int, steps: int, rates: Rates | None, settings: AdaptSettings, labels: Labels
) -> AdaptPlan:
    """A plan with its estimates, where there are rates."""
    made = questions
    if suffices(labels.learnt, settings.labels_alone):
        drawn = min(passages, settings.questions.passages_of(questions))
        made = round(questions * settings.questions.held_out_of(drawn))
    seconds = {} if rates is None else _seconds(passages, made, steps, rates, settings, labels)
    return AdaptPlan(passages, questions, made, steps, seconds)


def _seconds(
    passages: int, made: int, steps: int, rates: Rates, settings: AdaptSettings, labels: Labels
) -> dict[str, float]:
    """Estimates by stage."""
    train, check = fitted(settings.train, steps), settings.checked
    index = passages / rates.passages
    labelled = labels.learnt + labels.measured
    points = {0}
    if train.refresh_steps:  # as the training's cache of list passages has them
        for every in (train.refresh_steps, steps_between_checkpoints(train)):
            points.update(range(0, steps, every))
    fills = len(points)
    cached = min(passages, steps * train.questions_per_batch * train.listed // max(1, fills))
    shares = {0.0, *check.shares, *(check.labelled_shares if settings.labels else ())}
    candidates = 1 + len(shares)
    pooled = min(passages, check.passages)
    seconds = {
        "documents": passages / 2000,
        "questions": made / 1000 + passages / 1000,
        "filter": index + made / (rates.passages * SEARCHES),
        "score": (made + labels.learnt) / 500 + labelled / (rates.passages * SEARCHES),
        "adapt": steps * rates.step + fills * cached / rates.passages + 10,
        "check": candidates * pooled / rates.passages + 20,
    }
    return {name: round(value * ROOM, 1) for name, value in seconds.items()}


def measure_rates(base: str, collection: Collection, settings: AdaptSettings) -> Rates:
    """Speeds with the base over the first passages of a collection, with questions made of them.

    Raises:
        ModelError: the base cannot be had.
        DataError: there is no passage.
    """
    first = list(islice(collection.passages(), PILOT_PASSAGES))
    if not first:
        raise DataError(f"{collection.source}: holds no passage")
    train = settings.train
    lengths = ScoreSettings(query_length=train.query_length, passage_length=train.passage_length)
    model = from_base(base, settings=lengths)
    texts = [one.full_text for one in first][:PILOT_TEXTS]
    passages = passages_per_second(model, texts)
    asked = _pilot(first, settings)
    if len(asked) < 2 or len(first) < 2:
        return Rates(passages, train.questions_per_batch * 3 / passages)
    queries = [Query(f"pilot-{number}", text) for number, (text, _) in enumerate(asked)]
    qrels = {query.id: {passage: 1} for query, (_, passage) in zip(queries, asked, strict=True)}
    few = MemoryCollection("pilot", collection.source, first, queries, {"train": qrels})
    batch = min(train.questions_per_batch, len(queries))
    timed = train.model_copy(
        update={
            "questions_per_batch": batch,
            "negatives": 0,
            "list_passages": 0,
            "distillation_candidates": "batch",
            "direct_weight": 0.0,
            "cascade_weight": 0.0,
            "margin_weight": 0.0,
            "interaction_weight": 1.0,
        }
    )
    try:
        step = seconds_per_step(model, prepare(few, timed), timed)
    except (DataError, statistics.StatisticsError):
        step = batch * 3 / passages
    return Rates(passages, step * train.questions_per_batch / batch)


def _pilot(first: list[Any], settings: AdaptSettings) -> list[tuple[str, str]]:
    """A question each of the first passages that can be asked about, with the passage's id."""
    sample = draw(first, len(first), settings.questions.seed)
    rules = Rules(settings.questions, sample.frequencies)
    made = [rules.ask(passage) for passage in sample.passages]
    return [(one[0].text, one[0].passage) for one in made if one]


def plan_table(plan: AdaptPlan, states: Mapping[str, str], title: str) -> Table:
    """The plan as a table: one line a stage, with its state and about how long it takes."""
    table = Table(title=Text(title), title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in ("stage", "what", "state"):
        table.add_column(name, overflow="fold")
    table.add_column("about", justify="right")
    words = {
        "documents": f"read and cut the source: {plan.passages:,} passages",
        "questions": f"make up to {plan.made:,} questions of them"
        + (", which only measure" if plan.made < plan.questions else ""),
        "filter": "index the passages with the base; keep questions that find their own",
        "score": "score each question's list with the teacher",
        "adapt": f"train: {plan.steps:,} steps",
        "check": "compare with the base on held-out questions, labels and general text",
    }
    left = 0.0
    for name, what in words.items():
        seconds = 0.0 if states.get(name) == "done" else plan.seconds.get(name, 0.0)
        left += seconds
        cells = (name, what, states.get(name, "to do"), duration(seconds) if seconds else "-")
        table.add_row(*map(Text, cells))
    table.add_row(*map(Text, ("all that is left", "", "", duration(left))))
    return table
