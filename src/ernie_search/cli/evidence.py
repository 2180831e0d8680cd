"""Options and inputs of ``evaluate``, ``compare`` and ``report``: runs, judgements, questions, answers."""

from collections.abc import Collection as Known
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ernie_search.errors import SettingsError

if TYPE_CHECKING:
    from ernie_search.data import Collection
    from ernie_search.evaluation import Clusters, RunComparison
    from ernie_search.evaluation.comparison import Missing
    from ernie_search.evaluation.effects import PairFindings
    from ernie_search.types import Passage, Qrels, Query, Run

QrelsFile = Annotated[Path | None, typer.Option(help="Judgements in TREC's or BEIR's columns.")]
QueriesFile = Annotated[
    Path | None, typer.Option(help="Questions: JSON lines with _id and text, or id<TAB>text.")
]
Corpus = Annotated[
    str | None,
    typer.Option(help="The collection: texts, answers, judgements of --split; ids are checked against it."),
]
Split = Annotated[str, typer.Option(help="Judgements of --corpus to use where no --qrels is given.")]
AnswersFile = Annotated[
    Path | None,
    typer.Option(
        help='Answers for answer_recall@k: JSON lines {"_id", "answers": [...]}, or DPR\'s file of questions '
        "with answers (nq-test.qa.csv), whose questions are then used."
    ),
]
AnswerMatch = Annotated[
    Literal["string", "regex"],
    typer.Option(help="Read answers as words, or as regular expressions (CuratedTREC)."),
]
Bm25File = Annotated[
    Path | None, typer.Option("--bm25", help="A run of BM25, by whose ranks results are broken down.")
]
Measures = Annotated[
    list[str] | None,
    typer.Option(
        "--measure",
        "-m",
        help="MRR@k, nDCG@k, recall@k, MAP, success@k, answer_recall@k; may be repeated, the first decides.",
    ),
]
SelfHitsOption = Annotated[
    Literal["drop", "keep"],
    typer.Option(help="Drop or keep a hit with the question's own id that is not judged relevant (ArguAna)."),
]
Intersect = Annotated[
    bool,
    typer.Option("--intersect", help="If the runs' questions differ, compare over those that all runs have."),
]
ZeroMissing = Annotated[
    bool,
    typer.Option("--zero-missing", help="If the runs' questions differ, count a missing question as 0."),
]


ClusterOption = Annotated[
    list[str] | None,
    typer.Option(
        "--cluster",
        help="Also test by cluster: passage (questions that share a relevant passage), or field:NAME (by a "
        "field of it, such as field:title); may be repeated.",
    ),
]


@dataclass(slots=True)
class Evidence:
    """Runs by name, and what is known of their questions.

    Attributes:
        runs: by name, in the order given.
        qrels: ``None`` where only answers are given.
        texts: of the questions.
        answers: of the questions.
        answer_match: whether they are words or regular expressions.
        collection: whose passages were searched.
        notes: what a reader has to know.
    """

    runs: "dict[str, Run]"
    qrels: "Qrels | None"
    texts: dict[str, str] = field(default_factory=dict)
    answers: dict[str, tuple[str, ...]] = field(default_factory=dict)
    answer_match: Literal["string", "regex"] = "string"
    collection: "Collection | None" = None
    bm25: "Run | None" = None
    notes: list[str] = field(default_factory=list)

    def passages(self) -> "Iterator[Passage]":
        """The collection's passages, as a stream."""
        if self.collection is None:
            raise SettingsError("answer_recall@k reads the passages; name the collection with --corpus")
        return self.collection.passages()

    def compare(
        self,
        names: tuple[str, ...],
        missing: "Missing",
        *,
        teacher: str | None = None,
        all_pairs: bool = False,
        cluster: list[str] | None = None,
    ) -> "tuple[RunComparison, list[PairFindings]]":
        """The runs side by side, and each pair question by question; a teacher's run takes no part."""
        from ernie_search.evaluation.comparison import compare_runs
        from ernie_search.evaluation.effects import pair_findings

        runs = {name: run for name, run in self.runs.items() if name != teacher}
        result = compare_runs(
            runs,
            names,
            qrels=self.qrels,
            answers=self.answers or None,
            passages=self.passages,
            missing=missing,
            all_pairs=all_pairs,
            answer_match=self.answer_match,
            clusters=clusters_of(cluster, self.qrels, self.collection),
        )
        return result, pair_findings(
            result, runs, qrels=self.qrels, texts=self.texts, answers=self.answers, bm25=self.bm25
        )


def check_clusters(cluster: list[str] | None, *, qrels: bool, corpus: bool) -> None:
    """Refuse ``--cluster`` values that cannot be had, before anything is read.

    Raises:
        EvaluationError: an unknown name.
        SettingsError: one is given twice, or the judgements or passages that it needs are not given.
    """
    from ernie_search.evaluation.clusters import FIELD, check_cluster

    names = cluster or []
    for by in names:
        check_cluster(by)
    if len(set(names)) < len(names):
        raise SettingsError(f"--cluster {max(names, key=names.count)} is given twice; give it once")
    if names and not qrels:
        raise SettingsError(
            f"--cluster {names[0]} groups questions by their relevant passages; give judgements with --qrels "
            "FILE, or --corpus SOURCE with --split"
        )
    of_field = next((by for by in names if by.startswith(FIELD)), None)
    if of_field is not None and not corpus:
        raise SettingsError(
            f"--cluster {of_field} reads the passages; name the collection with --corpus, or take passage"
        )


def clusters_of(
    cluster: list[str] | None, qrels: "Qrels | None", collection: "Collection | None"
) -> "list[Clusters]":
    """The groupings that ``--cluster`` names.

    Raises:
        EvaluationError, SettingsError: see :func:`check_clusters`; a field that no relevant passage has.
    """
    from ernie_search.evaluation import question_clusters

    check_clusters(cluster, qrels=bool(qrels), corpus=collection is not None)

    def passages() -> "Iterator[Passage]":
        return iter(()) if collection is None else collection.passages()

    return [question_clusters(by, qrels or {}, passages) for by in cluster or []]


def load_evidence(
    paths: list[Path],
    *,
    qrels: Path | None,
    queries: Path | None,
    corpus: str | None,
    split: str,
    answers: Path | None,
    answer_match: Literal["string", "regex"],
    bm25: Path | None,
    self_hits: Literal["drop", "keep"],
) -> Evidence:
    """Read everything, and check the runs against it: a fault is one line with file and line number."""
    from ernie_search.data import open_collection, read_queries
    from ernie_search.data.collection import all_questions
    from ernie_search.evaluation import answers_of, drop_self_hits, read_qrels

    collection = open_collection(corpus) if corpus is not None else None
    with_answers, given = answers_file(answers)
    names = run_names(paths)
    found = Evidence({}, None, answer_match=answer_match, collection=collection)
    if qrels is not None:
        found.qrels = read_qrels(qrels)
    elif collection is not None and (with_answers is None or split in collection.splits):
        found.qrels = collection.qrels(split)
    asked = all_questions(collection) if collection is not None else []
    if queries is not None:
        asked = read_queries(queries)
    elif with_answers is not None:
        known = {query.id for query in with_answers}
        asked = [*with_answers, *(query for query in asked if query.id not in known)]
    found.texts = {query.id: query.text for query in asked}
    found.answers = answers_of(asked) if given is None else given
    if found.qrels is not None and with_answers is None:  # those of other splits were not asked for
        found.answers = {query: one for query, one in found.answers.items() if query in found.qrels}
    found.notes += pattern_notes(found.answers, answer_match)

    def read(name: str, path: Path) -> "Run":
        run = checked_run(path, found.texts if asked else None, collection)
        if self_hits == "drop":
            run, dropped = drop_self_hits(run, found.qrels)
            found.notes += self_hits_note(name, dropped)
        return run

    found.runs = {name: read(name, path) for name, path in zip(names, paths, strict=True)}
    found.bm25 = None if bm25 is None else read("BM25", bm25)
    return found


def checked_run(path: Path, questions: Known[str] | None, collection: "Collection | None") -> "Run":
    """A run file, whose questions and passages have to exist as far as those are known.

    Raises:
        DataError: see ``read_run``, ``check_questions`` and ``check_passages``.
    """
    from ernie_search.evaluation import read_run
    from ernie_search.evaluation.trec import check_passages, check_questions

    run = read_run(path)
    if questions is not None:
        check_questions(path, run, questions)
    if collection is not None:
        check_passages(path, run, (passage.id for passage in collection.passages()))
    return run


def answers_file(path: Path | None) -> "tuple[list[Query] | None, dict[str, tuple[str, ...]] | None]":
    """Questions, where the file has them (DPR's), and answers by question; ``None`` for what is not given."""
    from ernie_search.data import read_answers
    from ernie_search.data.dpr import is_qas, read_qas
    from ernie_search.evaluation import answers_of

    if path is None:
        return None, None
    if not is_qas(path):
        return None, read_answers(path)
    asked = [query for _, query in read_qas(path)]
    return asked, answers_of(asked)


def pattern_notes(answers: "dict[str, tuple[str, ...]]", match: str) -> list[str]:
    """What to say of answers that are no regular expressions, where such are asked for."""
    from ernie_search.evaluation.answers import broken_patterns

    broken = broken_patterns(answers) if match == "regex" else []
    if not broken:
        return []
    return [f"answers that are no regular expressions, and match nothing: {len(broken):,} ({broken[0]!r})"]


def self_hits_note(name: str, dropped: int) -> list[str]:
    """What to say of hits that were dropped; nothing where none was."""
    if not dropped:
        return []
    return [
        f"{name}: a hit with the question's own id was dropped for {dropped:,} questions, as for ArguAna "
        "(--self-hits keep leaves them in)"
    ]


def run_names(paths: list[Path]) -> list[str]:
    """What to call each run: its file's name, or its whole path where two files have one name."""
    short = [path.name.removesuffix(".gz").removesuffix(".trec").removesuffix(".run") for path in paths]
    names = [
        name if short.count(name) == 1 and name else str(path)
        for name, path in zip(short, paths, strict=True)
    ]
    if len(set(names)) < len(names):
        raise SettingsError(f"the same run is given twice: {max(names, key=names.count)}")
    return names


def missing_rule(intersect: bool, zero_missing: bool) -> "Missing":
    """What to do with missing questions, by ``--intersect`` and ``--zero-missing``."""
    if intersect and zero_missing:
        raise SettingsError("--intersect and --zero-missing are two answers to one question; give one")
    return "intersect" if intersect else "zero" if zero_missing else "refuse"
