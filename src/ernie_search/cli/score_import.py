"""``ernie-search score-import``: bring scores that others made into training lists."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ernie_search.cli.output import AsJson, console, loading, print_json, print_line, progress

if TYPE_CHECKING:
    from ernie_search.mining import Lists

EXAMPLE = "Example: ernie-search score-import scores.jsonl my-data --lists runs/lists --output runs/scored"


def score_import(
    scores: Annotated[
        Path,
        typer.Argument(
            help="JSON lines, CSV, TSV, Parquet (query-id, corpus-id, score), a TREC run, or the folder of a "
            "saved Hugging Face data set."
        ),
    ],
    source: Annotated[str, typer.Argument(help="The collection of the ids.")],
    output: Annotated[Path, typer.Option(help="Output folder of the lists.")],
    lists: Annotated[
        Path | None,
        typer.Option(
            help="Lists that get the scores; without it, lists are made from scores and judgements."
        ),
    ] = None,
    name: Annotated[str, typer.Option(help="Name of the component, for 'score --teacher NAME=1,...'.")] = (
        "imported"
    ),
    split: Annotated[str, typer.Option(help="The split of the questions.")] = "train",
    number: Annotated[int, typer.Option(help="Most negatives of a list that is made.")] = 64,
    as_json: AsJson = False,
) -> None:
    """Bring scores of other rerankers or of LLM judgements into training lists, as a teacher's component."""
    with loading("the libraries"):
        from ernie_search.data import open_collection
        from ernie_search.mining import Lists
        from ernie_search.teacher import import_scores

        collection = open_collection(source)
        given = None if lists is None else Lists.open(lists)
    options: dict[str, Any] = {"lists": given, "name": name, "split": split, "number": number}
    with progress("reading scores", None) as advance:
        made = import_scores(scores, collection, output, progress=advance, **options)
    if as_json:
        print_json({"lists": str(made.folder), "imported": made.manifest["imported"]})
    else:
        _show(made)


def _show(made: "Lists") -> None:
    """Print what was found, and what was left out, with one example of each."""
    about = made.manifest["imported"]
    print_line(
        f"{made.folder}: {len(made):,} lists; {about['scored']:,} of {about['passages']:,} passages have a "
        f"score ({about['coverage']:.1%}), the others are left out where scores are learned"
    )
    for number, said, first in (
        ("duplicates", "rows repeat a pair; the first one counts", "first_duplicate"),
        ("unknown_questions", "rows of questions that the split lacks", "first_unknown_question"),
        ("unknown_passages", "rows of passages that the corpus lacks", "first_unknown_passage"),
    ):
        if about[number]:
            console(stderr=True).print(
                f"warning: {about[number]:,} {said}; the first: {about[first]}", soft_wrap=True
            )
    for number, said in (
        ("unused", "scores are of passages that stand in no list"),
        ("without_positives", "questions with scores have no relevant passage"),
        ("without_negatives", "questions have scores of relevant passages only"),
    ):
        if about[number]:
            print_line(f"{about[number]:>12,}  {said}")
    print_line(f"Next: ernie-search denoise {made.folder} --output {made.folder}-clean --margin 0")
