"""Which token of a cross-encoder's pair is which token of the student: by the characters they stand for."""

import json
from collections import Counter
from collections.abc import Collection
from typing import Any

from sentence_transformers import CrossEncoder

from ernie_search.errors import ModelError
from ernie_search.model.joint import JointEncoder

ACTS_ON_TEXT = {
    "normalizer": "normalise text differently",
    "pre_tokenizer": "cut text into words differently",
    "model": "cut words into pieces differently",
}
"""The parts of a fast tokenizer's state that decide which pieces a text becomes, in their order of work."""

ABSENT = -1
Span = tuple[int, int, int]
"""First character, last character + 1, and the how-manieth token that stands for just these."""


def check_same_tokenizer(teacher: CrossEncoder, student: JointEncoder) -> None:
    """:func:`compare_tokenizers` of two models."""
    compare_tokenizers(teacher.tokenizer, student.tokenizer)


def compare_tokenizers(teacher: Any, student: Any) -> None:
    """Refuse a teacher whose tokens are not the student's own.

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
    """Where the tokens of a text stand in an encoded input, by the characters that they stand for.

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
    """For each of ``width`` positions of the student's padded row: the teacher's, or ABSENT."""
    row = [ABSENT] * width
    for span, place in student.items():
        row[place] = teacher.get(span, ABSENT)
    return row
