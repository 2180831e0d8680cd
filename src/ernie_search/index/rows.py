"""Rows as stores keep them: a batch that was checked, its tokens in the store's format, its fields typed."""

import json
import math
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ernie_search.errors import DataError, IndexStateError
from ernie_search.index.filters import fits, holds, shown
from ernie_search.index.spec import IndexSpec, check_same_model
from ernie_search.index.stored_tokens import TokenCodec
from ernie_search.shards import PIECE
from ernie_search.words import words

ARROW_TYPES = {"str": pa.string(), "int": pa.int64(), "float": pa.float64(), "bool": pa.bool_()}
REQUIRED = ("id", "text", "dense")


def column_of(field: str) -> str:
    """The column that holds a passage's field: out of the way of the columns that every passage has."""
    return "id" if field == "id" else f"field_{field}"


def row_schema(spec: IndexSpec) -> pa.Schema:
    """The columns of a store's rows; ``words`` is what BM25 reads, ``tokens`` is in the store's format."""
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
        spec: of the store.
        codec: of its token matrices; None where it holds none.

    Raises:
        IndexStateError: the vectors are another model's, or of other dimensions, or there are no tokens.
        DataError: a column is missing; an id is empty or repeats within the batch; a text is empty; a vector
            holds NaN or infinity; a field is not of its type. The message names the passage.
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
    columns["dense"] = _dense(batch, columns["id"], spec)
    decoded = [_object(one, text) for one, text in zip(columns["id"], columns["fields"], strict=True)]
    full = (
        f"{title} {text}" if title else text
        for title, text in zip(columns["title"], columns["text"], strict=True)
    )
    columns["words"] = [" ".join(words(one)) for one in full]
    columns["token_count"] = pa.array(np.zeros(count, np.int32))
    if codec is not None:
        matrices, columns["token_ids"] = _tokens(batch, columns["id"], marks, spec)
        columns["tokens"] = codec.encode(matrices)
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


def _ids(ids: list[Any]) -> list[str]:
    seen: set[str] = set()
    for place, one in enumerate(ids, start=1):
        if not isinstance(one, str) or not one:
            raise DataError(f"passage {place}: its id is {one!r}; give every passage an id of its own")
        if one in seen:
            raise DataError(f"passage {place}: id {one!r} repeats within the batch; which one counts?")
        seen.add(one)
    return ids


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
    return matrices, vocabulary


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
