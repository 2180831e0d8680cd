"""Which checkpoint is resumed: the newest one whose every byte is as it was written."""

from pathlib import Path

import pytest

from ernie_search.errors import TrainingError
from ernie_search.training.folder import (
    CHECKPOINT_FILE,
    checkpoint_steps,
    damage,
    latest_checkpoint,
    publish,
)

FILES = (
    "model.safetensors",
    "optimizer.pt",
    "scheduler.pt",
    "rng_state.pth",
    "trainer_state.json",
    "1_Pooling/config.json",
)


def save(folder: Path, step: int, keep: int = 3) -> Path:
    """A checkpoint as the trainer writes it, with a few bytes a file."""
    fresh = folder / ".staging" / f"checkpoint-{step}"
    for name in FILES:
        (fresh / name).parent.mkdir(parents=True, exist_ok=True)
        (fresh / name).write_bytes(f"{name} of step {step}".encode())
    publish(folder / ".staging", folder, keep)
    return folder / f"checkpoint-{step}"


def flip(path: Path) -> None:
    """Change one bit; the size stays."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("name", FILES)
def test_a_checkpoint_with_one_other_bit_is_passed_over_and_it_is_said(tmp_path, name):
    before, newest = save(tmp_path, 4), save(tmp_path, 8)
    assert latest_checkpoint(tmp_path) == (newest, [])
    flip(newest / name)
    found, said = latest_checkpoint(tmp_path)
    assert found == before
    assert said == [
        f"{newest} cannot be resumed ({name} was altered since it was written (its SHA-256 differs))"
    ]


@pytest.mark.parametrize(
    ("manifest", "problem"),
    [
        (None, "is missing"),
        ("a folder", "is missing"),
        ("{", "is not readable"),
        ("[]", "holds no checksums"),
        ("{}", "holds no checksums"),
        ('{"optimizer.pt": 31}', "holds no checksums"),  # of sizes, as older versions wrote it
    ],
)
def test_a_checkpoint_whose_manifest_says_nothing_is_not_resumed(tmp_path, manifest, problem):
    checkpoint = save(tmp_path, 4)
    (checkpoint / CHECKPOINT_FILE).unlink()
    if manifest == "a folder":
        (checkpoint / CHECKPOINT_FILE).mkdir()
    elif manifest is not None:
        (checkpoint / CHECKPOINT_FILE).write_text(manifest, encoding="utf-8")
    assert damage(checkpoint) == f"{CHECKPOINT_FILE} {problem}"
    with pytest.raises(TrainingError, match="no checkpoint before it is whole; delete"):
        latest_checkpoint(tmp_path)


def test_without_any_whole_checkpoint_the_run_is_refused(tmp_path):
    assert latest_checkpoint(tmp_path) == (None, [])
    for step in (4, 8):
        flip(save(tmp_path, step) / "optimizer.pt")
    with pytest.raises(TrainingError) as caught:
        latest_checkpoint(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path / 'checkpoint-8'} cannot be resumed (optimizer.pt was altered since it was written (its "
        f"SHA-256 differs)), and no checkpoint before it is whole; delete {tmp_path} and run the same "
        "command again to train from the start"
    )


@pytest.mark.parametrize("keep", [1, 2])
def test_a_damaged_checkpoint_is_never_kept_in_place_of_one_written_after_it(tmp_path, keep):
    save(tmp_path, 4)
    for step in (8, 10):
        flip(save(tmp_path, step) / "model.safetensors")
    (tmp_path / "checkpoint-notes").write_text("not ours")
    save(tmp_path, 6, keep)  # the run was resumed from 4
    assert sorted(checkpoint_steps(tmp_path)) == [4, 6][-keep:]
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"checkpoint-notes", *(f"checkpoint-{step}" for step in [4, 6][-keep:])}


def test_a_file_with_a_checkpoints_name_gives_way(tmp_path):
    save(tmp_path, 4)
    (tmp_path / "checkpoint-8").write_text("no folder")
    assert latest_checkpoint(tmp_path)[0] == tmp_path / "checkpoint-4"
    assert latest_checkpoint(tmp_path)[1][0].endswith(f"({CHECKPOINT_FILE} is missing)")
    assert sorted(checkpoint_steps(save(tmp_path, 8).parent)) == [4, 8]
