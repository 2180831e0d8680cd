"""The stage: the same questions after a kill at any part, small and odd corpora, what is left alone."""

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from adapt_crops import crops
from ernie_search.adaptation import (
    Question,
    QuestionSettings,
    make_questions,
    read_questions,
    write_questions,
)
from ernie_search.adaptation.make import PLAN, manifest_of, parts_of, place_of
from ernie_search.data import MemoryCollection
from ernie_search.errors import DataError, SettingsError
from ernie_search.types import Hit, Passage

SETTINGS = QuestionSettings(number=600, held_out=0.2)


class KilledError(Exception):
    pass


class Finder:
    """Finds the passage with the number that a question names; may be killed at a block."""

    def __init__(self, collection, die_at: int = -1, identity: str = "finder") -> None:
        self.identity = identity
        self.texts = [(one.id, one.text) for one in collection.passages()]
        self.die_at, self.blocks, self.opened = die_at, 0, 0

    @contextmanager
    def __call__(self, parts: Path):
        assert parts.is_dir()
        self.opened += 1
        yield self.search

    def search(self, texts):
        if self.blocks == self.die_at:
            raise KilledError
        self.blocks += 1
        return [self._hits(text) for text in texts]

    def _hits(self, text: str) -> list[Hit]:
        asked = set(text.lower().split())
        best = sorted(self.texts, key=lambda one: -len(asked & set(one[1].lower().split())))
        return [Hit(name, 1.0, passage) for name, passage in best[:20]]


def test_a_run_that_is_killed_anywhere_ends_as_one_that_is_not(tmp_path: Path):
    collection = crops(150)
    whole = make_questions(collection, tmp_path / "whole.jsonl", SETTINGS, search=Finder(collection))
    path = tmp_path / "killed.jsonl"
    calls = 0
    for die_at in range(10):
        made, alive = 0, False

        def making(done: int, die_at: int = die_at) -> None:
            nonlocal made
            made += 1
            if made == die_at + 1 and die_at < 3:
                raise KilledError

        finder = Finder(collection, die_at=1 if die_at < 6 else -1)
        try:
            done = make_questions(collection, path, SETTINGS, search=finder, making=making)
            alive = True
        except KilledError:
            calls += 1
            assert not path.exists()
        if alive:
            break
    assert calls >= 3
    assert path.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert done.counts == whole.counts
    assert not parts_of(path).exists()


def test_a_finished_file_is_only_read_and_an_edited_one_left_alone(tmp_path: Path):
    collection, path = crops(120), tmp_path / "q.jsonl"
    made = make_questions(collection, path, SETTINGS)
    finder = Finder(collection)
    again = make_questions(collection, path, SETTINGS)
    assert (again.questions, again.counts, again.edited) == (made.questions, made.counts, False)
    write_questions(path, [*made.questions, Question("mine", "p3")])
    edited = make_questions(collection, path, SETTINGS)
    assert edited.edited
    assert edited.questions[-1].text == "mine"
    with pytest.raises(SettingsError, match=r"made otherwise \(other: settings, filtered\)"):
        make_questions(collection, path, QuestionSettings(seed=3), search=finder)
    with pytest.raises(SettingsError, match=r"made otherwise \(other: data"):
        make_questions(crops(121), path, SETTINGS)
    manifest_of(path).unlink()
    with pytest.raises(SettingsError, match="was not made by this command"):
        make_questions(collection, path, SETTINGS)


class Blind(Finder):
    """Finds nothing."""

    def search(self, texts):
        return [[] for _ in super().search(texts)]


def test_a_file_is_of_the_search_that_filtered_it(tmp_path: Path):
    collection, path = crops(120), tmp_path / "q.jsonl"
    made = make_questions(collection, path, SETTINGS, search=Finder(collection))
    assert len(made.questions) > 100
    with pytest.raises(SettingsError, match=r"made otherwise \(other: search\)"):
        make_questions(collection, path, SETTINGS, search=Blind(collection, identity="blind"))
    with pytest.raises(SettingsError, match=r"made otherwise \(other: filtered, search\)"):
        make_questions(collection, path, SETTINGS)
    other = tmp_path / "other.jsonl"
    with pytest.raises(KilledError):
        make_questions(collection, other, SETTINGS, search=Finder(collection, die_at=1))
    with pytest.raises(SettingsError, match=r"begun with other settings .*\(other: search\)"):
        make_questions(collection, other, SETTINGS, search=Blind(collection, identity="blind"))
    assert make_questions(collection, other, SETTINGS, search=Finder(collection)).counts == made.counts


def test_what_an_earlier_version_did_not_note_is_taken_as_it_is(tmp_path: Path):
    collection, path = crops(120), tmp_path / "q.jsonl"

    def forget(noted: Path, within: str | None = None) -> None:
        row = json.loads(noted.read_text())
        del (row if within is None else row[within])["search"]
        noted.write_text(json.dumps(row))

    with pytest.raises(KilledError):
        make_questions(collection, path, SETTINGS, search=Finder(collection, die_at=1))
    forget(parts_of(path) / PLAN)
    with pytest.raises(KilledError):
        make_questions(collection, path, SETTINGS, search=Finder(collection, die_at=0))
    with pytest.raises(SettingsError, match="begun with other settings"):  # it was noted by then
        make_questions(collection, path, SETTINGS, search=Finder(collection, identity="other"))
    made = make_questions(collection, path, SETTINGS, search=Finder(collection))
    forget(manifest_of(path), "asked")
    again = make_questions(collection, path, SETTINGS, search=Finder(collection, identity="other"))
    assert again.questions == made.questions


def test_held_out_questions_alone_are_another_file(tmp_path: Path):
    path = tmp_path / "q.jsonl"
    made = make_questions(crops(120), path, SETTINGS, learnt=False)
    assert {one.split for one in made.questions} == {"held-out"}
    assert make_questions(crops(120), path, SETTINGS, learnt=False).questions == made.questions
    with pytest.raises(SettingsError, match=r"made otherwise \(other: learnt\)"):
        make_questions(crops(120), path, SETTINGS)


def test_a_kill_between_the_file_and_its_manifest_is_made_good(tmp_path: Path, monkeypatch):
    collection, path = crops(120), tmp_path / "q.jsonl"
    with monkeypatch.context() as patch:
        patch.setattr(
            "ernie_search.adaptation.make.sha256_file", lambda path: (_ for _ in ()).throw(KilledError())
        )
        with pytest.raises(KilledError):
            make_questions(collection, path, SETTINGS)
    first = path.read_bytes()
    assert make_questions(collection, path, SETTINGS).questions
    assert path.read_bytes() == first
    assert manifest_of(path).is_file()


def test_an_unfinished_one_of_other_settings_is_refused(tmp_path: Path):
    collection, path = crops(120), tmp_path / "q.jsonl"
    with pytest.raises(KilledError):
        make_questions(collection, path, SETTINGS, search=Finder(collection, die_at=0))
    with pytest.raises(SettingsError, match="begun with other settings"):
        make_questions(collection, path, QuestionSettings(seed=1), search=Finder(collection))


def test_counts_add_up(tmp_path: Path):
    collection = crops(150)
    made = make_questions(collection, tmp_path / "q.jsonl", SETTINGS, search=Finder(collection))
    counts = made.counts
    dropped = sum(sum(kinds.values()) for kinds in counts["dropped"].values())
    assert sum(counts["made"].values()) == 600 == dropped + len(made.questions)
    assert sum(counts["kept"].values()) == sum(counts["splits"].values()) == len(made.questions)
    assert (counts["passages"], counts["drawn"], counts["without_questions"]) == (150, 150, 0)


@pytest.mark.parametrize(
    ("passages", "said"), [(1, "1 passages are too few"), (10, "too few"), (99, "too few")]
)
def test_few_passages_are_said_to_be_too_few(tmp_path: Path, passages: int, said: str):
    collection, notes = crops(passages), []
    settings = QuestionSettings(held_out=0)
    made = make_questions(
        collection, tmp_path / "q.jsonl", settings, search=Finder(collection), say=notes.append
    )
    assert made.questions
    assert said in notes[0]
    assert ("no question is dropped as not found" in notes[0]) == (passages <= 20)


def test_a_hundred_passages_are_enough_to_begin(tmp_path: Path):
    notes: list[str] = []
    make_questions(crops(100), tmp_path / "q.jsonl", QuestionSettings(held_out=0), say=notes.append)
    assert notes == []


def test_passages_all_alike_leave_nothing_to_learn_and_it_is_said_why(tmp_path: Path):
    text = next(iter(crops(1).passages())).text
    alike = MemoryCollection("alike", "memory", [Passage(f"p{n}", text) for n in range(150)], [], {})
    made = make_questions(alike, tmp_path / "q.jsonl", SETTINGS, search=Finder(alike))
    assert made.questions == []
    assert sum(made.counts["made"].values()) > 100
    assert set(made.counts["dropped"]) <= {"ambiguous", "repeated"}


def test_passages_of_one_word_are_refused_with_the_reason(tmp_path: Path):
    short = MemoryCollection("words", "memory", [Passage(f"p{n}", f"word{n}") for n in range(150)], [], {})
    with pytest.raises(DataError, match="too short"):
        make_questions(short, tmp_path / "q.jsonl", SETTINGS)


def test_own_questions_come_first_stay_and_are_checked(tmp_path: Path):
    collection, notes = crops(120), []
    own = [Question("where was grain sold", "p4"), Question("what of the moon", "gone")]
    made = make_questions(
        collection,
        tmp_path / "q.jsonl",
        SETTINGS,
        own=own,
        search=Finder(collection),
        say=notes.append,
    )
    assert made.questions[0] == own[0]
    assert made.counts["dangling"] == 1
    assert any("'gone'" in one for one in notes)
    assert read_questions(tmp_path / "q.jsonl") == made.questions


def test_output_is_a_file_or_a_folder():
    assert place_of(Path("runs/q.jsonl")) == Path("runs/q.jsonl")
    assert place_of(Path("runs/adapted")) == Path("runs/adapted/questions.jsonl")


SCRIPT = """
import sys
from pathlib import Path
sys.path.append(sys.argv[2])
from adapt_crops import crops
from ernie_search.adaptation import QuestionSettings, make_questions
def making(done):
    print("part", flush=True)
make_questions(crops(1500), Path(sys.argv[1]), QuestionSettings(number=6000, held_out=0.2), making=making)
"""


def test_kill_minus_nine_loses_one_part_at_most(tmp_path: Path):
    tests = str(Path(__file__).parent.parent)
    for kill_after in (1, 4, 0):
        command = [sys.executable, "-c", SCRIPT, str(tmp_path / "q.jsonl"), tests]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for _ in range(kill_after):
                assert process.stdout.readline() == "part\n"
            if kill_after:
                os.kill(process.pid, signal.SIGKILL)
            process.stdout.read()
        if kill_after:
            assert len(list(parts_of(tmp_path / "q.jsonl").glob("made-*.jsonl"))) >= kill_after
    settings = QuestionSettings(number=6000, held_out=0.2)
    make_questions(crops(1500), tmp_path / "whole.jsonl", settings)
    assert (tmp_path / "q.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert json.loads(manifest_of(tmp_path / "q.jsonl").read_text())["counts"]["drawn"] == 1500
