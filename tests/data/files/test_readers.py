"""What each reader makes of a file, sound or not."""

import importlib.util
import json
import re
import time

import pytest
from documents import docx, pdf

from ernie_search.data.files.document import MissingReaderError, UnreadableError
from ernie_search.data.files.reading import decoded, parse


def blocks(name: str, data: str | bytes) -> list[tuple[str, tuple[str, ...], int | None]]:
    document, _ = parse(name, data.encode() if isinstance(data, str) else data)
    return [(one.text, one.headings, one.line) for one in document.blocks]


def title(name: str, data: str) -> str:
    return parse(name, data.encode())[0].title


MARKDOWN = """![badge](x.png)

# *Guide* to [logs](l.md)

Logs are
kept.

## Rotation ##
They rotate.
```sh
# no heading

rotate
```
Size
----
| a | b |
|---|---|

Other
=====
End.
"""


def test_markdown():
    top = "Guide to logs"
    assert title("a.md", MARKDOWN) == top
    assert blocks("a.md", MARKDOWN) == [
        ("![badge](x.png)", (), 1),
        ("Logs are\nkept.", (top,), 5),
        ("They rotate.", (top, "Rotation"), 9),
        ("```sh\n# no heading\n\nrotate\n```", (top, "Rotation"), 10),
        ("| a | b |\n|---|---|", (top, "Size"), 17),
        ("End.", ("Other",), 22),
    ]


def test_markdown_front_matter():
    text = '---\ntitle: "Setting up"\ndraft: true\n---\nText.\n'
    assert (title("a.md", text), blocks("a.md", text)) == ("Setting up", [("Text.", (), 5)])
    assert blocks("a.md", "---\nnot closed") == [("---\nnot closed", (), 1)]


def test_windows_line_ends_and_unclosed_fences():
    assert blocks("a.md", "# A\r\n\r\none\r\ntwo\r\n~~~\nrest") == [
        ("one\ntwo", ("A",), 3),
        ("~~~\nrest", ("A",), 5),
    ]


def test_rst():
    text = "=====\nGuide\n=====\n\n.. _logs:\n\nLogs\n----\nSee :ref:`here <x>`.\n\n"
    text += "Deep\n~~~~\nx\n\nNext\n----\ny\n"
    assert title("a.rst", text) == "Guide"
    assert blocks("a.rst", text) == [
        ("See :ref:`here <x>`.", ("Guide", "Logs"), 9),
        ("x", ("Guide", "Logs", "Deep"), 13),
        ("y", ("Guide", "Next"), 17),
    ]


def test_html():
    page = """<html><head><title>T - site</title><style>p{}</style>
<script>var a = "<p>no</p>";</script></head>
<body><nav><ul><li>Menu</li></ul></nav><div hidden>no</div><input hidden>
<h1>Logs<a class="headerlink" href="#">¶</a></h1>
<p>Logs are <b>kept</b> &amp;
rotated.<br>Yes.</p>
<h2>Size</h2><pre>a
  b</pre><table><tr><th>x</th><th>y</th></tr></table>
<footer>imprint</footer></body></html>"""
    assert title("a.html", page) == "Logs"
    assert blocks("a.html", page) == [
        ("Logs are kept & rotated. Yes.", ("Logs",), 5),
        ("a\n  b", ("Logs", "Size"), 7),
        ("x | y", ("Logs", "Size"), 8),
    ]


def test_html_with_a_main_part_is_only_that():
    page = "<title>T</title><div>menu</div><div role=main><div><p>text</div></div><div>after</div>"
    assert (title("a.html", page), blocks("a.html", page)) == ("T", [("text", (), 1)])


@pytest.mark.parametrize(
    "page",
    [
        "<p>a<p hidden>no<b>no</b><p>b",
        "<p>a<p hidden>no<div>b</div>",
        "<div><p>a<p hidden>no <i>no</div>b",
        "<ul><li>a<li hidden>no<ul><li>no<li>no</ul><p>no<li>b</ul>",
        "<ul><li>a<li hidden>no<br>no<img></ul>b",
        "<dl><dt>a<dt hidden>no<dd hidden><p>no<p>no</dd><dd>b</dl>",
        "<table><tr><td>a<tr hidden><td>no<table><tr><td>no</table><th>no<tr><td>b</table>",
        "<table><tbody><tr><td>a<tbody hidden><tr><td>no<tr><th>no<tfoot><tr><td>b</table>",
        "<table><caption hidden>no<tr><td>a</table>b",
        "<table><tr><td>a<td hidden>no</table>b",
        "<ul><li>a<li role=navigation>no</i>no</ul>b",
        "<ul><li>a</li><li hidden>no<script>if (a < b) {}</script><p>no</p></li><li>b</li></ul>",
        "<p>a</p><p hidden/>b",
        "<p>a</p><section hidden><p>no<p hidden>no<section>no</section>no</section>b",
    ],
)
def test_hidden_parts_end_where_html_lets_their_end_tag_be_left_out(page):
    assert [text for text, _, _ in blocks("a.html", f"<body>{page}")] == ["a", "b"]


def test_a_hidden_cell_leaves_its_row():
    page = "<table><tr><th>x<th hidden>no<th>y<tr><td>1<td hidden>no<td>2</table><p>z"
    assert [text for text, _, _ in blocks("a.html", page)] == ["x | y", "1 | 2", "z"]


def test_a_page_of_highlighted_code_takes_time_by_its_length():
    def seconds(page: str) -> float:
        taken = []
        for _ in range(3):
            start = time.thread_time()
            assert "".join(text for text, _, _ in blocks("a.html", page)).count("a") == 20_000
            taken.append(time.thread_time() - start)
        return min(taken)

    apart, together = "<p><span>a</span></p>" * 20_000, f"<pre>{'<span>a</span>' * 20_000}</pre>"
    assert seconds(together) < 4 * seconds(apart)
    cells = f"<tr>{'<td>a' * 20_000}</tr>"
    assert seconds(cells) < 4 * seconds(apart)


def test_html_says_its_encoding():
    page = '<meta http-equiv="Content-Type" content="text/html; charset=iso-8859-15"><p>10 \u20ac'
    document, note = parse("a.html", page.encode("iso-8859-15"))
    assert (document.blocks[0].text, note) == ("10 \u20ac", "")


def test_python_by_definitions():
    source = '"""Module."""\nX = 1\n\n# about f\n@deco\ndef f():\n    pass\n\n'
    source += 'class A:\n    """A."""\n\n    def g(self):\n        pass\n'
    assert blocks("a.py", source) == [
        ('"""Module."""\nX = 1', (), 1),
        ("# about f\n@deco\ndef f():\n    pass", ("f",), 4),
        ('class A:\n    """A."""', ("A",), 9),
        ("    def g(self):\n        pass", ("A", "g"), 12),
    ]


def test_other_code_by_its_left_edge_also_broken_python():
    source = "int a;\n\nint f() {\n\n  return 1;\n\n}\n\nint b;\n"
    expected = [("int a;", (), 1), ("int f() {\n\n  return 1;\n\n}", (), 3), ("int b;", (), 9)]
    assert blocks("a.c", source) == blocks("a.py", source) == expected


def test_notebooks():
    cells = [
        {"cell_type": "markdown", "source": ["# Study\n", "Intro."]},
        {"cell_type": "code", "source": "x = 1\n\ny = 2", "outputs": [{"text": "no"}]},
        {"cell_type": "markdown", "source": "## Part\nText."},
    ]
    text = json.dumps({"cells": cells})
    assert title("a.ipynb", text) == "Study"
    assert blocks("a.ipynb", text) == [
        ("Intro.", ("Study",), None),
        ("x = 1\n\ny = 2", ("Study",), None),
        ("Text.", ("Study", "Part"), None),
    ]
    for bad in ("{}", "[]", "{", "[" * 100_000):
        with pytest.raises(UnreadableError, match="not a notebook"):
            parse("a.ipynb", bad.encode())


def test_pdf_has_pages():
    pytest.importorskip("pdfminer")
    document, _ = parse("a.pdf", pdf("First page.", "", "Third page."))
    assert [(one.text, one.page) for one in document.blocks] == [("First page.", 1), ("Third page.", 3)]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (pdf("", ""), "no text"),
        (pdf("a", encrypt=True), "password"),
        (b"%PDF-1.4\nrubbish", "damaged|no text"),
        (b"rubbish", "damaged|no text"),
    ],
)
def test_bad_pdf(data, reason):
    pytest.importorskip("pdfminer")
    with pytest.raises(UnreadableError, match=reason):
        parse("a.pdf", data)


def test_word():
    pytest.importorskip("mammoth")
    data = docx(("Heading1", "Guide"), ("Normal", "Text."), ("Heading2", "Part"), ("Normal", "More."))
    document, _ = parse("a.docx", data)
    assert document.title == "Guide"
    assert [(one.text, one.headings, one.line) for one in document.blocks] == [
        ("Text.", ("Guide",), None),
        ("More.", ("Guide", "Part"), None),
    ]
    for bad in (b"rubbish", data[: len(data) // 2], b"\xd0\xcf\x11\xe0locked"):
        with pytest.raises(UnreadableError, match="damaged"):
            parse("a.docx", bad)


@pytest.mark.parametrize("name", ["a.pdf", "a.docx"])
def test_a_missing_reader_names_the_extra(monkeypatch, name):
    monkeypatch.setattr(importlib.util, "find_spec", lambda module: None)
    with pytest.raises(MissingReaderError, match=re.escape("files")):
        parse(name, b"")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings_that_say_what_they_are(encoding):
    assert decoded("Käse \u4e2d\u6587".encode(encoding)) == ("Käse \u4e2d\u6587", "")


def test_encodings_that_are_guessed_are_noted(monkeypatch):
    text, note = decoded("Der Käse ist für größere Mäuse schön und süß.".encode("latin-1"))
    assert text is not None
    assert note.startswith("read as ")
    monkeypatch.setattr(importlib.util, "find_spec", lambda module: None)
    assert decoded("Käse".encode("latin-1")) == ("Käse", "read as latin-1")


def test_what_is_no_text():
    assert parse("a.bin", b"\x00\x01") == (None, "")
    assert parse("a.bin", b"\xff\xd8\xff\xe0 picture") == (None, "")
    assert parse("Makefile", b"all:\n\techo")[0].blocks[0].text == "all:\n\techo"
    with pytest.raises(UnreadableError, match="NUL"):
        parse("a.txt", b"\x00\x01")
