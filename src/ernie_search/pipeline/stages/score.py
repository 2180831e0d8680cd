"""The stage ``score``: a teacher scores every list, and likely positives are dropped from it."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

from pydantic import Field

from ernie_search._util.files import MANIFEST
from ernie_search.mining import DenoiseSettings, denoise
from ernie_search.mining.lists import LISTS_FILE
from ernie_search.pipeline.stage import (
    LISTS_FROM,
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
from ernie_search.teacher import ListScoreSettings, score_lists
from ernie_search.teacher.judging import accuracy_advice
from ernie_search.teacher.score import entropy_warning
from ernie_search.teacher.score_folder import SHARDS

SCORED, LISTS = "scored", "lists"


class ScoreStageSettings(DenoiseSettings):
    """Scoring of the lists by a teacher, and the limits of denoising.

    Attributes:
        shard_size: lists scored together; an interruption loses at most one shard.
        token_budget: padded tokens in a micro-batch; 0 takes what suits the device.
        precision: ``auto`` measures whether bf16 is faster on this machine.
    """

    shard_size: int = Field(256, ge=1)
    token_budget: int = Field(0, ge=0)
    precision: Literal["auto", "bf16", "fp32"] = "auto"


class Score(Stage[ScoreStageSettings]):
    """Scoring of mined lists by a teacher, and their denoising by the scores."""

    kind = "score"
    what = "score the lists with it, drop likely positives"
    settings_type = ScoreStageSettings
    reported = (
        ("lists", "lists"),
        ("denoised", "negatives dropped, which the teacher takes for positives"),
        ("refilled", "drawn from other questions in their place"),
        ("still_short", "lists short even so"),
    )

    def reads(self, before: Available) -> Inputs:
        """The inputs: mined lists and a teacher."""
        return Inputs(
            lists=self.needs_lists(before, "scores mined lists", mined=True),
            teacher=self.needs(before.teacher, "needs a teacher to score with; put a teacher before it"),
        )

    def leaves(self, before: Available) -> Available:
        """What later stages may read: lists with scores, which denoising may have shortened."""
        settings = self.settings
        made = replace(before, lists=self.name, scored=True)
        limited = settings.maximum is not None or settings.margin is not None
        if not limited or settings.keep_at_least >= before.fewest:
            return made
        return made.with_fewest(settings.keep_at_least, f"{self.name}.keep_at_least={settings.keep_at_least}")

    def sizes(self, passages: int, questions: int, lists: ListCount | None) -> Sizes:
        """The amount of work: the pairs of the lists."""
        read = self.needs(lists, f"scores mined lists; {LISTS_FROM}")
        return Sizes(f"{read.text} = {read.pairs:,} pairs", questions=read.number, pairs=read.pairs)

    def seconds(self, sizes: Sizes, rates: Rates) -> float:
        """Estimated duration: each pair is scored once."""
        return sizes.pairs / rates.pairs_per_second

    def share_done(self, folder: Path, sizes: Sizes) -> float:
        """The finished share, by the shards of scores."""
        shards = sum(1 for _ in (folder / SCORED / SHARDS).glob("*.parquet"))
        return shards * self.settings.shard_size / max(1, sizes.questions)

    def execute(self, task: Task) -> Done:
        """Score every list, then drop the negatives that the teacher scores like positives."""
        settings = self.settings
        lists = self.needs(task.inputs.open_lists(), "was given no lists")
        scored = score_lists(
            self.needs(task.inputs.open_teacher(), "was given no teacher"),
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
        outputs = (f"{SCORED}/{LISTS_FILE}", f"{LISTS}/{LISTS_FILE}")
        manifests = (f"{SCORED}/{MANIFEST}", f"{LISTS}/{MANIFEST}")
        counts = {"lists": len(clean), **clean.manifest.get("counts", {})}
        return Done(LISTS, outputs, counts, manifests)
