"""An assistant's calls through the SDK's own client: in process, over stdin and stdout, over HTTP."""

import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import anyio
import pytest

pytest.importorskip("mcp", reason="the extra 'mcp' is not installed")

from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.shared.exceptions import MCPError
from starlette.testclient import TestClient

from ernie_search.integrations.mcp import (
    MOST_CHARACTERS,
    PATH,
    Assistant,
    error_line,
    http_app,
    make_server,
)
from ernie_search.integrations.open_index import OpenIndex

ROOT = Path(__file__).resolve().parents[3]
COMMAND = [sys.executable, "-W", "error", "-c", "from ernie_search.cli import main; main()", "mcp"]
KEY = "0123456789abcdef"


@pytest.fixture
def assistant(index):
    made = Assistant([OpenIndex("docs", str(index), warm=False)])
    yield made
    made.close()


def talk(assistant: Assistant, work, mode: str = "auto"):
    """Run ``work(client)`` against the server in this process."""

    async def run():
        async with Client(make_server(assistant), mode=mode) as client:
            return await work(client)

    return anyio.run(run)


async def exercise(client: Client) -> None:
    """What every transport has to do."""
    tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    assert list(tools) == ["search", "read", "list_collections"]
    assert all(tool.annotations.read_only_hint and tool.output_schema for tool in tools.values())
    found = await client.call_tool("search", {"query": "rotate the logs", "k": 3, "mode": "words"})
    answer = found.structured_content
    assert not found.is_error
    assert [hit["document"] for hit in answer["hits"]] == ["logs.md"] * 3
    best = answer["hits"][0]
    assert best["id"] in found.content[0].text
    assert best["text"] in found.content[0].text
    read = await client.call_tool("read", {"id": best["id"], "around": 1})
    places = [one["place"] for one in read.structured_content["passages"]]
    assert best["id"] in [one["id"] for one in read.structured_content["passages"]]
    assert places == list(range(places[0], places[0] + len(places)))
    whole = await client.call_tool("read", {"id": "logs.md"})
    assert len(whole.structured_content["passages"]) == 6
    listed = await client.call_tool("list_collections", {})
    assert listed.structured_content["collections"][0]["documents"] == 2
    resources = (await client.list_resources()).resources
    assert [one.uri for one in resources] == [
        "ernie://docs",
        "ernie://docs/logs.md",
        "ernie://docs/tea%20time.txt",
    ]
    content = (await client.read_resource(resources[2].uri)).contents[0]
    assert content.text == "Tea grows in the hills of Assam."


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_in_process(assistant, mode):
    talk(assistant, exercise, mode)


HOSTILE = {
    "k": [{"query": "x", "k": 10**9}, {"query": "x", "k": -1}, {"query": "x", "k": "many"}],
    "query": [{}, {"query": ""}, {"query": "x" * 10_000_000}, {"query": None}, {"query": {"a": []}}],
    "question 1 of 1 is empty": [{"query": " \n\t"}],
    "filter": [
        {"query": "x", "filter": "path ="},
        {"query": "x", "filter": "nothing = 1"},
        {"query": "x", "filter": "(" * 1999},
        {"query": "x", "filter": "path = '\x1b]0;owned\x07"},
        {"query": "x", "filter": "y" * 5000},
    ],
    "collection": [{"query": "x", "collection": "../../etc"}, {"query": "x", "collection": "\x1b[2J"}],
    "mode": [{"query": "x", "mode": "cross"}],
    "other": [{"query": "x", "other": 1}],
}


@pytest.mark.parametrize("named", HOSTILE)
def test_a_hostile_search_gets_one_line(assistant, named):
    async def work(client):
        for arguments in HOSTILE[named]:
            answer = await client.call_tool("search", arguments)
            text = answer.content[0].text
            assert answer.is_error
            assert named in text
            assert len(text) <= 600
            assert text.isprintable()
            assert "Traceback" not in text

    talk(assistant, work)


def test_other_hostile_calls(assistant, capfd):
    async def work(client):
        for arguments in (
            {"id": "../../etc/passwd"},
            {"id": "\x00\x1b[31m"},
            {"id": "z" * 10**6},
            {"id": "logs.md", "page": 99},
            {"id": "logs.md", "page": 0},
            {"id": "logs.md", "around": 10**12},
        ):
            answer = await client.call_tool("read", arguments)
            assert answer.is_error
            assert answer.content[0].text.isprintable()
        for uri in (
            "ernie://docs/../../etc/passwd",
            "ernie://docs/%2e%2e%2fetc%2fpasswd",
            "ernie://nowhere/logs.md",
            "ernie://docs/logs.md?page=99",
            "ernie://docs/%00%1b",
            "ernie://docs/" + "a" * 10**6,
            "file:///etc/passwd",
            "ernie://",
        ):
            with pytest.raises(MCPError) as caught:
                await client.read_resource(uri)
            assert "root:" not in caught.value.message
            assert len(caught.value.message) <= 600
        with pytest.raises(MCPError, match="no tool"):
            await client.call_tool("delete\x1b[0m", {})
        with pytest.raises(MCPError, match="cursor"):
            await client.list_resources(cursor="'; drop")
        control = await client.call_tool("search", {"query": "tea \x00\x1b[31m\u202e", "mode": "words"})
        assert [hit["document"] for hit in control.structured_content["hits"]] == ["tea time.txt"]

    talk(assistant, work)
    assert "Traceback" not in capfd.readouterr().err


def test_answers_are_bounded_and_say_how_to_get_the_rest(docs, sync):
    (docs / "long.txt").write_text(
        "\n\n".join(f"tea number {number} " + "grows " * 150 for number in range(200))
    )
    index = OpenIndex("docs", str(sync()), warm=False)
    assistant = Assistant([index], most=5_000)

    async def work(client):
        found = await client.call_tool("search", {"query": "tea grows", "k": 50, "mode": "words"})
        assert len(found.content[0].text) < 5_500
        assert len(json.dumps(found.structured_content)) < 5_500
        assert "more were found" in found.structured_content["more"]
        assert found.structured_content["hits"][0]["cut"]
        page, seen = 1, []
        while page is not None:
            read = await client.call_tool("read", {"id": "long.txt", "page": page})
            assert len(read.content[0].text) < 5_500
            seen += [one["place"] for one in read.structured_content["passages"]]
            page = read.structured_content["next_page"]
        assert seen == list(range(1, read.structured_content["passages_in_document"] + 1))
        uri, texts = "ernie://docs/long.txt", []
        while uri:
            texts.append((await client.read_resource(uri)).contents[0].text)
            following = re.search(r"\[continues: (\S+)\]$", texts[-1])
            uri = following[1] if following else None
        assert len(texts) > 3
        assert "tea number 199" in texts[-1]

    talk(assistant, work)
    assistant.close()
    assert MOST_CHARACTERS >= 5_000


def test_a_rewritten_index_answers_with_its_new_state_and_a_lost_one_with_an_error(docs, sync, caplog):
    folder = sync()
    assistant = Assistant([OpenIndex("docs", str(folder), warm=False)])

    async def work(client):
        async def documents() -> list[str]:
            found = await client.call_tool("search", {"query": "coffee", "mode": "words"})
            return [hit["document"] for hit in found.structured_content["hits"]]

        assert await documents() == []
        (docs / "coffee.txt").write_text("Coffee is roasted.\n")
        await anyio.to_thread.run_sync(sync)
        assert await documents() == ["coffee.txt"]
        assert "ernie://docs/coffee.txt" in [one.uri for one in (await client.list_resources()).resources]
        shutil.rmtree(folder)
        lost = await client.call_tool("search", {"query": "roasted tea", "mode": "hybrid", "k": 50})
        if lost.is_error:  # what is in memory may still answer
            assert (
                lost.content[0].text == "the index or its model cannot be read now; the server's log says why"
            )
        await anyio.to_thread.run_sync(sync)
        assert await documents() == ["coffee.txt"]

    talk(assistant, work)
    assistant.close()


def test_several_collections_are_named(index, tmp_path):
    assistant = Assistant([OpenIndex(one, str(index), warm=False) for one in ("docs", "notes")])

    async def work(client):
        unnamed = await client.call_tool("search", {"query": "tea"})
        assert unnamed.content[0].text == "collection: say which of docs, notes"
        named = await client.call_tool("search", {"query": "tea", "collection": "notes", "mode": "words"})
        assert named.structured_content["hits"][0]["uri"] == "ernie://notes/tea%20time.txt"
        wrong = await client.call_tool("search", {"query": "tea", "collection": "nots"})
        assert "did you mean 'notes'?" in wrong.content[0].text

    talk(assistant, work)
    assistant.close()


def test_the_event_loop_is_free_while_a_search_runs(assistant):
    async def work(client):
        began = anyio.Event()
        index = assistant._indexes["docs"]
        search = index.searcher.search

        def slow(*given, **options):
            anyio.from_thread.run_sync(began.set)
            anyio.from_thread.run(released.wait)  # ends only if the loop runs meanwhile
            return search(*given, **options)

        released = anyio.Event()
        index.searcher.search = slow
        async with anyio.create_task_group() as group:
            group.start_soon(client.call_tool, "search", {"query": "tea", "mode": "words"})
            await began.wait()
            assert len((await client.list_tools()).tools) == 3
            released.set()

    with_limit = anyio.fail_after

    async def limited(client):
        with with_limit(60):
            await work(client)

    talk(assistant, limited)


def test_messages_about_this_machine_stay_here():
    from ernie_search.errors import IndexStateError

    assert "/srv" not in error_line(IndexStateError("/srv/index: damaged"))
    assert "secret" not in error_line(ValueError("secret"))


def environment() -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]),
    }


@asynccontextmanager
async def over_stdio(index: Path, errors):
    command = [*COMMAND[1:], f"docs={index}", "--mode", "words"]
    parameters = StdioServerParameters(command=COMMAND[0], args=command, env=environment())
    async with Client(stdio_client(parameters, errlog=errors)) as client:
        yield client


def test_over_stdin_and_stdout(index, tmp_path):
    async def run():
        with open(tmp_path / "errors", "w+", encoding="utf-8") as errors:
            async with over_stdio(index, errors) as client:
                await exercise(client)
                huge = await client.call_tool("search", {"query": "x" * 10_000_000})
                assert "query: String should have at most 2000 characters" in huge.content[0].text
            errors.seek(0)
            assert "Traceback" not in errors.read()

    anyio.run(run)


def test_nothing_but_the_protocol_is_on_stdout(index):
    hello = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-06-18",
            "capabilities": {},
            "clientInfo": {"name": "t", "version": "1"},
        },
    }
    lines = f"{json.dumps(hello)}\nno json\n\n"
    done = subprocess.run(
        [*COMMAND, str(index), "--mode", "words"],
        input=lines,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=environment(),
    )
    assert done.returncode == 0
    assert [json.loads(line)["jsonrpc"] for line in done.stdout.splitlines()][:1] == ["2.0"]
    assert "Traceback" not in done.stderr


@contextmanager
def over_http(index: Path):
    command = [*COMMAND, f"docs={index}", "--mode", "words", "--http", "127.0.0.1:0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment()) as process:
        try:
            address = None
            for line in process.stderr:
                address = re.search(r"MCP at (http://127\.0\.0\.1:\d+/mcp)", line)
                if address:
                    break
            assert address, "the server did not start"
            yield address[1]
        finally:
            process.terminate()
            process.communicate(timeout=60)


def test_over_http(index):
    async def run(address, mode):
        async with Client(address, mode=mode) as client:
            await exercise(client)

    with over_http(index) as address:
        for mode in ("auto", "legacy"):
            anyio.run(run, address, mode)


CALL = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
HEADERS = {"accept": "application/json, text/event-stream", "content-type": "application/json"}


def status(assistant, headers=(), body=CALL, host="127.0.0.1:80", **options) -> int:
    with TestClient(http_app(assistant, **options)) as client:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {**HEADERS, "host": host, **dict(headers)}
        return client.post(PATH, content=content, headers=sent).status_code


def test_pages_of_other_sites_and_rebound_names_are_refused(assistant):
    assert status(assistant) == 200
    assert status(assistant, host="evil.example:80") == 421
    assert status(assistant, {"origin": "https://evil.example"}) == 403
    assert status(assistant, {"origin": "http://127.0.0.1:5"}) == 200
    assert status(assistant, host="search.example:80", hosts=["search.example"]) == 200
    assert status(assistant, body=b"x" * 5_000_000) == 413
    assert status(assistant, body=b"no json") == 400


def test_keys(assistant):
    assert status(assistant, keys=[KEY]) == 401
    assert status(assistant, {"authorization": "Bearer wrong"}, keys=[KEY]) == 401
    assert status(assistant, {"authorization": f"Basic {KEY}"}, keys=[KEY]) == 401
    assert status(assistant, {"authorization": f"Bearer {KEY}"}, keys=["other", KEY], host="any:1") == 200
    assert status(assistant, {"x-api-key": KEY}, keys=[KEY]) == 200
