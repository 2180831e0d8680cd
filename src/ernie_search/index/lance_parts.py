"""Pieces of the LanceDB store: its token codec, its indexes, and the frame around every change."""

import io
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ernie_search.files import atomic_write
from ernie_search.index.codecs import TokenCodec, codec
from ernie_search.index.lance_files import CODEC
from ernie_search.index.lance_reader import ann_for, lance_errors, partitions_for
from ernie_search.index.spec import IndexSpec

if TYPE_CHECKING:
    from ernie_search.index.lance import LanceStore

NEVER = timedelta(days=36_500)
"""LanceDB prunes by age whenever it optimizes; the version that a commit names may be of any age."""
SMALLEST_TRAINED = 256
"""LanceDB trains product codes on at least so many vectors."""
COMMITS_HELD = 32
"""A writer opens its table anew after so many commits: LanceDB keeps something of every version, 80 kB
of the smallest, up to gigabytes."""
MARGIN_S = 1.0
"""A clock read just before a version is written may disagree with the file system's by less than this."""

GRAPH_M, GRAPH_EF = 20, 150
"""Neighbours in a graph, LanceDB's default; candidates while it is built, the lower end of what it advises:
half the time of its default of 300."""


def write_codec(folder: Path, made: TokenCodec) -> None:
    """Keep what a trained codec needs to read its blobs again; most need nothing."""
    if made.state():
        with atomic_write(folder / CODEC, "wb") as handle:
            np.savez(handle, **made.state())  # type: ignore[arg-type]


def read_codec(folder: Path, spec: IndexSpec) -> TokenCodec | None:
    """The codec of a store's token matrices; None where it holds none."""
    if not spec.with_tokens:
        return None
    path = folder / CODEC
    if not path.is_file():
        return codec(spec.tokens, spec.token_dim)
    with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
        return codec(spec.tokens, spec.token_dim, {name: arrays[name] for name in arrays.files})


def word_index() -> Any:
    """BM25 over a column of words that are already found, lowered and separated: nothing is dropped again."""
    from lancedb.index import FTS

    return FTS(
        base_tokenizer="whitespace",
        stem=False,
        remove_stop_words=False,
        ascii_folding=False,
        lower_case=False,
        max_token_length=None,
    )


def vector_index(spec: IndexSpec, passages: int) -> Any:
    """The approximate index that the spec asks for."""
    from lancedb.index import HnswSq, IvfPq, IvfRq, IvfSq

    partitions = partitions_for(spec, passages)
    if spec.ann == "ivf_hnsw_sq":
        return HnswSq(distance_type="dot", num_partitions=partitions, m=GRAPH_M, ef_construction=GRAPH_EF)
    kind = {"ivf_rq": IvfRq, "ivf_sq": IvfSq, "ivf_pq": IvfPq}[ann_for(spec)]
    return kind(distance_type="dot", num_partitions=partitions)


class Change:
    """A change of a store's table: errors become one line, and what was read before is forgotten."""

    def __init__(self, store: "LanceStore") -> None:
        """Around the next statement."""
        self._store = store
        self._errors = lance_errors(store.folder)

    def __enter__(self) -> None:
        """Note the time, for pruning by age."""
        self._store.written_at = time.time() - MARGIN_S
        self._errors.__enter__()

    def __exit__(self, *exception: Any) -> None:
        """Begin to read anew."""
        store = self._store
        if exception[0] is None:
            store.reread()
        else:
            store.forget()
        self._errors.__exit__(*exception)
