"""A stub model over a small index in memory, served in this process or on a loopback port of its own."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.testclient import TestClient

from ernie_search.index import MemoryIndex, make_spec, passage_batch
from ernie_search.index.codecs import codec
from ernie_search.search import Searcher
from ernie_search.serve import create_app
from ernie_search.serve.server import _config, _listen, _Server
from ernie_search.serve.settings import make_settings
from ernie_search.serve.worker import Worker
from ernie_search.types import Passage
from stub_encoder import StubEncoder

HOSTILE = '<script>document.title="owned"</script><img src=x onerror="document.title=\'owned\'">&lt;b&gt;'
PASSAGES = [
    Passage(
        "tea", "Tea grows on the hills of Assam and needs much rain.", "Tea", {"lang": "en", "year": 1998}
    ),
    Passage(
        "rice", "Rice [paddy] stands in water 🌾 for most of its life.", "Rice", {"lang": "en", "year": 2004}
    ),
    Passage("wheat", "Wheat likes a dry summer; it is cut when yellow.", "", {"lang": "en", "year": 2010}),
    Passage("thé", "Le thé pousse sur les collines.", "Thé", {"lang": "fr", "year": 2001}),
    Passage(
        "hostile", f"A page about tea {HOSTILE} end", HOSTILE, {"lang": "en", "year": 1, "note": HOSTILE}
    ),
]


def stub(**options) -> StubEncoder:
    """So wide that different words are nearly orthogonal."""
    return StubEncoder(dim=128, longest=40, **options)


def store_of(model: StubEncoder, passages: list[Passage] = PASSAGES) -> MemoryIndex:
    spec = make_spec(
        model_name=model.name,
        model_fingerprint=model.fingerprint,
        dim=model.token_dim,
        token_dim=model.token_dim,
        tokens="fp16",
        fields={"lang": "str", "year": "int"},
    )
    store = MemoryIndex(spec, codec("fp16", model.token_dim))
    encoding = model.encode_joint([one.full_text for one in passages], "passage")
    store.upsert(passage_batch(passages, encoding, model))
    return store


class Served:
    """A started app, its client, and the stub behind it."""

    def __init__(self, client: TestClient, model: StubEncoder) -> None:
        self.client, self.model = client, model

    def post(self, path: str, body, **options):
        return self.client.post(path, json=body, **options)

    def raw(self, path: str, body):
        """As ``post``, with everything beyond ASCII escaped: so that half a surrogate pair can be sent."""
        headers = {"Content-Type": "application/json"}
        return self.client.post(path, content=json.dumps(body).encode(), headers=headers)

    def search(self, query: str = "where does tea grow", **body):
        answer = self.post("/v1/search", {"query": query, **body})
        assert answer.status_code == 200, answer.text
        return answer.json()


def app_of(model: StubEncoder | None = None, store: MemoryIndex | None = None, **settings):
    """An app over the stub, and the stub."""
    model = model or stub()
    made = make_settings(**settings)
    store = store or store_of(model)

    def opener() -> Worker:
        worker = Worker(Searcher(model, store), made.limits, writable=made.writable)
        worker.warm_up()
        return worker

    return create_app(made, opener), model


@contextmanager
def listening(app, settings=None) -> Iterator[str]:
    """The app served as the command does, on a free loopback port; its address."""
    settings = (settings or app.state.context.settings).model_copy(update={"port": 0})
    server = _Server(_config(app, settings), lambda: None)
    with _listen(settings) as listener:
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            time.sleep(0.005)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(10)
