"""One recipe, many rows: the stages before its last run once, then each row and seed trains that one anew."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ernie_search.data import Collection
from ernie_search.errors import SettingsError
from ernie_search.evaluation import Measured, read_run
from ernie_search.files import atomic_write, fingerprint, sha256_file, write_json
from ernie_search.mining import BM25
from ernie_search.model import ScoreSettings, from_base, load
from ernie_search.recipes import row_runs
from ernie_search.recipes.ablation_table import RowResult, figures, markdown
from ernie_search.recipes.engine import fingerprints, given_by, perform
from ernie_search.recipes.manifest import StageManifest, weights_identity
from ernie_search.recipes.order import wire
from ernie_search.recipes.recipe import Recipe
from ernie_search.recipes.rows import LATE_OF, RERANKED, Row, chosen_rows, trained_as, with_seed
from ernie_search.recipes.run import run_stages
from ernie_search.recipes.shared_tokenizer import check_shared_tokenizer
from ernie_search.recipes.stage import Stage
from ernie_search.recipes.task import Given, Observer, Task, Work
from ernie_search.recipes.work import WORK
from ernie_search.teacher import Teachers, rerank_run
from ernie_search.training.prepare import relevant, sample
from ernie_search.training.world import World
from ernie_search.types import Query, Run

CEILING_QUESTIONS = 500
"""Questions that the ceilings are measured on: a cross-encoder over 100 passages each takes its time."""
SEEDS = (0, 1, 2)


@dataclass(frozen=True, slots=True)
class Ablation:
    """A finished table.

    Attributes:
        table: :func:`~ernie_search.recipes.ablation_table.figures`.
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
    works: Mapping[str, Work] = WORK,
) -> Ablation:
    """Run the rows of a comparison, or those that are left; what is done is only read.

    Args:
        recipe: its last stage is what the rows change; its other stages run once, in ``output/shared``.
        collection: with a ``train`` split, and the one to measure on.
        output: ``rows/NAME/seed-N``: training, run and measures of each; ``table.md`` and ``table.json``,
            written anew after each row.
        rows: names of :func:`~ernie_search.recipes.rows.declared_rows`; ``None``: all that the recipe allows.
        seeds: of the rows' training.
        split: whose questions are measured.
        observer: told of every event, and of ``row`` (name, seed).
        keep_vectors: leave each row's passage vectors in its folder: measuring another split then encodes its
            questions alone.
        works: what does a stage, by its kind.

    Raises:
        SettingsError: an unknown row, or one that the recipe does not allow; several processes.
        ModelError: attention is to teach a row, and teacher and student have other tokenizers.
        ErnieSearchError: see :func:`~ernie_search.recipes.run.run_recipe`.
    """
    if World.launched().size > 1:
        raise SettingsError("an ablation runs in one process; start it without torchrun or accelerate launch")
    chosen = chosen_rows(recipe, rows)
    for row in chosen:
        if row.stage is not None and row.stage.training is not None and row.stage.training.attention_weight:
            check_shared_tokenizer([*recipe.stages[:-1], row.stage], recipe.base, recipe.lists)
    observer = observer or (lambda event, values: None)
    lab = _Lab(recipe, collection, output, split, observer, works, keep_vectors)
    results = {
        row.name: RowResult(row.name, lab.said(row), trained_as=lab.trained_as.get(row.name))
        for row in chosen
    }
    about = {
        "recipe": recipe.name,
        "base": recipe.base,
        "layers": recipe.layers,
        "collection": collection.fingerprint,
        "split": split,
        "steps": getattr(recipe.stages[-1].settings, "steps", None),
    }
    table: dict[str, Any] = {}
    for seed in seeds:
        for row in chosen:
            result = results[row.name]
            if row.name in ("bm25", "base"):
                if not result.measured:
                    result.measured[None] = lab.untrained(row.name)
            elif row.stage is None:
                result.measured[seed] = lab.ceiling(row.name, seed)
            else:
                result.measured[seed], result.seconds[seed] = lab.trained(row, seed)
            table = figures(results, about)
            write_json(output / "table.json", table)
            with atomic_write(output / "table.md") as handle:
                handle.write(markdown(table))
    return Ablation(table, output / "table.md", output / "table.json")


class _Lab:
    """What all rows share: the stages before the last, and how a row is trained and measured."""

    def __init__(
        self,
        recipe: Recipe,
        collection: Collection,
        output: Path,
        split: str,
        observer: Observer,
        works: Mapping[str, Work],
        keep_vectors: bool,
    ) -> None:
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
        self.made: dict[tuple[str, int], StageManifest] = {}

    def said(self, row: Row) -> str:
        """A row in words, with the row whose training it shares."""
        same = self.trained_as.get(row.name)
        return row.what if same is None else f"{row.what}: that of {same}"

    def _folder(self, name: str, seed: int | None = None) -> Path:
        folder = self.output / "rows" / self.trained_as.get(name, name)
        return folder if seed is None else folder / f"seed-{seed}"

    def trained(self, row: Row, seed: int) -> tuple[Measured, float]:
        """A row's measures, and the seconds of its training, with those of a teacher that it alone needs."""
        if row.stage is None:
            raise TypeError(f"{row.name} has no training")
        folder = self._folder(row.name, seed)
        self.observer("row", {"name": row.name, "seed": seed})
        frozen: dict[str, Any] = {}
        frozen_model: Path | None = None
        seconds = 0.0
        if row.teacher is not None:
            made = self._train(with_seed(row.teacher, seed), folder / "teacher", {}, None)
            frozen, frozen_model = {"frozen": made.fingerprint}, folder / "teacher" / "last"
            seconds = made.seconds
        made = self._train(with_seed(row.stage, seed), folder / "train", frozen, frozen_model)
        self.made[row.name, seed] = made
        measured = row_runs.measured_run(
            folder,
            self.split,
            fingerprint(made.fingerprint, self.data, self.split, row_runs.DEPTH),
            self.qrels,
            lambda: row_runs.dense_run(
                load(folder / "train" / "last"), self.collection, self.split, folder, keep=self.keep_vectors
            ),
            row.name,
        )
        return measured, seconds + made.seconds

    def _train(self, stage: Stage, folder: Path, more: dict[str, Any], frozen: Path | None) -> StageManifest:
        """Train in ``folder``; the last step's model is what is measured, so all rows have equal steps."""
        stages = [*self.recipe.stages[:-1], stage]
        inputs = wire(stages, self.recipe.lists)[-1] if frozen is None else self._wired_with_teacher(stages)
        given: Given = given_by(inputs, self.shared, self.folders, self.recipe.base, self.recipe.layers)
        if frozen is not None:
            given = replace(given, frozen=frozen)
        read = fingerprints(stage, inputs, self.shared, self.data, self.identity, self.recipe.layers)
        task = Task(stage, self.collection, folder, given, self.observer)
        made = perform(task, read | more, self.works[stage.kind])
        for checkpoint in folder.glob("checkpoint-*"):  # as large as three models each
            shutil.rmtree(checkpoint)
        return made

    def _wired_with_teacher(self, stages: list[Stage]) -> Any:
        """The inputs of a training that brings its frozen teacher, which the order knows nothing of."""
        last = stages[-1]
        plain = last.settings.model_copy(update={"interaction_teacher": "late"})
        return wire([*stages[:-1], Stage(last.name, last.kind, plain)], self.recipe.lists)[-1]

    def untrained(self, name: str) -> Measured:
        """BM25, or the base as it comes."""
        self.observer("row", {"name": name, "seed": None})
        folder = self._folder(name)
        settings = self.recipe.stages[-1].training
        if name == "bm25" or settings is None:
            parts: tuple[Any, ...] = (self.data,)

            def make() -> Run:
                questions = self.collection.queries(self.split)
                return BM25(self.collection.passages()).search(questions, row_runs.DEPTH)
        else:
            lengths = ScoreSettings(
                query_length=settings.query_length, passage_length=settings.passage_length
            )
            parts = (self.data, self.identity, self.recipe.layers, lengths.model_dump())

            def make() -> Run:
                model = from_base(self.recipe.base, settings=lengths, layers=self.recipe.layers)
                return row_runs.dense_run(model, self.collection, self.split, folder)

        made_by = fingerprint(name, self.split, row_runs.DEPTH, parts)
        return row_runs.measured_run(folder, self.split, made_by, self.qrels, make, name)

    def ceiling(self, name: str, seed: int) -> Measured:
        """The top of *alone*, re-ranked; over a fixed sample of the questions."""
        self.observer("row", {"name": name, "seed": seed})
        folder, first = self._folder(name, seed), self._folder(RERANKED, seed) / f"{self.split}.trec"
        questions = self._ceiling_questions()
        kept = {query.id: self.qrels[query.id] for query in questions}
        parts: list[Any] = [name, sha256_file(first), sorted(kept)]
        if name == "ceiling-late":
            parts.append(self.made[LATE_OF, seed].fingerprint)

            def make() -> Run:
                model = load(self._folder(LATE_OF, seed) / "train" / "last")
                return row_runs.late_rerank(model, self.collection, questions, read_run(first), folder)
        else:
            teacher = [stage for stage in self.recipe.stages if stage.kind == "teacher"][-1].name
            made = self.shared[teacher]
            parts.append(made.fingerprint)
            place = made.gives if made.settings.get("use") else self.folders[teacher] / made.gives

            def make() -> Run:
                whole = read_run(first)
                some = {query: whole[query] for query in kept if query in whole}
                return rerank_run(Teachers.open(place), self.collection, some, self.split, row_runs.DEPTH)

        return row_runs.measured_run(folder, self.split, fingerprint(*parts), kept, make, name)

    def _ceiling_questions(self) -> list[Query]:
        asked = [query for query in self.collection.queries(self.split) if relevant(self.qrels, query.id)]
        return sample(asked, CEILING_QUESTIONS, 0)
