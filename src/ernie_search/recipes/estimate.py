"""How long a plan takes on this machine: a few steps, passages and pairs are measured, on the spot."""

from dataclasses import replace

from ernie_search.data import Collection, MemoryCollection
from ernie_search.model import JointEncoder, ScoreSettings, from_base
from ernie_search.process_memory import keep_freed_memory
from ernie_search.recipes.budget import (
    PILOT_TEXTS,
    pairs_a_second,
    passages_a_second,
    products_a_second,
    seconds_a_step,
)
from ernie_search.recipes.kinds import TeacherStage
from ernie_search.recipes.plan import Plan, PlannedStage
from ernie_search.recipes.recipe import Recipe
from ernie_search.training import TrainSettings, prepare
from ernie_search.training.prepare import relevant, sample

PILOT_QUESTIONS, PILOT_PASSAGES = 300, 300
BACKWARD = 3.0
"""A training step over a forward pass: the backward costs about twice the forward."""
QUESTION_SHARE = 0.3
"""Of a passage's encoding time: what a question takes, which is shorter."""


def estimate(plan: Plan, recipe: Recipe, collection: Collection) -> Plan:
    """The plan with about the seconds of each stage; writes nothing.

    Left out: reading, BM25, saving, comparing near-duplicates, and what the dev measurements take beside
    encoding. Terms that need a teacher are timed without it, but for token-level attention, where it reads a
    pair a question. A stage that was begun counts with what is left of it.

    Raises:
        ModelError: the base cannot be had.
        DataError, TrainingError: the collection has too few training questions for a batch.
    """
    keep_freed_memory()
    train = recipe.train
    lengths = ScoreSettings(query_length=train.query_length, passage_length=train.passage_length)
    model = from_base(recipe.base, settings=lengths, layers=recipe.layers)
    batches = [one.stage.training.questions_per_batch for one in plan.stages if one.stage.training]
    few = pilot(collection, max(batches))
    texts = [passage.full_text for passage in few.passages()][:PILOT_TEXTS]
    rate = passages_a_second(model, texts)
    products = products_a_second(model.get_embedding_dimension() or 1)
    pair_rate = None
    if any(one.sizes.pairs or _reads_pairs(one) for one in plan.stages):
        pair_rate = pairs_a_second(*_teacher(plan, recipe), _pairs(few), _max_length(plan))
    seconds = {}
    for one in plan.stages:
        if not one.left:
            seconds[one.stage.name] = 0.0
            continue
        found = one.sizes.passages / rate + one.sizes.questions * QUESTION_SHARE / rate
        if one.stage.kind == "mine":
            found += one.sizes.passages * one.sizes.questions / products
        if one.stage.training is not None:
            found = _training(one, one.stage.training, model, few, rate, pair_rate)
        elif one.sizes.pairs and pair_rate:
            found = one.sizes.pairs / pair_rate * (BACKWARD if one.stage.kind == "teacher" else 1.0)
        seconds[one.stage.name] = found * one.left
    return replace(plan, seconds=seconds)


def pilot(collection: Collection, questions: int = PILOT_QUESTIONS) -> MemoryCollection:
    """A few training questions with their positives, and the first passages; one reading of the corpus.

    Args:
        collection: with a ``train`` split.
        questions: that must be among them, where there are so many: those of a batch.
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


def _training(
    one: PlannedStage,
    train: TrainSettings,
    model: JointEncoder,
    few: MemoryCollection,
    rate: float,
    pair_rate: float | None,
) -> float:
    plain = {f"{term}_weight": 0.0 for term in (*train.cross_terms, "attention")}
    timed = train.model_copy(
        update=plain | {"interaction_teacher": "late", "max_questions": 0, "evaluations": 0}
    )
    if timed.dense_weight == 0 and timed.late_weight == 0:
        timed = timed.model_copy(update={"dense_weight": 1.0})
    step = seconds_a_step(model, prepare(few, timed), timed)
    if train.attention_weight > 0 and pair_rate:
        step += train.questions_per_batch / pair_rate
    measured = train.evaluations * (train.dev_questions * QUESTION_SHARE + train.dev_passages) / rate
    return one.sizes.steps * step + measured


def _reads_pairs(one: PlannedStage) -> bool:
    return one.stage.training is not None and one.stage.training.attention_weight > 0


def _teacher(plan: Plan, recipe: Recipe) -> tuple[str, int | None]:
    """Base and layers of the cross-encoder that reads the pairs: the teacher's own, or the ready one."""
    for one in plan.stages:
        settings = one.stage.settings
        if isinstance(settings, TeacherStage):
            return (settings.use, None) if settings.use else (settings.base, settings.layers)
    return recipe.base, recipe.layers


def _max_length(plan: Plan) -> int | None:
    """What the teacher reads of a pair; ``None`` where no stage says it."""
    for one in plan.stages:
        if isinstance(one.stage.settings, TeacherStage):
            return one.stage.settings.max_length
    return None


def _pairs(few: MemoryCollection) -> list[tuple[str, str]]:
    texts = {passage.id: passage.full_text for passage in few.passages()}
    qrels = few.qrels("train")
    found = [(query.text, texts[relevant(qrels, query.id)[0]]) for query in few.queries("train")]
    return found[:PILOT_TEXTS]
