"""The setting ``report_to``: names of trackers, as a list or as one text with commas."""

from typing import Annotated, Any

from pydantic import BeforeValidator


def _split(value: Any) -> Any:
    if value in (None, "", "none"):
        return ()
    return tuple(one.strip() for one in value.split(",") if one.strip()) if isinstance(value, str) else value


TrackerNames = Annotated[tuple[str, ...], BeforeValidator(_split)]
