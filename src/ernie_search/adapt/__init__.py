"""Better search on one's own documents without labels: questions made from the passages themselves."""

from ernie_search.adapt.questions import Dangling, Kind, Question, known, read_questions, write_questions
from ernie_search.adapt.settings import QuestionSettings

__all__ = [
    "Dangling",
    "Kind",
    "Question",
    "QuestionSettings",
    "known",
    "read_questions",
    "write_questions",
]
