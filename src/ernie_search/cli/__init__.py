"""The command line: parse, call, print; no logic. One file a command.

Nothing here imports torch before a command needs it, so that ``--help`` answers at once.
"""

from typing import Annotated

import typer

from ernie_search import __version__
from ernie_search.cli import doctor
from ernie_search.cli.app import Commands

app = typer.Typer(
    cls=Commands,
    name="ernie-search",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Start with: ernie-search demo",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ernie-search {__version__}")
        raise typer.Exit


@app.callback()
def top(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Dense retrieval taught by late interaction: from a collection to a trained, measured index."""


app.command(epilog=doctor.EXAMPLE)(doctor.doctor)


def main() -> None:
    """The entry point of the ``ernie-search`` command."""
    app()


__all__ = ["app", "main"]
