"""Better search on one's own documents without labels: questions made from the passages themselves."""

from ernie_search.adapt.answers import Generator
from ernie_search.adapt.filter import Filtered, filter_questions, hybrid
from ernie_search.adapt.generators import open_generator
from ernie_search.adapt.make import Made, make_questions
from ernie_search.adapt.questions import Dangling, Kind, Question, known, read_questions, write_questions
from ernie_search.adapt.settings import QuestionSettings

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
