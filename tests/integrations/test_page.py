"""The page about the frameworks: its code runs as it stands, with a model that is not there."""

import json
import re
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import ModuleType

import pytest

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "howto" / "frameworks.md"


def code_of(heading: str) -> str:
    """The first block of Python under a heading."""
    text = PAGE.read_text(encoding="utf-8").split(f"\n## {heading}\n")[1]
    return re.search(r"```python\n(.*?)```", text, re.DOTALL).group(1)


@pytest.fixture
def here(store, monkeypatch):
    """The index under its default name, in the current folder."""
    store.rename(store.parent / ".ernie-search")
    monkeypatch.chdir(store.parent)


def stand_in(monkeypatch, name: str, **contents) -> None:
    """A module that is not installed."""
    module = ModuleType(name)
    module.__dict__.update(contents)
    monkeypatch.setitem(sys.modules, name, module)


def run(code: str) -> dict:
    found: dict = {}
    exec(compile(code, str(PAGE), "exec"), found)
    return found


def test_langchain(here, monkeypatch):
    pytest.importorskip("langchain_core", reason="the extra ernie-search[langchain] is not installed")
    from langchain_core.language_models import GenericFakeChatModel
    from langchain_core.messages import AIMessage

    asked = []

    class Fake(GenericFakeChatModel):
        def _generate(self, messages, *given, **options):
            asked.append(messages[-1].content)
            return super()._generate(messages, *given, **options)

    made = Fake(messages=iter([AIMessage("In Assam.")]))
    stand_in(monkeypatch, "langchain_openai", ChatOpenAI=lambda **_: made)
    found = run(code_of("LangChain"))
    assert found["answer"] == "In Assam."
    assert "[tea] Tea grows on the hills of Assam" in asked[0]
    assert "Question: Where does tea grow?" in asked[0]


def test_llamaindex(here, monkeypatch):
    pytest.importorskip("llama_index.core", reason="the extra ernie-search[llamaindex] is not installed")
    from llama_index.core.llms import MockLLM

    stand_in(monkeypatch, "llama_index.llms.openai_like", OpenAILike=lambda **_: MockLLM())
    found = run(code_of("LlamaIndex"))  # the mock answers with what it was asked
    assert "Tea grows on the hills of Assam" in found["answer"]
    assert "tea" in found["sources"]


MESSAGES: list[object] = []


class Model(BaseHTTPRequestHandler):
    """A model of OpenAI's protocol that always says the same."""

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        MESSAGES.append(asked["messages"][-1]["content"])
        message = {"role": "assistant", "content": "In Assam."}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        answer = {"id": "1", "object": "chat.completion", "created": 1, "model": "any", "choices": [choice]}
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def test_haystack(here):
    pytest.importorskip("haystack", reason="the extra ernie-search[haystack] is not installed")
    with HTTPServer(("127.0.0.1", 0), Model) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            code = code_of("Haystack").replace("127.0.0.1:8000", f"127.0.0.1:{server.server_address[1]}")
            found = run(code)
        finally:
            server.shutdown()
            thread.join()
    assert found["answer"] == "In Assam."
    assert "[tea] Tea grows on the hills of Assam" in str(MESSAGES[0])


def test_mteb_s_names_are_there():
    pytest.importorskip("mteb", reason="the extra ernie-search[mteb] is not installed")
    code = "\n".join(line for line in code_of("mteb").splitlines() if "import" in line)
    assert "ErnieSearchModel" in run(code)
