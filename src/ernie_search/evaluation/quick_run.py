"""Run files of millions of lines, read by columns; whatever is unusual is left to the careful reader."""

import gzip
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import csv

from ernie_search.trec_lines import GZIP_MAGIC
from ernie_search.types import Run

BLOCK = 16 * 2**20
"""Bytes parsed at a time."""
NAMES = pa.dictionary(pa.int32(), pa.string())
COLUMNS = {
    "query": NAMES,
    "q0": NAMES,
    "passage": NAMES,
    "rank": pa.int64(),
    "score": pa.float64(),
    "tag": NAMES,
}


def read_quickly(path: Path) -> Run | None:
    """A run file's scores; ``None`` if any line is not plain enough to be sure of it.

    Only files in which every line has six columns with one and the same blank between them, whole-number
    ranks that agree with the scores, no NaN and no passage twice. A file that this returns is read in the
    same way, passage order included, by ``read_run_lines``; that reader also says what is wrong, and where.
    """
    try:
        with open(path, "rb") as raw:
            packed = raw.read(2) == GZIP_MAGIC
        with gzip.open(path, "rb") if packed else open(path, "rb") as head:
            delimiter = "\t" if b"\t" in head.readline(4096) else " "
        with pa.input_stream(str(path), compression="gzip" if packed else None) as stream:
            table = csv.read_csv(
                stream,
                read_options=csv.ReadOptions(column_names=list(COLUMNS), block_size=BLOCK),
                parse_options=csv.ParseOptions(delimiter=delimiter, quote_char=False, escape_char=False),
                convert_options=csv.ConvertOptions(
                    column_types=COLUMNS, null_values=[], strings_can_be_null=False
                ),
            ).unify_dictionaries()
    except (pa.ArrowException, OSError, EOFError):
        return None
    if not table.num_rows:
        return None
    columns = {name: table[name].combine_chunks() for name in COLUMNS}
    known = {
        name: column.dictionary.to_pylist() for name, column in columns.items() if table[name].type == NAMES
    }
    if any(not name or " " in name or "\t" in name for names in known.values() for name in names):
        return None  # two blanks in a row, or blanks of both kinds
    scores = columns["score"].to_numpy()
    queries, ranks = columns["query"].indices.to_numpy(), columns["rank"].to_numpy()
    starts = [0, *(np.flatnonzero(queries[1:] != queries[:-1]) + 1).tolist(), len(scores)]
    together = len(starts) - 1 == len(known["query"])
    order = slice(None) if together else np.argsort(queries, kind="stable")
    if np.isnan(scores).any() or _contradict(queries[order], ranks[order], scores[order]):
        return None
    passages = np.array(known["passage"], dtype=object)[columns["passage"].indices.to_numpy()].tolist()
    values = scores.tolist()
    run: Run = {}
    for start, stop in pairwise(starts):
        own = run.setdefault(known["query"][queries[start]], {})
        before = len(own)
        own.update(zip(passages[start:stop], values[start:stop], strict=True))
        if len(own) != before + stop - start:
            return None  # a passage twice
    return run


def _contradict(queries: NDArray[np.int32], ranks: NDArray[np.int64], scores: NDArray[np.float64]) -> bool:
    """Whether a line contradicts the one before it, of the same question; a question's lines together."""
    same, better, worse = queries[1:] == queries[:-1], scores[1:] > scores[:-1], scores[1:] < scores[:-1]
    wrong = (ranks[1:] > ranks[:-1]) & better | (ranks[1:] < ranks[:-1]) & worse
    return bool((same & wrong).any())
