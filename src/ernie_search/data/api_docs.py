"""Documentation of installed packages as a collection: summary lines ask, signatures and bodies answer."""

import hashlib
import importlib.util
import json
import os
import re
import subprocess
import sys
from collections import Counter
from functools import cached_property

from ernie_search._util.files import did_you_mean
from ernie_search.data import api_walk
from ernie_search.data.api_walk import PACKAGES, STDLIB, Found
from ernie_search.data.collection import LocatedCollection, MemoryCollection, WrappedCollection
from ernie_search.data.near_duplicates import clusters
from ernie_search.errors import DataError
from ernie_search.types import Passage, Qrels, Query

GROUPS: dict[str, list[str]] = {"stdlib": list(STDLIB)}
"""Names for several modules at once."""

DEFAULT = ["stdlib", "numpy", "scipy", "sklearn", "torch"]
"""What "api:" reads, about 6,500 passages. Each comes with this package; a missing one is left out."""

SHARES = (("train", 0.7), ("dev", 0.1), ("test", 0.2))
SHORTEST_BODY = 15
LONGEST_BODY = 400
SHORTEST_QUESTION = 4
LONGEST_QUESTION = 30
TIME_LIMIT = 600
"""Seconds after which reading the packages is given up."""

ROLE = re.compile(r":[\w:.+-]+:`~?\.?([^`<]*?)(?:\s*<[^`>]*>)?`")
LITERAL = re.compile(r"``([^`]*)``|`([^`<]*?)(?:\s*<[^`>]*>)?`_{0,2}")
EMPHASIS = re.compile(r"\*{1,2}([\w ]+)\*{1,2}")
SENTENCE_END = re.compile(r"(?<!\be\.g)(?<!\bi\.e)(?<!\bvs)(?<!\bet al)\.\s+(?=[A-Z:`])")
RULE_LINE = re.compile(r"^[ \t]*[-=~^*_+]{3,}[ \t]*$\n?", re.MULTILINE)
FORMAL = re.compile(r"\\|->|>>>|^[\w.]+\(")
NO_QUESTION = re.compile(
    r"(return|initialize) self|see |alias |same as |deprecated|helper (for|function)|base class for"
    r"|create and return a new object|internal |private |\.\. |:|@",
    re.IGNORECASE,
)


def strip_markup(text: str) -> str:
    """The text as one line, without reStructuredText markup."""
    text = ROLE.sub(r"\1", " ".join(text.split()))
    text = LITERAL.sub(lambda match: (match[1] or match[2] or "").lstrip("~!"), text)
    return EMPHASIS.sub(r"\1", text)


def cut_words(text: str, most: int) -> str:
    """The text up to its ``most``-th word."""
    for number, match in enumerate(re.finditer(r"\S+", text), 1):
        if number == most:
            return text[: match.end()]
    return text


def split_docstring(doc: str) -> tuple[str, str]:
    """The summary (the first sentence, without markup and full stop) and everything after it."""
    head, _, rest = doc.strip().partition("\n\n")
    parts = SENTENCE_END.split(head, maxsplit=1)
    body = "\n\n".join(part.strip() for part in [*parts[1:], rest] if part.strip())
    body = re.sub(r"\n{3,}", "\n\n", RULE_LINE.sub("", body))
    return strip_markup(parts[0]).rstrip(".: "), "\n".join(line.rstrip() for line in body.split("\n")).strip()


def is_question(summary: str) -> bool:
    """Whether the summary is specific enough to be used as a question."""
    words = re.findall(r"[^\W\d_]{2,}", summary)
    length = len(summary.split())
    good = (
        min(len(words), length) >= SHORTEST_QUESTION and length <= LONGEST_QUESTION and summary[0].isalpha()
    )
    return good and not NO_QUESTION.match(summary) and not FORMAL.search(summary)


def split_of(module: str) -> str:
    """The split that a module's name falls into: the same on every machine."""
    place = int.from_bytes(hashlib.sha256(module.encode()).digest()[:8], "big") / 2**64
    edge = 0.0
    for split, share in SHARES:
        edge += share
        if place < edge:
            return split
    return SHARES[-1][0]


def build(name: str, source: str, found: list[Found]) -> MemoryCollection:
    """Make the collection of documented objects.

    Objects with a poor summary, a body under 15 words, or the body of another object are left out. A
    question that several objects would ask is not asked. A passage of near-duplicates goes to the split of
    the group's first member, so that no split tests what another one taught.
    """
    bodies: set[str] = set()
    kept: list[tuple[Found, str, str]] = []
    for item in sorted(found, key=lambda entry: entry["key"]):
        summary, body = split_docstring(item["doc"])
        same = " ".join(body.lower().split())
        if not summary or not is_question(summary) or len(same.split()) < SHORTEST_BODY or same in bodies:
            continue
        bodies.add(same)
        kept.append((item, summary, cut_words(f"{item['signature']}\n{body}", LONGEST_BODY)))
    asked = Counter(summary.lower() for _, summary, _ in kept)
    first = clusters([text for _, _, text in kept])
    passages: list[Passage] = []
    queries: list[Query] = []
    qrels: dict[str, Qrels] = {split: {} for split, _ in SHARES}
    for number, (item, summary, text) in enumerate(kept):
        fields = {"module": item["module"], "kind": item["kind"]}
        passages.append(Passage(item["key"], text, item["title"], fields))
        if asked[summary.lower()] == 1:
            # an id of its own: some tools ignore a hit that has the question's id
            queries.append(Query(f"q:{item['key']}", summary))
            qrels[split_of(kept[first[number]][0]["module"])][f"q:{item['key']}"] = {item["key"]: 1}
    return MemoryCollection(
        name, source, passages, queries, {split: rows for split, rows in qrels.items() if rows}
    )


def read_packages(roots: list[str]) -> list[Found]:
    """What is documented in the packages, read by a process of its own (see ``api_walk``)."""
    # one hash seed and full docstrings, whatever this process runs with; no threads that fight over cores
    environment = {
        key: value for key, value in os.environ.items() if key not in ("PYTHONOPTIMIZE", "PYTHONWARNINGS")
    }
    environment |= {"PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg", "HF_HUB_OFFLINE": "1"}
    # -P keeps this room's files, and those where the user stands, from shadowing what is imported
    command = [sys.executable, "-P", api_walk.__file__, *roots]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, timeout=TIME_LIMIT, check=False)
    except subprocess.TimeoutExpired:
        raise DataError(
            f"api: reading {', '.join(roots)} took over {TIME_LIMIT} s; name fewer packages"
        ) from None
    if done.returncode:
        raise DataError(
            f"api: reading {', '.join(roots)} ended with code {done.returncode}; name fewer packages"
        )
    return [json.loads(line) for line in done.stdout.decode().splitlines()]


def chosen_roots(packages: str) -> list[str]:
    """The modules to import for "numpy,scipy" (or "" for the default).

    Raises:
        DataError: a package that is not on the allow-list, or not installed.
    """
    names = [name.strip() for name in packages.split(",") if name.strip()]
    allowed = [*GROUPS, *PACKAGES, *STDLIB]
    for name in names:
        if name not in allowed:
            hint = did_you_mean(name, allowed) if len(name) > 2 else ""
            raise DataError(
                f"api:{packages}: {name!r} is not a package whose documentation can be read{hint}"
            )
        if name in PACKAGES and importlib.util.find_spec(name) is None:
            raise DataError(f"api:{packages}: {name!r} is not installed; pip install it or leave it out")
    return [root for name in names or DEFAULT for root in GROUPS.get(name, [name])]


class ApiDocs(WrappedCollection):
    """The documentation of installed packages, read when something is first asked of it (about 15 s for all).

    Args:
        packages: names with commas between; "" for the default. Only packages of an allow-list are imported.

    Raises:
        DataError: a package that is not on the list or not installed.
    """

    def __init__(self, packages: str = "") -> None:
        name = f"api-{packages.replace(',', '-').replace(' ', '')}" if packages else "api"
        LocatedCollection.__init__(self, name, f"api:{packages}")
        self._roots = chosen_roots(packages)

    @cached_property
    def inner(self) -> MemoryCollection:  # type: ignore[override]
        """The collection, read at the first use."""
        return build(self.name, self.source, read_packages(self._roots))
