"""What commands take where nothing is named."""

DEFAULT_INDEX = ".ernie-search"
"""The index of the folder in which a command is run: ``index`` makes it, ``search`` finds it."""


def default_model() -> str:
    """The bundled model if it is installed, else a small one of the hub that has ONNX files."""
    from ernie_search.runtime import default_model as found

    return found()
