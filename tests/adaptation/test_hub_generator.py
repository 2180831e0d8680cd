"""A tiny seq2seq model: the same questions from the same seed, whole batches, and what is no such model."""

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="seq2seq models run on torch, which the extra train brings")
pytest.importorskip("transformers", reason="seq2seq models are of transformers, which the extra train brings")

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

from adapt_crops import crops
from ernie_search.adaptation import QuestionSettings, make_questions
from ernie_search.adaptation.generators import open_generator
from ernie_search.errors import ModelError

WORDS = ["where", "who", "what", "grows", "tea", "rice", "wheat", "of", "the", "in", "Assam", "Bengal"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("t5")
    vocabulary = {word: place for place, word in enumerate(["<pad>", "</s>", "<unk>", *WORDS])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(folder)
    config = T5Config(
        vocab_size=len(vocabulary),
        d_model=16,
        d_kv=8,
        d_ff=16,
        num_layers=1,
        num_heads=2,
        decoder_start_token_id=0,
        pad_token_id=0,
        eos_token_id=1,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        T5ForConditionalGeneration(config).save_pretrained(folder)
    return f"hub:{folder}"


def test_questions_depend_on_the_seed_alone(model: str, tmp_path: Path):
    writer = open_generator(model, cache=tmp_path / "none")
    passages = list(crops(20).passages())
    before = torch.get_rng_state()
    first = writer.ask(passages, 2, 0)
    assert torch.equal(torch.get_rng_state(), before)
    assert open_generator(model, cache=tmp_path / "none").ask(passages, 2, 0) == first
    assert writer.ask(passages, 2, 1) != first
    assert sum(map(len, first)) > 10  # of noise; the others are one word, or repeat
    assert writer.estimate(passages, 2) is None


def test_the_stage_takes_its_questions_for_training_only(model: str, tmp_path: Path):
    settings = QuestionSettings(number=120, per_passage=2, held_out=0.3)
    writer = open_generator(model, cache=tmp_path / "none")
    made = make_questions(crops(60), tmp_path / "q.jsonl", settings, generator=writer)
    assert made.counts["made"]["generated"] > 10
    assert {one.kind for one in made.questions if one.split == "held-out"} == {"keywords"}


def test_what_is_no_seq2seq_model_is_one_line(tmp_path: Path):
    with pytest.raises(ModelError, match="cannot be loaded as a seq2seq model") as error:
        open_generator(f"hub:{tmp_path / 'nothing'}", cache=tmp_path / "none")
    assert "\n" not in str(error.value)
