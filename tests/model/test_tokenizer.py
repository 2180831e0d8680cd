"""A tokenizer without its model: read, or refused in one line that says what is there instead."""

import json

import pytest

from ernie_search.errors import ModelError
from ernie_search.model.tokenizer import open_tokenizer
from tiny_model import bare_base, tokenizer


def folder_with(tmp_path, **files):
    folder = tmp_path / "model"
    folder.mkdir()
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text, encoding="utf-8")
    return folder


def test_the_same_tokens_as_before_it_was_saved(tmp_path):
    tokenizer().save_pretrained(tmp_path / "model")
    text = "where does tea grow"
    assert open_tokenizer(str(tmp_path / "model"))(text)["input_ids"] == tokenizer()(text)["input_ids"]


def test_a_vocabulary_is_enough(tmp_path):
    words = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\ntea\n"
    folder = folder_with(tmp_path, config__json=json.dumps({"model_type": "bert"}), vocab__txt=words)
    assert open_tokenizer(str(folder))("tea rice")["input_ids"] == [2, 5, 1, 3]


def test_the_transformer_in_a_folder_of_its_own_as_older_models_have_it(tmp_path):
    base = bare_base(tmp_path / "model" / "0_Transformer")
    text = "where does tea grow"
    assert open_tokenizer(str(base.parent))(text)["input_ids"] == tokenizer()(text)["input_ids"]
    for path in base.glob("*token*"):
        path.unlink()
    with pytest.raises(ModelError, match="model: no tokenizer in this directory"):
        open_tokenizer(str(base.parent))


# Of a config alone transformers makes a tokenizer that knows no word, and counts wrongly without a sound.
@pytest.mark.parametrize("files", [{}, {"config__json": '{"model_type": "bert"}'}])
def test_a_directory_without_a_tokenizer(tmp_path, files):
    folder = folder_with(tmp_path, **files)
    with pytest.raises(ModelError) as caught:
        open_tokenizer(str(folder))
    assert str(caught.value) == (
        f"{folder}: no tokenizer in this directory (tokenizer.json, or a vocabulary); "
        "name the directory of a whole model, or a base"
    )


def test_the_folder_of_a_training_run_names_its_model(tmp_path):
    tokenizer().save_pretrained(tmp_path / "run" / "last")
    with pytest.raises(ModelError, match=r"run: a training folder.*its model is [^\n]*run/last$"):
        open_tokenizer(str(tmp_path / "run"))


@pytest.mark.parametrize("content", ["{", "{}"])
def test_a_broken_tokenizer(tmp_path, content):
    folder = folder_with(tmp_path, tokenizer__json=content, config__json='{"model_type": "bert"}')
    with pytest.raises(ModelError, match=r"^[^\n]*model: its tokenizer\.json[^\n]*cannot be read; save"):
        open_tokenizer(str(folder))


def test_a_file_or_nothing(tmp_path):
    file = tmp_path / "file"
    file.write_text("x")
    with pytest.raises(ModelError, match=r"file: a file; name the directory"):
        open_tokenizer(str(file))
    with pytest.raises(ModelError, match=r"absent: no such directory, and no base of this name"):
        open_tokenizer(str(tmp_path / "absent"))
