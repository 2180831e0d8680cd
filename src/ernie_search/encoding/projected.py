"""A plain encoder whose token vectors are projected to fewer dimensions, and how the projection is fitted."""

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ernie_search.encoder import Encoder, EncoderKind, Encoding
from ernie_search.encoding.executors import Executor, LocalExecutor
from ernie_search.errors import DataError, IndexStateError, ModelError, SettingsError
from ernie_search.index import Index
from ernie_search.index.projection import PROJECTION, Projection, pca
from ernie_search.types import Passage, Task

DEFAULT_TOKEN_DIM = 128
"""Dimensions that a plain encoder's token vectors are projected to. covidqa, the bundled model, raw states of
384: MRR@10 is within noise of all of them."""

SAMPLE_PASSAGES = 512
"""Passages that a projection is fitted to. On covidqa 128, 256, 512 and 1,000 gave the same MRR@10."""

FEWEST_PASSAGES, SHARE = 96, 4
"""Encoding the sample is work beside that of the collection: of a small one a quarter has to do."""

BLOCK = 64
"""Sampled passages that are encoded together."""


@dataclass(slots=True)
class Projected:
    """What a ``ProjectedEncoder`` made of N texts; see ``Encoding``."""

    dense: NDArray[np.float32]
    tokens: list[NDArray[np.float32]] = field(default_factory=list)
    token_ids: list[NDArray[np.int32]] = field(default_factory=list)
    truncated: int = 0


@dataclass(frozen=True, slots=True)
class Fit:
    """What to fit a new projection to: ``dim`` dimensions, and what opens a reading of all passages."""

    dim: int
    passages: Callable[[], Iterable[Passage]]


class ProjectedEncoder:
    """An encoder as it is, but for its token matrices, which are projected.

    It has the fingerprint of its encoder: which projection belongs to an index is the index's to say.
    """

    def __init__(self, encoder: Encoder, projection: Projection) -> None:
        """Join them.

        Raises:
            ModelError: the projection is for token vectors of another length.
        """
        if encoder.token_dim != projection.dim_in:
            raise ModelError(
                f"{encoder.name}: its token vectors have {encoder.token_dim} dimensions, the index's "
                f"projection takes {projection.dim_in}; use the model that made the index"
            )
        self.encoder, self.projection = encoder, projection

    @property
    def kind(self) -> EncoderKind:
        """The encoder's."""
        return self.encoder.kind

    @property
    def name(self) -> str:
        """The encoder's."""
        return self.encoder.name

    @property
    def fingerprint(self) -> str:
        """The encoder's."""
        return self.encoder.fingerprint

    @property
    def token_dim(self) -> int:
        """What the projection leaves."""
        return self.projection.dim_out

    def prefers_bf16(self) -> bool:
        """See ``Encoder``."""
        return self.encoder.prefers_bf16()

    def to(self, device: str) -> "ProjectedEncoder":
        """The same on another device, for encoders in torch."""
        return ProjectedEncoder(self.encoder.to(device), self.projection)  # type: ignore[attr-defined]

    def __getattr__(self, name: str) -> Any:
        """All else is the encoder's."""
        if name in ("encoder", "projection"):  # while it is unpickled
            raise AttributeError(name)
        return getattr(self.encoder, name)

    def encode_joint(
        self,
        texts: Sequence[str],
        task: Task,
        *,
        tokens: bool = True,
        token_budget: int | None = None,
        progress: Callable[[int], None] | None = None,
        bf16: bool | None = None,
    ) -> Projected:
        """See ``Encoder``."""
        made: Encoding = self.encoder.encode_joint(
            texts, task, tokens=tokens, token_budget=token_budget, progress=progress, bf16=bf16
        )
        matrices = [self.projection(matrix) for matrix in made.tokens]
        return Projected(made.dense, matrices, list(made.token_ids), made.truncated)


def projected_for(index: Index, encoder: Encoder) -> Encoder:
    """``encoder`` as an index stores its token matrices: with the index's projection, where it has one.

    Raises:
        ModelError: its token vectors have neither the index's length nor that which the projection takes.
    """
    projection = index.projection
    if isinstance(encoder, ProjectedEncoder) and (
        projection is None or projection.digest != encoder.projection.digest
    ):  # wrapped for an earlier build of the index
        encoder = encoder.encoder
    if projection is None or encoder.token_dim == projection.dim_out:
        return encoder
    return ProjectedEncoder(encoder, projection)


def fit_projection(
    encoder: Encoder,
    passages: Iterable[Passage],
    dim: int,
    *,
    data_fingerprint: str,
    executor: Executor | None = None,
    bf16: bool | None = None,
    sample: int = SAMPLE_PASSAGES,
    seed: int = 0,
) -> Projection:
    """The PCA of the token vectors of a sample of passages.

    Args:
        encoder: whose token vectors are to be projected.
        passages: the collection, read once; its order and the seed decide the sample.
        dim: dimensions to keep.
        data_fingerprint: of the collection.
        executor: where the sample is encoded; by default in this process.
        bf16: in which precision; see ``Encoder``.
        sample: passages to draw; fewer of a small collection.
        seed: of the draw.

    Raises:
        DataError: no passage, or none with a token.
        SettingsError: see ``pca``.
        ModelError: token vectors that are not finite.
    """
    drawn, enough = _drawn(passages, sample, seed)
    texts = iter(draw(drawn, enough, seed))
    blocks: Iterator[list[str]] = iter(lambda: list(islice(texts, BLOCK)), [])
    jobs = ((f"sample {number:05d}", _Sample(texts, bf16), len(texts)) for number, texts in enumerate(blocks))
    # Workers answer in any order; summed in one order, the result is the same to the last bit.
    found = dict((executor or LocalExecutor()).run(encoder, token_moments, jobs))
    total = np.zeros((encoder.token_dim, encoder.token_dim), np.float64)
    for _, moments in sorted(found.items()):
        total += moments
    if not np.isfinite(total).all():
        raise ModelError(f"{encoder.name}: token vectors of the sample hold NaN or infinity; check the model")
    if not total.any():
        raise DataError(
            "no passage with a token among those drawn to fit the projection; check the collection"
        )
    return Projection(pca(total, dim), encoder.fingerprint, data_fingerprint)


def _drawn(passages: Iterable[Passage], sample: int, seed: int) -> tuple[list[str], int]:
    """Texts drawn from a collection, and how many of them are enough for its size."""
    seen = 0

    def texts() -> Iterator[str]:
        nonlocal seen
        for passage in passages:
            seen += 1
            yield passage.full_text

    found = draw(texts(), sample, seed)
    return found, min(sample, max(FEWEST_PASSAGES, seen // SHARE))


@dataclass(frozen=True, slots=True)
class _Sample:
    texts: list[str]
    bf16: bool | None


def token_moments(
    model: Encoder, job: _Sample, progress: Callable[[int], None] | None = None
) -> NDArray[np.float64]:
    """``(d, d)``: the sum of ``x x^T`` over the token vectors x of the job's texts, in float64."""
    encoding = model.encode_joint(job.texts, "passage", bf16=job.bf16)
    total = np.zeros((model.token_dim, model.token_dim), np.float64)
    for matrix in encoding.tokens:
        rows = np.asarray(matrix, np.float64)
        total += rows.T @ rows
    return total


Item = TypeVar("Item")


def draw(items: Iterable[Item], count: int, seed: int) -> list[Item]:
    """``count`` of the items, each with the same chance, in their order; all of them if there are no more.

    Reads the items once and holds ``count`` of them (reservoir sampling: Vitter 1985, algorithm R).
    """
    chance = random.Random(seed)
    held: list[tuple[int, Item]] = []
    for place, item in enumerate(items):
        if place < count:
            held.append((place, item))
        elif (slot := chance.randrange(place + 1)) < count:
            held[slot] = (place, item)
    return [item for _, item in sorted(held, key=lambda pair: pair[0])]


def settled_projection(
    folder: Path,
    encoder: Encoder,
    data_fingerprint: str,
    noted: str | None,
    wanted: Projection | Fit,
    *,
    executor: Executor | None = None,
    bf16: bool | None = None,
) -> Projection:
    """The projection of a folder of shards: the one that lies there, else ``wanted``, which is kept there.

    Args:
        folder: of shards, held by the caller.
        encoder, data_fingerprint: whose shards they are.
        noted: digest in the folder's manifest; None where there is no manifest yet.
        wanted: an index's own, or what to fit one to.
        executor, bf16: for the fit; see ``fit_projection``.

    Raises:
        IndexStateError: the folder's own is missing or damaged, or not the index's.
    """
    remedy = f"delete {folder} and index again"
    if noted is not None:
        found = Projection.read(folder)
        if found is None or found.digest != noted:
            state = "is missing" if found is None else "is not the one that its shards were made with"
            raise IndexStateError(f"{folder / PROJECTION}: {state}; {remedy}")
        if isinstance(wanted, Projection) and wanted.digest != noted:
            raise IndexStateError(
                f"{folder}: its token vectors have another projection than the index's; {remedy}"
            )
        return found
    if isinstance(wanted, Projection):
        found = wanted
    else:
        try:
            found = Projection.read(folder)
        except IndexStateError:
            found = None
        # A call that was killed before its first shard leaves one; of this model and data it is the same.
        made_for = (encoder.fingerprint, data_fingerprint, encoder.token_dim, wanted.dim)
        if found is not None and (found.model, found.data, found.dim_in, found.dim_out) == made_for:
            return found
        found = fit_projection(
            encoder,
            wanted.passages(),
            wanted.dim,
            data_fingerprint=data_fingerprint,
            executor=executor,
            bf16=bf16,
        )
    found.write(folder)
    return found


def held_token_dim(encoder: Encoder, wanted: int | None) -> int:
    """Dimensions of the token vectors that an index holds: of a plain encoder ``wanted`` or the default.

    Raises:
        SettingsError: another number than the model has, of a model that was trained for its own; or more.
    """
    held = encoder.token_dim
    if wanted is None:
        return min(DEFAULT_TOKEN_DIM, held) if encoder.kind == "plain" else held
    if wanted > held:
        raise SettingsError(f"token_dim={wanted}: the token vectors of {encoder.name} have {held} dimensions")
    if wanted < held and encoder.kind != "plain":
        raise SettingsError(
            f"token_dim={wanted}: {encoder.name} was trained to {held} dimensions a token; leave it out"
        )
    return wanted
