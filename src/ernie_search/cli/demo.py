"""``ernie-search demo``: the main job from end to end, on documentation that is already here."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ernie_search._util.files import write_json
from ernie_search.cli.output import console, loading
from ernie_search.cli.search import show_hits

if TYPE_CHECKING:
    from ernie_search.pipeline import DemoResult

EXAMPLE = "Example: ernie-search demo --minutes 5 --json demo.json"

MEASURES = ("MRR@10", "nDCG@10", "recall@1", "recall@10", "recall@100")


def demo(
    output: Annotated[Path, typer.Option(help="Folder for models, indexes and runs.")] = Path("runs/demo"),
    minutes: Annotated[
        float,
        typer.Option(min=0.5, help="What it may take; steps and corpus follow from this machine's speed."),
    ] = 8.0,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the table as JSON, too.")] = None,
) -> None:
    """Train on the documentation of installed Python packages, compare, search, and say what comes next."""
    with loading("the libraries"):
        from ernie_search.evaluation import results_table
        from ernie_search.pipeline import run_demo
    from ernie_search.pipeline.demo import BASELINE, example_search
    from ernie_search.pipeline.demo import EXAMPLE as QUESTION
    from ernie_search.training.progress import TrainProgress

    out = console()
    started = time.monotonic()

    def say(text: str) -> None:
        out.print(f"[{time.monotonic() - started:5.0f} s] {text}", soft_wrap=True)

    result = run_demo(output, minutes=minutes, say=say, observer=TrainProgress(console(stderr=True)))
    say("measured: each figure below was made here and now, by the runs in this folder")
    out.print()
    title = (
        f"{len(result.rows[0].measured.query_ids):,} test questions over {result.plan['passages']:,} passages"
    )
    out.print(results_table(result.rows, MEASURES, baseline=BASELINE, title=title))
    if json_file is not None:
        write_json(json_file, as_json(result))
        out.print(f"written: {json_file}", soft_wrap=True)
    out.print(f"\nA search: {QUESTION}\n", soft_wrap=True)
    searcher = example_search(result)
    hits = searcher.search(QUESTION, 3)
    show_hits(hits, searcher.matches(QUESTION, hits))
    out.print("What to type next:", style="bold")
    for line in (
        f'ernie-search search "your question" --index {result.index} --mode hybrid',
        f"ernie-search evaluate {result.collection} --index {result.index} --mode dense",
        f"ernie-search serve {result.index}",
        "ernie-search train YOUR-BEIR-FOLDER --output runs/mine",
        "ernie-search --help",
    ):
        out.print(f"  {line}", soft_wrap=True)


def as_json(result: "DemoResult") -> dict[str, Any]:
    """The table and the plan behind it, as plain values."""
    from ernie_search.evaluation import results_json
    from ernie_search.pipeline.demo import BASELINE

    return {"plan": result.plan, "systems": results_json(result.rows, baseline=BASELINE)}
