"""``ernie-search index`` of a folder of documents: one sync, or one after every change."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ernie_search.cli.defaults import DEFAULT_INDEX, default_model
from ernie_search.cli.output import console, print_json, progress, quiet_libraries
from ernie_search.errors import ErnieSearchError, SettingsError

if TYPE_CHECKING:
    from ernie_search.data.files import FilesCollection
    from ernie_search.encoding.sync import Synced

LISTED = 5
"""Files that the summary names; all are in --json."""


def sync(
    files: "FilesCollection",
    model: str | None,
    output: str,
    *,
    words: int | None,
    watch: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Bring the index up to date with the folder, say what was done, and do it again while watching."""
    from ernie_search.encoding.sync import sync_folder

    def once() -> "Synced":
        with progress("reading", None) as bar:
            return sync_folder(
                files,
                model,
                output,
                default_model=default_model,
                words=words,
                reading=lambda done: bar.of("reading")(done),
                before_encoding=quiet_libraries,
                progress=lambda done: bar.of("encoding")(done),
                expect=lambda total: bar.of("encoding").expect(total),
                storing=lambda done: bar.of("storing")(done),
                **options,
            )

    show(files, output, once(), as_json)
    if watch:
        _watch(files, output, once, as_json)


def _watch(files: "FilesCollection", output: str, once: Callable[[], "Synced"], as_json: bool) -> None:
    """Sync after every change, until Ctrl-C; what goes wrong is said, and tried again at the next change."""
    from ernie_search.data.files.watch import changes

    said = console(stderr=True)
    said.print(f"watching {files.root}; Ctrl-C ends it", soft_wrap=True)
    try:
        for _ in changes(files):
            try:
                found = once()
            except ErnieSearchError as error:
                said.print(f"{time.strftime('%H:%M:%S')} {error}", soft_wrap=True)
                continue
            if not found.up_to_date:
                show(files, output, found, as_json, brief=True)
    except KeyboardInterrupt:
        said.print("stopped", soft_wrap=True)


def show(
    files: "FilesCollection", output: str, found: "Synced", as_json: bool, *, brief: bool = False
) -> None:
    """Say what a sync found and did; ``brief``: on one line, with the time."""
    from ernie_search.data.files import say_skipped

    if as_json:
        print_json({"index": output, "source": files.source, **as_values(found)})
        return
    out = console()
    counts = {name: getattr(found, name) for name in ("added", "replaced", "removed", "unchanged")}
    done = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)
    if brief:
        out.print(f"{time.strftime('%H:%M:%S')} {done}; {found.encoded:,} encoded", soft_wrap=True)
        return
    skipped = f"; {say_skipped(found.skipped, LISTED)}" if found.skipped else ""
    out.print(f"{files.root}: {found.files:,} files, {found.passages:,} passages{skipped}", soft_wrap=True)
    for path, note in list(found.notes.items())[:LISTED]:
        out.print(f"{path}: {note}", soft_wrap=True)
    if found.up_to_date:
        out.print(f"{output}: up to date.", soft_wrap=True)
    else:
        took = f" in {found.seconds:.1f} s" if found.encoded else ""
        out.print(f"{output}: passages {done}; {found.encoded:,} encoded{took}.", soft_wrap=True)
    if found.truncated:
        out.print(
            f"longer than the model reads, so cut: {found.truncated:,} passages; take fewer --chunk-words.",
            soft_wrap=True,
        )
    where = "" if output == DEFAULT_INDEX else f" --index {output}"
    out.print(f'Next: ernie-search search "your question"{where}', soft_wrap=True)


def as_values(found: "Synced") -> dict[str, Any]:
    """A sync as plain values."""
    names = ("files", "passages", "read", "gone", "encoded", "added", "replaced", "removed", "unchanged")
    values: dict[str, Any] = {name: getattr(found, name) for name in (*names, "truncated", "seconds")}
    values["skipped"] = [{"path": one.path, "reason": one.reason} for one in found.skipped]
    return values | {"notes": found.notes, "up_to_date": found.up_to_date}


def check_cut(chunk_overlap: int) -> None:
    """Refuse what the cut of documents does not have.

    Raises:
        SettingsError: an overlap.
    """
    if chunk_overlap:
        raise SettingsError(
            "--chunk-overlap: documents are cut between paragraphs, without overlap; leave it out"
        )
