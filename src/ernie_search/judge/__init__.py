"""Blind judgements: two systems' hits side by side, marked by keyboard, become a test set and a verdict.

FastAPI and uvicorn are imported on first use, so that a verdict can be read without them.
"""

from typing import TYPE_CHECKING, Any

from ernie_search.judge.folder import Judging, create, found_judging, identity_of
from ernie_search.judge.pool import PooledQuestion, Shown, System, pool_questions
from ernie_search.judge.questions import read_questions
from ernie_search.judge.verdict import Preferences, Verdict, verdict
from ernie_search.serve import from_extra

if TYPE_CHECKING:
    from ernie_search.judge.app import create_judge_app, run_judge

__all__ = [
    "Judging",
    "PooledQuestion",
    "Preferences",
    "Shown",
    "System",
    "Verdict",
    "create",
    "create_judge_app",
    "found_judging",
    "identity_of",
    "pool_questions",
    "read_questions",
    "run_judge",
    "verdict",
]


def __getattr__(name: str) -> Any:
    if name not in ("create_judge_app", "run_judge"):
        raise AttributeError(f"module 'ernie_search.judge' has no attribute {name!r}")
    return from_extra("ernie_search.judge.app", name)
