"""Teacher's scores over the student's, on the question-passage pairs that two runs share."""

import numpy as np
from scipy.stats import spearmanr

from ernie_search.report.chart import Series, scatter_chart
from ernie_search.report.html import Html, tag
from ernie_search.report.page import Section
from ernie_search.types import Qrels, Run

MOST_PAIRS = 1000
"""Points of a kind that are drawn, chosen by chance with a fixed seed; the correlation is over all pairs."""
KINDS = ("not judged relevant", "judged relevant")


def scatter_section(
    student_name: str, student: Run, teacher_name: str, teacher: Run, qrels: Qrels | None
) -> Section:
    """The pairs that both runs score.

    Args:
        student_name, student: whose scores go to the right.
        teacher_name, teacher: whose scores go up.
        qrels: to tell relevant passages from others.
    """
    shared = [
        (score, teacher[query][passage], (qrels or {}).get(query, {}).get(passage, 0) > 0)
        for query, scores in student.items()
        for passage, score in scores.items()
        if passage in teacher.get(query, {})
    ]
    title = f"Scores: {teacher_name} over {student_name}"
    finite = [one for one in shared if np.isfinite(one[:2]).all()]
    if len(finite) < 2:
        return Section(title, tag("p", "The two runs share no question-passage pairs with scores."))
    values = np.array([one[:2] for one in finite])
    flat = np.ptp(values, axis=0).min() == 0  # a constant has no rank correlation
    note = f"{len(finite):,} pairs" + ("" if flat else f", Spearman {spearmanr(*values.T).statistic:.3f}")
    shuffled = [finite[place] for place in np.random.default_rng(0).permutation(len(finite))]
    series = [
        Series(kind, [one[:2] for one in shuffled if one[2] is relevant][:MOST_PAIRS])
        for kind, relevant in zip(KINDS, (False, True), strict=True)
    ]
    series = [one for one in series if one.points]
    chart: Html = scatter_chart(
        series, title, x_label=student_name, y_label=teacher_name, note=note, wide=True
    )
    return Section("Teacher and student", chart, "Each point is a question with a passage that both scored.")
