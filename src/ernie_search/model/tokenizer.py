"""The tokenizer of a model alone, without its weights: to count tokens before anything is trained."""

from pathlib import Path
from typing import Any

from ernie_search.errors import ModelError
from ernie_search.model.base import resolve_base

TRAINED = ("best", "last")
"""The models inside the folder of a training run."""


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
    try:
        tokenizer = AutoTokenizer.from_pretrained(place)
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
    if folder.is_dir() and not _has_vocabulary(tokenizer, folder):
        raise _none_in(folder)
    return tokenizer


def forget_last_call(tokenizer: Any) -> None:
    """Take the last call's cut and filling out of what a fast tokenizer saves of itself.

    Else ``tokenizer.json`` would say how the last batch before the save was read: whoever opens that file
    alone would have texts cut there, and a training that was killed would save another than one that was not.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        backend.no_truncation()
        backend.no_padding()


def _has_vocabulary(tokenizer: Any, folder: Path) -> bool:
    """Whether its words are from the folder: of a config alone transformers makes a tokenizer without any.

    Tokenizers that read bytes or characters need no file.
    """
    names = dict(tokenizer.vocab_files_names).values()
    return not names or any((folder / name).is_file() for name in names)


def _none_in(folder: Path) -> ModelError:
    inside = next((folder / one for one in TRAINED if (folder / one / "tokenizer.json").is_file()), None)
    if inside is not None:
        return ModelError(
            f"{folder}: the folder of a training run, without a tokenizer; its model is {inside}"
        )
    return ModelError(
        f"{folder}: no tokenizer in this directory (tokenizer.json, or a vocabulary); "
        "name the directory of a whole model, or a base"
    )
