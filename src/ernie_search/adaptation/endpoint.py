"""Questions from an OpenAI-compatible endpoint: within a limit, and no answer is paid for twice."""

import hashlib
import http.client
import json
import math
import os
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any
from urllib.parse import urlsplit

from ernie_search._util.files import JSON
from ernie_search._util.words import brief
from ernie_search.adaptation.answers import Estimate, check_prompt, lines_of, read_text, valid
from ernie_search.adaptation.kept_answers import KeptAnswers
from ernie_search.errors import SettingsError
from ernie_search.types import Passage

KEY, ADDRESS = "OPENAI_API_KEY", "OPENAI_BASE_URL"
"""Variables of the environment: the key, and the address where none is given."""
OPENAI = "https://api.openai.com/v1"
LIMIT_TOKENS = 2_000_000
PROMPT = (
    "Below is a passage of a document. Write {number} different questions or searches that somebody who "
    "needs this passage would type without having seen it. Use the language of the passage and at most 15 "
    "words for each. Answer with one a line and nothing else.\n\nPassage:\n{passage}"
)
QUESTION_TOKENS, ANSWER_TOKENS = 30, 20
"""Tokens of an answer, estimated: so many for each question, and so many beside."""
ROOM = 8
"""Times the estimate that an answer may have, for models that think aloud."""
TEMPERATURE = 0.7
ATTEMPTS = 4
LONGEST_WAIT, LONGEST_TIMEOUT = 60.0, 86_400.0
"""Seconds between two attempts, and for an answer."""
LARGEST_ANSWER = 1 << 20
PATIENCE = 3
"""Passages in a row that fail after all attempts until the endpoint counts as gone."""
NONSENSE = 10
"""Answers in a row without a usable question, refusals among them, until the endpoint counts as useless."""
OF_PASSAGE = (400, 403, 413, 422, 451)
"""Refusals of what was sent: a content filter's or a moderation's, a context that is too short."""
AGAIN = (408, 409, 425, 429, 500, 502, 503, 504, 529)
OUT_OF_MONEY = (
    "insufficient_quota",
    "billing_hard_limit_reached",
    "insufficient_balance",
    "billing_not_active",
)
OPTIONAL = ("seed", "temperature", "max_tokens", "max_completion_tokens")
"""What some endpoints refuse, and can do without."""


class _Stopped(Exception):  # noqa: N818 - no fault: the endpoint is done with
    """Nothing more is asked."""


class _Refused(Exception):  # noqa: N818 - becomes a SettingsError, an end, or a passage without questions
    """What the endpoint says will not change by asking again; perhaps ``of_passage`` alone."""

    def __init__(self, why: str, *, of_passage: bool = False) -> None:
        super().__init__(why)
        self.of_passage = of_passage


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """The key goes to the address that was named, and nowhere else."""

    def redirect_request(self, *arguments: Any) -> None:
        """Follow none; the answer is then an error with its code."""


class Endpoint:
    """Asks a chat model over HTTP for questions.

    Every answer is appended to a file with fsync, by a hash of what was asked: the same request is never made
    twice, after a kill neither. A passage that it refuses gets no questions. Where it stops (no answer to
    some passages in a row after all attempts, nonsense or refusals alone, no money, the limit), ``gave_up``
    says so, and passages that were not asked about get no questions; a later call asks about them.

    Args:
        model: its name there.
        cache: file of the answers.
        base_url: up to ``/v1``; by default ``OPENAI_BASE_URL``, else OpenAI's own.
        prompt: with ``{passage}`` and ``{number}``.
        price_in, price_out: of a million tokens read and written.
        limit_cost: what all requests may cost, earlier ones in the cache too; needs prices.
        limit_tokens: read and written, likewise. Requests under way count by an estimate, those without an
            answer in time as answered; an answer may be longer than estimated, so the last ones may pass a
            limit by what they have more.
        timeout: seconds for a whole answer.
        workers: requests at a time.
        pause: seconds before the second attempt; twice as many before each further one.
        say: told of the first passage that is refused, and once why it stops.

    Raises:
        SettingsError: an address that is none, a prompt without ``{passage}``, one price without the other, a
            limit on the cost without prices, a number out of its range, no key for OpenAI's own address, or
            one that cannot be sent.
    """

    def __init__(
        self,
        model: str,
        cache: Path,
        *,
        base_url: str | None = None,
        prompt: str = PROMPT,
        price_in: float | None = None,
        price_out: float | None = None,
        limit_cost: float | None = None,
        limit_tokens: int = LIMIT_TOKENS,
        timeout: float = 60.0,
        workers: int = 4,
        pause: float = 1.0,
        say: Callable[[str], None] | None = None,
    ) -> None:
        check_prompt(prompt)
        self.model, self.name, self.prompt = model, f"openai:{model}", prompt
        self.address = _address(base_url or os.environ.get(ADDRESS) or OPENAI)
        self._key = _key()
        if not self._key and self.address == OPENAI:
            raise SettingsError(f"{KEY} is not set; set it to your key, or name your own --base-url")
        amounts = {"price-in": price_in, "price-out": price_out, "limit-cost": limit_cost}
        for name, value in {**amounts, "limit-tokens": limit_tokens}.items():
            if value is not None and not (value >= 0 and math.isfinite(value)):
                raise SettingsError(f"--{name} {value}: must be 0 or more, and finite")
        if workers < 1:
            raise SettingsError(f"workers={workers}: must be 1 or more")
        if not 0 < timeout <= LONGEST_TIMEOUT:
            raise SettingsError(
                f"--timeout {timeout}: must be above 0 and at most {LONGEST_TIMEOUT:,.0f} seconds"
            )
        if (price_in is None) != (price_out is None):
            given, other = ("in", "out") if price_out is None else ("out", "in")
            raise SettingsError(f"--price-{given}: needs --price-{other}, too; give both, or leave it out")
        if limit_cost is not None and (price_in is None or price_out is None):
            raise SettingsError(
                "--limit-cost: needs --price-in and --price-out, the prices of a million tokens; "
                "or limit the tokens with --limit-tokens"
            )
        self.prices = None if price_in is None or price_out is None else (price_in, price_out)
        self.limit_cost, self.limit_tokens = limit_cost, limit_tokens
        self.timeout, self.workers, self.pause = timeout, workers, pause
        self.gave_up = ""
        self.asked = 0
        self._say = say or (lambda text: None)
        self._lock = threading.Lock()
        self._failed = self._nonsense = 0
        self._has_refused = False
        self._under_way = [0, 0]  # tokens of requests that are not answered, so that workers share the limit
        self._left_out: set[str] = set()
        self._opener = urllib.request.build_opener(_NoRedirects)
        self._answers = KeptAnswers(cache)

    @property
    def spent(self) -> tuple[int, int]:
        """Tokens read and written so far, those of earlier calls included."""
        return self._answers.tokens_in, self._answers.tokens_out

    def cost(self, tokens_in: int, tokens_out: int) -> float | None:
        """What so many tokens cost; None without prices."""
        if self.prices is None:
            return None
        return (tokens_in * self.prices[0] + tokens_out * self.prices[1]) / 1e6

    def estimate(self, passages: Sequence[Passage], number: int) -> Estimate | None:
        """What is still to be asked; see ``Generator``."""
        bodies = [self._body(one, number, 0) for one in passages]
        # the seed is part of what was asked, but not of what it costs
        new = [body for body in bodies if not self._answers.has_any(self._mark(body))]
        tokens_in = sum(map(tokens_of, new))
        tokens_out = len(new) * (number * QUESTION_TOKENS + ANSWER_TOKENS)
        return Estimate(len(new), tokens_in, tokens_out, self.cost(tokens_in, tokens_out))

    def check_limits(self, estimate: Estimate) -> None:
        """Refuse to begin what would not end within the limits.

        Raises:
            SettingsError: says what is estimated, and which limit that breaks.
        """
        before_in, before_out = self.spent
        tokens = estimate.tokens_in + estimate.tokens_out + before_in + before_out
        fewer = "ask fewer questions, or raise it"
        if tokens > self.limit_tokens:
            raise SettingsError(
                f"{self.name}: about {tokens:,} tokens, more than --limit-tokens {self.limit_tokens:,}; "
                f"{fewer}"
            )
        cost = self.cost(estimate.tokens_in + before_in, estimate.tokens_out + before_out)
        if self.limit_cost is not None and cost is not None and cost > self.limit_cost:
            raise SettingsError(
                f"{self.name}: about {cost:.2f}, more than --limit-cost {self.limit_cost:.2f}; {fewer}"
            )

    def ask(self, passages: Sequence[Passage], number: int, seed: int) -> list[list[str]]:
        """See ``Generator``; several requests at a time.

        What ends it early, as Ctrl-C does, waits for no request and lets none begin; what those under way are
        answered is kept, if the process is still there.
        """
        ended = threading.Event()
        todo: SimpleQueue[int] = SimpleQueue()
        done: SimpleQueue[tuple[int, list[str] | BaseException]] = SimpleQueue()
        for place in range(len(passages)):
            todo.put(place)

        def work() -> None:
            while not ended.is_set():
                try:
                    place = todo.get_nowait()
                except Empty:
                    return
                try:
                    done.put((place, self._one(passages[place], number, seed, ended)))
                except BaseException as error:  # raised below
                    done.put((place, error))

        for _ in range(min(self.workers, len(passages))):
            # The process does not wait for a daemon, and for the threads of concurrent.futures it does.
            threading.Thread(target=work, daemon=True).start()
        found: dict[int, list[str]] = {}
        try:
            for _ in passages:
                place, given = done.get()
                if isinstance(given, BaseException):
                    raise given
                found[place] = given
        finally:
            ended.set()
        return [found[place] for place in range(len(passages))]

    def _one(self, passage: Passage, number: int, seed: int, ended: threading.Event) -> list[str]:
        body = self._body(passage, number, seed)
        key = self._key_of(body)
        answer = self._answers.get(key)
        if answer is not None:
            return valid(lines_of(answer), passage, number)
        if self.gave_up:
            return []
        try:
            found = valid(lines_of(self._answer(body, key, ended)), passage, number)
        except _Stopped:
            return []
        except _Refused as error:
            self._refused(passage, error)
            return []
        with self._lock:
            self._nonsense = 0 if found else self._nonsense + 1
            if self._nonsense >= NONSENSE:
                self._stop(f"{NONSENSE} answers in a row held no question")
        return found

    def _answer(self, body: dict[str, Any], key: str, ended: threading.Event) -> str:
        """Ask until there is an answer, and keep it; no more once all has ended.

        Raises:
            _Stopped: there is none, for this passage or for all that follow.
            _Refused: what was sent, or all that would be.
            SettingsError: it cannot be reached for the first request of all.
        """
        why, unreachable, wait = "", False, 0.0
        for attempt in range(ATTEMPTS):
            if ended.is_set() or self.gave_up or not self._within_limits(body):
                raise _Stopped
            billed = False
            try:
                text, usage = self._request(body)
            except _Retry as error:
                why, unreachable, wait, billed = str(error), error.unreachable, error.after, error.billed
                if error.counts is not None:
                    with self._lock:
                        self._answers.add(key, self._mark(body), None, error.counts)
            else:
                with self._lock:
                    self._failed = 0
                    self.asked += 1
                    self._answers.add(key, self._mark(body), text, usage)
                return text
            finally:
                if not billed:
                    self._settle(body)
            if attempt + 1 < ATTEMPTS:
                ended.wait(min(max(self.pause * 2**attempt, wait), LONGEST_WAIT))
        with self._lock:
            self._failed += 1
            if unreachable and not self._answers and not self.gave_up:
                self.gave_up = why
                raise SettingsError(f"{self.address}: {why}; check --base-url, and whether it is running")
            if self._failed >= PATIENCE:
                self._stop(f"no answer to {PATIENCE} passages in a row ({why})")
        raise _Stopped

    def _refused(self, passage: Passage, error: _Refused) -> None:
        """Count a passage that is refused, or stop.

        Raises:
            SettingsError: nothing was answered before, and this is refused, or so many in a row are.
        """
        with self._lock:
            why = str(error)
            if error.of_passage:
                self._failed = 0
                self._nonsense += 1
                if not self._has_refused:
                    self._has_refused = True
                    self._say(
                        f"{self.name}: refuses passage {passage.id!r} ({why}); it writes none of such ones"
                    )
                if self._nonsense < NONSENSE:
                    return
            if not self._answers and not self.gave_up:
                self.gave_up = why
                raise SettingsError(f"{self.address}: {why}; check --base-url, the model's name and {KEY}")
            self._stop(f"{NONSENSE} answers in a row held no question ({why})" if error.of_passage else why)

    def _stop(self, why: str) -> None:
        """Ask nothing more; the lock is held."""
        if not self.gave_up:
            self.gave_up = why
            self._say(f"{self.name}: {why}; its answers so far are kept, and it is asked nothing more")

    def _within_limits(self, body: dict[str, Any]) -> bool:
        """Whether the request may be made beside those under way; it is then one of them."""
        with self._lock:
            taken = _taken(body)
            read, written = (sum(some) for some in zip(self.spent, self._under_way, taken, strict=True))
            cost = self.cost(read, written)
            if read + written > self.limit_tokens:
                self._stop(f"the limit of {self.limit_tokens:,} tokens is reached")
            elif self.limit_cost is not None and cost is not None and cost > self.limit_cost:
                self._stop(f"the limit of {self.limit_cost:.2f} is reached")
            if self.gave_up:
                return False
            self._under_way = [before + more for before, more in zip(self._under_way, taken, strict=True)]
            return True

    def _settle(self, body: dict[str, Any]) -> None:
        """The request is answered, and counts by what it took; or it was never read."""
        with self._lock:
            self._under_way = [
                before - less for before, less in zip(self._under_way, _taken(body), strict=True)
            ]

    def _body(self, passage: Passage, number: int, seed: int) -> dict[str, Any]:
        text = self.prompt.replace("{number}", str(number)).replace("{passage}", read_text(passage))
        return {
            "model": self.model,
            "messages": [{"role": "user", "content": text}],
            "temperature": TEMPERATURE,
            "seed": seed,
            "max_tokens": ROOM * (number * QUESTION_TOKENS + ANSWER_TOKENS),
        }

    def _key_of(self, body: dict[str, Any]) -> str:
        return _digest([self.address, body])

    def _mark(self, body: dict[str, Any]) -> str:
        return _digest([self.address, {name: value for name, value in body.items() if name != "seed"}])

    def _request(self, body: dict[str, Any]) -> tuple[str, tuple[int, int]]:
        """One request: the answer's text, and tokens read and written.

        Raises:
            _Retry: it may be answered if asked again.
            _Refused: it will not be.
            _Stopped: there is no money left.
        """
        sent = {name: value for name, value in body.items() if name not in self._left_out}
        if "max_tokens" in self._left_out and "max_completion_tokens" not in self._left_out:
            sent["max_completion_tokens"] = body["max_tokens"]
        headers = {"Content-Type": "application/json", "User-Agent": "ernie-search"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        asked = urllib.request.Request(
            f"{self.address}/chat/completions", json.dumps(sent).encode(), headers, method="POST"
        )
        try:
            with self._opener.open(asked, timeout=self.timeout) as response:
                raw = _read(response, time.monotonic() + self.timeout)
        except urllib.error.HTTPError as error:
            with error:
                self._fault(error, sent)
        except (TimeoutError, urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            if isinstance(reason, TimeoutError):
                raise _Retry(f"no answer within {self.timeout:g} seconds", billed=True) from None
            raise _Retry(f"cannot be reached ({brief(str(reason))})", unreachable=True) from None
        return _content(raw, body)

    def _fault(self, error: urllib.error.HTTPError, sent: dict[str, Any]) -> None:
        """Say what an answer that is an error means; always raises."""
        try:
            found = JSON.decode(error.read(LARGEST_ANSWER).decode("utf-8", "replace"))
        except (ValueError, RecursionError, OSError, http.client.HTTPException):
            found = {}
        about = found.get("error", found) if isinstance(found, dict) else {}
        about = about if isinstance(about, dict) else {"message": about}
        message = brief(str(about.get("message") or error.reason))
        said = {str(about.get(name)) for name in ("code", "type")}
        if error.code == 402 or said & set(OUT_OF_MONEY):
            with self._lock:
                self._stop(f"out of money (HTTP {error.code}: {message})")
            raise _Stopped
        if error.code in AGAIN:
            raise _Retry(f"HTTP {error.code}: {message}", _seconds(error.headers.get("Retry-After")))
        unwanted = [name for name in OPTIONAL if name in sent and name in f"{message} {about.get('param')}"]
        if error.code in (400, 422) and unwanted:
            self._left_out |= set(unwanted[:1])
            raise _Retry(f"HTTP {error.code}: {message}")
        raise _Refused(f"HTTP {error.code}: {message}", of_passage=error.code in OF_PASSAGE)


class _Retry(Exception):  # noqa: N818 - not an error of ours: the request is made again
    """A request that may be answered if it is made again, ``after`` so many seconds at least.

    One that was cut off may be ``billed`` all the same, so it counts as if it had been answered; ``counts``
    are tokens read and written, where an answer that cannot be used says them.
    """

    def __init__(
        self,
        why: str,
        after: float = 0.0,
        *,
        unreachable: bool = False,
        billed: bool = False,
        counts: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(why)
        self.after, self.unreachable, self.billed, self.counts = after, unreachable, billed, counts


def tokens_of(body: dict[str, Any]) -> int:
    """About how many tokens a request has: four ASCII characters are one, others one each."""
    text = body["messages"][0]["content"]
    plain = len(text.encode("ascii", "ignore"))
    return plain // 4 + len(text) - plain + 8


def _taken(body: dict[str, Any]) -> tuple[int, int]:
    """About how many tokens a request reads and writes."""
    return tokens_of(body), body["max_tokens"] // ROOM


def _content(raw: bytes, body: dict[str, Any]) -> tuple[str, tuple[int, int]]:
    """Text and tokens of an answer; _Retry for one of another form.

    An answer without text (the model refused, or thought until its tokens were used up) is paid for as others
    are, and so is one that is too long: both are no text, and not asked for again.
    """
    if len(raw) > LARGEST_ANSWER:
        return "", (tokens_of(body), len(raw) // 4)
    try:
        found = JSON.decode(raw.decode("utf-8"))
    except (ValueError, RecursionError):
        found = None
    usage = found.get("usage") if isinstance(found, dict) else None
    usage = usage if isinstance(usage, dict) else {}
    told = (usage.get("prompt_tokens"), usage.get("completion_tokens"))
    try:
        text = found["choices"][0]["message"].get("content")
    except (KeyError, IndexError, TypeError, AttributeError):
        counts = _counts(told, (0, 0))
        why = "an answer that is no chat completion"
        raise _Retry(why, counts=counts if any(counts) else None) from None
    text = text if isinstance(text, str) else ""
    return text, _counts(told, (tokens_of(body), max(1, len(text) // 4)))


def _counts(told: tuple[Any, Any], guessed: tuple[int, int]) -> tuple[int, int]:
    """Tokens read and written, as an endpoint says, or as guessed where it does not."""
    read, written = (
        one if isinstance(one, int) and one >= 0 else guess for one, guess in zip(told, guessed, strict=True)
    )
    return read, written


def _read(response: Any, deadline: float) -> bytes:
    """The answer, if it comes in time; of one that is too large, no more than shows that."""
    parts, size = [], 0
    while size <= LARGEST_ANSWER and (part := response.read1(1 << 16)):
        parts.append(part)
        size += len(part)
        if time.monotonic() > deadline:
            raise TimeoutError
    return b"".join(parts)


def _seconds(text: str | None) -> float:
    """What ``Retry-After`` says; 0 where it says nothing, or a date."""
    try:
        return max(0.0, float(text or 0))
    except ValueError:
        return 0.0


def _address(given: str) -> str:
    """The address of an endpoint; one that cannot be asked is refused, without showing a password in it."""
    address, advice = given.strip().rstrip("/"), "give http://HOST:PORT/v1 or https://..."
    if "@" in address.partition("://")[2].partition("/")[0]:
        raise SettingsError(f"--base-url: holds a name or a password; set {KEY}, and {advice}")
    try:
        parts = urlsplit(address)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        sound = False
    plain = address.isascii() and address.isprintable() and not {" ", "?", "#"} & set(address)
    if not (sound and plain):
        raise SettingsError(f"--base-url {brief(address)}: {advice}")
    return address


def _key() -> str:
    """The key of the environment; a fault in it is told without showing it."""
    key = os.environ.get(KEY, "").strip()
    if not (key.isascii() and key.isprintable()):
        raise SettingsError(
            f"{KEY} holds characters that no key has (a line break inside, a letter that is not ASCII); "
            "set it to the key alone"
        )
    return key


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
