"""Conditions on a passage's fields: a small tree that every backend translates into its own language.

A condition is true or false, never unknown: a passage without the field meets no ``Eq``, ``In`` or ``Range``,
and therefore meets their ``Not``. (SQL's third value would let ``not lang = 'en'`` drop those without one.)
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ernie_search._util.files import did_you_mean
from ernie_search._util.words import LONGEST_SHOWN, brief
from ernie_search.errors import SettingsError
from ernie_search.index.spec import LARGEST_INT, FieldType

Value = str | int | float | bool

DEEPEST = 100
"""Conditions within conditions; parsers, ours and the backends', recurse once for each."""


@dataclass(frozen=True, slots=True)
class Eq:
    """The field has this value."""

    field: str
    value: Value


@dataclass(frozen=True, slots=True)
class In:
    """The field has one of these values; none at all is met by nothing."""

    field: str
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Range:
    """The number lies between bounds; a bound that is None is open. Numbers only."""

    field: str
    above: float | None = None
    at_least: float | None = None
    below: float | None = None
    at_most: float | None = None


@dataclass(frozen=True, slots=True)
class And:
    """All parts are met; no part at all is met by everything."""

    parts: tuple["Filter", ...]


@dataclass(frozen=True, slots=True)
class Or:
    """Any part is met; no part at all is met by nothing."""

    parts: tuple["Filter", ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The part is not met."""

    part: "Filter"


Filter = Eq | In | Range | And | Or | Not

NOTHING = Or(())
"""What no passage meets."""

PYTHON_TYPES: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
}


def fits(value: Any, kind: str) -> bool:
    """Whether a value is of a field's type. True and False are no numbers here."""
    return isinstance(value, PYTHON_TYPES[kind]) and (kind == "bool" or not isinstance(value, bool))


def holds(kind: str, value: Value) -> bool:
    """Whether a number that fits its type is within what a column of that type holds."""
    if isinstance(value, str):
        return True
    return abs(value) <= LARGEST_INT if kind == "int" else math.isfinite(_nearest_float(value))


def fit_filter(where: Filter, fields: Mapping[str, FieldType], depth: int = 0) -> Filter:
    """The same condition with values that the fields' columns can hold, so that every backend compares alike.

    A number is compared by its value: on a field of whole numbers ``> 2001.5`` is ``>= 2002``, and nothing
    equals 2001.5, or what lies beyond the column's range, while everything is below or above it.

    Args:
        where: as asked.
        fields: the index's fields with their types; ``id`` is known besides.
        depth: of ``where`` in the filter that was asked; 0 for the whole.

    Raises:
        SettingsError: an unknown field, a value of another type than the field, a range over something that
            is no number, a thing that is no condition, or conditions nested too deep.
    """
    if depth > DEEPEST:
        raise SettingsError(f"filter: nested more than {DEEPEST} deep; say it with fewer brackets")
    if isinstance(where, And | Or):
        return type(where)(tuple(fit_filter(part, fields, depth + 1) for part in where.parts))
    if isinstance(where, Not):
        return Not(fit_filter(where.part, fields, depth + 1))
    if not isinstance(where, Eq | In | Range):
        raise SettingsError(f"filter {shown(where)}: not a condition; use Eq, In, Range, And, Or or Not")
    known: dict[str, str] = {"id": "str", **fields}
    if where.field not in known:
        name = str(where.field)[:LONGEST_SHOWN]
        raise SettingsError(f"filter: no field {shown(where.field)}{did_you_mean(name, list(known))}")
    kind = known[where.field]
    if isinstance(where, Range):
        return _fitted_range(where, kind)
    asked = (where.value,) if isinstance(where, Eq) else where.values
    held = [one for value in asked if (one := _fitted_value(where.field, kind, value)) is not None]
    if isinstance(where, Eq):
        return Eq(where.field, held[0]) if held else NOTHING
    return In(where.field, tuple(held))


def _fitted_value(field: str, kind: str, value: Value) -> Value | None:
    """The value as its column would hold it; None where no column value equals it."""
    if kind == "int" and isinstance(value, float) and math.isfinite(value):
        if not value.is_integer():
            return None
        value = int(value)
    if not fits(value, kind) or (isinstance(value, float) and not math.isfinite(value)):
        raise SettingsError(f"filter: {field} is a {kind}, {shown(value)} is none")
    if isinstance(value, str):
        return value if is_unicode(value) else None
    if kind == "int":
        return value if holds(kind, value) else None
    if kind == "float":
        near = _nearest_float(value)
        return near if near == value else None
    return value


def _fitted_range(where: Range, kind: str) -> Filter:
    """The range with at most one bound at each end, of the column's own type."""
    if kind not in ("int", "float"):
        raise SettingsError(f"filter: {where.field} is a {kind}; <, <=, > and >= compare numbers")
    bounds = (where.above, where.at_least, where.below, where.at_most)
    for one in bounds:
        if one is not None and not (fits(one, "float") and (isinstance(one, int) or math.isfinite(one))):
            raise SettingsError(f"filter: {where.field}: its bounds must be finite numbers, not {shown(one)}")
    lows = [
        (one, strict) for one, strict in ((where.above, True), (where.at_least, False)) if one is not None
    ]
    highs = [
        (one, strict) for one, strict in ((where.below, True), (where.at_most, False)) if one is not None
    ]
    low = max(lows, default=None)  # of equal bounds the strict one is the narrower
    high = min(highs, key=lambda one: (one[0], not one[1]), default=None)
    return (_int_range if kind == "int" else _float_range)(where.field, low, high)


Bound = tuple[float, bool]
"""A number, and whether it is itself left out."""


def _int_range(field: str, low: Bound | None, high: Bound | None) -> Filter:
    first = last = None
    if low is not None:
        first = math.floor(low[0]) + 1 if low[1] else math.ceil(low[0])
        if first > LARGEST_INT:
            return NOTHING
        first = first if first > -LARGEST_INT else None
    if high is not None:
        last = math.ceil(high[0]) - 1 if high[1] else math.floor(high[0])
        if last < -LARGEST_INT:
            return NOTHING
        last = last if last < LARGEST_INT else None
    return Range(field, at_least=first, at_most=last)


def _float_range(field: str, low: Bound | None, high: Bound | None) -> Filter:
    # A whole number may lie between two floats: its nearest one is then on one side of it for sure.
    if low is not None:
        near = _nearest_float(low[0])
        if near == math.inf:
            return NOTHING
        strict = low[1] if near == low[0] else near < low[0]
        low = None if near == -math.inf else (near, strict)
    if high is not None:
        near = _nearest_float(high[0])
        if near == -math.inf:
            return NOTHING
        strict = high[1] if near == high[0] else near > high[0]
        high = None if near == math.inf else (near, strict)
    return Range(
        field,
        above=low[0] if low is not None and low[1] else None,
        at_least=low[0] if low is not None and not low[1] else None,
        below=high[0] if high is not None and high[1] else None,
        at_most=high[0] if high is not None and not high[1] else None,
    )


def _nearest_float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def shown(value: object) -> str:
    """A value for a message; a text is in quotes."""
    return repr(brief(value)) if isinstance(value, str) else brief(value)


def is_unicode(text: str) -> bool:
    """Whether a text can be written: half of a surrogate pair, which JSON can name, cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def meets(where: Filter, row: Mapping[str, Any]) -> bool:
    """Whether a passage's values meet the condition: what the words above mean, for memory and for tests."""
    if isinstance(where, And):
        return all(meets(part, row) for part in where.parts)
    if isinstance(where, Or):
        return any(meets(part, row) for part in where.parts)
    if isinstance(where, Not):
        return not meets(where.part, row)
    value = row.get(where.field)
    if value is None:
        return False
    if isinstance(where, Eq):
        return bool(value == where.value)
    if isinstance(where, In):
        return value in where.values
    return (
        (where.above is None or value > where.above)
        and (where.at_least is None or value >= where.at_least)
        and (where.below is None or value < where.below)
        and (where.at_most is None or value <= where.at_most)
    )


TOKEN = re.compile(
    r"""\s*(?:
    (?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    | (?P<number>-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)
    | (?P<sign><=|>=|!=|<|>|=|\(|\)|,)
    | (?P<word>[A-Za-z_]\w*)
    )""",
    re.VERBOSE,
)

MOST_DIGITS = 400
"""Of a number; the largest float has 309, and Python reads no more than 4,300."""

BOUNDS: dict[str, Callable[[str, float], Range]] = {
    ">": lambda field, value: Range(field, above=value),
    ">=": lambda field, value: Range(field, at_least=value),
    "<": lambda field, value: Range(field, below=value),
    "<=": lambda field, value: Range(field, at_most=value),
}


COMPARISONS = ("=", "!=", *BOUNDS)


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    place: int


def parse_filter(text: str) -> Filter:
    """A filter from its text.

    ``=``, ``!=``, ``<``, ``<=``, ``>``, ``>=``, ``in (a, b)``, ``and``, ``or``, ``not`` and brackets; ``not``
    binds closest, then ``and``. Values are strings in quotes, numbers, ``true`` and ``false``.

    Raises:
        SettingsError: the text is no filter, or nested too deep; the message says at which character.
    """
    return _Parser(text).whole()


def as_filter(given: "str | Mapping[str, Any] | Filter | None") -> "Filter | None":
    """A filter as callers write it: text, or field to value or list of values, all of which are met.

    Raises:
        SettingsError: see ``parse_filter``.
    """
    if given is None or isinstance(given, str):
        return parse_filter(given) if given is not None and given.strip() else None
    if not isinstance(given, Mapping):
        return given
    parts = tuple(
        In(name, tuple(value)) if isinstance(value, list | tuple) else Eq(name, value)
        for name, value in given.items()
    )
    return None if not parts else parts[0] if len(parts) == 1 else And(parts)


class _Parser:
    def __init__(self, text: str) -> None:
        self.text, self.place, self.depth = text, 0, 0
        self.tokens: list[_Token] = []
        at = 0
        while text[at:].strip():
            found = TOKEN.match(text, at)
            if found is None:
                at += len(text[at:]) - len(text[at:].lstrip())
                raise self.refused(f"{text[at]!r} at character {at + 1} is not understood")
            kind = str(found.lastgroup)
            self.tokens.append(_Token(kind, found.group(kind), found.start(kind)))
            at = found.end()

    def whole(self) -> Filter:
        result = self.either()
        if self.place < len(self.tokens):
            raise self.expected("and, or, or the end")
        return result

    def either(self) -> Filter:
        parts = [self.both()]
        while self.keyword("or"):
            parts.append(self.both())
        return parts[0] if len(parts) == 1 else Or(tuple(parts))

    def both(self) -> Filter:
        parts = [self.one()]
        while self.keyword("and"):
            parts.append(self.one())
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def one(self) -> Filter:
        if self.negates():
            return Not(self.deeper(self.one))
        if self.sign("("):
            inner = self.deeper(self.either)
            if not self.sign(")"):
                raise self.expected("a closing bracket")
            return inner
        token = self.next_of("word", "a field's name")
        if self.keyword("in"):
            return In(token.text, self.values())
        sign = self.next_of("sign", "=, !=, <, <=, >, >= or in")
        if sign.text in ("=", "!="):
            same = Eq(token.text, self.value())
            return same if sign.text == "=" else Not(same)
        if sign.text not in BOUNDS:
            self.place -= 1
            raise self.expected("=, !=, <, <=, >, >= or in")
        bound = self.value()
        if isinstance(bound, bool | str):
            self.place -= 1
            raise self.expected("a number")
        return BOUNDS[sign.text](token.text, bound)

    def deeper(self, inside: Callable[[], Filter]) -> Filter:
        """What stands in brackets or after a ``not``: each is a call within a call, here and in a backend."""
        self.depth += 1
        if self.depth > DEEPEST:
            raise self.refused(f"more than {DEEPEST} brackets or 'not' within one another")
        result = inside()
        self.depth -= 1
        return result

    def values(self) -> tuple[Value, ...]:
        if not self.sign("("):
            raise self.expected("values in brackets")
        values = [self.value()]
        while self.sign(","):
            values.append(self.value())
        if not self.sign(")"):
            raise self.expected("a comma or a closing bracket")
        return tuple(values)

    def value(self) -> Value:
        token = self.peek()
        if token is not None:
            self.place += 1
            if token.kind == "string":
                return re.sub(r"\\(.)", r"\1", token.text[1:-1])
            if token.kind == "number":
                return self.number(token)
            if token.text.lower() in ("true", "false"):
                return token.text.lower() == "true"
            self.place -= 1
        raise self.expected("a value: text in quotes, a number, true or false")

    def number(self, token: _Token) -> Value:
        if token.text.lstrip("-").isdigit() and len(token.text) <= MOST_DIGITS:
            return int(token.text)
        value = float(token.text)
        if math.isinf(value):
            raise self.refused(f"the number at character {token.place + 1} is too large")
        return value

    def peek(self) -> _Token | None:
        return self.tokens[self.place] if self.place < len(self.tokens) else None

    def negates(self) -> bool:
        """Whether ``not`` stands here, and not a field of that name before its comparison."""
        after = self.tokens[self.place + 1 : self.place + 2]
        return not (after and after[0].kind == "sign" and after[0].text in COMPARISONS) and self.keyword(
            "not"
        )

    def keyword(self, word: str) -> bool:
        token = self.peek()
        found = token is not None and token.kind == "word" and token.text.lower() == word
        self.place += found
        return found

    def sign(self, sign: str) -> bool:
        token = self.peek()
        found = token is not None and token.kind == "sign" and token.text == sign
        self.place += found
        return found

    def next_of(self, kind: str, what: str) -> _Token:
        token = self.peek()
        if token is None or token.kind != kind:
            raise self.expected(what)
        self.place += 1
        return token

    def expected(self, what: str) -> SettingsError:
        token = self.peek()
        found = f"{shown(token.text)} at character {token.place + 1}" if token else "the end"
        return self.refused(f"expected {what}, found {found}")

    def refused(self, why: str) -> SettingsError:
        return SettingsError(f"filter {shown(self.text)}: {why}")
