"""How much of a stage is left, by the files that an interrupted one goes on from."""

from pathlib import Path

from ernie_search.recipes.engine import State
from ernie_search.recipes.kinds import MineStage, ScoreStage, TeacherStage
from ernie_search.recipes.mine_stage import RUN, SHARDS
from ernie_search.recipes.stage import Stage
from ernie_search.recipes.teacher_stages import MODELS, SCORED
from ernie_search.teacher.score_folder import SHARDS as SCORES
from ernie_search.training.checkpoints import checkpoint_steps
from ernie_search.training.folder import RESULT_FILE


def share_left(stage: Stage, folder: Path | None, state: State, *, lists: int, passages: int) -> float:
    """Between 0 (done) and 1 (nothing is there yet), in the work that takes the time.

    Args:
        stage: of a recipe.
        folder: of the stage; ``None`` for a run that does not exist yet.
        state: by the same files.
        lists: that a ``score`` reads.
        passages: that a ``mine`` encodes.
    """
    if folder is None or state != "goes on":
        return 0.0 if state == "done" else 1.0
    settings, done = stage.settings, 0.0
    if stage.training is not None:
        done = _steps(folder) / stage.training.steps
    elif isinstance(settings, TeacherStage) and not settings.use:
        teachers = [folder / MODELS / f"teacher-{number}" for number in range(settings.folds)]
        finished = [
            1.0 if (one / RESULT_FILE).is_file() else _steps(one) / settings.steps for one in teachers
        ]
        done = sum(finished) / settings.folds
    elif isinstance(settings, ScoreStage):
        done = _files(folder / SCORED / SCORES) * settings.shard_size / max(1, lists)
    elif isinstance(settings, MineStage):
        searched = (folder / RUN).is_file()  # its shards may be gone by then; what is left is quick
        done = 1.0 if searched else _files(folder / SHARDS) * settings.shard_size / max(1, passages)
    return max(0.0, 1.0 - done)


def _steps(folder: Path) -> int:
    """Of the latest checkpoint."""
    return max(checkpoint_steps(folder), default=0)


def _files(folder: Path) -> int:
    return sum(1 for _ in folder.glob("*.parquet"))
