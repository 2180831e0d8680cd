"""Encoded shards: the Parquet files between encoding and index, and the manifest beside them.

A folder holds ``shard-00000.parquet``, ``shard-00001.parquet``, ... and ``manifest.json``. One row is one
passage; token matrices are fp16 bytes, row after row, so that they are read without a copy per passage.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ernie_search._util.files import MANIFEST, read_json, sha256_file, write_json
from ernie_search._util.settings import read_record
from ernie_search.encoder import EncoderKind
from ernie_search.errors import IndexStateError, StorageError

FORMAT = 1
"""Goes up when a folder written by an older version can no longer be read."""

SHARD_NAME = re.compile(r"shard-[0-9]{5,}\.parquet")
PIECE = ("parent", "start")
"""Columns that are null for a passage which is no piece of a document."""

PRECISIONS = ("bf16", "fp32", "int8", "")
"""What a manifest may say of the precision; "" if it is not known."""


@dataclass(frozen=True, slots=True)
class ShardInfo:
    """What the manifest says of one shard: enough to check it, and to skip its passages on resume."""

    file: str
    rows: int
    tokens: int
    first_id: str
    last_id: str
    truncated: int
    sha256: str


@dataclass(slots=True)
class Manifest:
    """What a folder of shards holds, and which model and data made it.

    Attributes:
        model_name: what messages call the model.
        model_fingerprint: of the model that made the vectors; search refuses any other.
        model_path: its directory as seen from this folder, so that both can move together; "" if unknown.
        data_fingerprint: of the collection.
        dim: ``D`` of the single vectors; 0 until the first shard is there.
        token_dim: ``d`` of the token vectors.
        with_tokens: whether token matrices were stored.
        shard_size: passages per shard; the last one may hold fewer.
        shards: the finished shards, in order.
        complete: all passages are there.
        seconds: spent encoding, interrupted attempts included.
        precision: what the passages were encoded in, decided when the folder was begun: ``bf16``, ``fp32`` or
            ``int8``; "" if unknown.
        model_ref: how to find a model that is in no directory of the user's: ``org/name@commit``, or the
            bundled base's name; "" otherwise.
        version: of this package, when the folder was begun.
        encoder_kind: what the model was made for; see ``EncoderKind``.
        projection: digest of the projection that the token vectors went through; "" if none did.
    """

    model_name: str
    model_fingerprint: str
    data_fingerprint: str
    token_dim: int
    with_tokens: bool
    shard_size: int
    model_path: str = ""
    dim: int = 0
    shards: list[ShardInfo] = field(default_factory=list)
    complete: bool = False
    seconds: float = 0.0
    precision: str = ""
    version: str = ""
    encoder_kind: EncoderKind = "joint"
    model_ref: str = ""
    projection: str = ""
    format: int = FORMAT

    @property
    def passages(self) -> int:
        """Passages in the finished shards."""
        return sum(shard.rows for shard in self.shards)

    @property
    def tokens(self) -> int:
        """Token vectors in the finished shards."""
        return sum(shard.tokens for shard in self.shards)

    @property
    def truncated(self) -> int:
        """Passages that were longer than the model reads."""
        return sum(shard.truncated for shard in self.shards)

    def write(self, folder: Path) -> None:
        """Write it atomically into ``folder``, with the counts spelled out for human readers."""
        counts = {"passages": self.passages, "tokens": self.tokens, "truncated": self.truncated}
        write_json(folder / MANIFEST, asdict(self) | {"counts": counts})


@dataclass(frozen=True, slots=True)
class Shard:
    """The n passages of one shard, T token vectors in all.

    Attributes:
        ids, titles, texts: n strings each.
        fields: n JSON objects, as text.
        parents, starts: n times the document that the passage is a piece of and where it begins there, or
            None.
        dense: ``(n, D)`` float32.
        tokens: ``(T, d)`` float16, the passages' matrices one after the other.
        token_ids: ``(T,)`` int32, the vocabulary ids of those rows.
        offsets: ``(n + 1,)`` int64; passage i owns rows ``offsets[i]:offsets[i + 1]``.
    """

    ids: list[str]
    titles: list[str]
    texts: list[str]
    fields: list[str]
    dense: NDArray[np.float32]
    tokens: NDArray[np.float16]
    token_ids: NDArray[np.int32]
    offsets: NDArray[np.int64]
    parents: list[str | None]
    starts: list[int | None]


def shard_name(number: int) -> str:
    """The file name of a shard, as in ``shard-00007.parquet``."""
    return f"shard-{number:05d}.parquet"


def write_shard(handle: IO[bytes], shard: Shard) -> None:
    """Write one shard as Parquet; the same shard always gives the same bytes."""
    rows, dim = shard.dense.shape
    dense = pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(shard.dense).reshape(-1)), dim)
    columns = {
        "id": pa.array(shard.ids, pa.string()),
        "title": pa.array(shard.titles, pa.string()),
        "text": pa.array(shard.texts, pa.string()),
        "fields": pa.array(shard.fields, pa.string()),
        "dense": dense,
        "tokens": _pack(shard.tokens, shard.offsets, rows),
        "token_ids": _pack(shard.token_ids, shard.offsets, rows),
        "token_count": pa.array(np.diff(shard.offsets).astype(np.int32)),
        "parent": pa.array(shard.parents, pa.string()),
        "start": pa.array(shard.starts, pa.int64()),
    }
    metadata = {"token_dim": str(shard.tokens.shape[1]), "tokens": "float16 rows", "token_ids": "int32"}
    schema = pa.schema(
        [pa.field(name, column.type, nullable=name in PIECE) for name, column in columns.items()], metadata
    )
    # Vectors do not compress, and reading them is faster as they are; dictionaries never pay here.
    words = {"id", "title", "text", "fields", "token_ids", *PIECE}
    compression = {name: "zstd" if name in words else "none" for name in (*columns, "dense.list.element")}
    pq.write_table(
        pa.Table.from_arrays(list(columns.values()), schema=schema),
        handle,
        compression=compression,
        use_dictionary=False,
        write_statistics=False,
    )


def read_shard(path: Path) -> Shard:
    """Read one shard.

    Raises:
        IndexStateError: it is missing, or not a shard; the message names the file.
    """
    try:
        table = pq.ParquetFile(path).read().combine_chunks()
        counts = _column(table, "token_count").to_numpy()
        offsets = np.zeros(len(counts) + 1, dtype=np.int64)
        np.cumsum(counts, out=offsets[1:])
        token_dim = int(table.schema.metadata[b"token_dim"])
        dense = _column(table, "dense")
        ids, titles, texts, fields, parents, starts = (
            table[name].to_pylist() for name in ("id", "title", "text", "fields", *PIECE)
        )
        return Shard(
            ids=ids,
            titles=titles,
            texts=texts,
            fields=fields,
            dense=dense.flatten().to_numpy().reshape(len(counts), dense.type.list_size),
            tokens=_unpack(_column(table, "tokens"), np.dtype(np.float16)).reshape(offsets[-1], token_dim),
            token_ids=_unpack(_column(table, "token_ids"), np.dtype(np.int32)).reshape(offsets[-1]),
            offsets=offsets,
            parents=parents,
            starts=starts,
        )
    except FileNotFoundError:
        raise IndexStateError(
            f"{path}: this shard is missing; run the same index command again to make it"
        ) from None
    except (pa.ArrowException, AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise IndexStateError(
            f"{path}: not readable as a shard ({reason}); run the same index command again to replace it"
        ) from error


def read_texts(path: Path) -> list[str]:
    """The passages of one shard as full texts (title, a space, text), without reading vectors.

    Raises:
        IndexStateError: see ``read_shard``.
    """
    try:
        table = pq.read_table(path, columns=["title", "text"])
        pairs = zip(table["title"].to_pylist(), table["text"].to_pylist(), strict=True)
        return [f"{title} {text}" if title else text for title, text in pairs]
    except (pa.ArrowException, KeyError, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise IndexStateError(
            f"{path}: not readable as a shard ({reason}); run the same index command again to replace it"
        ) from error


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a folder of shards, finished or not.

    Raises:
        IndexStateError: there is none, or it is not one of ours.
    """
    path = folder / MANIFEST
    if path.is_dir():
        raise IndexStateError(f"{path}: is a folder, where a manifest belongs; move it away")
    if not path.is_file():
        raise IndexStateError(f"{folder}: no {MANIFEST}, so not a folder of shards")
    try:
        values = read_json(path)
        if not isinstance(values, dict):
            raise ValueError("not a JSON object")
        values.pop("counts", None)
        if values.get("format") != FORMAT:
            raise ValueError(f"format {values.get('format')!r}, this version reads {FORMAT}")
        if values.get("precision", "") not in PRECISIONS:
            raise ValueError(f"precision {values['precision']!r}, which is none of bf16, fp32, int8")
        manifest = read_record(Manifest, values)
        strange = [info.file for info in manifest.shards if SHARD_NAME.fullmatch(info.file) is None]
        if strange:
            raise ValueError(f"{strange[0]!r} is no name of a shard")
        return manifest
    except (StorageError, TypeError, ValueError) as error:
        raise IndexStateError(
            f"{path}: not a manifest of encoded shards ({error}); delete {folder} and index again"
        ) from error


def shard_problem(folder: Path, info: ShardInfo) -> str | None:
    """What is wrong with a shard's file (missing, or other bytes than were written), or None."""
    path = folder / info.file
    if path.is_dir():
        return f"{path}: is a folder, where a shard belongs; move it away"
    if not path.is_file():
        return f"{path}: this shard is missing"
    if sha256_file(path) != info.sha256:
        return f"{path}: its bytes changed since it was written (SHA-256 differs)"
    return None


def read_shards(folder: Path, *, verify: bool = True, part: tuple[int, int] = (1, 1)) -> Iterator[Shard]:
    """All shards of a finished folder, in order.

    Args:
        folder: what ``encode_collection`` wrote.
        verify: compare each file's SHA-256 with the manifest's before reading it.
        part: ``(i, n)``: only shards i, i + n, i + 2n, ..., counted from 1.

    Raises:
        IndexStateError: the folder is unfinished, or a shard is missing, changed, or of another size.
    """
    manifest = read_manifest(folder)
    if not manifest.complete:
        raise IndexStateError(
            f"{folder}: encoding stopped after {manifest.passages} passages; "
            "run the same index command again to finish"
        )
    for info in manifest.shards[part[0] - 1 :: part[1]]:
        problem = shard_problem(folder, info) if verify else None
        if problem is not None:
            raise IndexStateError(f"{problem}; run the same index command again to replace it")
        shard = read_shard(folder / info.file)
        found = (len(shard.ids), len(shard.tokens), shard.dense.shape[1])
        expected = (info.rows, info.tokens, manifest.dim)
        if found != expected:
            raise IndexStateError(
                f"{folder / info.file}: holds (passages, tokens, dimensions) {found}, its manifest says "
                f"{expected}; run the same index command again"
            )
        yield shard


def _pack(values: NDArray[Any], offsets: NDArray[np.int64], rows: int) -> pa.Array:
    """Rows of ``values`` between offsets as one binary array over the same memory (64-bit: no 2 GB limit)."""
    flat = np.ascontiguousarray(values)
    width = flat.itemsize * (flat.shape[1] if flat.ndim == 2 else 1)
    places = np.ascontiguousarray(offsets * width, dtype=np.int64)
    return pa.LargeBinaryArray.from_buffers(
        pa.large_binary(), rows, [None, pa.py_buffer(places), pa.py_buffer(flat.reshape(-1).view(np.uint8))]
    )


def _unpack(column: pa.Array, dtype: np.dtype[Any]) -> NDArray[Any]:
    """The values of a binary array, flat, over the same memory."""
    _, places, data = column.buffers()
    bounds = np.frombuffer(places, dtype=np.int64)[column.offset : column.offset + len(column) + 1]
    raw = (
        np.frombuffer(data, dtype=np.uint8)[bounds[0] : bounds[-1]]
        if data is not None
        else np.zeros(0, np.uint8)
    )
    return raw.view(dtype)


def _column(table: pa.Table, name: str) -> pa.Array:
    chunks: Sequence[pa.Array] = table[name].chunks
    return chunks[0] if len(chunks) == 1 else pa.concat_arrays(chunks)
