"""``ernie-search report``: folders and run files as one HTML page."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ernie_search.cli.evidence import (
    AnswerMatch,
    AnswersFile,
    Bm25File,
    ClusterOption,
    Corpus,
    Evidence,
    Intersect,
    Measures,
    QrelsFile,
    QueriesFile,
    SelfHitsOption,
    Split,
    ZeroMissing,
    check_clusters,
    load_evidence,
    missing_rule,
    run_names,
)
from ernie_search.cli.options import refuse_given
from ernie_search.cli.output import print_line, working
from ernie_search.errors import EvaluationError, SettingsError

if TYPE_CHECKING:
    from ernie_search.evaluation.comparison import Missing
    from ernie_search.report import Report
    from ernie_search.types import Qrels

EXAMPLE = "Example: ernie-search report runs/squad bm25.trec ours.trec --corpus my-data --output report.html"
MEASURES = ("MRR@10", "nDCG@10", "recall@1", "recall@10", "recall@100")


def report(
    sources: Annotated[
        list[Path],
        typer.Argument(help="Folders of trainings, pipelines or ablations, and TREC run files."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The HTML file to write.")] = Path(
        "report.html"
    ),
    title: Annotated[str | None, typer.Option(help="The page's heading.")] = None,
    qrels: QrelsFile = None,
    queries: QueriesFile = None,
    corpus: Corpus = None,
    split: Split = "test",
    answers: AnswersFile = None,
    answer_match: AnswerMatch = "string",
    bm25: Bm25File = None,
    teacher: Annotated[
        Path | None, typer.Option(help="A teacher's run: adds a scatter plot of scores and the gap closed.")
    ] = None,
    examples: Annotated[
        Path | None,
        typer.Option(
            help="Examples to show with matches and heat maps, as search --json --explain prints them."
        ),
    ] = None,
    measure: Measures = None,
    cluster: ClusterOption = None,
    intersect: Intersect = False,
    zero_missing: ZeroMissing = False,
    self_hits: SelfHitsOption = "drop",
) -> None:
    """Make one self-contained HTML page of trainings, ablations and run files: tables, curves, questions."""
    from ernie_search.evaluation.comparison import check_measures
    from ernie_search.report import Report, examples_section, write_report

    rule = missing_rule(intersect, zero_missing)
    names = tuple(measure or MEASURES)
    check_measures(names, qrels=True, answers=True)
    folders, files = [one for one in sources if one.is_dir()], [one for one in sources if not one.is_dir()]
    if files and qrels is None and corpus is None and answers is None:
        raise SettingsError(
            "a report of runs needs judgements: --qrels FILE, or --corpus SOURCE with --split"
        )
    if cluster and not files:
        raise SettingsError(
            "--cluster is for run files; name some, or leave it out: an ablation's table has its own clusters"
        )
    check_clusters(cluster, qrels=qrels is not None or corpus is not None, corpus=corpus is not None)
    if teacher is not None and not files:
        raise SettingsError("--teacher is compared with run files; name some")
    if not files:
        of_runs = {"--qrels": qrels, "--queries": queries, "--answers": answers, "--bm25": bm25}
        refuse_given(
            {**of_runs, "--measure": measure, "--intersect": intersect, "--zero-missing": zero_missing},
            " is for run files; name some, or leave it out",
        )
    page = Report(title or ", ".join([one.name or str(one) for one in folders] + run_names(files)))
    with working("reading and measuring"):
        if files:
            given = [*files, *([teacher] if teacher is not None else [])]
            found = load_evidence(
                given,
                qrels=qrels,
                queries=queries,
                corpus=corpus,
                split=split,
                answers=answers,
                answer_match=answer_match,
                bm25=bm25,
                self_hits=self_hits,
            )
            _runs(page, found, names, rule, teacher is not None, cluster)
        for folder in folders:
            _folder(page, folder, f"{folder.name}: " if len(sources) > 1 else "", corpus)
        if examples is not None:
            page.sections.append(examples_section(examples))
        write_report(page, output)
    print_line(str(output))


def _runs(
    page: "Report",
    found: Evidence,
    names: tuple[str, ...],
    rule: "Missing",
    with_teacher: bool,
    cluster: list[str] | None,
) -> None:
    """The sections of the run files; the teacher is the last of them."""
    from ernie_search.evaluation.comparison import compare_runs
    from ernie_search.report import comparison_sections, comparison_tiles, scatter_section

    teacher = list(found.runs)[-1] if with_teacher else None
    runs = {name: run for name, run in found.runs.items() if name != teacher}
    result, pairs = found.compare(names, rule, teacher=teacher, cluster=cluster)
    ceiling = None
    if teacher is not None:
        # Often of a sample; a question that it lacks says nothing of how far there is to go.
        kept = {query for query in result.questions.ids if found.runs[teacher].get(query)}
        if not kept:
            raise EvaluationError(f"{teacher}: none of the compared questions is in this teacher's run")
        ceiling = compare_runs(
            {**runs, teacher: found.runs[teacher]},
            names[:1],
            qrels={query: grades for query, grades in (found.qrels or {}).items() if query in kept} or None,
            answers={query: one for query, one in found.answers.items() if query in kept} or None,
            passages=found.passages,
            missing="zero",
            answer_match=found.answer_match,
        )
    page.tiles += comparison_tiles(result)
    page.notes += found.notes + result.questions.notes()
    page.sections += comparison_sections(
        result, pairs, runs, qrels=found.qrels, texts=found.texts, ceiling=ceiling
    )
    if teacher is not None:
        last = list(runs)[-1]
        page.sections.append(scatter_section(last, runs[last], teacher, found.runs[teacher], found.qrels))


def _folder(page: "Report", folder: Path, prefix: str, corpus: str | None) -> None:
    """The sections of one folder; ``prefix`` tells them from another's, ``corpus`` judges a table's runs."""
    from ernie_search.report import (
        ablation_sections,
        is_ablation,
        read_folder,
        training_sections,
        training_tiles,
    )

    if is_ablation(folder):
        sections, tiles = ablation_sections(folder, None if corpus is None else _judgements(folder, corpus))
    else:
        stages = read_folder(folder)
        sections, tiles = training_sections(stages), training_tiles(stages)
    page.sections += [replace(one, title=f"{prefix}{one.title}") for one in sections]
    page.tiles += [replace(one, what=f"{prefix}{one.what}") for one in tiles]


def _judgements(folder: Path, corpus: str) -> "Qrels":
    """The judgements that an ablation was measured by.

    Raises:
        SettingsError: it was of another collection, whose questions would count as not found.
    """
    from ernie_search.data import open_collection
    from ernie_search.report import collection_of, split_of

    collection, wanted = open_collection(corpus), collection_of(folder)
    if wanted not in (None, collection.fingerprint):
        raise SettingsError(
            f"--corpus {corpus}: {folder} is an ablation of another collection ({wanted}, not "
            f"{collection.fingerprint}); name that one, or leave --corpus out"
        )
    return collection.qrels(split_of(folder))
