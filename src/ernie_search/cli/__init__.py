"""The command line: parse, call, print. One file per command, without logic of its own.

torch is imported only when a command needs it, so that ``--help`` is instant.
"""

import os
from typing import Annotated

import typer

from ernie_search import __version__
from ernie_search.cli import (
    ablate,
    adapt,
    card,
    compare,
    data,
    demo,
    denoise,
    doctor,
    evaluate,
    export,
    index,
    judge,
    mcp,
    mine,
    questions,
    report,
    score,
    score_import,
    score_tune,
    search,
    serve,
    share,
    teacher,
    train,
    tune,
)
from ernie_search.cli.app import Commands
from ernie_search.cli.lancedb_import import OWN_PROCESS

app = typer.Typer(
    cls=Commands,
    name="ernie-search",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Start with: ernie-search index ./docs",
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
    """Search any folder or collection by meaning and by words; train, measure and serve what searches it."""


# In the order of work, which is the order of the help: search first, then measuring, training, sharing.
app.add_typer(index.app, name="index")
app.command(epilog=search.EXAMPLE)(search.search)
app.command(epilog=serve.EXAMPLE)(serve.serve)
app.command(epilog=mcp.EXAMPLE)(mcp.mcp)
app.command(epilog=evaluate.EXAMPLE)(evaluate.evaluate)
app.command(epilog=tune.EXAMPLE)(tune.tune)
app.command(epilog=compare.EXAMPLE)(compare.compare)
app.command(epilog=judge.EXAMPLE)(judge.judge)
app.command(epilog=doctor.EXAMPLE)(doctor.doctor)
app.command(epilog=demo.EXAMPLE)(demo.demo)
app.add_typer(data.app, name="data")
app.command(epilog=questions.EXAMPLE)(questions.questions)
app.command(epilog=adapt.EXAMPLE)(adapt.adapt)
app.command(epilog=train.EXAMPLE)(train.train)
app.command(epilog=mine.EXAMPLE)(mine.mine)
app.command("mine-preview", epilog=mine.PREVIEW_EXAMPLE)(mine.mine_preview)
app.command(epilog=teacher.EXAMPLE)(teacher.teacher)
app.command(epilog=score.EXAMPLE)(score.score)
app.command("score-tune", epilog=score_tune.EXAMPLE)(score_tune.score_tune)
app.command("score-import", epilog=score_import.EXAMPLE)(score_import.score_import)
app.command(epilog=denoise.EXAMPLE)(denoise.denoise)
app.command(epilog=ablate.EXAMPLE)(ablate.ablate)
app.command(epilog=report.EXAMPLE)(report.report)
app.command(epilog=export.EXAMPLE)(export.export)
app.command(epilog=card.EXAMPLE)(card.card)
app.command(epilog=share.EXAMPLE)(share.share)


def main() -> None:
    """Run the ``ernie-search`` command."""
    # The libraries' progress bars ("Loading weights") would mix with ours. A value set by the user is kept.
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    app(obj=OWN_PROCESS)


__all__ = ["app", "main"]
