"""Filters as people type them: ``lang = "en" and (year >= 2000 or not draft = true)``."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from ernie_search.errors import SettingsError
from ernie_search.index.filters import And, Eq, Filter, In, Not, Or, Range, Value

TOKEN = re.compile(
    r"""\s*(?:
    (?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    | (?P<number>-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)
    | (?P<sign><=|>=|!=|<|>|=|\(|\)|,)
    | (?P<word>[A-Za-z_]\w*)
    )""",
    re.VERBOSE,
)

BOUNDS: dict[str, Callable[[str, float], Range]] = {
    ">": lambda field, value: Range(field, above=value),
    ">=": lambda field, value: Range(field, at_least=value),
    "<": lambda field, value: Range(field, below=value),
    "<=": lambda field, value: Range(field, at_most=value),
}


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
        SettingsError: the text is no filter; the message says at which character.
    """
    return _Parser(text).whole()


class _Parser:
    def __init__(self, text: str) -> None:
        self.text, self.place = text, 0
        self.tokens: list[_Token] = []
        at = 0
        while text[at:].strip():
            found = TOKEN.match(text, at)
            if found is None:
                at += len(text[at:]) - len(text[at:].lstrip())
                raise SettingsError(f"filter {text!r}: {text[at]!r} at character {at + 1} is not understood")
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
        if self.keyword("not"):
            return Not(self.one())
        if self.sign("("):
            inner = self.either()
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
                return int(token.text) if token.text.lstrip("-").isdigit() else float(token.text)
            if token.text.lower() in ("true", "false"):
                return token.text.lower() == "true"
            self.place -= 1
        raise self.expected("a value: text in quotes, a number, true or false")

    def peek(self) -> _Token | None:
        return self.tokens[self.place] if self.place < len(self.tokens) else None

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
        found = f"{token.text!r} at character {token.place + 1}" if token else "the end"
        return SettingsError(f"filter {self.text!r}: expected {what}, found {found}")
