"""A document out of an index: its passages in order, whatever cut it."""

import pytest

from ernie_search.data.chunking import chunk_passages
from ernie_search.data.files import open_files
from ernie_search.errors import SettingsError
from ernie_search.search.documents import UnknownPassageError, outline, path_of, read_around, read_document
from ernie_search.types import Passage
from index_helpers import batch, new_index

TEXT = " ".join(f"word{number}" for number in range(40))
GUIDE = "# Guide\n\n" + "\n\n".join(
    f"## Part {number}\n\nWords of part {number}, which is about trees." for number in range(12)
)


@pytest.fixture
def folder(tmp_path):
    for name in ("docs/a guide.md", "docs/a%20guide.md", "docs/other.md"):
        place = tmp_path / name
        place.parent.mkdir(exist_ok=True)
        place.write_text(GUIDE if name != "docs/other.md" else "# Other\n\nOne passage alone.")
    return tmp_path / "docs"


@pytest.fixture(params=["memory", "lance"])
def make(request, tmp_path):
    def made(passages, **changes):
        index = new_index(request.param, tmp_path / "index", **changes)
        index.upsert(batch(passages))
        index.commit()
        return index

    return made


def test_the_pieces_of_a_text_come_in_its_order(make):
    cut = list(chunk_passages([Passage("doc", TEXT, "Words"), Passage("short", "Six words.")], words=3))
    index = make(cut[::-1])  # "#10" sorts before "#2", and they are stored from the last on
    whole = read_document(index, "doc", count=100)
    assert " ".join(one.text for one in whole.passages) == TEXT
    assert (whole.id, whole.path, whole.first, whole.total, whole.place) == ("doc", None, 0, 14, None)
    part = read_around(index, "doc#10", before=2, after=1)
    assert [one.id for one in part.passages] == ["doc#8", "doc#9", "doc#10", "doc#11"]
    assert (part.first, part.total, part.place) == (8, 14, 10)
    assert [one.id for one in read_around(index, "doc#13").passages] == ["doc#11", "doc#12", "doc#13"]
    alone = read_around(index, "short")
    assert (alone.id, alone.total, alone.place) == ("short", 1, 0)


@pytest.mark.parametrize("fields", [{"path": "str", "line": "int"}, {}])
def test_the_passages_of_a_file_come_in_its_order(make, folder, fields):
    passages = [one for _, one in open_files(str(folder)).located_passages()]
    index = make(sorted(passages, key=lambda one: one.id), fields=fields)
    # the names differ, and one is written in its ids as the other is on the disk
    for path in ("a guide.md", "a%20guide.md"):
        mine = [one for one in passages if one.fields["path"] == path]
        part = read_document(index, path, count=50)
        assert [one.text for one in part.passages] == [one.text for one in mine]
        assert (part.id, part.path, part.total) == (path, path, 12)
        around = read_around(index, mine[4].id, before=1, after=1)
        assert [one.id for one in around.passages] == [one.id for one in mine[3:6]]
        assert (around.first, around.place) == (3, 4)
    assert read_around(index, "other.md").total == 1


def test_passages_without_a_document_stand_alone(make):
    odd = [
        Passage("x", "A path of its own.", fields={"path": "x"}),
        Passage("y#1", "Another.", fields={"path": "z"}),
        Passage("z#1", "A number.", fields={"path": 3}),
    ]
    assert [path_of(one) for one in odd] == [None, None, None]
    index = make(odd, fields={})
    for one in odd:
        assert outline(index, one.id).ids == (one.id,)
        assert read_around(index, one.id).passages == (one,)


def test_pages_of_a_document(make):
    index = make(list(chunk_passages([Passage("doc", TEXT)], words=10)))
    assert [one.id for one in read_document(index, "doc", 2, 5).passages] == ["doc#2", "doc#3"]
    beyond = read_document(index, "doc", 9, 5)
    assert (beyond.passages, beyond.total) == ((), 4)


@pytest.mark.parametrize("wanted", ["nothing", "doc#99", "' OR 1=1 --", "../../etc/passwd", "", "\ud800"])
def test_what_is_not_there_is_said(make, wanted):
    index = make([Passage("doc", "Words.", fields={"path": "p"})], fields={"path": "str"})
    with pytest.raises(UnknownPassageError):
        outline(index, wanted)


def test_numbers_out_of_range_are_refused(make):
    index = make([Passage("doc", "Words.")])
    with pytest.raises(SettingsError, match="first=-1, count=2"):
        read_document(index, "doc", -1, 2)
    with pytest.raises(SettingsError, match="before=0, after=-1"):
        read_around(index, "doc", 0, -1)


def test_a_deleted_piece_takes_no_other_away(make):
    cut = list(chunk_passages([Passage("doc", TEXT), Passage("short", "Six words.")], words=3))
    index = make(cut)
    index.delete(["doc#2", "doc#3"])
    index.commit()
    left = [f"doc#{number}" for number in range(14) if number not in (2, 3)]
    assert [one.id for one in read_document(index, "doc", count=100).passages] == left
    for one in left:
        part = read_around(index, one, before=0, after=0)
        assert (part.total, part.passages[0].id) == (12, one)
