"""What a terminal is given of a text; its words are tested where BM25 counts them (tests/mining)."""

import pytest

from ernie_search._util.words import printable

CASES = {
    "\x1b[31mred\x1b[0m": "\\x1b[31mred\\x1b[0m",
    "\x00\x07\x08\x7f": "\\x00\\x07\\x08\\x7f",
    "\x9b31m\x85": "\\x9b31m\\x85",
    "user\u202e\u2066nimda\u2069": "user\\u202e\\u2066nimda\\u2069",
    "half \ud800 of a pair, a byte \udcff": "half \\ud800 of a pair, a byte \\udcff",
    "one\r\ntwo\u2028three": "one \ntwo\nthree",
    "overwritten\rby this": "overwritten by this",
    "\tdef f():\x0c": "    def f(): ",
}


@pytest.mark.parametrize("text", CASES)
def test_control_characters_are_shown_as_escapes(text: str):
    assert printable(text) == CASES[text]


@pytest.mark.parametrize(
    "text", ["", "Tea [in] *Assam* \\x1b", "茶は\u3000丘", "می\u200cخواهم \u200f", "👩\u200d🌾"]
)
def test_what_is_no_control_stays(text: str):
    assert printable(text) == text


def test_one_line_has_no_line_ends_and_tabs():
    assert printable("a\r\nb\tc\u2029d\x1be", one_line=True) == "a  b c d\\x1be"


@pytest.mark.parametrize("one_line", [False, True])
def test_pieces_printed_apart_make_the_whole(one_line: bool):
    """So that places of marks can be told from the lengths of what stands before them."""
    text = "".join(CASES)
    shown = printable(text, one_line=one_line)
    pieces = [printable(character, one_line=one_line) for character in text]
    assert "".join(pieces) == shown
    assert printable(shown, one_line=one_line) == shown
