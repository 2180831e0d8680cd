"""Filters from their text, what they refuse, and SQL that no value can break."""

import pytest

from ernie_search.errors import SettingsError
from ernie_search.index import And, Eq, In, Not, Or, Range, parse_filter
from ernie_search.index.filters import fit_filter, meets
from ernie_search.index.lance_reader import to_sql

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
        ("not not >= 1", Not(Range("not", at_least=1))),
        ("in in (1) and and = 2", And((In("in", (1,)), Eq("and", 2)))),
        ("year = 2.0e3", Eq("year", 2000.0)),
        (f"year < {10**30}", Range("year", below=10**30)),
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
        ("year = 1e400", "the number at character 8 is too large"),
        ("not in (3)", "expected =, !=, <, <=, >, >= or in, found '(' at character 8"),
    ],
)
def test_what_is_no_filter(text, message):
    with pytest.raises(SettingsError) as caught:
        parse_filter(text)
    assert message in str(caught.value)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("(" * 3000 + "year = 1" + ")" * 3000, "more than 100 brackets or 'not' within one another"),
        ("not " * 3000 + "year = 1", "more than 100 brackets or 'not' within one another"),
        (f"year = {'9' * 5000}", "the number at character 8 is too large"),
        (f"year > -{'9' * 400}", "the number at character 8 is too large"),
        (f"lang = '{'x' * 10**6}' or", "found the end"),
        (f"year = 1 {'y' * 10**6}", "expected and, or, or the end, found 'yyy"),
    ],
    ids=["brackets", "nots", "digits", "negative digits", "text", "name"],
)
def test_a_refusal_is_one_short_line_whatever_was_asked(text, message):
    with pytest.raises(SettingsError) as caught:
        parse_filter(text)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("where", "message"),
    [
        (Eq("langs", "en"), "did you mean 'lang'"),
        (Eq("lang", 1), "lang is a str, 1 is none"),
        (Eq("year", True), "year is a int, True is none"),
        (Eq("year", float("nan")), "nan is none"),
        (In("draft", (True, 0)), "0 is none"),
        (Range("lang", above=1), "compare numbers"),
        (Range("draft", above=0), "compare numbers"),
        (Range("year", above="1"), "finite numbers"),
        (Range("price", above=float("nan")), "finite numbers"),
        (Eq("price", float("inf")), "inf is none"),
        (And((Or((Not(Eq("nope", 1)),)),)), "no field 'nope'"),
        ("lang = 'en'", "not a condition"),
        (Range("price", at_most=float("-inf")), "finite numbers, not -inf"),
        (Range("year", above=True), "finite numbers, not True"),
        (In("year", (2000, "2000")), "'2000' is none"),
        (Eq("lang", None), "None is none"),
        (Eq("lang", 10**5000), "a huge number is none"),
        (Eq("y" * 10**6, 1), "no field 'yyy"),
        (Eq("year", "x" * 10**6), "year is a int, 'x+…' is none"),
    ],
)
def test_what_is_refused(where, message):
    with pytest.raises(SettingsError, match=message) as caught:
        fit_filter(where, FIELDS)
    assert len(str(caught.value)) < 300


def test_conditions_within_conditions_have_an_end():
    where = Eq("year", 1)
    for depth in range(101):
        assert fit_filter(where, FIELDS) == where, depth
        where = Not(where)
    for _ in range(10_000):
        where = Not(where)
    with pytest.raises(SettingsError, match="nested more than 100 deep"):
        fit_filter(where, FIELDS)


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (Range("year", above=2001.5), Range("year", at_least=2002)),
        (Range("year", above=2001, at_least=2001), Range("year", at_least=2002)),
        (Range("year", below=2001.5, at_most=2001), Range("year", at_most=2001)),
        (Range("year", at_least=-1e308, at_most=1e308), Range("year")),
        (Range("year", above=2**63 - 2), Range("year", at_least=2**63 - 1)),
        (Range("year", above=2**63 - 1), Or(())),
        (Range("year", below=-(10**30)), Or(())),
        (Eq("year", 2001.0), Eq("year", 2001)),
        (Eq("year", 2001.5), Or(())),
        (Not(Eq("year", -0.5)), Not(Or(()))),
        (In("year", (10**30, 1e300, 5, 5.5)), In("year", (5,))),
        (Eq("price", 2**53 + 1), Or(())),
        (Range("price", above=2**53 + 1), Range("price", above=2.0**53)),
        (Range("price", above=2**53 + 3), Range("price", at_least=2.0**53 + 4)),
        (Range("price", at_most=2**53 + 3), Range("price", below=2.0**53 + 4)),
        (Range("price", below=10**400, at_least=-(10**400)), Range("price")),
        (Range("price", above=10**400), Or(())),
        (Eq("lang", "\ud800"), Or(())),
    ],
    ids=str,
)
def test_values_become_the_columns_own(where, expected):
    assert fit_filter(where, FIELDS) == expected


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
