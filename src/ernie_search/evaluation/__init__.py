"""What a run is worth: measures with intervals, tests between two runs, TREC files, a table."""

from ernie_search.evaluation.answers import answer_recall, answers_of, holds_answer
from ernie_search.evaluation.comparison import RunComparison, compare_runs, gap_closed
from ernie_search.evaluation.measures import (
    DEFAULT_MEASURES,
    Interval,
    Measured,
    bootstrap_interval,
    evaluate_run,
)
from ernie_search.evaluation.significance import Comparison, compare, holm, randomisation_test
from ernie_search.evaluation.table import SystemResult, results_json, results_table
from ernie_search.evaluation.trec import (
    drop_self_hits,
    read_answers,
    read_qrels,
    read_queries,
    read_run,
    write_qrels,
    write_run,
)

__all__ = [
    "DEFAULT_MEASURES",
    "Comparison",
    "Interval",
    "Measured",
    "RunComparison",
    "SystemResult",
    "answer_recall",
    "answers_of",
    "bootstrap_interval",
    "compare",
    "compare_runs",
    "drop_self_hits",
    "evaluate_run",
    "gap_closed",
    "holds_answer",
    "holm",
    "randomisation_test",
    "read_answers",
    "read_qrels",
    "read_queries",
    "read_run",
    "results_json",
    "results_table",
    "write_qrels",
    "write_run",
]
