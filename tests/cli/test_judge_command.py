"""``judge`` from the command line: what it searches, that it continues, its verdict, and its refusals."""

import json

import pytest

from ernie_search.index import open_index
from ernie_search.judge import Judging

pytest.importorskip("fastapi", reason="the page needs the extra serve")


@pytest.fixture
def index(run_cli, collection, stub_model, tmp_path):
    done = run_cli("index", collection, "--model", stub_model, "--output", tmp_path / "i")
    assert done.exit_code == 0
    return tmp_path / "i"


@pytest.fixture
def person(monkeypatch):
    """Judges in place of the browser: what is named in the question is relevant; as often as asked to."""

    class Person:
        questions = 99

        def __call__(self, judging: Judging, say, *, port: int) -> None:
            say("http://127.0.0.1:1")
            for number in range(min(self.questions, len(judging.questions))):
                one = judging.questions[number]
                for passage in one.order:
                    judging.mark(number, passage, "relevant" if passage in one.query.text else "not")
                if judging.compares:
                    judging.prefer(number, "equal")
            raise KeyboardInterrupt

    found = Person()
    monkeypatch.setattr("ernie_search.judge.run_judge", found, raising=False)
    return found


def test_two_modes_become_a_test_set_and_a_verdict(run_cli, index, collection, person, tmp_path):
    options = [index, "--questions", collection, "--modes", "hybrid,words", "--k", "2", "--no-browser"]
    options += ["--output", tmp_path / "judged"]
    person.questions = 1
    first = run_cli("judge", *options)
    assert first.exit_code == 0, first.output
    assert "1 of 3 questions are judged" in first.stdout
    person.questions = 99
    again = run_cli("judge", *options)
    assert "1 of 3 questions judged; Ctrl-C ends" in again.stderr
    assert "i (hybrid) over i (words), nDCG@2" in again.stdout
    assert "Preferred: i (hybrid) 0, i (words) 0, equal 3" in again.stdout
    assert "Only the pooled hits were judged" in again.stdout
    found = json.loads(run_cli("judge", "--results", "--output", tmp_path / "judged", "--json").stdout)
    assert found["questions"] == {"all": 3, "finished": 3, "graded": 3}
    measured = run_cli("evaluate", tmp_path / "judged", "--index", index, "--measure", "nDCG@2", "--json")
    own = json.loads(measured.stdout)["systems"][0]["measures"]["nDCG@2"]
    assert found["systems"][0]["measures"]["nDCG@2"] == own


def test_two_indexes_have_names_that_differ(run_cli, index, collection, stub_model, person, tmp_path):
    (tmp_path / "other").mkdir()
    assert (
        run_cli("index", collection, "--model", stub_model, "--output", tmp_path / "other" / "i").exit_code
        == 0
    )
    (tmp_path / "questions.txt").write_text("tea\n")
    done = run_cli(
        *("judge", index, "--against", tmp_path / "other" / "i", "--questions", tmp_path / "questions.txt"),
        *("--no-browser", "--output", tmp_path / "judged"),
    )
    assert done.exit_code == 0, done.output
    assert f"{index} (hybrid) over {tmp_path / 'other' / 'i'} (hybrid)" in done.stdout
    with open_index(index) as opened:
        assert len(opened) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--modes", "hybird"], "did you mean 'hybrid'"),
        (["--modes", "hybrid,words,dense"], "judge compares two systems"),
        (["--modes", "words,words"], "the same system twice"),
        (["--modes", "hybrid,words", "--against", "x"], "judge compares two systems"),
        (["--modes", "cross"], "needs a cross-encoder"),
        (["--cross", "some/model"], "--cross NAME is read by mode cross alone"),
        (["--questions", "none.txt"], "none.txt"),
    ],
)
def test_wrong_options_are_one_line(run_cli, index, tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "q.txt").write_text("tea\n")
    given = options if "--questions" in options else ["--questions", "q.txt", *options]
    done = run_cli("judge", index, *given)
    assert done.exit_code == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "judged").exists()


def test_without_questions_or_a_judging(run_cli, tmp_path):
    assert "needs questions" in run_cli("judge", tmp_path).stderr
    assert "no judging here" in run_cli("judge", "--results", "--output", tmp_path).stderr
