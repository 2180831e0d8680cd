"""Lists with a teacher's sums, from what search found."""

import numpy as np
import pytest

from ernie_search.adaptation.lists import ListSettings, make_lists, one_list
from ernie_search.adaptation.questioned import QuestionedCollection
from ernie_search.adaptation.questions import Question
from ernie_search.adaptation.searching import Found, SavedSearch, parts_of, read_found
from ernie_search.encoding.build import make_index
from ernie_search.errors import DataError
from ernie_search.search import Searcher
from ernie_search.types import Query
from stub_encoder import StubEncoder
from tiny_adapt import beir, collection, passages

FOUND = Found(
    ("p1", "p0", "p2", "p3"),
    {"late": (0.9, 0.8, 0.76, 0.3), "bm25": (0.1, 0.5, 0.5, 0.0), "dense": (0.2, 0.2, 0.2, 0.2)},
)


def no_scores(text, ids):
    raise AssertionError((text, ids))


def test_scores_are_the_teachers_sums_and_no_negative_is_left_out():
    settings = ListSettings(teacher={"late": 1.0, "bm25": 0.4}, margin=0.05)
    found = one_list(Query("s", "rain"), ["p0"], FOUND, settings, no_scores)
    assert found is not None
    assert found.positives == ("p0",)
    assert found.negatives == ("p1", "p2", "p3")
    assert found.positive_scores == pytest.approx((0.8 + 0.4 * 0.5,))
    assert found.negative_scores == pytest.approx((0.94, 0.96, 0.3))
    assert found.negative_ranks == (1, 3, 4)
    # 0.94 is farther than the margin of 0.05 below the own passage's 1.0, 0.96 is not
    assert found.kept == (True, False, True)
    assert found.parts["late"] == pytest.approx((0.8, 0.9, 0.76, 0.3))


def test_a_labelled_passage_that_search_did_not_find_is_scored():
    def scorer(text, ids):
        assert (text, list(ids)) == ("rain", ["p9"])
        return {"late": np.array([0.5]), "bm25": np.array([0.25]), "dense": np.array([0.1])}

    found = one_list(Query("q", "rain"), ["p0", "p9"], FOUND, ListSettings(margin=0.0), scorer)
    assert found is not None
    assert found.positive_scores == pytest.approx((1.0, 0.6))
    assert found.kept == (False, False, True)  # of several the lowest counts: 0.6


def test_a_question_that_finds_only_its_own_passage_has_no_list():
    alone = Found(("p0",), dict.fromkeys(("late", "bm25", "dense"), (1.0,)))
    assert one_list(Query("s", "rain"), ["p0"], alone, ListSettings(), no_scores) is None


def test_unknown_readings_are_refused():
    with pytest.raises(ValueError, match="no reading of search"):
        ListSettings(teacher={"cross": 1.0})


@pytest.fixture(scope="module")
def searcher(tmp_path_factory):
    folder = tmp_path_factory.mktemp("search")
    from ernie_search.encoding import opening

    encoder = StubEncoder(longest=60)
    patch = pytest.MonkeyPatch()
    patch.setattr(opening, "open_encoder", lambda *names, **options: encoder)
    make_index(str(beir(folder / "docs")), "stub", folder / "index", tokens="fp32").index.close()
    patch.undo()
    found = Searcher.open(folder / "index", encoder)
    yield found
    found.index.close()


def test_a_block_is_searched_once_and_a_torn_one_again(searcher, tmp_path, monkeypatch):
    texts = [one.text for one in passages()[:5]]
    first = SavedSearch(searcher, tmp_path / "found", length=8, shown=3)
    hits = first(texts)
    assert [one[0].id for one in hits] == ["p0", "p1", "p2", "p3", "p4"]
    assert [len(one) for one in hits] == [3] * 5
    assert hits[0][0].text == passages()[0].text
    found = read_found(tmp_path / "found")
    assert [len(found[text].ids) for text in texts] == [8] * 5
    before = (tmp_path / "found" / "000000.parquet").read_bytes()
    calls = []
    rank = searcher.rank
    monkeypatch.setattr(
        searcher, "rank", lambda some, *rest, **more: calls.append(some) or rank(some, *rest, **more)
    )
    assert SavedSearch(searcher, tmp_path / "found", length=8, shown=3)(texts) == hits
    assert calls == []
    (tmp_path / "found" / "000000.parquet").write_bytes(before[:-20])
    with pytest.raises(DataError, match="not readable"):
        read_found(tmp_path / "found")
    assert SavedSearch(searcher, tmp_path / "found", length=8, shown=3)(texts) == hits
    assert calls == [texts]
    assert (tmp_path / "found" / "000000.parquet").read_bytes() == before
    assert SavedSearch(searcher, tmp_path / "found", length=8, shown=3)(texts[:2]) == hits[:2]
    assert len(calls) == 2  # another block


def test_equal_questions_of_a_block_are_read_back_for_each(searcher, tmp_path):
    texts = [passages()[row].text for row in (3, 1, 3)]
    first = SavedSearch(searcher, tmp_path / "found", length=8, shown=3)(texts)
    assert SavedSearch(searcher, tmp_path / "found", length=8, shown=3)(texts) == first
    assert [one[0].id for one in first] == ["p3", "p1", "p3"]


def test_given_passages_score_as_a_search_does(searcher, tmp_path):
    text = passages()[7].text[:40]
    SavedSearch(searcher, tmp_path / "one", length=8, shown=1)([text])
    found = read_found(tmp_path / "one")[text]
    parts = parts_of(searcher, text, found.ids)
    for name, scores in found.parts.items():
        assert parts[name] == pytest.approx(np.array(scores), abs=1e-5), name


def test_lists_are_written_in_the_order_of_ids_with_counts(tmp_path):
    made = [Question(f"rain {row}", f"p{row}", "span", id=f"s{row}") for row in (3, 1, 2)]
    found = {one.text: FOUND for one in made}
    lists = make_lists(
        QuestionedCollection(collection(), made), found, tmp_path / "lists", ListSettings(), no_scores
    )
    assert [one.query for one in lists] == ["s1", "s2", "s3"]
    assert lists.scored
    assert lists.manifest["counts"]["lists"] == 3
    assert sum(lists.manifest["counts"][name] for name in ("kept", "marked")) == 9
