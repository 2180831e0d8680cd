"""The page on which a person judges, behind the service's guard; it never tells a system's name."""

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, FastAPI
from pydantic import BaseModel, ConfigDict

from ernie_search.errors import StorageError
from ernie_search.judge.folder import Judging
from ernie_search.serve.app import protect
from ernie_search.serve.problems import HttpError
from ernie_search.serve.routes.page import page_router
from ernie_search.serve.server import run_page
from ernie_search.serve.settings import ServeSettings, make_settings
from ernie_search.serve.telemetry import Metrics

OWN = {
    "index.html": "text/html; charset=utf-8",
    "judge.js": "text/javascript; charset=utf-8",
    "judge.css": "text/css; charset=utf-8",
}
SHARED = {"style.css": "text/css; charset=utf-8", "icon.svg": "image/svg+xml"}
"""Files of the search page, whose look this one has."""


class MarkRequest(BaseModel):
    """A mark of a hit: the question's number from 0, the hit's id, the mark."""

    model_config = ConfigDict(extra="forbid")

    question: int
    passage: str
    mark: str


class PreferenceRequest(BaseModel):
    """Which side of a question is the better one: left, right, equal, or skip."""

    model_config = ConfigDict(extra="forbid")

    question: int
    side: str


def judge_routes(judging: Judging) -> APIRouter:
    """The page's questions and its answers; an answer comes when it is on disk."""
    router = APIRouter(prefix="/v1/judging")

    def progress() -> dict[str, Any]:
        return {
            "questions": len(judging.questions),
            "finished": judging.finished,
            "next": judging.next_question,
            "compares": judging.compares,
            "marks": sum(map(len, judging.marks)),
        }

    def saved(change: Callable[[], None]) -> dict[str, Any]:
        try:
            change()
        except StorageError as error:
            raise HttpError(507, "Not saved: the disk is full, or cannot be written.") from error
        return progress()

    # One after the other, in the event loop: a mark is a short line, and two must not mix.
    @router.get("")
    async def about() -> dict[str, Any]:
        return progress()

    @router.get("/questions/{number}")
    async def question(number: int) -> dict[str, Any]:
        if not 0 <= number < len(judging.questions):
            raise HttpError(404, f"there is no question {number + 1}")
        one = judging.questions[number]
        return {
            "number": number,
            "text": one.query.text,
            "columns": [[hit.as_json() for hit in hits] for hits in one.columns],
            "order": one.order,
            "marks": judging.marks[number],
            "preference": judging.preferences[number],
        }

    @router.post("/marks")
    async def mark(asked: MarkRequest) -> dict[str, Any]:
        return saved(lambda: judging.mark(asked.question, asked.passage, asked.mark))

    @router.post("/preferences")
    async def prefer(asked: PreferenceRequest) -> dict[str, Any]:
        return saved(lambda: judging.prefer(asked.question, asked.side))

    return router


def create_judge_app(judging: Judging, settings: ServeSettings) -> FastAPI:
    """The app of one judging."""
    app = FastAPI(title="ERNIE-Search: judge", docs_url=None, redoc_url=None, openapi_url=None)
    routers = (page_router("judge", OWN), page_router("serve", SHARED), judge_routes(judging))
    protect(app, settings, Metrics(), routers)
    return app


def run_judge(judging: Judging, say: Callable[[str], Any], *, port: int = 0) -> None:
    """Serve the page on this machine alone, until it is interrupted.

    Args:
        judging: open for writing.
        say: called with the page's address.
        port: to listen on; 0 takes a free one.

    Raises:
        SettingsError: the port is in use.
    """
    settings = make_settings(index=str(judging.folder), port=port)
    run_page(create_judge_app(judging, settings), settings, say)
