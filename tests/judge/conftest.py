"""Three questions over the tiny index, judged in two modes."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent.parent))

from ernie_search.judge import Judging, System, create, identity_of, pool_questions
from ernie_search.search import Searcher
from ernie_search.types import Query
from tiny_service import store_of, stub

QUERIES = [Query("q1", "where does tea grow"), Query("q2", "rice in water"), Query("q3", "a dry summer")]


@pytest.fixture(scope="session")
def searcher() -> Searcher:
    model = stub()
    return Searcher(model, store_of(model))


@pytest.fixture
def judged(tmp_path: Path, searcher: Searcher) -> Callable[..., Path]:
    """Make a judging's folder: ``judged(k=2, modes=("words", "dense"))``."""

    def make(
        name: str = "judged", modes=("words", "dense"), k: int = 3, seed: int = 0, queries=QUERIES
    ) -> Path:
        systems = [System(f"tiny ({mode})", searcher, mode) for mode in modes]
        asked = [{"index": "tiny", "mode": mode} for mode in modes]
        rows = pool_questions(systems, queries, k=k, seed=seed)
        create(tmp_path / name, identity_of(asked, queries, k, seed), [one.name for one in systems], rows)
        return tmp_path / name

    return make


@pytest.fixture
def judging(judged) -> Judging:
    opened = Judging(judged())
    yield opened
    opened.close()
