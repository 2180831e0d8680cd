"""Haystack's filters in our words, which an index in this process and a service both take."""

import math
import re
from collections.abc import Mapping
from typing import Any

from haystack.errors import FilterError

from ernie_search.integrations.asked import Condition

COMPARISONS = {"==": "=", "!=": "!=", ">": ">", ">=": ">=", "<": "<", "<=": "<=", "in": "in", "not in": "in"}
FIELD = re.compile(r"[A-Za-z_]\w*")


def condition_of(filters: str | dict[str, Any] | None) -> Condition | None:
    """Haystack's filters as our text; text, and field to value, as they are.

    Raises:
        FilterError: an operator, a field or a value that ours do not have.
    """
    if not isinstance(filters, Mapping) or not {"operator", "conditions", "field"} & filters.keys():
        return filters or None
    return _text(filters)


def _text(one: Any) -> str:
    if not isinstance(one, Mapping) or "operator" not in one:
        raise FilterError(f"filters: {str(one)[:80]!r} has no operator; give field, operator and value")
    operator = str(one["operator"])
    if "conditions" in one:
        parts = [f"({_text(part)})" for part in one["conditions"]]
        if operator not in ("AND", "OR", "NOT") or not parts:
            raise FilterError(
                f"filters: {operator!r} over {len(parts)} conditions; use AND, OR or NOT over some"
            )
        joined = (" or " if operator == "OR" else " and ").join(parts)
        return f"not ({joined})" if operator == "NOT" else joined
    if operator not in COMPARISONS:
        raise FilterError(f"filters: unknown operator {operator!r}; use one of {', '.join(COMPARISONS)}")
    field = str(one.get("field", "")).removeprefix("meta.")
    if not FIELD.fullmatch(field):
        raise FilterError(f"filters: field {field[:80]!r} cannot be asked for; use letters, digits and _")
    value = one.get("value")
    if operator in ("in", "not in"):
        if not isinstance(value, list | tuple) or not value:
            raise FilterError(f"filters: {field}: {operator!r} takes a list of values")
        listed = f"{field} in ({', '.join(map(_literal, value))})"
        return listed if operator == "in" else f"not ({listed})"
    return f"{field} {COMPARISONS[operator]} {_literal(value)}"


def _literal(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return repr(value)
    raise FilterError(f"filters: {str(value)[:80]!r} is no text, number or truth value")
