"""Teachers: cross-encoders trained listwise on two folds, which score the questions of the other fold."""

from ernie_search.teacher.score import ListScoreSettings, score_lists
from ernie_search.teacher.teachers import Teachers, rerank_run
from ernie_search.teacher.train import TeacherSettings, train_teachers

__all__ = [
    "ListScoreSettings",
    "TeacherSettings",
    "Teachers",
    "rerank_run",
    "score_lists",
    "train_teachers",
]
