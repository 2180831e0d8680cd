"""Tokenizers: opened without the model's weights, checked, and made able to pad."""

from pathlib import Path
from typing import Any

from ernie_search.errors import ModelError
from ernie_search.runtime.places import resolve_base
from ernie_search.runtime.saved_files import check_saved_files

TRAINED = ("best", "last")
"""The models inside a training folder."""
WORD_BOUNDARY = "▁"
"""The one token, beside special ones, of a SentencePiece tokenizer without words."""


def open_tokenizer(model: str) -> Any:
    """Open the tokenizer of a model directory or a base.

    Args:
        model: a directory, a hub name, or the bundled base's name.

    Raises:
        ModelError: there is none, or it cannot be read.
    """
    from transformers import AutoTokenizer

    place = resolve_base(model)
    folder = Path(place)
    if folder.is_file():
        raise ModelError(f"{model}: a file; name the directory of a model, or a base")
    check_saved_files(folder, weights=False)
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(_of_transformer(folder)) if folder.is_dir() else place)
    except Exception as error:  # a broken file raises KeyError, ValueError, or the tokenizers' bare Exception
        if not folder.is_dir():
            raise ModelError(
                f"{model}: no such directory, and no base of this name can be had; "
                "check the name and the network"
            ) from error
        if (folder / "tokenizer.json").is_file():
            raise ModelError(
                f"{model}: its tokenizer.json, or a file beside it, cannot be read; save the model again"
            ) from error
        raise _none_in(folder) from error
    check_vocabulary(tokenizer, place)
    return tokenizer


def check_vocabulary(tokenizer: Any, model: str) -> None:
    """Refuse a tokenizer without words, such as transformers makes from a config alone.

    Args:
        tokenizer: as transformers has made it.
        model: the directory or the hub name that it was made from.

    Raises:
        ModelError: it knows no words.
    """
    folder = Path(model)
    if folder.is_dir() and not _has_vocabulary_file(tokenizer, folder):
        raise _none_in(folder)
    own = {*tokenizer.get_added_vocab(), *tokenizer.all_special_tokens, WORD_BOUNDARY}
    if own.issuperset(tokenizer.get_vocab()):
        raise ModelError(
            f"{model}: its tokenizer knows no words (its files are missing); choose another model"
        )


def check_embedded(tokenizer: Any, backbone: Any, model: str) -> None:
    """Refuse a tokenizer whose ids go beyond the rows of the model's embedding: some text would fail.

    Raises:
        ModelError: they do; it names a token.
    """
    if not getattr(tokenizer, "is_fast", False):  # some of these read hashes of characters; refused on use
        return
    rows = len(backbone.get_input_embeddings().weight)
    token, highest = max(tokenizer.get_vocab().items(), key=lambda item: item[1])
    if highest >= rows:
        what = "padding token" if highest == tokenizer.pad_token_id else "token"
        raise ModelError(
            f"{model}: its {what} {token!r} is number {highest}, and its embedding has {rows} rows, from 0; "
            "resize the embedding to the tokenizer (resize_token_embeddings), or choose another model"
        )


def give_padding(tokenizer: Any, config: Any, model: str) -> None:
    """Give a tokenizer without a padding token one, mostly its end-of-text token.

    Many decoders are published without one. Which token it is makes no difference to a vector: attention and
    pooling leave padding out.

    Args:
        tokenizer, config: of the model; both get it, so that what is saved has it.
        model: what messages call it.

    Raises:
        ModelError: it has none that would do.
    """
    if tokenizer.pad_token_id is None:
        found = (tokenizer.eos_token, tokenizer.sep_token, tokenizer.bos_token)
        token = next((one for one in found if one is not None), None)
        if token is None:
            raise ModelError(
                f"{model}: its tokenizer has no padding token, nor one for a text's end or beginning; "
                "set its pad_token"
            )
        tokenizer.pad_token = token
    if config.pad_token_id is None:
        config.pad_token_id = tokenizer.pad_token_id


def special_ids(tokenizer: Any) -> list[int]:
    """The special tokens that are no words of a text: late interaction leaves them out."""
    words = {tokenizer.unk_token_id, tokenizer.mask_token_id}
    # GPT-2's kind has one token for the unknown and for the end.
    words -= {tokenizer.eos_token_id, tokenizer.bos_token_id, tokenizer.pad_token_id}
    return [token for token in tokenizer.all_special_ids if token not in words]


def forget_last_call(tokenizer: Any) -> None:
    """Clear the truncation and padding of the last call from a fast tokenizer's state.

    Otherwise ``tokenizer.json`` would hold those of the last batch before the save: whoever opens that file
    alone would have texts cut there, and a resumed training would save another file than one without a break.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        backend.no_truncation()
        backend.no_padding()


def _has_vocabulary_file(tokenizer: Any, folder: Path) -> bool:
    """Whether the folder, or a module's folder in it, has a file that the tokenizer reads its words from.

    Tokenizers that read bytes or characters need no file.
    """
    names = list(dict(tokenizer.vocab_files_names).values())
    found = (
        path for name in (*names, "tokenizer.json") for path in (folder / name, *folder.glob(f"*/{name}"))
    )
    return not names or any(path.is_file() for path in found)


def _of_transformer(folder: Path) -> Path:
    """Where a model's Transformer is: older sentence-transformers put it into a folder ``0_Transformer``."""
    inside = sorted(path for path in folder.glob("0_*") if path.is_dir())
    return inside[0] if inside and not (folder / "config.json").exists() else folder


def _none_in(folder: Path) -> ModelError:
    inside = next((folder / one for one in TRAINED if (folder / one / "tokenizer.json").is_file()), None)
    if inside is not None:
        return ModelError(f"{folder}: a training folder, without a tokenizer; its model is {inside}")
    return ModelError(
        f"{folder}: no tokenizer in this directory (tokenizer.json, or a vocabulary); "
        "name the directory of a whole model, or a base"
    )
