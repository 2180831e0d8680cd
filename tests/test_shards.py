"""The shard format: what is written comes back, and damage is named."""

import io
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from ernie_search._util.files import sha256_file
from ernie_search.errors import IndexStateError
from ernie_search.shards import (
    Manifest,
    Shard,
    ShardInfo,
    read_manifest,
    read_shard,
    read_shards,
    shard_name,
    write_shard,
)

COUNTS = [3, 0, 5, 1]
TEXTS = ["plain", "", "日本語のテキスト", "نص عربي [bold]"]


def made_shard(counts=COUNTS, token_dim=4, seed=0) -> Shard:
    random = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    n = len(counts)
    return Shard(
        ids=[f"p{i}" for i in range(n)],
        titles=["t"] * n,
        texts=(TEXTS * n)[:n],
        fields=['{"a": 1}'] * n,
        dense=random.standard_normal((n, 6)).astype(np.float32),
        tokens=random.standard_normal((offsets[-1], token_dim)).astype(np.float16),
        token_ids=random.integers(0, 2**31 - 1, offsets[-1]).astype(np.int32),
        offsets=offsets,
        parents=(["d", None, None, "é"] * n)[:n],
        starts=([0, None, None, 2**40] * n)[:n],
    )


def write_folder(folder: Path, shard: Shard) -> Manifest:
    path = folder / shard_name(0)
    with open(path, "wb") as handle:
        write_shard(handle, shard)
    info = ShardInfo(
        path.name, len(shard.ids), len(shard.tokens), shard.ids[0], shard.ids[-1], 0, sha256_file(path)
    )
    manifest = Manifest("m", "f", "d", shard.tokens.shape[1], True, 8, dim=6, shards=[info], complete=True)
    manifest.write(folder)
    return manifest


@pytest.mark.parametrize("counts", [COUNTS, [0, 0], [2]])
def test_a_shard_comes_back_bit_for_bit(tmp_path, counts):
    shard = made_shard(counts)
    with open(tmp_path / "s.parquet", "wb") as handle:
        write_shard(handle, shard)
    found = read_shard(tmp_path / "s.parquet")
    for name in ("dense", "tokens", "token_ids", "offsets"):
        np.testing.assert_array_equal(getattr(found, name), getattr(shard, name))
        assert getattr(found, name).dtype == getattr(shard, name).dtype
    for name in ("ids", "titles", "texts", "fields"):
        assert getattr(found, name) == getattr(shard, name)


def test_the_same_shard_gives_the_same_bytes():
    first, second = io.BytesIO(), io.BytesIO()
    write_shard(first, made_shard())
    write_shard(second, made_shard())
    assert first.getvalue() == second.getvalue()


def test_other_tools_read_it(tmp_path):
    shard = made_shard()
    with open(tmp_path / "s.parquet", "wb") as handle:
        write_shard(handle, shard)
    rows = pq.read_table(tmp_path / "s.parquet").to_pylist()
    assert [row["token_count"] for row in rows] == COUNTS
    matrix = np.frombuffer(rows[2]["tokens"], dtype=np.float16).reshape(rows[2]["token_count"], -1)
    np.testing.assert_array_equal(matrix, shard.tokens[3:8])
    np.testing.assert_array_equal(np.float32(rows[1]["dense"]), shard.dense[1])


def test_a_manifest_comes_back(tmp_path):
    manifest = write_folder(tmp_path, made_shard())
    assert read_manifest(tmp_path) == manifest
    assert json.loads((tmp_path / "manifest.json").read_text())["counts"]["passages"] == 4
    assert [len(shard.ids) for shard in read_shards(tmp_path)] == [4]


def changed(folder: Path, **values: object) -> None:
    found = json.loads((folder / "manifest.json").read_text()) | values
    kept = {key: value for key, value in found.items() if value is not None}
    (folder / "manifest.json").write_text(json.dumps(kept))


def test_a_manifest_that_does_not_say_the_precision(tmp_path):
    manifest = write_folder(tmp_path, made_shard())
    changed(tmp_path, precision=None)
    assert read_manifest(tmp_path) == manifest
    assert read_manifest(tmp_path).precision == ""
    assert [len(shard.ids) for shard in read_shards(tmp_path)] == [4]


@pytest.mark.parametrize("precision", ["bf17", 16, ["bf16"]])
def test_a_precision_that_is_none_is_refused(tmp_path, precision):
    write_folder(tmp_path, made_shard())
    changed(tmp_path, precision=precision)
    with pytest.raises(IndexStateError, match="which is none of bf16, fp32, int8"):
        read_manifest(tmp_path)


def test_flipped_bytes_name_the_file(tmp_path):
    write_folder(tmp_path, made_shard())
    path = tmp_path / shard_name(0)
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    with pytest.raises(IndexStateError, match=r"shard-00000\.parquet: its bytes changed"):
        list(read_shards(tmp_path))


def test_a_missing_shard_is_named(tmp_path):
    write_folder(tmp_path, made_shard())
    (tmp_path / shard_name(0)).unlink()
    for verify in (True, False):
        with pytest.raises(IndexStateError, match=r"shard-00000\.parquet: this shard is missing"):
            list(read_shards(tmp_path, verify=verify))


def test_rows_are_counted_without_checksums_too(tmp_path):
    write_folder(tmp_path, made_shard())
    with open(tmp_path / shard_name(0), "wb") as handle:
        write_shard(handle, made_shard([1, 1]))
    with pytest.raises(IndexStateError, match=r"shard-00000\.parquet: holds .*\(2, 2, 6\)"):
        list(read_shards(tmp_path, verify=False))


def test_something_else_under_the_name_of_a_shard(tmp_path):
    (tmp_path / "s.parquet").write_text("no parquet")
    with pytest.raises(IndexStateError, match=r"s\.parquet: not readable as a shard"):
        read_shard(tmp_path / "s.parquet")


def test_a_parquet_file_that_is_no_shard(tmp_path):
    import pyarrow as pa

    pq.write_table(pa.table({"id": ["a"]}), tmp_path / "s.parquet")
    with pytest.raises(IndexStateError, match=r"s\.parquet: not readable as a shard"):
        read_shard(tmp_path / "s.parquet")


def test_an_unfinished_folder_is_refused(tmp_path):
    manifest = write_folder(tmp_path, made_shard())
    manifest.complete = False
    manifest.write(tmp_path)
    with pytest.raises(IndexStateError, match="stopped after 4 passages"):
        list(read_shards(tmp_path))


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"format": 99}', '{"format": 1, "shards": []}', '{"format": 1}']
)
def test_a_broken_manifest_is_one_line(tmp_path, text):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(IndexStateError, match=r"manifest\.json.*not a manifest") as caught:
        read_manifest(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("dim", "6"),
        ("dim", 6.5),
        ("dim", True),
        ("shard_size", None),
        ("complete", "yes"),
        ("seconds", "long"),
        ("model_name", 3),
        ("model_path", ["x"]),
        ("shards", {}),
        ("shards", [1]),
        ("shards", [{"file": 7}]),
        ("unheard", 1),
    ],
)
def test_a_value_of_another_type_in_a_manifest_is_one_line(tmp_path, name, value):
    write_folder(tmp_path, made_shard())
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))
    with pytest.raises(
        IndexStateError, match=rf"manifest\.json: not a manifest .*{name}.*; delete"
    ) as caught:
        read_manifest(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [("file", 7), ("file", "../shard-00000.parquet"), ("rows", "4"), ("rows", 4.5), ("sha256", None)],
)
def test_a_value_of_another_type_in_a_shards_entry_is_one_line(tmp_path, key, value):
    write_folder(tmp_path, made_shard())
    path = tmp_path / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["shards"][0][key] = value
    path.write_text(json.dumps(manifest))
    with pytest.raises(IndexStateError, match=r"manifest\.json: not a manifest") as caught:
        list(read_shards(tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["manifest.json", "shard-00000.parquet"])
def test_a_folder_where_a_file_belongs_is_one_line(tmp_path, name):
    write_folder(tmp_path, made_shard())
    (tmp_path / name).unlink()
    (tmp_path / name).mkdir()
    with pytest.raises(IndexStateError, match=rf"{name}: is a folder, where a .* belongs; move it away"):
        list(read_shards(tmp_path))
    if name != "manifest.json":
        with pytest.raises(IndexStateError, match="not readable as a shard"):
            list(read_shards(tmp_path, verify=False))


def test_no_manifest(tmp_path):
    with pytest.raises(IndexStateError, match=r"no manifest\.json"):
        read_manifest(tmp_path)
