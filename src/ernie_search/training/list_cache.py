"""Cached vectors of the passages that the steps show beyond the questions' groups.

A question's list may have 64 passages, and encoding them all with a gradient would cost as many times a step.
Encoded now and then, and without a gradient, they cost little more than the question's own encoding.

Steps are a function of the seed, so the passages that the next steps will show are known: only these are
encoded and held, from one refresh to the next. Every checkpoint is a point of refresh, so that a training
that resumes from it encodes the same passages with the same weights, and nothing of the cache is on disk.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import TrainerCallback

from ernie_search.errors import TrainingError
from ernie_search.losses.cached import CachedPassages
from ernie_search.model import JointEncoder
from ernie_search.training.batches import StepBatches
from ernie_search.training.world import World

CHUNK = 1024
"""Passages that are encoded at a time: their fp32 vectors are in memory beside the cached ones."""


class ListCache:
    """Vectors of the list passages of the steps up to the next refresh, fp16, in main memory.

    It holds ``2 (D + L d)`` bytes of a passage with L tokens (``2 D`` where no term reads token vectors), for
    at most ``refresh_steps * questions * list_passages`` passages, each once. Every rank has those of its own
    questions.

    Args:
        model: whose vectors are cached; it reads in eval mode, and is left as it was.
        batches: the steps.
        passages: text of every passage of the steps, by id.
        points: the steps before which the vectors are made anew; the first is 0.
        tokens: hold token vectors, too.
        bf16: whether to compute in bf16.
        world: the ranks that share a step.
    """

    def __init__(
        self,
        model: JointEncoder,
        batches: StepBatches,
        passages: Mapping[str, str],
        *,
        points: Sequence[int] = (0,),
        tokens: bool = True,
        bf16: bool | None = None,
        world: World | None = None,
    ) -> None:
        self.model, self.batches, self.passages = model, batches, passages
        self.points, self.tokens, self.bf16 = sorted(points), tokens, bf16
        self.world = world or World()
        self.steps = range(0)
        self._rows: dict[str, int] = {}
        self._dense: NDArray[np.float16] = np.zeros((0, 0), np.float16)
        self._tokens: list[NDArray[np.float16]] = []

    def __len__(self) -> int:
        """How many passages are cached."""
        return len(self._rows)

    @property
    def size(self) -> int:
        """Bytes of the cached vectors."""
        return self._dense.nbytes + sum(one.nbytes for one in self._tokens)

    def facts(self) -> dict[str, int]:
        """The step before which the cache was filled, its passages and their bytes; of this rank."""
        return {"step": self.steps.start, "passages": len(self), "bytes": self.size}

    def fill(self, step: int) -> None:
        """Encode the list passages of the steps from this one to the next refresh, and drop the others.

        No random number is drawn.
        """
        end = next((point for point in self.points if point > step), len(self.batches))
        self.steps = range(step, end)
        shown: dict[str, None] = {}
        for number in self.steps:
            listed = self.batches[number].listed
            for passages in listed[self.world.share(len(listed))]:
                shown.update(dict.fromkeys(passages))
        names = list(shown)
        self._tokens = []  # before the next ones are made
        self._rows = {name: row for row, name in enumerate(names)}
        self._dense = np.zeros((len(names), self.model.get_embedding_dimension() or 0), np.float16)
        for first in range(0, len(names), CHUNK):
            texts = [self.passages[name] for name in names[first : first + CHUNK]]
            encoded = self.model.encode_joint(texts, "passage", tokens=self.tokens, bf16=self.bf16)
            self._dense[first : first + CHUNK] = encoded.dense
            self._tokens += [matrix.astype(np.float16) for matrix in encoded.tokens]

    def read(self, step: int, listed: Sequence[Sequence[str]], width: int) -> CachedPassages:
        """The vectors of one step, on the model's device.

        Args:
            step: number of the step.
            listed: the list passages of this rank's questions; lists may be shorter than others.
            width: ``M``, the length of the longest list of the step, on whatever rank.

        Raises:
            TrainingError: the step is not one of those that the cache was filled for.
        """
        if step not in self.steps:
            raise TrainingError(
                f"step {step + 1} reads list passages that were cached for steps {self.steps.start + 1} to "
                f"{self.steps.stop}; fill the cache first"
            )
        names = list(dict.fromkeys(passage for passages in listed for passage in passages))
        places = {name: place for place, name in enumerate(names)}
        rows = torch.zeros(len(listed), width, dtype=torch.long)
        for row, passages in enumerate(listed):
            rows[row, : len(passages)] = torch.tensor([places[passage] for passage in passages])
        chosen = [self._rows[name] for name in names]
        # Another rank's questions may be the only ones with list passages; then all places here are masked.
        nothing = np.zeros((1, self._dense.shape[1]), np.float16)
        single = self._dense[chosen] if chosen else nothing
        tokens, lengths = None, [1] * len(single)
        if self.tokens:
            nothing = np.zeros((1, self.model.token_dim), np.float16)
            matrices = [self._tokens[row] for row in chosen] or [nothing]
            tokens, lengths = self._moved(np.concatenate(matrices)), [len(matrix) for matrix in matrices]
        ends = np.cumsum(lengths)
        starts, sizes = self._moved(ends - lengths), self._moved(np.array(lengths))
        return CachedPassages(rows.to(self.model.device), self._moved(single), tokens, starts, sizes)

    def _moved(self, values: NDArray[Any]) -> Tensor:
        return torch.from_numpy(values).to(self.model.device)


class Refresh(TrainerCallback):
    """Fills the cache anew before each step that is a point of refresh, and says so."""

    def __init__(self, cache: ListCache, told: Callable[[dict[str, Any]], None]) -> None:
        self.cache, self.told = cache, told

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Fill the cache if this step is one of the points; of the first weights it may be filled before."""
        step = state.global_step
        if not self.cache.steps or (step in self.cache.points and step != self.cache.steps.start):
            self.cache.fill(step)
            self.told(self.cache.facts())
