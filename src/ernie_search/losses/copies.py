"""Questions that are copied from their passages: spans cut out of them, titles, headings.

Matching words finds their passages, so they do not show whether late interaction understands more than the
single vector, and what it would teach on them is to match words.
"""

import unicodedata
from collections.abc import Sequence

from ernie_search._util.words import UNSPACED_RUN, words

COPY_WORDS = 5
"""Words from which on a question that stands in its passage as it is counts as copied; a shorter one, a name
or two keywords, may well be asked by somebody."""


def is_copy(question: str, passage: str) -> bool:
    """Whether the question's words stand in the passage in a row, but for case and punctuation.

    Args:
        question: of :data:`COPY_WORDS` words or more; a shorter one is no copy. Two characters of a script
            without spaces count as a word.
        passage: its positive.
    """
    unspaced = 0 if question.isascii() else sum(map(len, UNSPACED_RUN.findall(question)))
    if max(len(question.split()), unspaced // 2) < COPY_WORDS:
        return False
    asked = words(question)
    text = (passage if passage.isascii() else unicodedata.normalize("NFKC", passage)).lower()
    if any(word not in text for word in asked):
        return False  # nearly all end here, before the passage is taken apart
    return f" {' '.join(asked)} " in f" {' '.join(words(text))} "


def copies(questions: Sequence[str], positives: Sequence[str]) -> tuple[bool, ...] | None:
    """Which of the questions are copied from their positives, one of each; None where none is."""
    found = tuple(is_copy(*pair) for pair in zip(questions, positives, strict=True))
    return found if any(found) else None
