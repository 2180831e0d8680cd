"""``ernie-search train``: from a collection to a trained joint model."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ernie_search.cli.output import AsJson, console, print_json
from ernie_search.cli.quiet import loading
from ernie_search.errors import SettingsError

if TYPE_CHECKING:
    from ernie_search.training import TrainResult

EXAMPLE = "Example: ernie-search train my-data --output runs/mine --set steps=200 --set learning_rate=1e-4"


def train(
    source: Annotated[str, typer.Argument(help="A BEIR folder with qrels/train.tsv, 'api:', 'api:numpy'.")],
    output: Annotated[Path, typer.Option(help="The folder of the run: model, checkpoints, log.")],
    recipe: Annotated[str, typer.Option(help="A shipped recipe's name, or your own .yaml file.")] = "default",
    base: Annotated[
        str | None, typer.Option(help="Model to start from: a directory, or a name on the hub.")
    ] = None,
    layers: Annotated[int | None, typer.Option(help="Keep only so many layers of the base.")] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a setting of the recipe; may be repeated."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Train a joint model on a collection. Interrupted, the same command goes on where it stopped."""
    settings = parse_changes(changes or [])
    settings |= {key: value for key, value in (("base", base), ("layers", layers)) if value is not None}
    with loading("the libraries"):
        from ernie_search import api
        from ernie_search.training.progress import TrainProgress

    show_progress = TrainProgress(console(stderr=True))
    trained = False

    def observer(event: str, values: dict[str, Any]) -> None:
        nonlocal trained
        trained = True
        show_progress(event, values)

    result = api.train(source, output, recipe, observer=observer, **settings)
    if as_json:
        paths = {"model": str(result.model), "last": str(result.last)}
        print_json(asdict(result) | paths | {"trained_now": trained})
    else:
        show(result, source, output, trained=trained)


def parse_changes(changes: list[str]) -> dict[str, Any]:
    """``["steps=200"]`` as ``{"steps": 200}``: values are read as YAML reads them.

    Raises:
        SettingsError: no ``=``, no name, or a value that is no plain one.
    """
    import yaml

    settings: dict[str, Any] = {}
    for change in changes:
        name, equals, text = change.partition("=")
        if not equals or not name.strip():
            raise SettingsError(f"--set {change}: not of the form KEY=VALUE; write, say, --set steps=200")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise SettingsError(f"--set {change}: the value cannot be read; quote it") from error
        if value is None or isinstance(value, dict | list):
            raise SettingsError(f"--set {change}: the value must be a number, a word, true or false")
        settings[name.strip()] = value
    return settings


def show(result: "TrainResult", source: str, output: Path, *, trained: bool) -> None:
    """Where the model is, how good it was on dev, what was cut, and what to type next."""
    out = console()

    def line(text: str) -> None:
        out.print(text, soft_wrap=True)

    if not trained:
        line(f"{output}: trained already; delete the folder to train anew.")
    line(f"model: {result.model} ({result.steps:,} steps in {result.seconds:,.0f} seconds)")
    if result.best_metric is not None:
        line(
            f"dev sample: MRR@10 {result.best_metric:.3f} at step {result.best_step:,}, which the model is of"
        )
    else:
        line("dev sample: none, so the model is that of the last step; a split 'dev' would choose the best")
    questions, passages = result.truncated["query"], result.truncated["passage"]
    line(f"longer than the model reads, so cut: {questions:.1%} of questions, {passages:.1%} of passages")
    line(f"Next: ernie-search index {source} --model {result.model} --output {output / 'index'}")
