"""Teachers: cross-encoders on two folds, late interaction, BM25, scores of others, and weighted sums."""

from ernie_search.teacher.components import BM25Scores, LateScores
from ernie_search.teacher.imported import import_scores
from ernie_search.teacher.score import ListScoreSettings, score_lists
from ernie_search.teacher.sums import TeacherSum, open_sum, parse_weights
from ernie_search.teacher.teachers import Teachers, rerank_run
from ernie_search.teacher.train import TeacherSettings, train_teachers
from ernie_search.teacher.tuning import tune_sum

__all__ = [
    "BM25Scores",
    "LateScores",
    "ListScoreSettings",
    "TeacherSettings",
    "TeacherSum",
    "Teachers",
    "import_scores",
    "open_sum",
    "parse_weights",
    "rerank_run",
    "score_lists",
    "train_teachers",
    "tune_sum",
]
