"""What encoders around other people's sentence-transformers models share."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

import torch
from sentence_transformers.base import BaseModel
from sentence_transformers.sentence_transformer.modules import Transformer
from torch import Tensor, nn

from ernie_search._util.files import fingerprint
from ernie_search.encoder import EncoderKind, Pieces
from ernie_search.errors import ModelError
from ernie_search.model.base import longest_text
from ernie_search.model.encode import bf16_pays, encode_texts, padded, turn_of
from ernie_search.model.output import EncoderOutput
from ernie_search.model.tokenizer import check_embedded, check_vocabulary, give_padding
from ernie_search.runtime.batches import Encoded
from ernie_search.runtime.plain import ACTING, LONGEST, PlainSettings, plain_fingerprint
from ernie_search.runtime.tokenizer import pieces_of, token_texts, uncut
from ernie_search.types import Task


class WrappedEncoder(ABC):
    """An :class:`~ernie_search.encoder.Encoder` around a model of sentence-transformers.

    Attributes:
        inner: the model itself.
        attach_tokens: whether a pass gives token vectors, too.
        settings: prompts, lengths and similarity.
    """

    kind: ClassVar[EncoderKind]

    def __init__(self, inner: BaseModel, name: str, folder: Path | None = None) -> None:
        """Wrap a loaded model.

        Args:
            inner: with a Transformer as its first module.
            name: what messages call it.
            folder: where its files are; without one its fingerprint is of the weights in memory.

        Raises:
            ModelError: it reads no texts by a Transformer, or its tokenizer does not fit it.
        """
        self.inner: Any = inner.eval()
        self.attach_tokens = True
        self._name, self._folder = name, folder
        self._uncut: Any = None
        self._fingerprint = ""
        self.settings = self._own_settings()
        if not isinstance(self.inner[0], Transformer):
            raise ModelError(
                f"{name}: starts with {type(self.inner[0]).__name__}, which gives no vectors of tokens; "
                "choose a model that is a Transformer"
            )
        tokenizer = self.tokenizer
        if tokenizer is None or getattr(tokenizer, "backend_tokenizer", None) is None:
            raise ModelError(f"{name}: its tokenizer has no fast version; choose a model that has one")
        check_vocabulary(tokenizer, name)
        check_embedded(tokenizer, self.backbone, name)
        give_padding(tokenizer, self.backbone.config, name)

    @property
    def name(self) -> str:
        """What messages call it."""
        return self._name

    @property
    def fingerprint(self) -> str:
        """16 hex digits; of its files where it has some, so that without torch the same is found."""
        if not self._fingerprint:
            if self._folder is None:
                self._fingerprint = self._of_weights()
            else:
                self._fingerprint = plain_fingerprint(self._folder, self.settings, kind=self.kind)
        return self._fingerprint

    def _of_weights(self) -> str:
        digest = hashlib.sha256()
        for key, value in sorted(self.inner.state_dict().items()):
            digest.update(key.encode())
            digest.update(value.detach().float().cpu().contiguous().numpy().tobytes())
        modules: list[Any] = [getattr(one, "get_config_dict", dict)() for one in self.inner]
        words = json.loads(self.tokenizer.backend_tokenizer.to_str())
        acting = [words.get(part) for part in ACTING]
        return fingerprint(self.kind, digest.hexdigest(), acting, modules, asdict(self.settings))

    @property
    def backbone(self) -> Any:
        """The Hugging Face model inside."""
        return self.inner[0].auto_model

    @property
    def tokenizer(self) -> Any:
        """Its tokenizer, as transformers has it."""
        return self.inner.tokenizer

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        found: torch.device = self.inner.device
        return found

    @property
    def training(self) -> bool:
        """Whether it is in training mode."""
        return bool(self.inner.training)

    def to(self, device: str | torch.device) -> "WrappedEncoder":
        """Move it to a device, in place."""
        self.inner.to(device)
        return self

    def train(self, mode: bool = True) -> Any:
        """Switch between training and eval mode."""
        return self.inner.train(mode)

    def modules(self) -> Iterator[nn.Module]:
        """All modules inside."""
        yield from self.inner.modules()

    def parameters(self) -> Iterator[nn.Parameter]:
        """All weights."""
        yield from self.inner.parameters()

    def buffers(self) -> Iterator[Tensor]:
        """All constants."""
        yield from self.inner.buffers()

    def length_of(self, task: Task) -> int:
        """Tokens read of a text of this task, special tokens included."""
        return self.settings.query_length if task == "query" else self.settings.passage_length

    def prompt_of(self, task: Task) -> str:
        """The prompt put before texts of this task: the model's own for it, else its default one."""
        return self.settings.query_prompt if task == "query" else self.settings.passage_prompt

    def _own_settings(self) -> PlainSettings:
        """Prompts and lengths as the loaded model has them, lengths at most :data:`LONGEST`."""
        first, prompts = self.inner[0], self.inner.prompts

        def prompt(*names: str) -> str:
            name = next((one for one in names if one in prompts), self.inner.default_prompt_name)
            return (prompts.get(name) or "") if name is not None else ""

        def length(own: int | None) -> int:
            limits = (own, self.inner.max_seq_length, longest_text(self.backbone), LONGEST)
            return min(int(one) for one in limits if one)

        return PlainSettings(
            query_prompt=prompt("query"),
            passage_prompt=prompt("document", "passage", "corpus"),
            query_length=length(first.query_length),
            passage_length=length(first.document_length),
        )

    def batch_of(
        self, ids: Sequence[Sequence[int]], task: Task, prompt_length: int | None
    ) -> dict[str, Tensor]:
        """One micro-batch, padded; see :func:`ernie_search.model.encode.padded`."""
        return padded(ids, self.tokenizer.pad_token_id or 0, prompt_length, self.device)

    @abstractmethod
    def get_embedding_dimension(self) -> int:
        """``D``, the width of a single vector."""

    @abstractmethod
    def read(self, features: dict[str, Tensor]) -> EncoderOutput:
        """Both readings of one micro-batch."""

    @abstractmethod
    def sidecar(self) -> dict[str, Any]:
        """How texts are read and compared, for the sidecar of an ONNX graph."""

    def pieces(self, text: str) -> Pieces:
        """The text's own tokens, uncut."""
        return pieces_of(self._uncut_tokenizer(), text)

    def token_texts(self, ids: Sequence[int]) -> list[str]:
        """The vocabulary's words of token ids."""
        return token_texts(self._uncut_tokenizer(), ids)

    def _uncut_tokenizer(self) -> Any:
        """A copy of the tokenizer, since every call of the tokenizer itself changes its truncation."""
        with turn_of(self):
            if self._uncut is None:
                self._uncut = uncut(self.tokenizer.backend_tokenizer)
            return self._uncut

    def prefers_bf16(self) -> bool:
        """Whether bf16 is faster on the model's device."""
        return bf16_pays(self.device)

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
        """Both readings of texts; see :func:`ernie_search.model.encode.encode_texts`."""
        return encode_texts(
            self, texts, task, tokens=tokens, token_budget=token_budget, progress=progress, bf16=bf16
        )
