"""The projection of token vectors: against numpy's PCA, its file, and its place in every backend."""

import contextlib

import numpy as np
import pytest

from ernie_search.encoding.projected import ProjectedEncoder
from ernie_search.errors import IndexStateError, SettingsError
from ernie_search.index import open_index, verify
from ernie_search.index.projection import PROJECTION, Projection, pca
from index_helpers import batch, new_index, passage, spec
from stub_encoder import StubEncoder


def rows(count: int = 500, dim: int = 12, seed: int = 0) -> np.ndarray:
    """Rows of length one, with more in some directions than in others."""
    random = np.random.default_rng(seed)
    found = random.standard_normal((count, dim)) * np.linspace(3, 0.1, dim) + 0.5
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def projection(dim_in: int = 12, dim_out: int = 5) -> Projection:
    x = rows(dim=dim_in).astype(np.float64)
    return Projection(pca(x.T @ x, dim_out), "f00d", "data")


def test_it_is_the_uncentred_pca_of_its_rows():
    x = rows().astype(np.float64)
    found = pca(x.T @ x, 5).astype(np.float64)
    _, _, right = np.linalg.svd(x, full_matrices=False)  # of the rows as they are: not centred
    np.testing.assert_allclose(np.abs(np.sum(found * right[:5].T, axis=0)), 1, atol=1e-5)
    np.testing.assert_allclose(found.T @ found, np.eye(5), atol=1e-6)
    assert (found[np.abs(found).argmax(axis=0), np.arange(5)] > 0).all()


def test_rows_keep_the_length_one_and_all_dimensions_keep_every_cosine():
    x = rows()
    np.testing.assert_allclose(np.linalg.norm(projection()(x), axis=1), 1, atol=1e-6)
    whole = projection(dim_out=12)(x)
    np.testing.assert_allclose(whole @ whole.T, x @ x.T, atol=1e-5)
    assert not projection()(np.zeros((1, 12))).any()


@pytest.mark.parametrize("dim", [0, 13])
def test_other_dimensions_are_refused(dim):
    with pytest.raises(SettingsError, match="must be 1 to 12"):
        pca(np.eye(12), dim)


def test_it_comes_back_from_its_file_bit_for_bit(tmp_path):
    one = projection()
    one.write(tmp_path)
    found = Projection.read(tmp_path)
    assert found.digest == one.digest
    assert (found.model, found.data) == ("f00d", "data")
    assert found.to_bytes() == one.to_bytes() == (tmp_path / PROJECTION).read_bytes()
    assert Projection.read(tmp_path / "elsewhere") is None


def test_every_flipped_or_missing_byte_is_noticed(tmp_path):
    one = projection()
    raw = one.to_bytes()
    for place in range(0, len(raw), 7):
        damaged = raw[:place] + bytes([raw[place] ^ 64]) + raw[place + 1 :]
        with contextlib.suppress(IndexStateError):
            # What a zip says twice has no checksum of its own; an index's SHA-256 sees that, too.
            assert Projection.from_bytes(damaged, "here").digest == one.digest
    with pytest.raises(IndexStateError, match="not readable as a projection"):
        Projection.from_bytes(raw[:-100], "here")


ONE = projection(16, 8)


def filled(kind, folder):
    """Six passages of a plain encoder, in an index that has ``ONE``."""
    index = new_index_with(kind, folder)
    index.upsert(batch([passage(number) for number in range(6)], ProjectedEncoder(StubEncoder(), ONE)))
    index.commit()
    return index


def new_index_with(kind, folder):
    settings = {"token_dim": 8, "projection": ONE.digest, "encoder_kind": "plain"}
    if kind == "qdrant":
        from qdrant_client import QdrantClient

        from ernie_search.index.qdrant import QdrantIndex

        client = QdrantClient(":memory:")
        QdrantIndex.create(client, "passages", spec(**settings), ONE)
        return QdrantIndex.connect(client, "passages", mode="w")
    return open_index("memory://" if kind == "memory" else folder, spec(**settings), "w", projection=ONE)


@pytest.mark.parametrize("kind", ["memory", "lance", "qdrant"])
def test_every_backend_keeps_it(kind, tmp_path):
    if kind == "qdrant":
        pytest.importorskip("qdrant_client")
    with filled(kind, tmp_path / "index") as index:
        assert index.projection.digest == ONE.digest
        assert index.fetch_tokens(["p003"]).values.shape[1] == 8
    if kind == "lance":
        with open_index(tmp_path / "index") as index:
            np.testing.assert_array_equal(index.projection.matrix, ONE.matrix)
            assert verify(index).problems == []


def test_a_damaged_or_missing_one_is_found_by_verify_and_refused(tmp_path):
    folder = tmp_path / "index"
    filled("lance", folder).close()
    whole = (folder / PROJECTION).read_bytes()
    for damaged in (whole[:200] + bytes([whole[200] ^ 1]) + whole[201:], whole[:-1], None):
        with open_index(folder) as index:
            if damaged is None:
                (folder / PROJECTION).unlink()
            else:
                (folder / PROJECTION).write_bytes(damaged)
            problems = verify(index).problems
            assert len(problems) == 1
            assert PROJECTION in problems[0]
        for check in (True, False):
            with pytest.raises(IndexStateError, match=PROJECTION):
                open_index(folder, check=check)
        (folder / PROJECTION).write_bytes(whole)
    with open_index(folder) as index:
        assert verify(index).problems == []


def test_a_spec_without_its_projection_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="projection"):
        open_index("memory://", spec(token_dim=8, projection=ONE.digest), "w")
    with pytest.raises(SettingsError, match="projection"):
        open_index("memory://", spec(), "w", projection=ONE)
    assert new_index("memory", tmp_path).projection is None
