"""Cross-encoders, which read question and passage together: create, load, save and score with them.

They are sentence-transformers' own ``CrossEncoder`` with one label. Scores are its raw logits, never
sigmoids: a softmax over a list needs them unsquashed.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import CrossEncoder
from sentence_transformers.base.modules import Transformer
from torch import Tensor, nn

from ernie_search._util.files import fingerprint
from ernie_search.errors import ModelError
from ernie_search.model.base import is_causal, keep_layers, longest_text
from ernie_search.model.encode import autocast, padded
from ernie_search.model.tokenizer import check_embedded, check_vocabulary, forget_last_call
from ernie_search.runtime.batches import CPU_TOKEN_BUDGET, GPU_TOKEN_BUDGET, micro_batches
from ernie_search.runtime.places import resolve_base
from ernie_search.runtime.saved_files import check_saved_files, listing_saved_files, one_line

TASK = "sequence-classification"
CHUNK = 4096
"""Pairs that are tokenized and sorted by length at a time; bounds the memory of a long list."""

Pair = tuple[str, str]
"""Question and passage, as texts."""


def new_cross_encoder(
    base: str,
    *,
    layers: int | None = None,
    max_length: int | None = None,
    seed: int = 0,
    device: str | None = None,
) -> CrossEncoder:
    """Create a cross-encoder from a base; its scoring head is fresh unless the base is a cross-encoder.

    Args:
        base: any Hugging Face encoder or sentence-transformers model, or the bundled one's name.
        layers: keep only the first so many layers.
        max_length: tokens kept of a pair, special tokens included; by default all that the base can read.
        seed: of the fresh head; nothing else of torch's random numbers is touched.
        device: where to; by default a GPU where there is one.

    Raises:
        ModelError: the base cannot be had, or reads fewer tokens than ``max_length``.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        # Adam's small steps vanish in the rounding of 16-bit weights; autocast is for the passes.
        options = {"num_labels": 1, "model_kwargs": {"dtype": torch.float32}}
        made = _open(resolve_base(base), base, max_length=max_length, device=device, **options)
    with one_line(f"{base}: cannot be read with"):
        if is_causal(_transformer(made, base).base_model):
            raise ModelError(
                f"{base}: a decoder, whose tokens see nothing of what follows; choose an encoder as the base "
                "of a cross-encoder"
            )
    if layers is not None:
        keep_layers(_transformer(made, base), layers)
    return made


def load_cross_encoder(
    name_or_path: str | Path, *, max_length: int | None = None, device: str | None = None
) -> CrossEncoder:
    """Load a cross-encoder with one label: ours, or any trained one from the hub.

    Args:
        name_or_path: a directory, or a name on the hub.
        max_length: tokens kept of a pair; by default the model's own limit.
        device: where to; by default a GPU where there is one.

    Raises:
        ModelError: no such model, a damaged one, one without a trained head, one with several labels, or one
            that reads less than ``max_length``.
    """
    name = str(name_or_path)
    found = _open(name, name, max_length=max_length, device=device)
    if found.num_labels != 1:
        raise ModelError(
            f"{name}: gives {found.num_labels} scores for a pair; choose a cross-encoder with one label"
        )
    if getattr(found[0], "transformer_task", "") == TASK:
        stored = _transformer(found, name).config.architectures
        if stored and not stored[0].endswith("ForSequenceClassification"):
            raise ModelError(
                f"{name}: no cross-encoder ({stored[0]} has no head that gives scores, and a fresh one gives "
                "random ones); train it as a teacher first, or choose another"
            )
    return found


def _open(
    path: str, name: str, *, max_length: int | None, device: str | None, **options: Any
) -> CrossEncoder:
    local = Path(path).is_dir()
    check_saved_files(Path(path))
    with one_line(f"{name}: cannot be loaded as a cross-encoder"):
        model: CrossEncoder = CrossEncoder(
            path, device=device, activation_fn=nn.Identity(), local_files_only=local, **options
        )
        check_vocabulary(model.tokenizer, path)
        check_embedded(model.tokenizer, _transformer(model, name), name)
        if model.tokenizer.pad_token_id is None:
            raise ModelError(
                f"{name}: its tokenizer has no padding token, so it can't read two pairs together; "
                "set its pad_token"
            )
        # What doesn't fit together in another's model often shows only there.
        found = model.predict([("tea", "rice")], activation_fn=nn.Identity(), show_progress_bar=False)
        if not np.isfinite(found).all():
            raise ModelError(f"{name}: its scores are not finite; choose another model")
    limit = longest_text(_transformer(model, name))
    if max_length is not None and limit is not None and max_length > limit:
        raise ModelError(f"max_length={max_length} is more than {name} can read; choose at most {limit}")
    wanted = max_length or min(model.max_seq_length or limit or 512, limit or 512)
    model.max_seq_length = wanted
    return model


def save_cross_encoder(model: CrossEncoder, folder: Path) -> None:
    """Save a plain CrossEncoder directory, with a manifest of its files that reveals damage."""
    forget_last_call(model.tokenizer)
    with listing_saved_files(folder):
        model.save(str(folder))


def _transformer(model: CrossEncoder, name: str) -> Any:
    """The Hugging Face model inside."""
    if model.model is None:
        raise ModelError(f"{name}: has no Transformer inside; choose a cross-encoder that is one")
    return model.model


def cross_encoder_fingerprint(model: CrossEncoder) -> str:
    """16 hex digits over weights, tokenizer and length: two equal ones score alike."""
    digest = hashlib.sha256()
    for key, value in sorted(model.state_dict().items()):
        digest.update(key.encode())
        digest.update(value.detach().float().cpu().contiguous().numpy().tobytes())
    vocabulary = hashlib.sha256(repr(sorted(model.tokenizer.get_vocab().items())).encode()).hexdigest()
    backend = getattr(model.tokenizer, "backend_tokenizer", None)
    # Of the tokenizer's state only what acts on a text: truncation and padding change with every call.
    state = json.loads(backend.to_str()) if backend is not None else {}
    reading = [state.get(part) for part in ("normalizer", "pre_tokenizer", "post_processor")]
    prompt = model.prompts.get(model.default_prompt_name) if model.default_prompt_name else None
    return fingerprint(digest.hexdigest(), vocabulary, reading, model.max_seq_length, prompt)


@dataclass(slots=True)
class PairBatches:
    """Pairs as length-sorted micro-batches.

    Attributes:
        features: a micro-batch each, as the Transformer takes them.
        places: for each micro-batch the places of its rows among the pairs.
        truncated: how many pairs were longer than the model reads.
    """

    features: list[dict[str, Tensor]]
    places: list[list[int]]
    truncated: int


def reads_plain_pairs(model: CrossEncoder) -> bool:
    """Whether the model reads a pair as one text after the other, so that we may tokenize it ourselves.

    Not so with prompts, with chat templates, or with modules after the Transformer.
    """
    first: Any = model[0]
    return (
        len(model) == 1
        and isinstance(first, Transformer)
        and getattr(first, "transformer_task", "") == TASK
        and "message" not in getattr(first, "modality_config", {})
        and not model.default_prompt_name
        and bool(getattr(model.tokenizer, "is_fast", False))
    )


def pair_batches(model: CrossEncoder, pairs: Sequence[Pair], token_budget: int) -> PairBatches:
    """Tokenize pairs, the longer text cut first as sentence-transformers does, and batch them by length.

    Args:
        model: of which :func:`reads_plain_pairs` is true.
        pairs: N question and passage texts.
        token_budget: padded tokens a micro-batch.
    """
    tokenizer: Any = model.tokenizer
    encoding = tokenizer(
        [question for question, _ in pairs],
        [passage for _, passage in pairs],
        truncation="longest_first",
        max_length=model.max_seq_length,
        padding=False,
        return_attention_mask=False,
    )
    ids, types = encoding["input_ids"], encoding.get("token_type_ids")
    pad = tokenizer.pad_token_id or 0
    places = list(micro_batches([len(one) for one in ids], token_budget))
    features = []
    for members in places:
        batch = padded([ids[place] for place in members], pad, None)
        if types is not None:
            segments = padded([types[place] for place in members], tokenizer.pad_token_type_id, None)
            batch["token_type_ids"] = segments["input_ids"]
        features.append(batch)
    return PairBatches(features, places, sum(1 for one in encoding.encodings if one.overflowing))


def score_pairs(
    model: CrossEncoder,
    pairs: Sequence[Pair],
    *,
    token_budget: int | None = None,
    bf16: bool | None = None,
    progress: Callable[[int], None] | None = None,
) -> NDArray[np.float32]:
    """Raw logits of question-passage pairs, in length-sorted micro-batches.

    Args:
        model: a cross-encoder with one label; put into eval mode, and left as it was.
        pairs: N question and passage texts, in any order of length.
        token_budget: padded tokens a micro-batch; by default what suits the device.
        bf16: whether to compute in bf16; by default where that is faster on this machine.
        progress: called with the number of pairs done since its last call.

    Returns:
        ``(N,)`` float32, in the order of ``pairs``; higher is more relevant.

    Raises:
        ModelError: a score that is not finite.
    """
    scores = np.zeros(len(pairs), dtype=np.float32)
    budget = token_budget or (CPU_TOKEN_BUDGET if model.device.type == "cpu" else GPU_TOKEN_BUDGET)
    was_training, plain = model.training, reads_plain_pairs(model)
    model.eval()
    try:
        with torch.no_grad(), autocast(model.device, bf16):
            for start in range(0, len(pairs), CHUNK):
                chunk = pairs[start : start + CHUNK]
                target = scores[start : start + CHUNK]
                if plain:
                    _score_plain(model, chunk, budget, target, progress)
                else:  # whatever else it does with a pair, sentence-transformers knows
                    target[:] = model.predict(
                        list(chunk), activation_fn=nn.Identity(), show_progress_bar=False
                    )
                    if progress is not None:
                        progress(len(chunk))
    finally:
        model.train(was_training)
    if not np.isfinite(scores).all():
        wrong = int(np.flatnonzero(~np.isfinite(scores))[0])
        raise ModelError(
            f"the cross-encoder's score of {pairs[wrong][0]!r} with its passage is {scores[wrong]}; "
            "train it again or choose another"
        )
    return scores


def _score_plain(
    model: CrossEncoder,
    pairs: Sequence[Pair],
    budget: int,
    target: NDArray[np.float32],
    progress: Callable[[int], None] | None,
) -> None:
    batches = pair_batches(model, pairs, budget)
    for features, places in zip(batches.features, batches.places, strict=True):
        moved = {name: value.to(model.device) for name, value in features.items()}
        target[places] = model(moved)["scores"].float().reshape(-1).cpu().numpy()
        if progress is not None:
            progress(len(places))
