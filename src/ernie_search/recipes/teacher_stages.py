"""The stages ``teacher`` and ``score``: a cross-encoder of ours or a ready one, and what it says of lists."""

from ernie_search.files import write_json
from ernie_search.mining import DenoiseSettings, Lists, denoise
from ernie_search.mining.lists import LISTS_FILE
from ernie_search.recipes.kinds import ScoreStage, TeacherStage
from ernie_search.recipes.task import READY_FINGERPRINT, Counter, Done, Task
from ernie_search.teacher import ListScoreSettings, Teachers, TeacherSettings, score_lists, train_teachers
from ernie_search.teacher.score import entropy_warning

MODELS, READY = "teachers", "ready.json"
SCORED, LISTS = "scored", "lists"


def teacher_stage(task: Task) -> Done:
    """Train the teachers on the lists, or note which ready one is taken and what its weights are."""
    settings = task.stage.settings
    if not isinstance(settings, TeacherStage):
        raise TypeError(f"teacher was given {type(settings).__name__}")
    if settings.use:
        ready = Teachers.open(settings.use)
        write_json(task.folder / READY, {"use": settings.use, "fingerprint": ready.fingerprint})
        return Done(settings.use, (READY,), {READY_FINGERPRINT: ready.fingerprint})
    if task.given.lists is None:
        raise TypeError("teacher was given no lists")
    own = TeacherSettings(**settings.model_dump(include=set(TeacherSettings.model_fields)))
    lists = Lists.open(task.given.lists)
    made = train_teachers(task.collection, lists, task.folder / MODELS, own, task.observer)
    models = tuple(str(model.relative_to(task.folder)) for model in map(task.folder.joinpath, made.models))
    return Done(MODELS, models, {"teachers": len(made)})


def score_stage(task: Task) -> Done:
    """Score every list, then drop the negatives that the teacher believes to be relevant."""
    settings, given = task.stage.settings, task.given
    teachers = given.open_teacher()
    if not isinstance(settings, ScoreStage) or given.lists is None or teachers is None:
        raise TypeError(f"score was given {type(settings).__name__} and {given}")
    lists = Lists.open(given.lists)
    scored = score_lists(
        teachers,
        task.collection,
        lists,
        task.folder / SCORED,
        ListScoreSettings(**settings.model_dump(include={"shard_size", "token_budget", "precision"})),
        progress=Counter(task.observer, "lists scored", len(lists)),
    )
    warning = entropy_warning(scored)
    if warning:
        task.observer("advice", {"text": warning})
    limits = DenoiseSettings(**settings.model_dump(include=set(DenoiseSettings.model_fields)))
    clean = denoise(scored, task.folder / LISTS, limits)
    # The lists themselves, not their manifests, which hold durations: done again, the stage is the same.
    outputs = (f"{SCORED}/{LISTS_FILE}", f"{LISTS}/{LISTS_FILE}")
    return Done(LISTS, outputs, {"lists": len(clean), **clean.manifest.get("counts", {})})
