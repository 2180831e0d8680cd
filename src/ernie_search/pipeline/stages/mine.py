"""The stage ``mine``: hard negatives from the last trained model's ranking of the training questions."""

import shutil
from dataclasses import replace
from pathlib import Path

from pydantic import Field

from ernie_search._util.files import MANIFEST, fingerprint, read_json, remove_unfinished, write_json
from ernie_search.encoding import encode_collection
from ernie_search.evaluation import write_run
from ernie_search.mining import MineSettings, mine_lists
from ernie_search.mining.lists import LISTS_FILE
from ernie_search.model import load_joint
from ernie_search.pipeline.stage import (
    QUESTION_SHARE,
    Available,
    Counter,
    Done,
    Inputs,
    ListCount,
    Rates,
    Sizes,
    Stage,
    Task,
)
from ernie_search.search.over_shards import run_over_shards
from ernie_search.training.folder import model_identity
from ernie_search.training.prepare import relevant, sample

LISTS, RUN, SHARDS, ORIGIN = "lists", "run.trec", "shards", "origin.json"


class MineStageSettings(MineSettings):
    """Mining with the last trained model.

    Attributes:
        max_questions: mine for a seeded sample of so many training questions; 0 takes all. The same number
            and seed as a warm-up's draw the same questions.
        shard_size: passages encoded at a time; an interruption loses at most one shard.
    """

    max_questions: int = Field(0, ge=0)
    shard_size: int = Field(4096, ge=1)


class Mine(Stage[MineStageSettings]):
    """Hard negatives for each training question, from the ranking of the model trained last."""

    kind = "mine"
    what = "search with it, keep hard negatives"
    settings_type = MineStageSettings
    reported = (
        ("lists", "lists"),
        ("filled", "negatives drawn at random, as too few were found"),
        ("left_out", "candidates left out, as they are relevant in other splits"),
    )

    def reads(self, before: Available) -> Inputs:
        """The input: a trained model."""
        return Inputs(model=self.needs(before.model, "mines with a trained model; put a warm-up before it"))

    def leaves(self, before: Available) -> Available:
        made = replace(before, mined=self.name, lists=self.name, scored=False)
        return made.with_fewest(self.settings.number, f"{self.name}.number={self.settings.number}")

    def sizes(self, passages: int, questions: int, lists: ListCount | None) -> Sizes:
        """The amount of work: passages to encode, questions to search, lists to make."""
        number = self.settings.number
        asked = min(self.settings.max_questions or questions, questions)
        text = f"{passages:,} passages; {asked:,} questions x {number}"
        made = ListCount(f"{asked:,} x (1 + {number})", asked, asked * (1 + number))
        return Sizes(text, passages=passages, questions=asked, made=made)

    def seconds(self, sizes: Sizes, rates: Rates) -> float:
        """Estimated duration: encoding of passages and questions, and exact search."""
        encoded = (sizes.passages + sizes.questions * QUESTION_SHARE) / rates.passages_per_second
        return encoded + sizes.passages * sizes.questions / rates.products_per_second

    def share_done(self, folder: Path, sizes: Sizes) -> float:
        """The finished share, by the encoded shards; they are removed once the run is written."""
        if (folder / RUN).is_file():
            return 1.0
        shards = sum(1 for _ in (folder / SHARDS).glob("*.parquet"))
        return shards * self.settings.shard_size / max(1, sizes.passages)

    def execute(self, task: Task) -> Done:
        """Search, write the run, and mine lists from it; an interrupted call is resumed."""
        settings, folder = self.settings, task.folder
        origin = {
            "made_by": fingerprint(
                model_identity(task.inputs.model),
                task.collection.fingerprint,
                settings.max_questions,
                settings.seed,
                settings.last,
            )
        }
        known = (folder / ORIGIN).is_file() and read_json(folder / ORIGIN) == origin
        if not (known and (folder / RUN).is_file()):
            # First the origin: otherwise a run left by other settings could be taken for this one's.
            (folder / RUN).unlink(missing_ok=True)
            remove_unfinished(folder / RUN)  # what a kill left, which can be as large as the run
            write_json(folder / ORIGIN, origin)
            self._search(task)
        mined = MineSettings(**settings.model_dump(include=set(MineSettings.model_fields)))
        advance = Counter(task.observer, "questions mined")
        lists = mine_lists(folder / RUN, task.collection, folder / LISTS, mined, progress=advance)
        shutil.rmtree(folder / SHARDS, ignore_errors=True)
        counts = {"lists": len(lists), **lists.manifest.get("counts", {})}
        return Done(LISTS, (f"{LISTS}/{LISTS_FILE}", RUN), counts, (f"{LISTS}/{MANIFEST}",))

    def _search(self, task: Task) -> None:
        """Rank the training questions' passages by the model's single vectors; writes ``run.trec``."""
        settings, shards = self.settings, task.folder / SHARDS
        model = load_joint(task.inputs.model)
        encode_collection(
            model,
            task.collection.passages(),
            shards,
            data_fingerprint=task.collection.fingerprint,
            shard_size=settings.shard_size,
            with_tokens=False,
            progress=Counter(task.observer, "passages encoded"),
        )
        qrels = task.collection.qrels("train")
        judged = [query for query in task.collection.queries("train") if relevant(qrels, query.id)]
        asked = sample(judged, settings.max_questions, settings.seed if settings.max_questions else 0)
        advance = Counter(task.observer, "questions searched", len(asked))
        rankings = run_over_shards(model, shards, asked, settings.last, progress=advance)
        write_run(task.folder / RUN, rankings, tag=self.name)
