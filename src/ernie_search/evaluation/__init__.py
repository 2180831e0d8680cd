"""What a run is worth: measures with intervals, tests between two runs, TREC files, a table."""

from ernie_search.evaluation.intervals import Interval, bootstrap_interval
from ernie_search.evaluation.measures import DEFAULT_MEASURES, Measured, evaluate_run
from ernie_search.evaluation.significance import Comparison, compare, randomisation_test
from ernie_search.evaluation.table import SystemResult, results_json, results_table
from ernie_search.evaluation.trec import read_qrels, read_run, write_qrels, write_run

__all__ = [
    "DEFAULT_MEASURES",
    "Comparison",
    "Interval",
    "Measured",
    "SystemResult",
    "bootstrap_interval",
    "compare",
    "evaluate_run",
    "randomisation_test",
    "read_qrels",
    "read_run",
    "results_json",
    "results_table",
    "write_qrels",
    "write_run",
]
