"""Filters in LanceDB's SQL (DataFusion's), without its third truth value."""

from ernie_search.index.filters import And, Eq, Filter, In, Not, Or, Value
from ernie_search.index.rows import column_of


def to_sql(where: Filter) -> str:
    """The condition as SQL that is true or false for every row, never null."""
    if isinstance(where, And):
        return _joined([to_sql(part) for part in where.parts], "AND", "true")
    if isinstance(where, Or):
        return _joined([to_sql(part) for part in where.parts], "OR", "false")
    if isinstance(where, Not):
        return f"(NOT {to_sql(where.part)})"
    # Backticks: DataFusion would lower a bare name's letters.
    column = f"`{column_of(where.field)}`"
    if isinstance(where, Eq):
        return f"({column} IS NOT NULL AND {column} = {literal(where.value)})"
    if isinstance(where, In):
        return (
            f"({column} IS NOT NULL AND {column} IN ({', '.join(map(literal, where.values))}))"
            if (where.values)
            else "(false)"
        )
    bounds = ((">", where.above), (">=", where.at_least), ("<", where.below), ("<=", where.at_most))
    tests = [f"{column} {sign} {literal(bound)}" for sign, bound in bounds if bound is not None]
    return _joined([f"{column} IS NOT NULL", *tests], "AND", "true")


def one_of(ids: list[str]) -> str:
    """The condition that ``id`` is one of these."""
    return f"`id` IN ({', '.join(map(literal, ids))})"


def literal(value: Value) -> str:
    """A value in SQL; quotes in strings are doubled, nothing else needs escaping."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else repr(value)


def _joined(parts: list[str], word: str, empty: str) -> str:
    return f"({f' {word} '.join(parts)})" if parts else f"({empty})"
