"""MRR, nDCG, recall, MAP and success of a run, question by question; all others through ir_measures.

The five families are computed here, to the values of ir_measures (a test compares them), since what computes
them there needs scipy, which is a large part of an installation for search.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from operator import gt
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ernie_search._util.files import did_you_mean
from ernie_search._util.trec import cut
from ernie_search.errors import EvaluationError
from ernie_search.evaluation.significance import Interval, bootstrap_interval
from ernie_search.types import Qrels, Run

if TYPE_CHECKING:
    import ir_measures

DEFAULT_MEASURES = (
    "MRR@10",
    "nDCG@10",
    "recall@1",
    "recall@5",
    "recall@10",
    "recall@20",
    "recall@50",
    "recall@100",
    "recall@1000",
)

SHALLOW = 100
"""Measures with cutoffs up to here get only so many passages, which saves most of the time of a long run."""
HIGHEST_GRADE = 10**7
"""pytrec_eval takes memory and time for every grade up to the highest, at 2^31 some 16 GB; for all measures,
since what is higher is no grade but a mistake."""
HIGHEST_OF_GDEVAL = 4
"""The Perl script behind ERR and nDCG with exponential gains stops at a higher grade."""
WHOLE = ("MRR", "MAP", "nDCG")
"""Families that also make sense over the whole list, without ``@k``."""
INSTALL = "pip install 'ernie-search[measures]'"
"""What brings the measures beyond the five families."""

NAME = re.compile(r"(MRR|MAP|nDCG|recall|success)(?:\(rel=([1-9][0-9]{0,8})\))?(?:@([1-9][0-9]{0,8}))?")


@dataclass(frozen=True, slots=True)
class Family:
    """A measure of one of the five families.

    A passage is relevant from grade ``rel``; nDCG's gain is the grade itself (Jarvelin & Kekalainen 2002).

    Attributes:
        name: MRR, MAP, nDCG, recall or success.
        rel: the lowest grade that is relevant.
        cutoff: how many passages count; None for all.
    """

    name: str
    rel: int = 1
    cutoff: int | None = None

    def of(self, hits: Sequence[tuple[int, int]], ideal: Sequence[int]) -> float:
        """The value for one question, between 0 and 1, as trec_eval computes it.

        Args:
            hits: rank (from 1) and grade of the found passages with a grade above 0, by rank.
            ideal: the grades above 0 of all judged passages, highest first.
        """
        depth = math.inf if self.cutoff is None else self.cutoff
        if self.name == "nDCG":
            best = sum(grade / math.log2(rank + 1) for rank, grade in enumerate(ideal[: self.cutoff], 1))
            gain = sum(grade / math.log2(rank + 1) for rank, grade in hits if rank <= depth)
            return gain / best if best else 0.0
        ranks = [rank for rank, grade in hits if grade >= self.rel and rank <= depth]
        if not ranks:
            return 0.0
        if self.name == "MRR":
            return 1 / ranks[0]
        if self.name == "success":
            return 1.0
        relevant = sum(grade >= self.rel for grade in ideal)
        found = len(ranks) if self.name == "recall" else sum(n / rank for n, rank in enumerate(ranks, 1))
        return found / relevant


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """The values of one run.

    Attributes:
        query_ids: the judged questions, sorted; (N,).
        values: measure name -> (N,) float64, aligned with ``query_ids``.
        missing: judged questions for which the run has no passage; each counts 0.
        unjudged: questions of the run without judgements; they are left out.
        without_relevant: judged questions none of whose passages is relevant; each counts 0, as in trec_eval.
    """

    query_ids: tuple[str, ...]
    values: Mapping[str, NDArray[np.float64]]
    missing: int = 0
    unjudged: int = 0
    without_relevant: int = 0

    def of(self, name: str) -> NDArray[np.float64]:
        """The values (N,) of one measure; an EvaluationError if it was not measured."""
        if name not in self.values:
            raise EvaluationError(f"{name!r} was not measured{did_you_mean(name, list(self.values))}")
        return self.values[name]

    def mean(self, name: str) -> float:
        """Mean over all judged questions."""
        return float(self.of(name).mean())

    def interval(self, name: str) -> Interval:
        """95 % bootstrap interval of the mean; see ``bootstrap_interval``."""
        return bootstrap_interval(self.of(name))


def ranked(scores: Mapping[str, float], query_id: str) -> list[str]:
    """Passage ids from best to worst: score descending, equal scores by id ascending (by code point).

    The field's tools disagree here: trec_eval (so pytrec_eval) puts the *higher* id first and rounds
    scores to 32 bits before comparing them, MS MARCO's script puts the lower id first. One run would
    be ranked in two ways in one table, so we rank it ourselves.

    Args:
        scores: passage id -> score, higher is better; infinite scores are allowed.
        query_id: whose scores these are, for the message.

    Raises:
        EvaluationError: a score is NaN, which has no place in any order.
    """
    values = list(scores.values())
    if any(map(math.isnan, values)):
        passage_id = next(one for one, score in scores.items() if math.isnan(score))
        raise EvaluationError(
            f"query {query_id!r}, passage {passage_id!r}: the score is NaN; repair the run first"
        )
    if all(map(gt, values, islice(values, 1, None))):  # as run files have them: nothing to sort
        return list(scores)
    return sorted(scores, key=lambda passage_id: (-scores[passage_id], passage_id))


def drop_self_hits(run: Run, qrels: Qrels | None = None) -> tuple[Run, int]:
    """The run without hits whose id is the question's own, and how many questions had one.

    In ArguAna (and in any collection where a passage asks for its like) the best hit of a question is
    the question itself, which nobody judged; BEIR's published figures leave it out. A pair that is judged
    relevant stays: there the two ids are equal, and the passage is meant.

    Args:
        run: left as it is; lists without a self-hit are shared with the result.
        qrels: what is judged relevant.
    """
    kept: Run = {}
    dropped = 0
    for query, scores in run.items():
        relevant: Mapping[str, int] = (qrels or {}).get(query, {})
        if query in scores and relevant.get(query, 0) <= 0:
            kept[query] = {passage: score for passage, score in scores.items() if passage != query}
            dropped += 1
        else:
            kept[query] = scores
    return kept, dropped


def parse_measure(name: str) -> "Family | ir_measures.Measure":
    """The measure of a name: one of the five families with ``@k``, or any name that ir_measures knows.

    A passage is relevant from grade 1, or from the grade that the name says, as MS MARCO's ``MRR(rel=2)@10``.

    Raises:
        EvaluationError: no such measure, a measure without the cutoff that it needs, or one that needs
            a tool that is not installed.
    """
    match = NAME.fullmatch(name)
    if match is None:
        return _foreign(name)
    family, relevant, cutoff = match.groups()
    if cutoff is None and family not in WHOLE:
        raise EvaluationError(f"measure {name!r} needs a cutoff; write {name}@10, say")
    if relevant is not None and family == "nDCG":
        raise EvaluationError(f"measure {name!r}: nDCG's gain is the grade itself; leave (rel=...) out")
    return Family(family, int(relevant or 1), None if cutoff is None else int(cutoff))


def _foreign(name: str) -> "ir_measures.Measure":
    """A measure of ir_measures."""
    same = [known for known in DEFAULT_MEASURES if known.lower() == name.lower()]
    hint = did_you_mean(cut(name), same or DEFAULT_MEASURES)
    try:
        import ir_measures
    except ModuleNotFoundError as error:
        raise EvaluationError(
            f"measure {cut(name)!r} is unknown here{hint}, or else needs ir_measures: {INSTALL}"
        ) from error
    try:
        measure = ir_measures.parse_measure(name)
        supported = ir_measures.DefaultPipeline.supports(measure)  # type: ignore[no-untyped-call]
    except Exception as error:  # it reads the name as Python, and lets out whatever comes of it
        raise EvaluationError(f"measure {cut(name)!r} is unknown{hint}") from error
    if measure.params.get("cutoff", 1) < 1:
        raise EvaluationError(f"measure {cut(name)!r} looks at no passage; choose a cutoff of at least 1")
    if not supported:
        raise EvaluationError(
            f"measure {cut(name)!r} needs a tool that is not installed; see ir_measures' documentation"
        )
    return measure


def _looks_no_deeper(measure: "ir_measures.Measure", depth: int) -> bool:
    """Whether only the top ``depth`` passages count. Other parameters (``judged_only``) may look below."""
    return set(measure.params) <= {"cutoff", "rel"} and measure.params.get("cutoff", math.inf) <= depth


def _check_grades(measures: "Mapping[str, ir_measures.Measure]", qrels: Qrels) -> None:
    """Refuse grades that the tools do not take."""
    by_gdeval = (
        repr(name)
        for name, one in measures.items()
        if one.NAME == "ERR" or one.params.get("dcg") == "exp-log2"
    )
    strict = next(by_gdeval, None)
    highest, who = (
        (HIGHEST_GRADE, "measures take") if strict is None else (HIGHEST_OF_GDEVAL, f"{strict} takes")
    )
    for query_id, grades in qrels.items():
        for passage_id, grade in grades.items():
            if grade > highest:
                raise EvaluationError(
                    f"passage {passage_id!r} has grade {grade} for query {query_id!r}, and {who} "
                    f"grades up to {highest}; give smaller ones"
                )


def _calculated(measures: "Mapping[ir_measures.Measure, str]", qrels: Qrels, run: Run) -> list[Any]:
    """Values of every question; all that a measure's tool raises is one line with the measure's name."""
    if not measures:
        return []
    import ir_measures

    try:
        return list(ir_measures.iter_calc(list(measures), qrels, run))
    except Exception as error:  # the tools have no errors in common
        # They take several measures at once: which one it was, each tells alone.
        for one, name in measures.items() if len(measures) > 1 else ():
            _calculated({one: name}, qrels, run)
        names = ", ".join(map(repr, measures.values()))
        reason = cut((str(error).strip().splitlines() or [""])[0])
        raise EvaluationError(
            f"measure {cut(names)}: its tool fails on these judgements and this run "
            f"({type(error).__name__}: {reason}); choose another measure"
        ) from error


def _own(
    measures: Mapping[str, Family], qrels: Qrels, orders: Mapping[str, Sequence[str]]
) -> dict[str, NDArray[np.float64]]:
    """Measure name -> values (N,) of the judged questions, sorted by id; ``orders``: passages, best first."""
    columns = {name: np.zeros(len(qrels)) for name in measures}
    for row, query_id in enumerate(sorted(qrels)):
        grades = qrels[query_id]
        hits = [
            (rank, grades[passage])
            for rank, passage in enumerate(orders.get(query_id, ()), 1)
            if passage in grades and grades[passage] > 0
        ]
        ideal = sorted((grade for grade in grades.values() if grade > 0), reverse=True)
        for name, measure in measures.items():
            columns[name][row] = measure.of(hits, ideal)
    return columns


def relevant_from(name: str) -> int:
    """The lowest grade that is relevant to a measure, by its name; 1 for those of ir_measures, too."""
    match = NAME.fullmatch(name)
    return int(match.group(2) or 1) if match is not None else 1


def _theirs(
    measures: "Mapping[str, ir_measures.Measure]", qrels: Qrels, orders: Mapping[str, Sequence[str]]
) -> dict[str, NDArray[np.float64]]:
    """As ``_own``, by ir_measures."""
    # Questions go by numbers: some tools read no other ids.
    row = {query_id: str(number) for number, query_id in enumerate(sorted(qrels))}
    by_rank: Run = {
        row[query_id]: dict(zip(order, map(float, range(0, -len(order), -1)), strict=True))
        for query_id, order in orders.items()
    }
    # ir_measures' tools expect at least one judgement per question, and none below 0
    grades = {
        row[query_id]: {pid: max(0, g) for pid, g in judged.items()}
        for query_id, judged in qrels.items()
        if judged
    }
    columns = {measure: np.zeros(len(qrels)) for measure in measures.values()}
    names = {measure: name for name, measure in measures.items()}
    shallow = {one: name for one, name in names.items() if _looks_no_deeper(one, SHALLOW)}
    deep = {one: name for one, name in names.items() if one not in shallow}
    for group, depth in ((shallow, SHALLOW), (deep, None)):
        top = {query: dict(islice(scores.items(), depth)) for query, scores in by_rank.items()}
        for metric in _calculated(group, grades, top):
            columns[metric.measure][int(metric.query_id)] = metric.value
    return {name: columns[measure] for name, measure in measures.items()}


def evaluate_run(qrels: Qrels, run: Run, measures: Sequence[str] = DEFAULT_MEASURES) -> Measured:
    """Measure ``run`` on every judged question.

    Passages are ranked by score, equal scores by id (see ``ranked``). ir_measures gets scores made of
    these ranks, so that none of its tools meets a tie. Grades below 0 count as 0.

    Args:
        qrels: query id -> passage id -> grade; relevant from 1.
        run: query id -> passage id -> score, higher is better.
        measures: names, see ``parse_measure``.

    Raises:
        EvaluationError: an unknown measure, or one whose tool fails; a NaN score; qrels without any relevant
            passage or with a grade above :data:`HIGHEST_GRADE`; or a run none of whose questions is judged.
    """
    if not measures:
        raise EvaluationError(f"no measure was asked for; name one of {', '.join(DEFAULT_MEASURES)}")
    parsed = {name: parse_measure(name) for name in measures}
    query_ids = tuple(sorted(qrels))
    without_relevant = sum(all(grade <= 0 for grade in grades.values()) for grades in qrels.values())
    if without_relevant == len(query_ids):
        raise EvaluationError(
            f"none of the {len(query_ids)} judged questions has a relevant passage; check the qrels"
        )
    foreign = {name: one for name, one in parsed.items() if not isinstance(one, Family)}
    _check_grades(foreign, qrels)
    judged = {query_id: scores for query_id, scores in run.items() if query_id in qrels}
    if run and not judged:
        raise EvaluationError(
            f"none of the run's {len(run)} questions is judged (the first is {next(iter(run))!r}, "
            f"the qrels' first is {query_ids[0]!r}); give the qrels of the same collection and split"
        )
    orders = {query_id: ranked(scores, query_id) for query_id, scores in judged.items() if scores}
    columns = _own({name: one for name, one in parsed.items() if isinstance(one, Family)}, qrels, orders)
    if foreign:
        columns |= _theirs(foreign, qrels, orders)
    return Measured(
        query_ids=query_ids,
        values={name: columns[name] for name in parsed},
        missing=len(query_ids) - len(orders),
        unjudged=len(run) - len(judged),
        without_relevant=without_relevant,
    )
