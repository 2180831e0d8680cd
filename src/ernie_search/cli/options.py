"""Options that say nothing where another one is missing: refused, not ignored."""

from collections.abc import Mapping

from ernie_search.errors import SettingsError


def refuse_given(options: Mapping[str, object], why: str) -> None:
    """Refuse the first of some options that was given.

    Args:
        options: values by name, with its dashes; None, False and no values are what nobody gave.
        why: the rest of the line after the name.

    Raises:
        SettingsError: one was.
    """
    for name, value in options.items():
        if value is not None and value is not False and value != []:  # 0 was given
            raise SettingsError(f"{name}{why}")
