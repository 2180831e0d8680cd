"""The setting ``report_to``: names of trackers, as a list or as one text with commas."""

from typing import Annotated, Any

from pydantic import BeforeValidator

from ernie_search._util.settings import between_commas


def _split(value: Any) -> Any:
    return () if value in (None, "", "none") else between_commas(value)


TrackerNames = Annotated[tuple[str, ...], BeforeValidator(_split)]
