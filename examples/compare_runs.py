"""Evaluate two runs and compare them: single vectors alone, and re-ranked by late interaction.

    python examples/compare_runs.py my-data --index runs/mine/index --output runs/compared

Both runs are written as TREC files; `ernie-search compare` and `ernie-search report` read them, and any other
system's runs too.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import ernie_search
from ernie_search.evaluation import compare, evaluate_run, write_run

MEASURES = ("MRR@10", "nDCG@10", "recall@10")


def main(arguments: Sequence[str] | None = None) -> None:
    """Search, write both runs, and print means, difference, its interval and p."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", help="a BEIR folder or another collection")
    parser.add_argument("--index", required=True, help="of that collection")
    parser.add_argument("--output", type=Path, required=True, help="folder for dense.trec and late.trec")
    parser.add_argument("--split", default="test")
    parser.add_argument("--model", help="the index's model, if it was moved")
    given = parser.parse_args(arguments)

    collection = ernie_search.open_collection(given.source)
    questions, qrels = list(collection.queries(given.split)), collection.qrels(given.split)
    searcher = ernie_search.Searcher.open(given.index, given.model)

    given.output.mkdir(parents=True, exist_ok=True)
    measured = {}
    for mode in ("dense", "late"):
        run = searcher.run(questions, k=100, mode=mode)
        write_run(given.output / f"{mode}.trec", run, tag=mode)
        measured[mode] = evaluate_run(qrels, run, MEASURES)

    for measure in MEASURES:
        found = compare(measured["late"], measured["dense"], measure)
        means = f"{measured['dense'].mean(measure):.3f} to {measured['late'].mean(measure):.3f}"
        interval = f"95 % interval {found.low:+.3f} to {found.high:+.3f}"
        print(f"{measure}: {means}, {found.difference:+.3f} ({interval}), p = {found.p:.3f}")


if __name__ == "__main__":
    main()
