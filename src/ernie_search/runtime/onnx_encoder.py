"""An encoder over ONNX Runtime: both readings of a text, without torch."""

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ernie_search._util.hardware import cores
from ernie_search.encoder import EncoderKind, Pieces
from ernie_search.errors import ModelError
from ernie_search.runtime.batches import (
    CPU_TOKEN_BUDGET,
    LONE_TOKENS,
    Encoded,
    Tokenized,
    late_mask,
    micro_batches,
    padded_ids,
)
from ernie_search.runtime.plain import PlainSettings, Pooled, normalised
from ernie_search.runtime.saved_files import one_line
from ernie_search.runtime.sidecar import Expansion
from ernie_search.runtime.tokenizer import Words, pieces_of, token_texts
from ernie_search.types import Task

STATES = ("last_hidden_state", "token_embeddings")
"""Names of the output with the token states, in graphs that others have exported."""
KNOWN_INPUTS = {"input_ids", "attention_mask", "token_type_ids", "position_ids"}
NO_OPTIMISATION = 0
ALL_OPTIMISATIONS = 99


class Sessions:
    """ONNX Runtime's sessions over one graph: on one thread for a question, on all cores for passages.

    Each is opened on first use. They are not pickled: another process opens its own.
    """

    def __init__(self, path: Path, *, optimised: bool = False) -> None:
        """Remember where the graph is.

        Args:
            path: the graph.
            optimised: it is already, so that opening need not do it again.
        """
        self.path, self.optimised = path, optimised
        self._open: dict[int, Any] = {}
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "optimised": self.optimised}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["path"], optimised=state["optimised"])  # type: ignore[misc]

    def of(self, tokens: int) -> Any:
        """The session for so many tokens."""
        threads = 1 if tokens <= LONE_TOKENS else threads_of_process()
        with self._lock:
            if threads not in self._open:
                self._open[threads] = self._opened(threads)
            return self._open[threads]

    def _opened(self, threads: int) -> Any:
        import onnxruntime

        onnxruntime.disable_telemetry_events()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3  # errors; warnings would stand between a user's results
        # Threads that spin between questions take the cores from the index and the BLAS.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        level = NO_OPTIMISATION if self.optimised else ALL_OPTIMISATIONS
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel(level)
        with one_line(
            f"{self.path}: cannot be opened by ONNX Runtime", "copy or export the model again, or delete it"
        ):
            return onnxruntime.InferenceSession(str(self.path), options, providers=["CPUExecutionProvider"])


def threads_of_process() -> int:
    """Threads for passages: ``OMP_NUM_THREADS``, as for other libraries, else all cores of this process."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdecimal() and int(given) > 0 else cores()


@dataclass(frozen=True, slots=True)
class Outputs:
    """From the outputs of a graph to both readings.

    Attributes:
        dense, tokens: names of the outputs; ``dense`` is None where it is made from the tokens.
        inputs: names of the inputs, which others' graphs have more or fewer of.
        pooled: makes the single vector from token states; None where the graph does.
    """

    dense: str | None = "dense"
    tokens: str = "tokens"
    inputs: tuple[str, ...] = ("input_ids", "attention_mask")
    pooled: Pooled | None = None


@dataclass(frozen=True, slots=True)
class Scoring:
    """What a late-interaction model scores beyond a text's own words; see ``Sidecar``."""

    skip_ids: Mapping[Task, Sequence[int]] = field(default_factory=dict)
    keep_prompt: bool = False
    expansion: Expansion | None = None


def outputs_of(session: Any, pooled: Pooled) -> Outputs | None:
    """How to read a graph that others have exported; None where it is none of a text encoder."""
    inputs = {one.name for one in session.get_inputs()}
    found = {one.name: one for one in session.get_outputs()}
    name = next((one for one in STATES if one in found), None)
    if name is None:
        name = next((one for one in found if len(found[one].shape) == 3), None)
    if "input_ids" not in inputs or not inputs <= KNOWN_INPUTS or name is None:
        return None
    return Outputs(None, name, tuple(sorted(inputs)), pooled)


@dataclass(eq=False)
class OnnxEncoder:
    """A model that ONNX Runtime runs; an :class:`~ernie_search.encoder.Encoder`. Any threads may share it.

    Attributes:
        kind, name, fingerprint, token_dim: see Encoder.
        dim: ``D``.
        settings: prompts, lengths, similarity.
        words: its tokenizer.
        sessions, outputs: the graph, and how it is read.
        precision: fp32 or int8.
        scoring: of a late-interaction model.
    """

    kind: EncoderKind
    name: str
    fingerprint: str
    dim: int
    token_dim: int
    settings: PlainSettings
    words: Words
    sessions: Sessions
    outputs: Outputs = field(default_factory=Outputs)
    precision: str = "fp32"
    scoring: Scoring = field(default_factory=Scoring)

    def pieces(self, text: str) -> Pieces:
        """The text's own tokens, uncut."""
        return pieces_of(self.words.tokenizer, text)

    def token_texts(self, ids: Sequence[int]) -> list[str]:
        """The vocabulary's words of token ids."""
        return token_texts(self.words.tokenizer, ids)

    def prefers_bf16(self) -> bool:
        """Never: the graph computes in the precision that it was written in."""
        return False

    def encode_joint(
        self,
        texts: Sequence[str],
        task: Task,
        *,
        tokens: bool = True,
        token_budget: int | None = None,
        progress: Callable[[int], None] | None = None,
        bf16: bool | None = None,
    ) -> Encoded:
        """Encode texts in length-sorted micro-batches; both readings from one pass.

        Args:
            texts: N texts, in any order of length.
            task: decides prompt and length limit.
            tokens: also hand out the token matrices.
            token_budget: padded tokens a micro-batch.
            progress: called with the number of texts done in each micro-batch.
            bf16: passed over; see :meth:`prefers_bf16`.

        Returns:
            Encoded, in the order of ``texts``.

        Raises:
            ModelError: the graph cannot be opened, or does not fit the tokenizer.
        """
        dense = np.zeros((len(texts), self.dim), np.float32)
        if not texts:
            return Encoded(dense)
        read = self._tokenized(texts, task)
        matrices: list[NDArray[np.float32]] = [np.zeros((0, 0), np.float32)] * len(texts) if tokens else []
        kept: list[NDArray[np.int32]] = [np.zeros(0, np.int32)] * len(texts) if tokens else []
        session = self.sessions.of(sum(len(ids) for ids in read.ids))
        for places in micro_batches([len(ids) for ids in read.ids], token_budget or CPU_TOKEN_BUDGET):
            ids, present, attention = self._batch([read.ids[place] for place in places], task)
            vectors, rows = self._run(session, ids, attention, tokens)
            mask = None
            if tokens or self.kind == "late":
                own = (*self.words.special_ids, *self.scoring.skip_ids.get(task, ()))
                prompt = None if self.scoring.keep_prompt else read.prompt_length
                mask = late_mask(ids, present, np.asarray(own, np.int64), prompt)
            dense[places] = self._single(vectors, rows, ids, attention, mask, read.prompt_length)
            if tokens and mask is not None:
                for row, place in enumerate(places):
                    # Of length one already where the graph says so; raw states are not.
                    kept_rows = rows[row][mask[row]]
                    raw = self.outputs.pooled is not None
                    matrices[place] = normalised(kept_rows) if raw else kept_rows
                    kept[place] = ids[row][mask[row]].astype(np.int32)
            if progress is not None:
                progress(len(places))
        return Encoded(dense, matrices, kept, read.truncated)

    def _batch(
        self, ids: Sequence[list[int]], task: Task
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Token ids ``(B, L)``, questions expanded; where there is one; and where one is attended to."""
        expansion = self.scoring.expansion
        if expansion is None or task != "query":
            found, present = padded_ids(ids, self.words.pad_id)
            return found, present, present
        fill = [[expansion.token_id] * (expansion.length - len(one)) for one in ids]
        full, present = padded_ids(
            [[*one, *more] for one, more in zip(ids, fill, strict=True)], self.words.pad_id
        )
        if expansion.attend:
            return full, present, present
        own = np.asarray([len(one) for one in ids])
        return full, present, (np.arange(full.shape[1]) < own[:, None]).astype(np.int64)

    def _tokenized(self, texts: Sequence[str], task: Task) -> Tokenized:
        own = self.settings
        query = task == "query"
        prompt = own.query_prompt if query else own.passage_prompt
        if own.lower:
            prompt, texts = prompt.lower(), [text.lower() for text in texts]
        return self.words.read(texts, prompt, own.query_length if query else own.passage_length)

    def _run(
        self, session: Any, ids: NDArray[np.int64], attention: NDArray[np.int64], tokens: bool
    ) -> tuple[NDArray[np.float32] | None, NDArray[np.float32]]:
        """The graph's single vectors, if it gives any, and its token rows (empty if not needed)."""
        feed: Mapping[str, NDArray[np.int64]] = {
            "input_ids": ids,
            "attention_mask": attention,
            "token_type_ids": np.zeros_like(ids),
            "position_ids": np.maximum(attention.cumsum(axis=1) - 1, 0),
        }
        out = self.outputs
        wanted = [one for one in (out.dense, out.tokens if tokens or out.dense is None else None) if one]
        with one_line(f"{self.name}: its graph cannot read these texts", "its tokenizer is of another model"):
            found = session.run(wanted, {name: feed[name] for name in out.inputs})
        vectors = found[0] if out.dense is not None else None
        rows = found[-1] if out.tokens in wanted else np.zeros((len(ids), 0, 0), np.float32)
        return vectors, np.asarray(rows, np.float32)

    def _single(
        self,
        vectors: NDArray[np.float32] | None,
        rows: NDArray[np.float32],
        ids: NDArray[np.int64],
        attention: NDArray[np.int64],
        mask: NDArray[np.bool_] | None,
        prompt_length: int | None,
    ) -> NDArray[np.float32]:
        """Single vectors ``(B, D)``; a dot product of two is the model's score."""
        if vectors is None:
            if self.outputs.pooled is not None:
                vectors = self.outputs.pooled(rows, attention, prompt_length, ids)
            elif mask is not None:
                return normalised((rows * mask[:, :, None]).sum(axis=1))
            else:
                raise ModelError(f"{self.name}: its graph gives no single vector; export the model again")
        return normalised(vectors) if self.settings.similarity == "cosine" else vectors
