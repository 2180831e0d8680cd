"""Filters as people type them: ``lang = "en" and (year >= 2000 or not draft = true)``."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

from ernie_search.errors import SettingsError
from ernie_search.index.filters import DEEPEST, And, Eq, Filter, In, Not, Or, Range, Value, shown

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
