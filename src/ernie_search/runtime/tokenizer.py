"""Texts as pieces with their places, by a tokenizer of the library ``tokenizers``."""

from collections.abc import Sequence

from tokenizers import Tokenizer

from ernie_search.encoder import Pieces


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
