"""What every way in takes of a passage and a question, and what it refuses."""

import json

import numpy as np
import pytest

from ernie_search.types import Passage, Query, checked_passage, checked_query

NO_NUMBERS = {
    "a": float("nan"),
    "b": [1, float("inf"), {"c": -float("inf")}],
    "d": np.float32("nan"),
    "e": np.array([1.5, np.nan]),
}


def test_what_json_lacks_is_null_or_a_plain_number():
    fields = {**NO_NUMBERS, "year": np.int64(1998), "open": np.True_, "none": None, 5: 1.5}
    found = checked_passage(Passage("p", "tea", fields=fields))
    assert json.loads(json.dumps(found.fields, allow_nan=False)) == {
        "a": None,
        "b": [1, None, {"c": None}],
        "d": None,
        "e": [1.5, None],
        "year": 1998,
        "open": True,
        "none": None,
        "5": 1.5,
    }
    assert checked_query(Query("q", "tea?", NO_NUMBERS)).fields["a"] is None


@pytest.mark.parametrize(
    ("passage", "expected"),
    [
        (Passage("p", "", "Tea"), Passage("p", "Tea")),
        (Passage("p", " \n", " Tea "), Passage("p", " Tea ")),
        (Passage("p", "tea", " "), Passage("p", "tea")),
        (Passage("p", "tea", "Tea", {"a": 1}), Passage("p", "tea", "Tea", {"a": 1})),
    ],
)
def test_a_title_alone_is_the_text(passage, expected):
    assert checked_passage(passage) == expected


def nested(depth):
    found = {}
    for _ in range(depth):
        found = {"a": found}
    return found


@pytest.mark.parametrize(
    ("passage", "message"),
    [
        (Passage("p", " ", "\t"), "empty 'text' and no 'title'"),
        (Passage("p", "\ud83d"), "'text' holds half a surrogate pair"),
        (Passage("p", "tea", "\udc80"), "'title' holds half a surrogate pair"),
        (Passage("p\ud83d", "tea"), "'id' holds half a surrogate pair"),
        (Passage("p", "tea", fields={"a": ["b", "\ud83d"]}), "fields.a holds half a surrogate pair"),
        (Passage("p", "tea", fields={"a": {"\ud83d": 1}}), "a key of fields.a holds half a surrogate pair"),
        (
            Passage("p", "tea", fields={"a": object()}),
            "fields.a cannot be written as JSON: it is of type object",
        ),
        (Passage("p", "tea", fields={"a": 10**5000}), "fields.a has over 4,200 digits"),
        (Passage("p", "tea", fields=nested(5000)), "fields are nested too deeply"),
        (Passage("", "tea"), "empty 'id'"),
        (Passage(7, "tea"), "'id' is of type int where a string belongs"),
        (Passage("p", None), "'text' is of type NoneType where a string belongs"),
    ],
)
def test_what_is_refused(passage, message):
    with pytest.raises(ValueError, match=f"^{message}[^\n]*$"):
        checked_passage(passage)


@pytest.mark.parametrize("blank", [" ", "\t", "\n", "\u00a0", "\u2028", "\x1f", "\x85", "\ufeff"])
@pytest.mark.parametrize("form", ["a{}b", "{}b", "a{}", "{}"])
def test_an_id_has_no_white_space(form, blank):
    for check, item in ((checked_passage, Passage), (checked_query, Query)):
        with pytest.raises(ValueError, match=r"^white space in 'id' [^\n]{3,80}, which run files"):
            check(item(form.format(blank), "tea"))


def test_a_long_id_is_cut_in_the_message():
    with pytest.raises(ValueError, match=r"^[^\n]{100,160}$"):
        checked_passage(Passage("a b" * 10_000, "tea"))
