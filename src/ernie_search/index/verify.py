"""Whether an index still holds what was put into it: files, counts, rows, and the model's own vectors."""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ernie_search.encoder import Encoder
from ernie_search.errors import ErnieSearchError
from ernie_search.index.protocol import Index
from ernie_search.index.spec import check_same_model
from ernie_search.index.token_ids import id_width

LEAST_COSINE = 0.999
"""Between a stored vector and the model's of today. bf16 and fp32 of one text agree better than
this, two texts or two models far worse."""


@dataclass(slots=True)
class Verification:
    """What was looked at, and what is wrong.

    Attributes:
        passages, tokens: read and checked.
        compared: passages that the model encoded again.
        problems: a line each; empty means that all is well.
    """

    passages: int = 0
    tokens: int = 0
    compared: int = 0
    problems: list[str] = field(default_factory=list)


def verify(index: Index, model: Encoder | None = None, sample: int = 32, seed: int = 0) -> Verification:
    """Check every checksum, count and row of an index; with a model, that it makes the same vectors still.

    Args:
        index: opened with ``check=False`` where it may be damaged.
        model: encodes a sample of the stored texts again; None leaves that out.
        sample: how many.
        seed: of the choice.

    Raises:
        IndexStateError: ``model`` is not the one that made the index.
    """
    if model is not None:
        check_same_model(index.spec, model.name, model.fingerprint)
    found = Verification(problems=index.damage())
    if found.problems:
        return found  # what broken files say of their rows is not worth reading
    try:
        _rows(index, found)
        if model is not None and found.passages and not found.problems:
            _sample(index, model, sample, seed, found)
    except ErnieSearchError as error:
        found.problems.append(str(error))
    return found


def _rows(index: Index, found: Verification) -> None:
    ids: Counter[int] = Counter()
    columns = ["id", "dense", "token_count", *(["tokens", "token_ids"] if index.has_tokens else [])]
    for batch in index.scan(columns):
        names = batch.column("id").to_pylist()
        ids.update(hash(one) for one in names)
        dense = np.asarray(batch.column("dense").flatten(), np.float32).reshape(-1, index.spec.dim)
        for row in np.flatnonzero(~np.isfinite(dense).all(axis=1)):
            found.problems.append(f"passage {names[row]!r}: its vector holds NaN or infinity")
        counts: NDArray[np.int32] = batch.column("token_count").to_numpy()
        if index.codec is not None:
            blobs, numbers = batch.column("tokens").to_pylist(), batch.column("token_ids").to_pylist()
            for one, raw, count in zip(names, numbers, counts.tolist(), strict=True):
                try:
                    id_width(raw, count)
                except ErnieSearchError as error:
                    found.problems.append(f"passage {one!r}: {error}")
            held = np.diff(index.codec.join(blobs, numbers).offsets)
            for place in np.flatnonzero(held != counts):
                found.problems.append(
                    f"passage {names[place]!r}: {held[place]} token vectors, {counts[place]} noted"
                )
        found.passages += batch.num_rows
        found.tokens += int(counts.sum())
    repeated = sum(count - 1 for count in ids.values())
    if repeated:
        found.problems.append(f"{repeated} passages are there twice")
    stats = index.stats()
    if (stats.passages, stats.tokens) != (found.passages, found.tokens):
        found.problems.append(
            f"{found.passages} passages and {found.tokens} token vectors are there, "
            f"{stats.passages} and {stats.tokens} are noted"
        )


def _sample(index: Index, model: Encoder, sample: int, seed: int, found: Verification) -> None:
    everything = sorted(one for batch in index.scan(["id"]) for one in batch.column("id").to_pylist())
    chosen = np.random.default_rng(seed).choice(len(everything), min(sample, len(everything)), replace=False)
    ids = [everything[row] for row in sorted(chosen.tolist())]
    stored = np.stack(index.fetch(ids, ["dense"])["dense"].to_pylist()).astype(np.float64)
    texts = [passage.full_text for passage in index.get(ids)]
    made = np.asarray(model.encode_joint(texts, "passage", tokens=False).dense, np.float64)
    lengths = np.linalg.norm(stored, axis=1) * np.linalg.norm(made, axis=1)
    cosines = (stored * made).sum(axis=1) / np.maximum(lengths, 1e-12)
    for row, one in enumerate(ids):
        if cosines[row] < LEAST_COSINE and lengths[row] > 0:
            found.problems.append(
                f"passage {one!r}: the model makes another vector of it now (cosine {cosines[row]:.4f})"
            )
    found.compared = len(ids)
