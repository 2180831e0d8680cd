"""The index of a standard set that ``evaluate`` makes where none is named, kept in the user's cache."""

from ernie_search.cli.output import console, loading, progress


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
    with loading(source):
        from ernie_search.data import open_collection

        next(iter(open_collection(source).passages()), None)  # without a network it ends here
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
