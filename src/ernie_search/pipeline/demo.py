"""The demo: training, index and search over the documentation of the installed Python packages."""

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ernie_search._util.files import read_json, write_json
from ernie_search.data import Collection, MemoryCollection, open_collection, write_beir
from ernie_search.encoding import encode_collection
from ernie_search.evaluation import SystemResult, evaluate_run, read_run, write_run
from ernie_search.index import Index, index_shards, is_index, open_index
from ernie_search.mining import BM25
from ernie_search.model import JointEncoder, ScoreSettings, from_base, load_joint
from ernie_search.pipeline.plan import PILOT_TEXTS, passages_per_second, seconds_per_step
from ernie_search.pipeline.recipe import Recipe, load_recipe
from ernie_search.search import Searcher
from ernie_search.shards import read_manifest
from ernie_search.training import prepare, train
from ernie_search.training.trainer import Observer

ENCODE_SHARE = 0.35
"""Share of the time for encoding the corpus with all models; the rest beside training is for measuring."""
TRAIN_SHARE = 0.45
FEWEST_STEPS, MOST_STEPS = 10, 400
FEWEST_PASSAGES = 300
TEST_QUESTIONS = 400
DEPTH = 1000
EXAMPLE = "find the shortest path between two nodes of a weighted graph"
TRAINED: dict[str, dict[str, float]] = {
    "dual-encoder alone": {"late_weight": 0.0, "interaction_weight": 0.0},
    "both losses, no distillation": {"interaction_weight": 0.0},
    "interaction distillation": {},
}
BASELINE = "dual-encoder alone"
BEST = "interaction distillation"
RERANKED = f"{BEST}, re-ranked by its late interaction"


@dataclass(slots=True)
class DemoResult:
    """Results of the demo.

    Attributes:
        rows: one per system, measured over the same test questions.
        plan: corpus size, steps, and the measured throughput.
        model, index, collection: directories to continue with.
    """

    rows: list[SystemResult]
    plan: dict[str, Any]
    model: Path
    index: Path
    collection: Path


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
        output: folder for the collection, models, shards, index and runs.
        minutes: what it may take on this machine; corpus and steps follow from its measured throughput.
        source: another collection with train and test splits.
        say: called with a line on each step.
        observer: called with training events.
    """
    recipe = load_recipe("demo")
    output.mkdir(parents=True, exist_ok=True)
    plan, collection = _plan(output, recipe, minutes, source, say)
    steps, settings = int(plan["steps"]), recipe.train
    test = collection.queries("test")
    runs, shards, index = output / "runs", output / "shards", output / "index"
    if not (runs / "bm25.trec").is_file():
        say("BM25")
        write_run(runs / "bm25.trec", BM25(collection.passages()).search(test, DEPTH))
    if not (runs / "base.trec").is_file():
        say("the base model, as it comes")
        base = from_base(recipe.base, settings=_lengths(recipe))
        _measure(base, collection, output / "base-shards", {"dense": runs / "base.trec"})
    data = None
    for number, (name, weights) in enumerate(TRAINED.items()):
        paths = {"dense": runs / f"model{number}.trec"} | (
            {"late": runs / "late.trec"} if name == BEST else {}
        )
        if all(path.is_file() for path in paths.values()):
            continue
        say(f"{name}: {steps} steps")
        changed = settings.model_copy(update={"steps": steps, "onnx": name == BEST, **weights})
        data = data or prepare(collection, changed)
        folder = output / "model" if name == BEST else output / f"model{number}"
        result = train(collection, folder, changed, base=recipe.base, data=data, observer=observer)
        say(f"{name}: index and search")
        if name == BEST:
            _measure(load_joint(result.last), collection, shards, paths, result.last, index)
        else:
            _measure(load_joint(result.last), collection, output / f"shards{number}", paths, result.last)
    _indexed(shards, index).close()  # there already, unless somebody removed it
    named = {"BM25": "bm25", "base model, untrained": "base"}
    named |= {name: f"model{number}" for number, name in enumerate(TRAINED)} | {RERANKED: "late"}
    qrels = collection.qrels("test")
    rows = [
        SystemResult(name, evaluate_run(qrels, read_run(runs / f"{file}.trec")))
        for name, file in named.items()
    ]
    return DemoResult(rows, plan, output / "model" / "last", index, output / "collection")


def example_search(result: DemoResult) -> Searcher:
    """The trained model over its index."""
    return Searcher.open(result.index, result.model)


def _lengths(recipe: Recipe) -> ScoreSettings:
    return ScoreSettings(query_length=recipe.train.query_length, passage_length=recipe.train.passage_length)


def _measure(
    model: JointEncoder,
    collection: Collection,
    shards: Path,
    runs: dict[str, Path],
    model_path: Path | None = None,
    folder: Path | None = None,
) -> None:
    """Encode the collection, and write the run of each mode: over an index in ``folder`` or in memory."""
    encode_collection(
        model,
        collection.passages(),
        shards,
        data_fingerprint=collection.fingerprint,
        with_tokens="late" in runs,
        model_path=model_path,
    )
    index: Index = index_shards(shards, "memory://") if folder is None else _indexed(shards, folder)
    try:
        searcher = Searcher(model, index)
        for mode, path in runs.items():
            write_run(
                path,
                searcher.run(collection.queries("test"), DEPTH, mode="late" if mode == "late" else "dense"),
            )
    finally:
        index.close()


def _indexed(shards: Path, folder: Path) -> Index:
    """The index of those shards: as it is where all of them are in it, otherwise made, or resumed."""
    if is_index(folder):
        found = open_index(folder)
        if len(found) == read_manifest(shards).passages:
            return found
        found.close()
    return index_shards(shards, folder)


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
        minutes * 60, rate, step, passages=len(everything), models=1 + len(TRAINED), trainings=len(TRAINED)
    )
    collection = _sample(whole, fit.passages)
    write_beir(collection, folder)
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


def budget(seconds: float, rate: float, step: float, *, passages: int, models: int, trainings: int) -> Budget:
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
