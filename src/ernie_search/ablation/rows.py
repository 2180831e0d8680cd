"""The rows of an ablation: changes of a recipe's last training, and rows that train nothing."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ernie_search._util.files import did_you_mean
from ernie_search.errors import SettingsError
from ernie_search.pipeline.recipe import AnyStage, Recipe, changed_for_row, rows_file
from ernie_search.pipeline.stage import Inputs, available_after

WARM = "warm"
UNTRAINED = {
    "bm25": "BM25",
    "base": "the base model, as it comes",
    WARM: "the shared warm-up, as it is",
    "late-interaction": "late interaction of interaction re-ranks the top 100 of {start}",
    "ceiling-late": "late interaction of full re-ranks the top 100 of {start}",
    "ceiling-cross": "the cross-encoder re-ranks the top 100 of {start}",
}
"""Rows without a training of their own, described; ``{start}`` is the row that gains are counted from."""
UNSEEDED = ("bm25", "base")
"""Rows without randomness, so without seeds."""
STARTS = ("alone-throughout", "alone-base-pooling", "alone")
"""The row that the gap closed is counted from, and whose run is re-ranked: the first that there is."""
LATE_OF = {"late-interaction": "interaction", "ceiling-late": "full"}
"""Rows that re-rank by late interaction, and the row whose model does it."""
RERANKING = (*LATE_OF, "ceiling-cross")
"""Rows that re-rank the first passages of the row that gains are counted from."""

Values = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Row:
    """One row of an ablation.

    Attributes:
        name: in ``--rows`` and in the table.
        what: its description.
        stage: the training; ``None`` for a row that trains nothing.
        teacher: the training of its frozen teacher, for the row that has one.
        warm_up: what its training starts from, for the row that does not share the recipe's.
        peers: rows that it is compared with, beside *alone* and *both*.
    """

    name: str
    what: str
    stage: AnyStage | None = None
    teacher: AnyStage | None = None
    warm_up: AnyStage | None = None
    peers: tuple[str, ...] = ()


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
    first = warm_up_of(recipe)
    rows = {name: Row(name, UNTRAINED[name]) for name in UNSEEDED}
    if first is not None:
        rows[WARM] = Row(WARM, UNTRAINED[WARM])
    for name, one in rows_file()["rows"].items():
        row = _declared(name, one, recipe, last, first)
        if row is not None:
            rows[name] = row
    start, taught = start_of(rows), any(stage.kind == "teacher" for stage in recipe.stages)
    for name in RERANKING:
        if taught or name in LATE_OF:
            rows[name] = Row(name, UNTRAINED[name].format(start=start))
    return rows


def _declared(
    name: str, one: Mapping[str, Any], recipe: Recipe, last: AnyStage, first: AnyStage | None
) -> Row | None:
    """A row as ``rows.yaml`` has it; ``None`` where the recipe, or these settings, don't allow it."""
    zero = dict.fromkeys(rows_file()["weights"], 0.0)
    if ("warm-up" in one and first is None) or ("without-warm-up" in one and first is not None):
        return None
    throughout = one.get("throughout", {})
    changes = zero | {"interaction_teacher": "late"} | throughout | _figures(one.get("set", {}), last)
    changes = {} if one.get("whole") else changes
    stage = changed_for_row(last, changes | recipe.rows.get(name, {}))
    teacher = None
    if "teacher" in one:
        teacher = changed_for_row(last, zero | _figures(one["teacher"], last))
    try:
        for tried in (stage, *([teacher] if teacher else [])):
            inputs_of(tried, recipe)
    except SettingsError:
        return None
    own = None
    if "warm-up" in one and first is not None:
        own = changed_for_row(first, zero | throughout | _figures(one["warm-up"], first))
        own = None if own == first else own
    return Row(name, one["what"], stage, teacher, own, tuple(one.get("over", ())))


def start_of(rows: Collection[str]) -> str:
    """The row of these that the gap closed is counted from: a dual-encoder alone, if it can be throughout."""
    return next((name for name in STARTS if name in rows), STARTS[-1])


def needed_by(name: str, rows: Collection[str]) -> tuple[str, ...]:
    """Rows that a row is made from."""
    if name not in RERANKING:
        return ()
    return tuple(dict.fromkeys([start_of(rows), *([LATE_OF[name]] if name in LATE_OF else [])]))


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
        SettingsError: no row at all, an unknown one (with the nearest known), or one that the recipe does not
            allow.
    """
    rows = declared_rows(recipe)
    if names is None:
        return list(rows.values())
    if not names:
        raise SettingsError(f"no row is named; choose some of {', '.join(rows)}, or leave --rows out")
    written = rows_file()["rows"]
    for name in names:
        if name not in written and name not in UNTRAINED:
            raise SettingsError(f"unknown row {name!r}{did_you_mean(name, [*written, *UNTRAINED])}")
        if name not in rows:
            raise SettingsError(
                f"row {name!r} {_lack(name, written, recipe.name)}; leave the row out, or take a recipe "
                "with all stages, such as squad"
            )
    wanted = {other for name in names for other in (name, *needed_by(name, rows))}
    return [row for name, row in rows.items() if name in wanted]


def _lack(name: str, written: Mapping[str, Any], recipe: str) -> str:
    """Why a recipe does not allow a known row, as the end of a sentence."""
    if written.get(name, {}).get("without-warm-up"):
        return f"is of recipes without a warm-up, and {recipe} has one; take its row called throughout"
    if name == WARM or "warm-up" in written.get(name, {}):
        said = "is the warm-up" if name == WARM else "has a warm-up of its own"
        return f"{said}, and the last training of {recipe} starts from no warm-up of the base"
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


def warm_up_of(recipe: Recipe) -> AnyStage | None:
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
