"""Export of late interaction as a MultiVectorEncoder of sentence-transformers, without this package."""

import copy
import json
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import MultiVectorEncoder
from sentence_transformers.base.modules import Dense, Normalize
from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
from torch import Tensor, nn

from ernie_search._util.files import atomic_directory
from ernie_search.errors import ModelError
from ernie_search.model.encode import padded, tokenize
from ernie_search.model.joint import HEAD_NAME, JointEncoder
from ernie_search.model.tokenizer import forget_last_call
from ernie_search.types import Task

ST_CONFIG = "config_sentence_transformers.json"
TOLERANCE = 1e-4
"""Largest accepted difference of late scores; the Dense module of a 16-bit model multiplies in 16 bits."""
TOLERANCE_16_BIT = 2e-2
QUERIES = ("Where does tea grow?", "which river is the longest, and how long is it " * 8, "¿Qué es 水 [SEP]?")
PASSAGES = ("Tea grows in Assam.", "The Nile is 6,650 km long; the Amazon 6,400. " * 40, "水は H2O です。")
"""Texts that the check scores: short ones, ones longer than most models read, and other scripts."""


def export_multi_vector(model: JointEncoder, output: Path) -> Path:
    """Write the late interaction of ``model`` as a sentence-transformers MultiVectorEncoder directory.

    Its modules are Transformer > Dense (the token head) > MultiVectorMask > Normalize, its similarity is
    "meanmaxsim", its lengths are the model's. What was written is loaded and must score as ``model`` does;
    until then nothing stands under ``output``. A text without any word gives no vectors there, where the
    joint model falls back to its special tokens.

    Args:
        model: any joint encoder without prompts.
        output: the folder to write; an earlier export there is replaced, anything else is left alone.

    Returns:
        ``output``.

    Raises:
        ModelError: the model has prompts (MultiVectorMask can't leave their tokens out of the scores),
            something else stands at ``output``, or what was written scores differently.
        StorageError: the disk is full or not writable.
    """
    for name in ("query_prompt", "passage_prompt"):
        prompt = getattr(model.score_settings, name)
        if prompt:
            raise ModelError(
                f"{model.name}: {name} is {prompt!r}; a MultiVectorEncoder would score the prompt's own "
                "tokens too, so only models without prompts can be exported"
            )
    if not _may_replace(output):
        raise ModelError(f"{output}: exists and is no exported model; choose another folder")
    with atomic_directory(output) as folder:
        forget_last_call(model.tokenizer)
        _multi_vector(model).save(str(folder))
        _check(model, folder, output)
    return output


def _may_replace(output: Path) -> bool:
    """Whether ``output`` may be overwritten: only if empty, or an earlier export."""
    if not output.exists():
        return True
    if not output.is_dir():
        return False
    try:
        kind = json.loads((output / ST_CONFIG).read_text(encoding="utf-8")).get("model_type")
    except (OSError, ValueError, AttributeError):
        return not any(output.iterdir())
    return bool(kind == MultiVectorEncoder.model_type)


def _multi_vector(model: JointEncoder) -> MultiVectorEncoder:
    """The same weights as a chain of sentence-transformers' own modules."""
    transformer: Any = copy.deepcopy(model[0])
    delattr(transformer, HEAD_NAME)
    weight = model.token_head.linear.weight.detach().to(transformer.model.dtype)
    token_dim, hidden = weight.shape
    head = Dense(
        hidden,
        token_dim,
        bias=False,
        activation_function=nn.Identity(),
        init_weight=weight.clone(),
        module_input_name="token_embeddings",
    )
    mask = MultiVectorMask(
        model.tokenizer.convert_ids_to_tokens(model.special_ids.tolist()),
        skiplist_tasks=["query", "document"],
    )
    return MultiVectorEncoder(
        modules=[transformer, head, mask, Normalize(module_input_name="token_embeddings")],
        device=str(model.device),
        similarity_fn_name="meanmaxsim",
        local_files_only=True,
    )


def _check(model: JointEncoder, folder: Path, output: Path) -> None:
    """Load ``folder`` with sentence-transformers, and compare its scores with the joint model's."""
    written = MultiVectorEncoder(str(folder), device=str(model.device), local_files_only=True)
    found = written.similarity(
        written.encode_query(list(QUERIES), convert_to_numpy=True, show_progress_bar=False),
        written.encode_document(list(PASSAGES), convert_to_numpy=True, show_progress_bar=False),
    )
    queries, passages = _token_matrices(model, QUERIES, "query"), _token_matrices(model, PASSAGES, "passage")
    scores = [[(query @ passage.T).amax(1).mean() for passage in passages] for query in queries]
    expected = torch.tensor(scores, dtype=torch.float32)
    full = all(parameter.dtype == torch.float32 for parameter in model.parameters())
    difference = float((found.float().cpu() - expected).abs().max())
    if not difference <= (TOLERANCE if full else TOLERANCE_16_BIT):  # so that NaN fails too
        raise ModelError(
            f"{output}: not written, for the exported model scores differently from {model.name} (by "
            f"{difference:.2g}); a base whose modules change the token vectors can't be exported"
        )


def _token_matrices(model: JointEncoder, texts: tuple[str, ...], task: Task) -> list[Tensor]:
    """The joint model's token vectors without autocast: ``(L_i, d)`` for each text."""
    tokenized = tokenize(model, texts, task)
    features = padded(tokenized.ids, model.tokenizer.pad_token_id or 0, tokenized.prompt_length, model.device)
    was_training, had_tokens = model.training, model.attach_tokens
    model.eval()
    model.attach_tokens = True
    try:
        with torch.inference_mode():
            rows, mask = model.read(features).late()
    finally:
        model.train(was_training)
        model.attach_tokens = had_tokens
    return [row[kept].float().cpu() for row, kept in zip(rows, mask, strict=True)]
