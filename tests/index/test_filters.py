"""Filters from their text, what they refuse, and SQL that no value can break."""

import pytest

from ernie_search.errors import SettingsError
from ernie_search.index import And, Eq, In, Not, Or, Range, parse_filter
from ernie_search.index.filters import check_filter, meets
from ernie_search.index.lance_sql import to_sql

FIELDS = {"lang": "str", "year": "int", "price": "float", "draft": "bool"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('lang = "en"', Eq("lang", "en")),
        ("lang != 'it\\'s'", Not(Eq("lang", "it's"))),
        ("year >= 2000", Range("year", at_least=2000)),
        ("price<-1.5e3", Range("price", below=-1500.0)),
        ("draft = TRUE", Eq("draft", True)),
        ("lang in ('en', \"de\")", In("lang", ("en", "de"))),
        ("year IN (1, 2)", In("year", (1, 2))),
        (
            'lang = "en" and year >= 2000 or not draft = true',
            Or((And((Eq("lang", "en"), Range("year", at_least=2000))), Not(Eq("draft", True)))),
        ),
        (
            '((lang = "en") and (year > 1 or year <= 0))',
            And((Eq("lang", "en"), Or((Range("year", above=1), Range("year", at_most=0))))),
        ),
        ("not not year = 1", Not(Not(Eq("year", 1)))),
    ],
)
def test_text_to_filter(text, expected):
    assert parse_filter(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a field's name, found the end"),
        ("lang", "found the end"),
        ("lang = ", "expected a value"),
        ("lang = en", "expected a value: text in quotes, a number, true or false, found 'en' at character 8"),
        ("lang > 'en'", "expected a number, found"),
        ("lang = 'en' year = 1", "expected and, or, or the end, found 'year' at character 13"),
        ("(lang = 'en'", "expected a closing bracket"),
        ("year in 1", "values in brackets"),
        ("year in (1", "comma or a closing bracket"),
        ("year ( 1", "expected =, !=, <, <=, >, >= or in"),
        ("lang = 'en", "at character 8 is not understood"),
        ("year = 1; drop", "';' at character 9"),
    ],
)
def test_what_is_no_filter(text, message):
    with pytest.raises(SettingsError) as caught:
        parse_filter(text)
    assert message in str(caught.value)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    ("where", "message"),
    [
        (Eq("langs", "en"), "did you mean 'lang'"),
        (Eq("lang", 1), "lang is a str, 1 is none"),
        (Eq("year", True), "year is a int, True is none"),
        (Eq("year", 1.5), "1.5 is none"),
        (In("draft", (True, 0)), "0 is none"),
        (Range("lang", above=1), "compare numbers"),
        (Range("draft", above=0), "compare numbers"),
        (Range("year", above="1"), "finite numbers"),
        (Range("price", above=float("nan")), "finite numbers"),
        (Eq("price", float("inf")), "inf is none"),
        (And((Or((Not(Eq("nope", 1)),)),)), "no field 'nope'"),
        ("lang = 'en'", "not a condition"),
    ],
)
def test_what_is_refused(where, message):
    with pytest.raises(SettingsError, match=message):
        check_filter(where, FIELDS)


def test_a_passage_without_the_field_meets_only_the_opposite():
    for where in (Eq("year", 1), In("year", (1,)), Range("year", above=0), Range("year")):
        assert not meets(where, {})
        assert meets(Not(where), {"year": None})
    assert meets(Range("year"), {"year": 5})


def test_sql_quotes_every_value():
    assert to_sql(Eq("lang", "it's; --")) == "(`field_lang` IS NOT NULL AND `field_lang` = 'it''s; --')"
    assert to_sql(In("id", ())) == "(false)"
    assert to_sql(Or(())) == "(false)"
    assert to_sql(And(())) == "(true)"
