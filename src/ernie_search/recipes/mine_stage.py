"""The stage ``mine``: the last trained model searches the training questions; its best become negatives."""

import shutil
from pathlib import Path

from ernie_search.encoding import encode_collection
from ernie_search.evaluation import write_run
from ernie_search.files import fingerprint, read_json, remove_unfinished, write_json
from ernie_search.mining import MineSettings, mine_lists
from ernie_search.mining.lists import LISTS_FILE
from ernie_search.model import load
from ernie_search.process_memory import keep_freed_memory
from ernie_search.recipes.kinds import MineStage
from ernie_search.recipes.manifest import weights_identity
from ernie_search.recipes.task import Counter, Done, Task
from ernie_search.search.over_shards import run_over_shards
from ernie_search.training.prepare import relevant, sample
from ernie_search.types import Query

LISTS, RUN, SHARDS, ORIGIN = "lists", "run.trec", "shards", "run.json"


def mine_stage(task: Task) -> Done:
    """Search, write the run, mine the lists from it. Interrupted, it goes on from the last shard or run."""
    settings = task.stage.settings
    if not isinstance(settings, MineStage):
        raise TypeError(f"mine was given {type(settings).__name__}")
    folder, shards = task.folder, task.folder / SHARDS
    origin = {
        "made_by": fingerprint(
            weights_identity(task.given.model),
            task.collection.fingerprint,
            settings.max_questions,
            settings.seed,
            settings.last,
        )
    }
    known = (folder / ORIGIN).is_file() and read_json(folder / ORIGIN) == origin
    if not (known and (folder / RUN).is_file()):
        # The mark first: without it, a run left by other settings could be taken for this one's.
        (folder / RUN).unlink(missing_ok=True)
        remove_unfinished(folder / RUN)  # as long as the run that a kill broke off
        write_json(folder / ORIGIN, origin)
        _search(task, settings, shards)
    mined = MineSettings(**settings.model_dump(include=set(MineSettings.model_fields)))
    advance = Counter(task.observer, "questions mined")
    lists = mine_lists(folder / RUN, task.collection, folder / LISTS, mined, progress=advance)
    shutil.rmtree(shards, ignore_errors=True)
    counts = {"lists": len(lists), **lists.manifest.get("counts", {})}
    return Done(LISTS, (f"{LISTS}/{LISTS_FILE}", RUN), counts)


def questions_of(task: Task, number: int, seed: int) -> list[Query]:
    """The training questions with a positive; a seeded sample of ``number``, or all (0)."""
    qrels = task.collection.qrels("train")
    asked = [query for query in task.collection.queries("train") if relevant(qrels, query.id)]
    return sample(asked, number, seed if number else 0)


def _search(task: Task, settings: MineStage, shards: Path) -> None:
    keep_freed_memory()
    model = load(task.given.model)
    encode_collection(
        model,
        task.collection.passages(),
        shards,
        data_fingerprint=task.collection.fingerprint,
        shard_size=settings.shard_size,
        with_tokens=False,
        progress=Counter(task.observer, "passages encoded"),
    )
    asked = questions_of(task, settings.max_questions, settings.seed)
    advance = Counter(task.observer, "questions searched", len(asked))
    rankings = run_over_shards(model, shards, asked, settings.last, progress=advance)
    write_run(task.folder / RUN, rankings, tag=task.stage.name)
