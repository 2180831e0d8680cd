"""Where an ablation's rows are made: the stages that they share, and how one is trained, measured, found
again."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ernie_search.data import Collection
from ernie_search.errors import TrainingError
from ernie_search.evaluation import Measured, read_run
from ernie_search.files import fingerprint, sha256_file
from ernie_search.mining import BM25
from ernie_search.model import ScoreSettings, from_base, load
from ernie_search.recipes import row_runs
from ernie_search.recipes.engine import done_as, fingerprints, given_by, perform
from ernie_search.recipes.manifest import StageManifest, weights_identity
from ernie_search.recipes.order import Inputs, wire
from ernie_search.recipes.recipe import Recipe
from ernie_search.recipes.rows import LATE_OF, NEEDED, RERANKED, UNSEEDED, Row, trained_as, with_seed
from ernie_search.recipes.run import run_stages
from ernie_search.recipes.stage import Stage
from ernie_search.recipes.task import Observer, Task, Work
from ernie_search.teacher import rerank_run
from ernie_search.training.prepare import relevant, sample
from ernie_search.types import Qrels, Query, Run

WARM_UP, TEACHER, TRAIN = "warm-up", "teacher", "train"
"""Folders of a row's trainings, in their order; a warm-up's is above those of the seeds."""
CEILING_QUESTIONS = 500
"""Questions that the ceilings are measured on: a cross-encoder over 100 passages each takes its time."""


@dataclass(frozen=True, slots=True)
class _Trained:
    """A row's finished training.

    Attributes:
        fingerprint: of the training that the row is measured by.
        seconds: of it, with those of a frozen teacher that the row alone needs.
    """

    fingerprint: str
    seconds: float


@dataclass(slots=True)
class _Before:
    """What a row's next training may read: the shared stages, its own warm-up in place of theirs, its frozen
    teacher."""

    shared: dict[str, StageManifest]
    folders: dict[str, Path]
    frozen: StageManifest | None = None
    frozen_model: Path | None = None


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a row's run follows from.

    Attributes:
        made_by: fingerprint of all of it.
        qrels: what counts.
        make: searches, or re-ranks.
    """

    made_by: str
    qrels: Qrels
    make: Callable[[], Run]


class Lab:
    """The rows of one recipe in one folder.

    Attributes:
        shared: manifests of the stages before the last, by name.
        trained_as: rows that share another row's training.
    """

    def __init__(
        self,
        recipe: Recipe,
        collection: Collection,
        output: Path,
        split: str,
        observer: Observer,
        works: Mapping[str, Work],
        *,
        keep_vectors: bool,
    ) -> None:
        """Run the shared stages, or what is left of them; see :func:`~ernie_search.recipes.ablate`."""
        self.recipe, self.collection, self.output, self.split = recipe, collection, output, split
        self.observer, self.works, self.keep_vectors = observer, works, keep_vectors
        self.trained_as = trained_as(recipe)
        self.data = collection.fingerprint
        self.qrels = collection.qrels(split)
        before = recipe.stages[:-1]
        self.folders = {stage.name: output / "shared" / stage.name for stage in before}
        self.shared = (
            run_stages(
                *(before, collection, self.folders, recipe.base, recipe.layers, observer, works),
                lists=recipe.lists,
            )
            if before
            else {}
        )
        self.identity = weights_identity(recipe.base)
        self.made: dict[tuple[str, int], _Trained] = {}

    def said(self, row: Row) -> str:
        """A row in words, with the row whose training it shares."""
        same = self.trained_as.get(row.name)
        return row.what if same is None else f"{row.what}: that of {same}"

    def seconds(self, row: Row, seed: int) -> float | None:
        """Of the row's training; ``None`` for a row that has none."""
        return self.made[row.name, seed].seconds if row.stage is not None else None

    def measured(self, row: Row, seed: int | None) -> Measured:
        """A row's measures; what is not there is trained, searched or re-ranked.

        Args:
            row: of the recipe.
            seed: of its training; ``None`` for a row without one.
        """
        self.observer("row", {"name": row.name, "seed": seed})
        if row.stage is not None and seed is not None:
            self._trained(row, row.stage, seed, train=True)
        asked = self._asked(row, seed)
        folder = self._folder(row.name, seed)
        return row_runs.measured_run(folder, self.split, asked.made_by, asked.qrels, asked.make, row.name)

    def found(self, row: Row, seed: int | None) -> Measured | None:
        """What an earlier call measured, if this recipe would come to the same; nothing is made for it.

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
                return None  # what a ceiling re-ranks, or re-ranks with
        return row_runs.known_run(folder, self.split, self._asked(row, seed).made_by)

    def seeds_of(self, row: Row) -> Sequence[int | None]:
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

    def _trainings(self, row: Row, last: Stage, seed: int) -> list[tuple[str, Stage, Path]]:
        """What a row trains, and where: a warm-up and a frozen teacher, if it has them, then itself.

        Its warm-up is one for all seeds, under the recipe's, as the shared one is.
        """
        first = [] if row.warm_up is None else [(WARM_UP, row.warm_up, self._folder(row.name) / WARM_UP)]
        seeded = [
            (part, stage) for part, stage in ((TEACHER, row.teacher), (TRAIN, last)) if stage is not None
        ]
        folder = self._folder(row.name, seed)
        return [*first, *((part, with_seed(stage, seed), folder / part) for part, stage in seeded)]

    def _read_by(self, part: str, stage: Stage, before: _Before) -> tuple[Inputs, dict[str, Any]]:
        """Inputs of a training, and their fingerprints."""
        wired = stage
        if before.frozen is not None:  # the order knows nothing of it
            plain = stage.settings.model_copy(update={"interaction_teacher": "late"})
            wired = Stage(stage.name, stage.kind, plain)
        inputs = Inputs()
        if part != WARM_UP:
            inputs = wire([*self.recipe.stages[:-1], wired], self.recipe.lists)[-1]
        read = fingerprints(stage, inputs, before.shared, self.data, self.identity, self.recipe.layers)
        return inputs, read if before.frozen is None else read | {"frozen": before.frozen.fingerprint}

    def _trained(self, row: Row, last: Stage, seed: int, *, train: bool) -> bool:
        """Each training of a row in turn, done or, unless ``train``, only found; whether all are there.

        Seconds are of what the row trains beside a warm-up, so that all rows' count the same.
        """
        before, seconds = _Before(dict(self.shared), dict(self.folders)), 0.0
        for part, stage, folder in self._trainings(row, last, seed):
            inputs, read = self._read_by(part, stage, before)
            if train:
                made: StageManifest | None = self._perform(stage, folder, inputs, read, before)
            else:
                made = done_as(stage, folder, read)
            if made is None:
                return False
            if part == WARM_UP:
                before.shared[stage.name], before.folders[stage.name] = made, folder
                continue
            seconds += made.seconds
            if part == TEACHER:
                before.frozen, before.frozen_model = made, folder / "last"
            else:
                self.made[row.name, seed] = _Trained(made.fingerprint, seconds)
        return True

    def _perform(
        self, stage: Stage, folder: Path, inputs: Inputs, read: dict[str, Any], before: _Before
    ) -> StageManifest:
        given = given_by(inputs, before.shared, before.folders, self.recipe.base, self.recipe.layers)
        if before.frozen is not None:
            given = replace(given, frozen=before.frozen_model)
        made = perform(
            Task(stage, self.collection, folder, given, self.observer), read, self.works[stage.kind]
        )
        for checkpoint in folder.glob("checkpoint-*"):  # as large as three models each
            shutil.rmtree(checkpoint)
        return made

    def _asked(self, row: Row, seed: int | None) -> _Asked:
        if row.name == "bm25":
            return self._bm25()
        if row.name == "base":
            return self._base(self._folder(row.name))
        if seed is None:
            raise TypeError(f"row {row.name} was given no seed")
        return self._dense(row, seed) if row.stage is not None else self._ceiling(row.name, seed)

    def _dense(self, row: Row, seed: int) -> _Asked:
        """Measured is the last step's model, so that all rows have equal steps."""
        folder = self._folder(row.name, seed)
        made_by = fingerprint(self.made[row.name, seed].fingerprint, self.data, self.split, row_runs.DEPTH)

        def make() -> Run:
            model = load(folder / TRAIN / "last")
            return row_runs.dense_run(model, self.collection, self.split, folder, keep=self.keep_vectors)

        return _Asked(made_by, self.qrels, make)

    def _bm25(self) -> _Asked:
        def make() -> Run:
            questions = self.collection.queries(self.split)
            return BM25(self.collection.passages()).search(questions, row_runs.DEPTH)

        return _Asked(fingerprint("bm25", self.split, row_runs.DEPTH, (self.data,)), self.qrels, make)

    def _base(self, folder: Path) -> _Asked:
        """The base as it comes, cut to the recipe's layers and the last training's lengths."""
        last, base, layers = self.recipe.stages[-1].training, self.recipe.base, self.recipe.layers
        lengths = ScoreSettings()
        if last is not None:
            lengths = ScoreSettings(query_length=last.query_length, passage_length=last.passage_length)
        parts = (self.data, self.identity, layers, lengths.model_dump())

        def make() -> Run:
            return row_runs.dense_run(
                from_base(base, settings=lengths, layers=layers), self.collection, self.split, folder
            )

        return _Asked(fingerprint("base", self.split, row_runs.DEPTH, parts), self.qrels, make)

    def _ceiling(self, name: str, seed: int) -> _Asked:
        """The top of *alone*, re-ranked; over a fixed sample of the questions."""
        folder, first = self._folder(name, seed), self._folder(RERANKED, seed) / f"{self.split}.trec"
        all_asked = [query for query in self.collection.queries(self.split) if relevant(self.qrels, query.id)]
        questions: list[Query] = sample(all_asked, CEILING_QUESTIONS, 0)
        kept = {query.id: self.qrels[query.id] for query in questions}
        parts: list[Any] = [name, sha256_file(first), sorted(kept)]
        if name == "ceiling-late":
            parts.append(self.made[LATE_OF, seed].fingerprint)

            def make() -> Run:
                model = load(self._folder(LATE_OF, seed) / TRAIN / "last")
                return row_runs.late_rerank(model, self.collection, questions, read_run(first), folder)
        else:
            teacher = [stage for stage in self.recipe.stages if stage.kind == "teacher"][-1].name
            parts.append(self.shared[teacher].fingerprint)
            given = given_by(Inputs(teacher=teacher), self.shared, self.folders, self.recipe.base, None)

            def make() -> Run:
                whole, teachers = read_run(first), given.open_teacher()
                if teachers is None:
                    raise TypeError(f"{teacher} gives no teachers")
                some = {query: whole[query] for query in kept if query in whole}
                return rerank_run(teachers, self.collection, some, self.split, row_runs.DEPTH)

        return _Asked(fingerprint(*parts), kept, make)
