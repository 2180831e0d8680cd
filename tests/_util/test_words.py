"""Words by language: what counts, what is left out, and which language a collection is in."""

import threading
from collections import Counter

import pytest

from ernie_search._util.stop_words import STEMMERS, STOP_WORDS
from ernie_search._util.words import (
    LANGUAGES,
    counted_words,
    detect_language,
    shared_words,
    stems,
    words,
)

TEXTS = {
    "en": "The engine is started by the driver, who has to turn the key while the brake is on.",
    "de": "Der Motor wird vom Fahrer gestartet, der den Schlüssel dreht, während er auf der Bremse ist.",
    "fr": "Le moteur est démarré par le conducteur, qui doit tourner la clé quand il est dans la voiture.",
    "ru": "Двигатель запускает водитель, который должен повернуть ключ, когда он стоит на тормозе и не едет.",
    "zh": "司机转动钥匙启动发动机,同时踩下刹车。",
}


def test_a_language_counts_stems_and_the_words_themselves_without_stop_words():
    assert counted_words("The engines of the ships", "en") == ["engin", "ship", "=engines", "=ships"]
    assert counted_words("The engines of the ships") == ["the", "engines", "of", "the", "ships"]
    assert counted_words("who are you", "en") == []
    assert Counter(counted_words("ships ship", "en")) == {"ship": 2, "=ships": 1, "=ship": 1}


def test_questions_and_passages_meet_by_their_stems():
    for language, one, other in [
        ("en", "running", "runs"),
        ("de", "Häuser", "Hauses"),
        ("ru", "книги", "книгу"),
    ]:
        assert set(counted_words(one, language)) & set(counted_words(other, language))
        assert not set(counted_words(one)) & set(counted_words(other))


def test_scripts_without_spaces_are_pairs_of_characters_in_every_language():
    assert stems(words("発動機"), "en") == ["発動", "動機"]
    assert counted_words("発動機") == ["発動", "動機"]


def test_shared_words_are_the_questions_own():
    assert shared_words("Which engines start?", "the engine was starting", "en") == ["engines", "start"]
    assert shared_words("Which engines start start?", "they start", "none") == ["start"]
    assert shared_words("the", "the", "en") == []


@pytest.mark.parametrize("language", STEMMERS)
def test_every_language_has_a_stemmer_and_stop_words_as_texts_have_them(language):
    assert words(STOP_WORDS[language]) == STOP_WORDS[language].split()
    assert len(set(STOP_WORDS[language].split())) == len(STOP_WORDS[language].split()) > 50
    assert len(stems(["abc", "abc"], language)) == 2
    assert language in LANGUAGES


def test_the_language_of_a_collection_is_that_of_its_texts():
    for language in ("en", "de", "fr", "ru"):
        assert detect_language([TEXTS[language]] * 5) == language
    assert detect_language([TEXTS["en"]] * 8 + [TEXTS["de"]] * 2) == "en"
    assert detect_language([TEXTS["en"]] * 6 + [TEXTS["de"]] * 4) == "none"
    assert detect_language([TEXTS["zh"]] * 5) == "none"
    assert detect_language([TEXTS["zh"]] * 8 + [TEXTS["en"]] * 2) == "none"
    assert detect_language(["w1 w2 w3", "x"]) == "none"
    assert detect_language([]) == "none"


def test_threads_stem_at_the_same_time():
    text = " ".join(f"running{n} houses{n} nationally" for n in range(200))
    expected, found = counted_words(text, "en"), []

    def stem() -> None:
        found.extend(counted_words(text, "en") == expected for _ in range(20))

    threads = [threading.Thread(target=stem) for _ in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert found == [True] * 160
