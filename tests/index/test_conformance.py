"""What every backend must do, run over every backend; brute force in fp64 is the oracle."""

import json

import numpy as np
import pytest

from ernie_search.encoding import encode_collection
from ernie_search.errors import DataError, ErnieSearchError, IndexStateError, SettingsError
from ernie_search.index import (
    And,
    Eq,
    In,
    Not,
    Or,
    Range,
    index_shards,
    infer_fields,
    parse_filter,
    verify,
)
from ernie_search.index.filters import meets
from ernie_search.index.spec import RESERVED
from ernie_search.search import Searcher
from ernie_search.types import Passage
from index_helpers import FIELDS, MODEL, batch, brute_force, new_index, passage, vectors
from stub_encoder import StubEncoder

COUNT = 60
PASSAGES = [passage(number) for number in range(COUNT)]
BACKENDS = ("memory", "lance", "qdrant", "memory int8", "lance int8")
"""With "int8", vectors are compared as codes of 8 bits first; the approximate index is in test_lance_ann."""


def make(name, folder, **changes):
    kind, _, dense = name.partition(" ")
    if dense:
        changes = {"dense": dense} | changes
    if kind == "qdrant":
        pytest.importorskip("qdrant_client", reason="the extra 'qdrant' is not installed")
    return new_index(kind, folder, **changes)


@pytest.fixture(scope="module", params=BACKENDS)
def store(request, tmp_path_factory):
    """Filled once; tests that write make their own."""
    made = make(request.param, tmp_path_factory.mktemp("shared") / "store")
    made.upsert(batch(PASSAGES[:25]))
    made.upsert(batch(PASSAGES[25:]))
    made.commit()
    yield made
    made.close()


@pytest.fixture(params=BACKENDS)
def fresh(request, tmp_path):
    made = make(request.param, tmp_path / "store")
    yield made
    made.close()


FILTERS = [
    Eq("lang", "de"),
    Eq("id", "p007"),
    Eq("open", True),
    Eq("year", 2002),
    In("lang", ("en", "zh")),
    In("year", (1991, 1993, 3000)),
    In("lang", ()),
    Range("year", at_least=2000, below=2020),
    Range("price", above=2.5, at_most=10.25),
    Not(Eq("year", 2002)),
    Not(Range("year", at_least=2000)),
    And((Eq("lang", "en"), Not(Eq("open", True)))),
    Or((Eq("lang", "zh"), Range("price", below=1))),
    And((Or((Eq("lang", "en"), Eq("lang", "de"))), Not(Or((Eq("open", False), Range("year", above=2030)))))),
    And(()),
    Or(()),
    Eq("lang", "no such"),
]


def test_dense_search_is_brute_force(store):
    for vector, ranking in zip(vectors(8), store.nearest(vectors(8), 9), strict=True):
        ids, scores = brute_force(PASSAGES, vector, 9)
        assert ranking.ids == ids
        np.testing.assert_allclose(ranking.scores, scores, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("where", FILTERS, ids=str)
def test_filters_mean_the_same_everywhere(store, where):
    (vector,) = vectors(1, seed=5)
    (ranking,) = store.nearest(vector, COUNT, where=where)
    assert ranking.ids == brute_force(PASSAGES, vector, COUNT, where)[0]
    assert store.count(where) == len(ranking.ids)
    (few,) = store.nearest(vector, 3, where=where)
    assert few.ids == ranking.ids[:3]


@pytest.mark.parametrize("where", FILTERS[:9], ids=str)
def test_filters_hold_for_words_too(store, where):
    met = {one.id for one in PASSAGES if meets(where, {"id": one.id, **one.fields})}
    (ranking,) = store.bm25(["common group3"], COUNT, where=where)
    assert set(ranking.ids) == met


ODD = [
    *({"year": one} for one in (None, 0, -5, 2001, 2002, 2**53, 2**53 + 1, 2**63 - 1, -(2**63 - 1))),
    *({"price": one} for one in (None, -0.0, 0.5, 2001.5, 2002, 2.0**53, 1e308, -1e308, 5e-324, 10**20)),
    {"price": float("nan")},  # no number: as if it were not there
    *(
        {"lang": one}
        for one in (None, "", " ", "en", "EN", "2024-01-01", "caf\u00e9", "cafe\u0301", "\U0001f600")
    ),
    *({"lang": one} for one in ("it's", "a\x00b", "true", "2001", "%", "e_")),
    *({"open": one} for one in (None, True, False)),
    {},
]
"""The fields of passages with values at every edge of a column."""

ODD_VALUES = [
    *(2001, 2001.0, 2001.5, -5, 0, -0.0, 0.5, 2002.0, 1e308, -1e308, 5e-324),
    *(
        2**53,
        2**53 + 1,
        2.0**53,
        2**63 - 1,
        -(2**63) + 1,
        2**63,
        -(2**63),
        10**20,
        10**30,
        -(10**30),
        10**400,
    ),
    *(float("nan"), float("inf"), float("-inf"), True, False, None),
    *("", " ", "en", "2024-01-01", "2024-01-02", "caf\u00e9", "cafe\u0301", "\U0001f600", "it's", "a\x00b"),
    *("true", "2001", "%", "e%", "\ud800", "x' OR true --"),
]
OPERATORS = {
    "=": (Eq, lambda held, value: held == value),
    "!=": (lambda field, value: Not(Eq(field, value)), lambda held, value: held != value),
    "in": (lambda field, value: In(field, (value, value)), lambda held, value: held in (value,)),
    "<": (lambda field, value: Range(field, below=value), lambda held, value: held < value),
    "<=": (lambda field, value: Range(field, at_most=value), lambda held, value: held <= value),
    ">": (lambda field, value: Range(field, above=value), lambda held, value: held > value),
    ">=": (lambda field, value: Range(field, at_least=value), lambda held, value: held >= value),
}


def refused(field, sign, value):
    """Whether a comparison has no meaning for a field's type."""
    number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) != float("inf")
    number = number and value == value
    if sign in ("<", "<=", ">", ">="):
        return FIELDS[field] not in ("int", "float") or not number
    meant = {"str": isinstance(value, str), "bool": isinstance(value, bool)}
    return not meant.get(FIELDS[field], number)


def met_in_python(field, sign, value):
    """Ids of those of ODD that meet it, by Python's own comparison of what was put in."""
    found = set()
    for number, fields in enumerate(ODD):
        held = fields.get(field)
        there = held is not None and held == held
        if OPERATORS[sign][1](held, value) if there else sign == "!=":
            found.add(f"o{number:02}")
    return found


@pytest.fixture(scope="module", params=("memory", "lance", "qdrant"))
def odd_index(request, tmp_path_factory):
    made = make(request.param, tmp_path_factory.mktemp("odd") / "store")
    passages = [Passage(f"o{number:02}", f"odd {number}", fields=fields) for number, fields in enumerate(ODD)]
    made.upsert(batch(passages))
    made.commit()
    yield made
    made.close()


def beyond_qdrant(store, field, sign, value):
    """Whether a whole bound that has an end of the column's range on its other side is no float."""
    if "maxsim" not in store.capabilities or field != "year" or sign[0] not in "<>":
        return False
    last = 2**63 - 1
    bound = int(value) + {">": 1, "<": -1}.get(sign, 0)
    open_end = bound <= -last if sign[0] == ">" else bound >= last
    return abs(bound) <= last and not open_end and float(bound) != bound


@pytest.mark.parametrize("sign", OPERATORS)
@pytest.mark.parametrize("field", FIELDS)
def test_odd_values_compare_as_in_python(odd_index, field, sign):
    for value in ODD_VALUES:
        if value is None and sign[0] in "<>":
            continue  # a bound that is None is open
        where = OPERATORS[sign][0](field, value)
        if refused(field, sign, value):
            with pytest.raises(SettingsError, match=f"filter: {field}"):
                odd_index.count(where)
            continue
        if beyond_qdrant(odd_index, field, sign, value):
            with pytest.raises(SettingsError, match="Qdrant compares numbers as floats"):
                odd_index.count(where)
            continue
        found = {one for part in odd_index.scan(["id"], where) for one in part.column("id").to_pylist()}
        assert found == met_in_python(field, sign, value), (field, sign, value)
        assert odd_index.count(where) == len(found)


@pytest.mark.parametrize("number", [2**63, -(10**19), 10**30, 10**400])
def test_deleting_beyond_a_columns_range(fresh, number):
    fresh.upsert(batch(PASSAGES[:9]))
    dated = sum("year" in one.fields for one in PASSAGES[:9])
    assert fresh.delete(where=Eq("year", number)) == 0
    assert fresh.delete(where=Range("year", **{"above" if number > 0 else "below": number})) == 0
    assert fresh.delete(where=Range("year", **{"below" if number > 0 else "above": number})) == dated
    assert fresh.delete(["\ud800"]) == 0
    assert len(fresh) == 9 - dated
    with pytest.raises(IndexStateError, match="no passage"):
        fresh.get(["\ud800"])


def test_batched_and_single_questions_give_the_same_lists(store):
    together = store.nearest(vectors(20), 7)
    for vector, ranking in zip(vectors(20), together, strict=True):
        (alone,) = store.nearest(vector, 7)
        assert alone.ids == ranking.ids
        np.testing.assert_array_equal(alone.scores, ranking.scores)
    texts = [f"word{number} common" for number in range(6)]
    for text, ranking in zip(texts, store.bm25(texts, 7), strict=True):
        (alone,) = store.bm25([text], 7)
        assert (alone.ids, alone.scores.tolist()) == (ranking.ids, ranking.scores.tolist())


def test_words_find_what_has_them(store):
    rare, group, none = store.bm25(["word17", "GROUP3 group3", "absent"], 20)
    assert rare.ids == ["p017"]
    assert set(group.ids) == {one.id for one in PASSAGES if "group3" in one.text}
    assert none.ids == []
    assert (np.diff(group.scores) <= 0).all()
    assert store.bm25(["title21"], 5)[0].ids == ["p021"]  # titles are read, too
    assert store.bm25(["?!"], 5)[0].ids == []


def test_rare_words_weigh_more(store):
    (ranking,) = store.bm25(["common word42"], 5)
    assert ranking.ids[0] == "p042"
    assert ranking.scores[0] > 2 * ranking.scores[1]


@pytest.mark.parametrize("k", [1, 4, 9, 30])
def test_equal_scores_are_in_the_order_of_ids(fresh, k):
    passages = [passage(number, "same words here") for number in (31, 5, 77, 8, 40, 2, 19, 66, 23, 11)]
    fresh.upsert(batch(passages[:4]))
    fresh.upsert(batch(passages[4:]))
    fresh.commit()
    expected = sorted(one.id for one in passages if one.title == "")
    query = MODEL.encode_joint(["same words here"], "query").dense
    found = [one for one in fresh.nearest(query, 10)[0].ids if one in expected]
    assert found == expected
    ids = fresh.bm25(["same"], k, where=In("id", tuple(expected)))[0].ids
    assert ids == expected[:k]


def test_search_carries_the_passage(store):
    (hits,) = store.search(vectors(1), 4)
    for hit in hits:
        expected = PASSAGES[int(hit.id[1:])]
        assert (hit.text, hit.title, dict(hit.fields)) == (
            expected.text,
            expected.title,
            dict(expected.fields),
        )
        assert hit.stages == {"dense": hit.score}


def test_fused_search_sees_both(store):
    query = MODEL.encode_joint(["word30 pair15"], "query").dense
    (hits,) = store.search(query, 5, text=["word30 pair15"])
    assert hits[0].id == "p030"
    assert set(hits[0].stages) == {"dense", "bm25"}
    dense, bm25 = store.nearest(query, 60)[0].ids, store.bm25(["word30 pair15"], 60)[0].ids
    sums = {}
    for ids in (dense, bm25):
        for rank, one in enumerate(ids, 1):
            sums[one] = sums.get(one, 0) + 1 / (60 + rank)
    assert [hit.id for hit in hits] == sorted(sums, key=lambda one: (-sums[one], one))[:5]


def test_fetch_gives_rows_in_the_order_asked_for(store):
    ids = ["p050", "p003", "p050", "p049"]
    found = store.fetch(ids, ["id", "text", "year", "dense"])
    assert found["id"].to_pylist() == ids
    years = [PASSAGES[int(one[1:])].fields.get("year") for one in ids]
    assert found.column(2).to_pylist() == years
    dense = MODEL.encode_joint([PASSAGES[int(one[1:])].full_text for one in ids], "passage").dense
    np.testing.assert_allclose(np.stack(found["dense"].to_pylist()), dense, atol=1e-6)
    assert store.get(["p007", "p000"]) == [PASSAGES[7], PASSAGES[0]]
    assert store.fetch([], ["id"]).num_rows == 0


def test_token_matrices_come_back(store):
    ids = ["p050", "p003", "p020"]
    expected = MODEL.encode_joint([PASSAGES[int(one[1:])].full_text for one in ids], "passage")
    found = store.fetch_tokens(ids)
    for place in range(3):
        rows = slice(found.offsets[place], found.offsets[place + 1])
        np.testing.assert_allclose(found.values[rows], expected.tokens[place], atol=1e-3)
        np.testing.assert_array_equal(found.token_ids[rows], expected.token_ids[place])


def test_late_interaction_re_ranks(store):
    (first, *_) = Searcher(MODEL, store).search("word30 common group2", 5, mode="late", candidates=20)
    assert first.id == "p030"
    assert set(first.stages) >= {"dense", "late"}


def count_words(pairs):
    """A cross-encoder that counts shared words."""
    return np.float32([len(set(a.lower().split()) & set(b.lower().split())) for a, b in pairs])


@pytest.mark.parametrize("mode", ["dense", "late", "hybrid", "cross"])
def test_every_mode_with_a_filter(store, mode):
    searcher = Searcher(MODEL, store, count_words)
    questions = ["word30 common group2", "pair4", "group5 common"]
    where = And((Eq("lang", "en"), Range("price", below=9)))
    met = {one.id for one in PASSAGES if meets(where, {"id": one.id, **one.fields})}
    together = searcher.search_many(questions, COUNT, mode=mode, where=where)
    assert [{hit.id for hit in hits} for hits in together] == [met] * 3
    assert together == [searcher.search(one, COUNT, mode=mode, where=where) for one in questions]
    assert searcher.search(questions[0], 5, mode=mode, where=Eq("lang", "no such")) == []
    with pytest.raises(SettingsError, match="no field 'colour'"):
        searcher.search(questions[0], 5, mode=mode, where=Eq("colour", "red"))
    with pytest.raises(DataError, match="question 1 of 1 is empty"):
        searcher.search(" ", 5, mode=mode)


def test_upsert_replaces_and_repeats_without_harm(fresh):
    fresh.upsert(batch(PASSAGES[:20]))
    assert fresh.upsert(batch(PASSAGES[:20])) == 20
    changed = passage(7, "entirely different")
    fresh.upsert(batch([changed, passage(100)]))
    fresh.commit()
    assert len(fresh) == 21
    assert fresh.get(["p007", "p100"]) == [changed, passage(100)]
    assert fresh.bm25(["entirely"], 5)[0].ids == ["p007"]
    assert fresh.bm25(["word7"], 5)[0].ids == []
    fresh.optimize()
    assert len(fresh) == 21
    assert fresh.bm25(["entirely", "word7"], 5)[0].ids == ["p007"]
    assert verify(fresh, MODEL).problems == []


def test_delete(fresh):
    fresh.upsert(batch(PASSAGES))
    assert fresh.delete(["p001", "p002", "nowhere"]) == 2
    assert fresh.delete(["p001"]) == 0
    assert fresh.delete(where=Eq("lang", "zh")) == 19
    assert fresh.delete([]) == 0
    fresh.commit()
    left = [one for one in PASSAGES if one.id not in ("p001", "p002") and one.fields["lang"] != "zh"]
    assert len(fresh) == len(left)
    (vector,) = vectors(1)
    assert fresh.nearest(vector, 100)[0].ids == brute_force(left, vector, 100)[0]
    assert "p002" not in fresh.bm25(["common"], 100)[0].ids
    with pytest.raises(IndexStateError, match="no passage 'p001'"):
        fresh.get(["p001"])
    for arguments in ({}, {"ids": ["p003"], "where": Eq("lang", "de")}):
        with pytest.raises(SettingsError, match="ids or a filter"):
            fresh.delete(**arguments)


def test_an_empty_index_answers_nothing(fresh):
    fresh.commit()
    fresh.optimize()
    assert len(fresh) == 0
    assert fresh.nearest(vectors(2), 5)[1].ids == []
    assert fresh.bm25(["word"], 5)[0].ids == []
    assert fresh.search(vectors(1), 5, text=["word"]) == [[]]
    assert (fresh.stats().passages, fresh.stats().tokens) == (0, 0)
    assert verify(fresh, MODEL).problems == []


def test_k_above_the_corpus_gives_all(store):
    assert len(store.nearest(vectors(1), 10_000)[0].ids) == COUNT


@pytest.mark.parametrize(
    ("ask", "error", "message"),
    [
        (lambda s: s.nearest(np.ones((1, 15)), 5), IndexStateError, "15 dimensions, the index 16"),
        (lambda s: s.nearest(np.full((1, 16), np.nan), 5), DataError, "NaN"),
        (lambda s: s.nearest(np.ones((1, 16)), 0), SettingsError, "k=0"),
        (lambda s: s.bm25([" "], 5), DataError, "empty"),
        (lambda s: s.bm25("text", 5), SettingsError, "list of questions"),
        (lambda s: s.bm25(["text"], 0), SettingsError, "k=0"),
        (lambda s: s.search(), SettingsError, "question vectors"),
        (lambda s: s.search(np.ones((2, 16)), 3, text=["one"]), DataError, "2 question vectors, but 1 texts"),
        (lambda s: s.nearest(np.ones(16), 5, where=Eq("colour", "red")), SettingsError, "no field 'colour'"),
        (lambda s: s.nearest(np.ones(16), 5, where=Eq("yeer", 2000)), SettingsError, "did you mean 'year'"),
        (
            lambda s: s.bm25(["x"], 5, where=Eq("year", "2000")),
            SettingsError,
            "year is a int, '2000' is none",
        ),
        (lambda s: s.count(Range("lang", above=3)), SettingsError, "compare numbers"),
        (lambda s: s.delete(where=Eq("colour", 1)), SettingsError, "no field 'colour'"),
        (lambda s: s.fetch(["nope"], ["id"]), IndexStateError, "no passage 'nope'"),
        (lambda s: s.fetch(["p001"], ["texd"]), SettingsError, "did you mean 'text'"),
    ],
)
def test_refusals(store, ask, error, message):
    with pytest.raises(error, match=message):
        ask(store)


def with_dense(passages, dense, model=MODEL):
    from ernie_search.index import passage_batch

    encoding = model.encode_joint([one.full_text for one in passages], "passage")
    encoding.dense = np.asarray(dense, np.float32)
    return passage_batch(passages, encoding, model)


BAD_BATCHES = {
    "another model": lambda: batch(PASSAGES[:2], StubEncoder(name="other", fingerprint="beef")),
    "wrong dimension": lambda: with_dense(PASSAGES[:2], np.ones((2, 15))),
    "NaN": lambda: with_dense(PASSAGES[:2], [[1.0] * 16, [np.nan] * 16]),
    "repeated id": lambda: batch([PASSAGES[0], PASSAGES[1], PASSAGES[0]]),
    "no text": lambda: batch([Passage("x", "  ")]),
    "no id": lambda: batch([Passage("", "text")]),
    "wrong type": lambda: batch([Passage("x", "text", fields={"year": "later"})]),
    "no number": lambda: batch([Passage("x", "text", fields={"year": 10**30})]),
    "no float": lambda: batch([Passage("x", "text", fields={"price": 10**400})]),
    "unmarked": lambda: batch(PASSAGES[:1]).replace_schema_metadata({}),
}
MESSAGES = {
    "another model": r"made by model stub \(f00d\), these vectors by other \(beef\)",
    "wrong dimension": "15 dimensions, the index 16",
    "NaN": "'p001' holds NaN",
    "repeated id": "passage 3: id 'p000' repeats",
    "no text": "'x'.: empty 'text'",
    "no id": "passage 1 .''.: empty 'id'",
    "wrong type": "'x': field year is 'later', which is no int",
    "no number": "'x': field year",
    "no float": "'x': field price is a huge number, which is no float",
    "unmarked": "which model",
}


@pytest.mark.parametrize("case", BAD_BATCHES)
def test_a_bad_batch_is_refused_whole(fresh, case):
    fresh.upsert(batch(PASSAGES[5:8]))
    with pytest.raises(ErnieSearchError, match=MESSAGES[case]):
        fresh.upsert(BAD_BATCHES[case]())
    fresh.commit()
    assert len(fresh) == 3


def test_a_zero_vector_scores_zero(fresh):
    fresh.upsert(with_dense(PASSAGES[:3], np.eye(16)[[0, 1, 2]] * [[1], [1], [0]]))
    fresh.commit()
    (ranking,) = fresh.nearest(np.eye(16, dtype=np.float32)[0], 3)
    assert (ranking.ids, ranking.scores.tolist()) == (["p000", "p001", "p002"], [1, 0, 0])
    (ranking,) = fresh.nearest(np.zeros(16, np.float32), 3)
    assert (ranking.ids, ranking.scores.tolist()) == (["p000", "p001", "p002"], [0, 0, 0])


SCRIPTS = {
    "zh": ("北京是中华人民共和国的首都", "首都"),
    "th": ("กรุงเทพมหานครเป็นเมืองหลวงของประเทศไทย", "เมืองหลวง"),
    "ar": ("القاهرة هي عاصمة جمهورية مصر العربية", "عاصمة"),
    "quotes": ("it's a \"quoted\" `text` -- with; 'marks'", "quoted"),
}


def test_any_script_and_any_mark(fresh):
    made = [
        Passage(f"{key}_'\"`;\\-漢", text, fields={"lang": f"{key}'s"}) for key, (text, _) in SCRIPTS.items()
    ]
    fresh.upsert(batch(made))
    fresh.commit()
    for one, (_, question) in zip(made, SCRIPTS.values(), strict=True):
        assert fresh.bm25([question], 5)[0].ids == [one.id]
        assert fresh.get([one.id]) == [one]
        assert fresh.nearest(vectors(1), 5, where=Eq("lang", one.fields["lang"]))[0].ids == [one.id]
    assert fresh.delete([made[0].id]) == 1


def test_pieces_know_their_document(fresh):
    fresh.upsert(batch([Passage("d#0", "first piece", parent="d", start=7), Passage("e", "whole")]))
    fresh.commit()
    assert fresh.has_parents
    assert fresh.parents(["e", "d#0"]) == ["e", "d"]
    assert [(one.parent, one.start) for one in fresh.get(["d#0", "e"])] == [("d", 7), (None, None)]


INTERNAL = [
    *("id", "text", "title", "fields", "parent", "start", "passage", "words", "dense", "tokens", "token_ids"),
    *("token_count", "vector", "score", "_score", "_distance", "_rowid", "_rowaddr", "_relevance_score"),
    *("stages", "rank", "matches", "field_year", "field_parent", "field_", "chunk", "model_fingerprint"),
    *(
        "_id",
        "metadata",
        "payload",
        "version",
        "not",
        "and",
        "or",
        "in",
        "true",
        "Parent",
        "PARENT",
        "__proto__",
    ),
]
"""Names that mean something inside, here or in a backend: as a passage's own keys they are the user's."""


def same_everywhere(searcher, passages):
    """What a search of passages with ``INTERNAL`` fields must give, whatever holds them."""
    index = searcher.index
    assert not index.has_parents
    assert index.get([one.id for one in passages]) == passages
    assert index.parents(["k0", "k1"]) == ["k0", "k1"]
    for mode in ("dense", "late"):
        hits = searcher.search("same text 2", 10, mode=mode)
        assert {hit.id: dict(hit.fields) for hit in hits} == {one.id: one.fields for one in passages}
        assert [hit.passage for hit in hits] == [hit.id for hit in hits]
        assert searcher.matches("same text 2", hits)


@pytest.mark.parametrize("name", BACKENDS)
def test_no_key_of_a_passage_means_anything_inside(tmp_path, name):
    fields = {one: "str" for one in INTERNAL if one not in RESERVED}
    store = make(name, tmp_path / "store", fields=fields)
    passages = [
        Passage(f"k{n}", f"same text {n}", fields={one: f"{one} of {n % 2}" for one in INTERNAL})
        for n in range(4)
    ]
    assert infer_fields(batch(passages)) == fields
    store.upsert(batch(passages))
    store.commit()
    same_everywhere(Searcher(MODEL, store), passages)
    for field in fields:
        where = parse_filter(f"{field} = '{field} of 1'")
        assert {one.id for one in store.search(vectors(1), 9, where=where)[0]} == {"k1", "k3"}, field
    assert store.fetch(["k1"], ["field_parent", "parent", "chunk"]).to_pydict() == {
        "field_parent": ["parent of 1"],
        "parent": [None],
        "field_chunk": ["chunk of 1"],
    }
    store.optimize()
    assert verify(store, MODEL).problems == []
    assert store.delete(where=parse_filter("passage = 'passage of 0' and parent = 'parent of 0'")) == 2
    store.close()


def test_no_key_means_anything_in_shards(tmp_path):
    passages = [
        Passage(f"k{n}", f"same text {n}", fields={one: f"{one} of {n % 2}" for one in INTERNAL})
        for n in range(4)
    ]
    encode_collection(MODEL, passages, tmp_path / "shards", data_fingerprint="d")
    same_everywhere(Searcher(MODEL, index_shards(tmp_path / "shards", "memory://")), passages)
    with index_shards(tmp_path / "shards", tmp_path / "store") as store:
        assert set(store.spec.fields) == set(INTERNAL) - set(RESERVED)
        same_everywhere(Searcher(MODEL, store), passages)


def test_without_tokens(request, tmp_path):
    for kind in BACKENDS:
        made = make(kind, tmp_path / kind.replace(" ", "-"), tokens="none", token_dim=0)
        made.upsert(batch(PASSAGES[:5]))
        made.commit()
        assert not made.has_tokens
        with pytest.raises(IndexStateError, match="no token matrices"):
            made.fetch_tokens(["p000"])
        made.close()


def test_stats_and_verify(store):
    stats = store.stats()
    assert (stats.passages, stats.dim, stats.model_name, stats.search) == (COUNT, 16, "stub", "exact")
    assert stats.fields == FIELDS
    assert stats.dense_format == store.spec.dense
    tokens = sum(len(one) for one in MODEL.encode_joint([p.full_text for p in PASSAGES], "passage").tokens)
    assert stats.tokens == tokens
    checked = verify(store, MODEL, sample=10)
    assert (checked.problems, checked.passages, checked.tokens, checked.compared) == ([], COUNT, tokens, 10)
    with pytest.raises(IndexStateError, match=r"stub \(f00d\).* other \(beef\)"):
        verify(store, StubEncoder(name="other", fingerprint="beef"))


def test_verify_sees_a_vector_that_the_model_does_not_make(fresh):
    dense = MODEL.encode_joint([one.full_text for one in PASSAGES[:4]], "passage").dense
    fresh.upsert(with_dense(PASSAGES[:4], dense[[0, 1, 3, 2]]))
    fresh.commit()
    problems = verify(fresh, MODEL).problems
    assert len(problems) == 2
    assert "'p002'" in problems[0]


def test_fields_are_kept_whole(store):
    (row,) = store.fetch(["p004"], ["fields"])["fields"].to_pylist()
    assert json.loads(row) == PASSAGES[4].fields
