"""What a candidate model finds for the questions of a check: by its single vector, and in hybrid search.

A sample of the corpus is read, the same for every candidate: the questions' own passages, the first of
their lists, and others drawn by a hash. So the figures are higher than over the whole corpus; they are
compared with each other alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ernie_search.adaptation.general import PAIRS
from ernie_search.adaptation.sample import place
from ernie_search.adaptation.searching import Found
from ernie_search.data import Collection
from ernie_search.search.fusion import DEFAULTS
from ernie_search.types import Qrels, Query, Run

MEASURE = "MRR@10"
DEPTH = 20
"""Nearest passages that hybrid search adds to a question's list."""
KEPT = 10
NEIGHBOURS = 5
"""Nearest sentences of general text that two models are compared by."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What all candidates read.

    Attributes:
        questions, qrels: of each split that measures, by its name.
        passages: text by id.
        found: the questions' lists, by their text.
        token_share: ``(V,)`` weight of each entry of the vocabulary in a question's late interaction.
    """

    questions: Mapping[str, list[Query]]
    qrels: Mapping[str, Qrels]
    passages: Mapping[str, str]
    found: Mapping[str, Found]
    token_share: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class General:
    """What a model makes of general text.

    Attributes:
        mrr: MRR@10 of the questions over all sentences of general text and the corpus's sample.
        near: the nearest other texts of each text, ``(N, NEIGHBOURS)``.
    """

    mrr: float
    near: NDArray[np.int64]

    def agreement(self, other: "General") -> float:
        """Share of the nearest texts that both models have."""
        both = [len(set(one) & set(two)) for one, two in zip(self.near, other.near, strict=True)]
        return float(np.mean(both)) / NEIGHBOURS


def pool(
    collection: Collection,
    questions: Sequence[Query],
    qrels: Qrels,
    found: Mapping[str, Found],
    size: int,
) -> dict[str, str]:
    """Texts of about ``size`` passages: all that answer, then the first of each list in turn, then others."""
    chosen = {passage for query in questions for passage in qrels[query.id]}
    lists = [found[query.text].ids for query in questions if query.text in found]
    for rank in range(max(map(len, lists), default=0)):
        for ids in lists:
            if len(chosen) < size and rank < len(ids):
                chosen.add(ids[rank])
    if len(chosen) < size:
        rest = ((place(0, "pool", one.id), one.id) for one in collection.passages() if one.id not in chosen)
        chosen.update(name for _, name in sorted(rest)[: size - len(chosen)])
    return {one.id: one.full_text for one in collection.passages() if one.id in chosen}


def runs(model: Any, sample: Sample, *, bf16: bool = False) -> tuple[dict[str, dict[str, Run]], General]:
    """The runs of a model by split and mode, and what it makes of general text.

    Args:
        model: an encoder in torch.
        sample: what to read.
        bf16: in which precision; all candidates in the same.
    """
    read = model.encode_joint(list(sample.passages.values()), "passage", bf16=bf16)
    dense = _unit(read.dense)
    tokens = [matrix.astype(np.float16) for matrix in read.tokens]
    names = list(sample.passages)
    found: dict[str, dict[str, Run]] = {}
    for split, asked in sample.questions.items():
        encoded = model.encode_joint([one.text for one in asked], "query", bf16=bf16)
        cosines = _unit(encoded.dense) @ dense.T
        weights = [_weights(ids, sample.token_share) for ids in encoded.token_ids]
        one_by_one: Run = {}
        hybrid: Run = {}
        for row, query in enumerate(asked):
            one_by_one[query.id] = _best(cosines[row], names)
            matrix = encoded.tokens[row] * weights[row][:, None]
            hybrid[query.id] = _hybrid(query, cosines[row], matrix, tokens, names, sample.found)
        found[split] = {"dense": one_by_one, "hybrid": hybrid}
    return found, general(model, dense, bf16=bf16)


def general(model: Any, distractors: NDArray[np.float32], *, bf16: bool = False) -> General:
    """What a model makes of :data:`PAIRS`, among the corpus's passages ``(N, D)``."""
    options: dict[str, Any] = {"tokens": False, "bf16": bf16}
    asked = _unit(model.encode_joint([one for one, _ in PAIRS], "query", **options).dense)
    answers = _unit(model.encode_joint([one for _, one in PAIRS], "passage", **options).dense)
    scores = asked @ np.concatenate([answers, distractors]).T
    own = scores[np.arange(len(PAIRS)), np.arange(len(PAIRS))]
    ranks = 1 + (scores > own[:, None]).sum(axis=1)
    texts = np.concatenate([asked, answers])
    products = texts @ texts.T
    np.fill_diagonal(products, -np.inf)
    near = np.argsort(-products, axis=1, kind="stable")[:, :NEIGHBOURS]
    return General(float(np.where(ranks <= KEPT, 1 / ranks, 0.0).mean()), near.astype(np.int64))


def _hybrid(
    query: Query,
    cosines: NDArray[np.float32],
    matrix: NDArray[np.float32],
    tokens: Sequence[NDArray[np.float16]],
    names: Sequence[str],
    found: Mapping[str, Found],
) -> dict[str, float]:
    """Hybrid search over the question's list and the nearest passages, by the default's weights.

    A passage that is only among the nearest gets no score by words.
    """
    listed = found.get(query.text)
    words = {} if listed is None else dict(zip(listed.ids, listed.parts["bm25"], strict=True))
    near = np.argsort(-cosines, kind="stable")[:DEPTH].tolist()
    places = sorted({*near, *(place for place, name in enumerate(names) if name in words)})
    nothing = np.zeros((1, matrix.shape[1]), np.float32)  # of a text without a token of its own
    matrices = [tokens[place].astype(np.float32) if len(tokens[place]) else nothing for place in places]
    matrix = matrix if len(matrix) else nothing
    starts = np.cumsum([0, *(len(one) for one in matrices[:-1])])
    late = np.maximum.reduceat(matrix @ np.concatenate(matrices).T, starts, axis=1).mean(axis=0)
    weights = DEFAULTS["joint"].weights
    return {
        names[place]: float(
            weights["dense"] * cosines[place]
            + weights["late"] * score
            + weights["bm25"] * words.get(names[place], 0.0)
        )
        for place, score in zip(places, late, strict=True)
    }


def _best(scores: NDArray[np.float32], names: Sequence[str]) -> dict[str, float]:
    order = np.argsort(-scores, kind="stable")[: KEPT + 1].tolist()
    return {names[place]: float(scores[place]) for place in order}


def _weights(ids: NDArray[np.int32], share: NDArray[np.float32]) -> NDArray[np.float32]:
    """Weights of a question's tokens ``(Lq,)``, 1 on average."""
    found = share[ids]
    return np.asarray(found / max(float(found.mean()) if len(found) else 1.0, 1e-9), np.float32)


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), np.float32)
