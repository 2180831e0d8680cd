"""The one interface: a double of it is enough for search, and nobody asks which backend is behind it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from ernie_search.errors import IndexStateError, SettingsError
from ernie_search.index import Index, IndexStats, Ranking
from ernie_search.index.codecs import codec
from ernie_search.index.rows import in_order, to_rows
from ernie_search.index.topk import top_ids
from ernie_search.search import Searcher
from index_helpers import MODEL, batch, passage, spec

SOURCE = Path(__file__).resolve().parents[2] / "src" / "ernie_search"
BACKENDS = {"LanceIndex", "MemoryIndex", "QdrantIndex"}


class Double(Index):
    """What a test needs: one table, read anew each time."""

    capabilities = frozenset()

    def __init__(self, rows: pa.Table) -> None:
        super().__init__(spec(), codec("fp16", MODEL.token_dim), mode="r")
        self.rows = rows

    def upsert(self, batch: pa.RecordBatch) -> int:
        raise SettingsError("read-only")

    def delete(self, ids=None, where=None) -> int:
        raise SettingsError("read-only")

    def commit(self, origin=None) -> None:
        pass

    def optimize(self) -> None:
        pass

    def __len__(self) -> int:
        return int(self.rows.num_rows)

    def nearest(self, dense, k=10, *, where=None, exact=False) -> list[Ranking]:
        vectors = np.stack(self.rows["dense"].to_pylist())
        return [top_ids(self.rows["id"].to_pylist(), vectors @ one, k) for one in dense]

    def bm25(self, texts, k=10, *, where=None) -> list[Ranking]:
        raise SettingsError("no words")

    def fetch(self, ids, columns=None) -> pa.Table:
        return in_order(self.rows, ids, self.columns(columns), len(self))

    def scan(self, columns, where=None) -> Iterator[pa.RecordBatch]:
        yield from self.rows.select(self.columns(columns)).to_batches()

    def count(self, where=None) -> int:
        return len(self)

    def stats(self) -> IndexStats:
        return IndexStats("double", len(self), 16, 0, 16, 0, self.model_name, self.model_fingerprint)

    def damage(self) -> list[str]:
        return []


@pytest.fixture
def double() -> Double:
    passages = [passage(number) for number in range(12)]
    return Double(to_rows(batch(passages), spec(), codec("fp16", MODEL.token_dim)))


def test_a_double_is_searched(double):
    searcher = Searcher.open(double, MODEL)
    for mode in ("dense", "late"):
        hits = searcher.search("common word7 group0 pair3", 3, mode=mode)
        assert hits[0].id == "p007"
        assert searcher.matches("word7", hits)
    assert (double.writable, double.origin, double.model_folder) == (False, None, None)
    double.check_files()
    for refused in (lambda: searcher.search("x", mode="hybrid"), double.newest):
        with pytest.raises(SettingsError):
            refused()
    with pytest.raises(IndexStateError, match="this index: the model of this index, stub"):
        Searcher.open(double)


def probes(source: Path) -> list[str]:
    """Places outside the room that look at an index's class, or ask whether it has an attribute."""
    found = []
    for path in sorted(source.rglob("*.py")):
        if path.is_relative_to(source / "index"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                names = {
                    one.id for part in node.args[1:] for one in ast.walk(part) if isinstance(one, ast.Name)
                }
                strings = {one.value for one in node.args if isinstance(one, ast.Constant)}
                looks = node.func.id == "isinstance" and names & (BACKENDS | {"Index"})
                if looks or (node.func.id in ("getattr", "hasattr") and "capabilities" in strings):
                    found.append(f"{path.relative_to(source)}:{node.lineno}")
    return found


def test_nobody_asks_which_backend_it_is(tmp_path):
    assert probes(SOURCE) == []
    lines = ["isinstance(x, Index)", "isinstance(x, str | MemoryIndex)", 'getattr(x, "capabilities", ())']
    (tmp_path / "bad.py").write_text("\n".join(lines))
    assert len(probes(tmp_path)) == 3
