"""BM25 against the formula written out, its order, and the yardstick of the real data."""

import gzip
import json
import math
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ernie_search._util.words import words
from ernie_search.errors import DataError, SettingsError
from ernie_search.mining.bm25 import BM25
from ernie_search.types import Passage, Query

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
needs_data = pytest.mark.skipif(
    not DATA.is_dir(), reason="the labelled collections are not beside this checkout"
)


def lucene(query: str, passages: list[Passage], k1: float = 0.9, b: float = 0.4) -> dict[str, float]:
    """The definition (Kamphuis et al. 2020, "Lucene (accurate)"), a loop a term."""
    texts = {passage.id: words(passage.full_text) for passage in passages}
    mean_length = sum(map(len, texts.values())) / len(texts)
    scores: Counter[str] = Counter()
    for term in words(query):
        holders = [passage_id for passage_id, text in texts.items() if term in text]
        idf = math.log(1 + (len(texts) - len(holders) + 0.5) / (len(holders) + 0.5))
        for passage_id in holders:
            tf = texts[passage_id].count(term)
            scores[passage_id] += idf * tf / (tf + k1 * (1 - b + b * len(texts[passage_id]) / mean_length))
    return dict(scores)


def random_passages(number: int) -> list[Passage]:
    generator = random.Random(7)
    vocabulary = [f"w{i}" for i in range(60)]
    return [
        Passage(
            f"p{i}",
            " ".join(generator.choices(vocabulary, k=generator.randint(1, 30))),
            title=generator.choice(vocabulary),
        )
        for i in range(number)
    ]


def test_equals_the_definition() -> None:
    passages = random_passages(80)
    queries = [Query(f"q{i}", f"w{i} w{i + 1} w{i} unknown") for i in range(30)]
    for settings in ({}, {"k1": 1.5, "b": 0.75}, {"k1": 0.0, "b": 0.0}):
        run = BM25(passages, None, **settings).search(queries, 80)
        for query in queries:
            expected = lucene(query.text, passages, **settings)
            assert run[query.id] == pytest.approx(expected, rel=1e-5)


def test_top_k_is_the_head_of_the_whole_ranking() -> None:
    passages = random_passages(80)
    bm25 = BM25(passages)
    queries = [Query(f"q{i}", f"w{i} w{i + 7}") for i in range(30)]
    whole = bm25.search(queries, 10**6)
    for query in queries:
        ranking = list(whole[query.id].items())
        row = {passage.id: number for number, passage in enumerate(passages)}
        assert ranking == sorted(ranking, key=lambda item: (-item[1], row[item[0]]))
        for k in (1, 3, 10):
            assert list(bm25.search([query], k)[query.id].items()) == ranking[:k]


def test_equal_scores_stand_in_the_order_of_the_passages() -> None:
    ids = ["z", "m", "a", "k", "b"]
    bm25 = BM25(
        [Passage(name, "same words") for name in ids] + [Passage("best", "words"), Passage("none", "x")]
    )
    assert list(bm25.search([Query("q", "words")], 4)["q"]) == ["best", "z", "m", "a"]


def test_only_passages_that_share_a_word_are_listed() -> None:
    bm25 = BM25([Passage("a", "red fox"), Passage("b", "blue whale", title="Fox"), Passage("c", "x")])
    run = bm25.search(
        [Query("1", "FOX?"), Query("2", "unheard of"), Query("3", "..."), Query("4", "the")], 10
    )
    assert set(run["1"]) == {"a", "b"}
    assert all(score > 0 for score in run["1"].values())
    assert run["2"] == run["3"] == run["4"] == {}


def test_stop_words() -> None:
    passages = [Passage("a", "the the the"), Passage("b", "cat")]
    assert BM25(passages).search([Query("q", "the")])["q"] == {}
    assert list(BM25(passages, stop_words=None).search([Query("q", "the")])["q"]) == ["a"]


def test_languages_without_spaces() -> None:
    bm25 = BM25(
        [Passage("zh", "北京是中国的首都"), Passage("th", "กรุงเทพเป็นเมืองหลวง"), Passage("en", "Bangkok")]
    )
    run = bm25.search([Query("zh", "中国首都在哪里?"), Query("th", "เมืองหลวงคือ")], 10)
    assert list(run["zh"]) == ["zh"]
    assert list(run["th"]) == ["th"]


def test_nothing_is_printed_and_the_passages_are_streamed(capfd: pytest.CaptureFixture[str]) -> None:
    BM25(Passage(str(i), f"text {i}") for i in range(5)).search((Query("q", "text") for _ in range(1)), 3)
    assert capfd.readouterr() == ("", "")


def test_bad_input_is_refused() -> None:
    with pytest.raises(DataError, match="two passages have the id 'b'"):
        BM25([Passage("a", "x"), Passage("b", "x"), Passage("b", "y")])
    with pytest.raises(DataError, match="none of the 0 passages"):
        BM25([])
    with pytest.raises(DataError, match="none of the 2 passages has a word"):
        BM25([Passage("a", "the"), Passage("b", "…")])
    with pytest.raises(SettingsError, match="stop_words is 'de'"):
        BM25([Passage("a", "x")], "de")  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="b from 0 to 1"):
        BM25([Passage("a", "x")], b=2)
    with pytest.raises(SettingsError, match="k is 0"):
        BM25([Passage("a", "x")]).search([], 0)
    with pytest.raises(DataError, match="two queries have the id 'q'"):
        BM25([Passage("a", "x")]).search([Query("q", "x"), Query("q", "y")])


def read_jsonl(stem: Path) -> Iterator[dict[str, Any]]:
    packed = stem.with_name(stem.name + ".gz")
    with (
        gzip.open(packed, "rt", encoding="utf-8")
        if packed.exists()
        else open(stem, encoding="utf-8") as lines
    ):
        yield from map(json.loads, lines)


def first_ranks(name: str, split: str, prefix: str = "") -> list[int | None]:
    """For each question the rank, from 1, of its first relevant passage in the top 100."""
    folder = DATA / name
    bm25 = BM25(Passage(e["_id"], e["text"], e["title"]) for e in read_jsonl(folder / "corpus.jsonl"))
    relevant: dict[str, set[str]] = {}
    for line in (folder / "qrels" / f"{split}.tsv").read_text(encoding="utf-8").splitlines()[1:]:
        query_id, passage_id, _ = line.split("\t")
        relevant.setdefault(query_id, set()).add(passage_id)
    queries = [
        Query(e["_id"], e["text"])
        for e in read_jsonl(folder / "queries.jsonl")
        if e["_id"] in relevant and e["_id"].startswith(prefix)
    ]
    run = bm25.search(queries, 100)
    return [
        next((rank for rank, p in enumerate(run[query.id], 1) if p in relevant[query.id]), None)
        for query in queries
    ]


def mrr10(ranks: list[int | None]) -> float:
    return sum(1 / rank for rank in ranks if rank and rank <= 10) / len(ranks)


@pytest.mark.slow
@needs_data
def test_squad_reaches_the_yardstick() -> None:
    ranks = first_ranks("squad", "dev")
    assert len(ranks) == 1376
    assert mrr10(ranks) == pytest.approx(0.804, abs=0.01)
    assert sum(rank is not None for rank in ranks) / len(ranks) == pytest.approx(0.974, abs=0.01)


@needs_data
def test_pubmedqa_reaches_the_yardstick() -> None:
    assert mrr10(first_ranks("pubmedqa", "dev")) == pytest.approx(0.982, abs=0.02)


@needs_data
@pytest.mark.parametrize("language", ["hi", "th", "zh", "ar"])
def test_other_scripts_are_searched_by_words(language: str) -> None:
    ranks = first_ranks("xquad", "test", f"{language}-")
    assert len(ranks) == 1190
    assert mrr10(ranks) > 0.8


def test_in_a_language_words_meet_by_their_stems() -> None:
    passages = [
        Passage(
            "a", "The engines of the ships were started by the crew, and it was a long day for all of them."
        ),
        Passage("b", "It was the wind that they waited for, since there is no sail that fills without it."),
    ]
    query = Query("q", "which engine starts?")
    assert BM25(passages).search([query])["q"] == {}
    for language in ("en", "auto"):
        bm25 = BM25(iter(passages), language=language)
        assert list(bm25.search([query])["q"]) == ["a"]
        assert (bm25.language, bm25.passage_ids) == ("en", ["a", "b"])
    with pytest.raises(SettingsError, match="language is 'eng'; did you mean 'en'"):
        BM25(passages, language="eng")
