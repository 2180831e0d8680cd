"""``mine`` and ``mine-preview``: from a user's run file to lists that a person can look at."""

import json

import pytest

from ernie_search.mining import Lists, write_lists

RUN = "".join(
    f"q{q} Q0 {passage} {rank} {9 - rank} bm25\n"
    for q in (1, 2)
    for rank, passage in enumerate(("tea", "rice", "wheat"), start=1)
)


@pytest.fixture
def run_file(tmp_path):
    (tmp_path / "bm25.run").write_text(RUN, encoding="utf-8")
    return tmp_path / "bm25.run"


@pytest.fixture
def mined(run_cli, collection, run_file, tmp_path):
    options = ["--split", "test", "--number", 2, "--output", tmp_path / "lists"]
    result = run_cli("mine", run_file, collection, *options)
    assert result.exit_code == 0, result.output
    return tmp_path / "lists", result.stdout


def test_lists_are_written_and_counted(mined, collection):
    folder, text = mined
    assert {one.query: (one.positives, one.negatives) for one in Lists.open(folder)} == {
        "q1": (("tea",), ("rice", "wheat")),
        "q2": (("rice",), ("tea", "wheat")),
    }
    assert "2 lists of up to 2 negatives" in text
    assert "6  passages in the run" in text
    assert "2  known positives" in text
    assert "1  judged questions are not in the run" in text
    assert f"Next: ernie-search mine-preview {folder} {collection}" in text


def test_json(run_cli, collection, run_file, tmp_path):
    options = ["--split", "test", "--first", 1, "--number", 2, "--output", tmp_path / "lists", "--json"]
    report = json.loads(run_cli("mine", run_file, collection, *options).stdout)
    assert report["settings"] | {"first": 1, "number": 2, "last": 100} == report["settings"]
    assert report["counts"]["outside_window"] == 2
    # q1 has skipped its own positive; q2 has skipped tea, and nothing is left to fill with
    assert report["counts"]["short"] == 1
    assert report["rows"] == 2


def test_the_preview_shows_negatives_beside_their_positive(run_cli, collection, mined):
    folder, _ = mined
    text = run_cli("mine-preview", folder, collection, "--number", 1).stdout
    assert "? where tea grows  [q1]" in text
    assert "+ Tea  [tea]" in text
    assert "- rank 2  Rice  [rice]" in text
    assert "Rice [paddy] stands in water" in text  # as it stands, no markup
    assert "- rank 3  [wheat]" in text
    assert "q2" not in text


def test_the_preview_of_scored_lists_as_json_and_text(run_cli, collection, mined):
    folder, _ = mined
    lists = Lists.open(folder)
    scored = [
        type(one)(one.query, one.positives, one.negatives, (2.0,), (1.25, -1.0), (1, 0)) for one in lists
    ]
    write_lists(folder, scored, data_fingerprint=lists.data_fingerprint, about={"split": "test"})
    shown = json.loads(run_cli("mine-preview", folder, collection, "--json").stdout)
    assert [one["query"] for one in shown] == ["q1", "q2"]
    assert shown[1]["positives"][0]["score"] == 2.0
    assert [(p["id"], p["rank"], p["score"]) for p in shown[1]["negatives"]] == [
        ("tea", 1, 1.25),
        ("wheat", 0, -1.0),
    ]
    assert "- random  score -1.00  [wheat]" in run_cli("mine-preview", folder, collection).stdout


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--number", 0], "setting number=0"),
        (["--first", 5, "--last", 5], "widen the window"),
        (["--near-duplicate", 2], "setting near_duplicate=2.0"),
        ([], "no split 'train'"),
        (["--split", "tset"], "did you mean 'test'?"),
        (["--split", "test", "--leave-out", "test"], "positives of split 'test' cannot be left out"),
        (["--split", "test", "--leave-out", "tset"], "did you mean 'test'?"),
    ],
)
def test_wrong_options_are_one_line(run_cli, collection, run_file, tmp_path, options, words):
    result = run_cli("mine", run_file, collection, "--output", tmp_path / "lists", *options)
    assert result.exit_code == 2
    assert words in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "lists").exists()


def test_faults_are_one_line(run_cli, collection, run_file, mined, tmp_path):
    folder, _ = mined
    for arguments, words in (
        (
            ["mine", tmp_path / "absent.run", collection, "--split", "test", "--output", tmp_path / "x"],
            "no such file",
        ),
        (
            ["mine", run_file, collection, "--split", "test", "--output", collection],
            "holds no training lists",
        ),
        (["mine-preview", tmp_path / "absent", collection], "make some with: ernie-search mine"),
    ):
        result = run_cli(*arguments)
        assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
        assert words in result.stderr
    (folder / "lists.parquet").write_bytes(b"altered")
    result = run_cli("mine-preview", folder, collection)
    assert result.exit_code == 2
    assert "its bytes changed" in result.stderr
