"""The index of a standard set that ``evaluate`` makes where none is named, kept in the user's cache."""

import logging

from ernie_search.cli.output import console, loading, progress
from ernie_search.errors import DataError


def _fetch(source: str, name: str) -> None:
    """Fetch a set, or find it fetched, before a model is loaded.

    Raises:
        DataError: it is not here, and cannot be fetched; the package's own log of that is left out.
    """
    from ernie_search.data import open_collection

    logging.getLogger("ir_datasets").disabled = True
    passages = open_collection(source).passages()
    with loading(f"the set {name}"):
        try:
            next(iter(passages), None)
        except DataError as error:
            reason = str(error).partition("cannot be read (")[2] or str(error)
            raise DataError(
                f"{source}: cannot be fetched, which takes a network once; check the connection, or give a "
                f"BEIR folder of it ({reason:.120})"
            ) from None


def standard_index(source: str, model: str | None) -> str | None:
    """The index of a standard set, made if it is not there; None where the source is no standard set.

    Args:
        source: as the user named it; see ``standard_set``.
        model: that makes the index; None for the default one.

    Raises:
        ErnieSearchError: see ``make_index``; an interrupted one is resumed by the same call.
    """
    from ernie_search.data.standard_sets import standard_set

    name = standard_set(source)
    if name is None:
        return None
    _fetch(source, name)
    with loading("the model"):
        from ernie_search.encoding.build import make_index
        from ernie_search.encoding.opening import open_encoder
        from ernie_search.runtime import default_model
        from ernie_search.runtime.cache import cache_folder

        chosen = model or default_model()
        fingerprint = open_encoder(chosen).fingerprint
    folder = cache_folder() / "standard" / f"{name.replace('/', '-')}-{fingerprint}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with progress("encoding", None) as bar:
        make_index(
            source,
            chosen,
            folder,
            progress=bar,
            expect=bar.expect,
            storing=lambda done: bar.of("storing")(done),
        )
    console(stderr=True).print(f"index: {folder}", soft_wrap=True)
    return str(folder)
