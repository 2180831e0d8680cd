"""The kinds of stages that a recipe can name: one file per kind, and one line in ``KINDS``."""

from typing import Any

from ernie_search.pipeline.stage import Stage
from ernie_search.pipeline.stages.cascade import Cascade
from ernie_search.pipeline.stages.mine import Mine
from ernie_search.pipeline.stages.score import Score
from ernie_search.pipeline.stages.teacher import Teacher
from ernie_search.pipeline.stages.warm_up import WarmUp

KINDS: dict[str, type[Stage[Any]]] = {
    WarmUp.kind: WarmUp,
    Mine.kind: Mine,
    Teacher.kind: Teacher,
    Score.kind: Score,
    Cascade.kind: Cascade,
}
"""In the order of the method's path."""

__all__ = ["KINDS", "Cascade", "Mine", "Score", "Teacher", "WarmUp"]
