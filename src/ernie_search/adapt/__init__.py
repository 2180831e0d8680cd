"""Better search on one's own documents without labels: ``ernie_search.adapt(source, output)``.

The package is that function, too: its name is the command's and the room's. Training, and with it torch, is
imported when it is called.
"""

import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ernie_search.adapt.answers import Generator
from ernie_search.adapt.filter import Filtered, filter_questions, hybrid
from ernie_search.adapt.generators import open_generator
from ernie_search.adapt.make import Made, make_questions
from ernie_search.adapt.questions import Dangling, Kind, Question, known, read_questions, write_questions
from ernie_search.adapt.settings import QuestionSettings

if TYPE_CHECKING:
    from ernie_search.adapt.run import Adapted

__all__ = [
    "Dangling",
    "Filtered",
    "Generator",
    "Kind",
    "Made",
    "Question",
    "QuestionSettings",
    "filter_questions",
    "hybrid",
    "known",
    "make_questions",
    "open_generator",
    "read_questions",
    "write_questions",
]


class _Callable(ModuleType):
    """The package, which can be called."""

    def __call__(self, source: str | Path, output: str | Path, **options: Any) -> "Adapted":
        """See :func:`ernie_search.adapt.run.adapt`."""
        from ernie_search.adapt.run import adapt

        return adapt(source, output, **options)


sys.modules[__name__].__class__ = _Callable
