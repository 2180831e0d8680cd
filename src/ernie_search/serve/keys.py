"""API keys: read from a file or the environment, compared in constant time, never shown."""

import hashlib
import hmac
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from ernie_search.errors import SettingsError

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
