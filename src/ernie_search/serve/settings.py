"""Settings of the service: what it serves, where it listens, API keys, limits."""

import hashlib
import hmac
import ipaddress
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ernie_search.errors import SettingsError

Positive = Annotated[int, Field(ge=1)]


class Limits(BaseModel):
    """Upper limits, for one request and for all together.

    Attributes:
        body_bytes: bytes of a request; more is refused with 413.
        question_characters: characters of a question; the model reads at most a few hundred words.
        passage_characters: characters of a text that is encoded as a passage.
        k: hits of one search.
        candidates: passages that one search re-ranks.
        crossed: passages that the cross-encoder reads for one search.
        explained: hits of one search with explanations.
        texts: texts of one request to embeddings; OpenAI takes 2,048, and LangChain sends 1,000.
        documents: documents of one request to rerank; Cohere takes 1,000.
        read: passages of a document in one answer.
        batch: passages of one write, or ids of one deletion.
        queue: questions and short requests in the queue for the model; more are refused with 429. Requests of
            many texts have a queue of their own, see ``AdmissionQueue``.
        in_flight: requests in flight; more are refused with 429.
        connections: open connections, fewer if the process may not open enough files. For a new one beyond
            that, the connection that has waited longest for a request is closed.
        together: texts that are encoded in one batch.
        seconds: time for a request; then it is answered with 503.
        drain_seconds: time for the requests in flight after SIGTERM.
        filter_characters: characters of a filter.
        merge_after: writes after which the index merges its small files. Above 1,024 passages, where merging
            takes longer, the number grows with the square root of the passages.
        optimize_after: writes after which the index merges them in any case.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    body_bytes: Positive = 4 * 1024 * 1024
    question_characters: Positive = 2_000
    passage_characters: Positive = 20_000
    k: Positive = 1_000
    candidates: Positive = 1_000
    crossed: Positive = 50
    explained: Positive = 50
    texts: Positive = 2_048
    documents: Positive = 1_000
    read: Positive = 100
    batch: Positive = 256
    queue: Positive = 256
    in_flight: Positive = 512
    connections: Positive = 1_000
    together: Positive = 64
    seconds: float = Field(30.0, gt=0)
    drain_seconds: float = Field(30.0, gt=0)
    filter_characters: Positive = 2_000
    merge_after: Positive = 32
    optimize_after: Positive = 500


class ServeSettings(BaseModel):
    """Settings of one service.

    Attributes:
        index: an index's folder or address (``lance:///dir``, ``qdrant+http://host/name``), or a pointer: a
            small file whose first line is one of these.
        model: the model's directory, if it was moved.
        cross: the cross-encoder of mode ``cross``.
        mode, fusion, token_weights: of searches that name none themselves; None: the index's own.
        runtime, precision: of the model; see ``open_encoder``.
        host, port: the address to listen on; port 0 takes a free port.
        keys: API keys, one of which every request must have; may be empty only on a loopback address.
        writable: whether upserts and deletions are allowed.
        hosts: host names, beside the loopback ones, under which requests are answered without keys.
        log_questions: whether questions are written to the log.
        watch_seconds: seconds between two checks whether the pointer or the index changed on disk.
        limits: see ``Limits``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    index: str = ""
    model: str | Path | None = None
    cross: str | None = None
    mode: Literal["words", "dense", "late", "hybrid", "cross"] | None = None
    fusion: str | None = None
    token_weights: Literal["even", "root", "idf"] | None = None
    runtime: Literal["auto", "onnx", "torch"] = "auto"
    precision: Literal["auto", "fp32", "int8"] = "fp32"
    host: str = "127.0.0.1"
    port: int = Field(8080, ge=0, le=65535)
    keys: tuple[str, ...] = Field((), repr=False)
    writable: bool = False
    hosts: tuple[str, ...] = ()
    log_questions: bool = False
    watch_seconds: float = Field(2.0, gt=0)
    limits: Limits = Limits()


def is_loopback(host: str) -> bool:
    """Whether an address or name can be reached from this machine only."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def make_settings(**values: Any) -> ServeSettings:
    """Make ``ServeSettings`` from plain values.

    Raises:
        SettingsError: an unknown setting, an invalid value, or an address beyond loopback without keys.
    """
    try:
        settings = ServeSettings(**values)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise SettingsError(f"serve settings: {place}: {first['msg']}") from None
    if settings.fusion is not None:
        from ernie_search.search import Fusion  # the libraries, which most errors here need not wait for

        Fusion.parse(settings.fusion)
    if not is_loopback(settings.host) and not settings.keys:
        raise SettingsError(
            f"--host {settings.host}: others can reach that address, so a key is needed; give --api-key-file "
            "FILE, or set ERNIE_SEARCH_API_KEYS"
        )
    return settings


VARIABLE = "ERNIE_SEARCH_API_KEYS"
"""The environment variable with keys, separated by commas or white space."""

SHORTEST = 16
"""Least characters of a key; 16 of base64 are 96 bits, and fewer might be guessed."""


def read_keys(file: Path | None, environment: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Read the keys of a file (one per line; # begins a comment) and of the environment.

    Raises:
        SettingsError: the file cannot be read or has no key, or a key is too short or not printable ASCII.
    """
    found: list[str] = []
    if file is not None:
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not a text file"
            raise SettingsError(f"--api-key-file {file}: {reason}") from None
        found = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
        if not found:
            raise SettingsError(f"--api-key-file {file}: has no key; write one per line")
    found += (os.environ if environment is None else environment).get(VARIABLE, "").replace(",", " ").split()
    for place, key in enumerate(found, start=1):
        if len(key) < SHORTEST or not key.isascii() or not key.isprintable() or " " in key:
            raise SettingsError(
                f"API key {place} of {len(found)}: at least {SHORTEST} ASCII characters without spaces; "
                "make one with: openssl rand -base64 32"
            )
    return tuple(dict.fromkeys(found))


class KeyRing:
    """Digests of the keys, compared in constant time."""

    def __init__(self, keys: Sequence[str]) -> None:
        """Keep the digests of ``keys``."""
        self._digests = [hashlib.sha256(key.encode()).digest() for key in keys]

    def __bool__(self) -> bool:
        """Whether any key was given."""
        return bool(self._digests)

    def holds(self, presented: bytes) -> bool:
        """Whether ``presented`` is one of the keys; the time does not depend on the answer."""
        digest = hashlib.sha256(presented).digest()
        found = False
        for one in self._digests:
            found |= hmac.compare_digest(one, digest)
        return found
