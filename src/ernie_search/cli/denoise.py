"""``ernie-search denoise``: what a teacher's scores say is likely positive leaves the training lists."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ernie_search.cli.output import AsJson, console, print_json, working
from ernie_search.errors import SettingsError

if TYPE_CHECKING:
    from ernie_search.mining import Lists

EXAMPLE = "Example: ernie-search denoise runs/scored --output runs/clean --margin 0"

KEPT = 4
"""Negatives of a list that stay at least: as many as the recipe ``cascade`` shows."""


def denoise(
    lists: Annotated[Path, typer.Argument(help="The folder of scored lists that 'score' made.")],
    output: Annotated[Path, typer.Option(help="The folder of the clean lists.")],
    margin: Annotated[
        float | None,
        typer.Option(help="Drop negatives above the best positive's score less this; 0: above the positive."),
    ] = None,
    maximum: Annotated[float | None, typer.Option(help="Drop negatives that score higher than this.")] = None,
    keep_at_least: Annotated[
        int,
        typer.Option(
            help="A list that keeps fewer is filled with others' negatives: what a training takes of it."
        ),
    ] = KEPT,
    as_json: AsJson = False,
) -> None:
    """Drop the negatives that the teacher takes for positives. The scored lists stay as they are."""
    from ernie_search import mining
    from ernie_search._util.settings import parse_typed

    if margin is None and maximum is None:
        raise SettingsError("denoise needs a limit; give --margin 0, say, or --maximum")
    if output.resolve() == lists.resolve():
        raise SettingsError(f"--output {output}: holds the scored lists, which stay; name another folder")
    values = {"margin": margin, "maximum": maximum, "keep_at_least": keep_at_least}
    settings = parse_typed(mining.DenoiseSettings, values)
    with working("denoising"):
        clean = mining.denoise(mining.Lists.open(lists), output, settings)
    if as_json:
        print_json({"output": str(output), **clean.manifest})
    else:
        show_counts(clean, keep_at_least)


def show_counts(clean: "Lists", keep_at_least: int) -> None:
    """What went out and what stayed, and what to type next."""
    out, counts, sizes = console(), clean.manifest["counts"], clean.sizes()

    def line(text: str) -> None:
        out.print(text, soft_wrap=True)

    line(f"{clean.folder}: {len(clean):,} lists, the shortest with {sizes.shortest} negatives")
    kept = sizes.negatives - counts["refilled"]
    line(f"{kept + counts['denoised']:>12,}  negatives with scores")
    line(f"{counts['denoised']:>12,}  dropped: the teacher takes them for positives")
    line(f"{kept:>12,}  kept")
    if counts["too_few"]:
        text = f"lists kept fewer than {keep_at_least}: filled with {counts['refilled']:,} of other questions"
        line(f"{counts['too_few']:>12,}  {text}")
    if counts["still_short"]:
        line(f"{counts['still_short']:>12,}  lists stayed short even so: there are too few other passages")
    line(
        f"Next: ernie-search train cascade --source SOURCE --lists {clean.folder} --base MODEL "
        f"--output {clean.folder}-cascade"
    )
