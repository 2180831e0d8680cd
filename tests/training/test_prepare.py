"""What a run reads of a collection: a stable sample, negatives that are none, a dev pool."""

import importlib

from ernie_search.mining import BM25, TrainingList, write_lists
from ernie_search.training import prepare
from ernie_search.training.prepare import sample
from ernie_search.types import Passage, Query
from tiny_training import DEV, TRAIN, collection, settings


def test_a_sample_depends_on_ids_and_seed_and_not_on_the_order():
    queries = [Query(f"q{i}", "x") for i in range(50)]
    first = sample(queries, 10, 3)
    assert first == sample(queries[::-1], 10, 3)
    assert first != sample(queries, 10, 4)
    assert all(query in sample(queries, 20, 3) for query in first)
    assert len(sample(queries, 0, 3)) == 50


def test_negatives_are_of_the_corpus_and_never_positives():
    judged = {f"q{i}": {f"p{i}": 2, f"p{(i + 1) % TRAIN}": 1, f"p{i - 1}": 0} for i in range(1, TRAIN)}
    data = prepare(collection(qrels={"train": judged}), settings(max_questions=20))
    assert len(data.examples) == 20
    for example in data.examples:
        assert len(example.positives) == 2  # grade 0 is none
        assert len(set(example.negatives)) == 8
        assert not set(example.negatives) & set(example.positives)
        assert {*example.positives, *example.negatives} <= set(data.passages)
    assert data.dev is None


def test_the_dev_pool_has_every_positive_and_its_size():
    data = prepare(collection(), settings(dev_questions=5, dev_passages=9))
    assert data.dev is not None
    assert len(data.dev.questions) == 5
    assert len(data.dev.passages) == 9
    for question in data.dev.questions:
        assert set(data.dev.qrels[question]) <= set(data.dev.passages)
    again = prepare(collection(), settings(dev_questions=5, dev_passages=9, seed=7)).dev
    assert again == data.dev  # another seed is measured on the same questions
    everything = prepare(collection(), settings(dev_passages=2))
    assert everything.dev is not None
    assert len(everything.dev.passages) == DEV  # positives are never left out


def test_a_copy_of_a_positive_is_no_negative_whatever_its_case_and_spaces():
    passages = list(collection().passages())
    copies = [Passage(f"copy-{one.id}", "", one.full_text.upper() + "  ") for one in passages]
    data = prepare(collection(passages=[*passages, *copies]), settings(max_questions=20, negative_last=12))
    drawn = 0
    for example in data.examples:
        drawn += sum(passage.startswith("copy-") for passage in example.negatives)
        assert not {f"copy-{passage}" for passage in example.positives} & set(example.negatives)
    assert drawn > 0  # other questions' copies are negatives like any other


def test_with_lists_bm25_looks_through_a_part_of_a_large_corpus_for_dev(tmp_path, monkeypatch):
    rows = [TrainingList(f"q{i}", (f"p{i}",), (f"p{(i + 1) % TRAIN}",)) for i in range(TRAIN)]
    data = collection()
    lists = write_lists(tmp_path / "lists", rows, data_fingerprint=data.fingerprint, about={})
    sizes = []

    class Watched(BM25):
        def __init__(self, passages):
            super().__init__(passages)
            sizes.append(len(self.passage_ids))

    module = importlib.import_module(
        "ernie_search.training.prepare"
    )  # the name in the package is the function
    monkeypatch.setattr(module, "BM25", Watched)
    chosen = settings(dev_questions=5, dev_passages=9)
    whole = prepare(data, chosen, lists).dev
    assert whole == prepare(data, chosen).dev  # small: the same sample as the warm-up's
    monkeypatch.setattr(module, "DEV_CORPUS", 10)
    part = prepare(data, chosen, lists).dev
    everything = len(list(data.passages()))
    assert sizes[:2] == [everything, everything]
    assert 5 <= sizes[2] < everything
    assert part is not None
    for question in part.questions:
        assert set(part.qrels[question]) <= set(part.passages)


def test_no_evaluations_need_no_dev():
    assert prepare(collection(), settings(evaluations=0)).dev is None


def test_a_question_that_is_a_passage_is_not_its_own_negative():
    """As in ArguAna: a passage asks for the one that answers it, and finds itself first."""
    passages = list(collection().passages())
    copies = [Passage(f"copy-{one.id}", one.text.upper()) for one in passages[:10]]
    asking = [Query(one.id, one.text) for one in passages[:10]]
    qrels = {"train": {f"p{i}": {f"p{i + 10}": 1} for i in range(10)}}
    data = prepare(
        collection(passages=[*passages, *copies], queries=asking, qrels=qrels),
        settings(evaluations=0, negative_last=12),
    )
    assert len(data.examples) == 10
    for example in data.examples:
        assert len(example.negatives) == 8
        assert not {example.id, f"copy-{example.id}"} & set(example.negatives)


def test_positives_of_other_splits_are_no_negatives_of_bm25() -> None:
    tiny, held = collection(), {f"p{i}" for i in range(DEV)}
    asked = [
        Query(one.id, f"{one.text} much rain") for name in ("train", "dev") for one in tiny.queries(name)
    ]
    data = collection(queries=asked)
    plain = prepare(data, settings(negatives=2))
    assert any(held & set(one.negatives) for one in plain.examples)
    assert plain.left_out == 0
    clean = prepare(data, settings(negatives=2, leave_out_splits="dev"))
    assert not any(held & set(one.negatives) for one in clean.examples)
    assert clean.left_out > 0
