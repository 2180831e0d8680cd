"""Late-interaction models of others as encoders: MultiVectorEncoder, PyLate's and Stanford's ColBERT."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from sentence_transformers import MultiVectorEncoder
from sentence_transformers.base.modules import Normalize
from sentence_transformers.multi_vector_encoder.modules import BaseTokenPooling, MultiVectorMask
from torch import Tensor
from torch.nn.functional import normalize

from ernie_search.encoder import EncoderKind
from ernie_search.errors import ModelError
from ernie_search.model.output import EncoderOutput
from ernie_search.model.wrapped import WrappedEncoder
from ernie_search.runtime.sidecar import Expansion
from ernie_search.types import Task

LOGGER = logging.getLogger(__name__)


class LateEncoder(WrappedEncoder):
    """A model that was trained for late interaction alone.

    Its token vectors are those of its own ``encode_query`` and ``encode_document``: prompts, marker tokens
    and query expansion ([MASK] in the place of padding) take part as the checkpoint says, and what it skips
    (punctuation) is left out. Its single vector is their mean, L2-normalised.
    """

    kind: ClassVar[EncoderKind] = "late"

    def __init__(self, inner: MultiVectorEncoder, name: str, folder: Path | None = None) -> None:
        """Wrap a loaded model.

        Raises:
            ModelError: it keeps the tokens of images only, or as :class:`WrappedEncoder`.
        """
        super().__init__(inner, name, folder)
        self.skipped: dict[Task, list[int]] = {"query": [], "passage": []}
        self._modules: list[Any] = []
        for module in inner:
            one: Any = module
            if isinstance(one, MultiVectorMask):
                self._take_mask(one)
            elif isinstance(one, BaseTokenPooling):
                LOGGER.warning("%s: its passages' token vectors are kept, not pooled", name)
            else:
                self._modules.append(one)
        self.expansion = self._expansion()
        if self.expansion is not None:
            own, wanted = self.settings.query_length, self.expansion.length
            length = wanted if self.expansion.fixed else max(own, wanted)
            self.settings = replace(self.settings, query_length=length)

    def _take_mask(self, mask: Any) -> None:
        if mask.keep_only_token_ids:
            raise ModelError(f"{self.name}: scores the tokens of images; choose a model for texts")
        ids = [] if mask._skiplist_ids is None else mask._skiplist_ids.tolist()
        for task, theirs in (("query", "query"), ("passage", "document")):
            if theirs in mask.skiplist_tasks:
                self.skipped[task] = sorted({*self.skipped[task], *ids})  # type: ignore[index]

    def _expansion(self) -> Expansion | None:
        """The checkpoint's query expansion: which token, up to which length, attended to or not."""
        found = self.inner[0].query_expansion
        if found is None:
            return None
        tokenizer = self.tokenizer
        token = found["token"]
        number = tokenizer.mask_token_id if token is None else tokenizer.convert_tokens_to_ids(token)
        if number is None:
            number = tokenizer.eos_token_id
        fixed = found["strategy"] == "fixed"
        return Expansion(token_id=number, length=found["length"], attend=found["attend"], fixed=fixed)

    @property
    def token_dim(self) -> int:
        """``d``, the width of a token vector."""
        return int(self.inner.get_embedding_dimension())

    def get_embedding_dimension(self) -> int:
        """``D``, which is ``d``: a mean of token vectors."""
        return self.token_dim

    def batch_of(
        self, ids: Sequence[Sequence[int]], task: Task, prompt_length: int | None
    ) -> dict[str, Tensor]:
        """One micro-batch, questions expanded; ``scored`` says which tokens take part."""
        own = torch.tensor([len(one) for one in ids])
        if task == "query" and self.expansion is not None:
            floor, token = self.expansion.length, self.expansion.token_id
            ids = [[*one, *[token] * (floor - len(one))] for one in ids]
        features = super().batch_of(ids, task, None)
        read = features["input_ids"]
        places = torch.arange(read.shape[1], device=self.device)
        full = torch.tensor([len(one) for one in ids], device=self.device)
        present = places < full[:, None]
        skipped = torch.tensor(self.skipped[task], dtype=torch.long, device=self.device)
        scored = present & ~torch.isin(read, skipped)
        # A text of skipped tokens alone keeps them: without a token it would have no score at all.
        features["scored"] = torch.where(scored.any(dim=1, keepdim=True), scored, present)
        attends = self.expansion is None or self.expansion.attend
        attended = present if attends else places < own.to(self.device)[:, None]
        features["attention_mask"] = attended.long()
        return features

    def read(self, features: dict[str, Tensor]) -> EncoderOutput:
        """Both readings of one micro-batch, as :meth:`batch_of` made it."""
        features = dict(features)
        scored = features.pop("scored", None)
        for module in self._modules:
            features = module(features)
        tokens = features["token_embeddings"].float()
        if not any(isinstance(one, Normalize) for one in self._modules):
            tokens = normalize(tokens, dim=-1)
        if scored is None:
            scored = features["attention_mask"].bool()
        mean = (tokens * scored.unsqueeze(-1)).sum(dim=1)
        return (
            EncoderOutput(normalize(mean, dim=-1), tokens, scored)
            if self.attach_tokens
            else (EncoderOutput(normalize(mean, dim=-1)))
        )

    def sidecar(self) -> dict[str, Any]:
        """How texts are read and compared, for the sidecar of an ONNX graph.

        Beside what all graphs have: ``skip_ids`` by task in the place of special ids, ``keep_prompt`` (the
        prompt's tokens are scored), and ``expansion`` (``token_id``, ``length``, ``attend``, ``fixed``).
        """
        return {
            "similarity": "cosine",
            "query_prompt": self.prompt_of("query"),
            "passage_prompt": self.prompt_of("passage"),
            "query_length": self.length_of("query"),
            "passage_length": self.length_of("passage"),
            "special_ids": [],
            "skip_ids": self.skipped,
            "keep_prompt": True,
            "expansion": self.expansion,
        }
