"""This project: the recipe's last training, on the same lists; or a model that it made before.

Late interaction weighs the question's tokens as the index does by default: by the root of their idf.
"""

from pathlib import Path
from typing import Any

import numpy as np
from common import Trained, main, training

from ernie_search.data import MemoryCollection, open_collection
from ernie_search.mining.lists import Lists
from ernie_search.model import load
from ernie_search.training import train
from ernie_search.training.beginning import token_idf
from ernie_search.training.settings import parse_settings
from ernie_search.training.teachers import StepTeachers


def run(job: dict[str, Any]) -> Trained:
    """Train from the warm-up, or open ``trained``, whose seconds and memory are then not measured."""
    options = job["options"]
    seconds, peak = None, None
    collection = open_collection(options["collection"])
    if options["small"]:
        from benchmarks.small_squad import small_squad

        small: MemoryCollection = small_squad(collection, *options["small"])
        collection = small
    if options["trained"]:
        model = load(Path(options["trained"]))
    else:
        settings = parse_settings(options["settings"])
        with training() as measured:
            result = train(
                collection,
                Path(job["folder"]) / "train",
                settings,
                base=job["start"],
                lists=Lists.open(Path(options["lists"])),
                teachers=StepTeachers(),
            )
        seconds, peak = measured.seconds, measured.peak_mb
        model = load(result.last)
    weights = np.sqrt(token_idf(model, collection))

    def encode(texts: list[str], task: str) -> Any:
        found = model.encode_joint(texts, task)
        if task != "query":
            return found.dense, found.tokens
        pairs = zip(found.tokens, found.token_ids, strict=True)
        return found.dense, [matrix * weights[ids][:, None] for matrix, ids in pairs]

    told = {name: value for name, value in options["settings"].items() if name.endswith("_weight") and value}
    told["question_weights"] = "root"
    return Trained(seconds, peak, ("ernie-search", "sentence-transformers"), told, joint=encode)


if __name__ == "__main__":
    main(run)
