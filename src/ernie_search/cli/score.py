"""``ernie-search score``: score training lists with a teacher: a cross-encoder, or a weighted sum."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ernie_search.cli.executor import Address, ExecutorName, WorkerCpus, WorkerGpus, opened
from ernie_search.cli.output import AsJson, console, loading, print_json, print_line, progress
from ernie_search.errors import SettingsError

if TYPE_CHECKING:
    from ernie_search.data import Collection
    from ernie_search.mining import Lists
    from ernie_search.teacher import TeacherSum

EXAMPLE = "Example: ernie-search score runs/lists my-data --teacher runs/teacher --output runs/scored"

Cross = Annotated[
    str | None,
    typer.Option(help="Cross-encoder of the sum: a folder from 'teacher', a directory or a hub name."),
]
Late = Annotated[
    str | None,
    typer.Option(help="Late-interaction model of the sum: any model's directory or hub name."),
]
QuestionWeights = Annotated[
    str,
    typer.Option("--late-question-weights", help="Weights of a question's tokens: even, root (of idf), idf."),
]


def score(
    lists: Annotated[Path, typer.Argument(help="The folder of training lists from 'mine'.")],
    source: Annotated[str, typer.Argument(help="The collection that they were mined from.")],
    teacher: Annotated[
        str,
        typer.Option(
            help="A folder from 'teacher', a cross-encoder's directory or hub name; or weights of a sum, as "
            "cross=1,late=0.5,bm25=0.02; or the file of weights that 'score-tune' wrote."
        ),
    ],
    output: Annotated[Path, typer.Option(help="Output folder of the scored lists.")],
    cross: Cross = None,
    late: Late = None,
    question_weights: QuestionWeights = "even",
    max_length: Annotated[
        int | None, typer.Option(help="Most tokens of a pair; default: the teacher's own limit.")
    ] = None,
    executor: ExecutorName = "local",
    address: Address = None,
    worker_cpus: WorkerCpus = None,
    worker_gpus: WorkerGpus = None,
    as_json: AsJson = False,
) -> None:
    """Score training lists with a cross-encoder or a weighted sum. The same command resumes.

    A sum's parts are kept: with other weights, the same command sums anew and scores nothing again.
    """
    with loading("the teacher"):
        from ernie_search.data import open_collection
        from ernie_search.mining.lists import Lists
        from ernie_search.teacher import score_lists
        from ernie_search.teacher.judging import accuracy_advice
        from ernie_search.teacher.score import entropy_warning

        unscored = Lists.open(lists)
        collection = open_collection(source)
        # A model that is sent to other machines must not be on a GPU of this one.
        device = "cpu" if executor == "ray" else None
        options: dict[str, Any] = {"max_length": max_length, "device": device}
        found = open_teacher(teacher, cross, late, question_weights, collection, unscored, **options)
    with (
        opened(executor, address, worker_cpus, worker_gpus) as where,
        progress("scoring lists", len(unscored)) as advance,
    ):
        scored = score_lists(found, collection, unscored, output, progress=advance, executor=where)
    if as_json:
        print_json({"lists": str(scored.folder), "scores": scored.manifest["scores"]})
        return
    show(scored)
    for warning in (accuracy_advice(scored), entropy_warning(scored)):
        if warning:
            console(stderr=True).print(f"warning: {warning}", soft_wrap=True)
    print_line(f"Next: ernie-search denoise {scored.folder} --output {scored.folder}-clean --margin 0")


def open_teacher(
    teacher: str,
    cross: str | None,
    late: str | None,
    question_weights: str,
    collection: "Collection",
    lists: "Lists",
    **options: Any,
) -> "TeacherSum":
    """The teacher that the options name: a lone cross-encoder, or a sum.

    Raises:
        SettingsError: weights that make no sum, or models of components beside a lone cross-encoder.
    """
    from ernie_search.teacher import Teachers, TeacherSum, open_sum, parse_weights
    from ernie_search.teacher.sums import SavedWeights, is_weights, parts_of

    if teacher.endswith(".json"):
        saved = SavedWeights.read(Path(teacher))
        weights, cross, late = saved.weights, cross or saved.cross, late or saved.late
        if question_weights == "even":
            question_weights = saved.late_question_weights
    elif is_weights(teacher):
        weights = parse_weights(teacher)
    else:
        if cross is not None or late is not None:
            raise SettingsError(
                f"--teacher {teacher}: is a cross-encoder alone, beside --cross or --late; give weights "
                "instead, such as --teacher cross=1,late=0.5"
            )
        return TeacherSum({"cross": 1.0}, cross=Teachers.open(teacher, **options))
    there = set(parts_of(next(iter(lists)))) if len(lists) else set()
    return open_sum(
        weights,
        collection,
        cross=cross,
        late=late,
        late_question_weights=question_weights,  # type: ignore[arg-type]  # refused where it is none of them
        there=there,
        **options,
    )


def show(scored: "Lists") -> None:
    """Print how much was scored, and how well each component ranks the lists."""
    about = scored.manifest["scores"]
    print_line(
        f"{scored.folder}: {len(scored):,} lists, {about['pairs']:,} pairs scored in "
        f"{about['seconds']:,.0f} seconds ({about['precision']})."
    )
    print_line(
        f"positive on top: {about['positive_first']:.1%} of lists; "
        f"entropy of a list's softmax: {about['entropy']:.2f} nats."
    )
    components = about.get("components", {})
    for name, one in components.items() if len(components) > 1 else ():
        weight = about["weights"][name]
        print_line(
            f"{name:>10} x {weight:g}: positive on top {one['positive_first']:.1%}, "
            f"mean reciprocal rank {one['mrr']:.3f}, {one['lists']:,} lists"
        )
