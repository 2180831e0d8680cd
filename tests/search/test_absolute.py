"""The sum of readings on absolute scales, against the sum spelled out in plain loops."""

import copy
import math
from collections import Counter

import numpy as np
import pytest

from ernie_search.encoding import encode_collection
from ernie_search.errors import SettingsError
from ernie_search.index import Eq, Index, MemoryIndex, index_shards, reciprocal_rank
from ernie_search.search import DEFAULTS, Fusion, Searcher, explain
from ernie_search.search.readings import has_unit_vectors, situation
from ernie_search.types import Passage
from stub_encoder import StubEncoder, StubEncoding, numbered_passages

PASSAGES = [
    Passage(one.id, one.text, one.title, {"half": "even" if int(one.id[1:]) % 2 == 0 else "odd"})
    for one in numbered_passages(120)
]
TEXTS = {one.id: one.full_text for one in PASSAGES}
QUESTIONS = ["w1 w8 w3", "w40 w47 w120", "w5", "title6 w9 w9"]
WEIGHTS = {"dense": 0.7, "late": 0.9, "bm25": 0.3}
GIVEN = Fusion("absolute", WEIGHTS)


class LongVectors(StubEncoder):
    """A model that scores by dot products of vectors of any length."""

    def encode_joint(self, texts, task, **options) -> StubEncoding:
        found = super().encode_joint(texts, task, **options)
        found.dense = found.dense * np.float32([[1 + len(text) % 7] for text in texts])
        return found


class NoStatistics(MemoryIndex):
    """As a server's index, which keeps none."""

    def statistics(self) -> None:
        return None


def searcher_over(folder, model: StubEncoder, passages=PASSAGES, **options) -> Searcher:
    encode_collection(model, passages, folder, data_fingerprint="d", **options)
    return Searcher(model, index_shards(folder, "memory://"))


@pytest.fixture(scope="module", params=[StubEncoder, LongVectors])
def searcher(request, tmp_path_factory) -> Searcher:
    return searcher_over(tmp_path_factory.mktemp("shards"), request.param())


def expected_readings(question: str, ids: list[str]) -> dict[str, dict[str, float]]:
    """Every reading of every passage, by definition."""
    stub = StubEncoder()
    asked = stub.encode_joint([question], "query")
    words = {one: text.lower().split() for one, text in TEXTS.items()}
    average = sum(map(len, words.values())) / len(words)

    def idf(word: str) -> float:
        holders = sum(word in found for found in words.values())
        return math.log(1 + (len(words) - holders + 0.5) / (holders + 0.5))

    most = sum(idf(word) for word in question.split())
    found = {}
    for one in ids:
        stored = stub.encode_joint([TEXTS[one]], "passage")
        rows = stored.tokens[0].astype(np.float16).astype(float)
        late = [max(float(np.dot(row, other)) for other in rows) for row in asked.tokens[0]]
        counts = Counter(words[one])
        share = sum(
            idf(word) * counts[word] / (counts[word] + 0.9 * (1 - 0.4 + 0.4 * len(words[one]) / average))
            for word in question.split()
        )
        found[one] = {
            "dense": float(np.dot(asked.dense[0], stored.dense[0])),
            "late": sum(late) / len(late),
            "bm25": (share / most) ** 2,
        }
    return found


def rankings(searcher: Searcher, question: str, depth: int):
    vector = searcher.model.encode_joint([question], "query").dense
    return searcher.index.nearest(vector, depth)[0], searcher.index.bm25([question], depth)[0]


@pytest.mark.parametrize("question", QUESTIONS)
def test_the_sum_is_the_one_in_plain_loops(searcher, question):
    near, found = rankings(searcher, question, 10)
    union = set(near.ids) | set(found.ids)
    readings = expected_readings(question, sorted(union))
    sums = {one: sum(WEIGHTS[name] * value for name, value in readings[one].items()) for one in union}
    options = {"mode": "hybrid", "candidates": 10, "fusion": GIVEN, "token_weights": "even"}
    hits = searcher.search(question, 10, **options)
    best = sorted(union, key=lambda one: (-sums[one], one))[:10]
    assert [hit.id for hit in hits] == best
    for hit in hits:
        assert hit.score == pytest.approx(sums[hit.id], abs=2e-3)  # fp16 tokens
        assert {name: hit.stages[name] for name in WEIGHTS} == pytest.approx(readings[hit.id], abs=2e-3)
        assert hit.stages["fused"] == hit.score
        assert hit.score == pytest.approx(sum(WEIGHTS[name] * hit.stages[name] for name in WEIGHTS))


def test_every_candidate_has_every_reading_and_the_rest_follows_by_ranks(searcher):
    question = QUESTIONS[0]
    near, found = rankings(searcher, question, 60)
    head = set(near.ids[:5]) | set(found.ids[:5])
    hits = searcher.search(question, 60, mode="hybrid", candidates=5, fusion=GIVEN)
    assert {hit.id for hit in hits[: len(head)]} == head
    assert all(set(hit.stages) == {"dense", "bm25", "late", "fused"} for hit in hits[: len(head)])
    rest = [one for one in reciprocal_rank([near, found], 120).ids if one not in head]
    assert [hit.id for hit in hits[len(head) :]] == rest[: 60 - len(head)]
    assert all(not hit.stages for hit in hits[len(head) :])
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_a_dot_product_is_put_on_the_cosines_scale(searcher):
    assert has_unit_vectors(searcher.index) is not isinstance(searcher.model, LongVectors)
    hits = searcher.search(QUESTIONS[0], 120, mode="hybrid", candidates=120)
    assert all(-1 <= hit.stages["dense"] <= 1 for hit in hits)


@pytest.mark.parametrize("options", [{}, {"rerank": False}, {"where": Eq("half", "odd")}, {"exact": True}])
def test_a_question_alone_gets_what_it_gets_among_others(searcher, options):
    together = searcher.search_many(QUESTIONS, 15, mode="hybrid", candidates=8, **options)
    alone = [searcher.search(one, 15, mode="hybrid", candidates=8, **options) for one in QUESTIONS]
    assert together == alone
    if "where" in options:
        assert {hit.fields["half"] for hits in together for hit in hits} == {"odd"}


def test_equal_sums_are_in_the_order_of_ids(tmp_path):
    copies = [Passage(f"{n:02}", "one and the same") for n in range(30)]
    searcher = searcher_over(tmp_path, StubEncoder(), copies)
    for candidates in (4, 30):
        hits = searcher.search("the same", 12, candidates=candidates)
        assert [hit.id for hit in hits] == [f"{n:02}" for n in range(12)]


def test_what_is_missing_is_left_out(searcher, tmp_path):
    hits = searcher.search(QUESTIONS[0], 5, mode="hybrid", rerank=False)
    assert all(set(hit.stages) == {"dense", "bm25", "fused"} for hit in hits)
    weights = DEFAULTS["dense_only"].weights
    assert hits[0].score == pytest.approx(sum(weights[one] * hits[0].stages[one] for one in weights))
    unknown = searcher.search("nowhere", 5, mode="hybrid", fusion=GIVEN)  # no passage has such a word
    assert all(hit.stages["bm25"] == 0 for hit in unknown)
    wordless = searcher.search("?!", 5, mode="hybrid", fusion=GIVEN)
    assert all(set(hit.stages) == {"dense", "late", "fused"} for hit in wordless)
    bare = searcher_over(tmp_path, StubEncoder(), with_tokens=False)
    (hit, *_) = bare.search(QUESTIONS[0], fusion=Fusion("absolute", {"dense": 1.0, "late": 5.0}))
    assert hit.score == pytest.approx(hit.stages["dense"])
    assert bare.search("w1", where=Eq("half", "neither")) == []


def test_without_statistics_the_default_is_reciprocal_ranks(searcher):
    index = NoStatistics(searcher.index.spec, searcher.index.codec)
    for batch in searcher.index.scan([*searcher.index.fetch(["p1"]).column_names]):
        index._replace(batch.schema.empty_table() if False else _table(batch))
    other = Searcher(searcher.model, index)
    by_ranks = Fusion("rrf")
    asked = searcher.search(QUESTIONS[0], fusion=by_ranks, token_weights="even")
    assert other.search(QUESTIONS[0]) == asked
    asked = other.search(QUESTIONS[0], fusion=GIVEN)
    assert all(set(hit.stages) == {"dense", "late", "fused"} for hit in asked)
    with pytest.raises(SettingsError, match="keeps no statistics"):
        other.search(QUESTIONS[0], token_weights="idf")
    with pytest.raises(SettingsError, match="did you mean 'idf'"):
        other.search(QUESTIONS[0], token_weights="idff")


def _table(batch):
    import pyarrow as pa

    return pa.Table.from_batches([batch])


def spec_of(index: Index, kind: str) -> Index:
    changed = MemoryIndex(index.spec.model_copy(update={"encoder_kind": kind}), index.codec)
    for batch in index.scan([*index.fetch(["p1"]).column_names]):
        changed._replace(_table(batch))
    return changed


def test_the_situation_decides_the_weights(searcher):
    for kind, expected in (("joint", "joint"), ("plain", "plain"), ("late", "late_only")):
        index = spec_of(searcher.index, kind)
        assert situation(index, late=True) == expected
        assert situation(index, late=False) == "dense_only"
        weights = DEFAULTS[expected].weights
        (hit, *_) = Searcher(searcher.model, index).search(QUESTIONS[0])
        assert hit.score == pytest.approx(sum(weights[one] * hit.stages[one] for one in weights))


@pytest.mark.parametrize("mode", ["late", "hybrid"])
@pytest.mark.parametrize("given", [None, "root", "idf"])
def test_rare_tokens_count_more_in_a_plain_encoder(searcher, mode, given):
    question = QUESTIONS[3]
    plain = Searcher(searcher.model, spec_of(searcher.index, "plain"))
    hits = plain.search(question, 10, mode=mode, token_weights=given)
    asked = plain.model.encode_joint([question], "query")
    weights = plain.index.statistics().token_weights(asked.token_ids[0])
    assert len(set(weights.tolist())) > 1
    if given != "idf":
        weights = np.sqrt(weights) / np.sqrt(weights).mean()
    by_default = [one.weight for one in explain(plain, question, hits)[0].tokens]
    assert given == "idf" or by_default == pytest.approx(weights.tolist())
    for hit, reason in zip(hits, explain(plain, question, hits), strict=True):
        strengths = np.array([one.strength for one in reason.tokens])
        assert hit.stages["late"] == pytest.approx(float(np.mean(strengths * weights)), abs=2e-3)
    even = plain.search(question, 10, mode=mode, token_weights="even")
    assert [one.stages["late"] for one in even] != [one.stages["late"] for one in hits]
    options = {"mode": mode, "fusion": Fusion("absolute", DEFAULTS["plain"].weights)}
    assert even == searcher.search(question, 10, token_weights="even", **options)


def test_what_cannot_be_read_is_not_ranked_by(searcher, tmp_path):
    plain = searcher_over(tmp_path, StubEncoder(), with_tokens=False)
    with pytest.raises(SettingsError, match=r"absolute:late=1\.0: nothing that counts can be read here"):
        plain.search("w1", fusion=Fusion("absolute", {"late": 1.0}))
    with pytest.raises(SettingsError, match="give a weight to bm25 or dense"):
        searcher.search("w1", fusion=Fusion("absolute", {"late": 1.0}), rerank=False)
    assert searcher.search("?!", fusion=Fusion("absolute", {"bm25": 1.0})) == []
    assert searcher.search("w1", fusion=Fusion("absolute", {"bm25": 1.0}))


def test_the_length_of_vectors_is_looked_at_once(searcher, monkeypatch):
    looked = []
    module = "ernie_search.search.searcher.has_unit_vectors"
    monkeypatch.setattr(module, lambda index: bool(looked.append(index)) or has_unit_vectors(index))
    one = Searcher(searcher.model, searcher.index)
    for copied in (copy.copy(one), copy.copy(one), one):
        copied.search("w1")
    assert len(looked) == 1
