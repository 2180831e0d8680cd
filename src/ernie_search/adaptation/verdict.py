"""The end of an adaptation: each candidate against the base, and one plain sentence."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field, field_validator
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from ernie_search._util.files import write_json
from ernie_search._util.settings import TypedSettings, between_commas
from ernie_search.adaptation.questioned import HELD_OUT, LABELLED
from ernie_search.errors import EvaluationError
from ernie_search.evaluation import bootstrap_interval, holm, randomisation_test

BASE = "base"
MODES = ("dense", "hybrid")
LEVEL = 0.05
IN_WORDS = {HELD_OUT: "held-out made questions", LABELLED: "labelled questions"}
LIMITS = (
    "What made questions cannot tell: they are made of the passages' own words, each of one passage. People "
    "use other words, and ask what several passages answer, or none. On their questions the gain may be "
    "smaller, or none; it may be larger. Some fifty labelled ones decide better: ernie-search judge helps to "
    "make them, and adapt then goes by them."
)


Share = Annotated[float, Field(ge=0, le=1)]
"""Of the way from the untrained weights to the trained ones."""


class CheckSettings(TypedSettings):
    """What is compared, and what the verdict asks for.

    Attributes:
        shares: of the way from the untrained weights to the trained ones: a candidate for each. Halfway was
            as good as all the way, or better, in every mode on three collections, and harmed nothing where
            the whole way did (benchmarks/NOTES.md; Wortsman et al. 2022, arXiv 2109.01903).
        labelled_shares: further ones where labelled questions decide. One is taken only if it is surely
            better than the best of the others (its paired interval is above 0).
        questions: of a split, at most.
        passages: that the questions are searched among.
        fewest: questions, and passages that they are of, below which a split decides nothing.
        general_loss: of MRR@10 on general text, from which a candidate is refused. Of its 60 questions a
            difference is known to 0.02 to 0.04 (standard error), so less than 0.1 may well be real.
        agreement: share of a general text's nearest that must stay.
    """

    shares: tuple[Share, ...] = (0.5,)
    labelled_shares: tuple[Share, ...] = (1.0,)
    questions: int = Field(500, ge=1)
    passages: int = Field(3_000, ge=2)
    fewest: int = Field(20, ge=2)
    general_loss: float = Field(0.1, ge=0, le=1)
    agreement: float = Field(0.5, ge=0, le=1)

    @field_validator("shares", "labelled_shares", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        """Numbers between commas, a lone one, or none."""
        if value in (None, "none"):
            return ()
        return (value,) if isinstance(value, float | int) else between_commas(value)


@dataclass(frozen=True, slots=True)
class Candidate:
    """What was measured of a model.

    Attributes:
        name: ``base``, ``weights`` (untrained weights of tokens), ``halfway``, ``adapted``, or the share.
        share: of the way from the untrained weights to the trained ones; None for the base.
        values: MRR@10 of each question, by split and mode; in the order of the split's questions.
        general: MRR@10 on general text.
        agreement: share of the base's nearest general texts that are nearest here, too.
    """

    name: str
    share: float | None
    values: Mapping[str, Mapping[str, list[float]]]
    general: float
    agreement: float


@dataclass(frozen=True, slots=True)
class Row:
    """A candidate against the base, on one split, in one mode.

    Attributes:
        name, split, mode: which.
        questions, clusters: how many, and of how many passages or documents.
        before, after: MRR@10 of the base and of the candidate.
        low, high: 95 % interval of the difference, where the questions of a passage are drawn together.
        p: of a randomisation test by passage, after Holm's correction over the candidates.
    """

    name: str
    split: str
    mode: str
    questions: int
    clusters: int
    before: float
    after: float
    low: float
    high: float
    p: float

    @property
    def difference(self) -> float:
        """What the candidate gains."""
        return self.after - self.before


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do, and why.

    Attributes:
        use: whether to use the kept model; otherwise the base was kept.
        kept: name of the kept candidate.
        share: of the way to the trained weights that it is; None for the base.
        sentence: the verdict in one sentence.
        decided_by: the split that decided; "" where none could.
        rows: every candidate on every split and mode.
        general: by candidate: MRR@10 on general text, and agreement with the base.
        refused: candidates that were not eligible, and why.
        limits: what it cannot tell.
    """

    use: bool
    kept: str
    share: float | None
    sentence: str
    decided_by: str = ""
    rows: list[Row] = field(default_factory=list)
    general: dict[str, tuple[float, float]] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    limits: str = LIMITS

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        write_json(path, asdict(self))

    @staticmethod
    def of(values: Mapping[str, Any]) -> "Verdict":
        """From what ``write`` wrote."""
        rows = [Row(**one) for one in values["rows"]]
        general = {name: (float(one[0]), float(one[1])) for name, one in values["general"].items()}
        return Verdict(**{**values, "rows": rows, "general": general})

    @staticmethod
    def keep(why: str) -> "Verdict":
        """The base, without anything measured."""
        return Verdict(False, BASE, None, f"Keep what you have: {why}.")


def decide(
    base: Candidate,
    others: Sequence[Candidate],
    clusters: Mapping[str, Sequence[str]],
    settings: CheckSettings,
) -> Verdict:
    """Choose among candidates.

    Labelled questions decide where there are enough, otherwise held-out ones. A candidate is refused that
    harms general text, or is significantly worse than the base in any mode on a split with enough questions.
    Where held-out questions decide, any loss in hybrid search refuses it: they are words of their passages,
    of which hybrid search finds nearly all, so what it loses there it loses in spite of them. The best of the
    others is used if it is better than the base in the single vector: its interval above 0, its p below 0.05
    after Holm's correction, since the best of several was chosen.

    Args:
        base: what users have.
        others: in the order in which equals are preferred.
        clusters: by split, the passage or document of each question.
        settings: of the check.
    """
    rows = [
        row for split in base.values for mode in MODES for row in _rows(base, others, split, mode, clusters)
    ]
    general = {one.name: (one.general, one.agreement) for one in (base, *others)}
    enough = deciding_splits(clusters, settings)
    if not enough:
        most = max((len(some) for some in clusters.values()), default=0)
        why = f"{most} questions to measure by are too few to tell (at least {settings.fewest} are needed)"
        return replace(Verdict.keep(why), rows=rows, general=general)
    by = enough[0]
    known = [row for row in rows if row.split in enough]
    refused = {one.name: why for one in others if (why := _refusal(one, base, known, by, settings))}
    deciding = {row.name: row for row in rows if row.split == by and row.mode == "dense"}
    left = [one for one in others if one.name not in refused]
    if not left:
        why = f"every candidate was refused ({next(iter(refused.values()))})"
        return replace(Verdict.keep(why), decided_by=by, rows=rows, general=general, refused=refused)
    best = _best(left, by, clusters[by], settings)
    row = deciding[best.name]
    use = row.difference > 0 and row.low > 0 and row.p < LEVEL
    figures = (
        f"MRR@10 of the single vector goes from {row.before:.3f} to {row.after:.3f} on {row.questions:,} "
        f"{IN_WORDS[by]} (difference {row.difference:+.3f}, 95 % interval {row.low:+.3f} to {row.high:+.3f}, "
        f"p {said(row.p)})"
    )
    if use:
        sentence = f"Use it: {figures}."
        return Verdict(True, best.name, best.share, sentence, by, rows, general, refused)
    sentence = (
        f"Keep what you have: of the candidates '{best.name}' was best, and no gain is sure: {figures}."
    )
    return Verdict(False, BASE, None, sentence, by, rows, general, refused)


def _best(left: Sequence[Candidate], by: str, labels: Sequence[str], settings: CheckSettings) -> Candidate:
    """The candidate with the highest mean; one of the further shares only where it is surely better."""
    usual = [one for one in left if one.share not in _further(settings)] or list(left)
    best = max(usual, key=lambda one: float(np.mean(one.values[by]["dense"])))
    for one in left:
        gain = np.asarray(one.values[by]["dense"]) - np.asarray(best.values[by]["dense"])
        if one not in usual and bootstrap_interval(gain, clusters=list(labels))[0] > 0:
            best = one
    return best


def _further(settings: CheckSettings) -> set[float]:
    return set(settings.labelled_shares) - {0.0, *settings.shares}


def candidate_shares(settings: CheckSettings, clusters: Mapping[str, Sequence[str]]) -> list[float]:
    """Untrained weights first, then each share, rising; more of them where labelled questions decide."""
    labelled = deciding_splits(clusters, settings)[:1] == [LABELLED]
    return sorted({0.0, *settings.shares, *(_further(settings) if labelled else ())})


def deciding_splits(clusters: Mapping[str, Sequence[str]], settings: CheckSettings) -> list[str]:
    """Splits with enough questions to tell by, of enough passages or documents; the first one decides."""
    return [
        split
        for split in (LABELLED, HELD_OUT)
        if len(clusters.get(split, ())) >= settings.fewest and len(set(clusters[split])) >= settings.fewest
    ]


def said(p: float) -> str:
    """A p value as text."""
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"


def _rows(
    base: Candidate,
    others: Sequence[Candidate],
    split: str,
    mode: str,
    clusters: Mapping[str, Sequence[str]],
) -> list[Row]:
    labels = list(clusters[split])
    before = np.asarray(base.values[split][mode])
    rows = []
    for one in others:
        after = np.asarray(one.values[split][mode])
        difference = after - before
        try:
            low, high = bootstrap_interval(difference, clusters=labels)
            p = randomisation_test(difference, clusters=labels)
        except EvaluationError:  # all of one passage: nothing is known
            low, high, p = -1.0, 1.0, 1.0
        means = (float(before.mean()), float(after.mean()))
        rows.append(Row(one.name, split, mode, len(labels), len(set(labels)), *means, low, high, p))
    corrected = holm([row.p for row in rows])
    return [replace(row, p=p) for row, p in zip(rows, corrected, strict=True)]


def _refusal(one: Candidate, base: Candidate, rows: Sequence[Row], by: str, settings: CheckSettings) -> str:
    """Why a candidate may not be kept; "" if it may."""
    if base.general - one.general > settings.general_loss:
        return (
            f"'{one.name}' reads general text worse than the base: MRR@10 {base.general:.3f} to "
            f"{one.general:.3f}"
        )
    if one.agreement < settings.agreement:
        return f"'{one.name}' agrees with the base on {one.agreement:.0%} of the nearest general texts"
    worse = [
        row
        for row in rows
        if row.name == one.name
        and (row.high < 0 or (row.split == by == HELD_OUT and row.mode == "hybrid" and row.difference < 0))
    ]
    if worse:
        row = worse[0]
        mode = "hybrid search" if row.mode == "hybrid" else "the single vector"
        return (
            f"'{one.name}' is worse in {mode} on {IN_WORDS[row.split]}: {row.before:.3f} to {row.after:.3f}"
        )
    return ""


def verdict_table(verdict: Verdict) -> Table:
    """All candidates as a table: before, after, interval, p; one line a split and mode."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in ("candidate", "questions", "mode"):
        table.add_column(name)
    for name in ("before", "after", "difference", "95 % interval", "p", "general text"):
        table.add_column(name, justify="right")
    for row in verdict.rows:
        mark = " *" if row.name == verdict.kept else ""
        mrr, agreement = verdict.general[row.name]
        cells = [
            f"{row.name}{mark}",
            f"{row.questions:,} {row.split}",
            row.mode,
            f"{row.before:.3f}",
            f"{row.after:.3f}",
            f"{row.difference:+.3f}",
            f"{row.low:+.3f} to {row.high:+.3f}",
            said(row.p).removeprefix("= "),
            f"{mrr:.3f}, {agreement:.0%} alike",
        ]
        table.add_row(*map(Text, cells))
    return table
