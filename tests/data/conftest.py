"""Folders for the tests of the data room."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

MakeFolder = Callable[..., Path]


@pytest.fixture
def make_folder(tmp_path: Path) -> MakeFolder:
    """Write a small BEIR folder; each part can be given as rows, raw lines or bytes."""

    def lines_of(part: Any) -> bytes:
        if isinstance(part, bytes):
            return part
        rows = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in part]
        return "".join(f"{row}\n" for row in rows).encode()

    def make(corpus: Any = None, queries: Any = None, packed: bool = False, **qrels: Any) -> Path:
        folder = tmp_path / "small"
        (folder / "qrels").mkdir(parents=True)
        corpus = corpus or [
            {"_id": "p1", "title": "Tea", "text": "Tea is grown in Assam.", "metadata": {"page": 3}},
            {"_id": "p2", "title": "", "text": "Coffee came from Ethiopia."},
            {"_id": "p3", "text": "Cocoa is traded in London."},
        ]
        queries = queries or [
            {"_id": "q1", "text": "Where does tea grow?", "metadata": {"answers": ["Assam"]}},
            {"_id": "q2", "text": "Where is coffee from?"},
        ]
        for name, part in (("corpus", corpus), ("queries", queries)):
            data = lines_of(part)
            if packed:
                (folder / f"{name}.jsonl.gz").write_bytes(gzip.compress(data))
            else:
                (folder / f"{name}.jsonl").write_bytes(data)
        header = ["query-id\tcorpus-id\tscore"]
        for split, part in (qrels or {"dev": [*header, "q1\tp1\t2", "q1\tp3\t1", "q2\tp2\t1"]}).items():
            (folder / "qrels" / f"{split}.tsv").write_bytes(lines_of(part))
        return folder

    return make
