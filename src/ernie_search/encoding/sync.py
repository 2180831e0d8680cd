"""A folder of documents kept in an index: what did not change costs a look at each file, and no model."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ernie_search._util.files import SETTLED, behind_link, fingerprint, seen_from
from ernie_search.data.files import (
    FilesCollection,
    FilesSnapshot,
    Skipped,
    State,
    keep_only,
    read_state,
)
from ernie_search.encoding.noted import noted_source
from ernie_search.errors import SettingsError
from ernie_search.index.lance_files import Commit, is_index, read_commit
from ernie_search.index.opening import lance_folder, on_disk

FIELDS = {"path": "str", "heading": "str", "line": "int", "page": "int"}
"""What filters can ask of a folder's passages."""

Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Synced:
    """An index that holds what its folder does, and what that took.

    Attributes:
        folder: of the index.
        files, passages: of the documents, all together.
        read: files that were read anew; ``gone``: files that were there before.
        encoded, added, replaced, removed, unchanged, truncated, seconds: see ``Built``.
        skipped: files that were left out, and why.
        notes: what the reading has to say of files, by path.
    """

    folder: Path
    files: int
    passages: int
    read: int = 0
    gone: int = 0
    encoded: int = 0
    added: int = 0
    replaced: int = 0
    removed: int = 0
    unchanged: int = 0
    truncated: int = 0
    seconds: float = 0.0
    skipped: list[Skipped] = field(default_factory=list)
    notes: dict[str, str] = field(default_factory=dict)

    @property
    def up_to_date(self) -> bool:
        """Whether there was nothing to do."""
        return not (self.added or self.replaced or self.removed)


def sync_folder(
    files: FilesCollection,
    model: str | Path | None,
    output: str | Path,
    *,
    default_model: Callable[[], str] | None = None,
    words: int | None = None,
    reading: Progress | None = None,
    before_encoding: Callable[[], None] | None = None,
    **options: Any,
) -> Synced:
    """Make an index of a folder, or bring it up to date, in one commit.

    A kill leaves the old state or the new. Unchanged files are told by their size and time (those that
    changed in the two seconds before they were last read, by their SHA-256). Changed ones are read again, and
    of them only passages whose words are new are encoded; where a line or the path is all that changed, the
    vectors are used again. Without any change no model is loaded.

    Args:
        files: the folder; the index's own, if that lies in it, is left out.
        model: what encodes it; None for the model that made the index, or ``default_model`` for a new one.
        output: the index's folder.
        default_model: asked for a model where none is named and there is no index yet.
        words: of a passage at most; None for those of the index, or of ``files`` for a new one.
        reading: called with the number of files looked at since its last call.
        before_encoding: called where there is something to do, once it is known.
        **options: of ``make_index``.

    Raises:
        SettingsError: the output is no folder, or there is no model to make it with.
        ErnieSearchError: see ``make_index``.
    """
    if not on_disk(output):
        raise SettingsError(f"{output}: only an index in a folder is kept in step with files")
    folder = lance_folder(output)
    own = behind_link(folder)
    files.exclude = [*files.exclude, own, own.with_name(f"{own.name}.shards")]
    commit = read_commit(folder) if is_index(folder) else None
    state = _state_of(commit, files, folder)
    known = words or (state.words if state is not None else None)
    files.words = known or files.words
    snapshot = FilesSnapshot(files, state, reading)
    chosen = _model_of(commit, folder) if model is None else str(model)
    mark = "" if chosen is None else model_mark(chosen)
    snapshot.state.model = mark
    common: dict[str, Any] = {"skipped": snapshot.skipped, "notes": snapshot.notes}
    if state is not None and commit is not None and snapshot.unchanged and mark == state.model:
        named = model is None or _same_place(str(model), _model_of(commit, folder))
        if named and _asks_nothing_new(commit, options):
            if snapshot.state.files != state.files or _was_busy(state):
                snapshot.state.write(folder)
            return Synced(folder, snapshot.files, commit.passages, unchanged=commit.passages, **common)
    if chosen is None and default_model is not None:
        chosen = default_model()
        snapshot.state.model = model_mark(chosen)
    if chosen is None:
        raise SettingsError("--model: name the model that encodes the documents")
    if before_encoding is not None:
        before_encoding()
    from ernie_search.encoding.build import make_index  # what it needs, only those wait for who need it

    if commit is None:
        options.setdefault("fields", FIELDS)
        if options["fields"] is None:
            options["fields"] = FIELDS
    else:
        snapshot.state.write(folder)
    built = make_index(snapshot, chosen, output, **options)
    built.index.close()
    if commit is None:
        snapshot.state.write(folder)
    keep_only(folder, snapshot.state.data)
    return Synced(
        folder,
        snapshot.files,
        snapshot.total,
        snapshot.changed,
        snapshot.gone,
        built.encoded,
        built.added,
        built.replaced,
        built.removed,
        snapshot.total - built.added - built.replaced,
        built.truncated,
        built.seconds,
        **common,
    )


def _state_of(commit: Commit | None, files: FilesCollection, folder: Path) -> State | None:
    """What the index knows of the files, if it holds just what they held then."""
    origin = None if commit is None else commit.origin
    if origin is None or origin["state"] != "complete":
        return None
    if origin["source"] != noted_source(files.source, folder):
        return None
    return read_state(folder, origin["data"])


def _model_of(commit: Commit | None, folder: Path) -> str | None:
    """The model that made an index, as ``make_index`` takes it; None where that is not noted."""
    if commit is None:
        return None
    if commit.spec.get("model_ref"):
        return str(commit.spec["model_ref"])
    path = str(commit.spec.get("model_path") or "")
    return str(seen_from(folder, path)) if path else None


def noted_model(output: str | Path) -> str | None:
    """The model that made an index, as ``make_index`` takes it; None where none is noted."""
    folder = lance_folder(output)
    return _model_of(read_commit(folder), folder) if on_disk(output) and is_index(folder) else None


def _same_place(one: str, other: str | None) -> bool:
    if other is None:
        return False
    return one == other or (os.path.exists(one) and os.path.realpath(one) == os.path.realpath(other))


def model_mark(model: str) -> str:
    """What changes with a model's files, at the price of a look at each; for a name, the name."""
    folder = Path(model)
    if not folder.is_dir():
        return model
    looks = []
    for path in sorted(folder.rglob("*")):
        about = path.stat()
        if path.is_file():
            looks.append([path.relative_to(folder).as_posix(), about.st_size, about.st_mtime_ns])
    return fingerprint(looks)


def _asks_nothing_new(commit: Commit, options: dict[str, Any]) -> bool:
    """Whether the options that decide what an index is are those that it was made with."""
    asked = {
        name: value
        for name, value in options.items()
        if name in commit.spec and value is not None and value != "auto"
    }
    precision = options.get("precision")
    if precision not in (None, "auto", commit.spec.get("passages_in", "fp32")):
        return False
    return all(commit.spec[name] == value for name, value in asked.items())


def _was_busy(state: State) -> bool:
    """Whether a file changed so shortly before the state was made that it was read again."""
    latest = max((one.mtime_ns for one in state.files.values()), default=0)
    return latest >= state.scanned_ns - int(SETTLED * 1e9)
