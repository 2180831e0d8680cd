"""The page: everything in it, nothing from elsewhere, every text escaped."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from ernie_search.report import Report, Section, render, write_report
from ernie_search.report.page import escape, join, table, tag

ALLOWED = {
    *("html", "head", "meta", "link", "title", "style", "body", "main", "header", "nav", "section", "footer"),
    *(
        "h1",
        "h2",
        "h3",
        "p",
        "a",
        "div",
        "span",
        "b",
        "i",
        "small",
        "code",
        "mark",
        "ul",
        "li",
        "dl",
        "dt",
        "dd",
    ),
    *("table", "thead", "tbody", "tr", "th", "td", "details", "summary", "figure", "figcaption"),
    *("svg", "g", "path", "line", "circle", "text"),
}
VOID = {"meta", "link", "path", "line", "circle"}


class Reader(HTMLParser):
    """Checks nesting and collects what there is."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.attributes: list[tuple[str, str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in VOID or (tag == "circle" and not self.get_starttag_text().endswith("/>")):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_escaping() -> None:
    assert tag("p", "<b> & \"'", class_="x") == '<p class="x">&lt;b&gt; &amp; &quot;&#x27;</p>'
    assert tag("a", href='"><script>') == '<a href="&quot;&gt;&lt;script&gt;"></a>'
    assert tag("p", [tag("b", "x"), None, 3]) == "<p><b>x</b>3</p>"
    assert join(["a<", tag("b", "<")]) == "a&lt;<b>&lt;</b>"
    assert escape("a\x00b\x1f") == "a\ufffdb\ufffd"
    assert escape("x\udcff.trec") == "x\ufffd.trec"  # a file's name that is no UTF-8
    assert "<script>" not in table(["<script>"], [["<script>", 1]])


def test_every_text_is_escaped_and_nothing_is_fetched(whole: Report) -> None:
    page = render(whole)
    reader = Reader()
    reader.feed(page)
    assert reader.open == []
    assert reader.seen <= ALLOWED, reader.seen - ALLOWED
    assert "<script" not in page
    assert "\x00" not in page
    for element, name, value in reader.attributes:
        assert not name.startswith("on"), (element, name)
        assert name not in ("src", "srcset", "action", "data"), (element, name)
        if name == "href":
            assert value == "data:," or str(value).startswith("#part-")
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)
    assert style is not None
    assert "url(" not in style[1]
    assert "@import" not in style[1]
    assert "default-src 'none'" in page


def test_every_section_is_linked_and_named(whole: Report) -> None:
    page = render(whole)
    titles = [section.title for section in whole.sections]
    for wanted in (
        "Summary",
        "Significance",
        "Recall at k",
        "Teacher and student",
        "Ablation",
        "Stages",
        "Curves",
        "Time, memory and truncation",
        "Settings",
        "Versions and fingerprints",
        "Examples",
    ):
        assert wanted in titles
    for number in range(1, len(titles) + 1):
        assert f'id="part-{number}"' in page
        assert f'href="#part-{number}"' in page
    for words in (
        "prefers-color-scheme:dark",
        "@media print",
        'name="viewport"',
        "Gap closed",
        "Won by most",
    ):
        assert words in page


def test_it_appears_whole(tmp_path: Path) -> None:
    path = write_report(Report("x", sections=[Section("y", tag("p", "z"))]), tmp_path / "new" / "report.html")
    assert path.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert [one.name for one in path.parent.iterdir()] == ["report.html"]


@pytest.mark.parametrize("title", ["", "длинный " * 40])
def test_an_empty_report_is_a_page(title: str) -> None:
    assert render(Report(title)).endswith("</html>\n")


def luminance(colour: str) -> float:
    parts = (
        [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        if len(colour) == 7
        else [int(c, 16) / 15 for c in colour[1:]]
    )
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", ["LIGHT", "DARK"])
def test_texts_and_lines_can_be_told_from_the_ground(scheme: str) -> None:
    from ernie_search.report import page as style

    colours = dict(re.findall(r"--(\w+):(#\w+)", getattr(style, scheme)))
    ground = luminance(colours["card"])
    for name in ("text", "soft", "accent", "good", "bad", *(f"c{number}" for number in range(style.SERIES))):
        light, dark = max(ground, luminance(colours[name])), min(ground, luminance(colours[name]))
        assert (light + 0.05) / (dark + 0.05) >= (4.5 if not name[1:].isdigit() else 3), name
