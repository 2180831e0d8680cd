"""From a file's bytes to passages: its encoding, its reader, ids that outlive edits elsewhere in the file."""

import hashlib
import importlib.util
import os
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ernie_search.data.files import code, html, markup, office
from ernie_search.data.files.cut import cut
from ernie_search.data.files.document import Document, MissingReaderError, UnreadableError
from ernie_search.data.files.walk import Found, Skipped
from ernie_search.types import Passage

READERS_VERSION = 3
"""Goes up when the same bytes give other passages; files are then read again."""

TEXT_READERS: dict[str, Callable[[str], Document]] = {
    **dict.fromkeys((".md", ".markdown", ".mdx", ".qmd", ".rmd"), markup.read_markdown),
    **dict.fromkeys((".rst", ".rest"), markup.read_rst),
    **dict.fromkeys((".html", ".htm", ".xhtml"), html.read_html),
    **dict.fromkeys((".txt", ".text", ".adoc", ".asciidoc", ".org", ".tex", ".log"), markup.read_plain),
    **dict.fromkeys((".py", ".pyi", ".pyw"), code.read_python),
    ".ipynb": code.read_notebook,
}
BINARY_READERS: dict[str, Callable[[bytes], Document]] = {".pdf": office.read_pdf, ".docx": office.read_docx}
MODULES = {".pdf": "pdfminer", ".docx": "mammoth"}
"""What the readers of binary files stand on."""

PROSE_NAMES = ("readme", "license", "licence", "copying", "authors", "changelog", "changes", "news", "notice")
"""Files that have no ending and are no source code."""

LOOKED_AT = 8192
"""Bytes in which a NUL byte means that a file is no text, as git has it."""
TRIES = 3
"""Readings of a file that changes meanwhile."""
HASH_DIGITS = 10
"""Of a passage's own text, in its id; texts of one file that share them are numbered."""

BOMS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe\x00\x00", "utf-32"), (b"\x00\x00\xfe\xff", "utf-32"))
UTF16_BOMS = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True, slots=True)
class Read:
    """A file that was read.

    Attributes:
        size, mtime_ns: when it was read.
        sha256: of its bytes.
        passages: what it was cut into.
        note: what a user should know of the reading, or "".
    """

    size: int
    mtime_ns: int
    sha256: str
    passages: list[Passage]
    note: str = ""


def is_document(path: str) -> bool:
    """Whether a single file of this name is read without saying ``files:``."""
    suffix = PurePosixPath(path).suffix.lower()
    return suffix in TEXT_READERS or suffix in BINARY_READERS


def has_reader(path: str) -> bool:
    """Whether the reader that a file of this name needs is installed."""
    module = MODULES.get(PurePosixPath(path).suffix.lower())
    return module is None or importlib.util.find_spec(module) is not None


def read_stable(place: Path) -> tuple[bytes, os.stat_result] | None:
    """A file's bytes and what they were read at; None if it changes each time it is read.

    Raises:
        OSError: it is gone, or may not be read.
    """
    for attempt in range(TRIES):
        if attempt:
            time.sleep(0.05 * attempt)
        before = place.stat()
        data = place.read_bytes()
        after = place.stat()
        if before.st_mtime_ns == after.st_mtime_ns and before.st_size == after.st_size == len(data):
            return data, after
    return None


def read_file(found: Found, words: int, known: str = "") -> Read | Skipped | None:
    """Read a file and cut it.

    Args:
        found: which one.
        words: of a passage at most.
        known: SHA-256 of its bytes the last time; a file that still has it is not cut again.

    Returns:
        What it holds; ``passages`` is empty where it is as it was. Or why it was left out; or None for a
        file that is no document (a picture, say), or that is gone.
    """
    try:
        got = read_stable(found.place)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        return Skipped(found.path, f"cannot be read ({error.strerror})", passing=True)
    if got is None:
        return Skipped(found.path, "changes while it is read; the next call takes it up", passing=True)
    data, about = got
    digest = hashlib.sha256(data).hexdigest()
    if digest == known:
        return Read(about.st_size, about.st_mtime_ns, digest, [])
    try:
        document, note = parse(found.path, data)
    except UnreadableError as error:
        return Skipped(found.path, str(error))
    except MissingReaderError as error:
        return Skipped(found.path, "its reader is not installed", extra=str(error))
    if document is None:
        return None
    passages = to_passages(found.path, document, words)
    if not passages:
        return Skipped(found.path, "no text")
    return Read(about.st_size, about.st_mtime_ns, digest, passages, note)


def parse(path: str, data: bytes) -> tuple[Document | None, str]:
    """The document that a file's bytes are, and a note on the reading; None for what is no text.

    Raises:
        UnreadableError, MissingReaderError: see the readers.
    """
    name = PurePosixPath(path).name.lower()
    suffix = PurePosixPath(name).suffix
    if suffix in BINARY_READERS:
        return BINARY_READERS[suffix](data), ""
    reader = TEXT_READERS.get(suffix)
    text, note = decoded(data, html.declared_charset(data) if reader is html.read_html else "")
    if text is None or (note and reader is None):  # of an unknown kind, and no UTF-8: no text for certain
        if reader is not None:
            raise UnreadableError("no text, it holds NUL bytes")
        return None, ""
    if reader is None:
        stem = name.partition(".")[0]
        reader = markup.read_plain if stem in PROSE_NAMES else code.read_code
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\f", "\n").replace("\x00", "")
    try:
        return reader(text), note
    except RecursionError:
        raise UnreadableError("nested too deeply") from None


def decoded(data: bytes, declared: str = "") -> tuple[str | None, str]:
    """Bytes as text, and a note where its encoding was guessed; None where they are no text.

    Args:
        data: the bytes.
        declared: the encoding that they say they have, which counts where they are not UTF-8.
    """
    for mark, encoding in (*BOMS, *((one, "utf-16") for one in UTF16_BOMS)):
        if data.startswith(mark):
            return data.decode(encoding, errors="replace"), ""
    if b"\x00" in data[:LOOKED_AT]:
        return None, ""
    try:
        return data.decode("utf-8"), ""
    except UnicodeDecodeError:
        pass
    if declared:
        try:
            return data.decode(declared), ""
        except (LookupError, UnicodeDecodeError):
            pass
    if importlib.util.find_spec("charset_normalizer") is not None:
        from charset_normalizer import from_bytes

        best = from_bytes(data[: 1 << 16]).best()
        if best is not None:
            return data.decode(best.encoding, errors="replace"), f"read as {best.encoding}"
    return data.decode("latin-1"), "read as latin-1"


def to_passages(path: str, document: Document, words: int) -> list[Passage]:
    """The document's passages, named after the file and their own text.

    An id is the path, ``#`` and a hash of the text (and a number from the second passage of the same text
    on), so an edit changes the ids of what it touches alone. Fields are ``path``, ``heading``, and ``line``
    or ``page``; the title is the document's with the headings above the passage.
    """
    shown, title = readable_path(path), " ".join(document.title.split())
    title = title or PurePosixPath(shown).name
    times: Counter[str] = Counter()
    made = []
    for piece in cut(document, words):
        digest = hashlib.sha256(piece.text.encode(errors="surrogatepass")).hexdigest()[:HASH_DIGITS]
        times[digest] += 1
        number = f"-{times[digest]}" if times[digest] > 1 else ""
        headings = piece.headings[1:] if piece.headings[:1] == (title,) else piece.headings
        fields: dict[str, str | int] = {"path": shown, "heading": " > ".join(headings)}
        if piece.line is not None:
            fields["line"] = piece.line
        if piece.page is not None:
            fields["page"] = piece.page
        full_title = " > ".join([title, *headings])
        made.append(
            Passage(f"{id_path(path)}#{digest}{number}", sound(piece.text), sound(full_title), fields)
        )
    return made


def sound(text: str) -> str:
    """The text without halves of surrogate pairs, which a notebook can escape."""
    return text.encode("utf-8", "replace").decode("utf-8") if not text.isascii() else text


def readable_path(path: str) -> str:
    """A path as text; bytes that are not UTF-8 as ``%E9``."""
    return "".join(f"%{ord(one) - 0xDC00:02X}" if "\udc80" <= one <= "\udcff" else one for one in path)


def id_path(path: str) -> str:
    """A path as the beginning of an id: white space, ``%``, ``#`` and what is not UTF-8 are escaped."""
    return "".join(
        "".join(f"%{byte:02X}" for byte in one.encode("utf-8", "surrogateescape"))
        if one.isspace() or one in "%#\ufeff" or "\udc80" <= one <= "\udcff" or ord(one) < 0x20
        else one
        for one in path
    )
