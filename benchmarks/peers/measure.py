"""From the vectors that a system wrote to its run files: exact search, or exact MaxSim of the first stage."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ernie_search.types import Run

DEPTH = 100
BLOCK = 256
"""Questions scored at a time."""


def dense_search(folder: Path, questions: Sequence[str], passages: Sequence[str]) -> Run:
    """The best passages of every question by the product of vectors.

    Args:
        folder: with ``dense-query.npy`` and ``dense-passage.npy``.
        questions, passages: ids, in the order of their vectors.
    """
    asked, stored = np.load(folder / "dense-query.npy"), np.load(folder / "dense-passage.npy")
    run: Run = {}
    for start in range(0, len(asked), BLOCK):
        scores = asked[start : start + BLOCK] @ stored.T
        count = min(DEPTH, scores.shape[1])
        top = np.argpartition(-scores, count - 1, axis=1)[:, :count]
        for row, query in enumerate(questions[start : start + BLOCK]):
            best = top[row]
            run[query] = {passages[place]: float(scores[row, place]) for place in best}
    return run


class Matrices:
    """Token vectors as a runner wrote them: text after text, float16, read from the disk as needed."""

    def __init__(self, path: Path) -> None:
        dim, *lengths = np.load(path.with_suffix(".npy")).tolist()
        self.ends = np.cumsum(lengths)
        self.starts = self.ends - lengths
        self.rows = np.memmap(path.with_suffix(".f16"), dtype=np.float16, mode="r").reshape(-1, dim)

    def __getitem__(self, place: int) -> NDArray[np.float32]:
        return np.asarray(self.rows[self.starts[place] : self.ends[place]], dtype=np.float32)


def late_rerank(folder: Path, questions: Sequence[str], passages: Sequence[str], first: Run) -> Run:
    """MaxSim of the first stage's passages: the sum over question tokens of the best passage token.

    Args:
        folder: with ``tokens-query`` and ``tokens-passage``.
        questions, passages: ids, in the order of their matrices.
        first: passages to score, by question.
    """
    asked, stored = Matrices(folder / "tokens-query"), Matrices(folder / "tokens-passage")
    place_of = {passage: place for place, passage in enumerate(passages)}
    run: Run = {}
    for number, query in enumerate(questions):
        ids = list(first.get(query, {}))
        if not ids:
            continue
        matrices = [stored[place_of[passage]] for passage in ids]
        starts = np.cumsum([0, *(len(matrix) for matrix in matrices[:-1])])
        scores = np.concatenate(matrices) @ asked[number].T
        sums = np.maximum.reduceat(scores, starts, axis=0).sum(axis=1)
        best = np.argsort(-sums, kind="stable")[:DEPTH]
        run[query] = {ids[place]: float(sums[place]) for place in best}
    return run


def bytes_a_passage(folder: Path, reading: str) -> float:
    """What the vectors of a passage take: float32 for a single one, float16 for those of tokens."""
    if reading == "dense":
        return float(4 * np.load(folder / "dense-passage.npy", mmap_mode="r").shape[1])
    dim, *lengths = np.load(folder / "tokens-passage.npy").tolist()
    return float(2 * dim * np.mean(lengths))


def remove_vectors(folder: Path) -> None:
    """They are larger than all else together, and a row is made again from its model."""
    for path in _vectors(folder):
        path.unlink()


def _vectors(folder: Path) -> Iterable[Path]:
    for pattern in ("dense-*.npy", "tokens-*.npy", "tokens-*.f16"):
        yield from folder.glob(pattern)
