"""What an index knows of its words and tokens, against a count by hand, and when it counts again."""

import errno
import math
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from ernie_search._util.words import words
from ernie_search.errors import IndexStateError, StorageError
from ernie_search.index import In, Origin, open_index
from ernie_search.index.statistics import count_statistics, read_statistics, word_hash
from index_helpers import MODEL, batch, new_index, passage, spec, vectors

PASSAGES = [passage(number) for number in range(40)]
QUESTIONS = ["common word7 group3", "word7 word7 unheard", "unheard of", "title21 pair3 common common", "?!"]


@pytest.fixture(params=["memory", "lance", "qdrant"])
def index(request, tmp_path):
    if request.param == "qdrant":
        pytest.importorskip("qdrant_client", reason="the extra 'qdrant' is not installed")
    made = new_index(request.param, tmp_path / "store")
    made.upsert(batch(PASSAGES))
    made.commit()
    yield made
    made.close()


@pytest.fixture
def folder(tmp_path):
    made = new_index("lance", tmp_path / "store")
    made.upsert(batch(PASSAGES))
    made.commit()
    made.close()
    return tmp_path / "store"


def by_hand(found) -> tuple[Counter, Counter, float]:
    """Passages that hold each word and each token id, and words of a passage."""
    texts = [words(one.full_text) for one in found]
    ids = MODEL.encode_joint([one.full_text for one in found], "passage").token_ids
    held = Counter(word for text in texts for word in set(text))
    tokens = Counter(one for row in ids for one in set(row.tolist()))
    return held, tokens, sum(map(len, texts)) / len(texts)


def idf(holders: int, total: int = len(PASSAGES)) -> float:
    return math.log(1 + (total - holders + 0.5) / (holders + 0.5))


def kept(index):
    found = index.statistics()
    if found is None:
        pytest.skip("this backend keeps no statistics")
    return found


def test_counts_are_those_by_hand(index):
    found, (held, tokens, average) = kept(index), by_hand(PASSAGES)
    assert (found.passages, found.average_words) == (40, pytest.approx(average))
    assert (np.diff(found.hashes.astype(object)) > 0).all()
    assert found.holders(list(held)).tolist() == list(held.values())
    assert found.holders(["unheard", ""]).tolist() == [0, 0]
    assert dict(zip(found.token_ids.tolist(), found.token_counts.tolist(), strict=True)) == tokens


def test_most_is_the_sum_of_idf_with_unknown_words_as_the_rarest(index):
    found, (held, _, _) = kept(index), by_hand(PASSAGES)
    assert found.most("common, WORD7 word7 unheard!") == pytest.approx(
        idf(held["common"]) + 2 * idf(held["word7"]) + idf(0)
    )
    assert found.most("?!") == 0


def test_no_passage_reaches_the_most(index):
    found = kept(index)
    for text, ranking in zip(QUESTIONS, index.bm25(QUESTIONS, 40), strict=True):
        assert all(0 < score < found.most(text) for score in ranking.scores)


def test_word_scores_are_those_of_the_search_by_words(index):
    ids = [one.id for one in PASSAGES[::-1]]
    for text, ranking in zip(QUESTIONS, index.bm25(QUESTIONS, 40), strict=True):
        searched = dict(zip(ranking.ids, ranking.scores.tolist(), strict=True))
        scores = index.word_scores(text, ids)
        assert scores.dtype == np.float32
        assert scores.tolist() == [searched.get(one, 0.0) for one in ids]
    assert index.word_scores("common", []).shape == (0,)
    with pytest.raises(IndexStateError, match="nobody"):
        index.word_scores("common", ["nobody"])


def test_dense_scores_are_those_of_the_search_by_vector(index):
    (ranking,) = index.nearest(vectors(1), 40)
    np.testing.assert_allclose(index.dense_scores(vectors(1)[0], ranking.ids), ranking.scores, rtol=1e-6)
    assert index.dense_scores(vectors(1)[0], []).shape == (0,)
    with pytest.raises(IndexStateError, match="dimensions"):
        index.dense_scores(np.ones(3, np.float32), ["p001"])


def test_token_weights_are_idf_with_a_mean_of_one(index):
    found, (_, tokens, _) = kept(index), by_hand(PASSAGES)
    ids = [*list(tokens)[:5], 7]
    assert 7 not in tokens
    expected = np.asarray([idf(tokens[one]) for one in ids])
    np.testing.assert_allclose(found.token_weights(ids), expected / expected.mean(), rtol=1e-6)
    assert found.token_weights([]).shape == (0,)


def test_without_token_matrices_all_tokens_weigh_alike(tmp_path):
    made = new_index("memory", tmp_path, tokens="none", token_dim=0)
    made.upsert(batch(PASSAGES))
    assert made.statistics().token_weights([3, 5]).tolist() == [1, 1]


def test_a_file_holds_them_all(tmp_path):
    made = new_index("memory", tmp_path)
    made.upsert(batch(PASSAGES))
    counted = made.statistics()
    counted.write(tmp_path / "s.bin")
    read = read_statistics(tmp_path / "s.bin")
    for name in ("passages", "average_words", "language"):
        assert getattr(read, name) == getattr(counted, name)
    for name in ("hashes", "counts", "token_ids", "token_counts"):
        np.testing.assert_array_equal(getattr(read, name), getattr(counted, name))
    assert isinstance(read.hashes.base, np.memmap)
    empty = count_statistics([], "none")
    empty.write(tmp_path / "e.bin")
    assert read_statistics(tmp_path / "e.bin").holders(["a"]).tolist() == [0]


@pytest.mark.parametrize("harm", [lambda raw: raw[:-4], lambda raw: b"x" + raw, lambda raw: b"", None])
def test_a_broken_file_is_named(tmp_path, harm):
    path = tmp_path / "s.bin"
    made = new_index("memory", tmp_path)
    made.upsert(batch(PASSAGES))
    made.statistics().write(path)
    if harm is None:
        path.unlink()
    else:
        path.write_bytes(harm(path.read_bytes()))
    with pytest.raises(IndexStateError, match=r"s\.bin: statistics that cannot be read"):
        read_statistics(path)


def test_a_words_hash_is_of_every_process_the_same():
    code = "from ernie_search.index.statistics import word_hash; print(word_hash('wörter'))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert int(said) == word_hash("wörter")


def test_a_commit_names_the_file_and_a_reader_only_looks_it_up(folder, monkeypatch):
    monkeypatch.setattr("ernie_search.index.protocol.count_statistics", None)
    with open_index(folder) as reader:
        assert reader.commit_read.statistics in reader.commit_read.files
        assert reader.statistics().holders(["common"]).tolist() == [40]
        assert reader.damage() == []


def test_a_few_changes_are_counted_later_many_at_once(folder):
    with open_index(folder, mode="w") as writer:
        first = writer.commit_read.statistics
        writer.upsert(batch([passage(50)]))
        writer.commit()
        assert (writer.commit_read.statistics, writer.statistics().passages) == (first, 40)
        assert writer.bm25(["word50"], 3)[0].ids == ["p050"]
    with open_index(folder, mode="w") as writer:  # the count of changes is kept with the commit
        writer.upsert(batch([passage(51)]))
        writer.delete(["p001"])
        assert writer.statistics().passages == 41
        writer.commit()
        assert writer.commit_read.statistics > first
    with open_index(folder) as reader:
        assert reader.statistics().passages == 41
        assert reader.statistics().holders(["word50", "word1"]).tolist() == [1, 0]


def test_optimize_counts_anew_and_removes_what_no_reader_holds(folder):
    old = open_index(folder)
    with open_index(folder, mode="w") as writer:
        writer.upsert(batch([passage(50)]))
        writer.optimize()
        assert writer.statistics().passages == 41
        assert len(list(folder.glob("statistics-*.bin"))) == 2
    assert old.statistics().passages == 40
    old.close()
    with open_index(folder, mode="w") as writer:
        writer.optimize()
        assert [one.name for one in folder.glob("statistics-*.bin")] == [writer.commit_read.statistics]
        assert writer.damage() == []
    open_index(folder).close()


def test_an_index_that_is_being_filled_counts_when_it_is_complete(tmp_path):
    made = open_index(tmp_path / "s", spec(), "w")
    made.commit(Origin("somewhere", "d", "filling"))
    made.upsert(batch(PASSAGES))
    made.commit()
    assert made.commit_read.statistics is None
    assert made.statistics().passages == 40  # counted for itself
    made.optimize()
    assert made.commit_read.statistics is not None
    made.close()


def test_an_index_of_before_opens_and_is_counted_by_a_scan(folder):
    with open_index(folder, mode="w") as writer:
        name = writer.commit_read.statistics
        (folder / name).unlink()
        writer._uncounted = 0
        writer.make_commit(pruning=False)
        assert writer.commit_read.statistics is None
    with open_index(folder) as reader:
        assert reader.statistics().passages == 40
    with open_index(folder, mode="w") as writer:
        writer.commit()
        assert writer.commit_read.statistics is not None


def test_a_filter_does_not_change_what_words_are_worth(index):
    ids = ("p003", "p010")
    (ranking,) = index.bm25(["common group3"], 5, where=In("id", ids))
    scores = dict(zip(ids, index.word_scores("common group3", ids).tolist(), strict=True))
    assert dict(zip(ranking.ids, ranking.scores.tolist(), strict=True)) == pytest.approx(scores)


def test_a_merge_that_fails_at_its_end_leaves_every_passage_where_it_is_found(folder, monkeypatch):
    with open_index(folder, mode="w") as writer:
        for number in range(50, 56):  # small files, so that there is something to merge
            writer.upsert(batch([passage(number)]))
            writer.commit()
        before = {one: writer.get([one])[0].text for one in ("p000", "p020", "p055")}
        optimize = type(writer.table).optimize

        def full(table, **options):
            optimize(table, **options)
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(type(writer.table), "optimize", full)
        with pytest.raises(StorageError):
            writer.optimize()
        monkeypatch.undo()
        assert {one: writer.get([one])[0].text for one in before} == before
        assert writer.bm25(["word55"], 3)[0].ids == ["p055"]
