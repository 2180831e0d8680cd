"""Two and three processes on slices of a step compute what one computes on all of it, and fail together."""

import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from ernie_search.errors import SettingsError, TrainingError
from ernie_search.mining.lists import Lists, TrainingList, write_lists
from ernie_search.training import prepare
from ernie_search.training.teachers import StepTeachers
from ernie_search.training.trainer import StepTrainer
from ernie_search.training.world import World, share_failures
from rank_starter import Starter
from ranks import ACCELERATE, OneTeacher, launch, loss_and_gradients, tiny_student
from tiny_training import collection, settings, with_copies

WHOLE: dict[str, Any] = {
    "cascade_weight": 0.5,
    "direct_weight": 0.7,
    "margin_weight": 0.1,
    "attention_weight": 0.3,
    "dual_weight": 0.2,
    "dual_passages": True,
    "negatives": 3,
}
CASES: dict[str, dict[str, Any]] = {
    "default": {},
    "dense alone": {"late_weight": 0.0, "interaction_weight": 0.0},
    "whole": WHOLE,
    "no detach, no negatives": {"detach_teacher": False, "negatives": 0},
    "ensemble": {"interaction_teacher": "ensemble", "distillation_candidates": "own", "negatives": 2},
    "frozen": {"interaction_teacher": "frozen", "late_weight": 0.0},
    "lists, still teacher": {
        "negatives": 1,
        "list_passages": 4,
        "distillation_candidates": "list",
        "cascade_weight": 1.0,
        "still_teacher": True,
    },
}


def lists(folder: Path) -> Lists:
    """Five negatives a question, scored, some of them shared."""
    rows = [
        TrainingList(
            f"q{i}",
            (f"p{i}",),
            tuple(f"p{(i + shift) % 40}" for shift in (1, 3, 8, 13, 21)),
            (4.0,),
            (0.5, -1.0, 1.5 - i % 3, 0.0, -0.5),
        )
        for i in range(40)
    ]
    return write_lists(folder, rows, data_fingerprint=collection().fingerprint, about={})


STEPS = """
import sys, json
import torch
from pathlib import Path
from ernie_search.mining.lists import Lists
from ernie_search.training import prepare
from ernie_search.training.teachers import StepTeachers
from ernie_search.training.world import World
from ranks import ACCELERATE, OneTeacher, loss_and_gradients, tiny_student
from tiny_training import collection, settings, with_copies

out, base, cases = Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
world = World.join(on_cpu=True)
data = with_copies(prepare(collection(), settings(evaluations=0), Lists.open(out / "lists")))
found = {}
for name, changes in cases.items():
    for cached in (False, True):
        chosen = settings(**changes, gradient_cache=cached)
        model = tiny_student(base)
        teachers = StepTeachers(OneTeacher(out / "cross"), out / "frozen")
        teachers.fit(model, chosen)
        found[f"{name}, {cached}"] = loss_and_gradients(model, data, chosen, teachers, world)
torch.save(found, out / f"{world.size}-{world.rank}.pt")
"""


@pytest.fixture(scope="module")
def starter() -> Iterator[Starter]:
    """Of the ranks in this module that all end as they should."""
    with Starter() as started:
        yield started


@pytest.fixture(scope="module")
def folder(base: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lists, a cross-encoder, and a frozen teacher."""
    made = tmp_path_factory.mktemp("ranks") / "of"
    made.mkdir()
    lists(made / "lists")
    OneTeacher(made / "cross")
    frozen = tiny_student(base)
    with torch.no_grad():
        for value in frozen.parameters():
            value.add_(torch.randn(value.shape, generator=torch.Generator().manual_seed(3)) * 0.05)
    frozen.save(str(made / "frozen"))
    return made


@pytest.mark.slow  # starts several processes
@pytest.mark.parametrize("ranks", [2, 3])
def test_loss_and_gradients_are_those_of_one_process_on_the_joined_batch(base, folder, starter, ranks):
    done = starter.launch(ranks, STEPS, str(folder), base, json.dumps(CASES))
    assert done.returncode == 0, done.stderr
    brought = [torch.load(folder / f"{ranks}-{rank}.pt", weights_only=False) for rank in range(ranks)]
    data = with_copies(prepare(collection(), settings(evaluations=0), Lists.open(folder / "lists")))
    for name, changes in CASES.items():
        chosen = settings(**changes)
        model = tiny_student(base)
        teachers = StepTeachers(OneTeacher(folder / "cross"), folder / "frozen")
        teachers.fit(model, chosen)
        parts, grads = loss_and_gradients(model, data, chosen, teachers, World())
        for rank in range(ranks):
            for cached in (False, True):
                found_parts, found = brought[rank][f"{name}, {cached}"]
                assert found_parts.keys() == parts.keys()
                for part, value in parts.items():
                    assert found_parts[part] == pytest.approx(value, rel=1e-5, abs=1e-5), (name, part)
                    if part.startswith("sums of "):
                        assert found_parts[part] == brought[0][f"{name}, {cached}"][0][part]
                learnt = {key for key, value in found.items() if value.abs().sum() > 0}
                assert {key for key, value in grads.items() if value.abs().sum() > 0} <= learnt
                for key, value in grads.items():
                    torch.testing.assert_close(
                        found[key],
                        value,
                        rtol=1e-4,
                        atol=1e-5,
                        msg=lambda text, n=name, k=key: f"{n}: {k}: {text}",
                    )


RUN = """
import atexit, contextlib, os, signal, sys, time
from pathlib import Path
from torch import nn
import ernie_search.training.joint as joint
import ernie_search.model.base as model_base
from ernie_search.errors import ErnieSearchError
from ernie_search.training import train
from ernie_search.training.batches import Collator
from tiny_training import collection, settings

rank, how = int(os.environ["RANK"]), os.environ.get("HOW", "")

def threads():
    for task in Path("/proc/self/task").glob("*"):
        with contextlib.suppress(OSError):  # it has ended
            yield task.joinpath("comm").read_text()

def left_running():  # the last thing at exit, as it is registered first
    patience = time.monotonic() + 10
    while "gloo" in (names := "".join(threads())) and time.monotonic() < patience:
        time.sleep(0.01)  # one that was just joined is listed for a moment
    Path(sys.argv[1] + f"-threads-{rank}").write_text(names)

if how == "look":
    atexit.register(left_running)

# Every dropout gets the rate of attention's, which is 0.
model_base.attention_dropouts = lambda model: [one for one in model.modules() if isinstance(one, nn.Dropout)]
collate, steps = Collator.__call__, []

def watched(self, items):
    steps.append(1)
    if rank == 1 and len(steps) == 7:  # of the seventh step; the loader is one ahead
        if how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "raise":
            raise ValueError("a bad day")
    return collate(self, items)

Collator.__call__ = watched
if how == "versions" and rank == 1:
    joint.version = lambda name: "0.0.0"
data = collection()
if how == "data" and rank == 1:
    from ernie_search.types import Passage
    data = collection(passages=[*data.passages(), Passage("other", "another text")])
changes = {"steps": 8, "evaluations": 2, "checkpoints": 2, "token_budget": 100, "questions_per_batch": 7}
said = Path(sys.argv[1] + f"-said-{rank}")
said.unlink(missing_ok=True)
try:
    result = train(data, Path(sys.argv[1]), settings(**changes), base=sys.argv[2])
    said.write_text(f"{result.best_step} {result.best_metric} {sorted(result.truncated.items())}")
except ErnieSearchError as error:
    said.write_text(str(error))
    sys.exit(2)
"""


def said(output: Path, rank: int) -> str:
    return Path(f"{output}-said-{rank}").read_text(encoding="utf-8")


def final_weights(output: Path) -> dict[str, torch.Tensor]:
    from ernie_search.model import load

    return load(output / "last", device="cpu").state_dict()


@pytest.fixture(scope="module")
def alone(base: str, starter: Starter, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of one process, without dropout."""
    output = tmp_path_factory.mktemp("alone") / "run"
    done = starter.launch(1, RUN, str(output), base)
    assert done.returncode == 0, done.stderr
    return output


@pytest.mark.slow
def test_a_killed_rank_ends_the_run_and_another_number_of_ranks_goes_on(base, alone, starter, tmp_path):
    output = tmp_path / "run"
    done = launch(2, RUN, str(output), base, environment={"HOW": "kill"})
    assert done.returncode != 0
    assert "died without a message" in said(output, 0)
    assert (output / "checkpoint-4").is_dir()
    assert not (output / "result.json").exists()
    expected = final_weights(alone)
    for ranks in (3, 1):
        other = tmp_path / f"on-{ranks}"
        shutil.copytree(output, other)
        done = starter.launch(ranks, RUN, str(other), base)
        assert done.returncode == 0, done.stderr + said(other, 0)
        assert {said(other, rank) for rank in range(ranks)} == {said(alone, 0)}
        for name, value in final_weights(other).items():
            if name.endswith("key.bias"):
                continue  # its gradient is zero but for rounding, which Adam makes steps of
            torch.testing.assert_close(value, expected[name], rtol=1e-3, atol=1e-4, msg=f"{ranks}: {name}")
        steps = [json.loads(line)["step"] for line in (other / "log.jsonl").read_text().splitlines()]
        assert steps == sorted(steps)  # one process wrote it, each line once
        assert len(steps) == 8 + 2


@pytest.mark.slow
def test_accelerate_launch_trains_as_torchrun_does(base, starter, tmp_path):
    under_torchrun, under_accelerate = tmp_path / "torchrun", tmp_path / "accelerate"
    assert starter.launch(2, RUN, str(under_torchrun), base).returncode == 0
    done = launch(2, RUN, str(under_accelerate), base, environment={"HOW": "look"}, launcher=ACCELERATE)
    assert done.returncode == 0, done.stderr
    threads = Path(f"{under_accelerate}-threads-1").read_text()
    assert "gloo" not in threads  # one that lives when Python ends can abort the process
    assert said(under_accelerate, 1) == said(under_torchrun, 1)
    expected = final_weights(under_torchrun)
    for name, value in final_weights(under_accelerate).items():
        torch.testing.assert_close(value, expected[name], rtol=1e-6, atol=1e-7, msg=name)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("data", "rank 1 has another collection than rank 0"),
        ("versions", "rank 1 has another ernie-search than rank 0 (0.0.0"),
    ],
)
def test_a_rank_of_other_data_or_packages_is_refused_by_all(base, starter, tmp_path, how, words):
    output = tmp_path / "run"
    done = starter.launch(2, RUN, str(output), base, environment={"HOW": how})
    assert done.returncode != 0
    for rank in (0, 1):
        assert words in said(output, rank)
        assert "\n" not in said(output, rank)
    assert not output.exists()


@pytest.mark.slow
def test_a_rank_that_fails_gives_its_reason_to_all(base, tmp_path):
    output = tmp_path / "run"
    done = launch(2, RUN, str(output), base, environment={"HOW": "raise"})
    assert done.returncode != 0
    assert "rank 1 ended the training (ValueError: a bad day)" in said(output, 0)
    assert "ValueError: a bad day" in done.stderr


def test_shares_are_even_and_cover_everything():
    for total in (3, 7, 8, 100):
        parts = [World(rank, 3).share(total) for rank in range(3)]
        assert [place for part in parts for place in range(total)[part]] == list(range(total))
        assert max(World(0, 3).counts(total)) - min(World(0, 3).counts(total)) <= 1


def test_one_rank_alone_writes_the_model_of_a_checkpoint(tmp_path):
    """Two that write one folder at a time list files that the other has just emptied."""
    other = SimpleNamespace(world=World(1, 2), args=SimpleNamespace(output_dir=str(tmp_path)))
    StepTrainer._save(other, str(tmp_path / "checkpoint"))  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_fewer_questions_than_ranks_are_refused():
    with pytest.raises(SettingsError, match="questions_per_batch=2 is less than the 3 processes"):
        World(0, 3).check(2)


def test_one_process_agrees_with_itself():
    World().check_equal({"collection": "one"})
    assert World().on_main(lambda: 3) == 3
    with pytest.raises(TrainingError):
        World().on_main(_refuse)


def _refuse() -> None:
    raise TrainingError("no")


def test_after_a_failure_the_launcher_cannot_cut_off_its_message(tmp_path, monkeypatch):
    monkeypatch.delenv("MASTER_ADDR", raising=False)  # there is no store to leave a reason in
    before = signal.getsignal(signal.SIGTERM)
    try:
        with share_failures(tmp_path, World(0, 2)):
            assert signal.getsignal(signal.SIGTERM) is not before
        assert signal.getsignal(signal.SIGTERM) is before
        with pytest.raises(KeyboardInterrupt), share_failures(tmp_path, World(0, 2)):
            raise KeyboardInterrupt
        assert signal.getsignal(signal.SIGTERM) is before
        lost = pytest.raises(TrainingError, match="died without a message")
        with lost, share_failures(tmp_path, World(0, 2)):
            raise RuntimeError("Connection closed by peer")
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)
