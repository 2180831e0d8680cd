"""``ernie-search adapt``: better search on one's own documents, without labels, and whether it is better."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ernie_search.cli.output import AsJson, console, loading, print_json, print_line
from ernie_search.cli.questions import (
    BaseUrl,
    LimitCost,
    LimitTokens,
    PriceIn,
    PriceOut,
    Prompt,
    Timeout,
)

if TYPE_CHECKING:
    from ernie_search.adaptation.run import Adapted, Begun

EXAMPLE = "Example: ernie-search adapt ./docs --output runs/adapted --minutes 30"


def adapt(
    source: Annotated[
        str,
        typer.Argument(
            help="A folder of documents, a BEIR folder, 'api:', ...; its labels in train and dev are used."
        ),
    ],
    output: Annotated[Path, typer.Option(help="Folder of all stages; the model is its 'model'.")],
    base: Annotated[
        str | None, typer.Option(help="Model to adapt: a directory, or a name on the hub.")
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(min=0.1, help="Time that it may take; it chooses questions and steps by this machine."),
    ] = None,
    questions: Annotated[
        str | None,
        typer.Option(
            help="Who makes questions: hub:MODEL, openai:MODEL, or a file of questions, which are then all. "
            "By default rules do."
        ),
    ] = None,
    own: Annotated[Path | None, typer.Option(help="A file of your own questions; others are added.")] = None,
    base_url: BaseUrl = None,
    prompt: Prompt = None,
    price_in: PriceIn = None,
    price_out: PriceOut = None,
    limit_cost: LimitCost = None,
    limit_tokens: LimitTokens = None,
    timeout: Timeout = None,
    recipe: Annotated[
        Path | None,
        typer.Option(help="A YAML file of settings, as the shipped adapt.yaml; --set changes it."),
    ] = None,
    labels: Annotated[
        bool | None, typer.Option(help="Use the source's labelled questions (default).")
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Change a setting: train.steps, questions.number, lists.length, ...; may be repeated.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the plan with estimated times, and stop.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Adapt a model to documents without labels, and say whether to use it. The same command resumes."""
    from ernie_search.cli.train import PipelineProgress, parse_changes

    with loading("the libraries"):
        from ernie_search.adaptation.run import adapt as run
        from ernie_search.adaptation.run import begin

    settings = parse_changes(changes or []) | ({} if labels is None else {"labels": labels})
    given: dict[str, Any] = {"base_url": base_url, "limit_tokens": limit_tokens, "limit_cost": limit_cost}
    given |= {"price_in": price_in, "price_out": price_out, "prompt": prompt, "timeout": timeout}
    endpoint = {name: value for name, value in given.items() if value is not None}
    asked: dict[str, Any] = {"base": base, "minutes": minutes, "settings": settings, "questions": questions}
    asked |= {"own": own, "endpoint": endpoint, "recipe": recipe}
    if dry_run:
        show_plan(begin(source, output, **asked, write=False), as_json)
        return
    found = run(source, output, **asked, observer=PipelineProgress(console(stderr=True)))
    if as_json:
        print_json(found.as_json())
    else:
        show(found, source)


def show_plan(begun: "Begun", as_json: bool) -> None:
    """Print what will be done, and about how long each stage takes."""
    from dataclasses import asdict

    from ernie_search.adaptation.plan import plan_table

    asked = begun.asked_of_generator()
    if as_json:
        plan = asdict(begun.plan) | {"states": begun.states(), "total": begun.plan.total}
        print_json(plan | {"generator": asked or None})
        return
    title = f"{begun.source}: {begun.plan.passages:,} passages"
    console().print(plan_table(begun.plan, begun.states(), title))
    if asked:
        print_line(f"{asked}; the time for that is not in the plan.")


def show(found: "Adapted", source: str) -> None:
    """Print the table, the verdict, what it cannot tell, and what to type next."""
    from ernie_search.adaptation.verdict import verdict_table

    if found.verdict.rows:
        console().print(verdict_table(found.verdict))
    print_line(found.sentence)
    for name, why in found.verdict.refused.items():
        print_line(f"refused: {name}: {why}")
    print_line(found.verdict.limits)
    if found.changed:
        print_line(
            f"{source} has changed since it was read here; adapt again into another folder to learn the rest"
        )
    print_line(f"model: {found.model} ({found.seconds:,.0f} seconds in all)")
    index = found.model.parent / "index"  # not the default place: the index of before may be there
    print_line(f"Next: ernie-search index {source} --model {found.model} --output {index}")
