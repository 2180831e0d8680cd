"""The cross-encoder as a teacher: trained listwise, cross-fitted over folds, asked for its scores once."""

from ernie_search.teacher.measure import rerank_run
from ernie_search.teacher.score import ListScoreSettings, score_lists
from ernie_search.teacher.settings import TeacherSettings, parse_teacher_settings
from ernie_search.teacher.teachers import Teachers
from ernie_search.teacher.train import train_teachers

__all__ = [
    "ListScoreSettings",
    "TeacherSettings",
    "Teachers",
    "parse_teacher_settings",
    "rerank_run",
    "score_lists",
    "train_teachers",
]
