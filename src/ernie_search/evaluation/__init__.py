"""Measures of runs with intervals, tests between runs, TREC files, tables."""

from ernie_search._util.trec import read_qrels
from ernie_search.evaluation.answers import answer_recall, answers_of, holds_answer
from ernie_search.evaluation.clusters import Clusters, question_clusters
from ernie_search.evaluation.comparison import (
    Clustered,
    Comparison,
    RunComparison,
    SystemResult,
    compare,
    compare_runs,
    gap_closed,
)
from ernie_search.evaluation.measures import DEFAULT_MEASURES, Measured, drop_self_hits, evaluate_run
from ernie_search.evaluation.significance import Interval, bootstrap_interval, holm, randomisation_test
from ernie_search.evaluation.table import results_json, results_table
from ernie_search.evaluation.trec import read_run, write_qrels, write_run

__all__ = [
    "DEFAULT_MEASURES",
    "Clustered",
    "Clusters",
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
    "question_clusters",
    "randomisation_test",
    "read_qrels",
    "read_run",
    "results_json",
    "results_table",
    "write_qrels",
    "write_run",
]
