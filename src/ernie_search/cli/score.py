"""``ernie-search score``: what a cross-encoder says of training lists."""

from pathlib import Path
from typing import Annotated

import typer

from ernie_search.cli.executor import Address, ExecutorName, WorkerCpus, WorkerGpus, opened
from ernie_search.cli.output import AsJson, console, loading, print_json, progress

EXAMPLE = "Example: ernie-search score runs/lists my-data --teacher runs/teacher --output runs/scored"


def score(
    lists: Annotated[Path, typer.Argument(help="The folder of training lists that 'mine' made.")],
    source: Annotated[str, typer.Argument(help="The collection that they were mined from.")],
    teacher: Annotated[
        str, typer.Option(help="A folder that 'teacher' made, or a cross-encoder's directory or hub name.")
    ],
    output: Annotated[Path, typer.Option(help="The folder of the scored lists.")],
    max_length: Annotated[
        int | None, typer.Option(help="Tokens kept of a pair; by default the teacher's own limit.")
    ] = None,
    executor: ExecutorName = "local",
    address: Address = None,
    worker_cpus: WorkerCpus = None,
    worker_gpus: WorkerGpus = None,
    as_json: AsJson = False,
) -> None:
    """Score each list once with a cross-encoder. Interrupted, the same command goes on where it stopped."""
    with loading("the teacher"):
        from ernie_search.data import open_collection
        from ernie_search.mining.lists import Lists
        from ernie_search.teacher import Teachers, score_lists
        from ernie_search.teacher.score import entropy_warning

        unscored = Lists.open(lists)
        # What is sent to other machines must not lie on a GPU of this one.
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
    out = console()
    out.print(
        f"{scored.folder}: {len(scored):,} lists, {about['pairs']:,} pairs scored in "
        f"{about['seconds']:,.0f} seconds ({about['precision']}).",
        soft_wrap=True,
    )
    out.print(
        f"positive on top: {about['positive_first']:.1%} of lists; "
        f"entropy of a list's softmax: {about['entropy']:.2f} nats.",
        soft_wrap=True,
    )
    warning = entropy_warning(scored)
    if warning:
        console(stderr=True).print(f"warning: {warning}", soft_wrap=True)
    out.print(
        f"Next: ernie-search denoise {scored.folder} --output {scored.folder}-clean --margin 0",
        soft_wrap=True,
    )
