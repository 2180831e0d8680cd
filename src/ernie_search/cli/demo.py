"""``ernie-search demo``: first search, training and evaluation, on installed packages' documentation."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ernie_search._util.files import write_json
from ernie_search.cli.output import console, loading
from ernie_search.cli.search import show_hits

if TYPE_CHECKING:
    from collections.abc import Callable

    from ernie_search.pipeline import DemoResult

EXAMPLE = "Example: ernie-search demo --minutes 5 --json demo.json"

MEASURES = ("MRR@10", "nDCG@10", "recall@1", "recall@10", "recall@100")


def demo(
    output: Annotated[Path, typer.Option(help="Folder for models, index and runs.")] = Path("runs/demo"),
    minutes: Annotated[
        float,
        typer.Option(
            min=0.5, help="Time that it may take; it chooses steps and corpus by this machine's speed."
        ),
    ] = 8.0,
    adapt: Annotated[
        float,
        typer.Option(
            min=0, help="Further minutes, for 'adapt' without labels on the same passages; 0: none."
        ),
    ] = 0.0,
    json_file: Annotated[Path | None, typer.Option("--json", help="Also write the table as JSON.")] = None,
) -> None:
    """Search the documentation of installed Python packages, untrained and trained, and measure it."""
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
    if adapt > 0:
        _add_adapted(result, adapt, say)
    say("measured: every figure below comes from the runs in this folder")
    out.print()
    title = (
        f"{len(result.rows[0].measured.query_ids):,} test questions over {result.plan['passages']:,} passages"
    )
    out.print(results_table(result.rows, MEASURES, baseline=BASELINE, title=title))
    for line in result.words:
        out.print(line, soft_wrap=True)
    if json_file is not None:
        write_json(json_file, as_json(result))
        out.print(f"written: {json_file}", soft_wrap=True)
    out.print(f"\nA search: {QUESTION}\n", soft_wrap=True)
    searcher = example_search(result)
    hits = searcher.search(QUESTION, 3)
    show_hits(hits, searcher.matches(QUESTION, hits))
    out.print("Next:", style="bold")
    for line in (
        f'ernie-search search "your question" --index {result.index}',
        f"ernie-search evaluate {result.collection} --index {result.index}",
        f"ernie-search serve {result.index}",
        "ernie-search index YOUR-FOLDER",
        "ernie-search adapt YOUR-FOLDER --output runs/adapted",
        "ernie-search train YOUR-BEIR-FOLDER --output runs/mine",
        "ernie-search --help",
    ):
        out.print(f"  {line}", soft_wrap=True)


def _add_adapted(result: "DemoResult", minutes: float, say: "Callable[[str], None]") -> None:
    """Adapt to the demo's passages, and add the rows and words of what came out."""
    from ernie_search.adaptation.demo import adapt_demo
    from ernie_search.cli.train import PipelineProgress

    found = adapt_demo(result, minutes, say=say, observer=PipelineProgress(console(stderr=True)))
    result.rows += found.rows
    result.words += found.words


def as_json(result: "DemoResult") -> dict[str, Any]:
    """The table and the plan as plain values."""
    from ernie_search.evaluation import results_json
    from ernie_search.pipeline.demo import BASELINE

    return {
        "plan": result.plan,
        "systems": results_json(result.rows, baseline=BASELINE),
        "words": result.words,
    }
