"""What each reading says of each candidate, over the labelled collections: for choosing the sum's weights.

A collection is encoded once (``--work``); a question's candidates are the union of the dense top 100 and
BM25's top 100, as the product takes them, and every reading is computed for every candidate.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from bm25s.stopwords import STOPWORDS_EN
from numpy.typing import NDArray

from ernie_search._util.words import words
from ernie_search.index.bm25 import K1, B
from ernie_search.index.topk import top_rows

SETS = ("covidqa", "shifts-amazon", "squad", "pubmedqa", "xquad", "api", "code")
SPLITS = {"squad": "dev"}
DEPTH = 100
QUESTIONS = 600
POWERS = (0.0, 0.5, 1.0, 1.5)
"""Exponents of idf that weigh the question's tokens; 0 is the plain mean."""

Floats = NDArray[np.float32]
Words = Callable[[str], list[str]]


@dataclass
class Encoded:
    """A collection with its vectors; tokens are concatenated, ``offsets`` say where a text's begin."""

    name: str
    arrays: dict[str, Any]
    texts: list[str]
    questions: list[str]
    relevant: list[set[int]]

    def tokens(self, side: str, row: int) -> tuple[Floats, NDArray[np.int32]]:
        """Token vectors ``(L, d)`` and ids ``(L,)`` of a text; ``side`` is "p" or "q"."""
        start, stop = self.arrays[f"{side}_offsets"][row : row + 2]
        values = self.arrays[f"{side}_tokens"][start:stop].astype(np.float32)
        return values, self.arrays[f"{side}_token_ids"][start:stop]


@dataclass
class Readings:
    """Of Q questions, their candidates padded to C: arrays ``(Q, C)``, ``-inf`` behind the last candidate.

    Attributes:
        values: by name of the reading.
        relevant: ``(Q, C)``, which candidates are right.
        clusters: ``(Q,)`` the relevant passage, for tests that keep a passage's questions together.
    """

    name: str
    values: dict[str, Floats]
    relevant: NDArray[np.bool_]
    clusters: NDArray[np.int64]
    extra: dict[str, float] = field(default_factory=dict)

    def reciprocal(self, scores: Floats) -> NDArray[np.float64]:
        """Reciprocal rank of the first right one within ten, ``(Q,)``; among equals the right one is last."""
        best = np.where(self.relevant, scores, -np.inf).max(axis=1)
        rank = 1 + ((scores >= best[:, None]) & ~self.relevant & np.isfinite(scores)).sum(axis=1)
        return np.where(np.isfinite(best) & (rank <= 10), 1 / rank, 0.0)


def plain_words(text: str) -> list[str]:
    """Words as BM25 has counted them so far, without Lucene's English stop words in a question."""
    return [word for word in words(text) if word not in _LUCENE]


def product_words(text: str) -> list[str]:
    """Words as the product counts them in an English collection: stems and the words, without stop words."""
    from ernie_search._util.words import counted_words

    found: list[str] = counted_words(text, "en")
    return found


_LUCENE = frozenset(STOPWORDS_EN)


class Bm25:
    """BM25 of every passage (Lucene's form, whose most for a word is its idf), and that most."""

    def __init__(self, texts: list[str], split: Words) -> None:
        from scipy.sparse import csc_matrix

        self.split, self.vocabulary = split, {}
        rows, columns, counts, lengths = [], [], [], []
        for row, text in enumerate(texts):
            found = Counter(split(text))
            lengths.append(sum(found.values()))
            for word, count in found.items():
                rows.append(row)
                columns.append(self.vocabulary.setdefault(word, len(self.vocabulary)))
                counts.append(count)
        length, tf = np.array(lengths, np.float64), np.array(counts, np.float64)
        df = np.bincount(columns, minlength=len(self.vocabulary))
        self.n = len(texts)
        self.idf = np.log(1 + (self.n - df + 0.5) / (df + 0.5))
        norm = K1 * (1 - B + B * length / length.mean())
        share = tf / (tf + norm[rows])
        shape = (self.n, len(self.vocabulary))
        self.scores = csc_matrix((share * self.idf[columns], (rows, columns)), shape=shape)
        self.holds = csc_matrix((self.idf[columns], (rows, columns)), shape=shape)

    def __call__(self, text: str) -> tuple[Floats, Floats, float, float]:
        """Scores ``(n,)``, idf mass shared ``(n,)``, the most possible, and the most of the known words."""
        asked = self.split(text)
        known = [self.vocabulary[word] for word in asked if word in self.vocabulary]
        unknown = (len(asked) - len(known)) * np.log(1 + (self.n + 0.5) / 0.5)
        if not known:
            return np.zeros(self.n, np.float32), np.zeros(self.n, np.float32), float(unknown), 0.0
        scores = np.asarray(self.scores[:, known].sum(axis=1)).ravel().astype(np.float32)
        held = np.asarray(self.holds[:, known].sum(axis=1)).ravel().astype(np.float32)
        most = float(self.idf[known].sum())
        return scores, held, most + float(unknown), most


def stored(name: str, work: Path, tag: str = "") -> Encoded:
    """What :func:`benchmarks.fusion_weights.encode` wrote."""
    texts = json.loads((work / f"{name}{tag}.json").read_text())
    folder = work / f"{name}{tag}"
    if folder.is_dir():
        arrays = {path.stem: np.load(path, mmap_mode="r") for path in folder.glob("*.npy")}
    else:
        with np.load(work / f"{name}{tag}.npz") as kept:
            arrays = {key: kept[key] for key in kept.files}
    place = {one: row for row, one in enumerate(arrays["p_ids"].tolist())}
    relevant = [{place[p] for p in texts["qrels"][q] if p in place} for q in texts["q_ids"]]
    return Encoded(name, arrays, texts["p_texts"], texts["q_texts"], relevant)


def token_idf(encoded: Encoded) -> Floats:
    """idf of each id of the vocabulary, by the passages it stands in."""
    ids, offsets = encoded.arrays["p_token_ids"], encoded.arrays["p_offsets"]
    owner = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    pairs = np.unique(owner.astype(np.int64) << 32 | np.asarray(ids, np.int64))
    n = len(offsets) - 1
    df = np.bincount(pairs & 0xFFFFFFFF, minlength=40_000)
    return np.log(1 + (n - df + 0.5) / (df + 0.5)).astype(np.float32)


def mean_vectors(encoded: Encoded, side: str, weights: Floats | None = None) -> Floats:
    """The (weighted) mean of each text's token vectors, normalised: the single vector of a late model."""
    count = len(encoded.arrays[f"{side}_offsets"]) - 1
    found = []
    for row in range(count):
        values, ids = encoded.tokens(side, row)
        share = np.ones(len(ids), np.float32) if weights is None else weights[ids]
        mean = share @ values if len(ids) else np.zeros(values.shape[1], np.float32)
        found.append(mean / max(float(np.linalg.norm(mean)), 1e-9))
    return np.stack(found)


def readings(
    encoded: Encoded,
    questions: int = QUESTIONS,
    dense: tuple[Floats, Floats] | None = None,
    seed: int = 0,
) -> Readings:
    """Every reading of every candidate.

    Args:
        encoded: the collection.
        questions: at most so many, drawn with ``seed``.
        dense: other single vectors of passages and questions.
    """
    count = len(encoded.questions)
    chosen = np.sort(np.random.default_rng(seed).permutation(count)[:questions])
    passages, asked = dense or (encoded.arrays["p_dense"], encoded.arrays["q_dense"])
    passages = np.asarray(passages)
    plain, stem = Bm25(encoded.texts, plain_words), Bm25(encoded.texts, product_words)
    idf = token_idf(encoded)
    rows: list[dict[str, Floats]] = []
    right, recall = [], Counter()
    for row in chosen:
        cosine = passages @ asked[row]
        (bm25, _, most, _), (stemmed, held, s_most, s_known) = (
            one(encoded.questions[row]) for one in (plain, stem)
        )
        tops = {"dense": top_rows(cosine, DEPTH), "bm25": _top(bm25), "stem": _top(stemmed)}
        candidates = np.array(sorted(set(tops["dense"]) | set(tops["stem"]) | set(tops["bm25"])))
        one = {"cos": cosine[candidates]}
        one |= {"bm25": bm25[candidates], "stem": stemmed[candidates]}
        one["share_plain"] = bm25[candidates] / max(most, 1e-9)
        one["share"] = stemmed[candidates] / max(s_most, 1e-9)
        one["share_known"] = stemmed[candidates] / max(s_known, 1e-9)
        one["coverage"] = held[candidates] / max(s_most, 1e-9)
        one["most"] = np.full(len(candidates), s_most, np.float32)
        one |= {f"late{p:g}": v for p, v in zip(POWERS, _late(encoded, row, candidates, idf), strict=True)}
        for name, top in tops.items():
            ranks = np.full(len(candidates), np.inf)
            ranks[np.searchsorted(candidates, top)] = np.arange(1, len(top) + 1)
            one[f"rank_{name}"] = ranks.astype(np.float32)
            recall[name] += bool(encoded.relevant[row] & set(top.tolist()))
        recall["union"] += bool(encoded.relevant[row] & set(candidates.tolist()))
        rows.append(one)
        right.append(np.isin(candidates, list(encoded.relevant[row])))
    width = max(len(one) for one in right)
    values = {
        name: np.stack(
            [np.pad(one[name], (0, width - len(one[name])), constant_values=-np.inf) for one in rows]
        )
        for name in rows[0]
    }
    relevant = np.stack([np.pad(one, (0, width - len(one))) for one in right])
    clusters = np.array([min(encoded.relevant[row]) for row in chosen])
    extra = {f"recall_{key}": value / len(chosen) for key, value in recall.items()}
    return Readings(encoded.name, values, relevant, clusters, extra)


def _top(scores: Floats) -> NDArray[np.int64]:
    rows = np.flatnonzero(scores > 0)
    return rows[top_rows(scores[rows], DEPTH)]


def _late(encoded: Encoded, row: int, candidates: NDArray[np.int64], idf: Floats) -> Iterator[Floats]:
    """MaxSim's mean over the question's tokens, weighted by each power of idf: ``(c,)`` each."""
    query, ids = encoded.tokens("q", row)
    offsets = encoded.arrays["p_offsets"]
    places = [np.arange(offsets[p], offsets[p + 1]) for p in candidates]
    sizes = np.array([len(one) for one in places])
    held = np.asarray(encoded.arrays["p_tokens"][np.concatenate(places)]).astype(np.float32)
    best = np.maximum.reduceat(held @ query.T, np.r_[0, np.cumsum(sizes)[:-1]], axis=0)
    for power in POWERS:
        weights = idf[ids] ** power
        yield (best @ weights / weights.sum()).astype(np.float32)
