"""MRR, nDCG, recall, MAP and success of a run, question by question, computed by ir_measures."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from operator import gt

import ir_measures
import numpy as np
from numpy.typing import NDArray

from ernie_search._util.files import did_you_mean
from ernie_search._util.trec import cut
from ernie_search.errors import EvaluationError
from ernie_search.evaluation.significance import Interval, bootstrap_interval
from ernie_search.types import Qrels, Run

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

FAMILIES = {
    "MRR": ir_measures.RR,
    "MAP": ir_measures.AP,
    "nDCG": ir_measures.nDCG,
    "recall": ir_measures.R,
    "success": ir_measures.Success,
}
"""Our names for those of ir_measures. A passage is relevant from grade 1, or from the grade that the name
says, as MS MARCO's ``MRR(rel=2)@10``; nDCG's gain is the grade."""
SHALLOW = 100
"""Measures with cutoffs up to here get only so many passages, which saves most of the time of a long run."""
HIGHEST_GRADE = 10**7
"""pytrec_eval takes memory and time for every grade up to the highest: at 2^31 some 16 GB."""
HIGHEST_OF_GDEVAL = 4
"""The Perl script behind ERR and nDCG with exponential gains stops at a higher grade."""
WHOLE = ("MRR", "MAP", "nDCG")
"""Families that also make sense over the whole list, without ``@k``."""

NAME = re.compile(r"(MRR|MAP|nDCG|recall|success)(?:\(rel=([1-9][0-9]*)\))?(?:@([1-9][0-9]*))?")


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


def parse_measure(name: str) -> ir_measures.Measure:
    """The measure of a name: one of ``FAMILIES`` with ``@k``, or any name that ir_measures knows.

    Raises:
        EvaluationError: no such measure, a measure without the cutoff that it needs, or one that needs
            a tool that is not installed.
    """
    match = NAME.fullmatch(name)
    if match:
        family, relevant, cutoff = match.groups()
        if cutoff is None and family not in WHOLE:
            raise EvaluationError(f"measure {name!r} needs a cutoff; write {name}@10, say")
        if relevant is not None and family == "nDCG":
            raise EvaluationError(f"measure {name!r}: nDCG's gain is the grade itself; leave (rel=...) out")
        found = FAMILIES[family] if relevant is None else FAMILIES[family](rel=int(relevant))
        return found if cutoff is None else found @ int(cutoff)
    try:
        measure = ir_measures.parse_measure(name)
        supported = ir_measures.DefaultPipeline.supports(measure)  # type: ignore[no-untyped-call]
    except Exception as error:  # it reads the name as Python, and lets out whatever comes of it
        same = [known for known in DEFAULT_MEASURES if known.lower() == name.lower()]
        hint = did_you_mean(cut(name), same or DEFAULT_MEASURES)
        raise EvaluationError(f"measure {cut(name)!r} is unknown{hint}") from error
    if measure.params.get("cutoff", 1) < 1:
        raise EvaluationError(f"measure {cut(name)!r} looks at no passage; choose a cutoff of at least 1")
    if not supported:
        raise EvaluationError(
            f"measure {cut(name)!r} needs a tool that is not installed; see ir_measures' documentation"
        )
    return measure


def _looks_no_deeper(measure: ir_measures.Measure, depth: int) -> bool:
    """Whether only the top ``depth`` passages count. Other parameters (``judged_only``) may look below."""
    return set(measure.params) <= {"cutoff", "rel"} and measure.params.get("cutoff", math.inf) <= depth


def _check_grades(measures: Mapping[str, ir_measures.Measure], qrels: Qrels) -> None:
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


def _calculated(
    measures: Mapping[ir_measures.Measure, str], qrels: Qrels, run: Run
) -> list[ir_measures.Metric]:
    """Values of every question; all that a measure's tool raises is one line with the measure's name."""
    if not measures:
        return []
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


def evaluate_run(qrels: Qrels, run: Run, measures: Sequence[str] = DEFAULT_MEASURES) -> Measured:
    """Measure ``run`` on every judged question.

    Passages are ranked by score, equal scores by id (see ``ranked``), and handed to ir_measures
    with scores made of these ranks, so that none of its tools meets a tie. Grades below 0 count as 0.

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
    _check_grades(parsed, qrels)
    judged = {query_id: scores for query_id, scores in run.items() if query_id in qrels}
    if run and not judged:
        raise EvaluationError(
            f"none of the run's {len(run)} questions is judged (the first is {next(iter(run))!r}, "
            f"the qrels' first is {query_ids[0]!r}); give the qrels of the same collection and split"
        )
    # Questions go by numbers: some tools read no other ids.
    row = {query_id: str(number) for number, query_id in enumerate(query_ids)}
    by_rank: Run = {}
    for query_id, scores in judged.items():
        if scores:  # an empty list has no measures of its own: its question counts as missing
            order = ranked(scores, query_id)
            by_rank[row[query_id]] = dict(zip(order, map(float, range(0, -len(order), -1)), strict=True))
    # ir_measures' tools expect at least one judgement per question, and none below 0
    grades = {
        row[query_id]: {pid: max(0, g) for pid, g in judged.items()}
        for query_id, judged in qrels.items()
        if judged
    }
    columns = {measure: np.zeros(len(query_ids)) for measure in parsed.values()}
    names = {measure: name for name, measure in parsed.items()}
    shallow = {one: name for one, name in names.items() if _looks_no_deeper(one, SHALLOW)}
    deep = {one: name for one, name in names.items() if one not in shallow}
    for group, depth in ((shallow, SHALLOW), (deep, None)):
        top = {query: dict(islice(scores.items(), depth)) for query, scores in by_rank.items()}
        for metric in _calculated(group, grades, top):
            columns[metric.measure][int(metric.query_id)] = metric.value
    return Measured(
        query_ids=query_ids,
        values={name: columns[measure] for name, measure in parsed.items()},
        missing=len(query_ids) - len(by_rank),
        unjudged=len(run) - len(judged),
        without_relevant=without_relevant,
    )
