"""The newest commit beside an open index: only new files are read, and checked."""

import pytest

from ernie_search.errors import IndexStateError, SettingsError
from ernie_search.index import lance_files, make_spec, open_index, passage_batch
from stub_encoder import StubEncoder, numbered_passages


def add(folder, passages) -> None:
    model = StubEncoder()
    spec = make_spec(model_name="stub", model_fingerprint=model.fingerprint, dim=16, token_dim=16)
    store = open_index(folder, spec, "w")
    encoding = model.encode_joint([one.full_text for one in passages], "passage")
    store.upsert(passage_batch(passages, encoding, model))
    store.commit()
    store.close()


@pytest.fixture
def folder(tmp_path):
    add(tmp_path / "store", numbered_passages(20))
    return tmp_path / "store"


def test_the_newest_commit_beside_the_old(folder, monkeypatch):
    old = open_index(folder)
    add(folder, numbered_passages(25)[20:])
    read = []
    real = lance_files.sha256_file
    monkeypatch.setattr(lance_files, "sha256_file", lambda path: read.append(path) or real(path))
    new = old.newest()
    assert (len(old), len(new)) == (20, 25)
    assert old.get(["p3"])[0].text == new.get(["p3"])[0].text
    names = {str(path.relative_to(folder)) for path in read if "commits" not in str(path)}
    assert names == set(new.commit_read.files) - set(old.commit_read.files)
    old.close()
    assert new.get(["p24"])[0].id == "p24"
    new.close()


def test_a_damaged_new_file_is_found(folder):
    old = open_index(folder)
    before = set(folder.rglob("*.lance"))
    add(folder, numbered_passages(25)[20:])
    new = (set(folder.rglob("*.lance")) - before).pop()
    new.write_bytes(bytes(len(new.read_bytes())))
    with pytest.raises(IndexStateError, match=new.name):
        old.newest()
    assert len(old) == 20
    old.close()


def test_files_that_were_there_before_are_compared_where_they_are_not_trusted(folder):
    old = open_index(folder)
    one = next(folder.rglob("*.lance/data/*.lance"))
    one.write_bytes(bytes(len(one.read_bytes())))
    old.newest().close()
    with pytest.raises(IndexStateError, match=one.name):
        old.newest(trust=False)
    old.close()


@pytest.mark.parametrize("harm", ["gone", "cut", "overwritten", "away"])
def test_a_loss_under_an_open_index_is_noticed(folder, harm):
    with open_index(folder) as store:
        store.check_files()
        one = next(folder.rglob("*.lance/data/*.lance"))
        raw = one.read_bytes()
        if harm == "gone":
            one.unlink()
        elif harm == "away":
            folder.rename(folder.with_name("elsewhere"))
        else:
            one.write_bytes(raw[:-1] if harm == "cut" else bytes(len(raw)))
        with pytest.raises(IndexStateError, match="\\.lance"):
            store.check_files()


def test_an_index_in_memory_has_no_files_and_no_commits():
    index = open_index("memory://", make_spec(model_name="x", model_fingerprint="y", dim=2, token_dim=2))
    index.check_files()
    with pytest.raises(SettingsError, match="only an index on disk"):
        index.newest()
