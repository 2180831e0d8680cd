"""What a reader makes of a file: a title, and blocks of text, each with its headings and its place."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Block:
    """A paragraph, a list, a code example, a function: text that is cut only where it is too long.

    Attributes:
        text: as it stands in the file, without markup that only says how it looks.
        headings: from the document's outermost section to the one that it stands in.
        line: where it begins in the file, from 1; None where the file has no lines that a person sees.
        page: where it stands, from 1; None where there are no pages.
        code: cut at lines, not at sentences.
    """

    text: str
    headings: tuple[str, ...] = ()
    line: int | None = None
    page: int | None = None
    code: bool = False


@dataclass(slots=True)
class Document:
    """A file as its reader sees it; ``title`` is "" where it does not say."""

    title: str = ""
    blocks: list[Block] = field(default_factory=list)


@dataclass(slots=True)
class Headings:
    """The headings above a place in a document, as they are met one after the other."""

    _open: list[tuple[int, str]] = field(default_factory=list)

    def enter(self, level: int, text: str) -> None:
        """Begin a section; those of the same level and below it end."""
        self._open = [one for one in self._open if one[0] < level]
        if text:
            self._open.append((level, text))

    @property
    def path(self) -> tuple[str, ...]:
        """From the outermost to the innermost."""
        return tuple(text for _, text in self._open)


class UnreadableError(Exception):
    """A file that a reader cannot read; the text says why in a few words."""


class MissingReaderError(Exception):
    """A file whose reader is not installed; the text names the extra."""
