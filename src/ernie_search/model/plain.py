"""Any SentenceTransformer as an encoder: its single vector, and its raw token states for late interaction."""

from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling
from torch import Tensor
from torch.nn.functional import normalize

from ernie_search.encoder import EncoderKind
from ernie_search.errors import ModelError
from ernie_search.model.output import EncoderOutput, late_mask
from ernie_search.model.tokenizer import special_ids
from ernie_search.model.wrapped import WrappedEncoder
from ernie_search.runtime.plain import read_settings

SIMILARITIES = ("cosine", "dot")


class PlainEncoder(WrappedEncoder):
    """A dense encoder that nobody trained for late interaction.

    Its single vector is what sentence-transformers gives, prompts and similarity included. Its token matrix
    is made of the states of the Transformer's last layer, L2-normalised, without special tokens and prompt.
    """

    kind: ClassVar[EncoderKind] = "plain"

    def __init__(self, inner: SentenceTransformer, name: str, folder: Path | None = None) -> None:
        """Wrap a loaded model.

        Raises:
            ModelError: its similarity is neither cosine nor dot, or as :class:`WrappedEncoder`.
        """
        super().__init__(inner, name, folder)
        self.similarity = str(inner.similarity_fn_name)
        if self.similarity not in SIMILARITIES:
            raise ModelError(
                f"{name}: its similarity is {self.similarity}; choose a model with cosine or dot"
            )
        # Of a directory what is read without torch, too, so that both read alike.
        self.settings = (
            replace(self.settings, similarity="dot" if self.similarity == "dot" else "cosine")
            if folder is None
            else read_settings(folder)
        )
        self.special_ids = torch.tensor(special_ids(self.tokenizer), dtype=torch.long)

    @property
    def token_dim(self) -> int:
        """``d``, the width of the Transformer's states."""
        return int(self.inner[0].get_embedding_dimension())

    def get_embedding_dimension(self) -> int:
        """``D``, the width of a single vector."""
        return int(self.inner.get_embedding_dimension())

    def read(self, features: dict[str, Tensor]) -> EncoderOutput:
        """Both readings of one micro-batch."""
        found = self.inner(dict(features))
        single = found["sentence_embedding"].float()
        if self.inner.truncate_dim is not None:
            single = single[:, : self.inner.truncate_dim]
        if self.similarity == "cosine":
            single = normalize(single, dim=-1)
        if not self.attach_tokens:
            return EncoderOutput(single)
        tokens = normalize(found["token_embeddings"].float(), dim=-1)
        return EncoderOutput(single, tokens, late_mask(features, self.special_ids.to(tokens.device)))

    def sidecar(self) -> dict[str, Any]:
        """How texts are read and compared, for the sidecar of an ONNX graph.

        Raises:
            ModelError: its pooling leaves the prompt out, which no graph of two inputs can know.
        """
        prompts = {"query_prompt": self.prompt_of("query"), "passage_prompt": self.prompt_of("passage")}
        pools: list[Any] = [one for one in self.inner if isinstance(one, Pooling)]
        if any(prompts.values()) and not all(one.include_prompt for one in pools):
            raise ModelError(
                f"{self.name}: its pooling leaves the prompt out, so it cannot be exported to ONNX; "
                "search with torch"
            )
        return prompts | {
            "similarity": self.similarity,
            "query_length": self.length_of("query"),
            "passage_length": self.length_of("passage"),
            "special_ids": self.special_ids.tolist(),
        }
