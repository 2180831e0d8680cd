"""An ablation: the shared stages, then each row trained, searched and measured, unless it was before."""

import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ernie_search._util.files import atomic_write, fingerprint, read_json, sha256_file, write_json
from ernie_search.ablation.rows import (
    LATE_OF,
    RERANKING,
    UNSEEDED,
    WARM,
    Row,
    chosen_rows,
    declared_rows,
    inputs_of,
    needed_by,
    start_of,
    trained_as,
    warm_up_of,
    with_seed,
)
from ernie_search.ablation.table import Known, RowResult, figures, markdown
from ernie_search.data import Collection
from ernie_search.data.collection import hold
from ernie_search.encoding import encode_collection
from ernie_search.errors import EvaluationError, SettingsError, StorageError, TrainingError
from ernie_search.evaluation import (
    Clusters,
    Measured,
    evaluate_run,
    question_clusters,
    read_run,
    write_run,
)
from ernie_search.index import index_shards
from ernie_search.index.topk import top_ids
from ernie_search.mining import BM25
from ernie_search.model import JointEncoder, ScoreSettings, from_base, load_joint
from ernie_search.pipeline.manifest import StageManifest
from ernie_search.pipeline.recipe import AnyStage, Recipe
from ernie_search.pipeline.runner import (
    check_stages,
    done_as,
    perform,
    run_stages,
)
from ernie_search.pipeline.stage import Inputs, Observer, Task
from ernie_search.search import Searcher
from ernie_search.search.fusion import Staged
from ernie_search.search.rerank import rerank
from ernie_search.teacher import rerank_run
from ernie_search.training.joint import ignore_event
from ernie_search.training.prepare import relevant, sample
from ernie_search.training.world import World
from ernie_search.types import Passage, Qrels, Query, Run

SEEDS = (0, 1, 2)
TABLE = "table.json"
WARM_UP, TEACHER, TRAIN = "warm-up", "teacher", "train"
"""A row's trainings, in their order; rows may share a warm-up, the others have folders of their own."""
WARM_UPS, SHARED = "warm-ups", "shared"
CLUSTERS = ("passage", "field:title")
"""Tests by cluster in the table, where the collection can be grouped so."""
CEILING_QUESTIONS = 500
"""Questions that the ceilings are measured on, as a cross-encoder over 100 passages each is slow."""
DEPTH = 100
"""Passages per question in a row's run, as recall@50 and the ceilings need."""
MEASURES = ("MRR@10", "recall@50")


@dataclass(frozen=True, slots=True)
class Ablation:
    """A finished table.

    Attributes:
        table: :func:`~ernie_search.ablation.table.figures`.
        markdown, json: the files.
    """

    table: dict[str, Any]
    markdown: Path
    json: Path


def ablate(
    recipe: Recipe,
    collection: Collection,
    output: Path,
    *,
    rows: Sequence[str] | None = None,
    seeds: Sequence[int] = SEEDS,
    split: str = "dev",
    observer: Observer | None = None,
    keep_vectors: bool = False,
    clusters: Sequence[str] | None = None,
) -> Ablation:
    """Train and measure the rows of an ablation; finished ones are only read.

    Seeds are independent from the warm-up on: the recipe's own seed has the shared warm-up, every other one
    trains its own. What lies between warm-up and last stage runs once, so that lists are mined for all seeds
    with the warm-up of the recipe's seed.

    Args:
        recipe: its last stage is what the rows change; its other stages run once, in ``output/shared``.
        collection: with a ``train`` split, and the one to measure on.
        output: ``rows/NAME/seed-N``: training, run and measures of each; ``warm-ups/NAME/seed-N``: other
            seeds' shared warm-up, and the warm-ups of a row's own (and of later rows that have the same);
            ``table.md`` and ``table.json``, written anew after each row, with all
            that this recipe has come to there, in earlier calls, too.
        rows: names of :func:`~ernie_search.ablation.declared_rows`; ``None``: all that the recipe allows.
        seeds: of the rows' training.
        split: whose questions are measured.
        observer: called with every event, and with ``row`` (name, seed).
        keep_vectors: leave each row's passage vectors in its folder: measuring another split then encodes its
            questions alone.
        clusters: tests by cluster in the table, see :func:`~ernie_search.evaluation.question_clusters`;
            ``None``: :data:`CLUSTERS`, as far as the collection can be grouped so.

    Raises:
        EvaluationError: the split cannot be grouped by one of ``clusters``.
        SettingsError: an unknown row, or one that the recipe does not allow; several processes.
        ModelError: attention is to teach a row, and teacher and student have other tokenizers.
        ErnieSearchError: see :func:`~ernie_search.pipeline.run_recipe`.
    """
    if World.launched().size > 1:
        raise SettingsError("an ablation runs in one process; start it without torchrun or accelerate launch")
    chosen = chosen_rows(recipe, rows)
    for stage in (row.stage for row in chosen):
        if stage is not None and stage.training is not None and stage.training.attention_weight:
            check_stages(
                [*recipe.stages[:-1], stage], [*recipe.inputs[:-1], inputs_of(stage, recipe)], recipe.base
            )
    grouped, ungrouped = table_clusters(collection, split, clusters)
    made = RowMaker(recipe, collection, output, split, observer or ignore_event, keep_vectors=keep_vectors)
    asked = {*_asked_before(output / TABLE), *(row.name for row in chosen)}
    shown = [row for row in declared_rows(recipe).values() if row.name in asked]
    results = {row.name: made.earlier(row) for row in shown}
    about = {
        "asked": [row.name for row in shown],
        "recipe": recipe.name,
        "base": recipe.base,
        "layers": recipe.layers,
        "collection": made.shared.data,
        "split": split,
        "start": made.start,
        "lists_of_seed": made.seed_of_lists,
        "not_clustered": ungrouped,
        "steps": getattr(recipe.stages[-1].settings, "steps", None),
        "changed": {row.name: dict(recipe.rows[row.name]) for row in shown if row.name in recipe.rows},
    }
    table: dict[str, Any] = {}
    known: Known = {}
    for seed in seeds:
        for row in chosen:
            result = results[row.name]
            key = None if row.name in UNSEEDED else seed
            if key is not None or not result.measured:
                result.add(key, made.measured(row, key), made.seconds(row, key))
            table = figures(results, about, made.peers, grouped, known)
            write_json(output / TABLE, table)
            with atomic_write(output / "table.md") as handle:
                handle.write(markdown(table))
    return Ablation(table, output / "table.md", output / TABLE)


def table_clusters(
    collection: Collection, split: str, names: Sequence[str] | None
) -> tuple[list[Clusters], list[str]]:
    """The groupings of a split's questions for a table, and of :data:`CLUSTERS` why some cannot be had.

    Raises:
        EvaluationError: one of ``names`` cannot be had.
    """
    qrels = collection.qrels(split)
    found, lacking = [], []
    for by in CLUSTERS if names is None else names:
        try:
            one = question_clusters(by, qrels, collection.passages)
            one.labels(sorted(qrels))  # refuses a single cluster
            found.append(one)
        except EvaluationError as error:
            if names is not None:
                raise
            lacking.append(str(error))
    return found, lacking


def _asked_before(table: Path) -> list[str]:
    """Rows that earlier calls asked for, on any split."""
    return list(read_json(table).get("asked", [])) if table.is_file() else []


@dataclass(frozen=True, slots=True)
class _Trained:
    """A row's finished training.

    Attributes:
        fingerprint: of the training that the row is measured by.
        seconds: of it, with those of a frozen teacher that the row alone needs.
        model: its directory: the last step's, or of a warm-up the one that trainings start from.
    """

    fingerprint: str
    seconds: float
    model: Path


@dataclass(frozen=True, slots=True)
class _Ranking:
    """How the run of a row is made.

    Attributes:
        made_by: fingerprint of everything that determines the run.
        qrels: to measure it by.
        make: searches, or re-ranks.
    """

    made_by: str
    qrels: Qrels
    make: Callable[[], Run]


class RowMaker:
    """Trains and measures the rows of one recipe in one folder.

    Attributes:
        shared: the finished stages before the last.
        trained_as: rows that share another row's training.
        start: the row that the gap closed is counted from.
        peers: rows that each row is compared with, beside *alone* and *both*.
    """

    def __init__(
        self,
        recipe: Recipe,
        collection: Collection,
        output: Path,
        split: str,
        observer: Observer,
        *,
        keep_vectors: bool,
    ) -> None:
        """Run the shared stages, or what is left of them; see :func:`ablate`."""
        self.recipe, self.collection, self.output, self.split = recipe, hold(collection), output, split
        self.observer, self.keep_vectors = observer, keep_vectors
        self.trained_as = trained_as(recipe)
        self.rows = declared_rows(recipe)
        self.start = start_of(self.rows)
        self.peers = {name: row.peers for name, row in self.rows.items()}
        self.first = warm_up_of(recipe)
        self.qrels = collection.qrels(split)  # first: an unknown split is refused before anything is trained
        before = recipe.stages[:-1]
        folders = {stage.name: output / "shared" / stage.name for stage in before}
        self.shared = run_stages(recipe, len(before), self.collection, folders, observer)
        self.made: dict[tuple[str, int], _Trained] = {}

    @property
    def seed_of_lists(self) -> int | None:
        """The seed of the warm-up that the lists were mined with; ``None`` where none were."""
        mined = any(stage.kind == "mine" for stage in self.recipe.stages)
        return int(self.first.settings.seed) if self.first is not None and mined else None

    def earlier(self, row: Row) -> RowResult:
        """A row with the measures of earlier calls."""
        same = self.trained_as.get(row.name)
        said = row.what if same is None else f"{row.what}: that of {same}"
        result = RowResult(row.name, said, trained_as=same)
        for seed in self._seeds_of(row):
            measured = self._found(row, seed)
            if measured is not None:
                result.add(seed, measured, self.seconds(row, seed))
        return result

    def seconds(self, row: Row, seed: int | None) -> float | None:
        """Seconds of the row's training; ``None`` for a row without one."""
        trained = row.stage is not None or row.name == WARM
        return self.made[row.name, seed].seconds if trained and seed is not None else None

    def measured(self, row: Row, seed: int | None) -> Measured:
        """A row's measures; what is missing is trained, searched or re-ranked.

        Args:
            row: of the recipe.
            seed: of its training; ``None`` for a row without one.
        """
        self.observer("row", {"name": row.name, "seed": seed})
        if seed is not None:
            self._trained(row, seed, train=True)
        asked = self._ranking(row, seed)
        folder = self._folder(row.name, seed)
        return measured_run(folder, self.split, asked.made_by, asked.qrels, asked.make, row.name)

    def _found(self, row: Row, seed: int | None) -> Measured | None:
        """Measures of an earlier call with the same recipe; nothing is made.

        Raises:
            StorageError: a model or run of it was altered since.
        """
        folder = self._folder(row.name, seed)
        try:
            if seed is not None and not self._trained(row, seed, train=False):
                return None
        except TrainingError as error:
            self.observer(
                "advice", {"text": f"row {row.name}, seed {seed}, is left out of the table: {error}"}
            )
            return None
        if seed is not None and row.name in RERANKING:
            first = self._folder(self.start, seed) / f"{self.split}.trec"
            needed = needed_by(row.name, self.rows)
            if not first.is_file() or any((name, seed) not in self.made for name in needed):
                return None  # the run that a ceiling re-ranks, or the model that does, is missing
        return known_run(folder, self.split, self._ranking(row, seed).made_by)

    def _seeds_of(self, row: Row) -> Sequence[int | None]:
        """Seeds that have a folder, in order; ``[None]`` for a row without seeds."""
        if row.name in UNSEEDED:
            return [None]
        numbers = [
            one.name.removeprefix("seed-") for one in self._folder(row.name).glob("seed-*") if one.is_dir()
        ]
        return sorted(int(number) for number in numbers if number.isdecimal())

    def _folder(self, name: str, seed: int | None = None) -> Path:
        folder = self.output / "rows" / self.trained_as.get(name, name)
        return folder if seed is None else folder / f"seed-{seed}"

    def _warm_up(self, row: Row, seed: int) -> tuple[AnyStage, Path] | None:
        """What a row starts from under a seed, with its folder; ``None``: the recipe's shared warm-up."""
        if self.first is None:
            return None
        stage = with_seed(row.warm_up or self.first, seed)
        if stage == self.first:
            return None
        others = (name for name, one in self.rows.items() if one.warm_up == row.warm_up)
        name = SHARED if row.warm_up is None else next(others)
        return stage, self.output / WARM_UPS / name / f"seed-{seed}"

    def _trainings(self, row: Row, seed: int) -> list[tuple[str, AnyStage, Path]]:
        """Trainings of a row with their folders: if any a warm-up and a frozen teacher, then its own."""
        first = self._warm_up(row, seed) if row.stage is not None or row.name == WARM else None
        found = [] if first is None else [(WARM_UP, *first)]
        folder = self._folder(row.name, seed)
        for part, stage in ((TEACHER, row.teacher), (TRAIN, row.stage)):
            if stage is not None:
                found.append((part, with_seed(stage, seed), folder / part))
        return found

    def _trained(self, row: Row, seed: int, *, train: bool) -> bool:
        """Train a row, or without ``train`` only look for its trainings; return whether all are there.

        Seconds are of what the row trains beside a warm-up, so that all rows' count the same.
        """
        shared, seconds = self.shared, 0.0
        before = replace(shared, folders=dict(shared.folders), manifests=dict(shared.manifests))
        for part, stage, folder in self._trainings(row, seed):
            inputs = Inputs() if part == WARM_UP else inputs_of(stage, self.recipe)
            read = before.fingerprints(stage, inputs)
            made: StageManifest | None
            if train:
                made = perform(
                    stage, Task(self.collection, folder, before.input_paths(inputs), self.observer), read
                )
                for checkpoint in folder.glob("checkpoint-*"):  # as large as three models each
                    shutil.rmtree(checkpoint)
            else:
                made = done_as(stage, folder, read)
            if made is None:
                return False
            if part == WARM_UP:
                before.manifests[stage.name], before.folders[stage.name] = made, folder
                continue
            seconds += made.seconds
            if part == TEACHER:
                before.frozen = made, folder / "last"
            else:
                self.made[row.name, seed] = _Trained(made.fingerprint, seconds, folder / "last")
        if row.name == WARM and self.first is not None:
            warm = before.manifests[self.first.name]
            place = before.folders[self.first.name] / warm.gives
            self.made[row.name, seed] = _Trained(warm.fingerprint, warm.seconds, place)
        return True

    def _ranking(self, row: Row, seed: int | None) -> _Ranking:
        if row.name == "bm25":
            return self._bm25()
        if row.name == "base":
            return self._base(self._folder(row.name))
        if seed is None:
            raise SettingsError(f"row {row.name} has seeds, and none was given")
        return self._ceiling(row.name, seed) if row.name in RERANKING else self._dense(row, seed)

    def _dense(self, row: Row, seed: int) -> _Ranking:
        """The run of a trained row, by the last step's model, so that all rows have equal steps."""
        folder, trained = self._folder(row.name, seed), self.made[row.name, seed]
        made_by = fingerprint(trained.fingerprint, self.shared.data, self.split, DEPTH)

        def make() -> Run:
            model = load_joint(trained.model)
            return dense_run(model, self.collection, self.split, folder, keep=self.keep_vectors)

        return _Ranking(made_by, self.qrels, make)

    def _bm25(self) -> _Ranking:
        def make() -> Run:
            questions = self.collection.queries(self.split)
            return BM25(self.collection.passages()).search(questions, DEPTH)

        return _Ranking(fingerprint("bm25", self.split, DEPTH, (self.shared.data,)), self.qrels, make)

    def _base(self, folder: Path) -> _Ranking:
        """The run of the untrained base, with the recipe's layers and the last training's lengths."""
        last, base, layers = self.recipe.stages[-1].training, self.recipe.base, self.recipe.layers
        lengths = ScoreSettings()
        if last is not None:
            lengths = ScoreSettings(query_length=last.query_length, passage_length=last.passage_length)
        parts = (self.shared.data, self.shared.base, layers, lengths.model_dump())

        def make() -> Run:
            return dense_run(
                from_base(base, settings=lengths, layers=layers), self.collection, self.split, folder
            )

        return _Ranking(fingerprint("base", self.split, DEPTH, parts), self.qrels, make)

    def _ceiling(self, name: str, seed: int) -> _Ranking:
        """The best of the row that gains are counted from, re-ranked, over a fixed sample of questions."""
        folder, first = self._folder(name, seed), self._folder(self.start, seed) / f"{self.split}.trec"
        all_asked = [query for query in self.collection.queries(self.split) if relevant(self.qrels, query.id)]
        questions: list[Query] = sample(all_asked, CEILING_QUESTIONS, 0)
        kept = {query.id: self.qrels[query.id] for query in questions}
        parts: list[Any] = [name, sha256_file(first), sorted(kept)]
        if name in LATE_OF:
            trained = self.made[LATE_OF[name], seed]
            parts.append(trained.fingerprint)

            def make() -> Run:
                model = load_joint(trained.model)
                return late_rerank(model, self.collection, questions, read_run(first), folder)
        else:
            stage = [stage for stage in self.recipe.stages if stage.teacher is not None][-1]
            parts.append(self.shared.manifests[stage.name].fingerprint)
            given = self.shared.input_paths(Inputs(teacher=stage.name))

            def make() -> Run:
                whole, teachers = read_run(first), stage.needs(given.open_teacher(), "gives no teacher")
                some = {query: whole[query] for query in kept if query in whole}
                return rerank_run(teachers, self.collection, some, self.split, DEPTH)

        return _Ranking(fingerprint(*parts), kept, make)


def measured_run(
    folder: Path, split: str, made_by: str, qrels: Qrels, make: Callable[[], Run], tag: str
) -> Measured:
    """The measures of ``folder/SPLIT.trec``, which is made if it is missing.

    Args:
        folder: of the row.
        split: names the two files, ``SPLIT.trec`` and ``SPLIT.json``.
        made_by: fingerprint of everything that determines the run.
        qrels: to measure it by.
        make: searches, or re-ranks.
        tag: of the run file.

    Raises:
        StorageError: the run was altered since it was measured.
    """
    known = known_run(folder, split, made_by)
    if known is not None:
        return known
    run, result = _files(folder, split)
    result.unlink(missing_ok=True)
    write_run(run, make(), tag=tag)
    measured = evaluate_run(qrels, read_run(run), MEASURES)
    values_of: dict[str, Any] = {name: measured.of(name).tolist() for name in MEASURES}
    means = {name: measured.mean(name) for name in MEASURES}
    write_json(
        result,
        {
            "made_by": made_by,
            "run_sha256": sha256_file(run),
            "means": means,
            "missing": measured.missing,
            "queries": list(measured.query_ids),
            "values": values_of,
        },
    )
    return measured


def known_run(folder: Path, split: str, made_by: str) -> Measured | None:
    """The measures of ``folder/SPLIT.trec``; ``None`` if it is missing, or was made from something else.

    Raises:
        StorageError: the run was altered since it was measured.
    """
    run, result = _files(folder, split)
    if not (result.is_file() and run.is_file()):
        return None
    found = read_json(result)
    if found["made_by"] != made_by:
        return None
    if sha256_file(run) != found["run_sha256"]:
        raise StorageError(f"{run} was altered since it was measured; delete it to make it again")
    values = {name: np.asarray(found["values"][name]) for name in MEASURES}
    return Measured(tuple(found["queries"]), values, found["missing"])


def _files(folder: Path, split: str) -> tuple[Path, Path]:
    """Files of a row's run and of its measures."""
    return folder / f"{split}.trec", folder / f"{split}.json"


def dense_run(
    model: JointEncoder, collection: Collection, split: str, folder: Path, *, keep: bool = False
) -> Run:
    """Search the split's questions with the single vectors, whose shards are made in ``folder``.

    The shards are removed afterwards unless ``keep`` is set; kept ones are used again.
    """
    shards = folder / "shards"
    encode_collection(
        model, collection.passages(), shards, data_fingerprint=collection.fingerprint, with_tokens=False
    )
    run = Searcher(model, index_shards(shards, "memory://")).run(
        collection.queries(split), DEPTH, mode="dense"
    )
    if not keep:
        shutil.rmtree(shards)
    return run


def late_rerank(
    model: JointEncoder, collection: Collection, questions: Iterable[Query], first: Run, folder: Path
) -> Run:
    """Re-rank the first stage's passages of each question by the model's late interaction.

    Only the passages that ``first`` names are encoded.
    """
    asked = list(questions)
    wanted = {passage for query in asked for passage in first.get(query.id, {})}
    shards = folder / "shards"
    encode_collection(
        model,
        _only(collection, wanted),
        shards,
        data_fingerprint=fingerprint(collection.fingerprint, sorted(wanted)),
    )
    index = index_shards(shards, "memory://")
    tokens = model.encode_joint([query.text for query in asked], "query").tokens
    run: Run = {}
    for query, matrix in zip(asked, tokens, strict=True):
        scores = first.get(query.id, {})
        ranking = Staged.of("dense", top_ids(list(scores), list(scores.values()), len(scores)))
        staged = rerank(index, matrix, ranking, DEPTH) if scores else ranking
        run[query.id] = dict(zip(staged.ids, staged.scores.tolist(), strict=True))
    shutil.rmtree(shards)
    return run


def _only(collection: Collection, wanted: set[str]) -> Iterable[Passage]:
    return (passage for passage in collection.passages() if passage.id in wanted)
