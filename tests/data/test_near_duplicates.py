"""Near-duplicate pairs against the double loop that the definition spells."""

import random

import pytest

from ernie_search.data.near_duplicates import clusters, near_duplicate_pairs, shingles


def brute(texts, threshold):
    sets = [shingles(text) for text in texts]
    return [
        (i, j)
        for j in range(len(sets))
        for i in range(j)
        if sets[i] | sets[j] and len(sets[i] & sets[j]) / len(sets[i] | sets[j]) > threshold
    ]


@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.8])
def test_same_pairs_as_the_double_loop(threshold):
    rng = random.Random(7)
    texts = []
    for _ in range(120):
        words = [rng.choice("abcdefghij") for _ in range(rng.randrange(40))]
        texts.append(" ".join(words))
        if words and rng.random() < 0.5:
            for _ in range(rng.randrange(1, 5)):
                words[rng.randrange(len(words))] = "new"
            texts.append(" ".join(words))
    expected = brute(texts, threshold)
    assert expected
    assert near_duplicate_pairs(texts, threshold) == sorted(expected)


def test_half_is_not_above_half():
    a, b = "w1 w2 w3 w4 w5 w6", "w2 w3 w4 w5 w6 w7"  # 3 and 3 shingles, 2 shared: 2 / 4
    assert near_duplicate_pairs([a, b]) == []
    assert near_duplicate_pairs([a, b], 0.49) == [(0, 1)]


def test_chains_are_one_group():
    line = [f"w{i}" for i in range(60)]
    texts = ["quite another text altogether", *(" ".join(line[s : s + 40]) for s in (0, 8, 16))]
    assert near_duplicate_pairs(texts) == [(1, 2), (2, 3)]
    assert clusters(texts) == [0, 1, 1, 1]
    assert clusters(["same", "same", ""]) == [0, 1, 2]  # too short to tell
