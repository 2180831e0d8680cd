"""How an index notes its source: so that both can move together."""

import os
from pathlib import Path


def noted_source(source: str, folder: Path) -> str:
    """A source as an index in ``folder`` notes it: a path as seen from there, others as they are called."""
    source = source.removeprefix("beir:")
    scheme, colon, rest = source.partition(":")
    for before, path in (("", source), (scheme + colon, rest)):
        name, mark, options = path.partition("?")
        place = Path(name).expanduser()
        if name and place.exists():
            return f"{before}{os.path.relpath(place.resolve(), folder.resolve())}{mark}{options}"
    return source
