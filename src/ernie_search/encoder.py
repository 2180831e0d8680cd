"""What encoding and search ask of a model that reads texts, free of torch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from ernie_search.types import Task

EncoderKind = Literal["joint", "plain", "late"]
"""joint: trained for both readings. plain: any dense encoder; its token matrix is the states of its last
layer, of length one. late: a late-interaction model (ColBERT's kind); its single vector is the mean of its
token vectors, of length one."""


@dataclass(frozen=True, slots=True)
class Pieces:
    """A text's own tokens: without special tokens and prompt, and not cut.

    Attributes:
        ids: L vocabulary ids.
        spans: for each the characters ``(start, stop)`` of the text.
        words: for each the number of the word that it is a piece of; None where it is of none.
    """

    ids: list[int]
    spans: list[tuple[int, int]]
    words: list[int | None]


class Encoding(Protocol):
    """Both readings of N texts."""

    @property
    def dense(self) -> NDArray[np.float32]:
        """``(N, D)``; a dot product of a query's and a passage's row is the model's score."""

    @property
    def tokens(self) -> list[NDArray[np.float32]]:
        """N matrices ``(L_i, d)`` with rows of length one; empty when tokens were not asked for."""

    @property
    def token_ids(self) -> list[NDArray[np.int32]]:
        """N arrays ``(L_i,)``: the vocabulary ids behind the rows of ``tokens``."""

    @property
    def truncated(self) -> int:
        """How many of the texts were longer than the model reads."""


class Encoder(Protocol):
    """A model that reads a text once and gives its single vector and its token matrix."""

    @property
    def kind(self) -> EncoderKind:
        """What it was made for."""

    @property
    def name(self) -> str:
        """What messages call it."""

    @property
    def fingerprint(self) -> str:
        """Changes whenever the vectors would."""

    @property
    def token_dim(self) -> int:
        """``d``."""

    def pieces(self, text: str) -> Pieces:
        """The text's own tokens; may be called from any thread, while another one encodes, too."""

    def token_texts(self, ids: Sequence[int]) -> list[str]:
        """The vocabulary's words of token ids; likewise."""

    def prefers_bf16(self) -> bool:
        """Whether bf16 pays where the model runs: measured, so another process may say otherwise."""

    def encode_joint(
        self,
        texts: Sequence[str],
        task: Task,
        *,
        tokens: bool = True,
        token_budget: int | None = None,
        progress: Callable[[int], None] | None = None,
        bf16: bool | None = None,
    ) -> Encoding:
        """Encode ``texts``; ``progress`` is called with the number of texts done since its last call.

        ``bf16``: whether to compute in bf16; by default what ``prefers_bf16`` says.
        """
