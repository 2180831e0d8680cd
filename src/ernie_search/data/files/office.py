"""Readers of PDF and Word files, through pdfminer.six and mammoth: the extra ``files``."""

import importlib.util
import io
import logging
import re

from ernie_search.data.files.document import Block, Document, MissingReaderError, UnreadableError
from ernie_search.data.files.html import read_html

HYPHEN = re.compile(r"(?<=[^\W\d_])-\n(?=[^\W\d_])")
"""A word that a line's end divides."""
SHORTEST_TITLE, LONGEST_TITLE = 4, 200


def read_pdf(data: bytes) -> Document:
    """Paragraphs with the page that they stand on.

    Raises:
        MissingReaderError: the extra is not installed.
        UnreadableError: it needs a password, holds no text (a scan, say), or is damaged.
    """
    check_installed("pdfminer")
    from pdfminer.high_level import extract_pages
    from pdfminer.layout import LTTextContainer
    from pdfminer.pdfdocument import PDFEncryptionError, PDFPasswordIncorrect

    logging.getLogger("pdfminer").setLevel(logging.CRITICAL)  # it warns of every odd font
    found = Document(_pdf_title(data))
    try:
        for number, page in enumerate(extract_pages(io.BytesIO(data)), 1):
            for part in page:
                if isinstance(part, LTTextContainer):
                    text = HYPHEN.sub("", part.get_text())
                    text = " ".join(text.replace("\x00", "").split())
                    if text:
                        found.blocks.append(Block(text, page=number))
    except (PDFEncryptionError, PDFPasswordIncorrect):
        raise UnreadableError("needs a password") from None
    except Exception as error:  # a damaged file fails anywhere in a parser
        raise UnreadableError(f"damaged ({type(error).__name__})") from None
    if not found.blocks:
        raise UnreadableError("no text, pictures of pages perhaps")
    return found


def _pdf_title(data: bytes) -> str:
    """The title that the file says it has; "" where it has none, or only a file's name."""
    from pdfminer.pdfdocument import PDFDocument
    from pdfminer.pdfparser import PDFParser
    from pdfminer.pdftypes import resolve1
    from pdfminer.utils import decode_text

    try:
        about = PDFDocument(PDFParser(io.BytesIO(data))).info
        title = next(one["Title"] for one in about if "Title" in one)
        text = " ".join(decode_text(resolve1(title)).replace("\x00", "").split())
    except Exception:  # none, or a damaged file, of which reading its pages tells
        return ""
    usable = SHORTEST_TITLE <= len(text) <= LONGEST_TITLE and " " in text
    return "" if text.startswith("Microsoft Word") or not usable else text


def read_docx(data: bytes) -> Document:
    """Paragraphs with their headings; pictures are left out.

    Raises:
        MissingReaderError: the extra is not installed.
        UnreadableError: it needs a password (it is then no zip file), or is damaged.
    """
    check_installed("mammoth")
    import mammoth

    try:
        page = mammoth.convert_to_html(
            io.BytesIO(data), convert_image=mammoth.images.img_element(lambda image: {"src": ""})
        )
    except Exception as error:  # a damaged file fails anywhere in a parser
        why = "damaged, or needs a password" if data[:4] == b"\xd0\xcf\x11\xe0" else "damaged"
        raise UnreadableError(f"{why} ({type(error).__name__})") from None
    found = read_html(str(page.value))
    found.blocks = [Block(one.text, one.headings, code=one.code) for one in found.blocks]
    return found


def check_installed(module: str) -> None:
    """Refuse to continue without a module of the extra.

    Raises:
        MissingReaderError: naming the extra.
    """
    if importlib.util.find_spec(module) is None:
        raise MissingReaderError("files")
