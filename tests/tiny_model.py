"""Encoders of a few thousand weights, made from a seed: real libraries, real files, no download."""

from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Normalize
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.processors import TemplateProcessing
from transformers import (
    BertConfig,
    BertModel,
    BertTokenizerFast,
    GPT2Config,
    GPT2Model,
    LlamaConfig,
    LlamaModel,
    PreTrainedTokenizerFast,
)

from tiny_onnx import HIDDEN, POSITIONS, TEXTS, VOCABULARY

__all__ = ["HIDDEN", "POSITIONS", "TEXTS", "VOCABULARY"]


def tokenizer() -> BertTokenizerFast:
    """Word pieces: the words above, every other one letter by letter."""
    return BertTokenizerFast(vocab={word: place for place, word in enumerate(VOCABULARY)})


def bare_base(folder: Path, layers: int = 3, seed: int = 0) -> Path:
    """A Hugging Face encoder as its authors publish it: no pooling, nothing of sentence-transformers."""
    config = BertConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=HIDDEN,
        num_hidden_layers=layers,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=POSITIONS,
        initializer_range=0.2,  # far from the usual 0.02, so that different texts get different vectors
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = BertModel(config)
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def half_base(folder: Path) -> tuple[Path, Path]:
    """Two bases of the same weights, of 16 bits each: stored as fp16, and as fp32."""
    half, full = folder / "half", folder / "full"
    model = BertModel.from_pretrained(bare_base(folder / "bare", layers=2)).half()
    for stored, place in ((model, half), (BertModel(model.config).float(), full)):
        stored.load_state_dict(model.state_dict())
        stored.save_pretrained(place)
        tokenizer().save_pretrained(place)
    return half, full


def sentence_base(folder: Path, prompts: dict[str, str] | None = None, layers: int = 3) -> Path:
    """A sentence-transformers model: mean pooling, normalised, cosine."""
    bare = bare_base(folder.with_name(f"{folder.name}-bare"), layers)
    modules = [Transformer(str(bare)), Pooling(HIDDEN, "mean"), Normalize()]
    model = SentenceTransformer(
        modules=modules, prompts=prompts, similarity_fn_name="cosine", device="cpu", local_files_only=True
    )
    model.save(str(folder), create_model_card=False)
    return folder


def decoder_tokenizer(begins: bool, **options: str) -> PreTrainedTokenizerFast:
    """Bytes, with a token for the end of a text and, as Llama's, one that begins it; none to pad with."""
    letters = sorted(ByteLevel.alphabet())
    backend = Tokenizer(BPE({one: place for place, one in enumerate(["<s>", "</s>", *letters])}, []))
    backend.pre_tokenizer = ByteLevel(add_prefix_space=False)
    if begins:
        backend.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
        options = {"bos_token": "<s>"} | options
    # GPT-2's kind has one for all purposes.
    options = {"eos_token": "</s>"} | ({} if begins else {"unk_token": "</s>"}) | options
    return PreTrainedTokenizerFast(tokenizer_object=backend, model_max_length=POSITIONS, **options)


def decoder_base(folder: Path, kind: str = "llama", **options: str) -> Path:
    """A decoder as its authors publish it: positions turned (llama) or learned (gpt2).

    Args:
        folder: to write.
        kind: ``llama`` or ``gpt2``.
        **options: of the tokenizer.
    """
    words = decoder_tokenizer(kind == "llama", **options)
    size = {"vocab_size": 258, "initializer_range": 0.2, "bos_token_id": 0, "eos_token_id": 1}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if kind == "llama":
            heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "num_hidden_layers": 2}
            LlamaModel(
                LlamaConfig(
                    hidden_size=HIDDEN,
                    intermediate_size=48,
                    max_position_embeddings=POSITIONS,
                    **heads,
                    **size,
                )
            ).save_pretrained(folder)
        else:
            GPT2Model(
                GPT2Config(n_embd=HIDDEN, n_layer=2, n_head=4, n_positions=POSITIONS, **size)
            ).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder
