"""Search a folder of documents: no labels, no training, no torch.

python examples/first_search.py docs "how do I rotate the logs"
"""

import sys
from collections.abc import Sequence

import ernie_search


def main(arguments: Sequence[str] | None = None) -> None:
    """Index a folder, or take up what changed in it since, and print where the best answers stand."""
    folder, question, *rest = sys.argv[1:] if arguments is None else arguments
    model = rest[0] if rest else None  # a directory or a hub name; the bundled one if none is named

    ernie_search.build_index(folder, model, "first-search")
    searcher = ernie_search.Searcher.open("first-search")
    for hit in searcher.search(question, k=3):
        print(f"{hit.score:.3f}  {hit.fields['path']}: {hit.text}")


if __name__ == "__main__":
    main()
