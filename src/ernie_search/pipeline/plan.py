"""The plan of a recipe: each stage with its size, its state, and an estimate of its duration."""

import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from ernie_search._util.hardware import asks_bf16
from ernie_search.data import Collection, MemoryCollection
from ernie_search.model import JointEncoder, ScoreSettings, from_base
from ernie_search.model.cross_encoder import new_cross_encoder, score_pairs
from ernie_search.model.encode import autocast
from ernie_search.pipeline.recipe import AnyStage, Recipe
from ernie_search.pipeline.runner import FinishedStages, State, check_before, done_as, folder_of, state_of
from ernie_search.pipeline.stage import GivenLists, Inputs, ListCount, Sizes
from ernie_search.training import TrainingData, TrainSettings, prepare
from ernie_search.training.batches import Collator, StepBatches
from ernie_search.training.prepare import relevant, sample
from ernie_search.training.step import JointLoss
from ernie_search.training.student import make_ready, usual_budget

PILOT_QUESTIONS, PILOT_PASSAGES = 300, 300
PILOT_TEXTS = 96
PILOT_STEPS, PILOT_SECONDS = 4, 20.0
"""Steps that are timed, without the first, in which memory is allocated and kernels are chosen; fewer where
they take so many seconds, as on a busy machine."""
COMPARED, QUESTIONS = 20_000, 64
"""Vectors and questions of the product by which exact search is timed."""


@dataclass(frozen=True, slots=True)
class PlannedStage:
    """One line of the plan.

    Attributes:
        stage: of the recipe.
        sizes: of the whole stage.
        state, left: its state, and the share of its work that is left.
    """

    stage: AnyStage
    sizes: Sizes
    state: State
    left: float = 1.0


@dataclass(frozen=True, slots=True)
class Plan:
    """The stages of a recipe over a collection, with their sizes and states.

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
    """Plan a recipe: sizes and states of its stages; nothing is written.

    Args:
        recipe: to plan.
        collection: read once, for its counts.
        output: the pipeline's folder; ``None`` for one that does not exist yet.

    Raises:
        TrainingError, StorageError: a stage in the folder is another one, or was altered.
        DataError: no ``train`` split, or given lists of another collection.
        ModelError: attention is to teach, and teacher and student have other tokenizers.
    """
    check_before(recipe, collection, len(recipe.stages))
    passages = sum(1 for _ in collection.passages())
    qrels = collection.qrels("train")
    questions = sum(1 for query in qrels if relevant(qrels, query))
    made = FinishedStages.none(recipe, collection, {})
    planned: dict[str, PlannedStage] = {}
    for stage, inputs in zip(recipe.stages, recipe.inputs, strict=True):
        state: State = "to do"
        sizes = stage.sizes(passages, questions, _lists_read(inputs, planned))
        left = 1.0
        if output is not None:
            folder = folder_of(recipe, output, stage)
            state = state_of(folder)
            if state == "resumes":
                left = max(0.0, 1.0 - stage.share_done(folder, sizes))
            elif state == "done":
                left = 0.0
                if made.manifests.keys() >= set(inputs.named.values()):
                    found = done_as(stage, folder, made.fingerprints(stage, inputs))
                    made.manifests |= {} if found is None else {stage.name: found}
        planned[stage.name] = PlannedStage(stage, sizes, state, left)
    return Plan(list(planned.values()), passages, questions, lists=recipe.lists)


def _lists_read(inputs: Inputs, planned: Mapping[str, PlannedStage]) -> ListCount | None:
    """Number and pairs of the lists that a stage reads; ``None`` where unknown."""
    lists = inputs.lists
    if isinstance(lists, GivenLists):
        pairs = lists.sizes.positives + lists.sizes.negatives
        return ListCount(f"{len(lists.lists):,} lists", len(lists.lists), pairs)
    return None if lists is None else planned[lists].sizes.made


def plan_table(plan: Plan, title: str) -> Table:
    """The plan as a table: one line per stage, with a column for estimates where there are any."""
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
        cells = [one.stage.name, one.stage.what, one.sizes.text, one.state]
        if plan.seconds:
            cells.append("-" if one.state == "done" else duration(plan.seconds[one.stage.name]))
        table.add_row(*map(Text, cells))
    if plan.seconds:
        left = sum(plan.seconds.values())
        table.add_row(*map(Text, ("all that is left", "", "", "", duration(left))))
    return table


def duration(seconds: float) -> str:
    """A duration as text: ``40 s``, ``12 min``, ``3.5 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def estimate(plan: Plan, recipe: Recipe, collection: Collection) -> Plan:
    """Add estimated seconds to each stage of a plan; nothing is written.

    A few steps, passages and pairs are measured on this machine. Left out: reading, BM25, saving, comparing
    near-duplicates, and what the dev measurements take beside encoding. Terms that need a teacher are timed
    without it, but for token-level attention, where it reads a pair a question. A stage that was begun counts
    with what is left of it.

    Raises:
        ModelError: the base cannot be had.
        DataError, TrainingError: the collection has too few training questions for a batch.
    """
    rates = MeasuredRates(recipe, collection)
    seconds = {
        one.stage.name: one.stage.seconds(one.sizes, rates) * one.left if one.left else 0.0
        for one in plan.stages
    }
    return replace(plan, seconds=seconds)


class MeasuredRates:
    """Speeds of this machine with a recipe's models, measured on a sample of a collection.

    Args:
        recipe: whose models and lengths count.
        collection: read once, for the sample.
    """

    def __init__(self, recipe: Recipe, collection: Collection) -> None:
        train = recipe.train
        lengths = ScoreSettings(query_length=train.query_length, passage_length=train.passage_length)
        self._recipe = recipe
        self._model = from_base(recipe.base, settings=lengths, layers=recipe.layers)
        batches = [stage.training.questions_per_batch for stage in recipe.stages if stage.training]
        self._few = pilot(collection, max(batches))
        texts = [passage.full_text for passage in self._few.passages()][:PILOT_TEXTS]
        # Before any step, which makes the model ready for training only.
        self.passages_per_second = passages_per_second(self._model, texts)

    @cached_property
    def products_per_second(self) -> float:
        """Products of a question's and a passage's vector per second, keeping the best ten: exact search."""
        random = np.random.default_rng(0)
        dim = self._model.get_embedding_dimension() or 1
        asked = random.standard_normal((QUESTIONS, dim), dtype=np.float32)
        held = random.standard_normal((COMPARED, dim), dtype=np.float32)
        seconds = []
        for _ in range(3):
            started = time.perf_counter()
            np.argpartition(asked @ held.T, -10, axis=1)
            seconds.append(time.perf_counter() - started)
        return QUESTIONS * COMPARED / min(seconds)

    @cached_property
    def pairs_per_second(self) -> float:
        """Pairs per second that a fresh cross-encoder over the teacher's base scores."""
        recipe, few = self._recipe, self._few
        named = next((stage.teacher for stage in recipe.stages if stage.teacher is not None), None)
        base, layers = (recipe.base, recipe.layers) if named is None else (named.base, named.layers)
        model = new_cross_encoder(base, layers=layers, max_length=None if named is None else named.max_length)
        texts = {passage.id: passage.full_text for passage in few.passages()}
        qrels = few.qrels("train")
        pairs = [(query.text, texts[relevant(qrels, query.id)[0]]) for query in few.queries("train")]
        pairs = pairs[:PILOT_TEXTS]
        score_pairs(model, pairs[:8])
        started = time.perf_counter()
        score_pairs(model, pairs)
        return len(pairs) / (time.perf_counter() - started)

    def seconds_per_step(self, settings: TrainSettings) -> float:
        """Seconds of a joint training step, without the terms that need a teacher's scores."""
        plain = {f"{term}_weight": 0.0 for term in (*settings.cross_terms, "attention")}
        timed = settings.model_copy(
            update=plain | {"interaction_teacher": "late", "max_questions": 0, "evaluations": 0}
        )
        if timed.dense_weight == 0 and timed.late_weight == 0:
            timed = timed.model_copy(update={"dense_weight": 1.0})
        return seconds_per_step(self._model, prepare(self._few, timed), timed)


def pilot(collection: Collection, questions: int = PILOT_QUESTIONS) -> MemoryCollection:
    """A few training questions with their positives, and the first passages; one reading of the corpus.

    Args:
        collection: with a ``train`` split.
        questions: minimal number, if there are so many: those of a batch.
    """
    qrels = collection.qrels("train")
    asked = [query for query in collection.queries("train") if relevant(qrels, query.id)]
    asked = sample(asked, max(PILOT_QUESTIONS, questions), 0)
    wanted = {passage for query in asked for passage in relevant(qrels, query.id)}
    kept = [
        passage
        for number, passage in enumerate(collection.passages())
        if number < PILOT_PASSAGES or passage.id in wanted
    ]
    judged = {query.id: qrels[query.id] for query in asked}
    return MemoryCollection("pilot", collection.source, kept, asked, {"train": judged})


def passages_per_second(model: JointEncoder, texts: list[str]) -> float:
    """Passages encoded per second over a few texts, both readings."""
    model.encode_joint(texts[:8], "passage")
    started = time.perf_counter()
    model.encode_joint(texts, "passage")
    return len(texts) / (time.perf_counter() - started)


def seconds_per_step(model: JointEncoder, data: TrainingData, settings: TrainSettings) -> float:
    """Seconds of a joint step: forward, backward and optimizer, at a learning rate of zero.

    The model's weights stay as they are; it is made ready for training, and for no other use.
    """
    batches = StepBatches(
        data.examples,
        steps=PILOT_STEPS,
        questions=settings.questions_per_batch,
        negatives=settings.negatives,
        seed=settings.seed,
    )
    make_ready(model, settings.model_copy(update={"compile": False}))
    collator = Collator(model, data.passages, settings.token_budget or usual_budget(model.device))
    loss = JointLoss(model, settings)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0, weight_decay=0.0, fused=True)
    bf16 = asks_bf16(settings.precision)
    model.attach_tokens = settings.needs_tokens
    model.train()
    seconds = []
    for step in range(PILOT_STEPS):
        started = time.perf_counter()
        with autocast(model.device, bf16):
            total = torch.stack(list(loss(collator([batches[step]])).values())).sum()
        # With gradient caching the encoder runs again in the backward, in a training's own precision.
        with autocast(model.device, bf16 if settings.gradient_cache else False):
            total.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
        if model.device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
        if step and sum(seconds) > PILOT_SECONDS:
            break
    model.eval()
    return statistics.median(seconds[1:])
