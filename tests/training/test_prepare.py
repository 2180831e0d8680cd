"""What a run reads of a collection: a stable sample, negatives that are none, a dev pool."""

from ernie_search.training import prepare
from ernie_search.training.prepare import sample
from ernie_search.types import Query
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


def test_no_evaluations_need_no_dev():
    assert prepare(collection(), settings(evaluations=0)).dev is None
