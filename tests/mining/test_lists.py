"""The folder of lists: what is written is read; what was altered, or is of no use, is refused."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from ernie_search._util.files import sha256_file
from ernie_search.errors import DataError, StorageError
from ernie_search.mining.lists import LISTS_FILE, Lists, TrainingList, write_lists

PLAIN = TrainingList("q", ("p",), ("a", "b"), negative_ranks=(2, 0))
SCORED = TrainingList("q", ("p", "r"), ("a",), (3.5, -1.0), (0.25,))


def write(folder: Path, *lists: TrainingList) -> Lists:
    return write_lists(folder, lists, data_fingerprint="data", about={"counts": {"kept": 3}})


def test_round_trip_over_several_row_groups(tmp_path: Path) -> None:
    many = [replace(SCORED, query=f"вопрос {n}", negatives=(f"文書 {n}",)) for n in range(2500)]
    written = write(tmp_path / "lists", *many)
    opened = Lists.open(tmp_path / "lists")
    assert list(opened) == list(opened) == many
    assert len(opened) == len(written) == 2500
    assert opened.scored
    assert opened.data_fingerprint == "data"
    assert opened.manifest["counts"] == {"kept": 3}
    assert pq.ParquetFile(tmp_path / "lists" / LISTS_FILE).num_row_groups == 3


def test_unscored_lists_and_lists_without_negatives(tmp_path: Path) -> None:
    bare = TrainingList("r", ("p",), ())
    lists = write(tmp_path / "lists", PLAIN, bare)
    assert list(lists) == [PLAIN, bare]
    assert not lists.scored


def test_marks_and_parts_are_kept_and_belong_to_the_fingerprint(tmp_path: Path) -> None:
    marked = replace(SCORED, kept=(False,))
    parts = replace(SCORED, parts={"late": (0.5, 0.25, 0.0), "bm25": (7.0, 1.5, 3.0)})
    lists = write(tmp_path / "lists", SCORED, marked, parts)
    assert list(lists) == [SCORED, marked, parts]
    assert [one.contrastive for one in lists] == [[0], [], [0]]
    assert len({write(tmp_path / "one", one).fingerprint for one in (SCORED, marked, parts)}) == 3
    turned = replace(parts, parts=dict(sorted(parts.parts.items())))
    assert write(tmp_path / "a", parts).fingerprint == write(tmp_path / "b", turned).fingerprint


def test_lists_of_the_first_format_are_read_as_all_kept(tmp_path: Path) -> None:
    write(tmp_path / "lists", SCORED)
    file, manifest = tmp_path / "lists" / LISTS_FILE, tmp_path / "lists" / "manifest.json"
    table = pq.read_table(file)
    pq.write_table(table.drop_columns(["kept", "parts"]), file)
    entries = json.loads(manifest.read_text()) | {"format": 1, "sha256": sha256_file(file)}
    manifest.write_text(json.dumps(entries))
    assert list(Lists.open(tmp_path / "lists")) == [SCORED]


def test_same_lists_same_bytes_and_fingerprint(tmp_path: Path) -> None:
    one, two, other = (
        write(tmp_path / name, PLAIN, last) for name, last in zip("abc", (PLAIN,) * 3, strict=True)
    )
    assert one.fingerprint == two.fingerprint == other.fingerprint
    assert write(tmp_path / "d", SCORED).fingerprint != one.fingerprint
    elsewhere = write_lists(tmp_path / "e", [PLAIN, PLAIN], data_fingerprint="other", about={})
    assert elsewhere.fingerprint != one.fingerprint
    assert sha256_file(tmp_path / "a" / LISTS_FILE) == sha256_file(tmp_path / "e" / LISTS_FILE)


def test_about_is_read_after_the_last_list_and_cannot_forge_the_rest(tmp_path: Path) -> None:
    about = {"seen": 0, "sha256": "forged", "rows": 7}

    def counted() -> Iterator[TrainingList]:
        about["seen"] += 1
        yield PLAIN

    lists = write_lists(tmp_path / "lists", counted(), data_fingerprint="data", about=about)
    assert lists.manifest["seen"] == 1
    assert len(lists) == 1


def test_a_replaced_folder_can_be_the_one_that_is_read(tmp_path: Path) -> None:
    lists = write(tmp_path / "lists", PLAIN, replace(PLAIN, query="r"))
    again = write_lists(
        tmp_path / "lists", (one for one in lists if one.query == "r"), data_fingerprint="data", about={}
    )
    assert [one.query for one in again] == ["r"]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (TrainingList("q", (), ("a",)), "has no positive"),
        (TrainingList("q", ("p",), ("a", "a")), "a passage stands in it twice"),
        (TrainingList("q", ("p",), ("p",)), "a passage stands in it twice"),
        (TrainingList("q", ("p",), ("a",), (1.0,), ()), r"\(1, 0\) scores .* \(1, 1\) are needed"),
        (TrainingList("q", ("p",), ("a",), (), (1.0,)), r"\(0, 1\) scores .* \(0, 0\) are needed"),
        (TrainingList("q", ("p",), ("a",), (1.0,), (float("inf"),)), "score is infinite"),
        (TrainingList("q", ("p",), ("a",), kept=(True, False)), "2 marks of 1 negatives"),
        (
            TrainingList("q", ("p",), ("a",), parts={"late": (1.0,)}),
            "1 scores of component 'late', 2 are needed",
        ),
        (TrainingList("q", ("p",), ("a",), negative_ranks=(1, 2)), "2 ranks of 1 negatives"),
    ],
)
def test_useless_lists_are_refused_and_leave_nothing(tmp_path: Path, bad: TrainingList, message: str) -> None:
    with pytest.raises(DataError, match=f"list of question 'q': .*{message}"):
        write(tmp_path / "lists", bad)
    assert list(tmp_path.iterdir()) == []


def test_scored_and_unscored_do_not_mix(tmp_path: Path) -> None:
    for lists in ((PLAIN, SCORED), (SCORED, PLAIN)):
        with pytest.raises(DataError, match="do not mix"):
            write(tmp_path / "lists", *lists)
    with pytest.raises(DataError, match="there is no list to write"):
        write(tmp_path / "lists")


def test_something_else_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("x")
    for place in (tmp_path / "thesis", tmp_path / "thesis" / "chapter.tex"):
        with pytest.raises(StorageError, match="holds no training lists"):
            write(place, PLAIN)
    assert (tmp_path / "thesis" / "chapter.tex").read_text() == "x"


def test_what_was_altered_is_noticed(tmp_path: Path) -> None:
    folder = tmp_path / "lists"
    with pytest.raises(StorageError, match=r"no manifest.json, so no training lists"):
        Lists.open(folder)
    write(folder, PLAIN)
    manifest, file = folder / "manifest.json", folder / LISTS_FILE
    good, content = manifest.read_text(), file.read_bytes()
    file.write_bytes(content[:-9] + b"x" + content[-8:])
    with pytest.raises(DataError, match=r"lists.parquet: its bytes changed since it was written"):
        Lists.open(folder)
    file.unlink()
    with pytest.raises(DataError, match=r"lists.parquet: the file is missing"):
        Lists.open(folder)
    file.write_bytes(content)
    manifest.write_text("{")
    with pytest.raises(StorageError, match="not readable as JSON"):
        Lists.open(folder)
    for text, message in (("[]", "format None"), ('{"format": 99}', "found 99"), ('{"format": 1}', "lacks")):
        manifest.write_text(text)
        with pytest.raises(DataError, match=message.replace("format None", "found None")):
            Lists.open(folder)
    # a checksum that fits does not make lists of other bytes
    file.write_bytes(b"not parquet at all")
    manifest.write_text(json.dumps(json.loads(good) | {"sha256": sha256_file(file)}))
    with pytest.raises(DataError, match=r"not readable as training lists \("):
        list(Lists.open(folder))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rows", "3"),
        ("rows", True),
        ("rows", 2.0),
        ("scored", 1),
        ("sha256", None),
        ("data_fingerprint", 7),
        ("counts", []),
        ("settings", 3),
        ("split", {}),
        ("scores", "x" * 1000),
    ],
)
def test_a_value_of_another_type_in_the_manifest_is_one_line(
    tmp_path: Path, name: str, value: object
) -> None:
    write(tmp_path / "lists", PLAIN)
    path = tmp_path / "lists" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))
    with pytest.raises(DataError, match=rf"manifest.json: {name} is .*, not of type .*; delete") as caught:
        Lists.open(tmp_path / "lists")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400
