"""Pieces of the LanceDB store: its token codec and its indexes."""

import io
from pathlib import Path
from typing import Any

import numpy as np

from ernie_search.files import atomic_write
from ernie_search.index.codecs import codec
from ernie_search.index.lance_files import CODEC
from ernie_search.index.lance_reader import ann_for, partitions_for
from ernie_search.index.spec import IndexSpec
from ernie_search.index.stored_tokens import TokenCodec

SMALLEST_TRAINED = 256
"""LanceDB trains product codes on at least so many vectors."""
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
