"""``ernie-search serve``: an index over HTTP, and a page to try it."""

from pathlib import Path
from typing import Annotated

import typer

from ernie_search.cli.output import loading, print_line

EXAMPLE = "Example: ernie-search serve runs/index --port 8080"


def serve(
    index: Annotated[str, typer.Argument(help="An index's folder or address, or a file that names one.")],
    model: Annotated[Path | None, typer.Option(help="The index's model, if it was moved.")] = None,
    cross: Annotated[str | None, typer.Option(help="The cross-encoder of mode cross.")] = None,
    host: Annotated[
        str, typer.Option(help="Where to listen; others than 127.0.0.1 need a key.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes a free one.")] = 8080,
    api_key_file: Annotated[
        Path | None, typer.Option(help="API keys, one a line; also taken from ERNIE_SEARCH_API_KEYS.")
    ] = None,
    writable: Annotated[bool, typer.Option("--writable", help="Take upserts and deletions.")] = False,
    allow_host: Annotated[
        list[str] | None, typer.Option(help="A host name to answer under without keys, behind a proxy.")
    ] = None,
    log_questions: Annotated[
        bool, typer.Option("--log-questions", help="Write the questions' texts to the log.")
    ] = False,
    max_k: Annotated[int, typer.Option(help="Hits of one search, at most.")] = 1000,
    max_body: Annotated[int, typer.Option(help="Bytes of one request, at most.")] = 4 * 1024 * 1024,
    max_texts: Annotated[
        int, typer.Option(help="Texts of one request to embeddings, at most; OpenAI's limit.")
    ] = 2048,
    max_documents: Annotated[
        int, typer.Option(help="Documents of one request to rerank, at most; Cohere's limit.")
    ] = 1000,
    max_queue: Annotated[int, typer.Option(help="Texts that may wait; then 429.")] = 256,
    max_connections: Annotated[
        int, typer.Option(help="Open connections; above, those that send no request are closed.")
    ] = 1000,
    merge_after: Annotated[
        int, typer.Option(help="Writes after which a small index merges the files that they left.")
    ] = 32,
    watch: Annotated[
        float, typer.Option(help="Seconds between two looks whether the index on disk changed.")
    ] = 2.0,
    timeout: Annotated[float, typer.Option(help="Seconds that a request may take.")] = 30.0,
) -> None:
    """Serve an index: search, embeddings and rerank over HTTP, and a page at /."""
    from ernie_search.serve import run  # first: whoever lacks the extra need not wait
    from ernie_search.serve.settings import make_settings, read_keys

    settings = make_settings(
        index=index,
        model=model,
        cross=cross,
        host=host,
        port=port,
        keys=read_keys(api_key_file),
        writable=writable,
        hosts=tuple(allow_host or ()),
        log_questions=log_questions,
        watch_seconds=watch,
        limits={
            "k": max_k,
            "body_bytes": max_body,
            "texts": max_texts,
            "documents": max_documents,
            "queue": max_queue,
            "connections": max_connections,
            "merge_after": merge_after,
            "seconds": timeout,
        },
    )
    with loading("the libraries"):
        from ernie_search._util.hardware import keep_freed_memory, share_arenas

        keep_freed_memory()
        share_arenas()  # or a service that is written to grows by a sixth in some thousand requests
    run(settings, print_line)
