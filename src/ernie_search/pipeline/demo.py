"""The demo: first search and training over the documentation of the installed Python packages."""

import hashlib
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ernie_search._util.files import read_json, write_json
from ernie_search.data import Collection, MemoryCollection, convert, open_collection
from ernie_search.encoding.build import make_index
from ernie_search.evaluation import SystemResult, compare, evaluate_run, read_run, write_run
from ernie_search.model import ScoreSettings, from_base
from ernie_search.pipeline.plan import PILOT_TEXTS, passages_per_second, seconds_per_step
from ernie_search.pipeline.recipe import Recipe, load_recipe
from ernie_search.search import Mode, Searcher
from ernie_search.training import TrainSettings, prepare, train
from ernie_search.training.joint import ignore_event
from ernie_search.training.trainer import Observer

ENCODE_SHARE, TRAIN_SHARE = 0.35, 0.45
"""Shares of the time for encoding the corpus with all models, and for training; the rest is for measuring."""
BASE_COST, TRAINED_COST = 3.5, 2.5
"""What indexing costs with the base as it comes, which reads longer passages, and with both trained models:
in times of the measured encoding at the recipe's lengths."""
FEWEST_STEPS, MOST_STEPS = 10, 400
FEWEST_PASSAGES = 300
TEST_QUESTIONS = 400
DEPTH = 1000
BEHIND = 1.3
"""A training that would take so many times its share of the minutes begins again with fewer steps."""
LOOK_AFTER = 3
"""Steps after which its speed is known; the first is slower than the others."""
NOISE = 0.05
"""The largest p at which a difference is called one."""
TOO_BUSY = "the minutes are too few to train in on this machine as it is now; more of them are --minutes 30"
EXAMPLE = "find the shortest path between two nodes of a weighted graph"

BM25, SINGLE, FIRST = "BM25", "untrained, single vector", "untrained, hybrid (first search)"
ALONE, TAUGHT = "dual-encoder alone, single vector", "with interaction distillation, single vector"
BEST = "with interaction distillation, hybrid"
LATE = "with interaction distillation, late"
BASELINE = BM25

TRAINED: dict[str, dict[str, float]] = {
    "alone": {"late_weight": 0.0, "interaction_weight": 0.0},
    "model": {},
}
"""Folders of the trainings, and what they change in the recipe."""

ROWS: dict[str, tuple[str, Mode]] = {
    BM25: ("base", "words"),
    SINGLE: ("base", "dense"),
    FIRST: ("base", "hybrid"),
    ALONE: ("alone", "dense"),
    TAUGHT: ("model", "dense"),
    BEST: ("model", "hybrid"),
}
"""The table: which index is searched, and how."""
MEASURED = ROWS | {LATE: ("model", "late")}
"""What is measured: the table, and what the teacher of the distillation ranks like."""


@dataclass(slots=True)
class DemoResult:
    """Results of the demo.

    Attributes:
        rows: one per system, measured over the same test questions.
        words: what they say, a sentence each.
        plan: corpus size, steps, and the measured throughput.
        model, index, collection: directories to continue with; no model where no time was left to train.
    """

    rows: list[SystemResult]
    words: list[str]
    plan: dict[str, Any]
    model: Path | None
    index: Path
    collection: Path


class BehindError(Exception):
    """A training is so slow that it would not end in time; ``steps`` would, or none where that is 0."""

    def __init__(self, steps: int) -> None:
        super().__init__(f"{steps} steps would do")
        self.steps = steps


def run_demo(
    output: Path,
    *,
    minutes: float = 8.0,
    source: str = "api:",
    say: Callable[[str], None],
    observer: Observer | None = None,
) -> DemoResult:
    """Run the demo in ``output``, or resume it where it stopped; a finished one is only read again.

    Args:
        output: folder for the collection, models, indexes and runs.
        minutes: what it may take on this machine; corpus and steps follow from its measured throughput, and
            are corrected where it turns out slower.
        source: another collection with train and test splits.
        say: called with a line on each step.
        observer: called with training events.
    """
    began = time.monotonic()
    recipe = load_recipe("demo")
    output.mkdir(parents=True, exist_ok=True)
    plan, collection = _plan(output, recipe, minutes, source, say)
    demo = _Demo(output, recipe, plan, collection, began + 60 * minutes, say, observer or ignore_event)
    demo.first_search()
    for name in TRAINED:
        demo.trained(name)
    qrels, steps = collection.qrels("test"), int(demo.plan["steps"])
    measured = {
        name: SystemResult(name, evaluate_run(qrels, read_run(demo.run_file(name))))
        for name, (index, _) in MEASURED.items()
        if steps or index not in TRAINED
    }
    return DemoResult(
        [measured[name] for name in ROWS if name in measured],
        in_words(measured, steps),
        demo.plan,
        output / "model" / "last" if steps else None,
        output / ("index" if steps else "base-index"),
        output / "collection",
    )


def example_search(result: DemoResult) -> Searcher:
    """The trained model over its index."""
    return Searcher.open(result.index, result.model)


@dataclass
class _Demo:
    """One call: a plan, and how much of its time is left."""

    output: Path
    recipe: Recipe
    plan: dict[str, Any]
    collection: Collection
    deadline: float
    say: Callable[[str], None]
    observer: Observer

    def run_file(self, row: str) -> Path:
        """The run of a row of the table."""
        index, mode = MEASURED[row]
        return self.output / "runs" / f"{index}-{mode}.trec"

    def first_search(self) -> None:
        """Index and search with the base as it comes; then correct the plan by what that took."""
        if self._done("base"):
            return
        self.say("first search: the base model as it comes, nothing trained")
        started = time.monotonic()
        self._index("base", self.recipe.base)
        encoding = time.monotonic() - started
        started = time.monotonic()
        self._measure("base")
        searching = time.monotonic() - started
        self._correct(encoding, searching)

    def trained(self, name: str) -> None:
        """Train, index and search one model, if there is time for that."""
        if not self.plan["steps"]:
            return
        if self._done(name):
            self._index(name, self.output / name / "last")  # there already, unless somebody removed it
            return
        label = TAUGHT if name == "model" else ALONE
        self.say(f"{label.partition(',')[0]}: {self.plan['steps']} steps")
        while True:
            try:
                self._train(name)
                break
            except BehindError as behind:  # each time with at most half the steps
                shutil.rmtree(self.output / name)
                self._replan(steps=behind.steps)
                if not behind.steps:
                    self.say(TOO_BUSY)
                    return
                self.say(f"slower than planned: begins again with {behind.steps} steps")
        self.say(f"{label.partition(',')[0]}: index and search")
        self._index(name, self.output / name / "last")
        self._measure(name)

    def _done(self, index: str) -> bool:
        return all(self.run_file(row).is_file() for row, (of, _) in MEASURED.items() if of == index)

    def _index(self, name: str, model: str | Path) -> None:
        """Only one index is shown afterwards, that of the model to go on with."""
        folder = self.output / ("index" if name == "model" else f"{name}-index")
        late = any(of == name and mode in ("hybrid", "late") for of, mode in MEASURED.values())
        options: dict[str, Any] = {} if late else {"tokens": "none"}
        make_index(self.output / "collection", model, folder, **options).index.close()

    def _measure(self, name: str) -> None:
        folder = self.output / ("index" if name == "model" else f"{name}-index")
        searcher = Searcher.open(folder)
        try:
            for row, (index, mode) in MEASURED.items():
                if index == name and not self.run_file(row).is_file():
                    run = searcher.run(self.collection.queries("test"), DEPTH, mode=mode)
                    write_run(self.run_file(row), run)
        finally:
            searcher.index.close()

    def _correct(self, encoding: float, searching: float) -> None:
        """The steps that fit into what is left, at the speed that the first phase had."""
        expected = self.plan["passages"] / self.plan["passages_per_second"]
        slower = max(1.0, encoding / (expected * BASE_COST))
        left = self.deadline - time.monotonic() - TRAINED_COST * expected * slower - 2 * searching
        fit = int(left / len(TRAINED) / (self.plan["seconds_per_step"] * slower))
        steps = min(int(self.plan["steps"]), fit) if fit >= FEWEST_STEPS else 0
        if steps < self.plan["steps"]:
            planned = self.plan["steps"]
            self.say(f"slower than planned: {steps} steps in place of {planned}" if steps else TOO_BUSY)
            self._replan(steps=steps)

    def _replan(self, **changed: int) -> None:
        self.plan = {
            **self.plan,
            **changed,
            "planned_steps": self.plan.get("planned_steps", self.plan["steps"]),
        }
        write_json(self.output / "plan.json", self.plan)

    def _train(self, name: str) -> None:
        """Train one model; the first may find itself too slow, the second has the same steps."""
        first = name == next(iter(TRAINED))
        changed = self.recipe.train.model_copy(
            update={"steps": self.plan["steps"], "onnx": name == "model", **TRAINED[name]}
        )
        watch = self._watched(changed) if first else self.observer
        train(
            self.collection,
            self.output / name,
            changed,
            base=self.recipe.base,
            data=prepare(self.collection, changed),
            observer=watch,
        )

    def _watched(self, settings: TrainSettings) -> Observer:
        """The observer, and an end to a training that would take far more than its share of what is left."""
        began, begun_at = time.monotonic(), 0
        share = max(0.0, self.deadline - began) * TRAIN_SHARE / (TRAIN_SHARE + ENCODE_SHARE) / len(TRAINED)

        def watch(event: str, values: dict[str, Any]) -> None:
            nonlocal began, begun_at
            self.observer(event, values)
            if event == "start":
                began, begun_at = time.monotonic(), int(values["step"])
            done = int(values["step"]) - begun_at if event == "step" else 0
            if done >= LOOK_AFTER:
                each = (time.monotonic() - began) / done
                needed = each * (settings.steps - begun_at)
                if needed > BEHIND * share and done * 2 < settings.steps:
                    left = max(0.0, share - each * done)
                    fit = min(int(left / each), settings.steps // 2)
                    raise BehindError(fit if fit >= FEWEST_STEPS else 0)

        return watch


def in_words(rows: dict[str, SystemResult], steps: int) -> list[str]:
    """What the rows say, a sentence each: what was gained, over what, and why not where nothing was."""
    first = gain_over(rows, FIRST, BM25)
    found = [
        f"First search, with nothing trained, {first} over BM25, and {gain_over(rows, FIRST, SINGLE)} over "
        "its own single vector."
    ]
    if not steps:
        return [*found, f"Nothing was trained: {TOO_BUSY}."]
    own = f"{steps} steps of training"
    gain = compare(rows[BEST].measured, rows[FIRST].measured, "MRR@10")
    if gain.p < NOISE and gain.difference > 0:
        found.append(f"After {own} the same search {gain_over(rows, BEST, FIRST)} over the untrained one.")
    else:
        found.append(
            f"After {own} the same search {gain_over(rows, BEST, FIRST)} over the untrained one: so few "
            "steps do not pay here; use the base as it comes, or train for longer (--minutes)."
        )
    taught = compare(rows[TAUGHT].measured, rows[ALONE].measured, "MRR@10")
    gained = gain_over(rows, TAUGHT, ALONE)
    line = f"Interaction distillation {gained} for the single vector over training it alone"
    if taught.p >= NOISE or taught.difference <= 0:
        teacher, pupil = rows[LATE].measured.mean("MRR@10"), rows[ALONE].measured.mean("MRR@10")
        why = (
            "its teacher, late interaction, is not better than its pupil here"
            if teacher <= pupil
            else f"{steps} steps are few to learn it in"
        )
        line += f": late interaction has {teacher:.3f}, the single vector alone {pupil:.3f}; {why}"
    return [*found, f"{line}."]


def gain_over(rows: Mapping[str, SystemResult], name: str, over: str) -> str:
    """``gains 0.051 (p < 0.001)``, ``loses ...``, or that there is no difference to be told from chance."""
    found = compare(rows[name].measured, rows[over].measured, "MRR@10")
    p = "p < 0.001" if found.p < 0.001 else f"p = {found.p:.3f}"
    if found.p >= NOISE:
        return f"differs by {found.difference:+.3f} MRR@10 ({p}, which may be chance)"
    return f"{'gains' if found.difference > 0 else 'loses'} {abs(found.difference):.3f} MRR@10 ({p})"


def _lengths(recipe: Recipe) -> ScoreSettings:
    return ScoreSettings(query_length=recipe.train.query_length, passage_length=recipe.train.passage_length)


def _plan(
    output: Path, recipe: Recipe, minutes: float, source: str, say: Callable[[str], None]
) -> tuple[dict[str, Any], Collection]:
    """Decide corpus and steps once, by measuring; later calls in the same folder keep them."""
    folder, mark = output / "collection", output / "plan.json"
    if mark.is_file():
        plan = read_json(mark)
        if (plan["minutes"], plan["source"]) != (minutes, source):
            say(f"continuing with the plan in {mark} ({plan['minutes']:g} minutes, {plan['source']})")
        return plan, open_collection(str(folder))
    say("reading the documentation of the installed packages" if source == "api:" else f"reading {source}")
    whole = open_collection(source)
    everything = list(whole.passages())
    say(f"{len(everything):,} passages; measuring what this machine can do in {minutes:g} minutes")
    model = from_base(recipe.base, settings=_lengths(recipe))
    pilot = [p.full_text for p in everything[:: max(1, len(everything) // PILOT_TEXTS)]][:PILOT_TEXTS]
    rate = passages_per_second(model, pilot)
    step = seconds_per_step(model, prepare(_sample(whole, 500), recipe.train), recipe.train)
    fit = budget(
        *(minutes * 60, rate, step),
        passages=len(everything),
        models=BASE_COST + TRAINED_COST,
        trainings=len(TRAINED),
    )
    collection = _sample(whole, fit.passages)
    convert(collection, folder, replace=True)  # the folder is the demo's own
    plan = asdict(fit) | {"minutes": minutes, "source": source}
    write_json(mark, plan)
    say(
        f"{rate:.0f} passages per second, {step:.2f} seconds per step: {fit.passages:,} passages, "
        f"{fit.steps} steps for each of {len(TRAINED)} trainings"
    )
    return plan, open_collection(str(folder))


def _sample(whole: Collection, passages: int) -> MemoryCollection:
    """A sample by hash: test questions and their passages first, then passages with their train questions."""

    def order(text: str) -> bytes:
        return hashlib.sha256(text.encode()).digest()

    test_qrels = whole.qrels("test")
    limit = min(TEST_QUESTIONS, passages // 3)
    test = sorted(whole.queries("test"), key=lambda query: order(query.id))[:limit]
    wanted = {passage for query in test for passage in test_qrels[query.id]}
    for passage in sorted(whole.passages(), key=lambda passage: order(passage.id)):
        if len(wanted) >= passages:
            break
        wanted.add(passage.id)
    train_qrels = whole.qrels("train")
    train = [query for query in whole.queries("train") if set(train_qrels[query.id]) <= wanted]
    return MemoryCollection(
        "demo",
        whole.source,
        [passage for passage in whole.passages() if passage.id in wanted],
        [*train, *test],
        {
            "train": {query.id: train_qrels[query.id] for query in train},
            "test": {query.id: test_qrels[query.id] for query in test},
        },
    )


@dataclass(frozen=True, slots=True)
class Budget:
    """The corpus and the steps that fit into the minutes of a demo.

    Attributes:
        passages: to index, for each of the models.
        steps: of each training.
        passages_per_second, seconds_per_step: as measured.
    """

    passages: int
    steps: int
    passages_per_second: float
    seconds_per_step: float


def budget(
    seconds: float, rate: float, step: float, *, passages: int, models: float, trainings: int
) -> Budget:
    """Share ``seconds`` out among ``models`` encodings and ``trainings`` of equal length.

    Args:
        seconds: for everything.
        rate: passages per second.
        step: seconds per step.
        passages: how many there are.
    """
    fit = int(seconds * ENCODE_SHARE / models * rate)
    steps = int(seconds * TRAIN_SHARE / trainings / step)
    return Budget(
        min(passages, max(FEWEST_PASSAGES, fit)),
        min(MOST_STEPS, max(FEWEST_STEPS, steps)),
        round(rate, 2),
        round(step, 3),
    )
