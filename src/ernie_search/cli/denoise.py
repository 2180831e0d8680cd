"""``ernie-search denoise``: mark likely positives among the negatives of lists, by a teacher's scores."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ernie_search.cli.output import AsJson, print_json, print_line, working
from ernie_search.errors import SettingsError

if TYPE_CHECKING:
    from ernie_search.mining import Lists

EXAMPLE = "Example: ernie-search denoise runs/scored --output runs/clean --margin 0"

KEPT = 4
"""Least negatives of a list: as many as the recipe ``cascade`` uses."""


def denoise(
    lists: Annotated[Path, typer.Argument(help="The folder of scored lists that 'score' made.")],
    output: Annotated[Path, typer.Option(help="The folder of the clean lists.")],
    margin: Annotated[
        float | None,
        typer.Option(help="Denoise negatives that score above the best positive minus this."),
    ] = None,
    maximum: Annotated[
        float | None, typer.Option(help="Denoise negatives that score higher than this.")
    ] = None,
    keep_at_least: Annotated[
        int,
        typer.Option(help="Fill a list that keeps fewer with negatives of other questions."),
    ] = KEPT,
    drop: Annotated[
        bool, typer.Option(help="Leave denoised negatives out, also where a teacher's scores are learned.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Take negatives that the teacher scores like positives from the contrastive terms.

    They stay in the lists with their scores, from which the terms with a teacher learn. The scored lists are
    not changed.
    """
    from ernie_search import mining
    from ernie_search._util.settings import parse_typed

    if margin is None and maximum is None:
        raise SettingsError("denoise needs a limit: give --margin, such as --margin 0, or --maximum")
    if output.resolve() == lists.resolve():
        raise SettingsError(f"--output {output}: is the folder of the scored lists; name another one")
    values = {"margin": margin, "maximum": maximum, "keep_at_least": keep_at_least, "drop": drop}
    settings = parse_typed(mining.DenoiseSettings, values)
    with working("denoising"):
        clean = mining.denoise(mining.Lists.open(lists), output, settings)
    if as_json:
        print_json({"output": str(output), **clean.manifest})
    else:
        show_counts(clean, keep_at_least)


def show_counts(clean: "Lists", keep_at_least: int) -> None:
    """Print how many negatives were denoised and kept, and the next command."""
    counts, sizes = clean.manifest["counts"], clean.sizes()
    print_line(f"{clean.folder}: {len(clean):,} lists, the shortest with {sizes.shortest} negatives")
    kept = sizes.negatives - sizes.denoised - counts["refilled"]
    done = "left out" if clean.manifest["denoise"]["drop"] else "denoised, for the teacher's terms alone"
    print_line(f"{kept + counts['denoised']:>12,}  negatives with scores")
    print_line(f"{counts['denoised']:>12,}  {done}: the teacher scores them like positives")
    print_line(f"{kept:>12,}  kept")
    if counts["too_few"]:
        text = f"lists kept fewer than {keep_at_least}: filled with {counts['refilled']:,} of other questions"
        print_line(f"{counts['too_few']:>12,}  {text}")
    if counts["still_short"]:
        print_line(f"{counts['still_short']:>12,}  lists are still short: there are too few other passages")
    print_line(
        f"Next: ernie-search train cascade --source SOURCE --lists {clean.folder} --base MODEL "
        f"--output {clean.folder}-cascade"
    )
