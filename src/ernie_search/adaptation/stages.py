"""The stages of an adaptation, each in its folder: documents, questions, filter, score, adapt, check.

They are stages as a recipe's are: finished ones are skipped, interrupted ones resumed, altered ones refused,
by the same manifests. They are no kinds of a training's recipe, since the stages of that all read one
collection, and here each changes what the next one reads: files become passages, passages questions,
questions a split. Their settings are a recipe of their own, ``adapt.yaml``.
"""

import json
from abc import ABC
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import BaseModel, Field

from ernie_search._util.files import fingerprint, write_json
from ernie_search._util.settings import TypedSettings
from ernie_search.adaptation.answers import Generator
from ernie_search.adaptation.blend import TokenWeights, save_start
from ernie_search.adaptation.filter import REASONS, Filtered, filter_questions
from ernie_search.adaptation.generators import check_estimate, said_estimate
from ernie_search.adaptation.lists import ListSettings, make_lists
from ernie_search.adaptation.make import FEWEST_PASSAGES, make_questions, plan_questions
from ernie_search.adaptation.questioned import LABELLED, TRAIN, QuestionedCollection, suffices
from ernie_search.adaptation.questions import Question, read_questions, write_questions
from ernie_search.adaptation.sample import draw, share
from ernie_search.adaptation.searching import SavedSearch, parts_of, read_found
from ernie_search.adaptation.settings import QuestionSettings
from ernie_search.data import BeirCollection, Collection, convert
from ernie_search.data.collection import hold
from ernie_search.encoding.build import make_index
from ernie_search.errors import DataError
from ernie_search.mining import Lists
from ernie_search.model.encode import tokenize
from ernie_search.model.joint import load_joint
from ernie_search.pipeline.stage import (
    Available,
    Counter,
    Done,
    Inputs,
    ListCount,
    Rates,
    Sizes,
    Stage,
    Task,
)
from ernie_search.search import Searcher
from ernie_search.training import TrainSettings, train
from ernie_search.training.folder import RESULT_FILE, TRAINING_FILE, checkpoint_steps
from ernie_search.training.teachers import StepTeachers
from ernie_search.training.trainer import Observer

BEIR, QUESTIONS, LISTS, INDEX, SEARCHED, LABELS = (
    *("beir", "questions.jsonl", "lists", "index", "searched"),
    "labels-searched",
)
START, TRAINING, COUNTS, NEVER, ANSWERS = "start", "training", "counts.json", "never.json", "answers.jsonl"
TOKENS, TOKEN_DIM = "int8", 128
"""Of the index that is searched for the lists: projected to 128 numbers, raw states of 384 lose nothing that
can be measured, and little by 8 bits."""
SMALL = 200
"""Passages below which a batch alone may hold no negative: then each question brings one of its list."""
LONG = 0.98
"""Share of the passages that the training reads whole, if its settings allow it."""
SHORTEST = 32


@dataclass(frozen=True)
class Step(Stage[Any], ABC):
    """A stage of an adaptation, which finds what it reads in the folders of the stages before it.

    Attributes:
        run: folder of the adaptation.
    """

    run: Path = Path()

    def reads(self, before: Available) -> Inputs:
        """Nothing of a recipe's."""
        return Inputs()

    def leaves(self, before: Available) -> Available:
        """Nothing for a recipe."""
        return before

    def sizes(self, passages: int, questions: int, lists: ListCount | None) -> Sizes:
        """The plan of an adaptation says more; see ``make_plan``."""
        return Sizes("")

    def seconds(self, sizes: Sizes, rates: Rates) -> float:
        """The plan of an adaptation has it."""
        return 0.0

    def share_done(self, folder: Path, sizes: Sizes) -> float:
        """What is in the folder of a resumed stage is not counted."""
        return 0.0

    def place(self, stage: str, *names: str) -> Path:
        """A path in the folder of a stage."""
        return self.run.joinpath(stage, *names)

    def documents(self) -> Collection:
        """The passages and labels as they were read, held in memory where they are few."""
        return hold(BeirCollection(self.place("documents", BEIR)))

    def questioned(self, labels: bool) -> QuestionedCollection:
        """These with the questions that the filter kept."""
        path = self.place("filter", QUESTIONS)
        made = read_questions(path) if path.stat().st_size else []
        return QuestionedCollection(self.documents(), made, labels=labels)


class DocumentSettings(TypedSettings):
    """What is read.

    Attributes:
        source: as ``open_collection`` takes it.
    """

    source: str


@dataclass(frozen=True)
class Documents(Step):
    """Reads the source once, and keeps its passages and labels: later stages don't see it change."""

    kind: ClassVar[str] = "documents"
    settings_type: ClassVar[type[BaseModel]] = DocumentSettings
    reported: ClassVar[tuple[tuple[str, str], ...]] = (
        ("passages", "passages"),
        ("skipped", "faulty items or files left out"),
    )
    what = "read the source"

    def execute(self, task: Task) -> Done:
        """Write them as a BEIR folder; faulty items and files are left out, and counted."""
        made = convert(
            task.collection,
            task.folder / BEIR,
            skip_faulty=True,
            replace=True,  # the folder is the stage's own
            progress=Counter(task.observer, "passages read"),
        )
        files = getattr(getattr(task.collection, "inner", task.collection), "skipped", [])
        counts = {
            "passages": made.info.passages,
            "skipped": made.skipped + len(files),
            "first_skipped": made.first or (f"{files[0].path}: {files[0].reason}" if files else ""),
            "source": task.collection.fingerprint,
            "splits": dict(made.info.queries),
        }
        if counts["first_skipped"]:
            task.observer("advice", {"text": f"left out {counts['skipped']:,}: {counts['first_skipped']}"})
        return Done(BEIR, (BEIR,), counts)


class AskSettings(QuestionSettings):
    """How many questions are made of what, and a person's own.

    Attributes:
        own: 16 hex digits of the file of a person's own questions; "" without one.
        alone: whether these are all, and none is made.
        generator: ``hub:MODEL`` or ``openai:MODEL``, which writes the questions for training; "" for rules.
        labels, labels_alone: see ``AdaptSettings``.
    """

    own: str = ""
    alone: bool = False
    generator: str = ""
    labels: bool = True
    labels_alone: int = Field(100, ge=0)


@dataclass(frozen=True)
class Ask(Step):
    """Makes questions of passages drawn from the whole source.

    Attributes:
        own: a person's own questions, taken beside the made ones.
        generator: opens what writes questions in place of rules, given the file of its answers; None for
            rules alone.
    """

    own: tuple[Question, ...] = ()
    generator: Callable[[Path], Generator] | None = None
    kind: ClassVar[str] = "questions"
    settings_type: ClassVar[type[BaseModel]] = AskSettings
    reported: ClassVar[tuple[tuple[str, str], ...]] = (
        ("questions", "questions"),
        ("drawn", "passages drawn"),
        *((reason, f"dropped: {reason}") for reason in REASONS),
    )
    what = "make questions"

    def execute(self, task: Task) -> Done:
        """Make them, and write them as JSON lines; of texts that give none the file is empty."""
        settings = QuestionSettings(**self.settings.model_dump(include=set(QuestionSettings.model_fields)))
        path = task.folder / QUESTIONS
        task.folder.mkdir(parents=True, exist_ok=True)
        if self.settings.alone:
            own = with_held_out(self.own, settings)
            write_questions(path, own)
            return Done(QUESTIONS, (QUESTIONS,), {"questions": len(own)})
        labels = QuestionedCollection(self.documents(), (), labels=self.settings.labels).labels
        learnt = not suffices(labels, self.settings.labels_alone)
        generator = None if self.generator is None else self.generator(task.folder / ANSWERS)
        if generator is not None:
            estimate = plan_questions(self.documents(), settings, generator)[1]
            task.observer("advice", {"text": said_estimate(generator, estimate)})
            check_estimate(generator, estimate)
        try:
            made = make_questions(
                self.documents(),
                path,
                settings,
                generator=generator,
                own=self.own,
                learnt=learnt,
                say=lambda text: task.observer("advice", {"text": text}),
                making=Counter(task.observer, "passages asked about"),
            )
        except DataError as error:  # of passages that were checked: too short to ask about, all of them
            write_questions(path, [])
            return Done(QUESTIONS, (QUESTIONS,), {"questions": 0, "why": str(error)})
        dropped = made.counts["dropped"]
        reasons = {reason: sum(dropped.get(reason, {}).values()) for reason in REASONS}
        return Done(QUESTIONS, (QUESTIONS,), {"questions": len(made.questions)} | reasons | made.counts)


def with_held_out(questions: Sequence[Question], settings: QuestionSettings) -> list[Question]:
    """A person's questions; where none of them is held out, those of some passages, drawn by a hash, are."""
    passages = {one.passage for one in questions}
    held = settings.held_out_of(len(passages))
    if any(one.split == "held-out" for one in questions):
        return list(questions)
    return [
        replace(one, split="held-out") if share(settings.seed, "held-out", one.passage) < held else one
        for one in questions
    ]


class FilterSettings(TypedSettings):
    """What is searched, and what is kept.

    Attributes:
        base: that makes the index.
        depth: first hits among which a question's own passage must be.
        length: hits that are kept for the lists.
    """

    base: str
    depth: int = Field(20, ge=1)
    length: int = Field(64, ge=2)


@dataclass(frozen=True)
class Filter(Step):
    """Indexes the passages with the base, searches every question once, and drops what teaches nothing."""

    kind: ClassVar[str] = "filter"
    settings_type: ClassVar[type[BaseModel]] = FilterSettings
    reported: ClassVar[tuple[tuple[str, str], ...]] = (
        ("kept", "questions kept"),
        *((reason, f"dropped: {reason}") for reason in REASONS),
    )
    what = "keep questions that find their own passage"

    def execute(self, task: Task) -> Done:
        """Index, search, keep. The index and the searches stay for the next stages."""
        settings: FilterSettings = self.settings
        make_index(
            str(self.place("documents", BEIR)),
            settings.base,
            task.folder / INDEX,
            progress=Counter(task.observer, "passages indexed"),
            **tokens_of(settings.base),
        ).index.close()
        path = self.place("questions", QUESTIONS)
        questions = read_questions(path) if path.stat().st_size else []
        collection = self.documents()
        searcher = Searcher.open(task.folder / INDEX, verify=False)
        try:
            search = SavedSearch(
                searcher,
                task.folder / SEARCHED,
                length=max(settings.length, settings.depth),
                shown=settings.depth,
            )
            found = filter_questions(
                questions,
                search,
                ids={one.id for one in collection.passages()},
                progress=Counter(task.observer, "questions searched", len(questions)),
            )
        finally:
            searcher.index.close()
        write_questions(task.folder / QUESTIONS, found.kept)
        write_json(task.folder / COUNTS, _dropped(found))
        counts: dict[str, Any] = {"kept": len(found.kept)}
        counts |= {reason: found.total(reason) for reason in REASONS}
        return Done(QUESTIONS, (QUESTIONS, COUNTS), counts)


def _dropped(found: Filtered) -> dict[str, Any]:
    """What was dropped by reason and kind, and the ranks of the kept questions' own passages."""
    ranks = list(found.ranks.values())
    return {
        "kept": len(found.kept),
        "dropped": {reason: dict(kinds) for reason, kinds in sorted(found.dropped.items())},
        "own_passage_first": sum(rank == 1 for rank in ranks) / max(1, len(ranks)),
    }


class ScoreSettings(ListSettings):
    """The lists, and whether labelled questions are among them.

    Attributes:
        labels: whether the source's own labelled questions count.
    """

    labels: bool = True


@dataclass(frozen=True)
class Score(Step):
    """Makes each question's list, with the teacher's sum; labelled questions are searched here."""

    kind: ClassVar[str] = "score"
    settings_type: ClassVar[type[BaseModel]] = ScoreSettings
    reported: ClassVar[tuple[tuple[str, str], ...]] = (
        ("lists", "lists"),
        ("labels", "labelled questions among them"),
    )
    what = "score each question's list"

    def execute(self, task: Task) -> Done:
        """Write the lists; without any question there are none."""
        settings: ScoreSettings = self.settings
        collection = self.questioned(settings.labels)
        task.folder.mkdir(parents=True, exist_ok=True)
        counts = {"labels": collection.labels, "lists": 0}
        searcher = Searcher.open(self.place("filter", INDEX), verify=False)
        try:
            labelled = [
                one.text
                for split in (TRAIN, LABELLED)
                if split in collection.splits
                for one in collection.queries(split)[: None if split == LABELLED else collection.labels]
            ]
            search = SavedSearch(searcher, task.folder / LABELS, length=settings.length, shown=0)
            for start in range(0, len(labelled), BLOCK):
                search(labelled[start : start + BLOCK])
            if TRAIN in collection.splits:
                found = read_found(self.place("filter", SEARCHED)) | read_found(task.folder / LABELS)
                total = len(collection.queries(TRAIN))
                made = make_lists(
                    collection,
                    found,
                    task.folder / LISTS,
                    ListSettings(**settings.model_dump(exclude={"labels"})),
                    partial(parts_of, searcher),
                    Counter(task.observer, "lists scored", total),
                )
                counts |= made.manifest["counts"]
        finally:
            searcher.index.close()
        write_json(task.folder / COUNTS, counts)
        outputs = (COUNTS, LISTS) if counts["lists"] else (COUNTS,)
        return Done(outputs[-1], outputs, counts)


BLOCK = 256
"""Labelled questions that are searched together."""


class LearnSettings(TypedSettings):
    """The training, and what it begins with.

    Attributes:
        base: a name or a directory.
        train: settings of the training, before they are fitted to the source.
        token_weights: see ``AdaptSettings``; so are all others.
    """

    base: str
    train: TrainSettings
    token_weights: TokenWeights = "root"
    fit_lengths: bool = True
    labels: bool = True
    fewest_passages: int = FEWEST_PASSAGES
    fewest_questions: int = 32


@dataclass(frozen=True)
class Learn(Step):
    """Trains the base on the lists; of too little it trains nothing, and says so."""

    kind: ClassVar[str] = "adapt"
    settings_type: ClassVar[type[BaseModel]] = LearnSettings
    reported: ClassVar[tuple[tuple[str, str], ...]] = (
        ("steps", "steps"),
        ("questions", "questions learnt from"),
    )
    what = "train"

    def execute(self, task: Task) -> Done:
        """Train, or resume from the last checkpoint."""
        settings: LearnSettings = self.settings
        collection = self.questioned(settings.labels)
        passages = sum(1 for _ in collection.passages())
        given = self.place("score", LISTS)
        lists = Lists.open(given) if given.is_dir() else None
        questions = 0 if lists is None else len(lists)
        why = too_little(passages, questions, settings)
        task.folder.mkdir(parents=True, exist_ok=True)
        if why or lists is None:
            write_json(task.folder / NEVER, {"why": why})
            return Done(NEVER, (NEVER,), {"steps": 0, "questions": questions})
        chosen = fitted(settings.train, passages, questions)
        start = task.folder / START
        if not start.is_dir():
            save_start(settings.base, collection, chosen, start, settings.token_weights)
        if settings.fit_lengths:
            chosen = chosen.model_copy(update={"passage_length": length_of(start, collection, chosen)})
        result = train(
            collection,
            task.folder / TRAINING,
            chosen,
            base=str(start),
            lists=lists,
            teachers=StepTeachers(frozen=start),  # asked only with interaction_teacher=frozen
            observer=_without_advice(task.observer),
        )
        last = f"{TRAINING}/{result.last.name}"
        counts = {"steps": result.steps, "questions": questions, "passage_length": chosen.passage_length}
        timed = (f"{TRAINING}/{RESULT_FILE}", f"{TRAINING}/{TRAINING_FILE}")
        return Done(last, (START, last), counts, timed, result.seconds)

    def share_done(self, folder: Path, sizes: Sizes) -> float:
        """By the latest checkpoint."""
        return float(max(checkpoint_steps(folder / TRAINING), default=0) / self.settings.train.steps)


def _without_advice(observer: Observer) -> Observer:
    """Without what a training advises its user: nobody has set the temperatures here.

    Made questions are words of their passage, so late interaction is nearly sure of it, and a training would
    ask for a softer teacher; one of 0.12 gained nothing (benchmarks/NOTES.md).
    """

    def observe(event: str, values: dict[str, Any]) -> None:
        if event != "advice":
            observer(event, values)

    return observe


def too_little(passages: int, questions: int, settings: LearnSettings) -> str:
    """Why nothing can be learnt; "" where something can."""
    if passages < settings.fewest_passages:
        least = settings.fewest_passages
        return f"{passages:,} passages are too few to learn from (at least {least} are needed)"
    if questions < settings.fewest_questions:
        return (
            f"{questions:,} usable questions could be made of {passages:,} passages, too few to learn from "
            f"(at least {settings.fewest_questions} are needed); texts that are all alike, or a word long, "
            "give none"
        )
    return ""


def fitted(settings: TrainSettings, passages: int, questions: int) -> TrainSettings:
    """The settings for so many passages and questions: a batch is no larger than there are questions."""
    update: dict[str, Any] = {"questions_per_batch": min(settings.questions_per_batch, questions)}
    if passages < SMALL:
        update["negatives"] = max(1, settings.negatives)
        # In so small a source a batch's other passages are mostly among the marked ones of the own list.
        update |= {"dense_weight": 0.0, "late_weight": 0.0}
        update["list_passages"] = max(1, min(settings.list_passages, passages - 2))
    return settings.model_copy(update=update)


def length_of(start: Path, collection: Collection, settings: TrainSettings) -> int:
    """Tokens that nearly all passages have, between 32 and the settings' own limit; a multiple of 8."""
    model = load_joint(start, device="cpu")
    texts = [one.full_text for one in draw(collection.passages(), 500, 0).passages]
    lengths = [len(ids) for ids in tokenize(model, texts, "passage").ids]
    usual = int(np.quantile(lengths, LONG))
    return min(settings.passage_length, max(SHORTEST, -(-usual // 8) * 8))


def tokens_of(base: str) -> dict[str, Any]:
    """How the index keeps token vectors: projected, where the base has none that were trained."""
    from ernie_search.encoding.opening import open_encoder

    encoder = open_encoder(base)
    if encoder.kind != "plain" or encoder.token_dim <= TOKEN_DIM:
        return {"tokens": TOKENS}
    return {"tokens": TOKENS, "token_dim": TOKEN_DIM}


def own_questions(path: Path | None) -> tuple[tuple[Question, ...], str]:
    """A person's own questions, and 16 hex digits of them.

    Raises:
        DataError: see ``read_questions``.
    """
    if path is None:
        return (), ""
    found: Sequence[Question] = read_questions(path)
    return tuple(found), fingerprint([asdict(one) for one in found])


def never_learnt(folder: Path) -> str:
    """Why the training was left out; "" if it was not."""
    path = folder / NEVER
    return str(json.loads(path.read_text(encoding="utf-8"))["why"]) if path.is_file() else ""
