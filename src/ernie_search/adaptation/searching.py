"""The first passages of many questions by hybrid search, with every reading's score, kept block by block.

One search serves the filter, which looks at the first 20, and the lists that are learnt from. A block is
written whole or not at all, so that a search that was interrupted repeats one block at most.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ernie_search._util.files import atomic_write, fingerprint
from ernie_search.errors import DataError
from ernie_search.search import Searcher
from ernie_search.search.fusion import Staged
from ernie_search.search.readings import cosines, has_unit_vectors, word_shares
from ernie_search.search.rerank import mean_cosines
from ernie_search.types import Hit

READINGS = ("late", "bm25", "dense")
"""As hybrid search has them: mean cosine of raw tokens under question weights, share of BM25, cosine."""
SCHEMA = pa.schema(
    [
        pa.field("text", pa.string(), nullable=False),
        pa.field("ids", pa.list_(pa.string()), nullable=False),
        *(pa.field(name, pa.list_(pa.float32()), nullable=False) for name in READINGS),
    ]
)
MARK = b"ernie-search"


@dataclass(frozen=True, slots=True)
class Found:
    """The first passages of one question.

    Attributes:
        ids: best first.
        parts: what each reading scored, by its name; 0 where a question has no reading of that kind.
    """

    ids: tuple[str, ...]
    parts: Mapping[str, tuple[float, ...]]

    @staticmethod
    def of(staged: Staged) -> "Found":
        """What search found."""
        nothing = np.zeros(len(staged.passages))
        parts = {
            name: tuple(np.nan_to_num(staged.stages.get(name, nothing)).astype(np.float32).tolist())
            for name in READINGS
        }
        return Found(tuple(staged.passages), parts)


class SavedSearch:
    """Searches blocks of questions, each once: what a folder has of a block is read from there.

    Args:
        searcher: over an index with token matrices.
        folder: of the blocks.
        length: passages of each question that are kept.
        shown: of these, how many are returned with their texts.
    """

    def __init__(self, searcher: Searcher, folder: Path, *, length: int, shown: int) -> None:
        self.searcher, self.folder, self.length, self.shown = searcher, folder, length, shown
        self._number = 0

    def __call__(self, texts: Sequence[str]) -> list[list[Hit]]:
        """The first ``shown`` passages of each question, best first."""
        found = self.block(texts)
        wanted = list(dict.fromkeys(one for row in found for one in row.ids[: self.shown]))
        passages = {one.id: one for one in self.searcher.index.get(wanted)} if wanted else {}
        return [
            [
                Hit(one, 0.0, passages[one].text, passages[one].title, parent=passages[one].parent)
                for one in row.ids[: self.shown]
            ]
            for row in found
        ]

    def block(self, texts: Sequence[str]) -> list[Found]:
        """All that is kept of each question, of equal ones alike; the n-th call is the n-th block."""
        path = self.folder / f"{self._number:06d}.parquet"
        self._number += 1
        mark = fingerprint(list(texts), self.length, self.searcher.index.model_fingerprint)
        known = _read(path)
        if known is not None and known[0] == mark:
            return [known[1][text] for text in texts]
        found = [Found.of(one) for one in self._rank(texts)]
        self.folder.mkdir(parents=True, exist_ok=True)
        _write(path, mark, texts, found)
        return found

    def _rank(self, texts: Sequence[str]) -> list[Staged]:
        return self.searcher.rank(
            list(texts), self.length, mode="hybrid", candidates=self.length, by_parent=False
        )


def read_found(folder: Path) -> dict[str, Found]:
    """What a folder of blocks has of each question, by its text.

    Raises:
        DataError: a block cannot be read.
    """
    found: dict[str, Found] = {}
    for path in sorted(folder.glob("*.parquet")):
        known = _read(path)
        if known is None:
            raise DataError(f"{path}: not readable; delete it and run the same command again")
        found |= known[1]
    return found


def parts_of(searcher: Searcher, text: str, ids: Sequence[str]) -> dict[str, NDArray[np.float32]]:
    """What each reading scores for given passages ``(n,)``, on the scales of a search."""
    index, names = searcher.index, list(ids)
    encoding = searcher.model.encode_joint([text], "query")
    weights = searcher.weights_of(encoding.token_ids[0])
    late = mean_cosines(index.late_scores(encoding.tokens[0] * weights[:, None], names))
    words = word_shares(index, text, names)
    unit = has_unit_vectors(index)
    dense = cosines(index, encoding.dense[0], names, unit_vectors=unit)
    parts = {"late": late, "bm25": np.zeros(len(names)) if words is None else words, "dense": dense}
    return {name: values.astype(np.float32) for name, values in parts.items()}


def _write(path: Path, mark: str, texts: Sequence[str], found: Sequence[Found]) -> None:
    columns = [
        pa.array(list(texts), pa.string()),
        pa.array([list(one.ids) for one in found], SCHEMA.field("ids").type),
        *(pa.array([list(one.parts[name]) for one in found], SCHEMA.field(name).type) for name in READINGS),
    ]
    table = pa.Table.from_arrays(columns, schema=SCHEMA.with_metadata({MARK: mark.encode()}))
    with atomic_write(path, "wb") as handle:
        pq.write_table(table, handle, compression="zstd", write_statistics=False)


def _read(path: Path) -> tuple[str, dict[str, Found]] | None:
    """The mark of a block and what it holds by text; None where it is not there, or not whole."""
    if not path.is_file():
        return None
    try:
        table = pq.read_table(path)
        mark = (table.schema.metadata or {})[MARK].decode()
        columns = [table[name].to_pylist() for name in SCHEMA.names]
    except (pa.ArrowException, KeyError, OSError, ValueError):
        return None
    rows = zip(*columns, strict=True)
    return mark, {
        text: Found(tuple(ids), {name: tuple(part) for name, part in zip(READINGS, parts, strict=True)})
        for text, ids, *parts in rows
    }
