"""An interrupted run, called again, ends as an uninterrupted one: weights bit for bit, and the same log."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from ernie_search.errors import StorageError, TrainingError
from ernie_search.training import TrainResult, train
from ernie_search.training.folder import checkpoint_steps, damage, read_result
from tiny_training import collection, settings, weights

CHANGES: dict[str, Any] = {"steps": 10, "evaluations": 3, "checkpoints": 3}
"""Checkpoints and dev at 4, 8 and 10."""


class Killed(Exception):  # noqa: N818 - not an error, a stop
    """Raised by an observer in the middle of a run."""


def stop_at(event: str, step: int):
    def observer(name: str, values: dict[str, Any]) -> None:
        if (name, values.get("step")) == (event, step):
            raise Killed

    return observer


def log_of(folder: Path) -> list[dict[str, Any]]:
    """The log without what the clock says."""
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    clock = ("eval_runtime", "eval_samples_per_second", "eval_steps_per_second")
    return [{key: value for key, value in line.items() if key not in clock} for line in lines]


def assert_same_end(folder: Path, result: TrainResult, whole: tuple[Path, TrainResult]) -> None:
    expected_folder, expected = whole
    for name in ("last", "best"):
        assert weights(folder / name) == weights(expected_folder / name)
    assert log_of(folder) == log_of(expected_folder)
    for name in ("best_step", "best_metric", "steps", "truncated"):
        assert getattr(result, name) == getattr(expected, name)
    kept = {
        "best",
        "last",
        "training.json",
        "result.json",
        "log.jsonl",
        "curves.png",
        "tensorboard",
        "checkpoint-10",
    }
    assert {path.name for path in folder.iterdir()} == kept


@pytest.fixture(scope="module")
def whole(base: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainResult]:
    """A run that nobody interrupted."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    return folder, train(collection(), folder, settings(**CHANGES), base=base)


def test_two_runs_are_the_same_run(base, whole, tmp_path):
    result = train(collection(), tmp_path / "run", settings(**CHANGES), base=base)
    assert_same_end(tmp_path / "run", result, whole)


@pytest.mark.parametrize(
    ("stops", "going_on_from"),
    [
        ([("step", 2)], 0),  # before any checkpoint
        ([("checkpoint", 4)], 4),
        ([("step", 7)], 4),
        ([("dev", 8)], 4),  # best/ is newer than the checkpoint
        ([("checkpoint", 4), ("step", 6), ("checkpoint", 8), ("step", 9)], 8),
        ([("checkpoint", 10)], 10),  # all steps done, but no result
    ],
)
def test_an_interrupted_run_ends_like_an_uninterrupted_one(base, whole, tmp_path, stops, going_on_from):
    folder = tmp_path / "run"
    for stop in stops:
        with pytest.raises(Killed):
            train(collection(), folder, settings(**CHANGES), base=base, observer=stop_at(*stop))
        assert not (folder / "result.json").exists()
    started = []

    def observer(name: str, values: dict[str, Any]) -> None:
        started.extend([values["step"]] if name == "start" else [])

    result = train(collection(), folder, settings(**CHANGES), base=base, observer=observer)
    assert started == [going_on_from]
    assert_same_end(folder, result, whole)


def test_what_a_kill_leaves_half_written_is_neither_used_nor_kept(base, whole, tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(Killed):
        train(collection(), folder, settings(**CHANGES), base=base, observer=stop_at("step", 6))
    (folder / "checkpoint-8").mkdir()  # a higher number, without its files
    (folder / "checkpoint-8" / "trainer_state.json").write_text("{}", encoding="utf-8")
    (folder / ".staging" / "checkpoint-8").mkdir(parents=True)
    (folder / ".best.tmp").mkdir()
    (folder / "best").rename(folder / ".best.old")  # killed between the two renames of a new best
    with open(folder / "log.jsonl", "a", encoding="utf-8") as handle:
        handle.write('{"event": "log", "st')
    assert list(checkpoint_steps(folder)) == [4]
    result = train(collection(), folder, settings(**CHANGES), base=base)
    assert_same_end(folder, result, whole)


def test_a_checkpoint_that_lost_a_file_is_not_gone_on_from(base, whole, tmp_path):
    folder = tmp_path / "run"
    chosen = settings(**CHANGES, keep_checkpoints=2)
    with pytest.raises(Killed):
        train(collection(), folder, chosen, base=base, observer=stop_at("checkpoint", 8))
    assert sorted(checkpoint_steps(folder)) == [4, 8]
    (folder / "checkpoint-8" / "token_head.safetensors").unlink()
    assert sorted(checkpoint_steps(folder)) == [4]
    train(collection(), folder, chosen, base=base)
    assert weights(folder / "last") == weights(whole[0] / "last")


def flip_bits(path: Path) -> None:
    """Other mantissas or other text, in the same size."""
    content = bytearray(path.read_bytes())
    for place in range(len(content) // 2, len(content), 97):
        content[place] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth"])
def test_an_altered_checkpoint_is_passed_over_or_the_run_refused(base, whole, tmp_path, name):
    folder, said = tmp_path / "run", []
    chosen = settings(**CHANGES, keep_checkpoints=2)
    with pytest.raises(Killed):
        train(collection(), folder, chosen, base=base, observer=stop_at("checkpoint", 8))
    flip_bits(folder / "checkpoint-8" / name)

    def observer(event: str, values: dict[str, Any]) -> None:
        said.extend([values["text"]] if event == "advice" else [])
        if event == "start":
            assert values["step"] == 4
            raise Killed

    with pytest.raises(Killed):
        train(collection(), folder, chosen, base=base, observer=observer)
    assert len(said) == 1
    assert said[0].startswith(f"{folder / 'checkpoint-8'} cannot be resumed ({name} was altered")
    if name == "model.safetensors":
        result = train(collection(), folder, chosen, base=base)
        assert weights(folder / "last") == weights(whole[0] / "last")
        assert result.best_metric == whole[1].best_metric
        return
    flip_bits(folder / "checkpoint-4" / name)
    with pytest.raises(TrainingError, match=rf"checkpoint-8 cannot .*\({name} .* delete .* from the start"):
        train(collection(), folder, chosen, base=base)


def test_the_best_model_until_the_checkpoint_must_be_whole(base, whole, tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(Killed):
        train(collection(), folder, settings(**CHANGES), base=base, observer=stop_at("step", 6))
    assert json.loads((folder / "best" / "best.json").read_text(encoding="utf-8"))["step"] == 4
    flip_bits(folder / "best" / "token_head.safetensors")
    with pytest.raises(TrainingError, match=r"best: token_head.safetensors was altered .* delete"):
        train(collection(), folder, settings(**CHANGES), base=base)
    shutil.rmtree(folder / "best")
    with pytest.raises(TrainingError, match=r"best: best.json is missing, and the training cannot resume"):
        train(collection(), folder, settings(**CHANGES), base=base)


def test_a_finished_run_whose_last_model_was_altered_makes_it_again(base, whole, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(whole[0], folder)
    assert train(collection(), folder, settings(**CHANGES), base=base) == read_result(folder)
    (folder / "last" / "README.md").write_text("a card, which people may edit", encoding="utf-8")
    assert read_result(folder) is not None
    flip_bits(folder / "last" / "model.safetensors")
    assert read_result(folder) is None
    train(collection(), folder, settings(**CHANGES), base=base)
    assert weights(folder / "last") == weights(whole[0] / "last")
    flip_bits(folder / "best" / "model.safetensors")
    with pytest.raises(TrainingError, match=r"best: model.safetensors was altered"):
        train(collection(), folder, settings(**CHANGES), base=base)


@pytest.mark.parametrize(
    ("file", "content", "problem"),
    [
        ("result.json", "[1]", "not readable as the result of a training"),
        ("result.json", '{"model": 3}', "not readable as the result of a training"),
        ("result.json", '{"sha256": 5}', "not readable as the result of a training"),
        ("training.json", "[1]", "does not say what is trained here"),
        ("training.json", '{"settings": 1}', "does not say what is trained here"),
    ],
)
def test_a_mark_of_another_type_is_one_line(base, whole, tmp_path, file, content, problem):
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("training.json", "result.json"):
        shutil.copy(whole[0] / name, folder / name)
    (folder / file).write_text(content, encoding="utf-8")
    with pytest.raises(StorageError, match=problem) as caught:
        train(collection(), folder, settings(**CHANGES), base=base)
    assert "\n" not in str(caught.value)


def test_every_file_of_a_checkpoint_counts(whole, tmp_path):
    checkpoint = whole[0] / "checkpoint-10"
    files = sorted(path.relative_to(checkpoint) for path in checkpoint.rglob("*") if path.is_file())
    assert {"optimizer.pt", "rng_state.pth", "scheduler.pt", "model.safetensors"} <= set(map(str, files))
    assert damage(checkpoint) is None
    for name in files:
        broken = tmp_path / "checkpoint-10"
        shutil.copytree(checkpoint, broken)
        (broken / name).unlink()
        assert damage(broken) is not None, name
        (broken / name).write_bytes(b"")
        assert damage(broken) is not None, name
        shutil.rmtree(broken)


def test_seconds_and_truncated_texts_are_of_all_calls(base, tmp_path):
    chosen = settings(**CHANGES, query_length=12)
    folder, whole_folder = tmp_path / "run", tmp_path / "whole"
    with pytest.raises(Killed):
        train(collection(), folder, chosen, base=base, observer=stop_at("checkpoint", 8))
    before = json.loads((folder / "checkpoint-8" / "counts.json").read_text(encoding="utf-8"))
    assert before["seconds"] > 0
    assert before["texts"]["query"] == 8 * 8  # the step that the loader read ahead is not in it
    result = train(collection(), folder, chosen, base=base)
    assert result.seconds > before["seconds"]
    expected = train(collection(), whole_folder, chosen, base=base).truncated
    assert 0 < expected["query"] < 1
    assert expected["passage"] == 0
    assert result.truncated == expected


def test_precision_is_measured_once_and_kept(base, tmp_path, monkeypatch):
    folder, straight = tmp_path / "run", tmp_path / "straight"
    chosen = settings(**CHANGES, precision="auto")
    monkeypatch.setattr("ernie_search.training.folder.prefers_bf16", lambda device: True)
    with pytest.raises(Killed):
        train(collection(), folder, chosen, base=base, observer=stop_at("checkpoint", 4))
    monkeypatch.setattr("ernie_search.training.folder.prefers_bf16", lambda device: False)
    train(collection(), folder, chosen, base=base)
    assert json.loads((folder / "training.json").read_text(encoding="utf-8"))["precision"] == "bf16"
    train(collection(), straight, settings(**CHANGES, precision="bf16"), base=base)
    assert weights(folder / "last") == weights(straight / "last")
    assert log_of(folder) == log_of(straight)  # dev in the run's precision, too


CHILD = """
import sys
sys.path.insert(0, sys.argv[1])
import torch
torch.set_num_threads(int(sys.argv[4]))
from pathlib import Path
from ernie_search.training import train
from tiny_training import collection, settings

def observer(name, values):
    sys.stdout.write(f"{name} {values.get('step')}\\n")
    sys.stdout.flush()

changes = {"steps": 10, "evaluations": 3, "checkpoints": 3}
train(collection(), Path(sys.argv[3]), settings(**changes), base=sys.argv[2], observer=observer)
"""


@pytest.mark.slow  # starts Python and torch a few times
def test_kill_minus_9_at_a_random_moment_changes_nothing(base, whole, tmp_path):
    folder = tmp_path / "run"
    tests = Path(__file__).parent.parent
    command = [sys.executable, "-c", CHILD, str(tests), base, str(folder), str(torch.get_num_threads())]
    seed = int.from_bytes(os.urandom(4), "big")
    draw = random.Random(seed)
    for _ in range(2):
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert child.stdout is not None
        wanted = draw.randrange(
            2, 22
        )  # events of a run: each step has two, and there are dev and checkpoints
        for _ in range(wanted):
            child.stdout.readline()
        try:
            child.wait(draw.uniform(0, 0.1))
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGKILL)
        child.wait(60)
        child.stdout.close()
    result = train(collection(), folder, settings(**CHANGES), base=base)
    assert weights(folder / "last") == weights(whole[0] / "last"), f"seed {seed}"
    assert weights(folder / "best") == weights(whole[0] / "best"), f"seed {seed}"
    assert result.truncated == whole[1].truncated
