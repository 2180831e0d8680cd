"""Which files of a folder are documents: what git ignores, hidden files and build products are left out."""

import errno
import os
import stat
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ernie_search.errors import DataError

NOT_WALKED = frozenset({"node_modules", "__pycache__"})
"""Folders that tools fill; hidden ones and virtual environments are left out beside them."""

VIRTUAL_ENVIRONMENT = "pyvenv.cfg"
OWN_FOLDERS = (("index.json", "commits"), ("manifest.json", "shard-00000.parquet"))
"""What lies in an index and in a folder of shards, which are no documents."""

NOT_FOR_READERS = (".lock", ".map", ".min.css", ".min.js", ".svg")
"""Text that programs wrote for programs."""

GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
"""What the system says where nothing is; anything else may be there, and pass."""

GIT_IGNORE = ".gitignore"
Rule = Callable[[str], bool | None]
"""Of a path below the root (a folder's ends with /): ignored, taken in again, or not spoken of."""


@dataclass(frozen=True, slots=True)
class Found:
    """A file that may be a document.

    Attributes:
        path: below the root, with / between; bytes that are not UTF-8 are surrogates, as Python has them.
        place: where it is read.
        size: in bytes.
        mtime_ns: when it was changed, in nanoseconds since 1970.
    """

    path: str
    place: Path
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file or folder that was left out, and why.

    Attributes:
        path: below the root.
        reason: in a few words.
        extra: what has to be installed so that it can be read; "" where that is not why.
        passing: the reason may go without a change of the file.
    """

    path: str
    reason: str
    extra: str = ""
    passing: bool = False


@dataclass(slots=True)
class Walk:
    """What is below a root: files in the order of their paths, and what was left out for a reason."""

    files: list[Found] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)


def walk(root: Path, *, exclude: Collection[Path] = (), largest: int = 50 << 20) -> Walk:
    """Find the files of a folder that may be documents.

    ``.gitignore`` files count, those of nested folders and of the repository around the root, too. Links are
    followed inside the root alone, and what is reached in two ways comes once, by its own path.

    Args:
        root: a folder, or a single file, which is taken whatever its name.
        exclude: folders to leave out.
        largest: bytes of a file that is still read.

    Raises:
        DataError: there is no such folder, or it may not be read.
    """
    if not root.exists():
        raise DataError(f"{root}: no such file or folder")
    found = Walk()
    if root.is_file():
        about = root.stat()
        _take(found, Found(root.name, root, about.st_size, about.st_mtime_ns), largest)
        return found
    try:
        os.scandir(root).close()
    except OSError as error:
        raise DataError(f"{root}: cannot be read ({error.strerror})") from error
    walker = _Walker(root.resolve(), exclude, largest, found)
    walker.folder(walker.root, "", _rules_around(walker.root))
    walker.links()
    found.files.sort(key=lambda one: one.path)
    found.skipped.sort(key=lambda one: one.path)
    return found


def _take(found: Walk, file: Found, largest: int) -> None:
    if file.size == 0:
        found.skipped.append(Skipped(file.path, "empty"))
    elif file.size > largest:
        found.skipped.append(Skipped(file.path, f"larger than {largest >> 20} MB"))
    else:
        found.files.append(file)


class _Walker:
    """One walk; links are kept for its end, so that what they lead to is known by its own path."""

    def __init__(self, root: Path, exclude: Collection[Path], largest: int, found: Walk) -> None:
        self.root, self.largest, self.found = root, largest, found
        self._seen = {str(path.resolve()) for path in exclude}
        self._links: list[tuple[str, Path, list[Rule]]] = []

    def folder(self, place: Path, path: str, rules: list[Rule]) -> None:
        """Take what a folder holds.

        Args:
            place: its own, behind all links.
            path: below the root, "" or ending with /.
            rules: what may be ignored.
        """
        ahead = [(place, path, rules)]
        while ahead:
            place, path, rules = ahead.pop()
            if str(place) in self._seen:
                continue
            self._seen.add(str(place))
            try:
                with os.scandir(place) as entries:
                    inside = list(entries)
            except OSError as error:
                self._unread(path or ".", error)
                continue
            names = {entry.name for entry in inside}
            if path and (VIRTUAL_ENVIRONMENT in names or any(map(names.issuperset, OWN_FOLDERS))):
                continue
            if GIT_IGNORE in names:
                rules = [*rules, *_rule_below(place / GIT_IGNORE, path)]
            for entry in inside:
                try:
                    self._entry(entry, f"{path}{entry.name}", rules, ahead)
                except OSError as error:
                    self._unread(f"{path}{entry.name}", error)

    def links(self) -> None:
        """Follow the links that were met, and those that are met behind them."""
        while self._links:
            path, place, rules = self._links.pop(0)
            try:
                target = place.resolve(strict=True)
                about = target.stat()
            except (OSError, RuntimeError) as error:
                if isinstance(error, OSError) and error.errno not in GONE:
                    self._unread(path, error)
                else:
                    self._skip(path, "a link that leads nowhere")
                continue
            if not target.is_relative_to(self.root):
                self._skip(path, "a link that leads out of the folder")
            elif target.is_dir():
                self.folder(target, f"{path}/", rules)
            elif str(target) not in self._seen:
                self._file(path, target, about)

    def _entry(
        self,
        entry: os.DirEntry[str],
        path: str,
        rules: list[Rule],
        ahead: list[tuple[Path, str, list[Rule]]],
    ) -> None:
        if entry.name.startswith(".") or entry.name in NOT_WALKED:
            return
        folder, linked = entry.is_dir(follow_symlinks=False), entry.is_symlink()
        if not folder and entry.name.lower().endswith(NOT_FOR_READERS):
            return
        if _ignored(f"{path}/" if folder else path, rules):
            return
        place = Path(entry.path)
        if linked:
            self._links.append((path, place, rules))
        elif folder:
            ahead.append((place, f"{path}/", rules))
        else:
            self._file(path, place, entry.stat())

    def _file(self, path: str, place: Path, about: os.stat_result) -> None:
        self._seen.add(str(place))
        if stat.S_ISREG(about.st_mode):
            _take(self.found, Found(path, place, about.st_size, about.st_mtime_ns), self.largest)

    def _unread(self, path: str, error: OSError) -> None:
        """Skip what the system refuses, unless it was removed since its folder was listed."""
        if error.errno not in GONE:
            self._skip(path, f"cannot be read ({error.strerror})", passing=True)

    def _skip(self, path: str, reason: str, *, passing: bool = False) -> None:
        self.found.skipped.append(Skipped(path, reason, passing=passing))


def _ignored(path: str, rules: list[Rule]) -> bool:
    """Whether git would ignore it: the nearest ``.gitignore`` that speaks of it decides."""
    answers = (rule(path) for rule in reversed(rules))
    return next((answer for answer in answers if answer is not None), False)


def _rule_below(file: Path, path: str) -> Iterator[Rule]:
    """The rule of a ``.gitignore`` in a folder below the root, if it can be read."""
    spec = _spec(file)
    if spec is not None:
        yield lambda asked: spec(asked[len(path) :])


def _rules_around(root: Path) -> list[Rule]:
    """The rules of the repository that the root is a part of, unless they ignore the root itself."""
    above = [root, *root.parents]
    top = next((number for number, folder in enumerate(above) if (folder / ".git").exists()), 0)
    found: list[Rule] = []
    for folder in reversed(above[1 : top + 1]):
        rule = _rule_above(folder / GIT_IGNORE, f"{root.relative_to(folder).as_posix()}/")
        if rule is None:
            continue
        if rule(""):
            return []
        found.append(rule)
    return found


def _rule_above(file: Path, before: str) -> Rule | None:
    """The rule of a ``.gitignore`` above the root, which lies at ``before`` as seen from there."""
    spec = _spec(file)
    return None if spec is None else lambda asked: spec(before + asked)


def _spec(file: Path) -> Rule | None:
    """What a ``.gitignore`` says of paths below its folder; None where it cannot be read."""
    try:
        lines = file.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return None
    from pathspec import GitIgnoreSpec

    spec = GitIgnoreSpec.from_lines(lines)
    return lambda path: spec.check_file(path).include
