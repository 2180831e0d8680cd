"""What does the stages: one function a kind. Another kind is a function, and a line here and in ``KINDS``."""

from ernie_search.mining.lists import Lists
from ernie_search.recipes.mine_stage import mine_stage
from ernie_search.recipes.task import Done, Task, Work
from ernie_search.recipes.teacher_stages import score_stage, teacher_stage
from ernie_search.training import train
from ernie_search.training.teachers import StepTeachers


def train_stage(task: Task) -> Done:
    """``warm-up`` and ``cascade``: train from what came before; the best checkpoint is what it gives."""
    settings, given = task.stage.training, task.given
    if settings is None:
        raise TypeError(f"{task.stage.kind} was given {type(task.stage.settings).__name__}")
    result = train(
        task.collection,
        task.folder,
        settings,
        base=given.model,
        layers=given.layers,
        lists=Lists.open(given.lists) if given.lists is not None else None,
        teachers=StepTeachers(cross=given.open_teacher(), frozen=given.frozen),
        observer=task.observer,
    )
    counts = {
        "steps": result.steps,
        "best_step": result.best_step,
        "best_metric": result.best_metric,
        "truncated": result.truncated,
        "filled": result.filled,
    }
    outputs = tuple(dict.fromkeys((result.model.name, result.last.name)))
    return Done(result.model.name, outputs, counts, result.seconds)


WORK: dict[str, Work] = {
    "warm-up": train_stage,
    "mine": mine_stage,
    "teacher": teacher_stage,
    "score": score_stage,
    "cascade": train_stage,
}
