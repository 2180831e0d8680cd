"""Milliseconds that LangChain, LlamaIndex, Haystack and MCP add to a search in this process.

One index in memory of made-up passages under a stub encoder, as the cost of the search itself is taken off:
each round asks the same question of the searcher, and of every framework over that searcher, in turn, so that
what else the machine does falls on all alike. A figure is the median of (framework's time - searcher's time)
over the rounds; ``settings`` has the 95th percentile and the search's own median.

Frameworks that are not installed are left out, with a word on stderr. MCP is asked by the SDK's own client
in this process, without a transport.
"""

import asyncio
import contextlib
import importlib.util
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from benchmarks.figures import ROOT, Figure, arguments, emit

sys.path.append(str(ROOT / "tests"))

from ernie_search.index import make_spec, open_index, passage_batch
from ernie_search.search import Searcher
from stub_encoder import StubEncoder, numbered_passages

QUESTION, K = "w17 w4 w230", 10
Ask = Callable[[], Awaitable[object]]


def searcher_of(folder: Path, passages: int) -> Searcher:
    """A searcher over an index on disk of ``passages`` made-up passages."""
    model = StubEncoder(dim=64, longest=30)
    spec = make_spec(
        model_name=model.name,
        model_fingerprint=model.fingerprint,
        dim=model.token_dim,
        token_dim=model.token_dim,
        tokens="fp16",
    )
    with open_index(folder, spec, "w") as index:
        made = numbered_passages(passages)
        index.upsert(
            passage_batch(made, model.encode_joint([one.full_text for one in made], "passage"), model)
        )
        index.commit()
    return Searcher(model, open_index(folder))


def in_thread_of_caller(call: Callable[[], object]) -> Ask:
    """A synchronous call as the others are awaited."""

    async def ask() -> object:
        return call()

    return ask


def langchain(searcher: Searcher) -> Ask:
    """LangChain's ``invoke``."""
    from ernie_search.integrations.langchain import ErnieSearchRetriever

    retriever = ErnieSearchRetriever(store=searcher, k=K)
    return in_thread_of_caller(lambda: retriever.invoke(QUESTION))


def llamaindex(searcher: Searcher) -> Ask:
    """LlamaIndex's ``retrieve``."""
    from ernie_search.integrations.llamaindex import ErnieSearchRetriever

    retriever = ErnieSearchRetriever(searcher, similarity_top_k=K)
    return in_thread_of_caller(lambda: retriever.retrieve(QUESTION))


def haystack(searcher: Searcher) -> Ask:
    """A Haystack pipeline of this one component."""
    from haystack import Pipeline

    from ernie_search.integrations.haystack import ErnieSearchRetriever

    pipeline = Pipeline()
    pipeline.add_component("search", ErnieSearchRetriever(searcher, top_k=K))
    return in_thread_of_caller(lambda: pipeline.run({"search": {"query": QUESTION}}))


FRAMEWORKS = {
    "langchain": ("langchain_core", langchain),
    "llamaindex": ("llama_index", llamaindex),
    "haystack": ("haystack", haystack),
}


async def measure(searcher: Searcher, asks: dict[str, Ask], rounds: int) -> list[Figure]:
    """Ask each in turn, and give what each adds."""
    every = {"search": in_thread_of_caller(lambda: searcher.search(QUESTION, K)), **asks}
    spent: dict[str, list[float]] = {name: [] for name in every}
    for number in range(rounds + 3):  # the first are not counted
        for name, ask in every.items():
            started = time.perf_counter()
            await ask()
            if number >= 3:
                spent[name].append((time.perf_counter() - started) * 1000)
    own = spent["search"]
    figures = []
    for name in asks:
        added = sorted(with_it - alone for with_it, alone in zip(spent[name], own, strict=True))
        settings = {
            "p95_ms": round(added[int(0.95 * (len(added) - 1))], 3),
            "search_ms": round(statistics.median(own), 3),
            "rounds": rounds,
            "k": K,
        }
        figures.append(Figure(f"{name}_ms", round(statistics.median(added), 3), "ms", settings=settings))
    return figures


async def run(searcher: Searcher, folder: Path, rounds: int) -> list[Figure]:
    """Every framework that is installed."""
    asks = {}
    for name, (package, make) in FRAMEWORKS.items():
        if importlib.util.find_spec(package) is None:
            print(f"{name}_ms: left out; {package} is not installed", file=sys.stderr)
        else:
            asks[name] = make(searcher)
    async with contextlib.AsyncExitStack() as stack:
        if importlib.util.find_spec("ernie_search.integrations.mcp") is None:
            print("mcp_ms: left out; there is no ernie_search.integrations.mcp", file=sys.stderr)
        else:
            asks["mcp"] = await mcp(searcher, folder, stack)
        return await measure(searcher, asks, rounds)


async def mcp(searcher: Searcher, folder: Path, stack: contextlib.AsyncExitStack) -> Ask:
    """The tool ``search`` of our MCP server, called by the SDK's client."""
    from mcp.client.client import Client

    from ernie_search.integrations.mcp import Assistant, make_server
    from ernie_search.integrations.open_index import OpenIndex

    server = make_server(Assistant([OpenIndex("one", str(folder), searcher.model)]))
    client = await stack.enter_async_context(Client(server))
    return lambda: client.call_tool("search", {"query": QUESTION, "k": K})


def main() -> None:
    """Build the index, ask, emit the figures."""
    options = arguments(__doc__ or "", passages=20_000, rounds=300)
    passages, rounds = (1_000, 60) if options.quick else (options.passages, options.rounds)
    with tempfile.TemporaryDirectory() as folder:
        searcher = searcher_of(Path(folder) / "store", passages)
        figures = asyncio.run(run(searcher, Path(folder) / "store", rounds))
        for one in figures:
            one.settings["passages"] = passages
        searcher.index.close()
        emit(figures, options.json)


if __name__ == "__main__":
    main()
