"""How much of an approximate index a search reads, and that a filter gets all that meet it."""

import numpy as np
import pytest

from ernie_search.index import In, make_batch, open_index
from ernie_search.index.lance_reader import ef_for, partitions_for, probes_for, refine_for
from index_helpers import spec


@pytest.mark.parametrize(
    ("changes", "passages", "partitions", "probes"),
    [
        ({}, 300, 1, 1),
        ({}, 50_000, 195, 16),
        ({}, 1_000_000, 1000, 83),
        ({"ann": "ivf_sq"}, 100_000, 316, 26),
        ({"partitions": 40, "probes": 50}, 100_000, 40, 40),
        ({"probes": 7}, 100_000, 316, 7),
        ({"ann": "ivf_hnsw_sq"}, 1_000_000, 4, 4),
        ({"ann": "ivf_hnsw_sq", "probes": 2}, 1_000_000, 4, 2),
    ],
)
def test_lists_made_and_read(changes, passages, partitions, probes):
    made = spec(**{"ann": "ivf_rq"} | changes)
    assert partitions_for(made, passages) == partitions
    assert probes_for(made, passages) == probes


def test_candidates_of_few_and_many_hits():
    made = spec(ann="ivf_rq")
    assert [refine_for(made, k) * k for k in (1, 10, 100)] == [200, 200, 100 * made.refine]
    assert refine_for(spec(ann="ivf_hnsw_sq"), 1) == made.refine
    assert refine_for(spec(refine=30), 10) == 30
    assert [ef_for(made, k) for k in (1, 10, 100)] == [150, 150, 1000]
    assert ef_for(spec(ef=64), 10) == 64


def filled(folder, dim, **changes):
    """600 passages around 4 far apart directions, and their vectors."""
    random = np.random.default_rng(0)
    vectors = np.repeat(np.eye(dim, dtype=np.float32)[:4], 150, axis=0)
    vectors += 0.05 * random.standard_normal(vectors.shape).astype(np.float32)
    held = spec(dim=dim, tokens="none", token_dim=0, fields={}, exact_below=256, **changes)
    index = open_index(folder, held, "w")
    ids = [f"p{row:03}" for row in range(len(vectors))]
    index.upsert(
        make_batch(
            model_name=held.model_name,
            model_fingerprint=held.model_fingerprint,
            ids=ids,
            titles=[""] * len(ids),
            texts=["text"] * len(ids),
            fields=["{}"] * len(ids),
            dense=vectors,
        )
    )
    index.optimize()
    return index, vectors


@pytest.mark.parametrize("kind", ["ivf_rq", "ivf_sq"])
def test_a_filter_that_the_nearest_list_cannot_meet(tmp_path, kind):
    index, vectors = filled(tmp_path / "s", 128, ann=kind, partitions=4, probes=1)
    far = [f"p{row:03}" for row in range(300, 310)]
    (found,) = index.nearest(vectors[0], 10, where=In("id", tuple(far)))
    expected = sorted(far, key=lambda one: -float(vectors[int(one[1:])] @ vectors[0]))
    assert found.ids == expected
    index.close()


@pytest.mark.parametrize(("dim", "made"), [(16, "IvfSq"), (33, "IvfSq"), (132, "IvfSq"), (128, "IvfRq")])
def test_any_number_of_dimensions(tmp_path, dim, made):
    index, vectors = filled(tmp_path / "s", dim, partitions=4, probes=4)
    assert index.stats().search == made
    order = np.argsort(-(vectors @ vectors[7]), kind="stable")[:10]
    assert index.nearest(vectors[7], 10)[0].ids == [f"p{row:03}" for row in order]
    index.close()
