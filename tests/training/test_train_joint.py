"""One run in one folder: what it learns, what it leaves there, and what stops it."""

import errno
import json
import math
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from sentence_transformers import SentenceTransformer

from ernie_search.errors import DataError, ModelError, SettingsError, StorageError, TrainingError
from ernie_search.model import load, load_joint
from ernie_search.runtime import Sidecar
from ernie_search.runtime.saved_files import check_saved_files
from ernie_search.training import TrainSettings, train
from ernie_search.training.folder import read_result
from ernie_search.training.prepare import DevEvaluator
from ernie_search.types import Passage, Query
from tiny_model import bare_base, decoder_base, half_base
from tiny_training import CROPS, TRAIN, collection, settings, weights

QUICK: dict[str, Any] = {"steps": 4, "evaluations": 0, "checkpoints": 1}


def without(passage: str) -> list[Passage]:
    return [one for one in collection().passages() if one.id != passage]


def few(number: int) -> dict[str, Any]:
    return {"train": {f"q{i}": {f"p{i}": 1} for i in range(number)}}


def log_of(folder: Path, event: str = "log") -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if line["event"] == event]


def test_losses_go_down_and_every_part_is_logged_raw(base, tmp_path, capsys):
    folder = tmp_path / "run"
    chosen = settings(
        steps=30,
        evaluations=1,
        checkpoints=1,
        learning_rate=1e-2,
        interaction_weight=2.0,
        follow_lead=False,
    )
    # Eight questions to learn by heart, and asked again: more than that, two layers do not learn in 30 steps.
    asked = collection(qrels=few(8) | {"dev": few(8)["train"]})
    result = train(asked, folder, chosen, base=base)
    assert capsys.readouterr() == ("", "")  # the room itself prints nothing
    log = log_of(folder)
    assert [line["step"] for line in log] == list(range(1, 31))
    for line in log:
        assert line["loss_interaction"] == pytest.approx(2 * line["raw_interaction"], abs=1e-3)
        parts = line["loss_dense"] + line["loss_late"] + line["loss_interaction"]
        assert line["loss"] == pytest.approx(parts, abs=1e-3)
        assert 0 < line["teacher_entropy"] < math.log(16)
    for part in ("raw_dense", "raw_late"):
        first, last = (sum(line[part] for line in lines) / 5 for lines in (log[:5], log[-5:]))
        assert last < 0.8 * first, part
    (dev,) = log_of(folder, "dev")
    assert result.best_metric == dev["eval_dense_mrr"] > 0.6
    assert result.model == folder / "best"


def test_without_dev_the_model_is_that_of_the_last_step(base, tmp_path):
    no_dev = {"train": collection().qrels("train")}
    result = train(collection(qrels=no_dev), tmp_path / "run", settings(steps=4, checkpoints=1), base=base)
    assert result.model == result.last == tmp_path / "run" / "last"
    assert (result.best_step, result.best_metric) == (0, None)
    assert load(result.model).encode_joint(["tea"], "query").tokens[0].shape[1] == 128


def test_layers_are_cut_and_saved_so(base, tmp_path):
    result = train(collection(), tmp_path / "run", settings(**QUICK), base=base, layers=1)
    assert load(result.model).backbone.config.num_hidden_layers == 1


def test_a_base_stored_in_16_bits_is_trained_as_its_fp32_twin(tmp_path):
    found = []
    for number, base in enumerate(half_base(tmp_path)):
        result = train(collection(), tmp_path / f"run-{number}", settings(**QUICK), base=str(base))
        assert load(result.model).backbone.dtype == torch.float32
        found.append(weights(result.model))
    assert found[0] == found[1]


@pytest.mark.parametrize("kind", ["llama", "gpt2", "matryoshka"])
def test_decoders_and_matryoshka_bases_are_trained_to_the_end(base, tmp_path, kind):
    folder = tmp_path / "base"
    if kind == "matryoshka":
        plain = SentenceTransformer(base, truncate_dim=8, device="cpu", local_files_only=True)
        plain.save(str(folder))
    else:
        decoder_base(folder, kind)
    chosen = settings(steps=2, evaluations=1, checkpoints=1)
    result = train(collection(), tmp_path / "run", chosen, base=str(folder))
    model = load(result.model)
    found = model.encode_joint(["where does tea grow?", "rice"], "query").dense
    assert abs(found[0] - found[1]).max() > 1e-3
    plain = SentenceTransformer(str(result.model), device="cpu", local_files_only=True)
    expected = plain.encode_query(["where does tea grow?", "rice"], normalize_embeddings=True)
    assert found == pytest.approx(expected, abs=1e-5)


def test_a_base_without_a_tokenizer_is_refused_and_leaves_no_mark(tmp_path):
    folder = bare_base(tmp_path / "base")
    for path in folder.glob("*token*"):
        path.unlink()
    with pytest.raises(ModelError, match="no tokenizer in this directory"):
        train(collection(), tmp_path / "run", settings(**QUICK), base=str(folder))
    assert not (tmp_path / "run" / "training.json").exists()


def test_the_best_checkpoint_is_kept_where_it_is_not_the_last(base, tmp_path, monkeypatch):
    figures = iter([0.2, 0.9, 0.9, 0.5])
    monkeypatch.setattr(DevEvaluator, "measure", lambda self, model: {"dense_mrr": next(figures)})
    chosen = settings(steps=8, evaluations=4, checkpoints=4, keep_checkpoints=4)
    result = train(collection(), tmp_path / "run", chosen, base=base)
    assert (result.best_step, result.best_metric) == (4, 0.9)  # the first of equals
    assert weights(tmp_path / "run" / "best") == weights(tmp_path / "run" / "checkpoint-4")
    assert weights(tmp_path / "run" / "last") == weights(tmp_path / "run" / "checkpoint-8")


def test_old_checkpoints_go(base, tmp_path):
    chosen = settings(steps=6, evaluations=0, checkpoints=6, keep_checkpoints=2)
    train(collection(), tmp_path / "run", chosen, base=base)
    assert sorted(path.name for path in (tmp_path / "run").glob("check*")) == ["checkpoint-5", "checkpoint-6"]


def test_a_finished_run_is_read_and_not_trained_again(base, tmp_path):
    folder = tmp_path / "run"
    first = train(collection(), folder, settings(**QUICK), base=base)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    events: list[str] = []
    again = train(
        collection(), folder, settings(**QUICK), base=base, observer=lambda name, values: events.append(name)
    )
    assert again == first
    assert events == []
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    moved = folder.rename(tmp_path / "moved")
    assert train(collection(), moved, settings(**QUICK), base=base).last == moved / "last"


def test_another_run_s_folder_is_refused_and_the_difference_named(base, tmp_path):
    folder = tmp_path / "run"
    train(collection(), folder, settings(**QUICK), base=base)
    before = (folder / "training.json").read_bytes()
    queries = [Query(f"q{i}", f"{crop}?") for i, crop in enumerate(CROPS)]
    other = collection(queries=queries, qrels=few(TRAIN))
    for what, words in (
        ({"settings": settings(**QUICK | {"steps": 5}, seed=3)}, "seed 0, now 3; steps 4, now 5"),
        ({"layers": 1}, "layers None, now 1"),
        ({"collection": other}, "collection "),
        ({"base": "another"}, f"base {base}, now another"),
    ):
        arguments = {"collection": collection(), "settings": settings(**QUICK), "base": base} | what
        with pytest.raises(TrainingError) as caught:
            train(output=folder, **arguments)
        assert str(caught.value).startswith(f"{folder}: holds another training ({words}")
        assert str(caught.value).endswith("; choose another output folder or delete this one")
    assert (folder / "training.json").read_bytes() == before


@pytest.mark.parametrize("name", ["best", "last"])
def test_a_folder_with_somebody_else_s_model_is_refused(base, tmp_path, name):
    (tmp_path / "run" / name).mkdir(parents=True)
    with pytest.raises(TrainingError, match=f"run: has {name} but no training.json"):
        train(collection(), tmp_path / "run", settings(**QUICK), base=base)


def test_a_file_is_no_folder_for_a_run(base, tmp_path):
    (tmp_path / "run").touch()
    with pytest.raises(StorageError, match="is a file; choose a folder"):
        train(collection(), tmp_path / "run", settings(**QUICK), base=base)


@pytest.mark.parametrize(
    ("changes", "chosen", "error", "words"),
    [
        ({}, {"questions_per_batch": 1, "negatives": 0}, SettingsError, "leaves no negative"),
        ({}, {"negative_first": 9, "negative_last": 9}, SettingsError, "negative_last=9 is not above"),
        (
            {},
            {"dense_weight": 0, "late_weight": 0, "interaction_weight": 0},
            SettingsError,
            "so no ranking is learned",
        ),
        ({"qrels": few(7)}, {}, TrainingError, "7 training questions are fewer than questions_per_batch=8"),
        ({"qrels": {"dev": {"d0": {"p0": 1}}}}, {}, DataError, "no split 'train'"),
        ({"qrels": {"train": {"q0": {"p0": 0}}}}, {}, DataError, "no question with a relevant passage"),
        ({"passages": without("p3")}, {}, DataError, "question 'q3': its positive 'p3' is not in the corpus"),
        ({"qrels": few(9) | {"dev": {"d1": {"pX": 1}}}}, {}, DataError, "question 'd1': its positive 'pX'"),
        ({}, {"negatives": TRAIN}, TrainingError, "lower negatives"),
        ({}, {"passage_length": 65}, ModelError, "length 65 is more than the base can read"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_it_starts(base, tmp_path, changes, chosen, error, words):
    events: list[str] = []
    with pytest.raises(error) as caught:
        train(
            collection(**changes),
            tmp_path / "run",
            settings(**chosen),
            base=base,
            observer=lambda name, values: events.append(name),
        )
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "start" not in events
    assert list(tmp_path.rglob("*.*")) == []


def test_a_mended_collection_may_use_the_folder_of_the_refused_one(base, tmp_path):
    with pytest.raises(DataError):
        train(collection(passages=without("p3")), tmp_path / "run", settings(**QUICK), base=base)
    assert train(collection(), tmp_path / "run", settings(**QUICK), base=base).steps == 4


@pytest.fixture
def bad_numbers(monkeypatch: pytest.MonkeyPatch):
    """Make the loss, or only its gradient, no number in a step."""

    def spoil(step: int, *, gradient_only: bool) -> None:
        from ernie_search.losses import contrastive

        calls = iter(range(1, 1000))

        def spoiled(*args: Any, **kwargs: Any) -> torch.Tensor:
            loss = contrastive(*args, **kwargs)
            if (next(calls) + 1) // 2 != step:  # two readings a step
                return loss
            # sqrt at zero: its value is 0, its gradient 0 * inf
            return loss + (loss * 0).sqrt() if gradient_only else loss * math.nan

        monkeypatch.setattr("ernie_search.losses.terms.contrastive", spoiled)

    return spoil


@pytest.mark.parametrize("gradient_only", [False, True])
def test_a_loss_that_is_no_number_stops_and_keeps_what_there_is(base, tmp_path, bad_numbers, gradient_only):
    folder, events = tmp_path / "run", []
    bad_numbers(6, gradient_only=gradient_only)
    chosen = settings(steps=8, evaluations=2, checkpoints=2, interaction_weight=0.0)
    with pytest.raises(TrainingError) as caught:
        train(collection(), folder, chosen, base=base, observer=lambda name, values: events.append(name))
    what = "norm of the gradient" if gradient_only else "loss"
    assert str(caught.value).startswith(f"{folder}: the {what} is nan at step 6; checkpoint-4 is kept. ")
    assert events[-1] == "end"
    assert weights(folder / "best") == weights(folder / "checkpoint-4")
    assert all(bool(value.isfinite().all()) for value in load(folder / "best").state_dict().values())


def test_a_loss_that_is_no_number_at_once_says_that_there_is_no_checkpoint(base, tmp_path, bad_numbers):
    bad_numbers(1, gradient_only=False)
    with pytest.raises(TrainingError, match=r"nan at step 1; there is no checkpoint yet"):
        train(collection(), tmp_path / "run", settings(**QUICK), base=base)


class SerialError(Exception):
    """As safetensors says that the disk is full: no OSError."""


def full_at_rename(monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    rename = os.rename

    def refuse(source: Any, target: Any) -> None:
        if Path(target).name == place:
            raise OSError(errno.ENOSPC, "No space left on device", str(target))
        rename(source, target)

    monkeypatch.setattr(os, "rename", refuse)


def full_in_a_library(monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    from ernie_search.model import JointEncoder

    save = JointEncoder.save

    def refuse(self: JointEncoder, path: str, *args: Any, **kwargs: Any) -> None:
        if place in path:
            raise SerialError("Error while serializing: I/O error: No space left on device (os error 28)")
        save(self, path, *args, **kwargs)

    monkeypatch.setattr(JointEncoder, "save", refuse)


@pytest.fixture(scope="module")
def straight(base: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The last model of 8 steps on an endless disk."""
    chosen = settings(steps=8, evaluations=0, checkpoints=2)
    return train(collection(), tmp_path_factory.mktemp("straight") / "run", chosen, base=base).last


@pytest.mark.parametrize(
    ("full", "place"),
    [(full_at_rename, "checkpoint-8"), (full_in_a_library, "checkpoint-8"), (full_at_rename, "last")],
)
def test_a_full_disk_is_one_line_and_the_run_goes_on_later(
    base, straight, tmp_path, monkeypatch, full, place
):
    folder = tmp_path / "run"
    chosen = settings(steps=8, evaluations=0, checkpoints=2)
    with monkeypatch.context() as context:
        full(context, place)
        with pytest.raises(StorageError, match="the disk is full; free some space") as caught:
            train(collection(), folder, chosen, base=base)
    assert "\n" not in str(caught.value)
    left = {path.name for path in folder.iterdir()}
    kept = "checkpoint-4" if place == "checkpoint-8" else "checkpoint-8"
    assert left - {"tensorboard", "curves.png"} == {"training.json", "log.jsonl", kept}
    result = train(collection(), folder, chosen, base=base)
    assert weights(result.last) == weights(straight)


def test_settings_are_those_of_the_call(base, tmp_path):
    train(collection(), tmp_path / "run", settings(**QUICK), base=base, layers=1)
    mark = json.loads((tmp_path / "run" / "training.json").read_text(encoding="utf-8"))
    assert TrainSettings(**mark["settings"]) == settings(**QUICK, onnx=True)  # which is no part of it
    assert (mark["base"], mark["layers"], mark["collection"]) == (base, 1, collection().fingerprint)


@pytest.mark.parametrize(("kind", "number"), [("bare", 1), ("sentence", 0)])
def test_only_a_base_that_is_compared_by_inner_product_draws_advice(base, tmp_path, kind, number):
    told = []
    named = str(bare_base(tmp_path / "bare", layers=1)) if kind == "bare" else base
    chosen = settings(steps=1, evaluations=0, checkpoints=1)
    train(collection(), tmp_path / "run", chosen, base=named, observer=lambda *given: told.append(given))
    said = [values["text"] for event, values in told if event == "advice"]
    assert len([text for text in said if "inner product" in text]) == number


def test_spans_as_questions_are_said_and_teach_the_single_vector_nothing(base, tmp_path):
    """The encoder learns as without late interaction, and its token head is trained."""
    passages = list(collection().passages())
    spans = [Query(f"q{i}", one.text.strip(".")) for i, one in enumerate(passages[:16])]
    asked = collection(queries=spans, qrels={"train": {f"q{i}": {passages[i].id: 1} for i in range(16)}})
    rows: dict[str, dict[str, Any]] = {
        "interaction": {},
        "alone": {"late_weight": 0.0, "interaction_weight": 0.0},
        "taught": {"copied_questions": "taught", "follow_lead": False},
    }
    trained, said = {}, {}
    told: list[tuple[str, dict[str, Any]]] = []
    for name, changes in rows.items():
        told.clear()
        # No clipping: the token head's gradient counts in the norm.
        chosen = settings(steps=6, evaluations=0, checkpoints=1, max_grad_norm=1e9, **changes)
        result = train(asked, tmp_path / name, chosen, base=base, observer=lambda *given: told.append(given))
        trained[name] = load_joint(result.last).state_dict()
        said[name] = [values["text"] for event, values in told if event == "advice"]
    assert [text[:37] for text in said["interaction"]] == ["16 of 16 training questions looked at"]
    assert not any("copied" in text for text in said["alone"] + said["taught"])
    log = log_of(tmp_path / "interaction")
    assert [(line["weight_interaction"], line["loss_interaction"]) for line in log] == [(0, 0)] * 6
    assert all("teacher_entropy" not in line for line in log)
    for key, value in trained["alone"].items():
        of_head = "token_head" in key
        alike = torch.allclose(trained["interaction"][key], value, atol=1e-6)
        assert alike != (of_head and value.is_floating_point()), key
    assert any(
        not torch.allclose(trained["taught"][key], value, atol=1e-4)
        for key, value in trained["alone"].items()
        if "token_head" not in key
    )


def test_best_and_last_get_a_graph_that_is_of_their_weights(base, tmp_path):
    chosen = settings(steps=4, evaluations=1, checkpoints=1, onnx=True)
    result = train(collection(), tmp_path / "run", chosen, base=base)
    for name in ("best", "last"):
        folder = tmp_path / "run" / name
        check_saved_files(folder)
        sidecar = Sidecar.read(folder / "onnx")
        assert sidecar.fingerprint == load_joint(folder, device="cpu").fingerprint
        listed = json.loads((folder / "ernie_search_files.json").read_text(encoding="utf-8"))["files"]
        assert "onnx/model.onnx" in listed
    assert read_result(tmp_path / "run") is not None  # whose checksums include the graph's
    # A kill before the result was written leaves graphs, and the same call ends the training.
    (tmp_path / "run" / "result.json").unlink()
    assert train(collection(), tmp_path / "run", chosen, base=base).model == result.model
    check_saved_files(tmp_path / "run" / "best")
    # Other graphs, as `export --onnx` writes them, and a graph less leave it a finished training.
    (tmp_path / "run" / "best" / "onnx" / "model.onnx").write_bytes(b"another")
    shutil.rmtree(tmp_path / "run" / "last" / "onnx")
    assert read_result(tmp_path / "run") is not None
    # Without graphs it is the same training.
    again = train(collection(), tmp_path / "run", chosen.model_copy(update={"onnx": False}), base=base)
    assert again.model == result.model
