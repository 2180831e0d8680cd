"""Words in many scripts."""

import random
import re

import pytest

from ernie_search._util.words import words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The U.S. won 3-2!", ["the", "u", "s", "won", "3", "2"]),
        ("max_length=5 of __init__", ["max_length", "5", "of", "__init__"]),
        ("", []),
        ("?! … 。", []),
        ("Ärger über Łódź", ["ärger", "über", "łódź"]),
        ("ΌΣΟΣ", ["όσος"]),
        ("Привет, мир", ["привет", "мир"]),
        ("مرحبا بالعالم", ["مرحبا", "بالعالم"]),
        ("हिन्दी में लिखा", ["हिन्दी", "में", "लिखा"]),  # vowel signs stay in their word
        ("한국어 단어", ["한국어", "단어"]),
        ("中华人民", ["中华", "华人", "人民"]),
        ("水", ["水"]),
        ("日本のカタカナ", ["日本", "本の", "のカ", "カタ", "タカ", "カナ"]),
        ("ไทย", ["ไท", "ทย"]),
        ("iPhone手机 5G网", ["iphone", "手机", "5g", "网"]),
        ("水2水", ["水", "2", "水"]),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    assert words(text) == expected


def test_one_word_written_in_two_ways_is_one() -> None:
    assert words("cafe\u0301") == words("caf\u00e9") == ["café"]
    assert words("ＡＢＣ ｶﾀ") == words("abc カタ")


def test_plain_text_is_cut_as_the_regular_expression_says() -> None:
    generator = random.Random(0)
    for _ in range(200):
        text = "".join(generator.choices("abcXYZ019_ -.,'\n\tßéØñ", k=60))
        assert words(text) == re.findall(r"\w+", text.lower())
