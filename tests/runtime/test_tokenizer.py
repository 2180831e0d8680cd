"""Tokenizers without transformers: the ids, cuts and places that transformers gives."""

import json
import shutil

import pytest
from transformers import BertTokenizerFast, PreTrainedTokenizerFast

import tiny_model
from ernie_search.errors import ModelError
from ernie_search.runtime.tokenizer import open_words, pieces_of, token_texts, uncut
from tiny_model import TEXTS

SOME = [*TEXTS, "", "Tea [MASK] and [SEP] Über", "日本 where  the"]


@pytest.fixture
def folder(tmp_path):
    tiny_model.tokenizer().save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize("length", [4, 8, 48])
@pytest.mark.parametrize("prompt", ["", "query: "])
def test_ids_and_cuts_are_those_of_transformers(folder, prompt, length):
    theirs = tiny_model.tokenizer()
    read = open_words(folder).read(SOME, prompt, length)
    expected = theirs([prompt + text for text in SOME], truncation=True, max_length=length)["input_ids"]
    assert read.ids == expected
    whole = theirs([prompt + text for text in SOME])["input_ids"]
    assert read.truncated == sum(len(one) > length for one in whole)
    assert read.prompt_length == (len(theirs(prompt)["input_ids"]) - 1 if prompt else None)


def test_what_is_left_out_of_late_interaction(folder):
    words = open_words(folder)
    named = tiny_model.tokenizer()
    assert set(words.special_ids) == {named.cls_token_id, named.sep_token_id, named.pad_token_id}
    assert words.pad_id == named.pad_token_id


@pytest.mark.parametrize("lower", [True, False])
def test_a_vocabulary_alone_makes_bert_s_tokenizer(tmp_path, lower):
    (tmp_path / "vocab.txt").write_text("\n".join(tiny_model.VOCABULARY) + "\n", encoding="utf-8")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": lower}))
    vocabulary = {word: place for place, word in enumerate(tiny_model.VOCABULARY)}
    theirs = BertTokenizerFast(vocab=vocabulary, do_lower_case=lower)
    words = open_words(tmp_path)
    some = [*SOME, "TEA and Tea"]
    assert words.read(some, "", 48).ids == theirs(some, truncation=True, max_length=48)["input_ids"]
    assert set(words.special_ids) == {0, 2, 3}


def test_a_saved_truncation_and_padding_cut_nothing(folder):
    words = tiny_model.tokenizer().backend_tokenizer
    words.enable_truncation(4)
    words.enable_padding(length=30)
    words.save(str(folder / "tokenizer.json"))
    assert open_words(folder).read([TEXTS[0]], "", 48).ids == [tiny_model.tokenizer()(TEXTS[0])["input_ids"]]
    copied = uncut(words)
    assert len(pieces_of(copied, TEXTS[2]).ids) > 4
    assert words.truncation["max_length"] == 4


def test_pieces_are_tokens_with_places_and_words(folder):
    text = "The water, hill"
    pieces = pieces_of(open_words(folder).tokenizer, text)
    cut = [text[start:stop] for start, stop in pieces.spans]
    assert cut == ["The", "water", ",", "h", "i", "l", "l"]
    assert pieces.words == [0, 1, 2, 3, 3, 3, 3]
    assert token_texts(open_words(folder).tokenizer, [*pieces.ids[:2], 10_000]) == ["the", "water", "#10000"]


def test_the_config_s_lower_casing_wins(folder):
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(config | {"do_lower_case": False}))
    unknown = open_words(folder).read(["TEA"], "", 8).ids[0]
    assert unknown == [2, 1, 3]


def test_byte_tokenizers_add_nothing(tmp_path):
    decoder = tiny_model.decoder_tokenizer(False)
    decoder.save_pretrained(tmp_path)
    words = open_words(tmp_path)
    assert words.read(["", "abc"], "", 2).ids == [[words.pad_id], decoder("ab")["input_ids"]]
    assert words.read(["abc"], "", 2).truncated == 1


def test_damage_is_one_line(folder, tmp_path):
    (folder / "tokenizer.json").write_text('{"version": "1.0", "model": {}}')
    with pytest.raises(ModelError, match=r"its tokenizer cannot be read \(.*\); copy or download it again"):
        open_words(folder)
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(ModelError, match="its tokenizer cannot be read"):
        open_words(folder)
    (folder / "tokenizer_config.json").write_text("{")
    with pytest.raises(ModelError, match=r"tokenizer_config\.json: not readable as JSON"):
        open_words(folder)
    shutil.rmtree(folder)
    folder.mkdir()
    with pytest.raises(ModelError, match="no tokenizer in this directory"):
        open_words(folder)
    (folder / "spiece.model").touch()
    assert open_words(folder) is None
    (folder / "vocab.txt").write_text("a\nb\n")
    with pytest.raises(ModelError, match=r"no token \[SEP\] in it"):
        open_words(folder)


def test_a_tokenizer_without_words_is_refused(tmp_path):
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel

    empty = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel({"[UNK]": 0}, unk_token="[UNK]")), unk_token="[UNK]"
    )
    empty.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="its tokenizer knows no words"):
        open_words(tmp_path)
