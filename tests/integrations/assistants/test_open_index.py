"""An index that stays open while others rewrite it, damage it, remove it."""

import shutil

import pytest

from ernie_search.errors import IndexStateError, SettingsError
from ernie_search.integrations import open_index
from ernie_search.integrations.open_index import OpenIndex, named


def paths(held: OpenIndex, question: str = "tea grows") -> list[str]:
    hits = held.use(lambda one: one.searcher.search(question, 3, mode="words"))
    return [hit.fields["path"] for hit in hits]


def test_a_new_commit_is_taken_up_at_the_next_use(docs, sync):
    held = OpenIndex("docs", str(sync()))
    assert paths(held) == ["tea time.txt"]
    before = held.searcher
    assert held.use(lambda one: one.searcher) is before
    (docs / "new.txt").write_text("Tea grows in Ceylon, too.\n")
    (docs / "tea time.txt").unlink()
    sync()
    assert paths(held) == ["new.txt"]
    assert held.use(lambda one: one.documents.names) == ["logs.md", "new.txt"]
    assert held.searcher.model is before.model  # which was not loaded again
    held.close()


def test_one_that_was_made_anew_is_taken_up(docs, sync):
    folder = sync()
    held = OpenIndex("docs", str(folder))
    shutil.rmtree(folder)
    (docs / "tea time.txt").write_text("Coffee grows here.\n")
    sync()
    assert held.use(lambda one: len(one.searcher.search("coffee", 3, mode="words"))) == 1
    held.close()


def test_what_cannot_be_opened_leaves_the_old_state(docs, sync, monkeypatch):
    folder = sync()
    held = OpenIndex("docs", str(folder))
    whole = (folder / "index.json").read_bytes()
    (folder / "index.json").write_bytes(b"{}")
    assert paths(held) == ["tea time.txt"]
    opened = []
    monkeypatch.setattr(open_index, "renewed", lambda *given, **options: opened.append(1))
    paths(held)
    assert opened == []  # it rests before it tries again
    monkeypatch.undo()
    (folder / "index.json").write_bytes(whole)
    assert paths(held) == ["tea time.txt"]
    held.close()


@pytest.mark.parametrize("raised", [ValueError("broken\nlines"), OSError(5, "I/O error")])
def test_what_a_library_raises_is_one_of_our_errors(index, raised):
    held = OpenIndex("docs", str(index), warm=False)

    def work(_):
        raise raised

    with pytest.raises(IndexStateError) as caught:
        held.use(work)
    assert "\n" not in str(caught.value)
    assert type(raised).__name__ in str(caught.value)
    assert paths(held) == ["tea time.txt"]  # opened again
    held.close()


def test_words_alone_load_no_model(index):
    held = OpenIndex("docs", str(index), mode="words")
    assert paths(held) == ["tea time.txt"]
    assert not held.searcher.has_model
    held.close()


def test_two_indexes_share_a_model(index, tmp_path):
    shutil.copytree(index, tmp_path / "other")
    first = OpenIndex("docs", str(index), warm=False)
    second = OpenIndex.sharing("other", str(tmp_path / "other"), first.searcher.model, warm=False)
    assert second.searcher.model is first.searcher.model
    first.close()
    second.close()


def test_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert named(["runs/My Index/", "b=runs/x", "lance:///srv/notes"]) == {
        "my-index": "runs/My Index/",
        "b": "runs/x",
        "notes": "lance:///srv/notes",
    }
    (tmp_path / "Handbook").mkdir()
    monkeypatch.chdir(tmp_path / "Handbook")
    assert named([".ernie-search"]) == {"handbook": ".ernie-search"}
    assert named(["./a=b"]) == {"a-b": "./a=b"}
    for wrong in (["a/x", "b/x"], ["A=x"], ["=x"], ["a=x", "a=y"]):
        with pytest.raises(SettingsError):
            named(wrong)
