"""What the filter drops, and why, over a real index with a stub encoder."""

from collections.abc import Sequence

import pytest

from adapt_crops import crops
from ernie_search.adaptation import Question, filter_questions, hybrid
from ernie_search.adaptation.filter import without_repeats
from ernie_search.encoding.build import make_index
from ernie_search.search import Searcher
from ernie_search.types import Hit
from stub_encoder import StubEncoder


def hits(*passages: tuple[str, str]) -> list[Hit]:
    return [Hit(name, 1.0 - place / 100, text) for place, (name, text) in enumerate(passages)]


def fixed(answers: dict[str, list[Hit]]):
    def search(texts: Sequence[str]) -> list[list[Hit]]:
        return [answers[text] for text in texts]

    return search


@pytest.fixture
def searcher(tmp_path, monkeypatch):
    stub = StubEncoder(dim=64, longest=40)
    monkeypatch.setattr("ernie_search.encoding.opening.open_encoder", lambda path, **options: stub)
    from ernie_search.data import write_beir

    write_beir(crops(60), tmp_path / "crops")
    built = make_index(str(tmp_path / "crops"), "stub", tmp_path / "index", tokens="fp16")
    yield Searcher(stub, built.index)
    built.index.close()


def test_a_question_is_kept_where_its_passage_is_among_the_first_hits(searcher):
    some = [
        Question("harvest number 7 of cocoa", "p7", "span"),
        Question("terraces tea year 1500", "p0", "keywords"),
        Question("harvest number 9 of flax", "p30", "span"),  # of another passage
        Question("harvest number 9 of flax, please", "p30"),  # a person's own stays
    ]
    found = filter_questions(some, hybrid(searcher, 5), ids={"p0", "p7", "p30"})
    assert found.kept == [some[0], some[1], some[3]]
    assert found.dropped == {"not found": {"span": 1}}
    assert found.ranks == {some[0].id: 1, some[1].id: found.ranks[some[1].id], some[3].id: 0}


def test_questions_of_passages_that_are_gone_are_counted(searcher):
    some = [Question("harvest number 7 of cocoa", "p7", "span"), Question("what of it", "gone")]
    found = filter_questions(some, hybrid(searcher), ids={"p7"})
    assert found.kept == some[:1]
    assert found.dropped == {"dangling": {"own": 1}}


def test_a_question_that_a_copy_of_its_passage_answers_is_ambiguous():
    question = Question("green tea", "a", "span")
    twice = hits(("a", "Green tea, from Assam."), ("b", "green TEA from assam"))
    once = hits(("a", "Green tea, from Assam."), ("b", "Black tea from Assam."))
    assert filter_questions([question], fixed({"green tea": twice})).dropped == {"ambiguous": {"span": 1}}
    assert filter_questions([question], fixed({"green tea": once})).kept == [question]


def test_a_question_whose_words_several_passages_have_is_ambiguous():
    question = Question("tea of Assam", "a", "span")
    many = hits(("a", "Tea of Assam is good."), *((f"b{n}", f"Tea number {n} of Assam.") for n in range(3)))
    assert filter_questions([question], fixed({question.text: many})).total("ambiguous") == 1
    assert filter_questions([question], fixed({question.text: many[:3]})).kept == [question]
    assert filter_questions([question], fixed({question.text: many[1:]})).total("ambiguous") == 1


def test_pieces_of_the_passage_count_as_it():
    question = Question("green tea", "doc", "span")
    piece = Hit("doc#1", 1.0, "green tea", passage="doc#1", parent="doc")
    assert filter_questions([question], fixed({"green tea": [piece]})).kept == [question]


def test_near_duplicates_are_dropped_and_the_first_kept():
    some = [
        Question("the old mill by the river was rebuilt", "p1", "span"),
        Question("The old mill by the river was rebuilt!", "p1", "cloze"),
        Question("old mill by the river was rebuilt in", "p1", "span"),
        Question("tea Assam", "p2", "keywords"),
        Question("assam tea", "p2", "keywords"),
        Question("Introduction", "p3", "title"),
        Question("introduction", "p4", "title"),
        Question("引言介绍", "p5", "title"),
    ]
    found = filter_questions([], fixed({}))
    kept = without_repeats(some, found)
    assert [one.text for one in kept] == [some[0].text, some[3].text, some[7].text]
    assert found.dropped == {
        "repeated": {"cloze": 1, "span": 1, "keywords": 1},
        "ambiguous": {"title": 2},
    }
