"""Reader of web pages: what is read on one, without scripts, styles and navigation."""

import re
from collections import Counter
from html.parser import HTMLParser

from ernie_search.data.files.document import Block, Document, Headings

LEFT_OUT = frozenset(
    {"script", "style", "nav", "footer", "aside", "template", "noscript", "svg", "select", "button", "iframe"}
)
BLOCKS = frozenset(
    {"address", "article", "blockquote", "body", "caption", "dd", "details", "div", "dl", "dt", "fieldset"}
    | {"figcaption", "figure", "form", "header", "html", "li", "main", "ol", "p", "section", "summary"}
    | {"table", "tbody", "tfoot", "thead", "tr", "ul"}
)
"""Elements that begin and end a paragraph."""
VOID = frozenset(
    {"area", "base", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr"}
)
"""Elements that nothing closes."""
_ROWS = frozenset({"tbody", "tfoot", "thead"})
ENDED_BY: dict[str, frozenset[str]] = {
    "p": frozenset({"address", "article", "aside", "blockquote", "details", "div", "dl", "fieldset"})
    | {"figcaption", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hgroup", "hr"}
    | {"main", "menu", "nav", "ol", "p", "pre", "search", "section", "table", "ul"},
    "li": frozenset({"li"}),
    **dict.fromkeys(("dt", "dd"), frozenset({"dt", "dd"})),
    **dict.fromkeys(("rt", "rp"), frozenset({"rt", "rp"})),
    "option": frozenset({"option", "optgroup"}),
    "optgroup": frozenset({"optgroup"}),
    **dict.fromkeys(("td", "th"), _ROWS | {"td", "th", "tr"}),
    "tr": _ROWS | {"tr"},
    **dict.fromkeys(_ROWS, _ROWS),
    **dict.fromkeys(("caption", "colgroup"), _ROWS | {"colgroup", "tr"}),
}
"""Elements whose end tag may be left out (HTML, section 13.1.2.4), with those that end them by beginning. The
end of what they stand in ends them, too."""
HOLDING = (BLOCKS | LEFT_OUT | {"menu", "object", "pre"}) - frozenset(ENDED_BY)
"""Elements inside which nothing begins that ends what is around them."""
HEADING = re.compile(r"h([1-6])")
PERMALINK = frozenset({"headerlink", "anchor", "permalink", "header-anchor", "anchor-link"})
"""Classes of the signs that documentation puts beside its headings."""
CHARSET = re.compile(rb"<meta[^>]{0,200}charset\s*=\s*[\"']?\s*([\w-]+)", re.IGNORECASE)


def declared_charset(data: bytes) -> str:
    """The encoding that a page says it has, or ""."""
    match = CHARSET.search(data[:4096])
    return match[1].decode("ascii") if match else ""


def read_html(text: str) -> Document:
    """Paragraphs with their headings; only what is in ``main`` where a page has that."""
    parser = _Page()
    parser.feed(text)
    parser.close()
    parser.end_block()
    if not parser.document.title:
        parser.document.title = " ".join(parser.page_title.split())
    if parser.main:
        parser.document.blocks = parser.main
    return parser.document


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.document, self.headings = Document(), Headings()
        self.page_title = ""
        self.main: list[Block] = []
        self._text: list[str] = []
        self._blank = True  # whether there is only white space in it; joining it for each tag takes too long
        self._line = 1
        self._out: list[str] = []  # what is left out: an element, and those that stand open in it
        self._opened: Counter[str] = Counter()  # elements around it
        self._in_main: list[str] = []
        self._pre = 0
        self._level = 0
        self._in_title = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """See ``HTMLParser``."""
        about = dict(attrs)
        if self._out and not self._is_ended_by(tag):
            if tag == self._out[0] or (self._out[0] in ENDED_BY and tag not in VOID and tag != "br"):
                self._out.append(tag)
            return
        if tag in VOID:
            return
        classes = set((about.get("class") or "").split())
        if (
            tag in LEFT_OUT
            or about.get("role") == "navigation"
            or "hidden" in about
            or (tag == "a" and classes & PERMALINK)
        ):
            self._out.append(tag)
        elif tag == "title":
            self._in_title = True
        elif match := HEADING.fullmatch(tag):
            self.end_block()
            self._level = int(match[1])
        elif tag == "pre":
            self.end_block()
            self._pre += 1
        elif tag == "br":
            self._text.append("\n")
        elif tag in ("td", "th"):
            self._text.append("" if self._blank else " | ")
        elif tag in BLOCKS:
            self.end_block()
        if not self._out:
            self._opened[tag] += 1
        if not self._out and (tag == "main" or about.get("role") == "main" or tag in self._in_main[:1]):
            self._in_main.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """See ``HTMLParser``; ``<br/>`` opens nothing."""
        if tag not in LEFT_OUT:
            self.handle_starttag(tag, attrs)
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        """See ``HTMLParser``."""
        if tag in self._out:
            while self._out.pop() != tag:
                pass  # what stands open in it ends with it
            return
        if self._out and not (self._out[0] in ENDED_BY and self._opened[tag]):
            return
        self._out.clear()
        self._opened[tag] -= self._opened[tag] > 0
        if tag == "title":
            self._in_title = False
        elif HEADING.fullmatch(tag) and self._level:
            self._end_heading()
        elif tag == "pre":
            self.end_block()
            self._pre = max(self._pre - 1, 0)
        elif tag in BLOCKS:
            self.end_block()
        if tag in self._in_main[:1]:
            self._in_main.pop()

    def handle_data(self, data: str) -> None:
        """See ``HTMLParser``."""
        if self._out:
            return
        if self._in_title:
            self.page_title += data
            return
        if self._blank and data.strip():
            before = data[: len(data) - len(data.lstrip())]
            self._line = self.getpos()[0] + before.count("\n")
            self._blank = False
        self._text.append(data)

    def end_block(self) -> None:
        """Keep the paragraph read so far."""
        if self._level:
            self._end_heading()
            return
        whole = self._taken()
        text = whole.strip("\n").rstrip() if self._pre else " ".join(whole.split())
        if text.strip():
            block = Block(text, self.headings.path, self._line, code=bool(self._pre))
            self.document.blocks.append(block)
            if self._in_main:
                self.main.append(block)

    def _is_ended_by(self, tag: str) -> bool:
        """Whether the element that is left out ends as this one begins, since its end tag may be omitted."""
        if self._out[0] in ENDED_BY:
            for place in reversed(range(len(self._out))):
                if tag in ENDED_BY.get(self._out[place], ()):
                    del self._out[place:]
                elif self._out[place] in HOLDING:
                    break
        return not self._out

    def _taken(self) -> str:
        """The text so far, which begins anew."""
        whole = "".join(self._text)
        self._text.clear()
        self._blank = True
        return whole

    def _end_heading(self) -> None:
        text = " ".join(self._taken().split()).rstrip("¶# ")
        level, self._level = self._level, 0
        if level == 1 and not self.document.title:
            self.document.title = text
        self.headings.enter(level, text)
