"""``ernie-search serve``: an HTTP service for an index, with a search page."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from ernie_search.cli.output import loading, print_line
from ernie_search.cli.searching import (
    NEAREST_INDEX,
    FusionOption,
    ModeOption,
    QuestionPrecision,
    TokenWeightsOption,
    named_index,
)

EXAMPLE = "Example: ernie-search serve runs/index --port 8080"


def serve(
    index: Annotated[
        str | None,
        typer.Argument(
            help="An index's folder or address, or a file whose first line is one.",
            show_default=NEAREST_INDEX,
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="The index's model, if it was moved: a directory or a hub name.")
    ] = None,
    cross: Annotated[str | None, typer.Option(help="A cross-encoder, which adds mode cross.")] = None,
    mode: ModeOption = None,
    fusion: FusionOption = None,
    token_weights: TokenWeightsOption = None,
    precision: QuestionPrecision = "fp32",
    runtime: Annotated[
        Literal["auto", "onnx", "torch"],
        typer.Option(help="What runs the model; auto takes ONNX Runtime wherever it can."),
    ] = "auto",
    host: Annotated[
        str, typer.Option(help="Address to listen on; any but loopback needs a key.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.")] = 8080,
    api_key_file: Annotated[
        Path | None, typer.Option(help="API keys, one per line; also read from ERNIE_SEARCH_API_KEYS.")
    ] = None,
    writable: Annotated[bool, typer.Option("--writable", help="Allow upserts and deletions.")] = False,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(help="A host name to accept without keys, behind a proxy; may be repeated."),
    ] = None,
    log_questions: Annotated[
        bool, typer.Option("--log-questions", help="Write questions to the log.")
    ] = False,
    max_k: Annotated[int, typer.Option(help="Most hits of one search.")] = 1000,
    max_body: Annotated[int, typer.Option(help="Most bytes of one request.")] = 4 * 1024 * 1024,
    max_texts: Annotated[
        int, typer.Option(help="Most texts of one request to embeddings; the default is OpenAI's limit.")
    ] = 2048,
    max_documents: Annotated[
        int, typer.Option(help="Most documents of one request to rerank; the default is Cohere's limit.")
    ] = 1000,
    max_queue: Annotated[
        int, typer.Option(help="Most texts in the queue; further requests are refused with 429.")
    ] = 256,
    max_connections: Annotated[
        int, typer.Option(help="Most open connections; beyond that, idle ones are closed.")
    ] = 1000,
    merge_after: Annotated[int, typer.Option(help="Writes after which a small index merges its files.")] = 32,
    watch: Annotated[
        float, typer.Option(help="Seconds between two checks whether the index changed on disk.")
    ] = 2.0,
    timeout: Annotated[float, typer.Option(help="Most seconds for a request.")] = 30.0,
) -> None:
    """Serve an index over HTTP: search, embeddings and rerank, and a search page at /."""
    from ernie_search.serve import run  # first, so that a missing extra is reported at once
    from ernie_search.serve.settings import make_settings, read_keys

    settings = make_settings(
        index=named_index(index),
        model=model,
        cross=cross,
        mode=mode,
        fusion=fusion,
        token_weights=token_weights,
        precision=precision,
        runtime=runtime,
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
        from ernie_search._util.hardware import share_arenas

        share_arenas()  # otherwise memory grows by a sixth in some thousand writes
    run(settings, print_line)
