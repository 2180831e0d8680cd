"""Questions by rules: what each kind is, in any language; the draw; what is left out."""

from collections import Counter

import numpy as np
import pytest

from adapt_crops import crops
from ernie_search._util.words import word_places, words
from ernie_search.adaptation.questions import Kind, Question
from ernie_search.adaptation.rules import GAP, SPAN, Rules
from ernie_search.adaptation.sample import Frequencies, draw
from ernie_search.adaptation.sentences import normal, plain, sentences
from ernie_search.adaptation.settings import QuestionSettings
from ernie_search.types import Passage

PROSE = (
    "The old mill by the river was rebuilt in 1874 after the great flood. Its wheel, which weighs nine\n"
    "tons, still turns on Sundays for visitors. Dr. Meyer has kept the keys since 1998, e.g. for schools."
)
CHINESE = (
    "北京是中华人民共和国的首都,位于华北平原的北部。它是全国的政治中心和文化中心,也是重要的国际交往中心!"
)
THAI = "กรุงเทพมหานครเป็นเมืองหลวงของประเทศไทย และเป็นเมืองที่มีประชากรมากที่สุดในประเทศ ตั้งอยู่บนแม่น้ำเจ้าพระยา"
HINDI = "दिल्ली भारत की राजधानी है और यमुना नदी के किनारे बसी हुई है। यहाँ कई ऐतिहासिक इमारतें हैं जिन्हें देखने लोग आते हैं।"
CODE = """def read(path: Path) -> list[str]:
    rows = []
    for line in open(path):
        rows.append(line)
"""
TABLE = "| city | people | area |\n|---|---|---|\n| Oslo | 709,037 | 454 |\n| Bergen | 291,940 | 464 |\n"


def asked(passage: Passage, kind: Kind, seed: int = 0, beside: int = 60) -> list[Question]:
    """Questions of one kind of a passage among others."""
    other: Kind = "span" if kind != "span" else "cloze"
    settings = QuestionSettings(kinds=(kind,), held_out=0, held_out_kind=other, seed=seed)
    everything = [passage, *crops(beside).passages()]
    return Rules(settings, Frequencies.of(everything)).ask(passage)


@pytest.mark.parametrize("text", [PROSE, HINDI])
def test_a_span_is_some_words_of_one_sentence(text: str):
    parts = [normal(one.text) for one in sentences(text)]
    spans = [one for seed in range(10) for one in asked(Passage("p", text), "span", seed)]
    assert len({one.text for one in spans}) > 10
    for one in spans:
        assert SPAN[0] <= len(words(one.text)) <= SPAN[1]
        assert any(normal(one.text) in part for part in parts), one.text


@pytest.mark.parametrize(("text", "least", "most"), [(CHINESE, 10, 24), (THAI, 20, 60)])
def test_a_span_without_spaces_has_as_many_characters_as_words_would(text: str, least: int, most: int):
    parts = [one.text for one in sentences(text)]
    for one in asked(Passage("p", text), "span"):
        assert least <= len(one.text) <= most
        assert any(one.text in part for part in parts)


def test_sentences_end_at_their_marks_only():
    assert [one.text.split()[0] for one in sentences(PROSE)] == ["The", "Its", "Dr."]
    assert len(sentences(CHINESE)) == 2
    assert len(sentences(HINDI)) == 2
    assert len(sentences(CODE)) == 4  # its lines
    assert [one.text for one in sentences("Version 3.5 is out. it says\n\nNew part")] == [
        "Version 3.5 is out. it says",
        "New part",
    ]


def test_a_cloze_question_lacks_a_telling_word_of_its_sentence():
    for seed in range(10):
        for one in asked(Passage("p", PROSE), "cloze", seed):
            kept, whole = words(one.text), [words(part.text) for part in sentences(PROSE)]
            assert any(set(kept) < set(part) for part in whole), one.text
            assert GAP not in "".join(kept)  # no word, for BM25


def test_keywords_are_the_passages_rarer_words():
    passage = Passage("p", PROSE)
    counted = Counter(
        word for seed in range(40) for one in asked(passage, "keywords", seed) for word in words(one.text)
    )
    assert set(counted) <= set(words(passage.text))
    assert len(counted) > 5
    assert counted["the"] == 0  # which all passages beside it have


@pytest.mark.parametrize("kind", ["span", "cloze", "keywords"])
@pytest.mark.parametrize("text", [CHINESE, THAI, HINDI, CODE, TABLE])
def test_every_kind_can_be_made_of_every_script_of_code_and_of_tables(text: str, kind: Kind):
    made = [one for seed in range(3) for one in asked(Passage("p", text), kind, seed)]
    assert made
    assert not any("|" in one.text or "\n" in one.text for one in made)


def test_titles_and_headings_are_questions_and_repeated_titles_are_not():
    passage = Passage("p", f"# How to oil the wheel\n\n{PROSE}", "Handbook > The old mill")
    found = {one.text for seed in range(8) for one in asked(passage, "title", seed)}
    assert found == {"How to oil the wheel", "Handbook The old mill"}
    same = [Passage(f"p{n}", f"{PROSE} Part {n} ends here and now.", "The handbook") for n in range(4)]
    settings = QuestionSettings(kinds=("title",), held_out=0)
    assert [Rules(settings, Frequencies.of(same)).ask(one) for one in same] == [[]] * 4


@pytest.mark.parametrize("text", ["tea", "Tea, rice, wheat!", "茶", "--- *** ---"])
def test_a_passage_of_hardly_a_word_gives_no_question(text: str):
    for kind in ("span", "cloze", "keywords", "title"):
        assert asked(Passage("p", text, "Some title of it"), kind) == []


def test_boilerplate_is_passed_over_where_there_is_anything_else():
    notice = "All rights reserved by the publishing house and all of its several daughters."
    some = [Passage(f"p{n}", f"{notice} {one.text}") for n, one in enumerate(crops(60).passages())]
    rules = Rules(QuestionSettings(held_out=0), Frequencies.of(some))
    made = [question for one in some for question in rules.ask(one)]
    assert len(made) > 200
    assert [one.text for one in made if "rights" in one.text or "daughters" in one.text] == []


def test_equal_numbers_of_each_passage_and_kinds_in_turns(collection):
    settings = QuestionSettings(number=10_000, per_passage=3)
    sample = draw(collection.passages(), settings.passages, 0)
    rules = Rules(settings, sample.frequencies)
    made = [question for one in sample.passages for question in rules.ask(one)]
    assert set(Counter(one.passage for one in made).values()) == {3}
    kinds = Counter(one.kind for one in made if one.split == "train")
    assert max(kinds.values()) < 1.2 * min(kinds.values())
    assert len({one.id for one in made}) == len(made)


def test_held_out_questions_are_of_other_passages_and_another_kind(collection):
    settings = QuestionSettings(held_out=0.3)
    sample = draw(collection.passages(), settings.passages, 0)
    rules = Rules(settings, sample.frequencies)
    made = [question for one in sample.passages for question in rules.ask(one)]
    train = [one for one in made if one.split == "train"]
    held = [one for one in made if one.split == "held-out"]
    assert not {one.passage for one in train} & {one.passage for one in held}
    assert {one.kind for one in held} == {"keywords"}
    assert "keywords" not in {one.kind for one in train}
    assert 25 < len({one.passage for one in held}) < 65


def test_the_draw_is_uniform_and_depends_on_ids_not_on_their_order(collection):
    everything = list(collection.passages())
    first = draw(everything, 40, seed=1)
    again = draw(reversed(everything), 40, seed=1)
    assert [one.id for one in first.passages] == [one.id for one in again.passages]
    assert first.total == 150
    assert [one.id for one in draw(everything, 20, seed=1).passages] == [
        one.id for one in first.passages[:20]
    ]
    counts = Counter(int(one.id[1:]) for seed in range(300) for one in draw(everything, 15, seed).passages)
    thirds = [sum(counts[n] for n in range(start, start + 50)) for start in (0, 50, 100)]
    assert np.ptp(thirds) < 200  # of 1,500 each; five standard deviations


def test_the_same_passage_gives_the_same_questions_in_any_company_of_equal_words():
    passage = Passage("p", PROSE)
    assert asked(passage, "span") == asked(passage, "span")
    assert asked(passage, "span", seed=1) != asked(passage, "span", seed=2)


def test_impossible_kinds_are_refused():
    with pytest.raises(ValueError, match="not made by rules"):
        QuestionSettings(kinds=("own",))
    with pytest.raises(ValueError, match="no kind is left to train on"):
        QuestionSettings(kinds=("keywords",))


def test_places_of_words_are_those_of_the_words():
    for text in (PROSE, HINDI, CODE):
        assert [text[start:end].lower() for start, end in word_places(text)] == words(text)
    assert "".join(CHINESE[start:end] for start, end in word_places(CHINESE)) == "".join(
        one for one in CHINESE if one not in ",。!"
    )
    assert all(THAI[start:end][0] not in "ิีึืุู่้" for start, end in word_places(THAI))


def test_headings_are_read_without_what_closes_them():
    text = f"# The old mill  \n\n{PROSE}\n\n##  Water wheels of 1874 ##  \r\n#\nNot a heading here\n#hash"
    found = {one.text for seed in range(40) for one in asked(Passage("p", text), "title", seed)}
    assert found == {"The old mill", "Water wheels of 1874"}


@pytest.mark.parametrize(
    "row",
    ["# mill" + " " * 100_000 + "river" + " " * 100_000 + "wheel", "\n" * 200_000, "\n \n" * 100_000],
    ids=["blanks in a heading", "empty lines", "lines of blanks"],
)
def test_a_text_is_read_in_time_that_grows_with_its_length(row: str):
    # any that grows faster takes minutes of these, or days
    assert plain(f"{row}\nriver").endswith("river")
    asked(Passage("p", f"{row}\n{PROSE}"), "title", beside=3)


def test_a_long_row_of_marks_ends_no_sentence_and_takes_no_time():
    assert len(sentences(f"Contents{'.' * 200_000}7 and more. The end.")) == 2
