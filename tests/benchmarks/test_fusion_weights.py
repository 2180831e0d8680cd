"""How the sum's weights are chosen and compared: against values counted by hand, and the product's BM25."""

import numpy as np
import pytest
from benchmarks.code_questions import functions
from benchmarks.fusion_weights import WEIGHTS_FILE, chosen, left_out
from benchmarks.readings import Bm25, Readings, plain_words
from benchmarks.zero_shot import clustered

from ernie_search.index.bm25 import WordIndex

TEXTS = ["tea grows in assam", "assam tea and ceylon tea", "coffee from brazil", "rice"]


def test_bm25_is_the_product_s_and_never_more_than_its_most():
    ours, theirs = Bm25(TEXTS, plain_words), WordIndex(plain_words(text) for text in TEXTS)
    for question in ("where does tea grow", "assam tea tea", "brazil rice"):
        scores, _, most, known = ours(question)
        rows, found = theirs.best(plain_words(question), len(TEXTS))
        expected = np.zeros(len(TEXTS), np.float32)
        expected[rows] = found
        assert scores == pytest.approx(expected, abs=1e-5)
        assert scores.max() < known <= most
    assert ours("nothing known")[2] > 0 == ours("nothing known")[3]


def test_ranks_count_ties_against_the_right_one_and_stop_at_ten():
    relevant = np.zeros((4, 12), bool)
    relevant[:, 0] = [True, True, True, False]
    scores = np.tile(np.arange(12, 0, -1, dtype=np.float32), (4, 1))
    scores[1, 0] = scores[1, 1]
    scores[2, 0] = 0
    readings = Readings("set", {}, relevant, np.zeros(4, np.int64))
    assert readings.reciprocal(scores).tolist() == [1, 0.5, 0, 0]
    padded = np.where(np.arange(12) < 2, scores, -np.inf)
    assert readings.reciprocal(padded).tolist() == [1, 0.5, 0.5, 0]


def test_the_pair_that_loses_least_on_the_worst_is_chosen():
    first = {(0.0, 0.0): 0.9, (1.0, 0.0): 0.8, (0.0, 1.0): 0.5}
    second = {(0.0, 0.0): 0.2, (1.0, 0.0): 0.35, (0.0, 1.0): 0.4}
    assert chosen({"a": first, "b": second}) == (1.0, 0.0)
    assert chosen({"a": first}) == (0.0, 0.0)


def test_questions_of_one_passage_are_no_further_evidence():
    differences = np.full(40, 0.1)
    alone = clustered(differences, [str(number) for number in range(40)])
    together = clustered(differences, [str(number % 4) for number in range(40)])
    assert alone["mean"] == together["mean"] == pytest.approx(0.1)
    assert alone["p"] < 0.001
    assert together["p"] == pytest.approx(2 / 16)


def test_the_kept_weights_cover_every_situation():
    assert WEIGHTS_FILE.is_file()
    for situation in ("dense_only", "plain", "joint", "late_only"):
        assert set(left_out(situation, "unknown")) <= {"dense", "bm25", "late"}
        assert any(left_out(situation, "squad").values())


def test_functions_of_a_file_lose_their_docstring(tmp_path):
    (tmp_path / "a.py").write_text(
        'def f(x):\n    """Say how many there are. More."""\n    # hidden\n'
        "    y = x\n    z = y\n    return z\n\ndef g():\n    return 1\n"
    )
    (tmp_path / "broken.py").write_text("def f(:\n")
    [(name, question, code)] = functions(tmp_path)
    assert (name, question) == ("a.py:1", "Say how many there are")
    assert "hidden" not in code
    assert "many" not in code
    assert "return z" in code
