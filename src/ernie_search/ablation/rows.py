"""The rows of an ablation: changes of a recipe's last training, and rows that train nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ernie_search._util.files import did_you_mean
from ernie_search.errors import SettingsError
from ernie_search.pipeline.recipe import AnyStage, Recipe, changed_for_row, rows_file
from ernie_search.pipeline.stage import Inputs, available_after

UNTRAINED = {
    "bm25": "BM25",
    "base": "the base model, as it comes",
    "ceiling-late": "late interaction of full re-ranks the top 100 of alone",
    "ceiling-cross": "the cross-encoder re-ranks the top 100 of alone",
}
"""Rows without a training, described."""
UNSEEDED = ("bm25", "base")
"""Rows without randomness, so without seeds."""
RERANKED, LATE_OF = "alone", "full"
"""The row whose run the ceilings re-rank, and the row whose late interaction re-ranks it."""
NEEDED = {"ceiling-late": (RERANKED, LATE_OF), "ceiling-cross": (RERANKED,)}
"""Rows that a row is made from."""

Values = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Row:
    """One row of an ablation.

    Attributes:
        name: in ``--rows`` and in the table.
        what: its description.
        stage: the training; ``None`` for a row that trains nothing.
        teacher: the training of its frozen teacher, for the row that has one.
        warm_up: what its training starts from, for the row that does not share the recipe's; one for all
            seeds.
    """

    name: str
    what: str
    stage: AnyStage | None = None
    teacher: AnyStage | None = None
    warm_up: AnyStage | None = None


def declared_rows(recipe: Recipe) -> dict[str, Row]:
    """Every row that the recipe allows, by name, in the order of the table.

    A row that needs scores, a teacher or a warm-up is left out where the recipe has none before its last
    training.
    """
    last = recipe.stages[-1]
    if last.training is None:
        raise SettingsError(
            f"{recipe.name}: its last stage is {last.name!r}, and rows are changes of a training; "
            "end the recipe with one"
        )
    first = _warm_up(recipe)
    rows = {name: Row(name, UNTRAINED[name]) for name in UNSEEDED}
    written = rows_file()
    zero = dict.fromkeys(written["weights"], 0.0)
    for name, one in written["rows"].items():
        changes = zero | {"interaction_teacher": "late"} | _figures(one.get("set", {}), last)
        changes = {} if one.get("whole") else changes
        stage = changed_for_row(last, changes | recipe.rows.get(name, {}))
        teacher = None
        if "teacher" in one:
            teacher = changed_for_row(last, zero | _figures(one["teacher"], last))
        try:
            for tried in (stage, *([teacher] if teacher else [])):
                inputs_of(tried, recipe)
        except SettingsError:
            continue
        if "warm-up" not in one:
            rows[name] = Row(name, one["what"], stage, teacher)
        elif first is not None:
            own = changed_for_row(first, zero | _figures(one["warm-up"], first))
            rows[name] = Row(name, one["what"], stage, teacher, None if own == first else own)
    rows["ceiling-late"] = Row("ceiling-late", UNTRAINED["ceiling-late"])
    if any(stage.kind == "teacher" for stage in recipe.stages):
        rows["ceiling-cross"] = Row("ceiling-cross", UNTRAINED["ceiling-cross"])
    return rows


def trained_as(recipe: Recipe) -> dict[str, str]:
    """Rows with the same training as an earlier row, and that row: it is trained once, for both.

    Where the recipe's last stage is, say, the cascade alone, its row *full* is the row *cascade*.
    """
    first: dict[str, str] = {}
    found = {}
    for name, row in declared_rows(recipe).items():
        if row.stage is not None:
            parts = [one and one.settings.model_dump_json() for one in (row.stage, row.teacher, row.warm_up)]
            same = first.setdefault(repr(parts), name)
            if same != name:
                found[name] = same
    return found


def chosen_rows(recipe: Recipe, names: Sequence[str] | None) -> list[Row]:
    """The rows of these names, or all, with the rows that they are made from, in the order of the table.

    Raises:
        SettingsError: an unknown row (with the nearest known one), or one that the recipe does not allow.
    """
    rows = declared_rows(recipe)
    if names is None:
        return list(rows.values())
    written = rows_file()["rows"]
    for name in names:
        if name not in written and name not in UNTRAINED:
            raise SettingsError(f"unknown row {name!r}{did_you_mean(name, [*written, *UNTRAINED])}")
        if name not in rows:
            raise SettingsError(
                f"row {name!r} {_lack(name, written, recipe.name)}; leave the row out, or take a recipe "
                "with all stages, such as squad"
            )
    wanted = {other for name in names for other in (name, *NEEDED.get(name, ()))}
    return [row for name, row in rows.items() if name in wanted]


def _lack(name: str, written: Mapping[str, Any], recipe: str) -> str:
    """Why a recipe does not allow a known row, as the end of a sentence."""
    if "warm-up" in written.get(name, {}):
        return (
            f"has a warm-up of its own, and the last training of {recipe} starts from no warm-up of the base"
        )
    if name in UNTRAINED:
        return f"needs a teacher, and {recipe} has none before its last training"
    return f"needs a teacher's scores, and {recipe} has no score before its last training"


def _figures(values: Mapping[str, Any], stage: AnyStage) -> Values:
    """Settings with ``recipe 3`` replaced by the stage's own value, or by 3 where that is 0."""
    own = stage.settings.model_dump()

    def figure(key: str, value: Any) -> Any:
        if isinstance(value, str) and value.startswith("recipe "):
            return own[key] or float(value.removeprefix("recipe "))
        return value

    return {key: figure(key, value) for key, value in values.items()}


def _warm_up(recipe: Recipe) -> AnyStage | None:
    """The warm-up that the last training starts from; ``None`` if it starts from something else."""
    for stage, inputs in zip(recipe.stages, recipe.inputs, strict=True):
        if stage.name == recipe.inputs[-1].model and stage.kind == "warm-up" and inputs.model is None:
            return stage
    return None


def inputs_of(stage: AnyStage, recipe: Recipe) -> Inputs:
    """Inputs of a row's training, which takes the place of the recipe's last stage.

    Raises:
        SettingsError: something that it needs is made by no stage before it.
    """
    shared = available_after(recipe.stages[:-1], recipe.lists)
    return stage.changed({"interaction_teacher": "late"}).reads(shared)


def with_seed(stage: AnyStage, seed: int) -> AnyStage:
    """The same stage under another seed."""
    return stage.changed({"seed": seed})
