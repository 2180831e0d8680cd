"""What each stored form of a plain encoder's token matrices costs in bytes, and in MRR@10 over raw states.

A collection is encoded once, raw; every form is then made of the same vectors and ranks the same candidates,
the single vector's best hundred, by MaxSim alone. So a difference is the form's. The question's tokens are
weighted as the default weighs them. :mod:`benchmarks.zero_shot` runs it (``--parts tokens``).
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.figures import Figure
from benchmarks.token_compression import bytes_a_passage

FORMS = ((384, "fp32"), (128, "fp16"), (128, "int8"), (128, "2bit"), (96, "2bit"), (128, "1bit"))
"""Dimensions and codec; the first, whole, is what the others are compared with."""
BOUND = 0.01
"""Loss of MRR@10, relative, at which a form still counts."""
UNIT = "bytes a passage of 100 tokens"
SAMPLE, SAMPLED_PASSAGES = 250_000, 512
"""Tokens that a codec is trained on, and passages that the projection is fitted to, as in the product."""

Compared = Callable[[Any, Sequence[str]], dict[str, float]]
"""Mean of paired differences, its interval and p, given the questions' clusters."""


def raw_tokens(encoder: Any, collection: Any, folder: Path) -> tuple[list[str], Any, Any, Any]:
    """Ids, token vectors ``(T, d)`` fp16, their vocabulary ids and offsets; encoded once, kept in ``folder``.

    Raw vectors are kept as fp16, as all shards are; "fp32" computes with them in fp32.
    """
    from ernie_search.encoding import encode_collection
    from ernie_search.shards import read_shards

    folder.mkdir(parents=True, exist_ok=True)
    encode_collection(encoder, collection.passages(), folder, data_fingerprint=collection.fingerprint)
    shards = list(read_shards(folder, verify=False))
    ids = [one for shard in shards for one in shard.ids]
    counts = np.concatenate([np.diff(shard.offsets) for shard in shards])
    tokens = np.concatenate([shard.tokens for shard in shards])
    return ids, tokens, np.concatenate([shard.token_ids for shard in shards]), np.r_[0, np.cumsum(counts)]


def made(form: tuple[int, str], tokens: Any, numbers: Any, offsets: Any) -> tuple[Any, Any, list[bytes]]:
    """The matrix that projects (None leaves vectors as they are), the codec, and each passage's blob."""
    from ernie_search.index.codecs import train_codec
    from ernie_search.index.projection import pca
    from ernie_search.index.token_ids import pack_ids

    dim, name = form
    random = np.random.default_rng(0)
    matrix = None
    if dim < tokens.shape[1]:
        passages = random.permutation(len(offsets) - 1)[:SAMPLED_PASSAGES]
        rows = np.concatenate([tokens[offsets[one] : offsets[one + 1]] for one in passages])
        rows = rows.astype(np.float64)
        matrix = pca(rows.T @ rows, dim)
    drawn = np.sort(random.permutation(len(tokens))[:SAMPLE])
    sample = projected(tokens[drawn], matrix)
    codec = train_codec(name, dim, sample, 0, sample_ids=numbers[drawn])
    blobs: list[bytes] = []
    for first in range(0, len(offsets) - 1, 256):
        bounds = offsets[first : first + 257]
        parts = [projected(tokens[a:b], matrix) for a, b in itertools.pairwise(bounds)]
        ids = [pack_ids(numbers[a:b]) for a, b in itertools.pairwise(bounds)]
        blobs += codec.encode(parts, ids)
    return matrix, codec, blobs


def projected(rows: NDArray[Any], matrix: NDArray[np.float32] | None) -> NDArray[np.float32]:
    """Rows of length one, in the projection's dimensions."""
    found = np.asarray(rows, np.float32)
    if matrix is not None:
        found = found @ matrix
    length = np.linalg.norm(found, axis=1, keepdims=True)
    return np.asarray(found / np.maximum(length, 1e-9), np.float32)


def reciprocals(
    encoder: Any, searcher: Any, raw: tuple[list[str], Any, Any, Any], queries: list[Any], qrels: Any
) -> dict[tuple[int, str], NDArray[np.float64]]:
    """Reciprocal rank within ten of every question, by form."""
    from ernie_search.index.maxsim import maxsim_scores
    from ernie_search.index.token_ids import pack_ids

    ids, tokens, numbers, offsets = raw
    place = {one: row for row, one in enumerate(ids)}
    asked = encoder.encode_joint([query.text for query in queries], "query")
    weights = [searcher.weights_of(one)[:, None] for one in asked.token_ids]
    near = searcher.index.nearest(asked.dense, 100)
    packed = [pack_ids(numbers[a:b]) for a, b in itertools.pairwise(offsets)]
    found = {}
    for form in FORMS:
        matrix, codec, blobs = made(form, tokens, numbers, offsets)
        values = np.zeros(len(queries))
        for row, query in enumerate(queries):
            rows = [place[one] for one in near[row].ids]
            stored = codec.join(
                [blobs[one] for one in rows], [packed[one] for one in rows] if codec.needs_ids else ()
            )
            scores = maxsim_scores(projected(asked.tokens[row], matrix) * weights[row], stored)
            best = np.argsort(-scores, kind="stable")[:10].tolist()
            right = [rank for rank, one in enumerate(best, 1) if near[row].ids[one] in qrels[query.id]]
            values[row] = 1 / right[0] if right else 0.0
        found[form] = values
    return found


def figures(
    ranks: dict[str, dict[tuple[int, str], Any]], clusters: dict[str, list[str]], compared: Compared
) -> Iterator[Figure]:
    """Each form's bytes and losses, set by set; and the smallest form that loses less than ``BOUND``.

    Args:
        ranks: by set, what ``reciprocals`` gave.
        clusters: by set, of the questions.
        compared: see ``Compared``.
    """
    sizes = {form: bytes_a_passage(form[1], form[0]) for form in FORMS}
    worst: dict[tuple[int, str], float] = {}
    for form in FORMS:
        losses: dict[str, dict[str, float]] = {}
        for name, values in ranks.items():
            whole = values[FORMS[0]]
            found = compared((whole - values[form]) / max(whole.mean(), 1e-9), clusters[name])
            losses[name] = {key: round(one, 5) for key, one in found.items()}
            losses[name]["MRR@10"] = round(float(values[form].mean()), 4)
        worst[form] = max(one["mean"] for one in losses.values())
        settings = {"worst_loss": round(worst[form], 5), "loss": losses}
        peer = sizes[FORMS[0]]
        key = f"bytes_{form[1]}_d{form[0]}"
        yield Figure(key, sizes[form], UNIT, "fp32, raw", peer, sizes[form] / peer, settings)
    good = [form for form in FORMS if worst[form] < BOUND]
    best = min(good, key=sizes.__getitem__)
    settings = {"dim": best[0], "codec": best[1], "worst_loss": round(worst[best], 5), "sets": list(ranks)}
    yield Figure("token_bytes", sizes[best], UNIT, settings=settings)
