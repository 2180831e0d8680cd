"""What a corpus of any size would need, stage by stage: arithmetic from rates measured on one machine.

Hours are machine hours, of machines like the measured one. Many machines share a stage but for what one
process does alone (``serial_hours``).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from ernie_search.errors import SettingsError
from ernie_search.files import did_you_mean
from ernie_search.search.over_shards import PASSAGES

TOKEN_BYTES: dict[str, Callable[[int], float]] = {
    "fp32": lambda d: 4.0 * d,
    "fp16": lambda d: 2.0 * d,
    "int8": lambda d: 1.0 * d,  # and a few bytes of scale
    "2bit": lambda d: d / 4 + 2,
    "none": lambda d: 0.0,
}
"""Bytes of a token vector of ``d`` dimensions in a store (``index/codecs.py``)."""

SHARD_ENTRY = 220
"""Bytes of a shard's entry in the manifest, which is written anew with every shard."""
PYTHON_ID = 110
"""Bytes of an id of 10 characters in a Python set: the string's 59, the slot's 32, and room to grow."""
HASHED_ID = 24
"""Bytes of an id in the validation's table, at most (``data/id_set.py``)."""
COPIES = 3
"""Of a shard while it is made: matrices, arrays, the packed file."""
BIT_EXTRA = 16
"""Bytes beside the one bit a dimension of ``ivf_rq``: id and two factors."""
HOUR = 3600.0
MONTH_GB = 1e9


@dataclass(frozen=True, slots=True)
class Rates:
    """What one machine does a second, and what a passage is, as measured on a sample.

    Attributes:
        passages_a_second: encoded, with token matrices.
        pairs_a_second: scored by the teacher.
        seconds_a_step: of training, at ``questions_per_batch``.
        questions_per_batch: of those steps.
        products_a_second: of a question's and a passage's vector, in exact search.
        stored_a_second: passages written into a LanceDB store, with tokens.
        packed_bytes_a_second: what one process packs, writes and checks of shards.
        dim, token_dim: ``D`` and ``d``.
        tokens_a_passage, text_bytes: means over the sample.
        index_a_second: passages put into the approximate index, 0 if not measured.
        index_passages: at which ``index_a_second`` was measured.
        machine: what it was measured on.
    """

    passages_a_second: float
    pairs_a_second: float
    seconds_a_step: float
    questions_per_batch: int
    products_a_second: float
    stored_a_second: float
    packed_bytes_a_second: float
    dim: int
    token_dim: int
    tokens_a_passage: float
    text_bytes: float
    index_a_second: float = 0.0
    index_passages: int = 0
    machine: str = ""


@dataclass(frozen=True, slots=True)
class Scale:
    """The task.

    Attributes:
        passages: in the corpus.
        questions: for training, each with a list.
        steps: of all trainings together.
        list_length: passages that the teacher scores a question.
        shard_size: passages a shard.
        tokens: format of token matrices in the store.
        machines: that share what can be shared.
        price_hour: of a machine.
        price_gb_month: of a gigabyte of disk a month.
    """

    passages: int
    questions: int = 500_000
    steps: int = 90_000
    list_length: int = 33
    shard_size: int = 4096
    tokens: str = "int8"
    machines: int = 1
    price_hour: float = 1.0
    price_gb_month: float = 0.1


@dataclass(frozen=True, slots=True)
class StageNeeds:
    """What a stage needs.

    Attributes:
        name: of the stage.
        hours: of one machine, for all of it.
        serial_hours: of them, what one process does alone, however many machines there are.
        memory: bytes, on the machine that needs most.
        disk: bytes that the stage leaves.
        money: hours at their price, and a month of the disk.
        grows: with what the hours grow, and where that stops being the number of passages.
    """

    name: str
    hours: float
    serial_hours: float
    memory: float
    disk: float
    money: float
    grows: str

    def wall_hours(self, machines: int) -> float:
        """Until it ends, shared by so many machines: what one process does alone, and the rest divided."""
        return self.serial_hours + (self.hours - self.serial_hours) / machines


def rates_from(values: dict[str, Any], place: str) -> Rates:
    """Rates from a file's values.

    Raises:
        SettingsError: one is missing, unknown, or not above 0.
    """
    names = {one.name for one in fields(Rates)}
    optional = {"index_a_second", "index_passages", "machine"}
    wrong = sorted((set(values) - names) | (names - optional - set(values)))
    if wrong:
        raise SettingsError(
            f"{place}: {wrong[0]!r} missing or unknown; measure anew: ernie-search scale SOURCE"
        )
    rates = Rates(**values)
    for name in sorted(names - optional):
        value = getattr(rates, name)
        if not (isinstance(value, int | float) and math.isfinite(value) and value > 0):
            raise SettingsError(f"{place}: {name}={value!r}: must be a number above 0")
    return rates


def needs(rates: Rates, scale: Scale) -> list[StageNeeds]:
    """All stages from training to store, in their order.

    Raises:
        SettingsError: fewer than one passage, machine or passage a shard; an unknown token format.
    """
    for name in ("passages", "machines", "shard_size"):
        if getattr(scale, name) < 1:
            raise SettingsError(f"{name}={getattr(scale, name)}: at least 1 is needed")
    if scale.tokens not in TOKEN_BYTES:
        raise SettingsError(
            f"tokens={scale.tokens!r}: unknown{did_you_mean(scale.tokens, list(TOKEN_BYTES))}"
        )
    n, d = float(scale.passages), rates.token_dim
    token_bytes = rates.tokens_a_passage * (2 * d + 4)  # fp16, and the vocabulary's id
    packed = 4 * rates.dim + token_bytes + rates.text_bytes
    in_store = (
        4 * rates.dim
        + rates.tokens_a_passage * (TOKEN_BYTES[scale.tokens](d) + 4)
        + 2 * rates.text_bytes  # as written, and as the words that BM25 counts
    )
    training = scale.steps * rates.seconds_a_step
    pairs = scale.questions * scale.list_length
    writing = n * packed / rates.packed_bytes_a_second
    shards = math.ceil(n / scale.shard_size)
    manifests = SHARD_ENTRY * shards * (shards + 1) / 2 / rates.packed_bytes_a_second
    vectors = 4 * n * rates.dim

    def stage(name: str, seconds: float, serial: float, memory: float, disk: float, grows: str) -> StageNeeds:
        money = seconds / HOUR * scale.price_hour + disk / MONTH_GB * scale.price_gb_month
        return StageNeeds(name, seconds / HOUR, serial / HOUR, memory, disk, money, grows)

    encode = n / rates.passages_a_second
    return [
        stage(
            "train", training, 0.0, HASHED_ID * n, 0.0, "steps, not passages; validation and BM25 read all"
        ),
        stage(
            "mine",
            encode + scale.questions * n / rates.products_a_second,
            scale.questions * n / rates.products_a_second,
            PYTHON_ID * n + 2 * min(PASSAGES, n) * 4 * rates.dim,  # a chunk's shards, and the chunk
            vectors + n * rates.text_bytes,
            "questions times passages, on one machine: exact search, the shards streamed; ids in its memory",
        ),
        stage(
            "score",
            pairs / rates.pairs_a_second,
            0.0,
            min(n, pairs) * (rates.text_bytes + PYTHON_ID),
            8.0 * pairs,
            "questions times their lists, not passages; the texts asked for are held at once",
        ),
        stage(
            "encode",
            encode + writing + manifests,
            writing + manifests,
            PYTHON_ID * n + COPIES * scale.shard_size * packed * (scale.machines + 2),
            n * packed,
            "passages; one process checks ids and writes, and the manifest's bytes grow with shards squared",
        ),
        stage(
            "store",
            n / rates.stored_a_second,
            n / rates.stored_a_second,
            HASHED_ID * n + COPIES * scale.shard_size * packed,
            n * in_store,
            "passages, by one writer (LanceDB); N loaders into Qdrant end after a share each",
        ),
        stage(
            "index",
            _index_seconds(rates, n),
            _index_seconds(rates, n),
            n * (rates.dim / 8 + BIT_EXTRA),
            n * (rates.dim / 8 + BIT_EXTRA),
            "passages to the power 1.5 at most: each is compared with the middles of sqrt(passages) lists",
        ),
    ]


def _index_seconds(rates: Rates, passages: float) -> float:
    """From the measured rate, as if all of it were comparing with the middles of lists; 0 if not measured."""
    if not (rates.index_a_second and rates.index_passages):
        return 0.0
    return passages / rates.index_a_second * math.sqrt(max(1.0, passages / rates.index_passages))
