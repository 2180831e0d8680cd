"""Training of teachers: it learns, keeps apart what each may see, and goes on bit for bit."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import CrossEncoder

from ernie_search.errors import DataError, ModelError, SettingsError, TrainingError
from ernie_search.mining.lists import TrainingList, write_lists
from ernie_search.teacher import Teachers, train_teachers
from ernie_search.teacher.teachers import fold_of
from ernie_search.training.folder import checkpoint_steps
from event_files import scalars
from tiny_model import half_base
from tiny_teacher import TRAIN, collection, lists, settings, training_lists


class Killed(Exception):  # noqa: N818 - not an error, a stop
    """Raised by an observer in the middle of a run."""


def stop_at(teacher: int, event: str, step: int):
    current = -1

    def observer(name: str, values: dict[str, Any]) -> None:
        nonlocal current
        current = values["number"] if name == "teacher" else current
        if (current, name, values.get("step")) == (teacher, event, step):
            raise Killed

    return observer


def weights(folder: Path) -> list[bytes]:
    return [(folder / f"teacher-{k}" / "model" / "model.safetensors").read_bytes() for k in range(2)]


def logs(folder: Path) -> list[Any]:
    """What a run says of itself, without what the clock says."""
    clock = ("eval_runtime", "eval_samples_per_second", "eval_steps_per_second", "seconds")
    found = []
    for k in range(2):
        lines = (folder / f"teacher-{k}" / "log.jsonl").read_text(encoding="utf-8").splitlines()
        lines.append((folder / f"teacher-{k}" / "result.json").read_text(encoding="utf-8"))
        found += [{n: v for n, v in json.loads(line).items() if n not in clock} for line in lines]
    return found


@pytest.fixture(scope="module")
def whole(base, tmp_path_factory) -> Path:
    """Two teachers that nobody interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    train_teachers(collection(), lists(folder / "lists"), folder / "run", settings(base))
    return folder / "run"


@pytest.mark.parametrize(
    "stops",
    [
        [(0, "step", 1)],  # before any checkpoint
        [(0, "step", 3), (0, "checkpoint", 4), (1, "step", 5)],
        [(0, "checkpoint", 6), (1, "checkpoint", 2)],  # all steps done, but no result
        [(1, "teacher", None)],  # between the two
    ],
)
def test_an_interrupted_run_ends_like_an_uninterrupted_one(base, whole, tmp_path, stops):
    mined = lists(tmp_path / "lists")
    for stop in stops:
        with pytest.raises(Killed):
            train_teachers(collection(), mined, tmp_path / "run", settings(base), stop_at(*stop))
        with pytest.raises(ModelError, match="not finished"):
            Teachers.open(tmp_path / "run")
    train_teachers(collection(), mined, tmp_path / "run", settings(base))
    assert weights(tmp_path / "run") == weights(whole)
    assert logs(tmp_path / "run") == logs(whole)
    assert Teachers.open(tmp_path / "run").fingerprint == Teachers.open(whole).fingerprint


def test_an_altered_checkpoint_of_a_teacher_is_passed_over_or_refused(base, tmp_path):
    mined, said = lists(tmp_path / "lists"), []
    chosen = settings(base, keep_checkpoints=2)
    with pytest.raises(Killed):
        train_teachers(collection(), mined, tmp_path / "run", chosen, stop_at(0, "checkpoint", 4))
    for step in (4, 2):
        path = tmp_path / "run" / "teacher-0" / f"checkpoint-{step}" / "optimizer.pt"
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(bytes(content))
        if step == 2:
            with pytest.raises(
                TrainingError, match=r"checkpoint-4 cannot .*no checkpoint before it is whole"
            ):
                train_teachers(collection(), mined, tmp_path / "run", chosen)
            break

        def observer(event: str, values: dict[str, Any]) -> None:
            said.extend([values["text"]] if event == "advice" else [])
            if event == "start":
                assert values["step"] == 2
                raise Killed

        with pytest.raises(Killed):
            train_teachers(collection(), mined, tmp_path / "run", chosen, observer)
        assert said[0].startswith(f"{path.parent} cannot be resumed (optimizer.pt was altered")


def test_a_finished_run_is_left_alone_and_another_is_refused(base, whole):
    mined = lists(whole.parent / "lists")
    events: list[str] = []
    train_teachers(collection(), mined, whole, settings(base), lambda name, values: events.append(name))
    assert events == []
    with pytest.raises(TrainingError, match=r"holds another training \(steps 6, now 7\)"):
        train_teachers(collection(), mined, whole, settings(base, steps=7))


def test_its_curves_are_a_picture_and_in_tensorboard(base, whole, tmp_path):
    for stop in ((0, "step", 3), (1, "step", 5)):
        with pytest.raises(Killed):
            train_teachers(
                collection(), lists(tmp_path / "lists"), tmp_path / "run", settings(base), stop_at(*stop)
            )
    train_teachers(collection(), lists(tmp_path / "lists"), tmp_path / "run", settings(base))
    for folder in (tmp_path / "run", whole):
        for one in (folder / "teacher-0", folder / "teacher-1"):
            assert (one / "curves.png").stat().st_size > 10_000
            log = [json.loads(line) for line in (one / "log.jsonl").read_text(encoding="utf-8").splitlines()]
            shown = scalars(one)
            for kind, tag, name in (
                *(
                    ("log", f"train/{name}", name)
                    for name in ("loss", "loss_listwise", "grad_norm", "entropy")
                ),
                ("held_out", "eval/held_out_mrr", "eval_held_out_mrr"),
            ):
                logged = {event["step"]: event[name] for event in log if event["event"] == kind}
                assert logged, name
                assert shown[tag] == pytest.approx(logged), tag


def test_each_teacher_is_trained_on_the_other_folds(base, whole):
    found = json.loads((whole / "teachers.json").read_text(encoding="utf-8"))
    counts = [sum(fold_of([f"p{i}"], 2) != k for i in range(TRAIN)) for k in range(2)]
    assert [one["lists"] for one in found["teachers"]] == counts
    assert [one["shared_positives"] for one in found["teachers"]] == [0, 0]
    assert sum(counts) == TRAIN
    assert sorted(checkpoint_steps(whole / "teacher-0")) == [6]


def test_a_teacher_never_sees_a_question_of_its_fold(base, tmp_path, monkeypatch):
    seen: dict[int, set[str]] = {}
    from ernie_search.teacher import listwise as loss_module

    plain = loss_module.PairCollator.__call__

    def watched(self, items):
        seen.setdefault(len(runs), set()).update(one.question for one in items[0])
        return plain(self, items)

    runs: list[int] = []
    monkeypatch.setattr(loss_module.PairCollator, "__call__", watched)
    train_teachers(
        collection(),
        lists(tmp_path / "lists"),
        tmp_path / "run",
        settings(base, checkpoints=1, evaluations=0),
        lambda name, values: runs.append(1) if name == "teacher" else None,
    )
    for k in range(2):
        assert seen[k + 1]
        assert all(fold_of([question.replace("q", "p")], 2) != k for question in seen[k + 1])


def test_teachers_of_an_older_version_are_refused(whole, tmp_path):
    copy = tmp_path / "older"
    shutil.copytree(whole, copy)
    found = json.loads((copy / "teachers.json").read_text(encoding="utf-8"))
    (copy / "teachers.json").write_text(json.dumps(found | {"format": 1}), encoding="utf-8")
    with pytest.raises(ModelError, match=r"older: teachers of another version.* train them again"):
        Teachers.open(copy)


@pytest.mark.parametrize("content", ["[]", "3", '{"format": 2}', '{"format": 2, "teachers": [{"model": 5}]}'])
def test_a_list_of_teachers_that_is_none_is_refused(tmp_path, content):
    (tmp_path / "teachers.json").write_text(content)
    with pytest.raises(
        ModelError, match=r"teachers\.json: not as it was written .*train the teachers again$"
    ):
        Teachers.open(tmp_path)


def test_teachers_that_an_older_version_began_are_not_gone_on_with(base, tmp_path):
    mined, chosen = lists(tmp_path / "lists"), settings(base)
    with pytest.raises(Killed):
        train_teachers(collection(), mined, tmp_path / "run", chosen, stop_at(1, "step", 1))
    begun = json.loads((tmp_path / "run" / "training.json").read_text(encoding="utf-8"))
    del begun["format"]
    (tmp_path / "run" / "training.json").write_text(json.dumps(begun), encoding="utf-8")
    with pytest.raises(TrainingError, match=r"holds another training \(format"):
        train_teachers(collection(), mined, tmp_path / "run", chosen)


def test_other_weights_of_the_base_are_another_training(base, whole, tmp_path):
    mined, own = lists(tmp_path / "lists"), tmp_path / "base"
    shutil.copytree(base, own)
    chosen = settings(str(own))
    with pytest.raises(Killed):
        train_teachers(collection(), mined, tmp_path / "run", chosen, stop_at(1, "step", 1))
    values = load_file(own / "model.safetensors")
    save_file({name: value + 1 for name, value in values.items()}, own / "model.safetensors")
    with pytest.raises(TrainingError, match=r"holds another training \(base_weights [\w-]+, now [\w-]+\)"):
        train_teachers(collection(), mined, tmp_path / "run", chosen)
    # Of an older folder nobody knows: what is finished is taken as it is, what is not is not gone on with.
    for folder in (tmp_path / "run", tmp_path / "whole"):
        if folder.name == "whole":
            shutil.copytree(whole, folder)
        begun = json.loads((folder / "training.json").read_text(encoding="utf-8"))
        del begun["base_weights"]
        (folder / "training.json").write_text(json.dumps(begun), encoding="utf-8")
    with pytest.raises(TrainingError, match=r"holds another training \(base_weights None, now [\w-]+\)"):
        train_teachers(collection(), mined, tmp_path / "run", chosen)
    assert len(train_teachers(collection(), mined, tmp_path / "whole", settings(base))) == 2


def test_questions_whose_second_positive_is_known_to_their_teacher_are_counted(base, tmp_path):
    folds = [fold_of([f"p{i}"], 2) for i in range(TRAIN)]
    first = next(i for i in range(TRAIN) if folds[i] == 1)
    other = next(i for i in range(first, TRAIN) if folds[i] == 0)
    mined = [
        replace(one, positives=(f"p{first}", f"p{other}")) if one.query == f"q{first}" else one
        for one in training_lists()
    ]
    data = collection()
    data.qrels("train")[f"q{first}"][f"p{other}"] = 1
    asked = write_lists(tmp_path / "lists", mined, data_fingerprint=data.fingerprint, about={})
    train_teachers(data, asked, tmp_path / "run", settings(base, steps=1, evaluations=0, checkpoints=1))
    found = json.loads((tmp_path / "run" / "teachers.json").read_text(encoding="utf-8"))["teachers"]
    shares = [one["shared_positives"] for one in found]
    assert shares == pytest.approx([1 / folds.count(0), 1 / folds.count(1)], abs=1e-4)


def test_a_base_stored_in_16_bits_is_trained_as_its_fp32_twin(tmp_path):
    found = []
    for number, base in enumerate(half_base(tmp_path)):
        folder = tmp_path / f"run-{number}"
        chosen = settings(str(base), steps=2, folds=1, evaluations=0)
        train_teachers(collection(), lists(tmp_path / f"lists-{number}"), folder, chosen)
        found.append(load_file(folder / "teacher-0" / "model" / "model.safetensors"))
    assert {value.dtype for value in found[0].values()} == {torch.float32}
    assert all(torch.equal(found[0][name], value) for name, value in found[1].items())


def test_it_learns_what_tells_the_positives_apart(base, tmp_path):
    chosen = settings(base, steps=40, learning_rate=3e-3, evaluations=1, checkpoints=1)
    teachers = train_teachers(collection(), lists(tmp_path / "lists"), tmp_path / "run", chosen)
    for k in range(2):
        result = json.loads((tmp_path / "run" / f"teacher-{k}" / "result.json").read_text(encoding="utf-8"))
        assert result["held_out_mrr"] > 0.9  # on questions that it never saw; by chance 0.38
        assert result["truncated"] == 0
    scores = teachers.mean_scores(
        [("where is z?", "the rain in z is long"), ("where is z?", "the rice in z")]
    )
    assert scores[0] > scores[1]


def test_the_parts_of_a_step_add_up_to_the_whole_step(base, tmp_path, monkeypatch):
    # Dropout would draw otherwise in parts.
    monkeypatch.setattr("torch.nn.Dropout.forward", lambda self, values: values)
    mined = lists(tmp_path / "lists")
    first_steps = []
    for backwards in (1, 2):
        folder = tmp_path / f"run-{backwards}"
        chosen = settings(base, folds=1, steps=2, checkpoints=1, backwards=backwards)
        train_teachers(collection(), mined, folder, chosen)
        line = (folder / "teacher-0" / "log.jsonl").read_text(encoding="utf-8").splitlines()[0]
        first_steps.append(json.loads(line))
    for name in ("loss", "loss_listwise", "grad_norm", "entropy", "positive_first"):
        assert first_steps[0][name] == pytest.approx(first_steps[1][name], abs=2e-4), name
    assert first_steps[0]["grad_norm"] > 0.01


def test_the_model_directory_is_a_plain_cross_encoder_with_raw_logits(whole):
    plain = CrossEncoder(str(whole / "teacher-0" / "model"), device="cpu", local_files_only=True)
    assert isinstance(plain.activation_fn, torch.nn.Identity)
    assert plain.max_seq_length == 60
    pair = ("where is z?", "the rain in z is long")
    ours = Teachers.open(whole).all[0]
    assert plain.predict([pair])[0] == pytest.approx(float(ours.predict([pair])[0]), abs=1e-6)


def test_a_teacher_altered_by_hand_is_noticed(base, whole, tmp_path):
    import shutil

    shutil.copytree(whole, tmp_path / "run")
    shutil.copytree(
        whole / "teacher-1" / "model", tmp_path / "run" / "teacher-0" / "model", dirs_exist_ok=True
    )
    with pytest.raises(ModelError, match=r"teacher-0/model: not the model that was trained here"):
        _ = Teachers.open(tmp_path / "run").all


def test_lists_that_do_not_fit_the_collection_are_refused(base, tmp_path):
    mined = lists(tmp_path / "lists")
    other = collection(queries=[*collection().queries("train"), *collection().queries("dev")][::-1])
    with pytest.raises(DataError, match=r"lists of data .* mine again"):
        train_teachers(other, mined, tmp_path / "run", settings(base))
    for wrong, message in (
        (TrainingList("q0", ("p0",), ("gone",)), "question 'q0': its passage 'gone' is not in the corpus"),
        (TrainingList("nobody", ("p0",), ("n0",)), "question 'nobody' is not in split 'train'"),
    ):
        kept = [one for one in training_lists() if one.query != "q0"][:3]
        broken = write_lists(
            tmp_path / "broken", [wrong, *kept], data_fingerprint=collection().fingerprint, about={}
        )
        with pytest.raises(DataError, match=message):
            train_teachers(collection(), broken, tmp_path / "run", settings(base, folds=1, evaluations=0))
    assert not (tmp_path / "run").exists()


def test_a_loss_that_is_no_number_stops_the_run(base, tmp_path):
    with pytest.raises(TrainingError, match="at step"):
        train_teachers(
            collection(),
            lists(tmp_path / "lists"),
            tmp_path / "run",
            settings(base, learning_rate=1e12, evaluations=0),
        )


def test_settings_are_checked_before_anything_is_loaded(tmp_path):
    with pytest.raises(SettingsError, match="does not divide"):
        train_teachers(
            collection(), lists(tmp_path / "lists"), tmp_path / "run", settings("nowhere", backwards=3)
        )
