"""A cross-encoder's attention from question to passage tokens, laid onto the student's own tokens."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from sentence_transformers import CrossEncoder
from torch import Tensor

from ernie_search.errors import ModelError
from ernie_search.model.alignment import ABSENT, Span, check_same_tokenizer, places, spans
from ernie_search.model.attention_maps import at_rest, attention_maps, check_attention
from ernie_search.model.encode import (
    CPU_TOKEN_BUDGET,
    GPU_TOKEN_BUDGET,
    encodings,
    micro_batches,
    padded,
)
from ernie_search.model.joint import JointEncoder
from ernie_search.types import Task

__all__ = ["AttentionTargets", "attention_targets", "check_attention_teacher", "check_same_tokenizer"]


@dataclass(frozen=True, slots=True)
class AttentionTargets:
    """What the cross-encoder shows, on the student's padded rows; none of it has a gradient.

    Attributes:
        map: ``(B, Lq, Lp)`` float32: attention of a question token to the passage tokens that both sides
            kept, mean over heads, each row summing to one; rows of tokens that are not kept are zero.
        row_weight: ``(B, Lq)`` float32: the share of the token's attention that goes to the passage at all,
            to the part that the student cuts off too; zero where not kept.
        query_kept: ``(B, Lq)`` bool: tokens of the question that both sides have.
        passage_kept: ``(B, Lp)`` bool: tokens of the passage that both sides have.
    """

    map: Tensor
    row_weight: Tensor
    query_kept: Tensor
    passage_kept: Tensor


@dataclass(frozen=True, slots=True)
class _Pairs:
    """B encoded pairs: the teacher's ids, and where it holds what the student holds.

    Attributes:
        read: the teacher's encoding.
        question, passage: ``(B, Lq)`` and ``(B, Lp)``: the teacher's place of the token at each position of
            the student's rows, or ABSENT.
        seen: for each pair the teacher's places of all of the passage's tokens.
    """

    read: Any
    question: Tensor
    passage: Tensor
    seen: list[list[int]]


def check_attention_teacher(teacher: CrossEncoder, student: JointEncoder, layer: int = -1) -> None:
    """Once, before training: teacher and student share a tokenizer, and the teacher's attention can be taken.

    Raises:
        ModelError: one of the two is not so; one line, with what to do.
    """
    check_same_tokenizer(teacher, student)
    check_attention(teacher, layer)


def evenness(targets: AttentionTargets) -> float:
    """How evenly the attention is spread over the passages' tokens: 1 for evenly, 0 for one token a row.

    The weighted mean over rows of their entropy, relative to the largest that so many tokens allow. An even
    teacher says nothing of where to match.
    """
    entropy = -torch.xlogy(targets.map, targets.map).sum(dim=-1)
    largest = targets.passage_kept.sum(dim=-1).clamp(min=2).log()
    weight = targets.row_weight
    return float((entropy / largest[:, None] * weight).sum() / weight.sum().clamp(min=1e-9))


def attention_targets(
    teacher: CrossEncoder,
    student: JointEncoder,
    pairs: Sequence[tuple[str, str]],
    query_length: int,
    passage_length: int,
    *,
    layer: int = -1,
    token_budget: int | None = None,
    bf16: bool | None = None,
) -> AttentionTargets:
    """Run the teacher over question-passage pairs and lay its attention onto the student's tokens.

    Args:
        teacher: the cross-encoder; in eval mode while this runs, then as it was. Give it to
            :func:`check_attention_teacher` once before.
        student: for its tokenizer, prompts and lengths.
        pairs: B questions, each with its passage, as raw texts without prompts.
        query_length: ``Lq``, the width of the student's padded rows of questions (special tokens and prompt
            included, padded on the right), as in ``EncoderOutput.tokens``.
        passage_length: ``Lp``, likewise of its passages.
        layer: of the teacher whose attention it is, from 0, or from -1 (the last) backwards.
        token_budget: padded tokens a micro-batch; by default what suits the teacher's device.
        bf16: whether the teacher computes in bf16; by default where that is faster on this machine.

    Returns:
        AttentionTargets on the student's device.

    Raises:
        ModelError: rows too narrow for these texts, or a teacher that can't be read.
    """
    if not pairs:
        query_kept, passage_kept = (
            torch.zeros(0, width, dtype=torch.bool, device=student.device)
            for width in (query_length, passage_length)
        )
        nothing = torch.zeros(0, query_length, passage_length, device=student.device)
        return AttentionTargets(nothing, nothing.sum(dim=2), query_kept, passage_kept)
    device = teacher.device
    aligned = _align(teacher, student, pairs, query_length, passage_length)
    maps = torch.zeros(len(pairs), query_length, passage_length, device=device)
    weights = torch.zeros(len(pairs), query_length, device=device)
    budget = token_budget or (CPU_TOKEN_BUDGET if device.type == "cpu" else GPU_TOKEN_BUDGET)
    with at_rest(teacher):
        for group in micro_batches([len(ids) for ids in aligned.read["input_ids"]], budget):
            features = _features(teacher, aligned.read, group)
            rows = aligned.question[group].clamp(min=0).to(device)
            columns = aligned.passage[group].clamp(min=0).to(device)
            full = attention_maps(teacher, features, rows, layer=layer, bf16=bf16)  # (b, Lq, L)
            seen = torch.zeros(len(group), full.shape[2])
            for row, place in enumerate(group):
                seen[row, aligned.seen[place]] = 1.0
            weights[group] = torch.einsum("bql,bl->bq", full, seen.to(device))
            maps[group] = full.gather(2, columns[:, None, :].expand(-1, query_length, -1))
    query_kept = (aligned.question != ABSENT).to(device)
    passage_kept = (aligned.passage != ABSENT).to(device)
    maps = maps * (query_kept[:, :, None] & passage_kept[:, None, :])
    total = maps.sum(dim=-1, keepdim=True)
    # Where the student's cut left nothing of what the teacher looks at, there is nothing to show.
    query_kept = query_kept & (total.squeeze(-1) > 0)
    maps = maps / torch.where(total > 0, total, 1.0)
    home = student.device
    return AttentionTargets(
        maps.to(home), (weights * query_kept).to(home), query_kept.to(home), passage_kept.to(home)
    )


def _align(
    teacher: CrossEncoder,
    student: JointEncoder,
    pairs: Sequence[tuple[str, str]],
    query_length: int,
    passage_length: int,
) -> _Pairs:
    questions, passages = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    prompt = teacher.prompts.get(teacher.default_prompt_name or "") or ""
    # As sentence-transformers encodes a pair: the prompt before the question, the longer text cut first.
    read = teacher.tokenizer(
        [prompt + question for question in questions],
        passages,
        truncation="longest_first",
        max_length=teacher.max_seq_length,
        return_attention_mask=False,
    )
    special = frozenset(student.special_ids.tolist())
    found = {
        "query": [
            spans(one, text, prompt=prompt, left_out=special)
            for one, text in zip(read.encodings, questions, strict=True)
        ],
        "passage": [
            spans(one, text, part=1, left_out=special)
            for one, text in zip(read.encodings, passages, strict=True)
        ],
    }

    def table(task: Task, texts: list[str], width: int) -> Tensor:
        own = encodings(student, texts, task).encodings or []
        longest = max((len(one.ids) for one in own), default=0)
        if longest > width:
            raise ModelError(
                f"{task}_length={width}, but one of these texts has {longest} tokens; give the width of the "
                "student's padded rows of these very texts"
            )
        rows: list[dict[Span, int]] = [
            spans(one, text, prompt=student.prompt_of(task), left_out=special)
            for one, text in zip(own, texts, strict=True)
        ]
        laid = [places(theirs, ours, width) for theirs, ours in zip(found[task], rows, strict=True)]
        return torch.tensor(laid, dtype=torch.long).reshape(len(texts), width)

    return _Pairs(
        read,
        table("query", questions, query_length),
        table("passage", passages, passage_length),
        [list(where.values()) for where in found["passage"]],
    )


def _features(teacher: CrossEncoder, read: Any, group: list[int]) -> dict[str, Tensor]:
    """One micro-batch of encoded pairs as the Transformer's arguments."""
    tokenizer, device = teacher.tokenizer, teacher.device
    features = padded(
        [read["input_ids"][place] for place in group], tokenizer.pad_token_id or 0, None, device
    )
    if "token_type_ids" in read:
        kinds = [read["token_type_ids"][place] for place in group]
        features["token_type_ids"] = padded(kinds, tokenizer.pad_token_type_id, None, device)["input_ids"]
    return features
