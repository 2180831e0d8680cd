"""One recipe, many rows: the stages before its last run once, then each row and seed trains that one anew."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ernie_search.data import Collection
from ernie_search.errors import SettingsError
from ernie_search.files import atomic_write, read_json, write_json
from ernie_search.recipes.ablation_table import RowResult, figures, markdown
from ernie_search.recipes.attention_teacher import check_attention_teachers
from ernie_search.recipes.lab import Lab
from ernie_search.recipes.recipe import Recipe
from ernie_search.recipes.rows import UNSEEDED, Row, chosen_rows, declared_rows
from ernie_search.recipes.task import Observer, Work
from ernie_search.recipes.work import WORK
from ernie_search.training.world import World

SEEDS = (0, 1, 2)
TABLE = "table.json"


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
        output: ``rows/NAME/seed-N``: training, run and measures of each (a warm-up of a row's own in
            ``rows/NAME/warm-up``); ``table.md`` and ``table.json``,
            written anew after each row, with all that this recipe has come to there, in earlier calls, too.
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
            check_attention_teachers([*recipe.stages[:-1], row.stage], recipe.base, recipe.lists)
    observer = observer or (lambda event, values: None)
    lab = Lab(recipe, collection, output, split, observer, works, keep_vectors=keep_vectors)
    asked = {*_asked_before(output / TABLE), *(row.name for row in chosen)}
    shown = [row for row in declared_rows(recipe).values() if row.name in asked]
    results = {row.name: _earlier(lab, row) for row in shown}
    about = {
        "asked": [row.name for row in shown],
        "recipe": recipe.name,
        "base": recipe.base,
        "layers": recipe.layers,
        "collection": collection.fingerprint,
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
                result.add(key, lab.measured(row, key), None if key is None else lab.seconds(row, key))
            table = figures(results, about)
            write_json(output / TABLE, table)
            with atomic_write(output / "table.md") as handle:
                handle.write(markdown(table))
    return Ablation(table, output / "table.md", output / TABLE)


def _asked_before(table: Path) -> list[str]:
    """Rows that earlier calls were asked for, whatever split they measured."""
    return list(read_json(table).get("asked", [])) if table.is_file() else []


def _earlier(lab: Lab, row: Row) -> RowResult:
    """A row with what earlier calls measured of it."""
    result = RowResult(row.name, lab.said(row), trained_as=lab.trained_as.get(row.name))
    for seed in lab.seeds_of(row):
        measured = lab.found(row, seed)
        if measured is not None:
            result.add(seed, measured, None if seed is None else lab.seconds(row, seed))
    return result
