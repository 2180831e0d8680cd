"""The verdict of a judging: measures over the judged pool, the differences' significance, preferences."""

from collections import Counter
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from ernie_search.evaluation import (
    Comparison,
    Interval,
    SystemResult,
    bootstrap_interval,
    compare,
    evaluate_run,
    randomisation_test,
    results_json,
)
from ernie_search.judge.folder import MARKS, Judging
from ernie_search.types import Qrels, Run

DEPTH = 10
"""Measures look at so many hits, or fewer where fewer were judged."""


@dataclass(frozen=True, slots=True)
class Preferences:
    """Which list people found better, question by question.

    Attributes:
        first, second, equal: questions.
        difference: share of the questions won minus that of those lost, from the first system's side.
        interval: its 95 % bootstrap interval.
        p: two-sided, of the paired randomisation test, which is here a sign test.
    """

    first: int
    second: int
    equal: int
    difference: float
    interval: Interval
    p: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a judging says.

    Attributes:
        names: of the systems.
        questions, finished, graded: in all; with nothing left to mark; those with all hits marked and a
            grade among them, over which everything is measured.
        marks: how often each mark was given, in questions all of whose hits are marked.
        skipped: hits of each system in the graded questions that have no grade, and count as not relevant.
        measures: names, the deciding one first.
        systems: one row for each system; none where no hit was found relevant.
        comparisons: the first system over the second, by measure.
        preferences: None for one system, or if nobody preferred anything.
    """

    names: tuple[str, ...]
    questions: int
    finished: int
    graded: int
    marks: dict[str, int]
    skipped: dict[str, int]
    measures: tuple[str, ...]
    systems: tuple[SystemResult, ...]
    comparisons: tuple[Comparison, ...]
    preferences: Preferences | None

    def as_json(self) -> dict[str, Any]:
        """Plain values, unrounded."""
        liked = self.preferences
        return {
            "questions": {"all": self.questions, "finished": self.finished, "graded": self.graded},
            "marks": self.marks,
            "skipped": self.skipped,
            "systems": results_json(self.systems, self.measures) if self.systems else [],
            "comparisons": [asdict(one) for one in self.comparisons],
            "preferences": None
            if liked is None
            else asdict(liked) | {"interval": [liked.interval.low, liked.interval.high]},
        }

    def lines(self) -> list[str]:
        """The verdict in words, beside the table of ``systems``."""
        found = [
            f"{self.graded:,} of {self.questions:,} questions are judged; marks: "
            + ", ".join(f"{count:,} {mark}" for mark, count in self.marks.items())
            + "."
        ]
        if not self.systems:
            return [
                *found,
                "No hit was marked relevant or partly relevant, so there is nothing to measure yet.",
            ]
        for one in self.comparisons:
            found.append(
                f"{self.names[0]} over {self.names[1]}, {one.measure}: {one.difference:+.4f} "
                f"[{one.low:+.4f}, {one.high:+.4f}], p {one.p:.3g}; won {one.wins}, lost {one.losses}, "
                f"equal {one.ties}."
            )
        liked = self.preferences
        if liked is not None:
            found.append(
                f"Preferred: {self.names[0]} {liked.first}, {self.names[1]} {liked.second}, "
                f"equal {liked.equal} ({liked.difference:+.2f} "
                f"[{liked.interval.low:+.2f}, {liked.interval.high:+.2f}], p {liked.p:.3g})."
            )
        if self.comparisons:
            found.append(self._conclusion(self.comparisons[0]))
        skipped = ", ".join(f"{name} {count:,}" for name, count in self.skipped.items())
        return [
            *found,
            "Only the pooled hits were judged: what neither list held counts as not relevant, and figures of "
            f"other systems over these judgements are too low. Hits without a judgement: {skipped}.",
        ]

    def _conclusion(self, found: Comparison) -> str:
        if found.p > ALPHA:
            return (
                f"Verdict: {found.measure} does not tell the two apart on {self.graded:,} questions; more "
                "questions would narrow the interval."
            )
        better = self.names[0] if found.difference > 0 else self.names[1]
        return f"Verdict: {better} is better in {found.measure} (p {found.p:.3g})."


ALPHA = 0.05
"""Above this p a difference is called what it may be: chance."""


def verdict(judging: Judging) -> Verdict:
    """Measure what was judged.

    Over questions all of whose hits are marked; a hit that was skipped counts as not relevant, and is
    counted. The deciding measure is nDCG, which knows that a hit may be partly relevant.
    """
    qrels, runs = judging.qrels(), judging.runs()
    depth = min(DEPTH, judging.k)
    measures = (f"nDCG@{depth}", f"MRR@{depth}", f"P@{depth}")
    numbers = [number for number in range(len(judging.questions)) if judging.is_judged(number)]
    given = Counter(mark for number in numbers for mark in judging.marks[number].values())
    skipped = {
        name: sum(hit not in grades for query, grades in qrels.items() for hit in run[query])
        for name, run in runs.items()
    }
    systems: tuple[SystemResult, ...] = ()
    if any(grade > 0 for grades in qrels.values() for grade in grades.values()):
        systems = tuple(
            SystemResult(name, _measured({one: run[one] for one in qrels}, qrels, measures, depth))
            for name, run in runs.items()
        )
    comparisons = (
        tuple(compare(systems[0].measured, systems[1].measured, name) for name in measures)
        if len(systems) == 2
        else ()
    )
    return Verdict(
        names=judging.names,
        questions=len(judging.questions),
        finished=judging.finished,
        graded=len(qrels),
        marks={mark: given[mark] for mark in MARKS},
        skipped=skipped,
        measures=measures,
        systems=systems,
        comparisons=comparisons,
        preferences=_preferences(judging),
    )


def _measured(run: Run, qrels: Qrels, measures: tuple[str, ...], depth: int) -> Any:
    """The measures of the five families, and precision, which needs no other package here."""
    found = evaluate_run(qrels, run, measures[:2])
    precision = [
        sum(qrels[query].get(hit, 0) > 0 for hit in list(run[query])[:depth]) / depth
        for query in found.query_ids
    ]
    return replace(found, values={**found.values, measures[2]: np.asarray(precision, dtype=np.float64)})


def _preferences(judging: Judging) -> Preferences | None:
    signs = [
        0.0 if side == "equal" else 1.0 - 2.0 * question.system_at(side)
        for question, side in zip(judging.questions, judging.preferences, strict=True)
        if side and side != "skip"
    ]
    if not signs:
        return None
    values = np.asarray(signs)
    return Preferences(
        first=signs.count(1.0),
        second=signs.count(-1.0),
        equal=signs.count(0.0),
        difference=float(values.mean()),
        interval=bootstrap_interval(values),
        p=randomisation_test(values),
    )
