"""Damaged model directories: one line that names the file, never another error, never another result."""

import os
import shutil
from functools import partial

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from sentence_transformers import CrossEncoder, SentenceTransformer

import ernie_search
from ernie_search._util.files import read_json, sha256_file, write_json
from ernie_search.errors import ErnieSearchError, ModelError
from ernie_search.model import ScoreSettings, from_base
from ernie_search.model.cross_encoder import (
    load_cross_encoder,
    new_cross_encoder,
    save_cross_encoder,
    score_pairs,
)
from ernie_search.model.tokenizer import open_tokenizer
from ernie_search.runtime import saved_files
from ernie_search.runtime.saved_files import FILES_FILE, check_saved_files, listing_saved_files
from tiny_model import TEXTS, bare_base

SETTINGS = ScoreSettings(token_dim=16, query_length=16, passage_length=48)
JOINT = (
    "1_Pooling/config.json",
    "2_Normalize/config.json",
    "config.json",
    "config_sentence_transformers.json",
    "ernie_search.json",
    "model.safetensors",
    "modules.json",
    "sentence_bert_config.json",
    "token_head.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
)
CROSS = tuple(name for name in JOINT if not name.startswith(("1_", "2_", "ernie", "token_head")))


def flipped(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :]


DAMAGE = {
    "gone": None,
    "empty": lambda content: b"",
    "half": lambda content: content[: len(content) // 2],
    "a bit at the start": lambda content: flipped(content, 9),
    "a bit in the middle": lambda content: flipped(content, len(content) // 2),
    "a bit near the end": lambda content: flipped(content, len(content) - 3),
}


def damage(folder, name, how):
    path = folder / name
    if how == "gone":
        path.unlink()
    else:
        path.write_bytes(DAMAGE[how](path.read_bytes()))


@pytest.fixture(autouse=True)
def _quick_saving(monkeypatch):
    for kind in (SentenceTransformer, CrossEncoder):
        monkeypatch.setattr(kind, "_create_model_card", lambda *args, **kwargs: None)


@pytest.fixture(scope="module")
def joint(sentence, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "joint"
    from_base(str(sentence), settings=SETTINGS, seed=3, device="cpu").save(
        str(folder), create_model_card=False
    )
    return folder


@pytest.fixture(scope="module")
def cross(bare, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "cross"
    model = new_cross_encoder(str(bare), max_length=40, seed=5, device="cpu")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CrossEncoder, "_create_model_card", lambda *args, **kwargs: None)
        save_cross_encoder(model, folder)
    return folder


def refused(load, folder):
    with pytest.raises(ErnieSearchError) as caught:
        load(folder, device="cpu")
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("how", DAMAGE)
@pytest.mark.parametrize("name", JOINT)
def test_a_damaged_joint_model_is_refused(joint, tmp_path, name, how):
    folder = shutil.copytree(joint, tmp_path / "copy")
    damage(folder, name, how)
    assert f"{folder / name}: " in refused(ernie_search.load, folder)


@pytest.mark.parametrize("how", DAMAGE)
@pytest.mark.parametrize("name", CROSS)
def test_a_damaged_cross_encoder_is_refused(cross, tmp_path, name, how):
    folder = shutil.copytree(cross, tmp_path / "copy")
    damage(folder, name, how)
    assert f"{folder / name}: " in refused(load_cross_encoder, folder)


def test_the_manifest_lists_all_files_but_the_card(joint, cross):
    for folder, names in ((joint, JOINT), (cross, CROSS)):
        assert tuple(sorted(read_json(folder / FILES_FILE)["files"])) == names
        (folder / "README.md").write_text("written by hand")
        check_saved_files(folder)
        (folder / "README.md").unlink()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"\xff\xfe",
        b'{"format": 2, "files": {}}',
        b'{"format": 1}',
        b'{"format": 1, "files": [1]}',
        b'{"format": 1, "files": {"config.json": 7}}',
        b'{"format": 1, "files": {"config.json": {"bytes": "x"}}}',
    ],
)
def test_a_damaged_manifest_is_refused(joint, tmp_path, content):
    folder = shutil.copytree(joint, tmp_path / "copy")
    (folder / FILES_FILE).write_bytes(content)
    assert f"{folder / FILES_FILE}: no manifest of a saved model" in refused(ernie_search.load, folder)


def test_a_model_without_a_manifest_is_loaded_as_before(joint, cross, tmp_path):
    texts = TEXTS[:2]
    folder = shutil.copytree(joint, tmp_path / "joint")
    (folder / FILES_FILE).unlink()
    one, other = (ernie_search.load(place, device="cpu") for place in (joint, folder))
    assert one.fingerprint == other.fingerprint
    found = SentenceTransformer(str(joint), device="cpu", local_files_only=True).encode_document(texts)
    np.testing.assert_allclose(found, other.encode_joint(texts, "passage").dense, atol=1e-6)
    folder = shutil.copytree(cross, tmp_path / "cross")
    (folder / FILES_FILE).unlink()
    pairs = [(text, TEXTS[3]) for text in texts]
    one, other = (score_pairs(load_cross_encoder(place, device="cpu"), pairs) for place in (cross, folder))
    assert np.array_equal(one, other)


# What a library makes of these differs: KeyError, TypeError, ImportError, a bare Exception, a panic of Rust.
FOREIGN = [
    ("1_Pooling/config.json", None),
    ("1_Pooling/config.json", b'{"embedding_dimension": "x", "pooling_mode": "mean"}'),
    ("1_Pooling/config.json", b'{"embedding_dimension": 32, "pooling_mode": 3}'),
    ("modules.json", None),
    ("modules.json", b"{}"),
    ("modules.json", b"[]"),
    (
        "modules.json",
        b'[{"idx": 0, "name": "0", "pati": "", "type": "sentence_transformers.models.Transformer"}]',
    ),
    ("modules.json", b'[{"idx": 0, "name": "0", "path": "", "type": "sentence_tRansformers.Transformer"}]'),
    ("modules.json", b'[{"idx": 0, "name": "0", "path": "", "type": "os.getcwd"}]'),
    ("config.json", b"[1]"),
    ("config.json", b'{"model_type": "bfrt"}'),
    ("config.json", b'{"model_type": "bert", "hidden_size": "wide"}'),
    ("config_sentence_transformers.json", b"[]"),
    ("sentence_bert_config.json", b'{"max_seq_lfngth": 5}'),
    ("tokenizer.json", None),
    ("tokenizer.json", b"{}"),
    ("tokenizer.json", b'{"version": "1.0", "model": {"type": "WordPiece"}}'),
    ("tokenizer_config.json", b'{"tokenizer_class": 5}'),
    ("model.safetensors", None),
    ("model.safetensors", b"\xff" * 64),
]


@pytest.mark.parametrize(("name", "content"), FOREIGN)
def test_whatever_a_library_raises_at_another_s_model_is_one_line(sentence, tmp_path, name, content):
    folder = shutil.copytree(sentence, tmp_path / "copy")
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    refused(partial(from_base, settings=SETTINGS), str(folder))


@pytest.mark.parametrize(
    ("name", "content"),
    [one for one in FOREIGN if one[0] in CROSS and one[0].startswith(("config.j", "tok", "model."))],
)
def test_the_same_at_another_s_cross_encoder(cross, tmp_path, name, content):
    folder = shutil.copytree(cross, tmp_path / "copy")
    (folder / FILES_FILE).unlink()
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    refused(load_cross_encoder, folder)


def test_a_model_that_is_no_cross_encoder_has_no_scores(bare, cross, tmp_path):
    assert "no cross-encoder (BertModel has no head" in refused(load_cross_encoder, bare)
    folder = shutil.copytree(cross, tmp_path / "copy")
    (folder / FILES_FILE).unlink()
    (folder / "sentence_bert_config.json").unlink()  # which says that it classifies
    assert "cannot be loaded as a cross-encoder" in refused(load_cross_encoder, folder)


def test_vectors_and_scores_that_are_not_finite_are_refused(bare, cross, tmp_path):
    for source, load in ((bare, partial(from_base, settings=SETTINGS)), (cross, load_cross_encoder)):
        folder = shutil.copytree(source, tmp_path / source.name)
        (folder / FILES_FILE).unlink(missing_ok=True)
        weights = load_file(folder / "model.safetensors")
        save_file(
            {name: value * np.float32("nan") for name, value in weights.items()}, folder / "model.safetensors"
        )
        assert "not finite; choose another model" in refused(load, str(folder))


@pytest.mark.parametrize("make", [from_base, new_cross_encoder])
def test_a_base_without_its_tokenizer_is_refused(tmp_path, make):
    base = bare_base(tmp_path / "base")
    for path in base.glob("*token*"):
        path.unlink()
    assert "no tokenizer in this directory" in refused(make, str(base))


def test_a_panic_of_rust_is_one_line_and_a_stop_stays_one():
    class PanicException(BaseException):
        pass

    says = pytest.raises(ModelError, match=r"^place: broken \(PanicException: index out of range\)$")
    with says, saved_files.one_line("place: broken"):
        raise PanicException("index out of range\nmore")
    with pytest.raises(KeyboardInterrupt), saved_files.one_line("place: broken"):
        raise KeyboardInterrupt


def test_the_tokenizer_alone_is_checked_without_hashing_the_weights(joint, tmp_path, monkeypatch):
    folder = shutil.copytree(joint, tmp_path / "copy")
    hashed = []
    monkeypatch.setattr(saved_files, "remembered_sha256", lambda path: hashed.append(path.name) or "")
    with pytest.raises(ModelError, match="altered"):
        open_tokenizer(str(folder))
    monkeypatch.undo()
    open_tokenizer(str(folder))
    assert not [name for name in hashed if name.endswith(".safetensors")]
    damage(folder, "tokenizer.json", "a bit in the middle")
    with pytest.raises(ModelError, match=r"tokenizer\.json: altered since it was saved"):
        open_tokenizer(str(folder))


def test_a_file_is_hashed_once_until_its_size_or_time_changes(tmp_path, monkeypatch):
    folder, count = tmp_path / "model", []
    folder.mkdir()
    (folder / "old").write_bytes(b"there before")
    with listing_saved_files(folder):
        (folder / "new").write_bytes(b"of the model")
    assert list(read_json(folder / FILES_FILE)["files"]) == ["new"]
    monkeypatch.setattr(
        "ernie_search._util.files.sha256_file", lambda path: count.append(path) or sha256_file(path)
    )
    check_saved_files(folder)
    check_saved_files(folder)
    assert len(count) == 2  # just written: its time may not have moved at the next change
    long_ago = 10**18
    os.utime(folder / "new", ns=(long_ago, long_ago))
    for _ in range(3):
        check_saved_files(folder)
    assert len(count) == 3
    (folder / "new").write_bytes(b"OF the model")
    with pytest.raises(ModelError, match="new: altered"):
        check_saved_files(folder)
    (folder / "new").write_bytes(b"of the model, and more")
    with pytest.raises(ModelError, match="new: 22 bytes, and 12 were saved"):
        check_saved_files(folder)


def test_an_interrupted_save_is_refused(joint, sentence, tmp_path, monkeypatch):
    folder = shutil.copytree(joint, tmp_path / "copy")
    model = ernie_search.load(folder, device="cpu")
    write_json(folder / "ernie_search.json", {})  # a save that was killed after its first file
    refused(ernie_search.load, folder)
    model.save(str(folder))
    assert ernie_search.load(folder, device="cpu").fingerprint == model.fingerprint
