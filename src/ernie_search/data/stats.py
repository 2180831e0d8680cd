"""Statistics of a collection: lengths, what a model would cut, repeated texts, overlaps of splits."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, islice
from typing import Any

from ernie_search._util.lines import stop
from ernie_search.data.chunking import units
from ernie_search.data.collection import Collection
from ernie_search.data.id_set import IdSet
from ernie_search.data.validation import CheckedReading
from ernie_search.types import Passage, Query, Task

BATCH = 512
"""Texts that are measured together: fast tokenizers take lists."""

Measure = Callable[[Sequence[str], Task], Sequence[int]]
"""Gives the length of each text, as a query or a passage."""


@dataclass(frozen=True, slots=True)
class Lengths:
    """Lengths of texts: mean, median, 95th percentile, maximum, and the share longer than the limit."""

    mean: float
    median: int
    p95: int
    longest: int
    limit: int | None = None
    truncated: float | None = None


@dataclass(frozen=True, slots=True)
class SplitStats:
    """Statistics of one split.

    Attributes:
        queries: questions that it judges.
        judgements, positives: pairs judged, and relevant passages per question.
        relevant_passages: different passages that are relevant to any question.
        grades: those that occur.
        repeated: questions with the wording of an earlier one, but for case and white space.
        lengths: of its questions.
    """

    queries: int
    judgements: int
    positives: float
    relevant_passages: int
    grades: tuple[int, ...]
    repeated: int
    lengths: Lengths


@dataclass(frozen=True, slots=True)
class Overlap:
    """Wordings of questions that two splits share, and passages that are relevant in both."""

    first: str
    second: str
    queries: int
    passages: int


@dataclass(frozen=True, slots=True)
class Stats:
    """Statistics of a collection; ``unit`` says what lengths count.

    Attributes:
        titled: share of the passages with a title.
        duplicates: passages with title and text of an earlier one.
        unjudged: questions that no split judges.
        lengths: of the passages, title included.
    """

    name: str
    source: str
    unit: str
    passages: int
    titled: float
    duplicates: int
    lengths: Lengths
    unjudged: int
    splits: Mapping[str, SplitStats] = field(default_factory=dict)
    overlaps: Sequence[Overlap] = ()


def word_lengths(texts: Sequence[str], task: Task) -> list[int]:
    """Words of each text; in scripts without spaces a character counts as one."""
    return [len(units(text)) for text in texts]


def token_lengths(tokenizer: Any, query_prompt: str = "", passage_prompt: str = "") -> Measure:
    """Lengths as a model sees them before it cuts: tokens of prompt and text, special ones included."""

    def lengths(texts: Sequence[str], task: Task) -> list[int]:
        prompt = query_prompt if task == "query" else passage_prompt
        encoded = tokenizer(
            [prompt + text for text in texts],
            truncation=False,
            padding=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,  # it would warn of each text that is too long, which is what is counted here
        )
        return [len(ids) for ids in encoded["input_ids"]]

    return lengths


def wording(text: str) -> str:
    """A question in lower case, with single blanks."""
    return " ".join(text.casefold().split())


def batches(items: Iterable[Any]) -> Iterator[list[Any]]:
    """The items in lists of ``BATCH``."""
    rest = iter(items)
    while batch := list(islice(rest, BATCH)):
        yield batch


def summarise(counts: Counter[int], limit: int | None) -> Lengths:
    """Mean, percentiles (the smallest length that so many texts do not exceed), maximum, and what is cut."""
    total = sum(counts.values())
    if not total:
        return Lengths(0.0, 0, 0, 0, limit, None if limit is None else 0.0)
    ordered = sorted(counts)

    def percentile(share: float) -> int:
        seen = 0
        for length in ordered:
            seen += counts[length]
            if seen >= share * total:
                return length
        return ordered[-1]

    mean = sum(length * number for length, number in counts.items()) / total
    cut = None if limit is None else sum(n for length, n in counts.items() if length > limit) / total
    return Lengths(mean, percentile(0.5), percentile(0.95), ordered[-1], limit, cut)


class SplitTexts:
    """Wordings and lengths of a split's questions."""

    def __init__(self) -> None:
        self.wordings = IdSet()
        self.lengths: Counter[int] = Counter()
        self.repeated = 0

    def add(self, query: Query, length: int) -> None:
        """Count a question."""
        self.lengths[length] += 1
        self.repeated += not self.wordings.add(wording(query.text))


def collection_stats(
    collection: Collection,
    measure: Measure = word_lengths,
    unit: str = "words",
    limits: Mapping[Task, int] | None = None,
) -> Stats:
    """Read everything (the questions twice) and count.

    Memory: 12 to 24 bytes for each id, text and judgement; texts are not kept.

    Args:
        measure: gives the lengths; words by default, ``token_lengths`` for a model's tokens.
        unit: what to call them.
        limits: the longest query and passage that the model reads whole, in the same unit.

    Raises:
        DataError: the first thing that is wrong with the collection.
    """
    reading = CheckedReading(collection, stop)
    texts, counts, titled, duplicates = IdSet(), Counter[int](), 0, 0
    batch: list[Passage]
    for batch in batches(reading.passages()):
        full = [passage.full_text for passage in batch]
        counts.update(measure(full, "passage"))
        titled += sum(1 for passage in batch if passage.title)
        duplicates += sum(1 for text in full if not texts.add(text))
    for _ in reading.queries():
        pass  # their ids, which the judgements name
    for split in collection.splits:
        for _ in reading.judgements(split):
            pass
    asked, unjudged = {split: SplitTexts() for split in reading.splits}, 0
    questions: list[Query]
    for questions in batches(query for _, query in reading.places.located_queries()):
        for query, length in zip(questions, measure([q.text for q in questions], "query"), strict=True):
            mine = [split for split, count in reading.splits.items() if query.id in count.asked]
            unjudged += not mine
            for split in mine:
                asked[split].add(query, length)
    limit = limits or {}
    total = len(reading.passage_ids)
    return Stats(
        collection.name,
        collection.source,
        unit,
        total,
        titled / max(1, total),
        duplicates,
        summarise(counts, limit.get("passage")),
        unjudged,
        {split: split_stats(reading, split, asked[split], limit.get("query")) for split in reading.splits},
        [overlap(reading, asked, *pair) for pair in combinations(reading.splits, 2)],
    )


def split_stats(reading: CheckedReading, split: str, texts: SplitTexts, limit: int | None) -> SplitStats:
    """The figures of a split that was read."""
    count = reading.splits[split]
    return SplitStats(
        queries=len(count.asked),
        judgements=count.judged,
        positives=count.relevant / max(1, len(count.asked)),
        relevant_passages=len(count.positive),
        grades=tuple(sorted(count.grades)),
        repeated=texts.repeated,
        lengths=summarise(texts.lengths, limit),
    )


def overlap(reading: CheckedReading, texts: Mapping[str, SplitTexts], first: str, second: str) -> Overlap:
    """The overlap of two splits."""
    return Overlap(
        first,
        second,
        texts[first].wordings.common(texts[second].wordings),
        reading.splits[first].positive.common(reading.splits[second].positive),
    )
