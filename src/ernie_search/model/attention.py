"""A cross-encoder's attention from question to passage tokens, laid onto the student's own tokens."""

import itertools
import json
import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from sentence_transformers import CrossEncoder
from torch import Tensor, nn

from ernie_search.errors import ModelError
from ernie_search.model.encode import autocast, padded, tokenizer_output
from ernie_search.model.joint import JointEncoder
from ernie_search.runtime.batches import CPU_TOKEN_BUDGET, GPU_TOKEN_BUDGET, micro_batches
from ernie_search.runtime.saved_files import first_line
from ernie_search.types import Task

ACTS_ON_TEXT = {
    "normalizer": "normalise text differently",
    "pre_tokenizer": "cut text into words differently",
    "model": "cut words into pieces differently",
}
"""The parts of a fast tokenizer's state that decide which pieces a text becomes, in their order of work."""

ABSENT = -1
Span = tuple[int, int, int]
"""First character, last character + 1, and a count of the tokens before it with the same characters."""
PROJECTIONS = (("query", "key"), ("q_lin", "k_lin"))
"""Names of the query and key projections: in BERT, ERNIE, RoBERTa, ELECTRA, MiniLM; and in DistilBERT."""
TOLERANCE = 1e-3
"""Largest accepted difference between our attention map and the model's own, for fp32 weights."""
TOLERANCE_16_BIT = 2e-2
CHECK_PAIR = ("where does it grow?", "it grows in the hills, where there is rain in every month of the year.")
ADVICE = "choose a teacher of BERT's kind, or set the weight of attention to 0"


@dataclass(frozen=True, slots=True)
class AttentionTargets:
    """A cross-encoder's attention at the positions of the student's padded rows, without gradients.

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


def check_attention_teacher(teacher: CrossEncoder, student: JointEncoder, layer: int = -1) -> None:
    """Refuse a teacher whose attention cannot be distilled into this student; called once, before training.

    Raises:
        ModelError: they do not share a tokenizer, or the teacher's attention cannot be computed.
    """
    compare_tokenizers(teacher.tokenizer, student.tokenizer)
    check_attention(teacher, layer)


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


def evenness(targets: AttentionTargets) -> float:
    """Relative entropy of the attention over passage tokens: 1 if uniform, 0 if on one token per row.

    It is the weighted mean over rows, each relative to the largest entropy that so many tokens allow. A
    uniform teacher says nothing about where to match.
    """
    entropy = -torch.xlogy(targets.map, targets.map).sum(dim=-1)
    largest = targets.passage_kept.sum(dim=-1).clamp(min=2).log()
    weight = targets.row_weight
    return float((entropy / largest[:, None] * weight).sum() / weight.sum().clamp(min=1e-9))


@dataclass(frozen=True, slots=True)
class _Pairs:
    """B tokenized pairs: the teacher's ids, and the teacher's position of each of the student's tokens.

    Attributes:
        read: the output of the teacher's tokenizer.
        question, passage: ``(B, Lq)`` and ``(B, Lp)``: the teacher's place of the token at each position of
            the student's rows, or ABSENT.
        seen: for each pair the teacher's places of all of the passage's tokens.
    """

    read: Any
    question: Tensor
    passage: Tensor
    seen: list[list[int]]


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
        own = tokenizer_output(student, texts, task).encodings or []
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


def compare_tokenizers(teacher: Any, student: Any) -> None:
    """Refuse a teacher that does not tokenize text as the student does.

    Special tokens and templates may differ: they take no part in what is compared.

    Args:
        teacher, student: the tokenizers, as transformers has them.

    Raises:
        ModelError: no fast tokenizer, another vocabulary, or the same one applied differently; says which.
    """
    ours, theirs = _state(student, "the student"), _state(teacher, "the teacher")
    vocabulary, other = student.get_vocab(), teacher.get_vocab()
    if vocabulary != other:
        example = min(set(vocabulary.items()) ^ set(other.items()), key=lambda item: (item[1], item[0]))
        _refuse(
            f"their vocabularies differ ({len(other)} and {len(vocabulary)} tokens; "
            f"first at number {example[1]}, {example[0]!r})"
        )
    for part, what in ACTS_ON_TEXT.items():
        if ours[part] != theirs[part]:
            _refuse(f"they {what} (the tokenizer's {part})")


def _refuse(why: str) -> None:
    raise ModelError(
        f"teacher and student must share a tokenizer for attention distillation, but {why}; "
        "train the teacher from the student's base, or set the weight of attention to 0"
    )


def _state(tokenizer: Any, who: str) -> dict[str, Any]:
    backend: Any = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        _refuse(f"{who}'s has no fast version")
    state: dict[str, Any] = json.loads(backend.to_str())
    return state


def spans(
    encoding: Any, text: str, *, prompt: str = "", part: int = 0, left_out: Collection[int] = ()
) -> dict[Span, int]:
    """Positions of a text's tokens in a tokenized input, by the characters that they stand for.

    Args:
        encoding: of a fast tokenizer, for one input.
        text: without its prompt; spans count from its first character.
        prompt: what stood before ``text``; a token that begins in it is left out.
        part: which text of a pair.
        left_out: ids that take no part, such as a [SEP] that somebody wrote into the text.

    Returns:
        Place of every token of the text. Blanks at its ends don't count, as tokenizers do not agree whether
        the blank before a word belongs to it. Tokens that stand for the same characters (the bytes of a
        letter) are told apart by their order.
    """
    whole, skipped = prompt + text, len(prompt)
    found: dict[Span, int] = {}
    seen: Counter[tuple[int, int]] = Counter()
    rows = zip(encoding.offsets, encoding.sequence_ids, encoding.ids, strict=True)
    for place, ((start, stop), sequence, token) in enumerate(rows):
        if sequence != part or token in left_out:
            continue
        while start < stop and whole[start].isspace():
            start += 1
        while start < stop and whole[stop - 1].isspace():
            stop -= 1
        if start == stop or start < skipped:
            continue
        where = (start - skipped, stop - skipped)
        found[(*where, seen[where])] = place
        seen[where] += 1
    return found


def places(teacher: dict[Span, int], student: dict[Span, int], width: int) -> list[int]:
    """The teacher's position for each of ``width`` positions of the student's padded row, or ABSENT."""
    row = [ABSENT] * width
    for span, place in student.items():
        row[place] = teacher.get(span, ABSENT)
    return row


def find_projections(teacher: CrossEncoder) -> list[tuple[nn.Module, nn.Module]]:
    """The query and key projections of a teacher's layers, first layer first.

    Where layers share their weights (ALBERT) there is one pair, which runs several times.

    Raises:
        ModelError: there are none, as in ModernBERT, which has one fused projection.
    """
    found = []
    for module in _backbone(teacher).modules():
        for names in PROJECTIONS:
            query, key = (getattr(module, name, None) for name in names)
            if isinstance(query, nn.Module) and isinstance(key, nn.Module):
                found.append((query, key))
    if not found:
        looked = ", ".join("/".join(names) for names in PROJECTIONS)
        raise ModelError(
            f"{_name(teacher)}: its layers have no query and key projections of their own (looked for "
            f"{looked}; a fused one is not read); {ADVICE}"
        )
    return found


def layers_of(teacher: CrossEncoder) -> int:
    """Number of layers of the teacher's Transformer."""
    return int(_backbone(teacher).config.num_hidden_layers)


def attention_maps(
    teacher: CrossEncoder,
    features: Mapping[str, Tensor],
    rows: Tensor,
    *,
    layer: int = -1,
    bf16: bool | None = None,
) -> Tensor:
    """Attention of some tokens in one layer of the teacher, from one forward pass.

    Call it inside :func:`at_rest`.

    Args:
        teacher: a cross-encoder that :func:`find_projections` accepts.
        features: ``input_ids (B, L)`` and what else the Transformer takes; without ``attention_mask`` all
            are tokens.
        rows: ``(B, R)`` places of the tokens whose attention is wanted.
        layer: from 0, or from -1 backwards.
        bf16: whether the teacher computes in bf16; by default where that is faster on this machine.

    Returns:
        ``(B, R, L)`` float32, mean over heads; each row sums to one, padding gets nothing.
    """
    backbone, device = _backbone(teacher), teacher.device
    with _captured(teacher, layer) as caught, autocast(device, bf16):
        backbone(**features)
    return _softmax(caught, features.get("attention_mask"), rows, backbone.config.num_attention_heads)


def check_layer(name: str, layers: int, layer: int) -> None:
    """Refuse a layer number that the teacher does not have.

    Raises:
        ModelError: no such layer; the message names the valid numbers.
    """
    if not -layers <= layer < layers:
        raise ModelError(
            f"{name}: has {layers} layers, so attention_layer={layer} is none of them; choose 0 to "
            f"{layers - 1}, or -1 (the last) to {-layers}"
        )


def check_attention(teacher: CrossEncoder, layer: int = -1) -> None:
    """Compare our attention map with the one that the teacher returns itself (eager attention), on one pair.

    Models exist whose layers look like BERT's, yet rotate queries and keys or add to their products.

    Raises:
        ModelError: no such layer, no projections, no attention given, or another one; one line each.
    """
    find_projections(teacher)
    backbone = _backbone(teacher)
    check_layer(_name(teacher), layers_of(teacher), layer)
    features = teacher.tokenizer(*CHECK_PAIR, return_tensors="pt", truncation=True, max_length=64)
    features = {name: value.to(teacher.device) for name, value in features.items()}
    before = backbone.config._attn_implementation
    with at_rest(teacher), torch.autocast(teacher.device.type, enabled=False):
        try:
            backbone.set_attn_implementation("eager")
            with _captured(teacher, layer) as caught:
                given = backbone(**features, output_attentions=True).attentions
        except (ValueError, TypeError, RuntimeError, AttributeError) as error:
            raise ModelError(
                f"{_name(teacher)}: gives no attention ({first_line(error)}); {ADVICE}"
            ) from error
        finally:
            backbone.set_attn_implementation(before)
    if not given or given[layer] is None:
        raise ModelError(f"{_name(teacher)}: gives no attention to compare with; {ADVICE}")
    theirs = given[layer].float().mean(dim=1)
    everywhere = torch.arange(theirs.shape[1], device=teacher.device)[None]
    ours = _softmax(caught, features.get("attention_mask"), everywhere, backbone.config.num_attention_heads)
    full = all(parameter.dtype == torch.float32 for parameter in backbone.parameters())
    difference = float((ours - theirs).abs().max()) if ours.shape == theirs.shape else math.inf
    if not difference <= (TOLERANCE if full else TOLERANCE_16_BIT):  # so that NaN fails too
        raise ModelError(
            f"{_name(teacher)}: its attention is not the plain softmax of queries and keys (a difference of "
            f"{difference:.2g}); {ADVICE}"
        )


@contextmanager
def at_rest(model: CrossEncoder) -> Iterator[None]:
    """Eval mode without gradients; not inference mode, since a loss could not use its tensors."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)


def _softmax(caught: dict[str, Tensor], mask: Tensor | None, rows: Tensor, heads: int) -> Tensor:
    """Attention of ``rows (B, R)``, mean over heads, from queries and keys of ``(B, L, heads d)``."""
    queries, keys = caught["query"].float(), caught["key"].float()
    batch, length, width = keys.shape
    queries = queries.gather(1, rows[:, :, None].expand(-1, -1, width))
    queries = queries.view(batch, rows.shape[1], heads, width // heads).transpose(1, 2)
    keys = keys.view(batch, length, heads, width // heads).transpose(1, 2)
    with torch.autocast(keys.device.type, enabled=False):
        products = torch.matmul(queries, keys.transpose(2, 3)) / math.sqrt(width // heads)
    if mask is not None:
        products = products.masked_fill(mask[:, None, None, :] == 0, float("-inf"))
    return products.softmax(dim=-1).mean(dim=1)


@contextmanager
def _captured(teacher: CrossEncoder, layer: int) -> Iterator[dict[str, Tensor]]:
    """Collect the outputs of one layer's projections in the forward pass inside the block.

    Layers are counted in the order in which they run, since layers may share their projections.
    """
    caught: dict[str, Tensor] = {}
    wanted = layer % layers_of(teacher)

    def keep(name: str, runs: Iterator[int]) -> Any:
        def look(module: nn.Module, inputs: Any, output: Tensor) -> None:
            if next(runs) == wanted:
                caught[name] = output

        return look

    looks = [keep(name, itertools.count()) for name in ("query", "key")]
    handles = [
        projection.register_forward_hook(look)
        for pair in find_projections(teacher)
        for projection, look in zip(pair, looks, strict=True)
    ]
    try:
        yield caught
    finally:
        for handle in handles:
            handle.remove()


def _backbone(teacher: CrossEncoder) -> Any:
    """The Transformer inside, without its classification head."""
    inside: Any = teacher.model
    if not isinstance(inside, nn.Module):
        raise ModelError(f"{_name(teacher)}: no PyTorch Transformer inside; {ADVICE}")
    return inside.base_model


def _name(teacher: CrossEncoder) -> str:
    """What to call the teacher in messages."""
    inside: Any = teacher.model
    return getattr(getattr(inside, "config", None), "_name_or_path", "") or type(inside).__name__
