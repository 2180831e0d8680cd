"""Runs side by side: each against a baseline, or each against each, with intervals and corrected p."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ernie_search.errors import EvaluationError
from ernie_search.evaluation.answers import Answers, Match, answer_recall, parse_answer_measure
from ernie_search.evaluation.clusters import Clusters
from ernie_search.evaluation.measures import Measured, evaluate_run, parse_measure
from ernie_search.evaluation.significance import bootstrap_interval, holm, randomisation_test
from ernie_search.types import Passage, Qrels, Run

Missing = Literal["refuse", "intersect", "zero"]
"""A question that one run has and another lacks: refuse to compare, leave it out, or count it 0."""

SMALLEST_GAP = 0.05
"""The least ceiling over baseline for which a gap is given (docs/method.md, "Baselines and gap closed")."""


@dataclass(frozen=True, slots=True)
class Clustered:
    """Interval and p of a difference where the questions of a cluster depend on each other.

    Attributes:
        by: how questions are grouped: ``passage``, or ``field:NAME``.
        clusters: how many the compared questions are of.
        low, high: 95 % cluster bootstrap interval of the difference.
        p: two-sided p of the cluster randomisation test.
        p_holm: p after Holm's correction over the pairs of the measure; ``None`` outside such a family.
    """

    by: str
    clusters: int
    low: float
    high: float
    p: float
    p_holm: float | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Run A against run B in one measure, question by question.

    Attributes:
        measure: its name.
        difference: mean of A minus mean of B: above 0, A is better.
        low, high: 95 % bootstrap interval of the difference.
        p: two-sided p of the paired randomisation test.
        wins, losses, ties: questions on which A is better, worse, equal.
        clustered: interval and p by cluster, for each grouping that was asked for.
    """

    measure: str
    difference: float
    low: float
    high: float
    p: float
    wins: int
    losses: int
    ties: int
    clustered: tuple[Clustered, ...] = ()


def compare(
    a: Measured, b: Measured, measure: str, *, seed: int = 0, clusters: Sequence[Clusters] = ()
) -> Comparison:
    """Compare two runs that were measured on the same questions.

    Args:
        a, b: the runs; differences are ``a`` minus ``b``.
        measure: which.
        seed: of the tests and intervals.
        clusters: groupings of the questions, for tests by cluster beside the paired ones.

    Raises:
        EvaluationError: the questions differ, one of the two lacks the measure, or a question is in no
            cluster, or all are in one.
    """
    if a.query_ids != b.query_ids:
        one_sided = sorted(set(a.query_ids) ^ set(b.query_ids))
        raise EvaluationError(
            f"the two runs were measured on different questions ({len(a.query_ids)} and {len(b.query_ids)}; "
            f"{one_sided[0]!r} is only in one); measure both with the same qrels"
        )
    differences = a.of(measure) - b.of(measure)
    interval = bootstrap_interval(differences, seed=seed)
    return Comparison(
        measure=measure,
        difference=float(differences.mean()),
        low=interval.low,
        high=interval.high,
        p=randomisation_test(differences, seed=seed),
        wins=int((differences > 0).sum()),
        losses=int((differences < 0).sum()),
        ties=int((differences == 0).sum()),
        clustered=tuple(clustered(differences, a.query_ids, one, seed=seed) for one in clusters),
    )


def clustered(
    differences: NDArray[np.float64], queries: Sequence[str], clusters: Clusters, *, seed: int = 0
) -> Clustered:
    """Interval and p of the mean of differences by cluster.

    Args:
        differences: (N,), one per question.
        queries: (N,), the ids of the questions.
        clusters: their grouping.
        seed: of the drawing.

    Raises:
        EvaluationError: a question is in no cluster, or all are in one.
    """
    labels = clusters.labels(queries)
    low, high = bootstrap_interval(differences, seed=seed, clusters=labels)
    p = randomisation_test(differences, seed=seed, clusters=labels)
    return Clustered(clusters.by, len(set(labels)), low, high, p)


@dataclass(frozen=True, slots=True)
class SystemResult:
    """One row: a system's name, what was measured of it, and its seconds of search (None: not timed)."""

    name: str
    measured: Measured
    seconds: float | None = None


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
        """Remarks for the reader: what was left out, or counts 0."""
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
        EvaluationError: no run has a question that is judged; the runs have different questions and
            ``missing`` is ``refuse``; or no question is left.
    """
    known = set(judged)
    have = {name: {query for query in known if run.get(query)} for name, run in runs.items()}
    anywhere, everywhere = set().union(*have.values()), known.intersection(*have.values())
    asked = sorted(query for run in runs.values() for query, found in run.items() if found)
    if not anywhere and asked and known:
        raise EvaluationError(
            f"none of the runs' questions is judged (their first is {asked[0]!r}, the judgements' "
            f"{min(known)!r}); give the judgements of the same collection and split"
        )
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


@dataclass(frozen=True, slots=True)
class Pair:
    """The difference of one run over another in one measure.

    Attributes:
        name, over: the two runs; differences are ``name`` minus ``over``.
        found: difference, interval, p, questions won and lost.
        p_holm: the paired test's p after Holm's correction over the pairs of this measure.
    """

    name: str
    over: str
    found: Comparison
    p_holm: float


@dataclass(frozen=True, slots=True, eq=False)
class RunComparison:
    """Runs measured over the same questions.

    Attributes:
        systems: in the order given.
        measures: names, the deciding one first.
        pairs: for each measure, every pair that was compared.
        questions: over which questions, and what was left out.
    """

    systems: tuple[SystemResult, ...]
    measures: tuple[str, ...]
    pairs: tuple[Pair, ...]
    questions: QuestionSet

    def measured(self, name: str) -> Measured:
        """The measures of one run."""
        return next(one.measured for one in self.systems if one.name == name)

    def pairs_of(self, measure: str) -> list[Pair]:
        """The pairs in one measure."""
        return [pair for pair in self.pairs if pair.found.measure == measure]


def check_measures(measures: Sequence[str], *, qrels: bool, answers: bool) -> None:
    """Raise EvaluationError for an unknown measure, or one that lacks judgements or answers."""
    for name in measures:
        if parse_answer_measure(name) is not None:
            if not answers:
                raise EvaluationError(
                    f"measure {name!r} needs answers; give a file of them, or a collection that has them"
                )
        else:
            parse_measure(name)
            if not qrels:
                raise EvaluationError(
                    f"measure {name!r} needs judgements; give qrels, or ask for answer_recall@k"
                )


def compare_runs(
    runs: Mapping[str, Run],
    measures: Sequence[str],
    *,
    qrels: Qrels | None = None,
    answers: Answers | None = None,
    passages: Callable[[], Iterable[Passage]] | None = None,
    missing: Missing = "refuse",
    all_pairs: bool = False,
    seed: int = 0,
    answer_match: Match = "string",
    clusters: Sequence[Clusters] = (),
) -> RunComparison:
    """Measure runs over one set of questions, and compare each with the first.

    Args:
        runs: by name; the first is what the others are compared with.
        measures: names, see ``parse_measure``; ``answer_recall@k`` too. The first decides.
        qrels: judgements; needed but for answer recall.
        answers: of the questions; needed for answer recall. With both kinds of measures only questions that
            have judgements *and* answers count, so that every column is about the same ones.
        passages: gives the collection's, as a stream, once a run; needed for answer recall.
        missing: what to do where a run lacks a question that another has.
        all_pairs: compare each run with each.
        seed: of the tests and intervals.
        answer_match: whether answers are words or regular expressions.
        clusters: groupings of the questions, for tests by cluster beside the paired ones.

    Raises:
        EvaluationError: no run, different questions, an unknown measure, or what measuring raises.
    """
    if not runs or not measures:
        raise EvaluationError("a comparison needs at least one run and one measure")
    check_measures(measures, qrels=qrels is not None, answers=answers is not None)
    depths = {name: depth for name in measures if (depth := parse_answer_measure(name)) is not None}
    judged: set[str] | None = set(qrels or ()) if len(depths) < len(measures) else None
    if depths:
        answered = set(answers or ())
        judged = answered if judged is None else judged & answered
    questions = question_set(runs, judged or set(), missing)
    kept = set(questions.ids)
    systems = []
    for name, run in runs.items():
        parts: list[Measured] = []
        of_run = {query: scores for query, scores in run.items() if query in kept}
        plain = [measure for measure in measures if measure not in depths]
        if plain:
            rows = {query: grades for query, grades in (qrels or {}).items() if query in kept}
            parts.append(evaluate_run(rows, of_run, plain))
        if depths:
            strings = {query: (answers or {})[query] for query in questions.ids}
            texts = passages() if passages is not None else ()
            parts.append(
                answer_recall(of_run, strings, texts, sorted(set(depths.values())), match=answer_match)
            )
        systems.append(SystemResult(name, _joined(parts, measures, len(run) - len(of_run))))
    pairs = [
        pair
        for measure in measures
        for pair in _pairs(systems, measure, all_pairs=all_pairs, seed=seed, clusters=clusters)
    ]
    return RunComparison(tuple(systems), tuple(measures), tuple(pairs), questions)


def _joined(parts: Sequence[Measured], measures: Sequence[str], unjudged: int) -> Measured:
    """The measures of both kinds as one, in the order asked for."""
    values = {name: column for part in parts for name, column in part.values.items()}
    return Measured(
        query_ids=parts[0].query_ids,
        values={name: values[name] for name in measures},
        missing=parts[0].missing,
        unjudged=unjudged,
        without_relevant=parts[0].without_relevant,
    )


def _pairs(
    systems: Sequence[SystemResult], measure: str, *, all_pairs: bool, seed: int, clusters: Sequence[Clusters]
) -> list[Pair]:
    """Later runs over earlier ones; one family of hypotheses for each kind of test."""
    first = systems[0]
    chosen = list(combinations(systems, 2)) if all_pairs else [(first, other) for other in systems[1:]]
    found = [
        compare(other.measured, one.measured, measure, seed=seed, clusters=clusters) for one, other in chosen
    ]
    adjusted = holm([result.p for result in found])
    by_cluster = [holm([result.clustered[place].p for result in found]) for place in range(len(clusters))]
    return [
        Pair(other.name, one.name, replace(result, clustered=_corrected(result, by_cluster, number)), p)
        for number, ((one, other), result, p) in enumerate(zip(chosen, found, adjusted, strict=True))
    ]


def _corrected(found: Comparison, by_cluster: list[list[float]], number: int) -> tuple[Clustered, ...]:
    """The cluster tests of the ``number``-th pair, each with its corrected p."""
    return tuple(
        replace(one, p_holm=adjusted[number])
        for one, adjusted in zip(found.clustered, by_cluster, strict=True)
    )


def gap_closed(alone: Measured, ceiling: Measured, own: Measured, measure: str) -> float | None:
    """The share of the way from ``alone`` to ``ceiling`` that ``own`` has gone; ``None`` where it is short.

    Args:
        alone, ceiling, own: measured over the same questions.
        measure: which.
    """
    gap = float(np.mean(ceiling.of(measure) - alone.of(measure)))
    if gap < SMALLEST_GAP:
        return None
    return float(np.mean(own.of(measure) - alone.of(measure))) / gap
