"""Sections of run files: measures, recall curves, differences by question and by kind, scores."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ernie_search.evaluation.comparison import RunComparison, gap_closed
from ernie_search.evaluation.effects import Bucket, Effect, PairFindings, lost, won
from ernie_search.evaluation.measures import evaluate_run
from ernie_search.evaluation.significance import bootstrap_interval
from ernie_search.evaluation.table import shown_p, shown_rank
from ernie_search.report.chart import Series, difference_chart, line_chart, scatter_chart
from ernie_search.report.page import Content, Html, Section, Tile, join, pairs, table, tag
from ernie_search.types import Qrels, Run

SHOWN_QUESTIONS = 8
"""Won and lost, of each pair."""
CUTOFFS = (1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000)
"""Where recall is measured for its curve, as far as the runs go."""
MOST_PAIRS = 1000
"""Points of a kind that are drawn, chosen by chance with a fixed seed; the correlation is over all pairs."""
KINDS = ("not judged relevant", "judged relevant")


def comparison_tiles(found: RunComparison) -> list[Tile]:
    """The figures at the top of the page: the best run and the first pairs."""
    measure = found.measures[0]
    best = max(found.systems, key=lambda one: one.measured.mean(measure))
    tiles = [
        Tile(f"{best.measured.mean(measure):.3f}", f"{measure}, {best.name}"),
        Tile(f"{len(found.questions.ids):,}", "questions"),
    ]
    for pair in found.pairs_of(measure)[:2]:
        tiles.append(
            Tile(
                f"{pair.found.difference:+.3f}",
                f"{measure}, {pair.name} over {pair.over}, p {_p(pair.p_holm)}",
            )
        )
    return tiles


def comparison_sections(
    found: RunComparison,
    by_question: Sequence[PairFindings],
    runs: Mapping[str, Run],
    *,
    qrels: Qrels | None = None,
    texts: Mapping[str, str] | None = None,
    ceiling: RunComparison | None = None,
) -> list[Section]:
    """Sections of a comparison of runs.

    Args:
        found: the comparison.
        by_question: each pair, question by question.
        runs: by name, for the recall curves.
        qrels: judgements; without them no recall curves.
        texts: of the questions.
        ceiling: the same runs and then a teacher, over the questions that the teacher has, for the gap
            closed.
    """
    lead = f"{len(found.questions.ids):,} questions; small: 95 % bootstrap intervals; bold: the highest."
    sections = [Section("Summary", join([_summary(found), *_gap(found, ceiling)]), lead)]
    if found.pairs:
        sections.append(
            Section(
                "Significance",
                join([_pairs(found), *_clustered(found)]),
                f"{_who(found)}. Paired randomisation test; p after Holm's correction over the pairs of each "
                "measure.",
            )
        )
    if qrels is not None:
        judged = {query: qrels[query] for query in found.questions.ids if query in qrels}
        if any(grade > 0 for grades in judged.values() for grade in grades.values()):
            sections.append(recall_section({one.name: runs[one.name] for one in found.systems}, judged))
    measure = found.measures[0]
    for pair in by_question:
        title = f"{pair.name} over {pair.over}"
        sections.append(Section(f"{title}: question by question", _questions(pair, measure, texts or {})))
        if any(pair.where.values()):
            lead = f"Before: {pair.over}; now: {pair.name}. Intervals are descriptive, not tested."
            sections.append(Section(f"{title}: where", _where(pair), lead))
    return sections


def _summary(found: RunComparison) -> Html:
    rows: list[list[Content]] = []
    best = {name: max(one.measured.mean(name) for one in found.systems) for name in found.measures}
    for one in found.systems:
        cells: list[Content] = [one.name]
        for name in found.measures:
            mean, (low, high) = one.measured.mean(name), one.measured.interval(name)
            shown = f"{mean:.3f}"
            top = mean >= best[name] and len(found.systems) > 1
            cells.append([tag("b", shown) if top else shown, tag("small", f"{low:.3f} to {high:.3f}")])
        rows.append(cells)
    return table(("run", *found.measures), rows)


def _gap(found: RunComparison, ceiling: RunComparison | None) -> list[Html]:
    if ceiling is None:
        return []
    measure = found.measures[0]
    alone, *others, teacher = ceiling.systems
    rows: list[tuple[Content, Content]] = []
    for one in others:
        share = gap_closed(alone.measured, teacher.measured, one.measured, measure)
        rows.append((one.name, "the gap is under 0.05" if share is None else f"{100 * share:.0f} %"))
    if not rows:
        return []
    first, last = (f"{one.name} ({one.measured.mean(measure):.3f})" for one in (alone, teacher))
    about = f"From {first} to {last}, {measure}."
    own, of = len(ceiling.questions.ids), len(found.questions.ids)
    if own < of:
        about += f" Over the {own:,} of {of:,} questions that {teacher.name} has."
    return [tag("h3", "Gap closed"), tag("p", about, class_="lead"), pairs(rows)]


def _pairs(found: RunComparison) -> Html:
    rows: list[list[Content]] = []
    several = len(found.pairs_of(found.measures[0])) > 1
    for pair in found.pairs:
        one = pair.found
        rows.append(
            [
                [
                    one.measure,
                    tag("small", f"{pair.name} over {pair.over}", class_="soft below") if several else None,
                ],
                [signed(one.difference), tag("small", f"{one.low:+.3f} to {one.high:+.3f}")],
                tag("b", shown_p(pair.p_holm)),
                shown_p(one.p),
                f"{one.wins:,}",
                f"{one.losses:,}",
                f"{one.ties:,}",
            ]
        )
    return table(("measure", "difference", "p (Holm)", "p alone", "won", "lost", "equal"), rows)


def _clustered(found: RunComparison) -> list[Html]:
    """The cluster tests below the paired ones, where some were asked for."""
    several = len(found.pairs_of(found.measures[0])) > 1
    rows: list[list[Content]] = []
    for pair in found.pairs:
        name = f"{pair.name} over {pair.over}"
        for one in pair.found.clustered:
            holm = one.p if one.p_holm is None else one.p_holm
            rows.append(
                [
                    [pair.found.measure, tag("small", name, class_="soft below") if several else None],
                    one.by,
                    f"{one.clusters:,}",
                    [signed(pair.found.difference), tag("small", f"{one.low:+.3f} to {one.high:+.3f}")],
                    tag("b", shown_p(holm)),
                    shown_p(one.p),
                ]
            )
    if not rows:
        return []
    about = (
        "Questions of one cluster depend on each other. Clusters are drawn with replacement for the "
        "intervals, and their differences change their signs together for p."
    )
    head = ("measure", "by", "clusters", "difference", "p (Holm)", "p alone")
    return [tag("h3", "By cluster"), tag("p", about, class_="lead"), table(head, rows)]


def _who(found: RunComparison) -> str:
    first = found.pairs[0]
    several = len(found.pairs_of(found.measures[0])) > 1
    return "Each pair that was compared" if several else f"{first.name} over {first.over}"


def _questions(pair: PairFindings, measure: str, texts: Mapping[str, str]) -> Html:
    differences = [one.difference for one in pair.effects]
    wins, losses = sum(one > 0 for one in differences), sum(one < 0 for one in differences)
    note = f"{wins:,} won, {losses:,} lost, {len(differences) - wins - losses:,} equal"
    parts: list[Content] = [difference_chart(differences, f"Difference in {measure}", note=note, wide=True)]
    columns = [
        tag("div", tag("h3", title), tag("div", [_question(one, texts) for one in chosen]))
        for title, chosen in (
            ("Won by most", won(pair.effects, SHOWN_QUESTIONS)),
            ("Lost by most", lost(pair.effects, SHOWN_QUESTIONS)),
        )
        if chosen
    ]
    return join([*parts, tag("div", columns, class_="grid")])


def _question(one: Effect, texts: Mapping[str, str]) -> Html:
    place = f"first relevant passage at rank {shown_rank(one.other_rank)}, now {shown_rank(one.rank)}"
    return tag(
        "div",
        tag("p", texts.get(one.query, one.query)),
        tag("b", signed(one.difference)),
        tag("span", f"{place} ({one.query})"),
        class_="question",
    )


def _where(pair: PairFindings) -> Html:
    head = ("questions", "difference", "number", "won", "lost", "before", "now")
    return join(
        [
            [tag("h3", title[0].upper() + title[1:]), table(head, [_bucket(one) for one in buckets])]
            for title, buckets in pair.where.items()
            if buckets
        ]
    )


def _bucket(one: Bucket) -> list[Content]:
    return [
        one.label,
        [signed(one.difference), tag("small", f"{one.low:+.3f} to {one.high:+.3f}")],
        f"{one.questions:,}",
        f"{one.wins:,}",
        f"{one.losses:,}",
        f"{one.other:.3f}",
        f"{one.value:.3f}",
    ]


def recall_section(runs: Mapping[str, Run], judged: Qrels) -> Section:
    """A section with recall curves and their table, over the judged questions."""
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


def scatter_section(
    student_name: str, student: Run, teacher_name: str, teacher: Run, qrels: Qrels | None
) -> Section:
    """A section with a scatter plot of the pairs that both runs score.

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
    note = f"{len(finite):,} pairs" + ("" if flat else f", Spearman {spearman(*values.T):.3f}")
    shuffled = [finite[place] for place in np.random.default_rng(0).permutation(len(finite))]
    series = [
        Series(kind, [one[:2] for one in shuffled if one[2] is relevant][:MOST_PAIRS])
        for kind, relevant in zip(KINDS, (False, True), strict=True)
    ]
    series = [one for one in series if one.points]
    chart = scatter_chart(series, title, x_label=student_name, y_label=teacher_name, note=note, wide=True)
    return Section("Teacher and student", chart, "Each point is a question with a passage that both scored.")


def signed(value: float) -> Html:
    """A difference with its sign, green or red."""
    colour = "up" if value > 0 else "down" if value < 0 else None
    return tag("span", f"{value:+.3f}", class_=colour)


def _p(p: float) -> str:
    shown = shown_p(p)
    return shown if shown.startswith("<") else f"= {shown}"


def spearman(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Spearman's rank correlation of two vectors (N,): Pearson's of their ranks, equal values sharing one."""
    ranks: list[NDArray[np.float64]] = []
    for values in (first, second):
        _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
        ranks.append((np.cumsum(counts) - (counts - 1) / 2)[place])
    return float(np.corrcoef(np.stack(ranks)).flat[1])
