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
    NEEDED,
    RERANKED,
    UNSEEDED,
    Row,
    chosen_rows,
    declared_rows,
    inputs_of,
    trained_as,
    with_seed,
)
from ernie_search.ablation.table import RowResult, figures, markdown
from ernie_search.data import Collection
from ernie_search.data.collection import hold
from ernie_search.encoding import encode_collection
from ernie_search.errors import SettingsError, StorageError, TrainingError
from ernie_search.evaluation import Measured, evaluate_run, read_run, write_run
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
"""Folders of a row's trainings, in their order; a warm-up's lies above those of the seeds."""
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
) -> Ablation:
    """Train and measure the rows of an ablation; finished ones are only read.

    Args:
        recipe: its last stage is what the rows change; its other stages run once, in ``output/shared``.
        collection: with a ``train`` split, and the one to measure on.
        output: ``rows/NAME/seed-N``: training, run and measures of each (a warm-up of a row's own in
            ``rows/NAME/warm-up``); ``table.md`` and ``table.json``, written anew after each row, with all
            that this recipe has come to there, in earlier calls, too.
        rows: names of :func:`~ernie_search.ablation.declared_rows`; ``None``: all that the recipe allows.
        seeds: of the rows' training.
        split: whose questions are measured.
        observer: called with every event, and with ``row`` (name, seed).
        keep_vectors: leave each row's passage vectors in its folder: measuring another split then encodes its
            questions alone.

    Raises:
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
        "steps": getattr(recipe.stages[-1].settings, "steps", None),
        "changed": {row.name: dict(recipe.rows[row.name]) for row in shown if row.name in recipe.rows},
    }
    table: dict[str, Any] = {}
    for seed in seeds:
        for row in chosen:
            result = results[row.name]
            key = None if row.name in UNSEEDED else seed
            if key is not None or not result.measured:
                result.add(key, made.measured(row, key), made.seconds(row, key))
            table = figures(results, about)
            write_json(output / TABLE, table)
            with atomic_write(output / "table.md") as handle:
                handle.write(markdown(table))
    return Ablation(table, output / "table.md", output / TABLE)


def _asked_before(table: Path) -> list[str]:
    """Rows that earlier calls asked for, on any split."""
    return list(read_json(table).get("asked", [])) if table.is_file() else []


@dataclass(frozen=True, slots=True)
class _Trained:
    """A row's finished training.

    Attributes:
        fingerprint: of the training that the row is measured by.
        seconds: of it, with those of a frozen teacher that the row alone needs.
    """

    fingerprint: str
    seconds: float


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
        self.qrels = collection.qrels(split)  # first: an unknown split is refused before anything is trained
        before = recipe.stages[:-1]
        folders = {stage.name: output / "shared" / stage.name for stage in before}
        self.shared = run_stages(recipe, len(before), self.collection, folders, observer)
        self.made: dict[tuple[str, int], _Trained] = {}

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
        return None if row.stage is None or seed is None else self.made[row.name, seed].seconds

    def measured(self, row: Row, seed: int | None) -> Measured:
        """A row's measures; what is missing is trained, searched or re-ranked.

        Args:
            row: of the recipe.
            seed: of its training; ``None`` for a row without one.
        """
        self.observer("row", {"name": row.name, "seed": seed})
        if row.stage is not None and seed is not None:
            self._trained(row, row.stage, seed, train=True)
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
            if (
                row.stage is not None
                and seed is not None
                and not self._trained(row, row.stage, seed, train=False)
            ):
                return None
        except TrainingError as error:
            self.observer(
                "advice", {"text": f"row {row.name}, seed {seed}, is left out of the table: {error}"}
            )
            return None
        if seed is not None and row.name in NEEDED:
            first = self._folder(RERANKED, seed) / f"{self.split}.trec"
            if not first.is_file() or any((name, seed) not in self.made for name in NEEDED[row.name]):
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

    def _trainings(self, row: Row, last: AnyStage, seed: int) -> list[tuple[str, AnyStage, Path]]:
        """Trainings of a row with their folders: if any a warm-up and a frozen teacher, then its own.

        Its warm-up is one for all seeds, under the recipe's, as the shared one is.
        """
        first = [] if row.warm_up is None else [(WARM_UP, row.warm_up, self._folder(row.name) / WARM_UP)]
        seeded = [
            (part, stage) for part, stage in ((TEACHER, row.teacher), (TRAIN, last)) if stage is not None
        ]
        folder = self._folder(row.name, seed)
        return [*first, *((part, with_seed(stage, seed), folder / part) for part, stage in seeded)]

    def _trained(self, row: Row, last: AnyStage, seed: int, *, train: bool) -> bool:
        """Train a row, or without ``train`` only look for its trainings; return whether all are there.

        Seconds are of what the row trains beside a warm-up, so that all rows' count the same.
        """
        shared, seconds = self.shared, 0.0
        before = replace(shared, folders=dict(shared.folders), manifests=dict(shared.manifests))
        for part, stage, folder in self._trainings(row, last, seed):
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
                self.made[row.name, seed] = _Trained(made.fingerprint, seconds)
        return True

    def _ranking(self, row: Row, seed: int | None) -> _Ranking:
        if row.name == "bm25":
            return self._bm25()
        if row.name == "base":
            return self._base(self._folder(row.name))
        if seed is None:
            raise SettingsError(f"row {row.name} has seeds, and none was given")
        return self._dense(row, seed) if row.stage is not None else self._ceiling(row.name, seed)

    def _dense(self, row: Row, seed: int) -> _Ranking:
        """The run of a trained row, by the last step's model, so that all rows have equal steps."""
        folder = self._folder(row.name, seed)
        made_by = fingerprint(self.made[row.name, seed].fingerprint, self.shared.data, self.split, DEPTH)

        def make() -> Run:
            model = load_joint(folder / TRAIN / "last")
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
        """The best of *alone*, re-ranked, over a fixed sample of the questions."""
        folder, first = self._folder(name, seed), self._folder(RERANKED, seed) / f"{self.split}.trec"
        all_asked = [query for query in self.collection.queries(self.split) if relevant(self.qrels, query.id)]
        questions: list[Query] = sample(all_asked, CEILING_QUESTIONS, 0)
        kept = {query.id: self.qrels[query.id] for query in questions}
        parts: list[Any] = [name, sha256_file(first), sorted(kept)]
        if name == "ceiling-late":
            parts.append(self.made[LATE_OF, seed].fingerprint)

            def make() -> Run:
                model = load_joint(self._folder(LATE_OF, seed) / TRAIN / "last")
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
        ranking = Staged.of_dense(top_ids(list(scores), list(scores.values()), len(scores)))
        staged = rerank(index, matrix, ranking, DEPTH) if scores else ranking
        run[query.id] = dict(zip(staged.ids, staged.scores.tolist(), strict=True))
    shutil.rmtree(shards)
    return run


def _only(collection: Collection, wanted: set[str]) -> Iterable[Passage]:
    return (passage for passage in collection.passages() if passage.id in wanted)
