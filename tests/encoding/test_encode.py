"""Encoding to shards: complete, resumable, and the same however often it was interrupted."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from ernie_search._util.files import lock
from ernie_search.encoding import encode as encode_module
from ernie_search.encoding import encode_collection, read_manifest, read_shards
from ernie_search.errors import DataError, IndexStateError, ModelError, SettingsError, StorageError
from ernie_search.types import Passage
from stub_encoder import StubEncoder, numbered_passages

PASSAGES = numbered_passages(50)


def encode(output: Path, model=None, passages=PASSAGES, data="d1", shard_size=8, **settings):
    model = model or StubEncoder()
    return encode_collection(
        model, iter(passages), output, data_fingerprint=data, shard_size=shard_size, **settings
    )


def shard_bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.parquet"))}


def test_what_was_encoded_is_what_the_model_gives(tmp_path):
    model = StubEncoder()
    result = encode(tmp_path / "out", model)
    whole = StubEncoder().encode_joint([passage.full_text for passage in PASSAGES], "passage")
    shards = list(read_shards(tmp_path / "out"))
    assert [len(shard.ids) for shard in shards] == [8] * 6 + [2]
    assert [one for shard in shards for one in shard.ids] == [passage.id for passage in PASSAGES]
    np.testing.assert_array_equal(np.concatenate([shard.dense for shard in shards]), whole.dense)
    np.testing.assert_array_equal(
        np.concatenate([shard.tokens for shard in shards]), np.concatenate(whole.tokens).astype(np.float16)
    )
    np.testing.assert_array_equal(
        np.concatenate([s.token_ids for s in shards]), np.concatenate(whole.token_ids)
    )
    assert (result.passages, result.encoded, result.truncated) == (50, 50, whole.truncated)
    assert result.truncated > 0
    assert result.tokens == sum(map(len, whole.tokens))
    assert model.calls == [("passage", 8)] * 6 + [("passage", 2)]  # one call a shard


def test_texts_titles_and_fields_come_back(tmp_path):
    passages = [
        Passage("a", "text", "Title", {"n": 1, "é": ["日本"]}),
        Passage("ب", "نص عربي من اليمين"),
        Passage("c", "ข้อความไม่มีช่องว่าง"),
    ]
    encode(tmp_path / "out", passages=passages)
    (shard,) = read_shards(tmp_path / "out")
    assert (shard.ids, shard.titles) == (["a", "ب", "c"], ["Title", "", ""])
    assert shard.texts == [passage.text for passage in passages]
    assert shard.fields == ['{"n": 1, "é": ["日本"]}', "{}", "{}"]


def test_a_finished_folder_is_left_alone(tmp_path):
    encode(tmp_path / "out")
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    model, seen = StubEncoder(), []
    result = encode_collection(model, iter(()), tmp_path / "out", data_fingerprint="d1", progress=seen.append)
    assert (result.encoded, result.passages, model.calls, sum(seen)) == (0, 50, [], 50)
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()} == before


def test_a_killed_run_goes_on_to_the_same_bytes(tmp_path):
    encode(tmp_path / "whole")
    script = (
        "import itertools, pathlib, sys, time; from stub_encoder import *;"
        "from ernie_search.encoding import encode_collection;"
        "rest = (time.sleep(600) for _ in range(1));"  # more than is needed to be killed in
        "encode_collection(StubEncoder(), itertools.chain(numbered_passages(50)[:34], rest),"
        "pathlib.Path(sys.argv[1]), data_fingerprint='d1', shard_size=8)"
    )
    output = tmp_path / "killed"
    paths = os.pathsep.join([str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths}
    with subprocess.Popen([sys.executable, "-c", script, str(output)], env=environment) as child:
        deadline = time.monotonic() + 60
        while not (output / "shard-00002.parquet").exists():
            assert child.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.005)
        child.send_signal(signal.SIGKILL)
    finished = read_manifest(output)
    assert not finished.complete
    kept = {shard.file: (output / shard.file).stat().st_mtime_ns for shard in finished.shards}
    assert kept
    (output / ".shard-00005.parquet.123.tmp").write_bytes(b"half")  # what a kill inside a write leaves
    seen: list[int] = []
    result = encode(output, progress=seen.append)
    assert result.encoded == 50 - finished.passages
    assert sum(seen) == 50
    assert {name: (output / name).stat().st_mtime_ns for name in kept} == kept
    assert shard_bytes(output) == shard_bytes(tmp_path / "whole")
    assert read_manifest(output).shards == read_manifest(tmp_path / "whole").shards
    assert not list(output.glob(".*"))


@pytest.mark.parametrize("shards_done", [0, 1, 3, 6])
def test_a_stop_between_shard_and_manifest(tmp_path, shards_done, monkeypatch):
    encode(tmp_path / "whole")
    write, calls = encode_module.Manifest.write, []

    def stop(self, folder):
        calls.append(1)
        if len(calls) > shards_done:
            raise KeyboardInterrupt
        write(self, folder)

    with monkeypatch.context() as patch:
        patch.setattr(encode_module.Manifest, "write", stop)
        with pytest.raises(KeyboardInterrupt):
            encode(tmp_path / "out")
    assert encode(tmp_path / "out").encoded == 50 - 8 * shards_done
    assert shard_bytes(tmp_path / "out") == shard_bytes(tmp_path / "whole")


def interrupted(output: Path, model: StubEncoder, monkeypatch, shards: int = 2) -> None:
    """Encode ``shards`` shards into ``output``, and be stopped."""
    real, calls = encode_module.write_shard, []

    def stop(handle, shard):
        calls.append(1)
        if len(calls) > shards:
            raise KeyboardInterrupt
        real(handle, shard)

    with monkeypatch.context() as patch:
        patch.setattr(encode_module, "write_shard", stop)
        with pytest.raises(KeyboardInterrupt):
            encode(output, model)


@pytest.mark.parametrize("first", [True, False])
def test_a_resumed_run_keeps_the_precision_that_it_began_with(tmp_path, monkeypatch, first):
    encode(tmp_path / "whole", StubEncoder(bf16=first))
    encode(tmp_path / "other", StubEncoder(bf16=not first))
    interrupted(tmp_path / "out", StubEncoder(bf16=first), monkeypatch)
    assert read_manifest(tmp_path / "out").precision == ("bf16" if first else "fp32")
    assert encode(tmp_path / "out", StubEncoder(bf16=not first)).encoded == 34
    assert shard_bytes(tmp_path / "out") == shard_bytes(tmp_path / "whole")
    assert shard_bytes(tmp_path / "whole") != shard_bytes(tmp_path / "other")
    (tmp_path / "out" / "shard-00003.parquet").unlink()  # long after it was finished
    encode(tmp_path / "out", StubEncoder(bf16=not first))
    assert shard_bytes(tmp_path / "out") == shard_bytes(tmp_path / "whole")


def test_a_folder_that_does_not_say_its_precision_is_gone_on_with_and_left_alone_when_finished(
    tmp_path, monkeypatch
):
    def forget() -> bytes:
        values = json.loads((tmp_path / "manifest.json").read_text())
        del values["precision"]
        (tmp_path / "manifest.json").write_text(json.dumps(values))
        return (tmp_path / "manifest.json").read_bytes()

    interrupted(tmp_path, StubEncoder(), monkeypatch)
    forget()
    assert encode(tmp_path, StubEncoder(bf16=True)).encoded == 34
    assert read_manifest(tmp_path).precision == "bf16"
    before = forget()
    assert encode(tmp_path).encoded == 0
    assert (tmp_path / "manifest.json").read_bytes() == before
    assert len(list(read_shards(tmp_path))) == 7


@pytest.mark.needs_torch
def test_a_real_model_is_held_to_the_precision_that_the_folder_began_with(tmp_path, monkeypatch):
    from ernie_search._util import hardware
    from ernie_search.model import ScoreSettings, from_base
    from tiny_model import TEXTS, sentence_base

    settings = ScoreSettings(token_dim=16, query_length=16, passage_length=48)
    model = from_base(str(sentence_base(tmp_path / "base", layers=2)), settings=settings, device="cpu")
    passages = [Passage(f"p{number}", text) for number, text in enumerate(TEXTS)]
    monkeypatch.delenv("ERNIE_SEARCH_BF16")  # which holds all other tests to fp32
    monkeypatch.setattr(hardware, "bf16_speedup", lambda: 2.0)
    encode(tmp_path / "out", model, passages, shard_size=4)
    before = shard_bytes(tmp_path / "out")
    (tmp_path / "out" / "shard-00001.parquet").unlink()
    monkeypatch.setattr(hardware, "bf16_speedup", lambda: 0.5)
    encode(tmp_path / "out", model, passages, shard_size=4)
    assert shard_bytes(tmp_path / "out") == before
    encode(tmp_path / "other", model, passages, shard_size=4)
    assert shard_bytes(tmp_path / "other") != before


def test_a_damaged_shard_is_encoded_anew(tmp_path):
    encode(tmp_path / "out")
    before = shard_bytes(tmp_path / "out")
    (tmp_path / "out" / "shard-00001.parquet").write_bytes(b"damaged")
    (tmp_path / "out" / "shard-00004.parquet").unlink()
    model = StubEncoder()
    assert encode(tmp_path / "out", model).encoded == 16
    assert model.calls == [("passage", 8)] * 2
    assert shard_bytes(tmp_path / "out") == before


def test_a_begun_folder_keeps_its_shard_size(tmp_path):
    encode(tmp_path / "out")
    (tmp_path / "out" / "shard-00001.parquet").unlink()
    assert encode(tmp_path / "out", shard_size=20).encoded == 8


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": StubEncoder("other", "beef")}, r"model stub \(f00d\), not other \(beef\).*another folder"),
        ({"data": "d2"}, "data d1, not d2.*another folder or delete"),
        ({"with_tokens": False}, "made with token matrices"),
    ],
)
def test_a_folder_of_something_else_is_refused(tmp_path, change, message):
    encode(tmp_path / "out")
    before = shard_bytes(tmp_path / "out")
    with pytest.raises(IndexStateError, match=message):
        encode(tmp_path / "out", **change)
    assert shard_bytes(tmp_path / "out") == before


def test_a_collection_that_changed_under_its_fingerprint_is_noticed(tmp_path):
    encode(tmp_path / "out")
    (tmp_path / "out" / "shard-00006.parquet").unlink()
    with pytest.raises(IndexStateError, match=r"shard-00000.*the collection now has 8"):
        encode(tmp_path / "out", passages=PASSAGES[1:])
    with pytest.raises(IndexStateError, match="holds 6 shards, the collection now fills 2"):
        encode(tmp_path / "out", passages=PASSAGES[:16])


def test_a_folder_with_strange_files_is_not_written_into(tmp_path):
    (tmp_path / "thesis.doc").write_text("dear")
    with pytest.raises(IndexStateError, match=r"'thesis\.doc'"):
        encode(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.doc"]
    with pytest.raises(IndexStateError, match="is a file"):
        encode(tmp_path / "thesis.doc")


@pytest.mark.parametrize("name", ["shard-00001.parquet", "manifest.json", ".manifest.json.1.tmp"])
def test_a_folder_where_a_file_belongs_is_one_line(tmp_path, name):
    encode(tmp_path / "out")
    whole = shard_bytes(tmp_path / "out")
    (tmp_path / "out" / name).unlink(missing_ok=True)
    (tmp_path / "out" / name).mkdir()
    if name.startswith("."):  # what a kill leaves has no say, whatever it is
        assert encode(tmp_path / "out").encoded == 0
        return
    with pytest.raises((StorageError, IndexStateError), match=r"a folder.* belongs.*move it away") as caught:
        encode(tmp_path / "out")
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)
    (tmp_path / "out" / name).rmdir()
    if name != "manifest.json":
        assert encode(tmp_path / "out").encoded == 8
        assert shard_bytes(tmp_path / "out") == whole


def test_a_second_writer_is_refused(tmp_path):
    descriptor = os.open(tmp_path, os.O_RDONLY)
    lock(descriptor)
    try:
        with pytest.raises(IndexStateError, match="another process"):
            encode(tmp_path)
    finally:
        os.close(descriptor)
    assert encode(tmp_path).passages == 50


@pytest.mark.parametrize(
    ("passages", "message"),
    [
        ([], "no passages"),
        ([Passage("a", "x"), Passage("a", "y")], "passage 2: id 'a' repeats"),
        ([Passage("a", "x"), Passage("b", "  \n")], r"passage 2 \('b'\): empty 'text'"),
        (
            [Passage("a", "x", fields={"o": object()})],
            r"passage 1 \('a'\): fields.o cannot be written as JSON",
        ),
        ([Passage("a", "\ud800")], r"passage 1 \('a'\): 'text' holds half a surrogate"),
    ],
)
def test_bad_passages_are_refused_and_leave_nothing(tmp_path, passages, message):
    with pytest.raises(DataError, match=message):
        encode(tmp_path / "out", passages=passages)
    assert not (tmp_path / "out").exists()


def test_a_repeated_id_is_found_across_shards_and_resumes(tmp_path):
    with pytest.raises(DataError, match="passage 51: id 'p0' repeats"):
        encode(tmp_path / "out", passages=[*PASSAGES, PASSAGES[0]])
    assert read_manifest(tmp_path / "out").passages == 48
    with pytest.raises(DataError, match="passage 51: id 'p0' repeats"):
        encode(tmp_path / "out", passages=[*PASSAGES, PASSAGES[0]])


def test_a_vector_that_is_not_finite_is_refused(tmp_path):
    class Broken(StubEncoder):
        def encode_joint(self, *args, **settings):
            encoding = super().encode_joint(*args, **settings)
            encoding.dense[3, 0] = np.nan
            return encoding

    with pytest.raises(ModelError, match="passage 'p3' is not finite"):
        encode(tmp_path / "out", Broken())
    assert not (tmp_path / "out").exists()


def test_a_full_disk_is_one_line_and_the_run_goes_on_later(tmp_path, monkeypatch):
    encode(tmp_path / "whole")
    real, calls = encode_module.write_shard, []

    def full(handle, shard):
        calls.append(1)
        if len(calls) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle, shard)

    with monkeypatch.context() as patch:
        patch.setattr(encode_module, "write_shard", full)
        with pytest.raises(StorageError, match=r"shard-00002.*disk is full"):
            encode(tmp_path / "out")
    assert not list((tmp_path / "out").glob(".*"))
    assert encode(tmp_path / "out").encoded == 34
    assert shard_bytes(tmp_path / "out") == shard_bytes(tmp_path / "whole")


def test_without_tokens(tmp_path):
    result = encode(tmp_path / "out", with_tokens=False)
    assert result.tokens == 0
    assert next(read_shards(tmp_path / "out")).tokens.shape == (0, 0)


def test_the_model_is_noted_as_seen_from_the_folder(tmp_path):
    encode(tmp_path / "run" / "index", model_path=tmp_path / "run" / "model")
    assert read_manifest(tmp_path / "run" / "index").model_path == os.path.join("..", "model")
    encode(tmp_path / "run" / "index", model_path=tmp_path / "moved")  # only the note changes
    assert read_manifest(tmp_path / "run" / "index").model_path == os.path.join("..", "..", "moved")
    encode(tmp_path / "run" / "index")
    assert read_manifest(tmp_path / "run" / "index").model_path == os.path.join("..", "..", "moved")


def test_a_shard_of_no_passages(tmp_path):
    with pytest.raises(SettingsError, match="shard_size=0"):
        encode(tmp_path, shard_size=0)
