"""What goes into a store: Arrow record batches of passages with their vectors, marked with their model."""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ernie_search.encoder import Encoder, Encoding
from ernie_search.errors import DataError
from ernie_search.files import JSON, check_text, json_value
from ernie_search.index.filters import holds
from ernie_search.index.spec import FIELD_NAME, RESERVED, FieldType
from ernie_search.shards import Manifest, Shard, read_manifest, read_shards
from ernie_search.types import Passage, check_id, checked_passage

SUSPECT = re.compile(r"NaN|Infinity|[0-9][eE]\+?[0-9]{3}|\\u[dD][89a-fA-F]|[\ud800-\udfff]")
"""What JSON text of fields has to be looked at for: all else is written as it is."""


def make_batch(
    *,
    model_name: str,
    model_fingerprint: str,
    ids: Sequence[str],
    titles: Sequence[str],
    texts: Sequence[str],
    fields: Sequence[str],
    dense: NDArray[np.float32],
    tokens: Sequence[NDArray[np.float16]] = (),
    token_ids: Sequence[NDArray[np.int32]] = (),
    token_dim: int = 0,
    parents: Sequence[str | None] = (),
    starts: Sequence[int | None] = (),
) -> pa.RecordBatch:
    """n passages as ``Store.upsert`` takes them.

    Args:
        model_name, model_fingerprint: of the model that made the vectors.
        ids, titles, texts: n strings each.
        fields: n JSON objects, as text.
        dense: ``(n, D)``.
        tokens, token_ids: n matrices ``(L_i, d)`` and arrays ``(L_i,)``; none for dense search alone.
        token_dim: ``d``.
        parents, starts: n times the document that the passage is a piece of and where it begins there, or
            None; none for passages that are no pieces.

    Raises:
        DataError: the parts are not of one length, or ``dense`` is no matrix; an id that is empty or holds
            white space; text that cannot be written; fields that are no JSON. The message names the passage.
    """
    count = len(ids)
    matrices = list(tokens) or [np.zeros((0, token_dim), np.float16)] * count
    vocabulary = list(token_ids) or [np.zeros(0, np.int32)] * count
    vectors = np.ascontiguousarray(dense, dtype=np.float32)
    documents, places = list(parents) or [None] * count, list(starts) or [None] * count
    parts = {len(titles), len(texts), len(fields), len(vectors), len(matrices), len(vocabulary)}
    parts |= {len(documents), len(places)}
    if vectors.ndim != 2 or parts != {count}:
        raise DataError(
            f"{count} ids with vectors of shape {vectors.shape}: every passage needs all its parts"
        )
    for place, one in enumerate(ids, start=1):
        try:
            check_id(one)
        except ValueError as error:
            raise DataError(f"passage {place}: {error}") from None
    columns = {
        "id": pa.array(ids, pa.string()),
        "title": _strings("title", titles, ids),
        "text": _strings("text", texts, ids),
        "fields": _strings("fields", list(map(_sound_fields, fields, ids)), ids),
        "dense": pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1]),
        "tokens": pa.array([np.asarray(one, np.float16).tobytes() for one in matrices], pa.large_binary()),
        "token_ids": pa.array([np.asarray(one, np.int32).tobytes() for one in vocabulary], pa.large_binary()),
        "token_count": pa.array([len(one) for one in matrices], pa.int32()),
        "parent": pa.array(documents, pa.string()),
        "start": pa.array(places, pa.int64()),
    }
    marks = {
        "model_name": model_name,
        "model_fingerprint": model_fingerprint,
        "token_dim": str(token_dim),
    }
    schema = pa.schema([pa.field(name, column.type) for name, column in columns.items()], marks)
    return pa.RecordBatch.from_arrays(list(columns.values()), schema=schema)


def _strings(name: str, values: Sequence[str], ids: Sequence[str]) -> pa.Array:
    """The column; DataError that names the passage whose value cannot be written."""
    try:
        return pa.array(values, pa.string())
    except (UnicodeEncodeError, pa.ArrowException):
        for value, one in zip(values, ids, strict=True):
            try:
                check_text(value, name)
            except ValueError as error:
                raise DataError(f"passage {one!r}: {error}") from None
        raise


def _sound_fields(text: str, one: str) -> str:
    """Fields as JSON that everybody reads: what Python alone writes (NaN, Infinity) is null.

    Raises:
        DataError: half a surrogate pair, which JSON can escape; text that is no JSON object.
    """
    if not SUSPECT.search(text):
        return text
    try:
        return json.dumps(json_value(JSON.decode(text), "fields"), ensure_ascii=False)
    except (ValueError, RecursionError) as error:
        raise DataError(f"passage {one!r}: its fields are not readable as JSON ({error})") from None


def passage_batch(passages: Sequence[Passage], encoding: Encoding, model: Encoder) -> pa.RecordBatch:
    """Passages and what ``model`` made of them (``model.encode_joint(..., "passage")``).

    Raises:
        DataError: what ``checked_passage`` refuses, or see ``make_batch``.
    """
    sound: list[Passage] = []
    for place, passage in enumerate(passages, start=1):
        try:
            sound.append(checked_passage(passage))
        except ValueError as error:
            raise DataError(f"passage {place} ({passage.id!r}): {error}") from None
    return make_batch(
        model_name=model.name,
        model_fingerprint=model.fingerprint,
        ids=[one.id for one in sound],
        titles=[one.title for one in sound],
        texts=[one.text for one in sound],
        fields=[json.dumps(dict(one.fields), ensure_ascii=False) for one in sound],
        dense=encoding.dense,
        tokens=[np.asarray(one, np.float16) for one in encoding.tokens],
        token_ids=encoding.token_ids,
        token_dim=model.token_dim,
        parents=[one.parent for one in passages],
        starts=[one.start for one in passages],
    )


def shard_batch(shard: Shard, manifest: Manifest) -> pa.RecordBatch:
    """One shard as a batch; a shard without token matrices gives none."""
    bounds = list(zip(shard.offsets[:-1].tolist(), shard.offsets[1:].tolist(), strict=True))
    held = manifest.with_tokens
    return make_batch(
        model_name=manifest.model_name,
        model_fingerprint=manifest.model_fingerprint,
        ids=shard.ids,
        titles=shard.titles,
        texts=shard.texts,
        fields=shard.fields,
        dense=shard.dense,
        tokens=[shard.tokens[start:stop] for start, stop in bounds] if held else (),
        token_ids=[shard.token_ids[start:stop] for start, stop in bounds] if held else (),
        token_dim=manifest.token_dim if held else 0,
        parents=shard.parents,
        starts=shard.starts,
    )


def shard_batches(folder: Path, part: tuple[int, int] = (1, 1)) -> Iterator[pa.RecordBatch]:
    """All passages of a folder of shards, or of a part of it, a shard at a time: memory holds one.

    Raises:
        IndexStateError: the folder is missing, unfinished or damaged; see ``read_shards``.
    """
    manifest = read_manifest(folder)
    for shard in read_shards(folder, part=part):
        yield shard_batch(shard, manifest)


def infer_fields(batch: pa.RecordBatch) -> dict[str, FieldType]:
    """The fields of a batch that filters could ask for: those with plain values of one type, or of numbers.

    Lists, objects and fields of mixed types are left out: they are stored with the passage, as all are, but a
    filter has no meaning for them. Whole numbers beyond 64 bits make a field one of floats.
    """
    seen: dict[str, set[str]] = {}
    for text in batch.column("fields").to_pylist():
        if text == "{}":
            continue
        for name, value in json.loads(text).items():
            if value is not None:
                seen.setdefault(name, set()).add(_kind_of(value))
    known: dict[str, FieldType] = {"str": "str", "int": "int", "float": "float", "bool": "bool"}
    found: dict[str, FieldType] = {}
    for name, types in sorted(seen.items()):
        one = next(iter(types)) if len(types) == 1 else "float" if types == {"int", "float"} else ""
        if one in known and FIELD_NAME.fullmatch(name) and name not in RESERVED:
            found[name] = known[one]
    return found


def _kind_of(value: Any) -> str:
    """The name of a value's type, or of the one whose column holds it."""
    kind = type(value).__name__
    if kind == "int" and not holds("int", value):
        return "float" if holds("float", value) else "nothing"
    return kind
