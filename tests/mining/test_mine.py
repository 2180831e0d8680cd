"""Mining against an oracle that spells the stages out, over many seeded runs; faults; memory."""

import random
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ernie_search._util.settings import parse_typed
from ernie_search.data import MemoryCollection
from ernie_search.data.near_duplicates import shingles
from ernie_search.errors import DataError, SettingsError, StorageError
from ernie_search.mining import DenoiseSettings, Lists, MineSettings, mine_lists
from ernie_search.mining.passage_table import PassageTable
from ernie_search.types import Passage, Qrels, Query, Run

PARTS = (
    "candidates",
    "outside_window",
    "known_positives",
    "own_passages",
    "left_out",
    "duplicates_of_positives",
    "near_duplicates",
)
REST = ("not_needed", "kept")


def collection(texts: dict[str, str], qrels: Qrels, **more: Qrels) -> MemoryCollection:
    passages = [Passage(name, text) for name, text in texts.items()]
    queries = [Query(name, f"what of {name}?") for name in qrels]
    return MemoryCollection("made up", "memory", passages, queries, {"train": qrels, **more})


def jaccard(a: str, b: str) -> float:
    first, second = shingles(a), shingles(b)
    return len(first & second) / len(first | second) if first | second else 0.0


def same(a: str, b: str) -> bool:
    return a.lower().split() == b.lower().split()


def oracle(
    scores: dict[str, float], positives: list[str], texts: dict[str, str], settings: MineSettings
) -> list[str]:
    """The negatives of the window, by the definition, every pair of texts compared."""
    window = sorted(scores, key=lambda p: (-scores[p], p))[settings.first : settings.last]
    kept: list[str] = []
    for passage in window:
        text = texts[passage]
        copies = any(same(text, texts[p]) for p in positives)
        others = [texts[p] for p in (*positives, *kept)]
        near = settings.near_duplicate and any(
            same(text, other) or jaccard(text, other) > settings.near_duplicate for other in others
        )
        if passage not in positives and not copies and not near and len(kept) < settings.number:
            kept.append(passage)
    return kept


def made_up(generator: random.Random) -> tuple[dict[str, str], Qrels, Run]:
    """Texts of few words, so that many are copies and near-copies of each other."""
    texts: dict[str, str] = {}
    for number in range(60):
        if texts and generator.random() < 0.5:
            words = generator.choice(list(texts.values())).split()
            for _ in range(generator.randrange(3)):
                words[generator.randrange(len(words))] = generator.choice("abcdefgh")
        else:
            words = generator.choices("abcdefgh", k=generator.choice((1, 3, 8, 12)))
        spaced = generator.choice((" ", "  ")).join(words)
        texts[f"p{number}"] = spaced.upper() if generator.random() < 0.3 else spaced
    ids = list(texts)
    qrels = {
        f"q{q}": {p: generator.choice((0, 1, 1, 2)) for p in generator.sample(ids, 3)} for q in range(12)
    }
    run = {
        f"q{q}": {
            p: float(generator.randrange(20)) for p in generator.sample(ids, generator.randrange(1, 50))
        }
        for q in range(3, 15)
    }
    return texts, qrels, run


def as_trec(run: Run) -> str:
    return "".join(f"{q} Q0 {p} 1 {score!r} t\n" for q, scores in run.items() for p, score in scores.items())


@pytest.mark.parametrize("seed", range(25))
def test_every_stage_is_as_the_definition_says(tmp_path: Path, seed: int) -> None:
    generator = random.Random(seed)
    texts, qrels, run = made_up(generator)
    first = generator.choice((0, 0, 4))
    settings = MineSettings(
        first=first,
        last=first + generator.choice((6, 25)),
        number=generator.choice((1, 5)),
        near_duplicate=generator.choice((0.0, 0.3, 0.5)),
        seed=seed,
    )
    lists = mine_lists(run.items(), collection(texts, qrels), tmp_path / "lists", settings)
    found = {one.query: one for one in lists}
    positives = {q: sorted(p for p, grade in row.items() if grade > 0) for q, row in qrels.items()}
    assert list(found) == [q for q in run if positives.get(q)]
    counts = lists.manifest["counts"]
    filled = 0
    for query, one in found.items():
        assert list(one.positives) == positives[query]
        kept = oracle(run[query], positives[query], texts, settings)
        assert list(one.negatives[: len(kept)]) == kept
        more = one.negatives[len(kept) :]
        filled += len(more)
        ranked = sorted(run[query], key=lambda p: (-run[query][p], p))
        assert one.negative_ranks == tuple([ranked.index(p) + 1 for p in kept] + [0] * len(more))
        assert not set(more) & {*positives[query], *ranked[: settings.last]}
        texts_so_far = [texts[p] for p in (*positives[query], *kept)]
        for passage in more:
            assert not any(same(texts[passage], texts[p]) for p in positives[query])
            if settings.near_duplicate:
                assert all(jaccard(texts[passage], t) <= settings.near_duplicate for t in texts_so_far)
            texts_so_far.append(texts[passage])
    assert counts["filled"] == filled
    assert counts["short"] == sum(len(one.negatives) < settings.number for one in lists)
    assert counts["candidates"] == sum(len(run[q]) for q in found)
    assert counts["candidates"] == sum(counts[name] for name in (*PARTS[1:], *REST))
    assert counts["kept"] + filled == sum(len(one.negatives) for one in lists)
    assert counts["mined"] == len(found)
    assert counts["unjudged"] == len(run.keys() - qrels.keys())
    assert counts["without_positives"] == sum(not positives[q] for q in run.keys() & qrels.keys())
    assert counts["absent"] == len(qrels.keys() - run.keys())


def test_a_file_in_any_order_of_lines_and_pairs_give_the_same(tmp_path: Path) -> None:
    texts, qrels, run = made_up(random.Random(1))
    data = collection(texts, qrels)
    settings = MineSettings(last=10, number=8)
    pairs = mine_lists(run.items(), data, tmp_path / "pairs", settings)
    (tmp_path / "run").write_text(as_trec(run))
    turned = {q: dict(reversed(scores.items())) for q, scores in run.items()}
    (tmp_path / "turned").write_text(as_trec(turned))
    for name in ("run", "turned"):
        lists = mine_lists(tmp_path / name, data, tmp_path / "lists", settings)
        assert list(lists) == list(pairs)
        assert lists.manifest["run"] == name
    alone = mine_lists([("q5", run["q5"])], data, tmp_path / "alone", settings)
    assert list(alone) == [one for one in pairs if one.query == "q5"]
    other = mine_lists(run.items(), data, tmp_path / "other", MineSettings(last=10, number=8, seed=7))
    assert list(other) != list(pairs)


def test_counts_worked_by_hand(tmp_path: Path) -> None:
    texts = {
        "pos": "Tea is grown in the hills of Assam",
        "copy": " tea is  GROWN in the hills of assam",
        "near": "Tea is grown in the hills of Kenya",  # 4 of 6 4-grams shared
        "rice": "Rice stands in water for most of its life",
        "rice2": "Rice stands in water for most of its long life",  # 5 of 8 shared
        "wheat": "Wheat likes a dry summer",
        "oats": "Oats like rain",
        "top": "Something at the very top",
        "deep": "Something far below the window",
    }
    order = ["top", "pos", "copy", "near", "rice", "rice2", "wheat", "oats", "deep"]
    run = [("q", {name: float(-rank) for rank, name in enumerate(order)}), ("unknown", {"pos": 1.0})]
    data = collection(texts, {"q": {"pos": 1, "top": 0}, "gone": {"pos": 1}})
    lists = mine_lists(run, data, tmp_path / "a", MineSettings(first=1, last=8, number=2))
    assert [(one.negatives, one.negative_ranks) for one in lists] == [(("rice", "wheat"), (5, 7))]
    assert lists.manifest["counts"] == {
        "candidates": 9,
        "outside_window": 2,
        "known_positives": 1,
        "own_passages": 0,
        "left_out": 0,
        "duplicates_of_positives": 1,
        "near_duplicates": 2,
        "not_needed": 1,
        "kept": 2,
        "denoised": 0,
        "filled": 0,
        "short": 0,
        "mined": 1,
        "unjudged": 1,
        "without_positives": 0,
        "absent": 1,
    }
    more = mine_lists(run, data, tmp_path / "b", MineSettings(first=1, last=8, number=6, seed=3))
    (one,) = more
    # "top" was skipped as too near the top, "deep" alone is left to draw
    assert one.negatives == ("rice", "wheat", "oats", "deep")
    assert one.negative_ranks == (5, 7, 8, 0)
    assert (more.manifest["counts"]["filled"], more.manifest["counts"]["short"]) == (1, 1)
    off = mine_lists(run, data, tmp_path / "c", MineSettings(first=1, last=8, number=3, near_duplicate=0))
    assert [one.negatives for one in off] == [("near", "rice", "rice2")]


def test_what_other_splits_find_relevant_is_left_out_and_counted(tmp_path: Path) -> None:
    texts = {
        "pos": "Tea is grown in the hills of Assam",
        "rice": "Rice stands in water for most of its life",
        "rice2": " RICE stands in water for  most of its life",
        "wheat": "Wheat likes a dry summer",
        "oats": "Oats like rain",
        "rye": "Rye likes sand",
    }
    data = collection(
        texts, {"q": {"pos": 1}}, dev={"d": {"rice": 1, "oats": 0}}, test={"t": {"wheat": 2, "pos": 1}}
    )
    run = [("q", {name: float(-rank) for rank, name in enumerate(texts)})]

    def mined(name: str, **settings: Any) -> Lists:
        return mine_lists(run, data, tmp_path / name, MineSettings(number=4, near_duplicate=0, **settings))

    assert [one.negatives for one in mined("a")] == [("rice", "rice2", "wheat", "oats")]
    for given in (["dev", "test"], "dev, test"):
        lists = mined("b", leave_out=given)
        assert [one.negatives for one in lists] == [("oats", "rye")]  # nothing is drawn from what is left out
        counts = lists.manifest["counts"]
        assert (counts["left_out"], counts["kept"], counts["short"]) == (3, 2, 1)
        assert lists.manifest["settings"]["leave_out"] == ["dev", "test"]
    drawn = mined("c", leave_out=["dev"], last=2)
    assert [set(one.negatives) for one in drawn] == [{"wheat", "oats", "rye"}]
    with pytest.raises(SettingsError, match="positives of split 'train' cannot be left out"):
        mined("d", leave_out=["train"])
    with pytest.raises(DataError, match="trial"):
        mined("e", leave_out=["trial"])


OWN = {
    "a": "School uniforms should be abolished as they cost families too much",
    "copy": "school uniforms SHOULD be abolished as they  cost families too much",
    "near": "School uniforms should be abolished as they cost families far too much",
    "against": "Uniforms spare poor families the race for brands",
    "other": "Wheat likes a dry summer",
    "asked": "what of b?",
}
"""A corpus whose first passage is also a question."""


@pytest.mark.parametrize("near_duplicate", [0.0, 0.5])
@pytest.mark.parametrize("filled", [False, True])
def test_a_question_that_is_a_passage_is_not_its_own_negative(tmp_path, near_duplicate, filled):
    data = collection(OWN, {"a": {"against": 1, "a": 0}, "b": {"against": 1}})
    order = ["against"] if filled else list(OWN)
    run = {query: {name: float(-rank) for rank, name in enumerate(order)} for query in ("a", "b")}
    settings = MineSettings(number=6, near_duplicate=near_duplicate)
    lists = mine_lists(run.items(), data, tmp_path / "lists", settings)
    first, second = lists
    near = set() if near_duplicate else {"near"}
    assert set(first.negatives) == {"other", "asked"} | near
    copies = {"a", "copy", "near"} if not near_duplicate else set(second.negatives) & {"a", "copy", "near"}
    assert near_duplicate == 0 or len(copies) == 1  # copies of each other, and one of them stays
    assert set(second.negatives) == {"other"} | copies  # "asked" is the question's text
    counts = lists.manifest["counts"]
    assert counts["own_passages"] == (0 if filled else 3)
    assert counts["candidates"] == sum(counts[name] for name in (*PARTS[1:], *REST))


def test_an_own_passage_that_is_judged_relevant_is_a_positive_like_any_other(tmp_path):
    data = collection(OWN, {"a": {"a": 1}})
    run = {"a": {name: float(-rank) for rank, name in enumerate(OWN)}}
    (one,) = mine_lists(run.items(), data, tmp_path / "lists", MineSettings(number=6, near_duplicate=0))
    assert one.positives == ("a",)
    assert one.negatives == ("near", "against", "other", "asked")


def test_filled_is_random_over_a_large_corpus(tmp_path: Path) -> None:
    texts = {f"p{n}": f"passage number {n} is of its own" for n in range(3000)}
    qrels = {f"q{n}": {"p0": 1} for n in range(40)}
    run = {q: {"p1": 1.0} for q in qrels}
    lists = mine_lists(
        run.items(), collection(texts, qrels), tmp_path / "l", MineSettings(number=5, near_duplicate=0)
    )
    drawn = [p for one in lists for p in one.negatives[1:]]
    assert lists.manifest["counts"]["filled"] == len(drawn) == 160
    assert not {"p0", "p1"} & set(drawn)
    assert len(set(drawn)) > 140
    assert all(one.negatives[0] == "p1" for one in lists)


def test_other_splits(tmp_path: Path) -> None:
    data = collection({"a": "x", "b": "y"}, {"q": {"a": 1}}, dev={"q": {"b": 1}})
    lists = mine_lists(
        [("q", {"a": 1.0, "b": 0.5})], data, tmp_path / "l", MineSettings(number=1), split="dev"
    )
    assert [(one.positives, one.negatives) for one in lists] == [(("b",), ("a",))]
    assert lists.manifest["split"] == "dev"
    with pytest.raises(DataError, match="did you mean 'train'"):
        mine_lists([], data, tmp_path / "l", split="tarin")


TEXTS = {"a": "x", "b": "y"}


@pytest.mark.parametrize(
    ("run", "qrels", "message"),
    [
        (
            [("q", {"a": 1.0})],
            {"q": {"gone": 1}},
            "memory: question 'q': its positive 'gone' is not in the corpus",
        ),
        (
            [("q", {"far": 1.0})],
            {"q": {"a": 1}},
            "the run: question 'q': passage 'far' is not in memory; is the run",
        ),
        ([("q", {"b": float("nan")})], {"q": {"a": 1}}, "the run: question 'q': a score is NaN"),
        (
            [("q", {"b": 1.0}), ("r", {}), ("q", {"a": 1.0})],
            {"q": {"a": 1}},
            "question 'q' comes twice; group",
        ),
        ([("r", {"b": 1.0})], {"q": {"a": 1}}, "there is no list to write"),
        ([], {"q": {"a": 1}}, "there is no list to write"),
    ],
)
def test_faults_are_named_and_leave_nothing(
    tmp_path: Path, run: list[tuple[str, dict[str, float]]], qrels: Qrels, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        mine_lists(run, collection(TEXTS, qrels), tmp_path / "lists")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("q Q0 b 1 1.0\n", "run:1: 5 columns, a run has 6"),
        ("q Q0 b 1 1.0 t\nq Q0 b 2 0.5 t\n", "run:2: passage 'b' is named twice for query 'q'"),
        ("q Q0 b 1 1.0 t\nr Q0 a 1 1 t\nq Q0 a 1 1 t\n", "run: question 'q' comes twice"),
        ("\n", "run: holds no line of a run"),
    ],
)
def test_faults_of_a_file(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "run").write_text(text)
    with pytest.raises(DataError, match=message):
        mine_lists(tmp_path / "run", collection(TEXTS, {"q": {"a": 1}}), tmp_path / "lists")
    with pytest.raises(DataError, match="absent: no such file"):
        mine_lists(tmp_path / "absent", collection(TEXTS, {"q": {"a": 1}}), tmp_path / "lists")


def test_faults_of_a_collection(tmp_path: Path) -> None:
    twice = MemoryCollection("x", "memory", [Passage("a", "x")] * 2, [], {"train": {"q": {"a": 1}}})
    with pytest.raises(DataError, match="memory: two passages have the id 'a'"):
        mine_lists([("q", {})], twice, tmp_path / "lists")
    empty = MemoryCollection("x", "memory", [], [], {"train": {"q": {"a": 1}}})
    with pytest.raises(DataError, match="memory: the corpus has no passage"):
        mine_lists([("q", {})], empty, tmp_path / "lists")


def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cramped(index: PassageTable, *_: object) -> None:
        index._base.execute("PRAGMA max_page_count=20")

    monkeypatch.setattr(PassageTable, "_load_judgements", cramped)
    data = collection({f"p{n}": "x" * 4000 for n in range(100)}, {"q": {"p1": 1}})
    with pytest.raises(StorageError, match=r"mining's temporary file: .*full; free some space, or .*TMPDIR"):
        mine_lists([("q", {})], data, tmp_path / "lists")


KILLED = """
import os, signal, sys
from pathlib import Path
from ernie_search.data import MemoryCollection
from ernie_search.mining import MineSettings, mine_lists
from ernie_search.types import Passage

def run():
    yield "q", {"b": 1.0}
    os.kill(os.getpid(), signal.SIGKILL)

data = MemoryCollection("x", "memory", [Passage("a", "x"), Passage("b", "y")], [], {"train": {"q": {"a": 1}}})
mine_lists(run(), data, Path(sys.argv[1]), MineSettings(number=1))
"""


def test_a_kill_leaves_the_old_lists_and_the_next_call_cleans_up(tmp_path: Path) -> None:
    folder, temporary = tmp_path / "lists", tmp_path / "tmp"
    temporary.mkdir()
    data = collection(TEXTS, {"q": {"a": 1}})
    before = list(mine_lists([("q", {"b": 1.0})], data, folder, MineSettings(number=1)))
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(folder)], env={"TMPDIR": str(temporary)}, timeout=60, check=False
    )
    assert done.returncode == -9
    assert list(temporary.iterdir()) == []  # the temporary file is gone with the process
    assert list(Lists.open(folder)) == before
    mine_lists([("q", {"b": 1.0})], data, folder, MineSettings(number=1))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lists", "tmp"]


class Streamed(MemoryCollection):
    """Questions and judgements made on the fly, so that only mining's own memory is measured."""

    def __init__(self, questions: int, passages: int) -> None:
        super().__init__("streamed", "memory", [], [], {"train": {}})
        self.count, self.corpus = questions, passages

    def passages(self) -> Iterator[Passage]:
        for n in range(self.corpus):
            yield Passage(f"p{n}", " ".join(f"w{(n * step) % 997}" for step in range(1, 16)))

    def located_judgements(self, split: str, report: object = None) -> Iterator:
        from ernie_search.types import Judgement

        return (("x", Judgement(f"q{n}", f"p{n % self.corpus}", 1)) for n in range(self.count))

    def run(self) -> Iterator[tuple[str, dict[str, float]]]:
        for n in range(self.count):
            yield f"q{n}", {f"p{(n * 7 + rank) % self.corpus}": float(-rank) for rank in range(12)}


def peak(folder: Path, questions: int, passages: int) -> int:
    data = Streamed(questions, passages)
    tracemalloc.start()
    try:
        mine_lists(data.run(), data, folder, MineSettings(last=12, number=4, near_duplicate=0.5))
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_grows_with_neither_questions_nor_corpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ernie_search.mining.passage_table.RECENT", 64)
    monkeypatch.setattr("ernie_search.mining.lists.ROW_GROUP", 64)
    small = peak(tmp_path / "small", 150, 150)
    assert peak(tmp_path / "questions", 900, 150) < 1.3 * small
    assert peak(tmp_path / "corpus", 150, 900) < 1.3 * small


def test_settings() -> None:
    assert parse_typed(MineSettings, {"number": 4}) == MineSettings(number=4)
    for kind, values, message in (
        (MineSettings, {"nubmer": 4}, "unknown setting 'nubmer'; did you mean 'number'"),
        (MineSettings, {"number": 0}, "setting number=0: input should be greater than"),
        (MineSettings, {"number": True}, "setting number=True: a number is needed"),
        (MineSettings, {"first": 5, "last": 5}, "last=5 is not above first=5; widen the window"),
        (MineSettings, {"near_duplicate": 1.0}, "setting near_duplicate=1.0"),
        (DenoiseSettings, {"margin": float("nan")}, "setting margin=nan"),
        (DenoiseSettings, {"keep_at_least": 0}, "setting keep_at_least=0"),
    ):
        with pytest.raises(SettingsError, match=message):
            parse_typed(kind, values)
