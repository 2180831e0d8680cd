"""``ernie-search train``: train a joint model on a collection."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from ernie_search.cli.output import AsJson, console, loading, print_json, print_line
from ernie_search.errors import SettingsError

if TYPE_CHECKING:
    from ernie_search.pipeline import Plan
    from ernie_search.pipeline.recipe import AnyStage, Recipe
    from ernie_search.pipeline.stage import GivenLists
    from ernie_search.training import TrainResult


EVERY = 10.0
"""Seconds between two lines about the same count; later a quarter of the time since the first line, so that a
long stage does not fill a log file."""


class PipelineProgress:
    """An observer that prints the progress of a pipeline or an ablation.

    Args:
        console: the console to print to.
        stages: print when stages begin and end; otherwise only the progress of trainings.

    Attributes:
        worked: whether any work was done, and not everything was finished before.
    """

    def __init__(self, console: Console, *, stages: bool = True) -> None:
        from ernie_search.training.progress import TrainProgress  # torch: not for --help

        self.console, self.stages, self.worked = console, stages, False
        self._training = TrainProgress(console)
        self._what, self._began, self._said = "", 0.0, 0.0

    def __call__(self, event: str, values: dict[str, Any]) -> None:
        """Print one event."""
        self.worked = self.worked or event != "row"
        if event == "row":
            seed = "" if values["seed"] is None else f", seed {values['seed']}"
            self._line(f"row {values['name']}{seed}")
        elif event == "stage":
            resumes = ", resumes" if values["state"] == "resumes" else ""
            self._stage(f"stage {values['name']}{resumes}")
        elif event == "stage-done":
            counts = "".join(f"; {one}" for one in values["reported"])
            self._stage(f"stage {values['name']}: done in {values['seconds']:,.0f} seconds{counts}")
        elif event == "teacher":
            self._line(f"teacher {values['number'] + 1} of {values['teachers']}")
        elif event == "progress":
            self._count(values["what"], values["done"], values["total"])
        else:
            self._training(event, values)

    def _stage(self, text: str) -> None:
        if self.stages:
            self._line(text)

    def _count(self, what: str, done: int, total: int | None) -> None:
        now = time.monotonic()
        if what != self._what:
            self._what, self._began, self._said = what, now, now
        last = total is not None and done >= total
        if now - self._said < max(EVERY, (now - self._began) / 4) and not last:
            return
        self._said = now
        self._line(f"{what}: {done:,}" + (f" of {total:,}" if total is not None else ""))

    def _line(self, text: str) -> None:
        self.console.print(text, soft_wrap=True, markup=False, highlight=False)


EXAMPLE = (
    "Example: ernie-search train my-data --output runs/mine --set steps=200. Or a recipe of several stages: "
    "ernie-search train squad --source my-data --output runs/squad --set cascade.steps=300 --dry-run"
)

Changes = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change a setting of the recipe; with several stages STAGE.KEY=VALUE; may be repeated.",
    ),
]
Base = Annotated[str | None, typer.Option(help="Model to start from: a directory, or a name on the hub.")]
Layers = Annotated[int | None, typer.Option(help="Number of the base's first layers to keep.")]
GivenFolder = Annotated[
    Path | None,
    typer.Option(
        help="Training lists from 'mine', 'score' or 'denoise', for a recipe without a stage that makes them."
    ),
]


def train(
    what: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE|SOURCE",
            help="A recipe (a shipped one's name, or a .yaml file); or a collection: a BEIR folder, 'api:'.",
        ),
    ],
    output: Annotated[Path | None, typer.Option(help="Training folder: models, checkpoints, logs.")] = None,
    source: Annotated[str | None, typer.Option(help="The collection, if RECIPE names none.")] = None,
    recipe: Annotated[
        str | None, typer.Option(help="The recipe for SOURCE: a name or a .yaml file; default: 'default'.")
    ] = None,
    base: Base = None,
    layers: Layers = None,
    lists: GivenFolder = None,
    report_to: Annotated[
        list[str] | None,
        typer.Option(help="A tracker that gets losses and measures: wandb, mlflow; may be repeated."),
    ] = None,
    changes: Changes = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the plan with sizes and estimated times, and stop.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Train a joint model on a collection. The same command resumes after an interruption."""
    settings = overrides(changes, base, layers) | ({} if lists is None else {"lists": lists})
    with loading("the libraries"):
        from ernie_search.data import open_collection, validate
        from ernie_search.data.collection import hold
        from ernie_search.pipeline import estimate, load_recipe, make_plan, plan_table, train_recipe
        from ernie_search.training.trackers import check_trackers
        from ernie_search.training.world import World

    is_main = World.launched().is_main  # of several processes only one prints
    name, given = recipe_and_source(what, source, recipe)
    chosen = load_recipe(name, settings)
    trained = [one for one in chosen.stages if "report_to" in type(one.settings).model_fields]
    if report_to:  # of every stage that trains
        told = {f"{one.name}.report_to": ",".join(report_to) for one in trained}
        chosen = load_recipe(name, settings | told)
        trained = [one for one in chosen.stages if f"{one.name}.report_to" in told]
    place = given or chosen.source
    if place is None:
        raise SettingsError(f"recipe {name} names no collection; give one with --source")
    if output is None and not dry_run:
        raise SettingsError("train needs a folder to write to; give one with --output")
    collection = hold(open_collection(place))
    validate(collection)
    if is_main and (dry_run or not chosen.single):
        plan = make_plan(chosen, collection, output)
        if dry_run:
            plan = estimate(plan, chosen, collection)
        if dry_run and as_json:
            print_json(plan_json(plan))
        else:
            title = f"{chosen.name}: {plan.passages:,} passages, {plan.questions:,} training questions"
            console(stderr=not dry_run).print(plan_table(plan, title))
    if dry_run or output is None:
        return
    if is_main:
        check_trackers(list(dict.fromkeys(name for one in trained for name in tracker_names(one))))
    settle_memory(chosen)
    show_progress = PipelineProgress(console(stderr=True), stages=not chosen.single)
    result = train_recipe(chosen, collection, output, show_progress)
    if not is_main:
        return
    if as_json:
        paths = {"model": str(result.model), "last": str(result.last)}
        print_json(asdict(result) | paths | {"trained_now": show_progress.worked})
    else:
        show(result, place, output, trained=show_progress.worked)


def tracker_names(stage: "AnyStage") -> tuple[str, ...]:
    """Trackers that a stage reports to."""
    names: tuple[str, ...] = stage.settings.report_to
    return names


def settle_memory(recipe: "Recipe") -> None:
    """Return large freed blocks to the system at once if a training of ``recipe`` caches its gradients."""
    from ernie_search._util.hardware import return_large_blocks

    if any(stage.training is not None and stage.training.gradient_cache for stage in recipe.stages):
        return_large_blocks()


def overrides(changes: list[str] | None, base: str | None, layers: int | None) -> dict[str, Any]:
    """Settings of the recipe that the options change."""
    given = {key: value for key, value in (("base", base), ("layers", layers)) if value is not None}
    return parse_changes(changes or []) | given


def recipe_and_source(what: str, source: str | None, recipe: str | None) -> tuple[str, str | None]:
    """The recipe's name, and the collection or ``None`` for the recipe's own.

    Raises:
        SettingsError: two recipes or two collections are given.
    """
    from ernie_search.pipeline import is_recipe

    if not is_recipe(what):
        if source is not None:
            raise SettingsError(
                f"{what} is no recipe's name, so it is the collection, and --source {source} is another; "
                "name one of them"
            )
        return recipe or "default", what
    if recipe is not None:
        raise SettingsError(
            f"{what} is a recipe, and --recipe {recipe} is another; name one, and the collection with "
            f"--source (a folder of that name is ./{what})"
        )
    return what, source


def plan_json(plan: "Plan") -> dict[str, Any]:
    """A plan with its estimates as plain values."""
    return {
        "passages": plan.passages,
        "questions": plan.questions,
        "lists": None if plan.lists is None else lists_json(plan.lists),
        "stages": [
            {
                "stage": one.stage.name,
                "kind": one.stage.kind,
                "state": one.state,
                "settings": one.stage.settings.model_dump(mode="json"),
                "steps": one.sizes.steps,
                "pairs": one.sizes.pairs,
                "seconds": plan.seconds.get(one.stage.name),
            }
            for one in plan.stages
        ],
        "seconds": round(sum(plan.seconds.values()), 1),
    }


def lists_json(lists: "GivenLists") -> dict[str, Any]:
    """The given training lists as plain values."""
    return {
        "folder": str(lists.folder),
        "fingerprint": lists.fingerprint,
        "lists": len(lists.lists),
        "scored": lists.lists.scored,
        **asdict(lists.sizes),
    }


def parse_changes(changes: list[str]) -> dict[str, Any]:
    """Parse changes such as ``["steps=200"]`` to ``{"steps": 200}``, with values in YAML.

    Raises:
        SettingsError: one has no ``=`` or no name, or its value is not a scalar.
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
    """Print the model's path, its dev measure, how many texts were truncated, and the next command."""
    if not trained:
        print_line(f"{output}: trained already; delete the folder to train anew.")
    print_line(f"model: {result.model} ({result.steps:,} steps in {result.seconds:,.0f} seconds)")
    if result.best_metric is not None:
        print_line(
            f"dev sample: MRR@10 {result.best_metric:.3f} at step {result.best_step:,}, whose model was kept"
        )
    else:
        print_line(
            "dev sample: none, so the model of the last step was kept; "
            "with a split 'dev' and evaluations above 0 the best one is kept"
        )
    questions, passages = result.truncated["query"], result.truncated["passage"]
    print_line(
        f"longer than the model reads, so cut: {questions:.1%} of questions, {passages:.1%} of passages"
    )
    print_line(f"Next: ernie-search index {source} --model {result.model} --output {output / 'index'}")
