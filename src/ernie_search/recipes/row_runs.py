"""The run of a row: whose vectors search, or who re-ranks; written once, with what was measured of it."""

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ernie_search.data import Collection
from ernie_search.encoding import encode_collection
from ernie_search.errors import StorageError
from ernie_search.evaluation import Measured, evaluate_run, read_run, write_run
from ernie_search.files import fingerprint, read_json, sha256_file, write_json
from ernie_search.index import MemoryIndex
from ernie_search.model import JointEncoder
from ernie_search.search import Searcher
from ernie_search.search.rerank import rerank
from ernie_search.search.staged import Staged
from ernie_search.types import Passage, Qrels, Query, Run

DEPTH = 100
"""Passages a question in a row's run: what recall@50 and the ceilings need."""
MEASURES = ("MRR@10", "recall@50")


def measured_run(
    folder: Path, split: str, made_by: str, qrels: Qrels, make: Callable[[], Run], tag: str
) -> Measured:
    """The measures of ``folder/SPLIT.trec``, which is made only where it is not there.

    Args:
        folder: of the row.
        split: names the two files, ``SPLIT.trec`` and ``SPLIT.json``.
        made_by: fingerprint of all that the run follows from.
        qrels: what counts.
        make: searches, or re-ranks.
        tag: of the run file.

    Raises:
        StorageError: the run was altered since it was measured.
    """
    known = known_run(folder, split, made_by)
    if known is not None:
        return known
    run, result = _files(folder, split)
    result.unlink(missing_ok=True)
    write_run(run, make(), tag=tag)
    measured = evaluate_run(qrels, read_run(run), MEASURES)
    values_of: dict[str, Any] = {name: measured.of(name).tolist() for name in MEASURES}
    means = {name: measured.mean(name) for name in MEASURES}
    write_json(
        result,
        {
            "made_by": made_by,
            "run_sha256": sha256_file(run),
            "means": means,
            "missing": measured.missing,
            "queries": list(measured.query_ids),
            "values": values_of,
        },
    )
    return measured


def known_run(folder: Path, split: str, made_by: str) -> Measured | None:
    """The measures of ``folder/SPLIT.trec``; ``None`` where it is not there, or was made by something else.

    Raises:
        StorageError: the run was altered since it was measured.
    """
    run, result = _files(folder, split)
    if not (result.is_file() and run.is_file()):
        return None
    found = read_json(result)
    if found["made_by"] != made_by:
        return None
    if sha256_file(run) != found["run_sha256"]:
        raise StorageError(f"{run} was altered since it was measured; delete it to make it again")
    values = {name: np.asarray(found["values"][name]) for name in MEASURES}
    return Measured(tuple(found["queries"]), values, found["missing"])


def _files(folder: Path, split: str) -> tuple[Path, Path]:
    """The run, and what was measured of it."""
    return folder / f"{split}.trec", folder / f"{split}.json"


def dense_run(
    model: JointEncoder, collection: Collection, split: str, folder: Path, *, keep: bool = False
) -> Run:
    """Search the split's questions with the single vectors, whose shards are made in ``folder``.

    They are removed afterwards unless they are to be kept; kept ones are found again.
    """
    shards = folder / "shards"
    encode_collection(
        model, collection.passages(), shards, data_fingerprint=collection.fingerprint, with_tokens=False
    )
    run = Searcher(model, MemoryIndex.open(shards)).run(collection.queries(split), DEPTH, mode="dense")
    if not keep:
        shutil.rmtree(shards)
    return run


def late_rerank(
    model: JointEncoder, collection: Collection, questions: Iterable[Query], first: Run, folder: Path
) -> Run:
    """The first stage's passages of each question, ordered by the model's late interaction.

    Only the passages that ``first`` names are encoded.
    """
    asked = list(questions)
    wanted = {passage for query in asked for passage in first.get(query.id, {})}
    shards = folder / "shards"
    encode_collection(
        model,
        _only(collection, wanted),
        shards,
        data_fingerprint=fingerprint(collection.fingerprint, sorted(wanted)),
    )
    index = MemoryIndex.open(shards)
    tokens = model.encode_joint([query.text for query in asked], "query").tokens
    run: Run = {}
    for query, matrix in zip(asked, tokens, strict=True):
        scores = first.get(query.id, {})
        ids = sorted(scores, key=lambda one: (-scores[one], one))
        ranking = Staged(ids, ids, np.array([scores[one] for one in ids], dtype=np.float64))
        staged = rerank(index, matrix, ranking, DEPTH) if ids else ranking
        run[query.id] = dict(zip(staged.ids, staged.scores.tolist(), strict=True))
    shutil.rmtree(shards)
    return run


def _only(collection: Collection, wanted: set[str]) -> Iterable[Passage]:
    return (passage for passage in collection.passages() if passage.id in wanted)
