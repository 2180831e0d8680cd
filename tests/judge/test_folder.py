"""Every mark is on disk when it is acknowledged; the folder is a test set, and continues where it stopped."""

import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ernie_search.data import open_collection, validate
from ernie_search.errors import DataError, SettingsError, StorageError
from ernie_search.evaluation import read_run
from ernie_search.judge import Judging, found_judging, identity_of
from ernie_search.judge.pool import is_swapped
from ernie_search.types import Query


def mark_all(judging: Judging, mark: str = "not", **others: str) -> None:
    for number, one in enumerate(judging.questions):
        for passage in one.order:
            judging.mark(number, passage, others.get(passage, mark))


def test_the_side_is_random_by_the_seed_and_the_question():
    sides = [is_swapped(f"q{number}", 0) for number in range(400)]
    assert 150 < sum(sides) < 250
    assert sides == [is_swapped(f"q{number}", 0) for number in range(400)]
    assert sides != [is_swapped(f"q{number}", 1) for number in range(400)]


def test_columns_and_order(judging):
    for one in judging.questions:
        left, right = one.columns
        assert one.lists == ((right, left) if one.swapped else (left, right))
        assert one.system_at("left") == int(one.swapped)
        assert one.order[0] == left[0].id
        assert sorted(one.order) == sorted({hit.id for hits in one.lists for hit in hits})
    assert {one.swapped for one in judging.questions} == {True, False}


def test_a_mark_is_kept_and_the_last_one_counts(judged):
    judging = Judging(judged())
    first = judging.questions[0].order[0]
    judging.mark(0, first, "not")
    judging.mark(0, first, "relevant")
    judging.prefer(1, "left")
    judging.close()
    again = Judging(judging.folder, writing=False)
    assert (again.marks[0], again.preferences) == ({first: "relevant"}, ["", "left", ""])
    assert (again.finished, again.next_question) == (0, 0)
    assert again.qrels() == {}  # of a question that is half judged the best hit may be missing


def test_a_half_written_line_is_cut_and_a_damaged_one_is_named(judging):
    first = judging.questions[0].order[0]
    judging.mark(0, first, "partly")
    judging.close()
    path = judging.folder / "marks.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"query": "q1", "pass')
    again = Judging(judging.folder)
    again.mark(0, first, "relevant")
    again.close()
    assert [json.loads(line)["mark"] for line in path.read_text().splitlines()] == ["partly", "relevant"]
    path.write_bytes(whole + b'{"query": "q1", "passage": "none", "mark": "not"}\n')
    with pytest.raises(DataError, match=r"marks\.jsonl:2: no mark of this judging"):
        Judging(judging.folder)


def test_only_one_process_writes(judging):
    with pytest.raises(StorageError, match="another judge has it open"):
        Judging(judging.folder)
    assert Judging(judging.folder, writing=False).finished == 0


def test_what_cannot_be_is_refused(judging):
    for call in (
        lambda: judging.mark(9, "tea", "not"),
        lambda: judging.mark(0, "nothing", "not"),
        lambda: judging.mark(0, judging.questions[0].order[0], "good"),
        lambda: judging.prefer(0, "up"),
    ):
        with pytest.raises(SettingsError):
            call()
    assert (judging.folder / "marks.jsonl").read_bytes() == b""


def test_the_folder_is_a_collection_with_runs(judging):
    mark_all(judging, tea="relevant", rice="partly", wheat="skip")
    collection = open_collection(str(judging.folder))
    validate(collection)
    assert collection.qrels("test") == judging.qrels()
    grades = {grade for row in judging.qrels().values() for grade in row.values()}
    assert grades == {0, 1, 2}
    assert all("wheat" not in row for row in judging.qrels().values())
    for name, file in zip(judging.names, ("first.trec", "second.trec"), strict=True):
        assert read_run(judging.folder / "runs" / file) == judging.runs()[name]


def test_the_same_command_continues_and_another_is_refused(judged, tmp_path):
    queries = [Query("q1", "where does tea grow")]
    asked = [{"index": "tiny", "mode": "words"}]
    folder = judged(modes=("words",), queries=queries)
    assert found_judging(folder, identity_of(asked, queries, 3, 0))
    for other, what in (
        (identity_of(asked, queries, 5, 0), "other k"),
        (identity_of(asked, [Query("q1", "else")], 3, 0), "other questions"),
        (identity_of([{"index": "tiny", "mode": "dense"}], queries, 3, 0), "other systems"),
        (identity_of(asked, queries, 3, 0, cross="x"), "another cross-encoder"),
        (identity_of(asked, queries, 3, 0, model="x"), "another model"),
    ):
        with pytest.raises(SettingsError, match=what):
            found_judging(folder, other)
    settings = json.loads((folder / "judging.json").read_text())
    del settings["cross"], settings["model"]  # as before they were noted
    (folder / "judging.json").write_text(json.dumps(settings))
    assert found_judging(folder, identity_of(asked, queries, 3, 0, cross="x"))
    assert not found_judging(tmp_path / "new", identity_of(asked, queries, 3, 0))
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").touch()
    with pytest.raises(SettingsError, match="holds other files"):
        found_judging(tmp_path / "thesis", identity_of(asked, queries, 3, 0))


def test_a_collection_without_judgements_is_nobody_elses_folder(judged, tmp_path):
    queries = [Query("q1", "where does tea grow")]
    identity = identity_of([{"index": "tiny", "mode": "words"}], queries, 3, 0)
    own = tmp_path / "own"
    own.mkdir()
    for name in ("corpus.jsonl", "queries.jsonl"):
        (own / name).write_text('{"_id": "q1", "text": "mine"}\n')
    with pytest.raises(SettingsError, match=r"holds other files \(corpus.jsonl\)"):
        found_judging(own, identity)
    folder = judged(modes=("words",), queries=queries)
    (folder / "judging.json").unlink()  # as a kill leaves it just before its end
    assert not found_judging(folder, identity)
    for one in ("corpus.jsonl", "queries.jsonl", "pool.jsonl"):
        (folder / one).unlink()
    shutil.rmtree(folder / "runs")
    for left in [one for one in folder.iterdir() if one.name != "marks.jsonl"]:
        shutil.rmtree(left) if left.is_dir() else left.unlink()
    (folder / "marks.jsonl").unlink(missing_ok=True)
    (folder / ".pool.jsonl.77.tmp").touch()  # or in the middle of its first file
    assert not found_judging(folder, identity)


SOURCE = Path(__file__).resolve().parents[2] / "src"
PROGRAM = """
import sys
from pathlib import Path
from ernie_search.judge import Judging, run_judge
run_judge(Judging(Path(sys.argv[1])), lambda address: print(address, flush=True))
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_kill_minus_9_loses_nothing_that_was_acknowledged(judged):
    folder = judged()
    command = [sys.executable, "-c", PROGRAM, str(folder)]
    given = {}
    for _ in range(2):
        environment = os.environ | {"PYTHONPATH": str(SOURCE)}
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
            port = int(process.stdout.readline().rpartition(":")[2])
            client = http.client.HTTPConnection("127.0.0.1", port, timeout=10)

            def ask(path, body=None, client=client):
                content = None if body is None else json.dumps(body)
                headers = {"Content-Type": "application/json"}
                client.request("POST" if body else "GET", f"/v1/judging{path}", content, headers)
                answer = client.getresponse()
                assert answer.status == 200
                return json.loads(answer.read())

            assert ask("")["marks"] == len(given)
            number = ask("")["next"]
            for passage in ask(f"/questions/{number}")["order"]:
                ask("/marks", {"question": number, "passage": passage, "mark": "partly"})
                given[number, passage] = "partly"
            ask("/preferences", {"question": number, "side": "equal"})
            process.send_signal(signal.SIGKILL)
            client.close()
    found = Judging(folder)
    assert {(n, one): mark for n, row in enumerate(found.marks) for one, mark in row.items()} == given
    assert found.finished == 2
    found.close()
