"""``ernie-search evaluate``: measure an index or a run file."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ernie_search.cli.evidence import (
    AnswerMatch,
    AnswersFile,
    ClusterOption,
    Measures,
    QrelsFile,
    SelfHitsOption,
    answers_file,
    check_clusters,
    checked_run,
    clusters_of,
    pattern_notes,
    self_hits_note,
)
from ernie_search.cli.options import refuse_given
from ernie_search.cli.output import AsJson, console, print_json, progress
from ernie_search.cli.searching import (
    FusionOption,
    ModeOption,
    QuestionPrecision,
    TokenWeightsOption,
    check_cross,
    nearest_index,
    open_searcher,
    open_teachers,
    parse_fusion,
)
from ernie_search.cli.standard import standard_index
from ernie_search.errors import DataError, SettingsError

if TYPE_CHECKING:
    from ernie_search.data import Collection
    from ernie_search.evaluation import Clusters, SystemResult
    from ernie_search.search import Mode, Searcher, SearchOptions
    from ernie_search.teacher import Teachers
    from ernie_search.types import Qrels, Query, Run

DEPTH, CANDIDATES = 1000, 100
EXAMPLE = "Example: ernie-search evaluate my-data --split dev --index runs/index"


def evaluate(
    source: Annotated[
        str,
        typer.Argument(
            help="The collection whose questions and judgements are used; beir:NAME fetches one of BEIR's "
            "sets, and indexes it unless an index or a run is named."
        ),
    ],
    index: Annotated[
        str | None, typer.Option(help="Search this index (its folder or address), and measure the run.")
    ] = None,
    run: Annotated[Path | None, typer.Option(help="Measure this TREC run file.")] = None,
    baseline: Annotated[Path | None, typer.Option(help="Compare with this TREC run file.")] = None,
    split: Annotated[
        str, typer.Option(help="Judgements to use where no --qrels is given: train, dev, test, ...")
    ] = "test",
    qrels: QrelsFile = None,
    answers: AnswersFile = None,
    answer_match: AnswerMatch = "string",
    measure: Measures = None,
    cluster: ClusterOption = None,
    mode: ModeOption = None,
    fusion: FusionOption = None,
    token_weights: TokenWeightsOption = None,
    k: Annotated[
        int | None, typer.Option("-k", "--top", help="Passages per question.", show_default=str(DEPTH))
    ] = None,
    candidates: Annotated[
        int | None,
        typer.Option(
            help="Passages per ranking that are read: fused, re-ranked, or by a cross-encoder.",
            show_default=str(CANDIDATES),
        ),
    ] = None,
    cross: Annotated[
        str | None,
        typer.Option(help="For mode cross: a cross-encoder, or a folder that 'teacher' made (their mean)."),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="The index's model, if it was moved: a directory or a hub name.")
    ] = None,
    precision: QuestionPrecision = "fp32",
    self_hits: SelfHitsOption = "drop",
    check: Annotated[
        bool, typer.Option(help="Refuse a run file with questions or passages that the collection lacks.")
    ] = True,
    save_run: Annotated[
        Path | None, typer.Option(help="Write the run that was searched or re-ranked to this file.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure an index or a run file, with 95 % intervals and, given a baseline, a significance test."""
    from ernie_search.data import open_collection
    from ernie_search.data.collection import all_questions
    from ernie_search.evaluation import (
        SystemResult,
        answer_recall,
        drop_self_hits,
        evaluate_run,
        write_run,
    )
    from ernie_search.evaluation.answers import parse_answer_measure
    from ernie_search.search import SearchOptions

    if index is None and run is None:
        index = standard_index(source, model) or nearest_index()
    _check_choice(index, run, save_run, mode, cross)
    if cluster and baseline is None:
        raise SettingsError("--cluster is for the test against another run; name it with --baseline FILE")
    itself = run is not None and baseline is not None and run.resolve() == baseline.resolve()
    if itself and cross is None:  # re-ranked, it may stand beside what it was
        raise SettingsError(f"--baseline {baseline}: is the run itself; name another one")
    check_clusters(cluster, qrels=True, corpus=True)
    if index is None:
        searched: dict[str, object] = {"--fusion": fusion, "--token-weights": token_weights, "--model": model}
        searched["--precision"] = None if precision == "fp32" else precision
        if cross is None:
            searched |= {"--top": k, "--candidates": candidates}
        refuse_given(searched, " is for a search, and --run is ranked already; name an index with --index")
    k = DEPTH if k is None else k
    candidates = CANDIDATES if candidates is None else candidates
    options = SearchOptions(candidates=candidates, fusion=parse_fusion(fusion), token_weights=token_weights)
    collection = open_collection(source)
    searching = index is not None or cross is not None
    asked = _asked(collection, split, qrels, measure, answers, searching=searching)
    clusters = clusters_of(cluster, asked.qrels, collection)
    # Before any file of a run is read: a mode that the index cannot do is refused at once.
    opened = None if index is None else open_searcher(index, model, mode, cross, precision=precision)
    teachers = open_teachers(cross) if run is not None and cross is not None else None
    runs: dict[str, Run] = {}
    seconds: dict[str, float] = {}
    files = {} if baseline is None else {baseline.name: baseline}
    if run is not None:
        files[_label(run, baseline)] = run
    known = {query.id for query in (*all_questions(collection), *asked.queries)} if check and files else None
    for name, path in files.items():
        runs[name] = checked_run(path, known, collection if check else None)
    if index is not None and opened is not None:
        searcher, chosen = opened
        options["mode"] = chosen
        name = f"{Path(index).name} ({chosen})"
        runs[name], seconds[name] = _search_index(searcher, asked.queries, k, options)
    elif run is not None and teachers is not None:
        chosen, name = "cross", f"{run.name} (cross)"
        read = runs.pop(_label(run, baseline))
        runs[name], seconds[name] = _rerank(teachers, collection, asked.queries, read, min(k, candidates))
    if save_run is not None:
        write_run(save_run, runs[name], tag=f"ernie-search-{chosen}")
    cutoffs = [depth for name in asked.of_answers if (depth := parse_answer_measure(name)) is not None]
    notes: list[str] = []
    for name, found in runs.items() if self_hits == "drop" else ():
        runs[name], dropped = drop_self_hits(found, asked.qrels)
        notes += self_hits_note(name, dropped)
    notes += pattern_notes(asked.answers, answer_match)
    systems, answered = [], []
    for name, found in runs.items():
        if asked.plain:
            measured = evaluate_run(asked.qrels, found, asked.plain)
            systems.append(SystemResult(name, measured, seconds.get(name)))
        if cutoffs:
            passages = collection.passages()
            measured = answer_recall(found, asked.answers, passages, cutoffs, match=answer_match)
            answered.append(SystemResult(name, measured, seconds.get(name)))
    notes += [
        f"{one.name}: judged questions that are not in the run and count 0: {one.measured.missing:,}"
        for one in systems
        if one.measured.missing
    ]
    notes += [
        f"{one.name}: questions with answers that are not in the run and count 0: {one.measured.missing:,}"
        for one in answered
        if one.measured.missing
    ]
    against = baseline.name if baseline is not None else None
    if as_json:
        judged_by = {"split": split, "qrels": None} if qrels is None else {"split": None, "qrels": str(qrels)}
        about = {"source": collection.source, **judged_by, "data": collection.fingerprint}
        _print_json(about, systems, answered, against, notes, clusters)
    else:
        _print(asked, systems, answered, against, notes, clusters, short=not measure)


def _print_json(
    about: "dict[str, str | None]",
    systems: "list[SystemResult]",
    answered: "list[SystemResult]",
    baseline: str | None,
    notes: list[str],
    clusters: "list[Clusters]",
) -> None:
    from ernie_search.evaluation import results_json

    figures: dict[str, object] = {**about, "systems": [], "notes": notes}
    if systems:
        figures["systems"] = results_json(systems, baseline=baseline, clusters=clusters)
    if answered:
        figures["answers"] = results_json(answered, baseline=baseline, clusters=clusters)
    print_json(figures)


def _print(
    asked: "_Asked",
    systems: "list[SystemResult]",
    answered: "list[SystemResult]",
    baseline: str | None,
    notes: list[str],
    clusters: "list[Clusters]",
    *,
    short: bool,
) -> None:
    """The tables; ``short`` leaves out measures that were not asked for."""
    from ernie_search.evaluation import results_table
    from ernie_search.evaluation.table import TABLE_MEASURES

    out = console()
    out.print(asked.place, soft_wrap=True)
    if systems:
        columns = TABLE_MEASURES if short else asked.plain
        out.print(results_table(systems, columns, baseline=baseline, clusters=clusters))
    if answered:
        title = f"{len(answered[0].measured.query_ids):,} questions with answers"
        out.print(
            results_table(answered, asked.of_answers, baseline=baseline, title=title, clusters=clusters)
        )
    for note in notes:
        out.print(note, soft_wrap=True)


@dataclass(frozen=True, slots=True)
class _Asked:
    """The questions, their judgements and answers, and the measures asked for.

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
    from ernie_search.data.collection import all_questions
    from ernie_search.evaluation import DEFAULT_MEASURES, read_qrels
    from ernie_search.evaluation.answers import ANSWER_CUTOFFS, answers_of, parse_answer_measure
    from ernie_search.evaluation.comparison import check_measures

    queries, given = answers_file(answers)
    usual = DEFAULT_MEASURES if queries is None else [f"answer_recall@{k}" for k in ANSWER_CUTOFFS]
    names = tuple(measure or usual)
    check_measures(names, qrels=True, answers=True)  # a typing error shows before the index is searched
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
    if qrels:  # a file of answers may be of more questions than are asked
        found = {query: one for query, one in found.items() if query in qrels}
    return _Asked(plain, of_answers, queries, qrels, found, place)


def _label(run: Path, baseline: Path | None) -> str:
    """A run's file name, or its whole path where the baseline has the same name."""
    if baseline is None or run.name != baseline.name:
        return run.name
    return str(run) if str(run) != baseline.name else f"./{run}"


def _check_choice(
    index: str | None, run: Path | None, save_run: Path | None, mode: "Mode | None", cross: str | None
) -> None:
    """Refuse options that do not go together, before anything is read.

    Raises:
        SettingsError: neither or both of an index and a run; a cross-encoder without its mode, or the mode
            without it; a mode that searches, for a run; saving a run that was read from a file.
    """
    if (index is None) == (run is None):
        raise SettingsError(
            "evaluate needs one of --index DIR and --run FILE; see: ernie-search evaluate --help"
        )
    check_cross(mode, cross)
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
    searcher: "Searcher", queries: "list[Query]", k: int, options: "SearchOptions"
) -> "tuple[Run, float]":
    """The run of an index for the questions, and the seconds of encoding and searching them.

    In mode cross it ends with what the cross-encoder read, as other passages have no score of it. (Of
    documents cut into pieces it reads so many pieces; documents without one of these follow as they were.)
    """
    depth = min(k, options["candidates"]) if options["mode"] == "cross" else k
    started = time.perf_counter()
    with progress("searching", len(queries)) as advance:
        run = searcher.run(queries, depth, progress=advance, **options)
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
