"""Over which questions several runs are compared: the same for all, or it is refused."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from ernie_search.errors import EvaluationError
from ernie_search.types import Run

Missing = Literal["refuse", "intersect", "zero"]
"""A question that one run has and another lacks: refuse to compare, leave it out, or count it 0."""


@dataclass(frozen=True, slots=True)
class QuestionSet:
    """The questions that count, sorted, and how many were left out or filled in to get there.

    Attributes:
        ids: sorted.
        of: how many are judged in all.
        left_out: judged questions that at least one run lacks and that are therefore out (``intersect``).
        filled: by run, the questions of ``ids`` that it lacks and that count 0.
    """

    ids: tuple[str, ...]
    of: int
    left_out: int
    filled: Mapping[str, int]

    def notes(self) -> list[str]:
        """What a reader has to know of it."""
        found = []
        if self.left_out:
            found.append(
                f"compared over the {len(self.ids):,} of {self.of:,} judged questions that every run has; "
                f"{self.left_out:,} left out"
            )
        found += [
            f"{name}: {count:,} judged questions are not in the run and count 0"
            for name, count in self.filled.items()
            if count
        ]
        return found


def question_set(
    runs: Mapping[str, Run], judged: Collection[str], missing: Missing = "refuse"
) -> QuestionSet:
    """The questions over which ``runs`` are compared.

    A question that no run has counts 0 for all (they can hardly all have been asked something else); one
    that only some have makes the figures those of different questions.

    Args:
        runs: by name.
        judged: ids of the questions that have judgements, or answers.
        missing: see :data:`Missing`.

    Raises:
        EvaluationError: the runs have different questions and ``missing`` is ``refuse``, or no question
            is left.
    """
    known = set(judged)
    have = {name: {query for query in known if run.get(query)} for name, run in runs.items()}
    anywhere, everywhere = set().union(*have.values()), known.intersection(*have.values())
    if missing == "zero" or (missing == "refuse" and anywhere == everywhere):
        filled = {name: len(known - own) for name, own in have.items()}
        return QuestionSet(tuple(sorted(known)), len(known), 0, filled)
    if missing == "refuse":
        poorest = min(have, key=lambda name: len(have[name]))
        lacks = sorted(anywhere - have[poorest])
        raise EvaluationError(
            f"the runs have different questions: {poorest} lacks {len(lacks)} that another has (the first "
            f"is {lacks[0]!r}); compare over the {len(everywhere)} that all have with --intersect, or count "
            "a missing question 0 with --zero-missing"
        )
    if not everywhere:
        raise EvaluationError(f"no question is in all of {', '.join(runs)}; compare runs of the same split")
    return QuestionSet(tuple(sorted(everywhere)), len(known), len(known - everywhere), {})
