"""``ernie-search evaluate``: measure an index or a run file."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ernie_search.cli.evidence import (
    AnswerMatch,
    AnswersFile,
    QrelsFile,
    SelfHitsOption,
    all_questions,
    answers_file,
    pattern_notes,
)
from ernie_search.cli.output import AsJson, console, print_json, progress
from ernie_search.cli.searching import DEFAULT_MODE, open_searcher, open_teachers
from ernie_search.errors import DataError, SettingsError

if TYPE_CHECKING:
    from ernie_search.data import Collection
    from ernie_search.evaluation import SystemResult
    from ernie_search.search import Mode, Searcher
    from ernie_search.teacher import Teachers
    from ernie_search.types import Qrels, Query, Run

EXAMPLE = "Example: ernie-search evaluate my-data --split dev --index runs/index"


def evaluate(
    source: Annotated[str, typer.Argument(help="The collection whose questions and judgements count.")],
    split: Annotated[
        str, typer.Option(help="Which judgements: train, dev, test, ...; where no --qrels is given.")
    ] = "test",
    qrels: QrelsFile = None,
    index: Annotated[
        str | None, typer.Option(help="Measure this index (its folder or address), searched now.")
    ] = None,
    run: Annotated[Path | None, typer.Option(help="Measure this TREC run file.")] = None,
    mode: Annotated[
        Literal["late", "dense", "hybrid", "cross"] | None,
        typer.Option(
            help="Re-rank by late interaction; single vectors alone; words and vectors fused first; or the "
            "best of the index, or of --run, read by a cross-encoder.",
            show_default=DEFAULT_MODE,
        ),
    ] = None,
    k: Annotated[int, typer.Option("-k", "--top", help="Passages a question.")] = 1000,
    candidates: Annotated[
        int, typer.Option(help="How many passages late interaction, or the cross-encoder, re-ranks.")
    ] = 100,
    cross: Annotated[
        str | None,
        typer.Option(help="Of mode cross: a cross-encoder, or a folder that 'teacher' made, for the mean."),
    ] = None,
    model: Annotated[Path | None, typer.Option(help="The index's model, if it was moved.")] = None,
    baseline: Annotated[Path | None, typer.Option(help="Compare with this TREC run file.")] = None,
    measure: Annotated[
        list[str] | None,
        typer.Option(
            "--measure",
            "-m",
            help="MRR@k, nDCG@k, recall@k, MAP, success@k, answer_recall@k, ...; may be repeated.",
        ),
    ] = None,
    answers: AnswersFile = None,
    answer_match: AnswerMatch = "string",
    self_hits: SelfHitsOption = "drop",
    check: Annotated[
        bool, typer.Option(help="Refuse a run file with questions or passages that the collection lacks.")
    ] = True,
    save_run: Annotated[
        Path | None, typer.Option(help="Write the run that was searched or re-ranked.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure with 95 % intervals; with a baseline, also whether the difference could be chance."""
    from ernie_search.data import open_collection
    from ernie_search.evaluation import results_json, results_table, write_run
    from ernie_search.evaluation.table import TABLE_MEASURES
    from ernie_search.evaluation.trec import drop_self_hits, self_hits_note

    _check_choice(index, run, save_run, mode, cross)
    collection = open_collection(source)
    searching = index is not None or cross is not None
    asked = _asked(collection, split, qrels, measure, answers, searching=searching)
    # Before any file of a run is read: a mode that the index cannot do is refused at once.
    opened = None if index is None else open_searcher(index, model, mode, cross)
    teachers = open_teachers(cross) if run is not None and cross is not None else None
    runs: dict[str, Run] = {}
    seconds: dict[str, float] = {}
    files = {} if baseline is None else {baseline.name: baseline}
    if run is not None:
        files[_label(run, baseline)] = run
    for name, path in files.items():
        runs[name] = _read(path, collection, asked.queries if answers is not None else [], check)
    if index is not None and opened is not None:
        searcher, chosen = opened
        name = f"{Path(index).name} ({chosen})"
        runs[name], seconds[name] = _search_index(searcher, chosen, asked.queries, k, candidates)
    elif run is not None and teachers is not None:
        chosen, name = "cross", f"{run.name} (cross)"
        read = runs.pop(_label(run, baseline))
        runs[name], seconds[name] = _rerank(teachers, collection, asked.queries, read, min(k, candidates))
    if save_run is not None:
        write_run(save_run, runs[name], tag=f"ernie-search-{chosen}")
    notes = []
    for name, found in runs.items() if self_hits == "drop" else ():
        runs[name], dropped = drop_self_hits(found, asked.qrels)
        notes.append(self_hits_note(name, dropped))
    against = baseline.name if baseline is not None else None
    systems = _measured(runs, seconds, asked.plain, asked.qrels)
    answered = _answered(runs, seconds, asked.of_answers, collection, asked.answers, answer_match)
    notes += pattern_notes(asked.answers, answer_match)
    notes += [
        f"{one.name}: judged questions that are not in the run and count 0: {one.measured.missing:,}"
        for one in systems
        if one.measured.missing
    ]
    if as_json:
        figures = {
            "source": collection.source,
            "split": split if qrels is None else None,
            "qrels": None if qrels is None else str(qrels),
            "data": collection.fingerprint,
            "systems": results_json(systems, baseline=against) if systems else [],
            "notes": [note for note in notes if note],
        }
        if answered:
            figures["answers"] = results_json(answered, baseline=against)
        print_json(figures)
        return
    out = console()
    out.print(asked.place, soft_wrap=True)
    if systems:
        out.print(results_table(systems, asked.plain if measure else TABLE_MEASURES, baseline=against))
    if answered:
        title = f"{len(answered[0].measured.query_ids):,} questions with answers"
        out.print(results_table(answered, asked.of_answers, baseline=against, title=title))
    for note in notes:
        if note:
            out.print(note, soft_wrap=True)


@dataclass(frozen=True, slots=True)
class _Asked:
    """The questions and what is measured of them.

    Attributes:
        plain, of_answers: measures by judgements, and by answers.
        queries: to be searched; empty where nothing needs them.
        qrels: judgements; empty where the questions come with answers alone.
        answers: by question.
        place: the questions in words.
    """

    plain: tuple[str, ...]
    of_answers: tuple[str, ...]
    queries: "list[Query]"
    qrels: "Qrels"
    answers: dict[str, tuple[str, ...]]
    place: str


def _asked(
    collection: "Collection",
    split: str,
    judgements: Path | None,
    measure: list[str] | None,
    answers: Path | None,
    *,
    searching: bool,
) -> _Asked:
    """The split's questions, or those of a file of judgements, or of one of questions with answers."""
    from ernie_search.evaluation import DEFAULT_MEASURES, read_qrels
    from ernie_search.evaluation.answers import ANSWER_CUTOFFS, answers_of, parse_answer_measure
    from ernie_search.evaluation.comparison import check_measures

    queries, given = answers_file(answers)
    usual = DEFAULT_MEASURES if queries is None else [f"answer_recall@{k}" for k in ANSWER_CUTOFFS]
    names = tuple(measure or usual)
    check_measures(names, qrels=True, answers=True)  # a typing error shows before minutes are spent searching
    plain = tuple(name for name in names if parse_answer_measure(name) is None)
    of_answers = tuple(name for name in names if name not in plain)
    qrels: Qrels = {}
    if judgements is not None:
        if queries is not None:
            raise SettingsError(f"{answers}: these are the questions already; leave --qrels out")
        qrels = read_qrels(judgements)
        own = all_questions(collection)
        unknown = sorted(qrels.keys() - {query.id for query in own})
        if unknown:
            raise DataError(
                f"{judgements}: query {unknown[0]!r} is not in {collection.source} ({len(unknown)} of "
                f"{len(qrels)} are not); give the collection whose questions were judged"
            )
        queries = [query for query in own if query.id in qrels] if searching or of_answers else []
        place = f"{collection.source}, {judgements}: {len(qrels):,} questions"
    elif queries is None:
        qrels = collection.qrels(split)
        queries = collection.queries(split) if searching or of_answers else []
        place = f"{collection.source}, {split}: {len(qrels):,} questions"
    elif plain:
        raise SettingsError(
            f"{answers}: questions with answers, not judgements, so {plain[0]} cannot be measured; ask for "
            "answer_recall@k"
        )
    else:
        place = f"{collection.source}, {answers}: {len(queries):,} questions"
    found = answers_of(queries) if given is None else given
    return _Asked(plain, of_answers, queries, qrels, found, place)


def _read(path: Path, collection: "Collection", more: "list[Query]", check: bool) -> "Run":
    """A run file, checked against the collection and ``more`` questions."""
    from ernie_search.evaluation import read_run
    from ernie_search.evaluation.trec import check_passages, check_questions

    run = read_run(path)
    if check:
        check_questions(path, run, {query.id for query in (*all_questions(collection), *more)})
        check_passages(path, run, (passage.id for passage in collection.passages()))
    return run


def _measured(
    runs: "dict[str, Run]", seconds: dict[str, float], names: tuple[str, ...], qrels: "Qrels"
) -> "list[SystemResult]":
    from ernie_search.evaluation import SystemResult, evaluate_run

    if not names:
        return []
    return [
        SystemResult(name, evaluate_run(qrels, run, names), seconds.get(name)) for name, run in runs.items()
    ]


def _answered(
    runs: "dict[str, Run]",
    seconds: dict[str, float],
    names: tuple[str, ...],
    collection: "Collection",
    answers: dict[str, tuple[str, ...]],
    match: Literal["string", "regex"],
) -> "list[SystemResult]":
    from ernie_search.evaluation import SystemResult
    from ernie_search.evaluation.answers import answer_recall, parse_answer_measure

    cutoffs = [depth for name in names if (depth := parse_answer_measure(name)) is not None]
    if not cutoffs:
        return []
    return [
        SystemResult(
            name, answer_recall(run, answers, collection.passages(), cutoffs, match=match), seconds.get(name)
        )
        for name, run in runs.items()
    ]


def _label(run: Path, baseline: Path | None) -> str:
    """A run's file name, or its whole path where the baseline has the same name."""
    return str(run) if baseline is not None and run.name == baseline.name else run.name


def _check_choice(
    index: str | None, run: Path | None, save_run: Path | None, mode: "Mode | None", cross: str | None
) -> None:
    """Refuse options that do not go together, before anything is read.

    Raises:
        SettingsError: neither or both of an index and a run; a cross-encoder without its mode, or the mode
            without it; a mode that searches, for a run; a run to be saved that is given already.
    """
    if (index is None) == (run is None):
        raise SettingsError(
            "evaluate needs one of --index DIR and --run FILE; see: ernie-search evaluate --help"
        )
    if (mode == "cross") != (cross is not None):
        raise SettingsError(
            "--mode cross and --cross NAME go together: the mode reads with the cross-encoder of that name"
        )
    if index is None and mode not in (None, "cross"):
        raise SettingsError(
            f"--mode {mode} searches an index, and --run is ranked already; leave it out, or give --index"
        )
    if save_run is not None and index is None and cross is None:
        raise SettingsError(
            "--save-run writes the run of an index, or what a cross-encoder made of --run; name one of them "
            "with --index, or --mode cross and --cross"
        )


def _search_index(
    searcher: "Searcher", mode: "Mode", queries: "list[Query]", k: int, candidates: int
) -> "tuple[Run, float]":
    """The run of an index for the questions, and the seconds of encoding and searching them.

    In mode cross it ends with what the cross-encoder read, as other passages have no score of it. (Of
    documents cut into pieces it reads so many pieces; documents without one of these follow as they were.)
    """
    depth = min(k, candidates) if mode == "cross" else k
    started = time.perf_counter()
    with progress("searching", len(queries)) as advance:
        run = searcher.run(queries, depth, mode=mode, candidates=candidates, progress=advance)
    return run, time.perf_counter() - started


def _rerank(
    teachers: "Teachers", collection: "Collection", queries: "list[Query]", run: "Run", depth: int
) -> "tuple[Run, float]":
    """The first ``depth`` passages of a run's questions as a cross-encoder ranks them, and its seconds."""
    from ernie_search.teacher import rerank_run

    texts = {query.id: query.text for query in queries}
    asked = {query: scores for query, scores in run.items() if query in texts}
    started = time.perf_counter()
    with progress("re-ranking", len(asked)) as advance:
        found = rerank_run(teachers, collection, asked, texts, depth, progress=advance)
    return found, time.perf_counter() - started
