"""An ablation's figures: means over seeds, differences with tests, gap closed; as Markdown and JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ernie_search.evaluation import Clusters, Measured, bootstrap_interval, holm, randomisation_test
from ernie_search.evaluation.comparison import clustered

MAIN, SECOND = "MRR@10", "recall@50"
ALONE, BOTH, FULL = "alone", "both", "full"
LATE, CROSS, LATE_OF_INTERACTION = "ceiling-late", "ceiling-cross", "late-interaction"
SMALLEST_GAP = 0.05
"""The least gap to the ceiling for which a share is given (docs/method.md, "Baselines and gap closed")."""
SMALLEST_SHOWN_P = 0.001


@dataclass(slots=True)
class RowResult:
    """Measures of one row.

    Attributes:
        name, what: name and description of the row.
        measured: by seed; a row without seeds has the one ``None``.
        seconds: of training, by seed.
        trained_as: the row whose training, and folder, it shares.
    """

    name: str
    what: str
    measured: dict[int | None, Measured] = field(default_factory=dict)
    seconds: dict[int, float] = field(default_factory=dict)
    trained_as: str | None = None

    def add(self, seed: int | None, measured: Measured, seconds: float | None) -> None:
        """Add one seed's measures, and the ``seconds`` of its training, where it has one."""
        self.measured[seed] = measured
        if seed is not None and seconds is not None:
            self.seconds[seed] = seconds

    def mean(self, measure: str, queries: Sequence[str] | None = None) -> float:
        """Mean over questions (all, or those named) and seeds."""
        return float(np.mean([_values(one, measure, queries).mean() for one in self.measured.values()]))


def _values(measured: Measured, measure: str, queries: Sequence[str] | None) -> NDArray[np.float64]:
    values = measured.of(measure)
    if queries is None:
        return values
    places = {query: place for place, query in enumerate(measured.query_ids)}
    return values[[places[query] for query in queries]]


def over(row: RowResult, peer: RowResult, clusters: Sequence[Clusters] = ()) -> dict[str, Any] | None:
    """The row's gain over another in MRR@10, question by question, averaged over the seeds that both have.

    A row without seeds is compared with each seed of the other. The interval and the p of the paired
    randomisation test are over questions; those in ``clustered`` over clusters of questions.
    """
    seeds = sorted({seed for one in (row, peer) for seed in one.measured if seed is not None})
    each: dict[int | None, NDArray[np.float64]] = {}
    wanted: list[int | None] = [*seeds] or [None]
    for seed in wanted:
        ours, theirs = (one.measured.get(seed, one.measured.get(None)) for one in (row, peer))
        if ours is None or theirs is None:
            continue
        shared = sorted(set(ours.query_ids) & set(theirs.query_ids))
        each[seed] = _values(ours, MAIN, shared) - _values(theirs, MAIN, shared)
    if not each:
        return None
    usable = [one for one in clusters if one.count(shared) > 1]  # of a ceiling's few questions, maybe not

    def by_cluster(values: NDArray[np.float64]) -> list[dict[str, Any]]:
        return [_without_none(asdict(clustered(values, shared, one))) for one in usable]

    mean = np.mean(list(each.values()), axis=0)
    low, high = bootstrap_interval(mean)
    return {
        "difference": float(mean.mean()),
        "low": low,
        "high": high,
        "p": randomisation_test(mean),
        "clustered": by_cluster(mean),
        "seeds": [
            {
                "seed": seed,
                "difference": float(one.mean()),
                "p": randomisation_test(one),
                "clustered": by_cluster(one),
            }
            for seed, one in each.items()
        ],
    }


def _without_none(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


Known = dict[tuple[str, str], tuple[list[Measured], dict[str, Any] | None]]
"""Gains that were tested before, by row and peer, with the measures that they are of."""


class Gains:
    """Gains of rows over others; Holm's correction is over all pairs of trainings that were asked for.

    A pair is one question, whichever of the two is asked over the other, and under whatever names of one
    training. Two names of one training are no question: their p stays.

    Attributes:
        found: by row and peer, those that can be compared.
    """

    def __init__(
        self, rows: Mapping[str, RowResult], clusters: Sequence[Clusters], known: "Known | None" = None
    ) -> None:
        self._rows, self._clusters = rows, clusters
        self._known: Known = {} if known is None else known
        self.found: dict[tuple[str, str], dict[str, Any]] = {}

    def over(self, name: str, peer: str) -> dict[str, Any] | None:
        """One row's gain over another; ``None`` where one was not measured, or both are one row."""
        if name == peer or any(one not in self._rows or not self._rows[one].measured for one in (name, peer)):
            return None
        if (name, peer) not in self.found:
            of = [*self._rows[name].measured.values(), *self._rows[peer].measured.values()]
            before, gain = self._known.get((name, peer), ([], None))
            if len(before) != len(of) or any(one is not two for one, two in zip(before, of, strict=True)):
                gain = over(self._rows[name], self._rows[peer], self._clusters)
                self._known[name, peer] = of, gain
            if gain is None:
                return None
            self.found[name, peer] = gain
        return self.found[name, peer]

    def correct(self) -> None:
        """Add ``p_holm`` to the paired tests, and to each kind of test by cluster."""
        paired: dict[frozenset[str], list[dict[str, Any]]] = {}
        for pair, gain in self.found.items():
            paired.setdefault(self._trainings(pair), []).append(gain)
        _correct(paired)
        for by in (one.by for one in self._clusters):
            tests = {
                pair: [test for gain in gains for test in gain["clustered"] if test["by"] == by]
                for pair, gains in paired.items()
            }
            _correct({pair: some for pair, some in tests.items() if some})

    @property
    def tests(self) -> int:
        """How many pairs of trainings Holm's correction is over."""
        return len({pair for pair in map(self._trainings, self.found) if len(pair) > 1})

    def _trainings(self, pair: tuple[str, str]) -> frozenset[str]:
        return frozenset(self._rows[name].trained_as or name for name in pair)


def _correct(tests: Mapping[frozenset[str], Sequence[dict[str, Any]]]) -> None:
    """Add ``p_holm`` to tests by the trainings that they compare, those of one pair alike."""
    family = {pair: some[0]["p"] for pair, some in tests.items() if len(pair) > 1}
    corrected = dict(zip(family, holm(list(family.values())), strict=True))
    for pair, some in tests.items():
        for test in some:
            test["p_holm"] = corrected.get(pair, test["p"])


def ceiling(rows: Mapping[str, RowResult], start: str = ALONE, gains: Gains | None = None) -> dict[str, Any]:
    """The better ceiling over the ceilings' questions, and whether a gap to it means anything.

    Args:
        rows: by name.
        start: the row that gains are counted from.
        gains: of the same table, which the comparison of the ceilings then is one of.

    Returns:
        ``valid``, and ``why`` not; ``questions`` (ids); means of ``late``, ``cross`` and the row ``from``
        there (``start``); ``value``; ``cross_over_late``, whether the teacher really ranks better than what
        it teaches: see :func:`over`. Where no cross-encoder was measured, late interaction is the ceiling,
        and ``cross`` and ``cross_over_late`` are ``None``.
    """
    missing = [name for name in (LATE, start) if not (name in rows and rows[name].measured)]
    if missing:
        return {"valid": False, "why": f"row {missing[0]} was not run"}
    questions = list(next(iter(rows[LATE].measured.values())).query_ids)
    late, first = (rows[name].mean(MAIN, questions) for name in (LATE, start))
    crossed = CROSS in rows and bool(rows[CROSS].measured)
    cross = rows[CROSS].mean(MAIN, questions) if crossed else None
    value = late if cross is None else max(late, cross)
    found: dict[str, Any] = {"questions": questions, "late": late, "cross": cross, "from": start}
    taught = (gains or Gains(rows, ())).over(CROSS, LATE) if crossed else None
    found |= {"start": first, "value": value, "cross_over_late": taught}
    if cross is not None and cross < late:
        why = f"the cross-encoder ranks worse than late interaction ({cross:.3f} to {late:.3f})"
    elif value - first < SMALLEST_GAP:
        why = f"the ceiling ({value:.3f}) is less than {SMALLEST_GAP} above {start} ({first:.3f})"
    else:
        return {"valid": True, "why": "", **found}
    return {"valid": False, "why": why, **found}


def _gap_closed(row: RowResult, rows: Mapping[str, RowResult], top: Mapping[str, Any]) -> float | None:
    """Share of the gap between the first row and the better ceiling, over the seeds that all three have."""
    crossed = top["cross"] is not None and top["cross"] >= top["late"]
    better, first = rows[CROSS if crossed else LATE], rows[top["from"]]
    seeds = set(first.measured) & set(better.measured)
    seeds = seeds if None in row.measured else seeds & set(row.measured)
    if not seeds:
        return None

    def mean(one: RowResult) -> float:
        each = [one.measured.get(seed, one.measured.get(None)) for seed in seeds]
        return float(np.mean([_values(it, MAIN, top["questions"]).mean() for it in each if it is not None]))

    return (mean(row) - mean(first)) / (mean(better) - mean(first))


def figures(
    rows: Mapping[str, RowResult],
    about: Mapping[str, Any],
    peers: Mapping[str, Sequence[str]] | None = None,
    clusters: Sequence[Clusters] = (),
    known: Known | None = None,
) -> dict[str, Any]:
    """The whole table as plain values.

    Args:
        rows: by name, in the order of the table; those without a measured seed are left out.
        about: recipe, split, steps and so on, put first; ``start`` is the row that the gap closed is counted
            from, *alone* if not given.
        peers: rows that a row is compared with, beside *alone* and *both*; *full* with all.
        clusters: groupings of the questions, for tests by cluster.
        known: gains of earlier tables, which are not tested again while their measures are the same; new
            ones are added.
    """
    gains = Gains(rows, clusters, known)
    start = str(about.get("start", ALONE))
    top = ceiling(rows, start, gains)
    entries = []
    for name, row in rows.items():
        if not row.measured:
            continue
        gap = None
        if top["valid"] and name not in (start, LATE, CROSS, LATE_OF_INTERACTION):
            gap = _gap_closed(row, rows, top)
        with_all = [peer for peer in rows if peer not in (LATE, CROSS, LATE_OF_INTERACTION)]
        chosen = with_all if name == FULL else (peers or {}).get(name, ())
        if name == LATE:
            chosen = [LATE_OF_INTERACTION]
        each = {peer: gains.over(name, peer) for peer in chosen}
        entries.append(
            {
                "row": name,
                "what": row.what,
                "trained_as": row.trained_as,
                "seeds": [seed for seed in row.measured if seed is not None],
                "questions": len(next(iter(row.measured.values())).query_ids),
                MAIN: row.mean(MAIN),
                SECOND: row.mean(SECOND),
                f"{MAIN} by seed": [one.mean(MAIN) for one in row.measured.values()],
                "gap_closed": gap,
                "seconds": float(np.mean(list(row.seconds.values()))) if row.seconds else None,
                "over_alone": gains.over(name, ALONE),
                "over_both": gains.over(name, BOTH),
                "over": {peer: gain for peer, gain in each.items() if gain is not None},
            }
        )
    gains.correct()
    said = {key: value for key, value in top.items() if key != "questions"}
    said |= {"questions": len(top.get("questions", []))}
    return {**about, "tests": gains.tests, "ceiling": said, "rows": entries}


def markdown(table: Mapping[str, Any]) -> str:
    """``figures`` as a Markdown table with its conditions above and below."""
    lines = [
        f"{table['recipe']}, split {table['split']}, {table['steps']} steps a row, "
        f"base {table['base']}" + (f" cut to {table['layers']} layers" if table["layers"] else ""),
        *(f"row {row} with {_said(values)}" for row, values in table.get("changed", {}).items()),
        "",
        f"| row | {MAIN} | {SECOND} | gap closed | seconds | over {ALONE} | p | over {BOTH} | p | seeds |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in table["rows"]:
        cells = [
            f"{row['row']}: {row['what']}",
            f"{row[MAIN]:.4f}",
            f"{row[SECOND]:.4f}",
            "" if row["gap_closed"] is None else f"{row['gap_closed']:.2f}",
            "" if row["seconds"] is None else f"{row['seconds']:.0f}",
            *_gain(row["over_alone"]),
            *_gain(row["over_both"]),
            ", ".join(map(str, row["seeds"])),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        "Means over questions and seeds; p: paired randomisation over questions, averaged over seeds.",
        *_seeds(table),
        *_pairs(table),
    ]
    return "\n".join([*lines, *_ceiling(table["ceiling"])]) + "\n"


def _seeds(table: Mapping[str, Any]) -> list[str]:
    seed = table.get("lists_of_seed")
    if seed is None:
        return []
    return [
        "Each seed has warm-ups of its own; lists are mined, and scored, once: with the shared warm-up of "
        f"seed {seed}."
    ]


def _pairs(table: Mapping[str, Any]) -> list[str]:
    """A second table: each pair with its tests by question and by cluster, and the gain of each seed."""
    pairs = [
        (f"{row['row']} over {peer}", gain)
        for row in table["rows"]
        for peer, gain in {ALONE: row["over_alone"], BOTH: row["over_both"], **row["over"]}.items()
        if gain is not None
    ]
    if not pairs:
        return []
    groups = list(dict.fromkeys(one["by"] for _, gain in pairs for one in gain["clustered"]))
    head = ["pair", MAIN, "95 %", "p", "Holm"]
    for by in groups:
        head += [f"clusters by {by}", "95 %", "p", "Holm"]
    lines = ["", f"| {' | '.join([*head, 'by seed'])} |", "|---" * (len(head) + 1) + "|"]
    for name, gain in pairs:
        cells = [name, f"{gain['difference']:+.4f}", *_tests(gain)]
        tests = {one["by"]: one for one in gain["clustered"]}
        for by in groups:
            cells += [f"{tests[by]['clusters']:,}", *_tests(tests[by])] if by in tests else [""] * 4
        cells.append(", ".join(f"{one['difference']:+.4f}" for one in gain["seeds"]))
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        "95 %: bootstrap intervals, of clusters where questions of one depend on each other; Holm: p after "
        f"Holm's correction over the {table['tests']} tests of a kind in this table.",
        *(f"Not tested: {reason}." for reason in table.get("not_clustered", [])),
    ]
    return lines


def _tests(found: Mapping[str, Any]) -> list[str]:
    """Interval, p and corrected p as cells."""
    return [f"{found['low']:+.4f} to {found['high']:+.4f}", _shown_p(found["p"]), _shown_p(found["p_holm"])]


def _ceiling(top: Mapping[str, Any]) -> list[str]:
    lines = [""] if top else []
    if "value" in top:
        cross = "" if top["cross"] is None else f"cross-encoder {top['cross']:.4f}, "
        lines.append(
            f"Ceilings on {top['questions']} fixed questions: late interaction {top['late']:.4f}, "
            f"{cross}{top['from']} there {top['start']:.4f}, from which the gap closed is counted."
        )
        if cross:
            gain, p = _gain(top["cross_over_late"])
            lines.append(f"The cross-encoder over late interaction: {gain}, p {p}.")
    if not top["valid"]:
        lines.append(f"No gap closed is given: {top['why']}.")
    return lines


def _said(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _gain(found: Mapping[str, Any] | None) -> tuple[str, str]:
    if found is None:
        return "", ""
    return f"{found['difference']:+.4f}", _shown_p(found["p"])


def _shown_p(p: float) -> str:
    return f"< {SMALLEST_SHOWN_P}" if p < SMALLEST_SHOWN_P else f"{p:.3f}"
