"""Rows as an index keeps them: checked, the tokens in the format of the index, the fields typed."""

import json
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ernie_search._util.files import JSON, check_text, json_value
from ernie_search._util.words import counted_words
from ernie_search.encoder import Encoder, Encoding
from ernie_search.errors import DataError, IndexStateError
from ernie_search.index.filters import fits, holds, shown
from ernie_search.index.spec import FIELD_NAME, RESERVED, FieldType, IndexSpec, check_same_model
from ernie_search.index.stored_tokens import TokenCodec
from ernie_search.index.token_ids import pack_ids
from ernie_search.shards import PIECE, Manifest, Shard, read_manifest, read_shards
from ernie_search.types import Passage, check_id, checked_passage

ARROW_TYPES = {"str": pa.string(), "int": pa.int64(), "float": pa.float64(), "bool": pa.bool_()}
REQUIRED = ("id", "text", "dense")


def column_of(field: str) -> str:
    """The column that holds a passage's field: out of the way of the columns that every passage has."""
    return "id" if field == "id" else f"field_{field}"


def row_schema(spec: IndexSpec) -> pa.Schema:
    """The columns of an index's rows; ``words`` is what BM25 reads, ``tokens`` is in the index's format."""
    columns = {
        "id": pa.string(),
        "title": pa.string(),
        "text": pa.string(),
        "fields": pa.string(),
        "parent": pa.string(),
        "start": pa.int64(),
        "words": pa.string(),
        "dense": pa.list_(pa.float32(), spec.dim),
        "token_count": pa.int32(),
    }
    if spec.with_tokens:
        columns |= {"tokens": pa.large_binary(), "token_ids": pa.large_binary()}
    columns |= {column_of(name): ARROW_TYPES[kind] for name, kind in spec.fields.items()}
    return pa.schema(list(columns.items()))


def to_rows(batch: pa.RecordBatch, spec: IndexSpec, codec: TokenCodec | None) -> pa.Table:
    """A batch as the rows to store.

    Args:
        batch: see ``make_batch``; ``title``, ``fields``, ``parent`` and ``start`` may be missing.
        spec: of the index.
        codec: of its token matrices; None where it holds none.

    Raises:
        IndexStateError: the vectors are another model's, or of other dimensions, or there are no tokens.
        DataError: a column is missing; an id is empty, holds white space or repeats within the batch; a text
            is empty; a vector holds NaN or infinity; a field is not of its type. The message names the
            passage.
    """
    marks = {key.decode(): value.decode() for key, value in (batch.schema.metadata or {}).items()}
    if "model_fingerprint" not in marks:
        raise DataError("the batch does not say which model made its vectors; build it with make_batch")
    check_same_model(spec, marks.get("model_name", "unknown"), marks["model_fingerprint"])
    missing = [name for name in REQUIRED if name not in batch.schema.names]
    if missing:
        raise DataError(f"the batch has no column {missing[0]!r}; build it with make_batch")
    count = batch.num_rows
    columns: dict[str, Any] = {
        "id": _ids(batch.column("id").to_pylist()),
        "title": _strings(batch, "title", ""),
        "text": _strings(batch, "text", ""),
        "fields": _strings(batch, "fields", "{}"),
        **{name: _nullable(batch, name) for name in PIECE},
    }
    for place, (one, title, text) in enumerate(
        zip(columns["id"], columns["title"], columns["text"], strict=True)
    ):
        if not (title.strip() or text.strip()):
            raise DataError(f"passage {place + 1} ({one!r}): no text; remove it or give it one")
    columns["fields"] = list(map(_sound_fields, columns["fields"], columns["id"]))
    columns["dense"] = _dense(batch, columns["id"], spec)
    decoded = [_object(one, text) for one, text in zip(columns["id"], columns["fields"], strict=True)]
    full = (
        f"{title} {text}" if title else text
        for title, text in zip(columns["title"], columns["text"], strict=True)
    )
    columns["words"] = [" ".join(counted_words(one, spec.language)) for one in full]
    columns["token_count"] = pa.array(np.zeros(count, np.int32))
    if codec is not None:
        matrices, columns["token_ids"] = _tokens(batch, columns["id"], marks, spec)
        columns["tokens"] = codec.encode(matrices, columns["token_ids"])
        columns["token_count"] = [len(matrix) for matrix in matrices]
    for name, kind in spec.fields.items():
        columns[column_of(name)] = [
            _typed(one, name, kind, row.get(name)) for one, row in zip(columns["id"], decoded, strict=True)
        ]
    schema = row_schema(spec)
    arrays = [
        pa.array(columns[one.name], one.type) if one.name != "dense" else columns["dense"] for one in schema
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def with_passages(rows: pa.Table, passages: Sequence[Passage], spec: IndexSpec) -> pa.Table:
    """Stored rows, given to passages with the same words: vectors and words stay, all else is the passages'.

    Args:
        rows: one for each passage, with all columns.
        passages: whose ``full_text`` is that of the rows.
        spec: of the index.

    Raises:
        DataError: a field is not of its type; the message names the passage.
    """
    columns: dict[str, list[Any]] = {
        "id": [one.id for one in passages],
        "title": [one.title for one in passages],
        "text": [one.text for one in passages],
        "fields": [json.dumps(dict(one.fields), ensure_ascii=False) for one in passages],
        "parent": [one.parent for one in passages],
        "start": [one.start for one in passages],
    }
    for name, kind in spec.fields.items():
        columns[column_of(name)] = [_typed(one.id, name, kind, one.fields.get(name)) for one in passages]
    for name, values in columns.items():
        place = rows.schema.get_field_index(name)
        rows = rows.set_column(place, name, pa.array(values, rows.schema.field(name).type))
    return rows


def in_order(table: pa.Table, ids: Sequence[str], wanted: Sequence[str], total: int) -> pa.Table:
    """Rows of ``table``, which has a column ``id``, for each of ``ids``, with only the columns ``wanted``.

    Raises:
        IndexStateError: an id is not there.
    """
    place = {one: row for row, one in enumerate(table["id"].to_pylist())}
    try:
        rows = [place[one] for one in ids]
    except KeyError as error:
        raise IndexStateError(f"no passage {error.args[0]!r} in this index of {total}") from None
    return table.select(list(wanted)).take(pa.array(rows, pa.int64()))


def _ids(ids: list[Any]) -> list[str]:
    seen: set[str] = set()
    for place, one in enumerate(ids, start=1):
        if not isinstance(one, str) or not one:
            raise DataError(f"passage {place}: its id is {one!r}; give every passage an id of its own")
        _check_id(place, one)
        if one in seen:
            raise DataError(f"passage {place}: id {one!r} repeats within the batch; which one counts?")
        seen.add(one)
    return ids


def _check_id(place: int, one: str) -> None:
    try:
        check_id(one)
    except ValueError as error:
        raise DataError(f"passage {place}: {error}") from None


def _strings(batch: pa.RecordBatch, name: str, default: str) -> list[str]:
    if name not in batch.schema.names:
        return [default] * batch.num_rows
    return [default if one is None else one for one in batch.column(name).to_pylist()]


def _nullable(batch: pa.RecordBatch, name: str) -> list[Any]:
    return list(batch.column(name).to_pylist()) if name in batch.schema.names else [None] * batch.num_rows


def _dense(batch: pa.RecordBatch, ids: list[str], spec: IndexSpec) -> pa.Array:
    column = batch.column("dense")
    if not pa.types.is_fixed_size_list(column.type) or column.null_count:
        raise DataError(f"column dense is {column.type}; a vector of one length for every passage is needed")
    if column.type.list_size != spec.dim:
        raise IndexStateError(
            f"the vectors have {column.type.list_size} dimensions, the index {spec.dim}; "
            "use the model that made the index"
        )
    values = np.asarray(column.flatten().to_numpy(zero_copy_only=False), np.float32).reshape(-1, spec.dim)
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(bad):
        raise DataError(f"the vector of passage {ids[bad[0]]!r} holds NaN or infinity; encode it again")
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), spec.dim)


def _tokens(
    batch: pa.RecordBatch, ids: list[str], marks: dict[str, str], spec: IndexSpec
) -> tuple[list[NDArray[np.float32]], list[bytes]]:
    if "tokens" not in batch.schema.names or int(marks.get("token_dim", 0)) == 0:
        raise IndexStateError(
            "the index holds token matrices, the batch has none; encode with tokens, "
            "or make an index without them"
        )
    dim = int(marks["token_dim"])
    if dim != spec.token_dim:
        raise IndexStateError(
            f"the token vectors have {dim} dimensions, the index {spec.token_dim}; "
            "use the model that made the index"
        )
    matrices = []
    vocabulary = batch.column("token_ids").to_pylist()
    for one, raw, numbers in zip(ids, batch.column("tokens").to_pylist(), vocabulary, strict=True):
        matrix = np.frombuffer(raw, np.float16).reshape(-1, dim).astype(np.float32)
        if not np.isfinite(matrix).all():
            raise DataError(f"the token matrix of passage {one!r} holds NaN or infinity; encode it again")
        if len(numbers) != 4 * len(matrix):
            raise DataError(
                f"passage {one!r}: {len(matrix)} token vectors with {len(numbers) // 4} token ids"
            )
        matrices.append(matrix)
    return matrices, [pack_ids(np.frombuffer(numbers, np.int32)) for numbers in vocabulary]


def _object(one: str, text: str) -> dict[str, Any]:
    if text == "{}":
        return {}
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"passage {one!r}: its fields are not readable as JSON ({error})") from None
    if not isinstance(found, dict):
        raise DataError(f"passage {one!r}: its fields are not a JSON object")
    return found


def _typed(one: str, name: str, kind: str, value: Any) -> Any:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return None  # JSON has no NaN; filters of two backends would take it for different things
    if fits(value, kind) and holds(kind, value):
        return float(value) if kind == "float" else value
    raise DataError(
        f"passage {one!r}: field {name} is {shown(value)}, which is no {kind}; correct it or its type"
    )


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
    """n passages as ``Index.upsert`` takes them.

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
        _check_id(place, one)
    columns = {
        "id": pa.array(ids, pa.string()),
        "title": _text_column("title", titles, ids),
        "text": _text_column("text", texts, ids),
        "fields": _text_column("fields", list(map(_sound_fields, fields, ids)), ids),
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


def _text_column(name: str, values: Sequence[str], ids: Sequence[str]) -> pa.Array:
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
