"""What commands take where nothing is named."""

from importlib import import_module

from ernie_search.errors import SettingsError

DEFAULT_INDEX = ".ernie-search"
"""The index of the folder in which a command is run: ``index`` makes it, ``search`` finds it."""


def default_model() -> str:
    """The bundled model if it is installed, else a small one of the hub that has ONNX files.

    Raises:
        SettingsError: this installation knows of none.
    """
    try:
        return str(import_module("ernie_search.runtime").default_model())
    except (ImportError, AttributeError):
        raise SettingsError("--model: needed to encode a collection; a folder of shards needs none") from None
