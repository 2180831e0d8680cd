"""``train RECIPE`` and ``ablate``, killed with SIGKILL on their way: the same command ends the same."""

import json
import os
import random
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import tiny_adapt
from ernie_search.data import write_beir
from ernie_search.pipeline.manifest import StageManifest
from killed_command import Commands, Round, commands
from tiny_adapt import documents
from tiny_model import sentence_base
from tiny_training import collection, weights

LONGEST_DELAY = 0.1
"""Seconds from the line to the kill; a command that ends sooner waits for it."""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_beir(collection(), tmp_path / "crops")
    return tmp_path / "crops"


@pytest.fixture(scope="module")
def starter() -> Iterator[Commands]:
    with commands() as running:
        yield running


def killed_everywhere(
    starter: Commands,
    command: Callable[[Path], Sequence[str]],
    folder: Path,
    places: Sequence[tuple[str, ...]],
) -> tuple[Path, Path, str]:
    """Run a command whole, and again killed at each of the places; both folders, and the delays' seed."""
    whole, killed = folder / "whole", folder / "killed"
    seed = int.from_bytes(os.urandom(4), "big")
    draw = random.Random(seed)
    again = [Round(tuple(command(killed)), place, draw.uniform(0, LONGEST_DELAY)) for place in places]
    for one in (Round(tuple(command(whole))), *again, Round(tuple(command(killed)))):
        code, lines = starter.run(one)
        assert code == (-signal.SIGKILL if one.kill_after else 0), f"seed {seed}, {one}: {lines}"
    return whole, killed, f"seed {seed}"


def stages(folder: Path) -> dict[str, tuple[str, dict[str, Any]]]:
    """What every stage says of itself, but for what the process and the clock say."""
    found = {}
    for path in sorted(folder.rglob("stage.json")):
        made = StageManifest.read(path.parent)
        assert made is not None
        counts = {name: value for name, value in made.counts.items() if name != "peak_bytes"}
        found[str(path.parent.relative_to(folder))] = (made.fingerprint, counts)
    return found


@pytest.mark.slow  # eight processes, of which each trains something
def test_a_recipe_killed_in_every_stage_ends_like_one_that_nobody_killed(
    starter: Commands, tiny_recipe: Callable[..., Path], data: Path, tmp_path: Path
) -> None:
    recipe = tiny_recipe()
    whole, killed, seed = killed_everywhere(
        starter,
        lambda output: ("train", str(recipe), "--source", str(data), "--output", str(output)),
        tmp_path,
        [
            ("stage warm-up", "step 3 of 4"),
            ("stage mine", "questions searched: 40 of 40"),
            ("stage teacher", "teacher 1 of 2", "step 3 of 4"),
            ("stage teacher, resumes", "teacher 2 of 2"),
            ("stage score", "lists scored: 40 of 40"),
            ("stage cascade", "step 3 of 4"),
        ],
    )
    assert weights(killed / "model") == weights(whole / "model"), seed
    assert list(stages(whole)) == ["cascade", "mine", "score", "teacher", "warm-up"]
    assert stages(killed) == stages(whole), seed


@pytest.mark.slow  # six processes, likewise
def test_an_ablation_killed_in_its_rows_ends_like_one_that_nobody_killed(
    starter: Commands, tiny_recipe: Callable[..., Path], data: Path, tmp_path: Path
) -> None:
    recipe, rows = tiny_recipe(1), "bm25,alone,frozen-late,full,ceiling-late"
    whole, killed, seed = killed_everywhere(
        starter,
        lambda output: (
            *("ablate", str(recipe), "--source", str(data), "--output", str(output)),
            *("--rows", rows, "--seeds", "0"),
        ),
        tmp_path,
        [
            ("row bm25",),
            ("row alone", "step 3 of 4"),
            ("row frozen-late", "stage warm-up: done"),  # its teacher's training
            ("row full", "step 3 of 4"),
        ],
    )
    assert timeless(killed) == timeless(whole), seed
    # Of the recipe's rows the ceiling needs one more: the row that it re-ranks.
    assert len(timeless(whole)["rows"]) == 6
    assert stages(killed) == stages(whole), seed
    for path in whole.rglob("last"):
        assert weights(killed / path.relative_to(whole)) == weights(path), seed
    runs = {str(path.relative_to(whole)): path.read_bytes() for path in whole.rglob("*.trec")}
    assert len(runs) == 5
    assert {str(path.relative_to(killed)): path.read_bytes() for path in killed.rglob("*.trec")} == runs, seed


def timeless(output: Path) -> dict[str, Any]:
    """The table without seconds."""

    def without(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: without(one) for key, one in value.items() if key != "seconds"}
        return [without(one) for one in value] if isinstance(value, list) else value

    table = json.loads((output / "table.json").read_text(encoding="utf-8"))
    found: dict[str, Any] = without(table)
    return found


@pytest.mark.slow  # seven processes
def test_an_adaptation_killed_on_its_way_ends_like_one_that_nobody_killed(
    starter: Commands, tmp_path: Path
) -> None:
    base, docs = sentence_base(tmp_path / "base", layers=2), documents(tmp_path / "docs")
    changes = {name: value for name, value in tiny_adapt.SETTINGS.items() if name != "check.shares"}
    given = [part for name, value in changes.items() for part in ("--set", f"{name}={value}")]
    whole, killed, seed = killed_everywhere(
        starter,
        lambda output: ("adapt", str(docs), "--output", str(output), "--base", str(base), *given),
        tmp_path,
        [
            ("stage documents",),  # or in the stage after it, which is as short
            ("stage filter",),
            ("stage filter", "questions searched: 120 of 120"),  # or in the lists
            ("stage adapt", "step 3 of 4"),
            ("stage check",),
        ],
    )
    files = ("questions/questions.jsonl", "score/lists/lists.parquet", "check/verdict.json")
    for name in (*files, "model/model.safetensors"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes(), (name, seed)
    assert weights(killed / "adapt/training/last") == weights(whole / "adapt/training/last"), seed
