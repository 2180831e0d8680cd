"""``ernie-search score``: score training lists with a cross-encoder."""

from pathlib import Path
from typing import Annotated

import typer

from ernie_search.cli.executor import Address, ExecutorName, WorkerCpus, WorkerGpus, opened
from ernie_search.cli.output import AsJson, console, loading, print_json, print_line, progress

EXAMPLE = "Example: ernie-search score runs/lists my-data --teacher runs/teacher --output runs/scored"


def score(
    lists: Annotated[Path, typer.Argument(help="The folder of training lists from 'mine'.")],
    source: Annotated[str, typer.Argument(help="The collection that they were mined from.")],
    teacher: Annotated[
        str, typer.Option(help="A folder from 'teacher', or a cross-encoder's directory or hub name.")
    ],
    output: Annotated[Path, typer.Option(help="Output folder of the scored lists.")],
    max_length: Annotated[
        int | None, typer.Option(help="Most tokens of a pair; default: the teacher's own limit.")
    ] = None,
    executor: ExecutorName = "local",
    address: Address = None,
    worker_cpus: WorkerCpus = None,
    worker_gpus: WorkerGpus = None,
    as_json: AsJson = False,
) -> None:
    """Score training lists with a cross-encoder. The same command resumes after an interruption."""
    with loading("the teacher"):
        from ernie_search.data import open_collection
        from ernie_search.mining.lists import Lists
        from ernie_search.teacher import Teachers, score_lists
        from ernie_search.teacher.score import entropy_warning

        unscored = Lists.open(lists)
        # A model that is sent to other machines must not be on a GPU of this one.
        device = "cpu" if executor == "ray" else None
        teachers = Teachers.open(teacher, max_length=max_length, device=device)
    with (
        opened(executor, address, worker_cpus, worker_gpus) as where,
        progress("scoring lists", len(unscored)) as advance,
    ):
        collection = open_collection(source)
        scored = score_lists(teachers, collection, unscored, output, progress=advance, executor=where)
    about = scored.manifest["scores"]
    if as_json:
        print_json({"lists": str(scored.folder), "scores": about})
        return
    print_line(
        f"{scored.folder}: {len(scored):,} lists, {about['pairs']:,} pairs scored in "
        f"{about['seconds']:,.0f} seconds ({about['precision']})."
    )
    print_line(
        f"positive on top: {about['positive_first']:.1%} of lists; "
        f"entropy of a list's softmax: {about['entropy']:.2f} nats."
    )
    warning = entropy_warning(scored)
    if warning:
        console(stderr=True).print(f"warning: {warning}", soft_wrap=True)
    print_line(f"Next: ernie-search denoise {scored.folder} --output {scored.folder}-clean --margin 0")
