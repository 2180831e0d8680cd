"""Better search on one's own documents without labels: the room of ``ernie_search.adapt(source, output)``.

The function itself is in :mod:`ernie_search.adaptation.run`, since it imports training, and with it torch.
"""

from ernie_search.adaptation.answers import Generator
from ernie_search.adaptation.filter import Filtered, filter_questions, hybrid
from ernie_search.adaptation.generators import open_generator
from ernie_search.adaptation.make import Made, make_questions
from ernie_search.adaptation.questions import Dangling, Kind, Question, known, read_questions, write_questions
from ernie_search.adaptation.settings import QuestionSettings

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
