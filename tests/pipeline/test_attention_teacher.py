"""Where attention teaches, a teacher of other tokens or without the layer is refused before all stages."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import BertTokenizerFast

from ernie_search.ablation import ablate
from ernie_search.errors import ModelError
from ernie_search.model.cross_encoder import new_cross_encoder
from ernie_search.pipeline import load_recipe, make_plan, train_recipe
from ernie_search.pipeline.runner import check_stages
from tiny_training import collection

REFUSED = (
    r"^teacher and student must share a tokenizer for attention distillation, but they normalise text "
    r"differently \(the tokenizer's normalizer\); train the teacher from the student's base, or set the "
    r"weight of attention to 0$"
)
ATTENTION = {"cascade.attention_weight": 1.0}


@pytest.fixture
def cased(tmp_path: Path) -> str:
    """The tiny base, which keeps capital letters."""
    from tiny_model import VOCABULARY, bare_base

    folder = bare_base(tmp_path / "cased", layers=1)
    vocabulary = {word: place for place, word in enumerate(VOCABULARY)}
    BertTokenizerFast(vocab=vocabulary, do_lower_case=False).save_pretrained(folder)
    return str(folder)


def test_the_plan_the_run_and_the_ablation_refuse_it_at_once(
    tiny_recipe: Callable[..., Path], tmp_path: Path, cased: str
) -> None:
    recipe = load_recipe(str(tiny_recipe()), {**ATTENTION, "teacher.base": cased})
    begun: list[str] = []

    def observer(event: str, values: dict[str, Any]) -> None:
        begun.append(event)

    with pytest.raises(ModelError, match=REFUSED):
        make_plan(recipe, collection(), None)
    with pytest.raises(ModelError, match=REFUSED):
        train_recipe(recipe, collection(), tmp_path / "run", observer)
    with pytest.raises(ModelError, match=REFUSED):
        ablate(recipe, collection(), tmp_path / "table", rows=["alone", "full"], observer=observer)
    assert begun == []
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "table").exists()


@pytest.mark.parametrize(("layers", "wanted"), [(1, 1), (2, 2), (2, -3)])
def test_a_layer_that_the_teacher_will_not_have_is_refused_at_once(
    tiny_recipe: Callable[..., Path], layers: int, wanted: int
) -> None:
    changes: dict[str, Any] = {"teacher.layers": layers, "cascade.attention_layer": wanted}
    said = rf"has {layers} layers, so attention_layer={wanted} is none of them; choose 0 to {layers - 1}"
    with pytest.raises(ModelError, match=said):
        make_plan(load_recipe(str(tiny_recipe()), ATTENTION | changes), collection(), None)
    changes["cascade.attention_layer"] = layers - 1
    make_plan(load_recipe(str(tiny_recipe()), ATTENTION | changes), collection(), None)
    del changes["teacher.layers"]  # all of the base's two
    changes["cascade.attention_layer"] = 2
    with pytest.raises(ModelError, match="has 2 layers"):
        make_plan(load_recipe(str(tiny_recipe()), ATTENTION | changes), collection(), None)


def test_a_row_may_ask_for_attention_where_the_recipe_does_not(
    tiny_recipe: Callable[..., Path], tmp_path: Path, cased: str
) -> None:
    recipe = load_recipe(str(tiny_recipe()), {"teacher.base": cased})
    assert make_plan(recipe, collection(), None).passages == 40  # its scores are taught, which is allowed
    with pytest.raises(ModelError, match=REFUSED):
        ablate(recipe, collection(), tmp_path / "table", rows=["attention"])


def test_a_ready_teacher_is_asked_and_one_that_is_not_there_is_left_to_its_stage(
    tiny_recipe: Callable[..., Path], tmp_path: Path, tiny_base: Path, cased: str
) -> None:
    for base, refused in ((cased, True), (str(tiny_base), False)):
        ready = tmp_path / f"ready-{refused}"
        new_cross_encoder(base, max_length=60, device="cpu").save(str(ready), create_model_card=False)
        recipe = load_recipe(str(tiny_recipe()), {**ATTENTION, "teacher.use": str(ready)})
        if refused:
            with pytest.raises(ModelError, match=REFUSED):
                make_plan(recipe, collection(), None)
        else:
            make_plan(recipe, collection(), None)
    (tmp_path / "empty").mkdir()
    absent = load_recipe(str(tiny_recipe()), {**ATTENTION, "teacher.use": str(tmp_path / "empty")})
    check_stages(absent.stages, absent.inputs, absent.base)
