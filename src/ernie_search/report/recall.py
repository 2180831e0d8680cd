"""Recall over k of several runs, with bands."""

from collections.abc import Mapping

from ernie_search.evaluation.intervals import bootstrap_interval
from ernie_search.evaluation.measures import evaluate_run
from ernie_search.report.chart import Series, line_chart
from ernie_search.report.html import table, tag
from ernie_search.report.page import Section
from ernie_search.types import Qrels, Run

CUTOFFS = (1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000)
"""Where recall is measured for its curve, as far as the runs go."""


def recall_section(runs: Mapping[str, Run], judged: Qrels) -> Section:
    """Curves and their table, over the judged questions."""
    depth = max((len(scores) for run in runs.values() for scores in run.values()), default=1)
    cutoffs = [k for k in CUTOFFS if k <= depth] or [1]
    series, columns = [], []
    for name, run in runs.items():
        measured = evaluate_run(judged, run, [f"recall@{k}" for k in cutoffs])
        means = [measured.mean(f"recall@{k}") for k in cutoffs]
        bands = [bootstrap_interval(measured.of(f"recall@{k}"), resamples=1000) for k in cutoffs]
        points = [(float(k), mean) for k, mean in zip(cutoffs, means, strict=True)]
        series.append(Series(name, points, [(low, high) for low, high in bands]))
        columns.append(means)
    chart = line_chart(series, "Share of the relevant passages found", x_label="k", log_x=True, wide=True)
    rows = [[f"{k:,}", *(f"{means[place]:.3f}" for means in columns)] for place, k in enumerate(cutoffs)]
    body = tag("div", chart, table(("k", *runs), rows), class_="split")
    return Section("Recall at k", body, "Bands: 95 % bootstrap intervals.")
