"""What goes into an index, by whatever way: the same rule as for collections."""

import dataclasses
import json

import numpy as np
import pyarrow as pa
import pytest

from ernie_search._util.files import sha256_file
from ernie_search.encoding import encode_collection
from ernie_search.errors import DataError
from ernie_search.index import Range, index_shards, make_batch
from ernie_search.index.rows import shard_batch, shard_batches
from ernie_search.shards import read_manifest, read_shards, write_shard
from ernie_search.types import Passage
from index_helpers import MODEL, batch, new_index


def made(identifier="p", title="", text="tea", fields="{}"):
    return make_batch(
        model_name="stub",
        model_fingerprint="f00d",
        ids=["sound", identifier],
        titles=["", title],
        texts=["x", text],
        fields=["{}", fields],
        dense=np.ones((2, MODEL.token_dim), np.float32),
        token_dim=MODEL.token_dim,
    )


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ('{"year": NaN, "all": [-Infinity, 1e400, 1.5]}', {"year": None, "all": [None, None, 1.5]}),
        ('{"by": "NaN and Infinity"}', {"by": "NaN and Infinity"}),
        ('{"by": "\\ud83c\\udf31"}', {"by": "\U0001f331"}),
    ],
)
def test_fields_are_json_that_everybody_reads(fields, expected):
    text = made(fields=fields).column("fields").to_pylist()[1]
    assert json.loads(text, parse_constant=pytest.fail) == expected


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"identifier": "a b"}, "passage 2: white space in 'id' 'a b'"),
        ({"identifier": "\ud800"}, "passage 2: 'id' holds half a surrogate pair"),
        ({"title": "\ud800"}, "passage 'p': title holds half a surrogate pair"),
        ({"text": "\ud800"}, "passage 'p': text holds half a surrogate pair"),
        ({"fields": '{"by": "\\ud800"}'}, "passage 'p': its fields .*fields.by holds half a surrogate pair"),
        ({"fields": "\ud800"}, "passage 'p': its fields are not readable as JSON"),
    ],
)
def test_what_cannot_be_written_is_refused_with_its_passage(parts, message):
    with pytest.raises(DataError, match=f"^{message}[^\n]*$"):
        made(**parts)


def rebuilt(sound, **columns):
    """A batch with other columns, as a caller of PyArrow alone could build it."""
    for name, values in columns.items():
        sound = sound.set_column(sound.schema.get_field_index(name), name, pa.array(values, pa.string()))
    return sound


@pytest.mark.parametrize("kind", ["memory", "lance"])
def test_a_batch_built_by_hand_is_taken_by_the_same_rule(kind, tmp_path):
    sound = batch([Passage("a", "tea"), Passage("b", "rice")])
    with new_index(kind, tmp_path / "index", fields={"year": "float"}) as index:
        index.upsert(rebuilt(sound, fields=['{"year": NaN, "n": [1e400]}', '{"year": 1990.5}']))
        index.commit()
        assert index.get(["a"]) == [Passage("a", "tea", fields={"year": None, "n": [None]})]
        assert index.count(Range("year", at_least=-1e300)) == 1
        for columns, message in (
            ({"id": ["a", "b c"]}, "^passage 2: white space in 'id' 'b c'"),
            ({"fields": ["{}", '{"by": "\\ud800"}']}, "^passage 'b': its fields .* half a surrogate pair"),
        ):
            with pytest.raises(DataError, match=message):
                index.upsert(rebuilt(sound, **columns))
        assert len(index) == 2


def test_a_passage_from_python_is_taken_by_the_same_rule():
    found = batch([Passage("a", "", "Tea", {"year": float("nan"), "n": np.int64(3)})])
    assert found.column("text").to_pylist() == ["Tea"]
    assert found.column("title").to_pylist() == [""]
    assert json.loads(found.column("fields").to_pylist()[0]) == {"year": None, "n": 3}
    with pytest.raises(DataError, match=r"^passage 2 \('a b'\): white space in 'id' 'a b'"):
        batch([Passage("a", "x"), Passage("a b", "y")])


def test_encoded_passages_are_taken_by_the_same_rule(tmp_path):
    passages = [Passage("a", "", "Tea", {"year": float("nan")}), Passage("b", "rice", " ")]
    encode_collection(MODEL, passages, tmp_path / "shards", data_fingerprint="0")
    (found,) = shard_batches(tmp_path / "shards")
    assert [found.column(name).to_pylist() for name in ("title", "text", "fields")] == [
        ["", ""],
        ["Tea", "rice"],
        ['{"year": null}', "{}"],
    ]
    with pytest.raises(DataError, match=r"^passage 1 \('a b'\): white space in 'id' 'a b'"):
        encode_collection(MODEL, [Passage("a b", "x")], tmp_path / "other", data_fingerprint="0")


def test_shards_of_older_versions_are_stored_with_null(tmp_path):
    """They may hold NaN as Python writes it."""
    folder = tmp_path / "shards"
    encode_collection(MODEL, [Passage("a", "tea", fields={"year": 0.5})], folder, data_fingerprint="0")
    (shard,) = read_shards(folder)
    shard.fields[0] = '{"year": NaN}'
    manifest = read_manifest(folder)
    name = manifest.shards[0].file
    with open(folder / name, "wb") as handle:
        write_shard(handle, shard)
    (shard,) = read_shards(folder, verify=False)
    assert shard_batch(shard, read_manifest(folder)).column("fields").to_pylist() == ['{"year": null}']
    info = dataclasses.replace(manifest.shards[0], sha256=sha256_file(folder / name))
    dataclasses.replace(manifest, shards=[info]).write(folder)
    assert index_shards(folder, "memory://").get(["a"])[0].fields == {"year": None}


@pytest.mark.parametrize("kind", ["memory://", "lance"])
def test_a_missing_number_meets_no_filter_in_any_backend(kind, tmp_path):
    from ernie_search.index import parse_filter

    passages = [
        Passage("a", "tea", fields={"year": float("nan")}),
        Passage("b", "rice", fields={"year": 1990.5}),
    ]
    encode_collection(MODEL, passages, tmp_path / "shards", data_fingerprint="0")
    url = kind if kind == "memory://" else str(tmp_path / "store")
    with index_shards(tmp_path / "shards", url) as index:
        vector = MODEL.encode_joint(["tea"], "query").dense
        for where, expected in (("year >= 0", ["b"]), ("year < 1e300", ["b"]), ("not year = 7", None)):
            found = index.nearest(vector, 5, where=parse_filter(where))[0].ids
            assert expected is None or found == expected
        assert index.get(["a"]) == [Passage("a", "tea", fields={"year": None})]
