"""A model's tokenizer by the library ``tokenizers``: ids cut to a length, and pieces with places."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from ernie_search.encoder import Pieces
from ernie_search.errors import ModelError
from ernie_search.runtime.batches import Tokenized
from ernie_search.runtime.saved_files import first_line

NAMED = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
BERT_NAMES = {"unk": "[UNK]", "sep": "[SEP]", "pad": "[PAD]", "cls": "[CLS]", "mask": "[MASK]"}
LOWERING = {
    "do_lower_case": "lowercase",
    "strip_accents": "strip_accents",
    "tokenize_chinese_chars": "handle_chinese_chars",
}
WORD_BOUNDARY = "▁"


@dataclass(frozen=True, slots=True)
class Words:
    """A tokenizer that neither cuts nor pads, so that any threads may use it, and its special tokens.

    Attributes:
        special_ids: those that take no part in late interaction: all but the unknown word and the mask.
        pad_id: what rows are filled up with; which one makes no difference.
    """

    tokenizer: Tokenizer
    special_ids: tuple[int, ...]
    pad_id: int = 0

    def read(self, texts: Sequence[str], prompt: str, length: int) -> Tokenized:
        """Texts behind a prompt as ids, cut to ``length`` with their special tokens; counts what was cut."""
        found = self.tokenizer.encode_batch([prompt + text for text in texts] if prompt else list(texts))
        ids, truncated = [], 0
        for one in found:
            # An empty text of a tokenizer without special tokens has none, and nothing to read.
            row = one.ids or [self.pad_id]
            if len(row) > length:
                row = _cut(row, one.special_tokens_mask, length)
                truncated += 1
            ids.append(row)
        return Tokenized(ids, truncated, self._prompt_length(prompt) if prompt else None)

    def _prompt_length(self, prompt: str) -> int:
        """Tokens of an encoded prompt; special ones at its end are not part of it (as in
        sentence-transformers)."""
        ids = self.tokenizer.encode(prompt).ids
        return len(ids) - int(bool(ids) and ids[-1] in self.special_ids)


def _cut(ids: list[int], special: list[int], length: int) -> list[int]:
    """The special tokens at both ends, and as many of the others as fit between."""
    own = [place for place, one in enumerate(special) if not one]
    if not own:
        return ids[:length]
    begin, end = own[0], own[-1] + 1
    tail = ids[end:]
    room = max(length - begin - len(tail), 0)
    return (ids[:begin] + ids[begin : begin + room] + tail)[:length]


def open_words(folder: Path) -> Words | None:
    """Open the tokenizer of a directory: ``tokenizer.json``, or BERT's from a ``vocab.txt`` alone.

    Returns:
        None where there are only files of another kind (SentencePiece), which transformers converts.

    Raises:
        ModelError: none there, one that cannot be read, or one without words.
    """
    config = _config(folder / "tokenizer_config.json")
    names = _config(folder / "special_tokens_map.json") | config
    try:
        if (folder / "tokenizer.json").is_file():
            tokenizer = _of_json(folder / "tokenizer.json", config)
        elif (folder / "vocab.txt").is_file():
            tokenizer = _of_vocabulary(folder / "vocab.txt", config)
            names = {f"{name}_token": word for name, word in BERT_NAMES.items()} | names
        elif any(folder.glob("*.model")) or (folder / "vocab.json").is_file():
            return None
        else:
            raise ModelError(
                f"{folder}: no tokenizer in this directory (tokenizer.json, or a vocabulary); "
                "name the directory of a whole model"
            )
    except ModelError:
        raise
    except Exception as error:  # tokenizers raises a bare Exception
        raise ModelError(
            f"{folder}: its tokenizer cannot be read ({first_line(error)}); copy or download it again"
        ) from error
    return _words(tokenizer, names, folder)


def _words(tokenizer: Tokenizer, names: dict[str, Any], folder: Path) -> Words:
    tokenizer.no_truncation()
    tokenizer.no_padding()
    added = tokenizer.get_added_tokens_decoder()
    own = {token.content for token in added.values()} | {WORD_BOUNDARY}
    if own.issuperset(tokenizer.get_vocab()):
        raise ModelError(
            f"{folder}: its tokenizer knows no words (its files are missing); choose another model"
        )
    ids = {name: tokenizer.token_to_id(_word(names[name])) for name in NAMED if names.get(name) is not None}
    words = {ids.get("unk_token"), ids.get("mask_token")}
    # GPT-2's kind has one token for the unknown and for the end.
    words -= {ids.get("eos_token"), ids.get("bos_token"), ids.get("pad_token")}
    special = {number for number, token in added.items() if token.special}
    special |= {number for number in ids.values() if number is not None}
    if "unk_token" not in ids:
        words |= {tokenizer.token_to_id(word) for word in ("[UNK]", "<unk>")}
    if "mask_token" not in ids:
        words |= {tokenizer.token_to_id(word) for word in ("[MASK]", "<mask>")}
    return Words(tokenizer, tuple(sorted(special - words)), ids.get("pad_token") or 0)


def _of_json(path: Path, config: dict[str, Any]) -> Tokenizer:
    """``tokenizer.json``, with the lower-casing of ``tokenizer_config.json``, which transformers lets win."""
    text = path.read_text(encoding="utf-8")
    state = json.loads(text)
    normalizer = state.get("normalizer")
    given = {ours: config[name] for name, ours in LOWERING.items() if name in config}
    if isinstance(normalizer, dict) and normalizer.get("type") == "BertNormalizer":
        changed = normalizer | given
        if changed != normalizer:
            text = json.dumps(state | {"normalizer": changed}, ensure_ascii=False)
    return Tokenizer.from_str(text)


def _of_vocabulary(path: Path, config: dict[str, Any]) -> Tokenizer:
    """BERT's word pieces, as transformers makes them of the vocabulary alone."""
    lines = path.read_text(encoding="utf-8").split("\n")
    vocabulary = {word: place for place, word in enumerate(lines) if word or place < len(lines) - 1}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(
        lowercase=bool(config.get("do_lower_case", True)),
        strip_accents=config.get("strip_accents"),
        handle_chinese_chars=bool(config.get("tokenize_chinese_chars", True)),
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    ends = {word: vocabulary.get(word) for word in ("[SEP]", "[CLS]")}
    missing = next((word for word, number in ends.items() if number is None), None)
    if missing is not None:
        raise ModelError(f"{path}: no token {missing} in it; copy or download the model again")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=list(ends.items())
    )
    tokenizer.add_special_tokens([word for word in BERT_NAMES.values() if word in vocabulary])
    return tokenizer


def _config(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: not readable as JSON; copy or download the model again") from error
    return found if isinstance(found, dict) else {}


def _word(token: Any) -> str:
    """A token's text; some configs write an object."""
    return str(token.get("content", "")) if isinstance(token, dict) else str(token)


def uncut(tokenizer: Tokenizer) -> Tokenizer:
    """A copy that neither cuts nor pads, and that nobody else's calls change."""
    copied = Tokenizer.from_str(tokenizer.to_str())
    copied.no_truncation()
    copied.no_padding()
    return copied


def pieces_of(tokenizer: Tokenizer, text: str) -> Pieces:
    """The text's own tokens by a tokenizer that cuts nothing (see :func:`uncut`)."""
    found = tokenizer.encode(text, add_special_tokens=False)
    return Pieces(found.ids, found.offsets, found.word_ids)


def token_texts(tokenizer: Tokenizer, ids: Sequence[int]) -> list[str]:
    """The vocabulary's words of token ids; one that it does not know is ``#`` and its number."""
    return [tokenizer.id_to_token(one) or f"#{one}" for one in ids]
