"""A folder of documents kept in an index: only what changed is read, encoded, removed; a kill is no harm."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ernie_search.data.files import FilesSnapshot, open_files
from ernie_search.encoding.build import make_index
from ernie_search.encoding.noted import noted_source, source_from
from ernie_search.encoding.sync import Synced, sync_folder
from ernie_search.errors import DataError, IndexStateError, SettingsError
from ernie_search.index import Eq, open_index, verify
from ernie_search.search import Searcher
from stub_encoder import StubEncoder


class Counting(StubEncoder):
    """Counts the passages that it encodes, and may be interrupted."""

    def __init__(self, **options: object) -> None:
        super().__init__(longest=64, **options)
        self.encoded, self.interrupt = 0, False

    def encode_joint(self, texts, task, **options):
        if task == "passage":
            if self.interrupt:
                raise KeyboardInterrupt
            self.encoded += len(texts)
        return super().encode_joint(texts, task, **options)


@pytest.fixture
def model(monkeypatch, tmp_path) -> Counting:
    encoder = Counting()
    (tmp_path / "model").mkdir()
    monkeypatch.setattr("ernie_search.encoding.opening.open_encoder", lambda path, **options: encoder)
    return encoder


@pytest.fixture
def docs(tmp_path) -> Path:
    folder = tmp_path / "docs"
    for number in range(6):
        path = folder / f"part{number % 2}" / f"f{number}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        sections = "".join(f"## S{n}\n\nword{number}x{n} common\n\n" for n in range(4))
        path.write_text(f"# Title{number}\n\n{sections}")
    return folder


def synced(docs: Path, **options) -> Synced:
    return sync_folder(open_files(str(docs)), docs.parent / "model", docs.parent / "i", **options)


def counts(found: Synced) -> tuple[int, ...]:
    return found.encoded, found.added, found.replaced, found.removed, found.unchanged


def rows(index) -> dict[str, tuple]:
    ids = [one for part in index.scan(["id"]) for one in part.column("id").to_pylist()]
    return {one.id: (one.title, one.text, dict(one.fields)) for one in index.get(sorted(ids))}


def truth(docs: Path) -> dict[str, tuple]:
    return {one.id: (one.title, one.text, dict(one.fields)) for one in open_files(str(docs)).passages()}


def check(docs: Path) -> None:
    """The index holds what the files do, with the vectors of its words."""
    with open_index(docs.parent / "i") as index:
        assert rows(index) == truth(docs)
        assert verify(index, StubEncoder(longest=64), len(index)).problems == []
        for name in ("path", "line"):
            stored = [row for part in index.scan(["id", f"field_{name}"]) for row in part.to_pylist()]
            assert {one["id"]: one[f"field_{name}"] for one in stored} == {
                one: fields.get(name) for one, (_, _, fields) in truth(docs).items()
            }


def test_made_and_then_up_to_date_without_a_model(docs, model, monkeypatch):
    assert counts(synced(docs)) == (24, 24, 0, 0, 0)
    check(docs)
    monkeypatch.setattr(
        "ernie_search.encoding.opening.open_encoder", lambda *_, **__: pytest.fail("loads a model")
    )
    again = synced(docs)
    assert (again.up_to_date, again.files, again.passages, counts(again)) == (True, 6, 24, (0, 0, 0, 0, 24))
    assert sync_folder(open_files(str(docs)), None, docs.parent / "i").up_to_date
    assert sorted(one.name for one in docs.parent.iterdir()) == ["docs", "i", "model"]
    assert len(list((docs.parent / "i" / "sync").iterdir())) == 1


def test_an_edit_encodes_its_passage_alone_and_moved_lines_none(docs, model):
    synced(docs)
    path = docs / "part0" / "f0.md"
    path.write_text(path.read_text().replace("## S1", "inserted line\n\n## S1"))
    assert counts(synced(docs)) == (1, 1, 3, 1, 20)  # S0 has another text, and S1 to S3 other lines
    check(docs)
    path.write_text("\n\n" + path.read_text())
    assert counts(synced(docs)) == (0, 0, 4, 0, 20)
    check(docs)


def test_renamed_and_removed_files_encode_nothing(docs, model):
    synced(docs)
    (docs / "part0" / "f0.md").rename(docs / "renamed.md")
    assert counts(synced(docs)) == (0, 4, 0, 4, 20)
    check(docs)
    shutil.rmtree(docs / "part1")
    found = synced(docs)
    assert (counts(found), found.gone, model.encoded) == ((0, 0, 0, 12, 12), 3, 24)
    check(docs)


def test_a_file_that_cannot_be_read_for_now_stays_in_the_index(docs, model, monkeypatch):
    synced(docs)
    held = truth(docs)
    (docs / "part1" / "f1.md").unlink()
    read = Path.read_bytes

    def refusing(path):
        if path.name == "f0.md":
            raise OSError(errno.EIO, "Input/output error")
        return read(path)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", refusing)
        (docs / "part0" / "f0.md").write_text("changed")
        found = synced(docs)
    assert (counts(found), found.files, found.gone) == ((0, 0, 0, 4, 20), 5, 1)
    assert [one.path for one in found.skipped] == ["part0/f0.md"]
    with open_index(docs.parent / "i") as index:
        assert rows(index) == {name: row for name, row in held.items() if "f1.md" not in name}
    assert counts(synced(docs)) == (1, 1, 0, 4, 16)
    check(docs)


def test_two_texts_that_change_places_keep_their_own_vectors(docs, model):
    path = docs / "a.md"
    path.write_text("# T\n\n## One\n\nsame\n\n## Two\n\nsame\n")
    synced(docs)
    path.write_text("# T\n\n## Two\n\nsame\n\n## One\n\nsame\n")
    assert counts(synced(docs))[:4] == (0, 0, 2, 0)
    check(docs)


def test_a_search_finds_the_file_and_the_line(docs, model):
    synced(docs)
    with open_index(docs.parent / "i") as index:
        (hit,) = Searcher(model, index).search("word3x2 common", 1)
        assert (hit.fields["path"], hit.fields["line"]) == ("part1/f3.md", 13)
        assert hit.title == "Title3 > S2"
        found = Searcher(model, index).search("common", 30, where=Eq("path", "part1/f3.md"))
        assert len(found) == 4


def test_the_index_inside_the_folder_is_not_a_document(docs, model):
    inside = docs / "index"
    first = sync_folder(open_files(str(docs)), docs.parent / "model", inside)
    assert (first.files, sync_folder(open_files(str(docs)), None, inside).up_to_date) == (6, True)


def test_words_are_remembered_and_may_be_changed(docs, model):
    synced(docs, words=4)
    (docs / "part0" / "f0.md").write_text("one two three four five six")
    assert synced(docs).added == 2
    assert synced(docs, words=14).passages == 21
    check_words = {len(text.split()) for _, text, _ in truth(docs).values()}
    assert check_words == {2, 6}
    check(docs)


def test_without_its_state_an_index_is_compared_and_nothing_encoded(docs, model):
    synced(docs)
    shutil.rmtree(docs.parent / "i" / "sync")
    (docs / "part0" / "f0.md").unlink()
    assert counts(synced(docs)) == (0, 0, 0, 4, 20)
    check(docs)


def test_what_others_changed_is_put_right(docs, model):
    synced(docs)
    with open_index(docs.parent / "i", mode="w") as index:
        index.delete(list(truth(docs))[:3])
        index.commit()
    assert counts(synced(docs)) == (3, 3, 0, 0, 21)
    check(docs)


def test_an_interrupted_sync_leaves_the_old_state_and_resumes(docs, model):
    synced(docs)
    before = truth(docs)
    (docs / "new.md").write_text("# New\n\nnew words\n")
    model.interrupt = True
    with pytest.raises(KeyboardInterrupt):
        synced(docs)
    with open_index(docs.parent / "i") as index:
        assert rows(index) == before
    model.interrupt = False
    assert counts(synced(docs)) == (1, 1, 0, 0, 24)
    check(docs)


def test_another_writer_in_between_is_noticed(docs, model):
    synced(docs)
    place = docs.parent / "i"
    first = truth(docs)
    state = FilesSnapshot(open_files(str(docs))).state
    (docs / "a.md").write_text("one")
    late = FilesSnapshot(open_files(str(docs)), state)
    (docs / "b.md").write_text("two")
    synced(docs)
    with pytest.raises(IndexStateError, match="another writer changed it meanwhile"):
        make_index(late, docs.parent / "model", place)
    assert len(first) + 2 == synced(docs).passages
    check(docs)


def test_another_model_another_folder_and_other_settings_are_refused(docs, model, tmp_path, monkeypatch):
    synced(docs)
    with pytest.raises(IndexStateError, match="tokens"):
        synced(docs, tokens="int8")
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "a.md").write_text("words")
    with pytest.raises(IndexStateError, match=r"made from files:.*not files:"):
        sync_folder(open_files(str(tmp_path / "others")), tmp_path / "model", tmp_path / "i")
    other = StubEncoder(fingerprint="beef")
    monkeypatch.setattr("ernie_search.encoding.opening.open_encoder", lambda path, **options: other)
    assert synced(docs).up_to_date
    (tmp_path / "model" / "weights").write_text("of another training")
    with pytest.raises(IndexStateError, match="beef"):
        synced(docs)


def test_no_model_and_no_folder_of_an_index(docs, model):
    with pytest.raises(SettingsError, match="--model"):
        sync_folder(open_files(str(docs)), None, docs.parent / "i")
    asked = sync_folder(
        open_files(str(docs)), None, docs.parent / "i", default_model=lambda: str(docs.parent / "model")
    )
    assert asked.added == 24
    with pytest.raises(SettingsError, match="only an index in a folder"):
        sync_folder(open_files(str(docs)), None, "memory://")


def test_a_folder_that_is_empty_now_is_refused_and_the_index_kept(docs, model):
    synced(docs)
    shutil.rmtree(docs)
    docs.mkdir()
    with pytest.raises(DataError, match="no file that can be read"):
        synced(docs)
    with open_index(docs.parent / "i") as index:
        assert len(index) == 24


def test_a_noted_source_is_found_again(docs, tmp_path):
    for source in (f"files:{docs}", f"files:{docs}?words=7", "api:numpy"):
        noted = noted_source(source, tmp_path / "i")
        found = source_from(noted, tmp_path / "i")
        assert noted_source(found, tmp_path / "i") == noted
    assert noted_source(f"files:{docs}", tmp_path / "i") == f"files:..{os.sep}docs"


SYNC = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from stub_encoder import StubEncoder
from ernie_search.encoding import opening
from ernie_search.data.files import open_files
from ernie_search.encoding.build import make_index
from ernie_search.encoding.sync import sync_folder
opening.open_encoder = lambda path, **options: StubEncoder(longest=64)
root = Path(sys.argv[1])
print("ready", flush=True)
for _ in sys.stdin:
    sync_folder(open_files(str(root / "docs")), root / "model", root / "i")
    print("done", flush=True)
"""


@pytest.mark.slow  # processes that are killed
def test_kills_at_any_moment_leave_the_old_state_or_the_new(docs, model):
    synced(docs)
    command = [sys.executable, "-c", SYNC, str(docs.parent), str(Path(__file__).parent.parent)]
    killed = 0
    for turn, seconds in enumerate((0.0, 0.1, 0.25, 0.5)):
        before = truth(docs)
        for number in range(3):
            (docs / f"new{turn}x{number}.md").write_text(f"# N\n\nturn{turn} {number}\n")
        (docs / "part0" / f"f{2 * (turn % 3)}.md").write_text(f"# Changed\n\nturn{turn}\n")
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
            process.stdout.readline()
            process.stdin.write("go\n")
            process.stdin.flush()
            time.sleep(seconds)
            process.send_signal(signal.SIGKILL)
            killed += "done" not in process.stdout.read()
        with open_index(docs.parent / "i") as index:
            assert rows(index) in (before, truth(docs))
        synced(docs)
        check(docs)
    assert killed
