"""``ernie-search score-tune``: judge a teacher's components by re-ranking, and choose their weights."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ernie_search.cli.output import AsJson, console, loading, print_json, print_line, progress
from ernie_search.cli.score import Cross, Late, QuestionWeights

if TYPE_CHECKING:
    from ernie_search.teacher.tuning import TunedSum

EXAMPLE = (
    "Example: ernie-search score-tune my-data --cross runs/teacher --late runs/warm/best --output w.json"
)


def score_tune(
    source: Annotated[str, typer.Argument(help="The collection: a BEIR folder, 'api:', ...")],
    output: Annotated[Path, typer.Option(help="The file of weights, for 'score --teacher'.")],
    cross: Cross = None,
    late: Late = None,
    question_weights: QuestionWeights = "even",
    bm25: Annotated[bool, typer.Option(help="BM25 as a component.")] = True,
    split: Annotated[str, typer.Option(help="Its questions; not those that you report.")] = "dev",
    run: Annotated[
        Path | None, typer.Option(help="The TREC run that is re-ranked, of any system; default: BM25's.")
    ] = None,
    questions: Annotated[int, typer.Option(help="Most questions, a seeded sample; 0 takes all.")] = 500,
    k: Annotated[int, typer.Option("-k", help="Passages that are re-ranked.")] = 50,
    seed: Annotated[int, typer.Option(help="Seed of the sample.")] = 0,
    max_length: Annotated[
        int | None, typer.Option(help="Most tokens of a pair; default: the cross-encoder's own limit.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Judge teachers by re-ranking dev questions, and write the weights of their best sum."""
    with loading("the teachers"):
        from dataclasses import asdict

        from ernie_search.data import open_collection
        from ernie_search.evaluation import read_run
        from ernie_search.teacher import open_sum, tune_sum
        from ernie_search.teacher.sums import SavedWeights

        collection = open_collection(source)
        models = {"cross": cross, "late": late, "bm25": "yes" if bm25 else None}
        weights = {name: 1.0 for name, model in models.items() if model is not None}
        teacher = open_sum(
            weights,
            collection,
            cross=cross,
            late=late,
            late_question_weights=question_weights,  # type: ignore[arg-type]  # refused where it is none
            max_length=max_length,
        )
        ranking = None if run is None else read_run(run)
    options: dict[str, Any] = {"split": split, "run": ranking, "questions": questions, "k": k, "seed": seed}
    with progress("re-ranking", None) as advance:
        found = tune_sum(teacher, collection, progress=advance, **options)
    figures = asdict(found)
    about = {"source": collection.source, "split": split, "run": None if run is None else run.name, "k": k}
    SavedWeights(found.weights, cross, late, question_weights, about | figures).write(output)
    if as_json:
        print_json({"output": str(output), **about, **figures})
        return
    _show(found, f"{collection.source}, {split}")
    shown = ",".join(f"{name}={weight:g}" for name, weight in found.weights.items())
    print_line(f"{output}: {shown}")
    print_line(f"Next: ernie-search score LISTS {source} --teacher {output} --output SCORED")


def _show(found: "TunedSum", what: str) -> None:
    from rich.table import Table
    from rich.text import Text

    title = f"{what}: {found.questions:,} questions, {found.tried:,} sums tried"
    table = Table(title=Text(title), title_justify="left")
    for name in ("re-ranked by", "weight", "MRR@10", "95 % interval"):
        table.add_column(name, justify="left" if name == "re-ranked by" else "right")
    for one in (found.first_stage, *found.components, found.best, found.held_out):
        weight = f"{found.weights[one.name]:g}" if one.name in found.weights else ""
        table.add_row(Text(one.name), weight, f"{one.mrr:.4f}", f"{one.low:.4f} to {one.high:.4f}")
    console().print(table)
    print_line("'held out': each half of the questions with weights that were chosen on the other half.")
