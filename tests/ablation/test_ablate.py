"""Rows over shared stages: run once, resumed row by row, and never changed in what all must share."""

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from ernie_search.ablation import ablate
from ernie_search.ablation import rows as ablation_rows
from ernie_search.ablation.rows import chosen_rows, declared_rows, trained_as
from ernie_search.errors import SettingsError, StorageError, TrainingError
from ernie_search.pipeline import load_recipe
from ernie_search.pipeline import recipe as recipe_module
from ernie_search.pipeline.recipe import rows_file
from ernie_search.training import TrainSettings
from tiny_recipe import tiny_stages, write_recipe
from tiny_training import collection


class Killed(BaseException):
    """As a kill: nothing may catch it."""


def changes(recipe: Any, name: str) -> dict[str, Any]:
    """What a row sets otherwise than the recipe."""
    own, row = recipe.stages[-1].settings.model_dump(), declared_rows(recipe)[name]
    assert row.stage is not None
    return {key: value for key, value in row.stage.settings.model_dump().items() if value != own[key]}


def test_rows_are_the_recipes_last_training_with_other_losses() -> None:
    short_cut = {"cascade.direct_weight": 1.0}
    recipe = load_recipe("squad", {"cascade.interaction_weight": 5.0, "cascade.steps": 77, **short_cut})
    rows = declared_rows(recipe)
    assert list(rows) == [
        *("bm25", "base", "warm", "alone", "both"),
        *("alone-throughout", "alone-throughout-weighted", "both-throughout"),
        *("kl", "marginmse", "frozen-late", "ensemble", "interaction", "interaction-throughout"),
        "interaction-throughout-weighted",
        *(
            "undetached",
            "own-list",
            "cascade",
            "cascade-direct",
            "attention",
            "dual",
            "full",
            "late-interaction",
            "ceiling-late",
            "ceiling-cross",
        ),
    ]
    off = {"interaction_weight": 0.0, "cascade_weight": 0.0, "direct_weight": 0.0}
    zero = {"late_weight": 0.0, **off}
    crossless = {"cascade_weight": 0.0, "direct_weight": 0.0}
    assert changes(recipe, "alone") == zero
    assert changes(recipe, "both") == off
    assert changes(recipe, "kl") == {name: value for name, value in zero.items() if name != "direct_weight"}
    assert changes(recipe, "marginmse") == {**zero, "margin_weight": 1.0}
    frozen = {"late_weight": 0.0, **crossless, "interaction_teacher": "frozen"}
    assert changes(recipe, "frozen-late") == frozen
    assert changes(recipe, "ensemble") == {**crossless, "interaction_teacher": "ensemble"}
    assert changes(recipe, "interaction") == crossless
    assert changes(recipe, "undetached") == {**crossless, "detach_teacher": False}
    assert changes(recipe, "own-list") == {**crossless, "distillation_candidates": "own"}
    same = {"interaction-throughout": "interaction"}  # the recipe's warm-up distils late interaction, too
    weaker = load_recipe("squad", {"warm-up.interaction_weight": 0})
    assert trained_as(recipe) == same | {"full": "cascade-direct"}
    assert trained_as(load_recipe("squad")) == same | {"full": "cascade"}
    assert trained_as(load_recipe("squad", {"cascade.dual_weight": 0.5, **short_cut})) == same
    assert "interaction-throughout" not in trained_as(weaker)
    assert changes(recipe, "cascade") == {"direct_weight": 0.0}
    assert changes(recipe, "cascade-direct") == changes(recipe, "full") == {}
    assert changes(recipe, "attention") == {"direct_weight": 0.0, "attention_weight": 1.0}
    assert changes(recipe, "dual") == {"direct_weight": 0.0, "dual_weight": 1.0}
    for name, kept in (("alone", set()), ("both", {"late_weight"})):
        row = rows[f"{name}-throughout"]
        assert changes(recipe, row.name) == changes(recipe, name)
        assert row.warm_up is not None
        assert row.warm_up.training is not None
        assert set(row.warm_up.training.active_terms) - {"dense"} == {
            one.removesuffix("_weight") for one in kept
        }
        assert row.warm_up.settings == recipe.stages[0].settings.model_copy(
            update={key: 0.0 for key in ("late_weight", "interaction_weight") if key not in kept}
        )
    steps = {row.stage.settings.steps for row in rows.values() if row.stage is not None}  # type: ignore[attr-defined]
    assert steps == {77}
    teacher = rows["frozen-late"].teacher
    assert teacher is not None
    assert teacher.training is not None
    assert teacher.training.active_terms == ["late"]


def test_a_warm_up_of_its_own_is_there_only_where_it_differs() -> None:
    taught = {"warm-up.late_weight": 0, "warm-up.interaction_weight": 0}
    recipe = load_recipe("squad", taught)
    assert declared_rows(recipe)["alone-throughout"].warm_up is None
    assert trained_as(recipe) == {"alone-throughout": "alone", "full": "cascade"}
    assert declared_rows(recipe)["ceiling-late"].what.endswith("the top 100 of alone-throughout")
    late = load_recipe("squad", {"warm-up.dense_weight": 0})
    own = declared_rows(late)["alone-throughout"].warm_up
    assert own is not None
    assert own.training is not None
    assert own.training.active_terms == ["dense"]


def test_a_row_may_have_values_of_its_own_and_changes_no_other(tmp_path: Path) -> None:
    plain = load_recipe("squad")
    given = load_recipe("squad", {"rows.marginmse.margin_weight": "0.1", "rows.kl.direct_temperature": 0.2})
    assert given.rows == {"marginmse": {"margin_weight": "0.1"}, "kl": {"direct_temperature": 0.2}}
    rows, others = declared_rows(given), declared_rows(plain)
    assert changes(given, "marginmse")["margin_weight"] == 0.1
    assert changes(given, "kl")["direct_temperature"] == 0.2
    for name, row in rows.items():
        assert (row == others[name]) == (name not in given.rows), name
    file = tmp_path / "mine.yaml"
    text = "base: x\nrows:\n  both: {learning_rate: 0.5, late_weight: 2}\nstages: [warm-up]\n"
    file.write_text(text, encoding="utf-8")
    mine = load_recipe(str(file), {"rows.both.late_weight": 3})
    assert mine.rows == {"both": {"learning_rate": 0.5, "late_weight": 3}}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"rows.marginmsee.margin_weight": 1}, "squad: unknown row 'marginmsee'; did you mean 'marginmse'"),
        ({"rows.kl.direct_wieght": 1}, "row 'kl': .*direct_wieght.*direct_weight"),
        ({"rows.kl.direct_weight": "much"}, "row 'kl': .*direct_weight"),
        ({"rows.kl.steps": 7}, "squad: row 'kl': changes steps, which all rows must share"),
        ({"rows.full.dense_weight": 7}, "row 'full' is the recipe as it is; change its stage 'cascade'"),
        ({"rows.kl": 7}, r"rows\.kl: name a row and its setting"),
        ({"rows": 5, "rows.kl.direct_weight": 7}, "unknown setting 'rows'"),
    ],
)
def test_what_no_row_can_have_is_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        load_recipe("squad", given)


def test_rows_that_are_no_settings_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("base: x\nrows: {kl: 5}\nstages: [warm-up]\n", encoding="utf-8")
    for given in ({}, {"rows.both.late_weight": 3}):
        with pytest.raises(SettingsError, match=r"rows=\{'kl': 5\}: give settings by row"):
            load_recipe(str(file), given)


def test_rows_that_need_scores_are_left_out_where_there_are_none() -> None:
    recipe = load_recipe("squad-small")
    names = ["bm25", "base", "alone", "alone-base-pooling", "both", "frozen-late", "ensemble"]
    names += ["interaction", "interaction-base-pooling", "undetached", "own-list", "dual", "full"]
    found = [row.name for row in chosen_rows(recipe, None)]
    assert found == [name for name in names if name in found] + ["late-interaction", "ceiling-late"]
    assert {"alone", "both", "frozen-late", "ensemble", "interaction", "full"} <= set(found)
    with pytest.raises(
        SettingsError, match="row 'kl' needs a teacher's scores, and squad-small has no score"
    ):
        chosen_rows(recipe, ["kl"])
    with pytest.raises(
        SettingsError,
        match=r"row 'alone-throughout' has a warm-up of its own, and the last .* of squad-small",
    ):
        chosen_rows(recipe, ["alone-throughout"])
    with pytest.raises(SettingsError, match="row 'ceiling-cross' needs a teacher, and squad-small has none"):
        chosen_rows(recipe, ["ceiling-cross"])
    with pytest.raises(SettingsError, match="unknown row 'allone'; did you mean 'alone'"):
        chosen_rows(recipe, ["allone"])
    assert [row.name for row in chosen_rows(recipe, ["ceiling-late"])] == [
        *("alone-base-pooling", "full", "ceiling-late")
    ]


def test_a_table_goes_on_row_by_row_and_done_rows_cost_nothing(
    tiny_recipe: Callable[..., Path], tmp_path: Path
) -> None:
    recipe, output = load_recipe(str(tiny_recipe(1))), tmp_path / "table"
    rows = ["bm25", "base", "alone", "alone-base-pooling", "both", "full", "ceiling-late"]

    def run(kill_at: int = -1) -> tuple[Any, list[str]]:
        events: list[str] = []

        def observer(event: str, values: dict[str, Any]) -> None:
            events.append(event)
            if len(events) - 1 == kill_at:
                raise Killed

        return ablate(recipe, collection(), output, rows=rows, seeds=[0, 1], observer=observer), events

    with pytest.raises(Killed):
        run(20)
    done, _ = run()
    table = json.loads(done.json.read_text())
    assert table == done.table
    assert [row["row"] for row in table["rows"]] == rows
    by_name = {row["row"]: row for row in table["rows"]}
    assert [by_name[name]["seeds"] for name in ("bm25", "alone", "full")] == [[], [0, 1], [0, 1]]
    assert by_name["alone"]["over_alone"] is None
    over = by_name["full"]["over_alone"]
    assert over["difference"] == pytest.approx(by_name["full"]["MRR@10"] - by_name["alone"]["MRR@10"])
    assert [one["seed"] for one in over["seeds"]] == [0, 1]
    assert by_name["bm25"]["over_both"]["p"] <= 1
    assert (table["ceiling"]["valid"], table["ceiling"]["cross"]) == (True, None)  # late interaction's alone
    assert "cross-encoder" not in done.markdown.read_text()
    assert not list(output.rglob("checkpoint-*"))
    assert not list(output.rglob("shards"))
    again, events = run()
    assert again.table == done.table
    assert set(events) == {"row"}
    fewer = ablate(recipe, collection(), output, rows=["alone"], seeds=[1])
    assert fewer.table == done.table  # what earlier calls measured stays in the table
    other = load_recipe(str(tiny_recipe(1)), {"learning_rate": 0.5})
    told: list[str] = []

    def hear(event: str, values: dict[str, Any]) -> None:
        if event == "advice":
            told.append(values["text"])

    with pytest.raises(TrainingError, match=r"learning_rate 0\.001, now 0\.5"):
        ablate(other, collection(), output, rows=["both"], seeds=[0], observer=hear)
    assert told[0].startswith("row alone, seed 0, is left out of the table: ")
    assert "learning_rate 0.001, now 0.5" in told[0]
    assert json.loads(done.json.read_text()) == done.table
    changed = output / "rows" / "alone" / "seed-0" / "dev.trec"
    changed.write_text(changed.read_text().replace("p1 ", "p2 "))
    with pytest.raises(StorageError, match=r"dev\.trec was altered since it was measured"):
        run()


def test_kept_vectors_serve_another_split(tiny_recipe: Callable[..., Path], tmp_path: Path) -> None:
    recipe, output = load_recipe(str(tiny_recipe(1))), tmp_path / "table"
    data = collection()
    ablate(recipe, data, output, rows=["interaction", "full"], seeds=[0], keep_vectors=True)
    assert [path.name for path in (output / "rows").iterdir()] == ["interaction"]  # which full is, here
    shards = sorted(output.rglob("shard-*.parquet"))
    before = [path.stat().st_mtime_ns for path in shards]
    assert shards
    done = ablate(recipe, data, output, rows=["full"], seeds=[0], split="train", keep_vectors=True)
    assert [path.stat().st_mtime_ns for path in shards] == before
    ablate(recipe, data, output, rows=["full"], seeds=[0], split="train")
    both = {row["row"]: row for row in done.table["rows"]}
    assert list(both) == ["full"]  # of the split train, interaction was not asked for
    assert both["full"]["questions"] == len(data.qrels("train"))
    assert both["full"]["what"] == "the recipe as it is: that of interaction"


def test_earlier_ceilings_stay_and_another_split_is_measured_without_them(
    tiny_recipe: Callable[..., Path], tmp_path: Path
) -> None:
    recipe, output, data = load_recipe(str(tiny_recipe(1))), tmp_path / "table", collection()
    ablate(recipe, data, output, rows=["ceiling-late"], seeds=[0])
    again = ablate(recipe, data, output, rows=["alone"], seeds=[0]).table
    assert [row["row"] for row in again["rows"]] == ["alone", "alone-base-pooling", "full", "ceiling-late"]
    other = ablate(recipe, data, output, rows=["alone"], seeds=[0], split="train").table
    assert [row["row"] for row in other["rows"]] == ["alone"]
    back = ablate(recipe, data, output, rows=["alone"], seeds=[0]).table
    assert back == again


@pytest.mark.slow  # all stages, then five trainings
def test_the_ceilings_use_the_shared_teacher(tiny_recipe: Callable[..., Path], tmp_path: Path) -> None:
    recipe = load_recipe(str(tiny_recipe()))
    whole = tmp_path / "table" / "rows" / "alone-throughout"

    def stop(event: str, values: dict[str, Any]) -> None:
        if event == "stage-done":
            raise Killed

    ablate(recipe, collection(), tmp_path / "table", rows=["alone"], seeds=[0])
    with pytest.raises(Killed):
        ablate(recipe, collection(), tmp_path / "table", rows=[whole.name], seeds=[0], observer=stop)
    own_warm_up = tmp_path / "table" / "warm-ups" / "alone-throughout" / "seed-0"
    once = (own_warm_up / "stage.json").stat().st_mtime_ns
    rows = ["alone-throughout", "marginmse", "frozen-late", "full", "ceiling-late", "ceiling-cross"]
    first = ablate(recipe, collection(), tmp_path / "table", rows=["ceiling-cross"], seeds=[0]).table
    assert [row["row"] for row in first["rows"]] == ["alone", "alone-throughout", "ceiling-cross"]
    done = ablate(recipe, collection(), tmp_path / "table", rows=rows, seeds=[0])
    assert [row["row"] for row in done.table["rows"]] == ["alone", *rows]
    assert (own_warm_up / "stage.json").stat().st_mtime_ns == once
    own, shared = (
        json.loads((folder / "stage.json").read_text())
        for folder in (own_warm_up, tmp_path / "table" / "shared" / "warm-up")
    )
    trained = json.loads((whole / "seed-0" / "train" / "stage.json").read_text())
    plain = json.loads((tmp_path / "table/rows/alone/seed-0/train/stage.json").read_text())
    assert own["outputs"] != shared["outputs"]
    assert trained["inputs"]["model"] != plain["inputs"]["model"]
    assert trained["inputs"]["lists"] == plain["inputs"]["lists"]
    assert trained["settings"] == plain["settings"]
    by_name = {row["row"]: row for row in done.table["rows"]}
    assert by_name["alone-throughout"]["seconds"] == pytest.approx(trained["seconds"])
    assert "| full over alone-throughout | " in done.markdown.read_text()
    frozen = tmp_path / "table" / "rows" / "frozen-late" / "seed-0"
    each = [
        json.loads((frozen / stage / "stage.json").read_text())["seconds"] for stage in ("teacher", "train")
    ]
    assert min(each) > 0
    assert by_name["frozen-late"]["seconds"] == pytest.approx(sum(each))  # a row costs what it alone needs
    assert set(done.table["ceiling"]) >= {"late", "cross", "start", "value", "valid", "why"}
    assert {path.name for path in (tmp_path / "table" / "shared").iterdir()} == {
        *("warm-up", "mine", "teacher", "score")
    }


@pytest.mark.slow  # three stages, then five trainings
def test_seeds_have_warm_ups_of_their_own_and_share_the_lists(tiny_base: Path, tmp_path: Path) -> None:
    stages = tiny_stages()
    stages = [stages[0], stages[1], {"cascade": {**stages[0]["warm-up"], "learning_rate": 1e-4}}]
    recipe = load_recipe(str(write_recipe(tmp_path, tiny_base, stages=stages)))
    output, titled = tmp_path / "table", collection()
    qrels = {name: titled.qrels(name) for name in titled.splits}
    qrels["dev"]["d1"] = {"p0": 1}  # of one passage with d0
    data = collection(qrels=qrels)
    rows = ["warm", "alone", "interaction", "alone-throughout", "late-interaction"]
    done = ablate(recipe, data, output, rows=rows, seeds=[0, 1])
    folders = sorted(str(path.parent.relative_to(output)) for path in output.rglob("stage.json"))
    assert folders == sorted(
        [
            *("shared/warm-up", "shared/mine", "warm-ups/shared/seed-1"),
            *(f"warm-ups/alone-throughout/seed-{seed}" for seed in (0, 1)),
            *(f"rows/{row}/seed-{seed}/train" for row in rows[1:4] for seed in (0, 1)),
        ]
    )
    inputs = [
        json.loads((output / f"rows/alone/seed-{seed}/train/stage.json").read_text())["inputs"]
        for seed in (0, 1)
    ]
    assert inputs[0]["model"] != inputs[1]["model"]
    assert inputs[0]["lists"] == inputs[1]["lists"]
    by_name = {row["row"]: row for row in done.table["rows"]}
    assert by_name["warm"]["seeds"] == [0, 1]
    assert set(by_name["interaction"]["over"]) == {"warm"}
    (by_passage,) = by_name["interaction"]["over"]["warm"]["clustered"]
    assert (by_passage["by"], by_passage["clusters"]) == ("passage", 11)
    text = done.markdown.read_text()
    assert "with the shared warm-up of seed 0" in text
    assert "Not tested: clusters by field:title: no relevant passage has such a field" in text
    events: list[str] = []
    again = ablate(
        recipe, data, output, rows=rows, seeds=[0, 1], observer=lambda event, values: events.append(event)
    )
    assert again.table == done.table
    assert set(events) == {"row"}


def test_a_row_may_set_anything_in_both_trainings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written = deepcopy(rows_file())
    wide = {
        "what": "x",
        "throughout": {"late_temperature": 0.5, "pooling": "base"},
        "warm-up": {"dense_weight": 1},
    }
    written["rows"]["wide"] = wide | {"over": ["alone"]}
    for module in (ablation_rows, recipe_module):
        monkeypatch.setattr(module, "rows_file", lambda: written)
    rows = declared_rows(load_recipe("squad"))
    row = rows["wide"]
    assert row.peers == ("alone",)
    assert row.stage is not None
    assert row.warm_up is not None
    for stage in (row.stage, row.warm_up):
        assert stage.settings.late_temperature == 0.5
    assert rows["alone"].stage != row.stage
    with pytest.raises(
        SettingsError, match="'alone-base-pooling' is of recipes without a warm-up, and squad"
    ):
        chosen_rows(load_recipe("squad"), ["alone-base-pooling"])


def test_rows_name_settings_and_rows_that_there_are() -> None:
    written = rows_file()["rows"]
    known = {*TrainSettings.model_fields, "pooling"}
    for name, row in written.items():
        for part in ("set", "warm-up", "throughout", "teacher"):
            assert set(row.get(part, {})) <= known, name
        assert set(row.get("over", ())) <= {*written, "warm"}, name
        assert set(row.get("needs", ())) <= set(row.get("throughout", {})), name
