"""What a service is started with: where it listens, who may ask, and how much."""

import hashlib
import hmac
import ipaddress
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ernie_search.errors import SettingsError

Positive = Annotated[int, Field(ge=1)]


class Limits(BaseModel):
    """How much one request, and all of them together, may ask for.

    Attributes:
        body_bytes: of a request; more is refused with 413.
        question_characters: of a question; the model reads a few hundred words at most.
        passage_characters: of a text that is encoded as a passage.
        k: hits of one search.
        candidates: passages that one search re-ranks.
        crossed: passages that the cross-encoder reads for one search.
        explained: hits of one search whose matching words are looked up.
        texts: of one request to embeddings; OpenAI takes 2,048, and LangChain sends 1,000.
        documents: of one request to rerank; Cohere takes 1,000.
        batch: passages of one write, ids of one deletion.
        queue: questions and short requests that wait for the model; when full, new ones are refused with
            429. Requests of many texts stand in a line of their own, see ``Line``.
        in_flight: requests under way; more are refused with 429.
        connections: open at a time, or fewer where descriptors are short; for one more, that which has
            waited longest for a request's header is closed.
        together: texts that are encoded in one go.
        seconds: that a request may take; then 503.
        drain_seconds: that requests under way may take after SIGTERM.
        filter_characters: of a filter.
        merge_after: writes after which the index merges their small files; above 1,024 passages, where that
            takes longer, after more: they grow with the square root of the passages.
        optimize_after: writes after which it does so in any case.
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
    """How to serve.

    Attributes:
        index: its folder or address (``lance:///dir``,
            ``qdrant+http://host/name``), or a small file whose first line is one of these (a pointer).
        model: the model's directory, if it was moved.
        cross: the cross-encoder of mode ``cross``.
        host, port: where to listen; port 0 takes a free one.
        keys: API keys, one of which every request must carry; none only on a loopback address.
        writable: take upserts and deletions.
        hosts: names that a request may be sent to, beside the loopback ones; only matters without keys.
        log_questions: write the questions' texts to the log.
        watch_seconds: how often is looked whether a pointer or the index on disk changed.
        limits: see ``Limits``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    index: str = ""
    model: Path | None = None
    cross: str | None = None
    host: str = "127.0.0.1"
    port: int = Field(8080, ge=0, le=65535)
    keys: tuple[str, ...] = Field((), repr=False)
    writable: bool = False
    hosts: tuple[str, ...] = ()
    log_questions: bool = False
    watch_seconds: float = Field(2.0, gt=0)
    limits: Limits = Limits()

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the address."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def make_settings(**values: Any) -> ServeSettings:
    """``ServeSettings``, with what is wrong said in one line.

    Raises:
        SettingsError: an unknown setting, an impossible value, or an address that others reach without keys.
    """
    try:
        settings = ServeSettings(**values)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise SettingsError(f"serve settings: {place}: {first['msg']}") from None
    if not settings.loopback and not settings.keys:
        raise SettingsError(
            f"--host {settings.host}: others can reach that address, so a key is needed; give --api-key-file "
            "FILE, or set ERNIE_SEARCH_API_KEYS"
        )
    return settings


VARIABLE = "ERNIE_SEARCH_API_KEYS"
"""Keys in the environment, between commas or white space."""

SHORTEST = 16
"""Characters. Shorter keys can be guessed: 16 of base64 are 96 bits."""


def read_keys(file: Path | None, environment: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """The keys of a file (one a line; # begins a comment) and of the environment.

    Raises:
        SettingsError: the file is not readable, holds no key, or a key is too short or not plain ASCII.
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
            raise SettingsError(f"--api-key-file {file}: no key in it; write one a line")
    found += (os.environ if environment is None else environment).get(VARIABLE, "").replace(",", " ").split()
    for place, key in enumerate(found, start=1):
        if len(key) < SHORTEST or not key.isascii() or not key.isprintable() or " " in key:
            raise SettingsError(
                f"API key {place} of {len(found)}: at least {SHORTEST} ASCII characters without spaces; "
                "make one with: openssl rand -base64 32"
            )
    return tuple(dict.fromkeys(found))


class KeyRing:
    """Keys as digests of one length, so that a comparison tells nothing of a key's length or beginning."""

    def __init__(self, keys: Sequence[str]) -> None:
        """Remember the digests of ``keys``."""
        self._digests = [hashlib.sha256(key.encode()).digest() for key in keys]

    def __bool__(self) -> bool:
        """Whether a key is needed at all."""
        return bool(self._digests)

    def holds(self, presented: bytes) -> bool:
        """Whether one of the keys was presented; takes as long for any answer."""
        digest = hashlib.sha256(presented).digest()
        found = False
        for one in self._digests:
            found |= hmac.compare_digest(one, digest)
        return found
