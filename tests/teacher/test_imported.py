"""Scores of others: what is read, left out, counted, and refused with its place."""

import csv
import gzip
import json
import math
from pathlib import Path

import pytest

from ernie_search.data.readers import LONGEST_CELL
from ernie_search.errors import DataError, SettingsError
from ernie_search.mining import Lists
from ernie_search.teacher import ListScoreSettings, TeacherSum, import_scores, score_lists
from tiny_teacher import TRAIN, collection, lists

ROWS = [("q0", "p0", 3.5), ("q0", "n1", 1.0), ("q0", "n0", 2.0), ("q1", "p1", -0.5), ("q1", "n2", 4.0)]


def write(path: Path, rows=ROWS) -> Path:
    """In the format of the file's name."""
    if path.suffix == ".jsonl":
        lines = [json.dumps({"query-id": q, "corpus-id": p, "score": s, "why": "x"}) for q, p, s in rows]
    elif path.suffix == ".csv":
        lines = ["score,qid,docid", *(f'{s},{q},"{p}"' for q, p, s in rows)]
    elif path.suffix == ".tsv":
        lines = [f"{q}\t{p}\t{s}" for q, p, s in rows]
    else:
        lines = [f"{q} Q0 {p} 0 {s} tag" for q, p, s in rows]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("name", ["scores.jsonl", "scores.csv", "scores.tsv", "scores.run", "dataset"])
def test_lists_get_the_scores_of_every_format(tmp_path, name):
    mined = lists(tmp_path / "lists")
    path = tmp_path / name
    if name == "dataset":
        from datasets import Dataset

        columns = dict(zip(("query-id", "corpus-id", "score"), zip(*ROWS, strict=True), strict=True))
        Dataset.from_dict({key: list(values) for key, values in columns.items()}).save_to_disk(str(path))
    else:
        write(path)
    made = import_scores(path, collection(), tmp_path / "made", lists=mined, name="llm")
    found = {one.query: one for one in made}
    assert len(found) == TRAIN
    first = found["q0"]
    known = {passage: score for query, passage, score in ROWS if query == "q0"}
    for passage, score in zip(first.passages, first.parts["llm"], strict=True):
        assert score == known[passage] if passage in known else math.isnan(score)
    assert repr((*first.positive_scores, *first.negative_scores)) == repr(first.parts["llm"])
    about = made.manifest["imported"]
    assert (about["rows"], about["scored"], about["unused"]) == (5, 5, 0)
    assert about["passages"] == sum(len(one.passages) for one in made)
    assert about["coverage"] == round(5 / about["passages"], 4)


def test_imported_scores_are_weighed_with_others(tmp_path):
    mined = lists(tmp_path / "lists")
    one = import_scores(write(tmp_path / "a.tsv"), collection(), tmp_path / "one", lists=mined, name="llm")
    doubled = [(q, p, 2 * s) for q, p, s in ROWS]
    two = import_scores(
        write(tmp_path / "b.jsonl", doubled), collection(), tmp_path / "two", lists=one, name="other"
    )
    total = score_lists(
        TeacherSum({"llm": 1.0, "other": 0.25}), collection(), two, tmp_path / "sum", ListScoreSettings()
    )
    (first,) = (found for found in total if found.query == "q0")
    assert set(first.parts) == {"llm", "other"}
    assert first.positive_scores == (3.5 * 1.5,)
    assert math.isnan(first.negative_scores[-1])


def test_lists_are_made_from_scores_and_judgements(tmp_path):
    rows = [*ROWS, ("q2", "p2", 1.0), ("q2", "q2", 9.0), ("q3", "n5", 0.25), ("q3", "n4", 0.75)]
    made = import_scores(write(tmp_path / "a.jsonl", rows), collection(), tmp_path / "made", number=1)
    found = list(made)
    assert [(one.query, one.positives, one.negatives, one.negative_ranks) for one in found] == [
        ("q0", ("p0",), ("n0",), (2,)),
        ("q1", ("p1",), ("n2",), (1,)),
        ("q3", ("p3",), ("n4",), (1,)),
    ]
    assert math.isnan(found[2].positive_scores[0])  # the label has no score
    about = made.manifest["imported"]
    assert (about["without_negatives"], about["unknown_passages"]) == (1, 1)
    assert Lists.open(tmp_path / "made").scored


def test_what_does_not_fit_is_counted_and_named(tmp_path):
    rows = [*ROWS, ("q0", "p0", 9.0), ("d0", "p0", 1.0), ("q0", "nowhere", 1.0), ("q0", "n29", 1.0)]
    mined = lists(tmp_path / "lists")
    path = write(tmp_path / "a.tsv", rows)
    zipped = tmp_path / "b.tsv.gz"
    zipped.write_bytes(gzip.compress(path.read_bytes()))
    about = import_scores(zipped, collection(), tmp_path / "made", lists=mined).manifest["imported"]
    assert (about["duplicates"], about["first_duplicate"]) == (1, f"{zipped}:6")
    assert (about["unknown_questions"], about["first_unknown_question"]) == (1, "d0")
    assert (about["unknown_passages"], about["first_unknown_passage"]) == (1, "nowhere")
    assert about["unused"] == 1
    (first,) = (one for one in Lists.open(tmp_path / "made") if one.query == "q0")
    assert first.positive_scores == (3.5,)  # the first one counts


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.jsonl", '{"qid": "q0", "pid": "p0", "score": NaN}\n', "a.jsonl:1: the score nan is not a finite"),
        ("a.csv", "qid,pid,score\nq0,p0,1\nq0,n0,inf\n", "a.csv:3: the score 'inf' is not a finite number"),
        ("a.csv", "qid,pid,score\nq0,p0,high\n", "a.csv:2: the score 'high' is not a finite number"),
        ("a.csv", "qid,pid\nq0,p0\n", "a.csv:1: 0 columns of the score"),
        ("a.csv", "qid,pid,score\nq0,p0\n", "a.csv:2: 2 columns where the first line has 3"),
        ("a.jsonl", '{"qid": "q0"\n', "a.jsonl:1: not JSON"),
        ("a.jsonl", '{"qid": null, "pid": "p0", "score": 1}\n', "a.jsonl:1: qid is None; an id is a text"),
        ("a.tsv", "x\tp0\t1\n", "none of the 1 scores is of a passage in the lists; 1 are of questions that"),
        ("a.run", "q0 Q0 p0 1 inf t\n", "a.run:1: the score inf is not a finite"),
    ],
)
def test_broken_files_are_one_line_and_leave_nothing(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    mined = lists(tmp_path / "lists")
    for given in (mined, None):
        with pytest.raises(DataError) as caught:
            import_scores(tmp_path / name, collection(), tmp_path / "made", lists=given)
        assert message in str(caught.value)
        assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("before", [131_072, LONGEST_CELL])
def test_long_cells_do_not_depend_on_what_was_read_before(tmp_path, before):
    mined = lists(tmp_path / "lists")
    for length, fits in ((200_000, True), (LONGEST_CELL + 1, False)):
        csv.field_size_limit(before)  # the csv module's limit is global; the first is its own
        path = tmp_path / "a.csv"
        path.write_text(f"qid,pid,score,text\nq0,p0,1,{'x' * length}\n")
        made = tmp_path / f"made{length}"
        if fits:
            assert import_scores(path, collection(), made, lists=mined).manifest["imported"]["scored"] == 1
            continue
        with pytest.raises(DataError, match=r"a\.csv:2: field larger than field limit"):
            import_scores(path, collection(), made, lists=mined)
        assert not made.exists()


def test_names_folders_and_lists_that_do_not_fit_are_refused(tmp_path):
    path = write(tmp_path / "a.tsv")
    with pytest.raises(SettingsError, match="name 'cross': choose another"):
        import_scores(path, collection(), tmp_path / "made", name="cross")
    with pytest.raises(DataError, match="no saved data set"):
        import_scores(tmp_path, collection(), tmp_path / "made")
    with pytest.raises(DataError, match="no such file"):
        import_scores(tmp_path / "absent.csv", collection(), tmp_path / "made")
    other = collection(passages=[*collection().passages()][::-1])
    with pytest.raises(DataError, match="lists of data"):
        import_scores(path, other, tmp_path / "made", lists=lists(tmp_path / "lists"))
