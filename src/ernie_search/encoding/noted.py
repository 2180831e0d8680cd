"""How an index notes its source: so that both can move together."""

import os
from pathlib import Path

from ernie_search._util.files import seen_from


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


def source_from(noted: str, folder: Path) -> str:
    """What ``noted_source`` made of a source, as it is called from here."""
    scheme, colon, rest = noted.partition(":")
    for before, path in (("", noted), (scheme + colon, rest)):
        name, mark, options = path.partition("?")
        place = seen_from(folder, name)
        # documents always lie at a path, and where they are gone, that is what a message has to name
        if name and (place.exists() or before == "files:"):
            return f"{before}{os.path.relpath(place)}{mark}{options}"
    return noted
