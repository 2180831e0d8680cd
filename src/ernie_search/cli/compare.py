"""``ernie-search compare``: run files side by side, with significance, and question by question."""

from pathlib import Path
from typing import Annotated

import typer

from ernie_search.cli.evidence import (
    AnswerMatch,
    AnswersFile,
    Bm25File,
    ClusterOption,
    Corpus,
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
)
from ernie_search.cli.output import AsJson, console, print_json, working
from ernie_search.errors import SettingsError

EXAMPLE = "Example: ernie-search compare bm25.trec ours.trec --qrels qrels/test.tsv --queries queries.jsonl"
MEASURES = ("MRR@10", "nDCG@10", "recall@10", "recall@100")


def compare(
    runs: Annotated[list[Path], typer.Argument(help="TREC run files; the first is the baseline.")],
    qrels: QrelsFile = None,
    queries: QueriesFile = None,
    corpus: Corpus = None,
    split: Split = "test",
    answers: AnswersFile = None,
    answer_match: AnswerMatch = "string",
    bm25: Bm25File = None,
    measure: Measures = None,
    cluster: ClusterOption = None,
    all_pairs: Annotated[
        bool, typer.Option("--all-pairs", help="Compare each run with each other, not only with the first.")
    ] = False,
    intersect: Intersect = False,
    zero_missing: ZeroMissing = False,
    self_hits: SelfHitsOption = "drop",
    show: Annotated[int, typer.Option(min=0, help="Questions won and lost to show per pair.")] = 5,
    as_json: AsJson = False,
) -> None:
    """Compare run files: measures, significance, and the questions on which they differ."""
    from ernie_search.evaluation.comparison import check_measures
    from ernie_search.evaluation.effects import lost, won
    from ernie_search.evaluation.table import (
        buckets_json,
        buckets_table,
        clustered_table,
        comparison_json,
        effects_json,
        effects_table,
        pairs_table,
        results_table,
    )

    if len(runs) < 2:
        raise SettingsError("compare needs at least two run files; one alone: ernie-search evaluate --help")
    if qrels is None and corpus is None and answers is None:
        raise SettingsError("compare needs judgements: --qrels FILE, or --corpus SOURCE with --split")
    names = tuple(measure or MEASURES)
    rule = missing_rule(intersect, zero_missing)
    check_measures(names, qrels=True, answers=True)  # a typing error shows before the files are read
    check_clusters(cluster, qrels=qrels is not None or corpus is not None, corpus=corpus is not None)
    with working("reading and measuring"):
        found = load_evidence(
            runs,
            qrels=qrels,
            queries=queries,
            corpus=corpus,
            split=split,
            answers=answers,
            answer_match=answer_match,
            bm25=bm25,
            self_hits=self_hits,
        )
        result, pairs = found.compare(names, rule, all_pairs=all_pairs, cluster=cluster)
    notes = found.notes + result.questions.notes()
    for system in result.systems:
        if system.measured.unjudged:
            notes.append(
                f"{system.name}: {system.measured.unjudged:,} questions of the run have no judgement "
                "or were left out; they do not count"
            )
    if as_json:
        each = [
            {
                "system": one.name,
                "over": one.over,
                "measure": names[0],
                "won": effects_json(won(one.effects, show), found.texts),
                "lost": effects_json(lost(one.effects, show), found.texts),
                "where": {title: buckets_json(buckets) for title, buckets in one.where.items()},
            }
            for one in pairs
        ]
        print_json({**comparison_json(result), "notes": notes, "questions_by_pair": each})
        return
    out = console()
    for note in notes:
        out.print(note, soft_wrap=True)
    out.print(results_table(result.systems, names, title=f"{len(result.questions.ids):,} questions"))
    out.print(pairs_table(result.pairs))
    if cluster:
        out.print(clustered_table(result.pairs))
    for one in pairs:
        title = f"{one.name} over {one.over}, {names[0]}"
        for what, chosen in (("won", won(one.effects, show)), ("lost", lost(one.effects, show))):
            if chosen:
                out.print(f"{title}: questions {what} by most", soft_wrap=True)
                out.print(effects_table(chosen, found.texts))
        for kind, buckets in one.where.items():
            out.print(f"{title}: {kind}", soft_wrap=True)
            out.print(buckets_table(buckets))
