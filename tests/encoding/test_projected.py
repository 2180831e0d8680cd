"""Plain encoders: their token states projected by the collection's own PCA, kept from call to call."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from ernie_search.encoding import encode_collection
from ernie_search.encoding.build import add_to_index, make_index
from ernie_search.encoding.projected import (
    Fit,
    ProjectedEncoder,
    draw,
    fit_projection,
    projected_for,
)
from ernie_search.errors import DataError, IndexStateError, ModelError, SettingsError
from ernie_search.index import index_shards, open_index, verify
from ernie_search.index.projection import PROJECTION, Projection
from ernie_search.search import Searcher
from ernie_search.shards import read_manifest, read_shards
from ernie_search.types import Passage
from stub_encoder import StubEncoder, numbered_passages

PASSAGES = numbered_passages(40)


class Plain(StubEncoder):
    """A plain encoder, which counts the texts that it reads and may be killed before one."""

    kind = "plain"

    def __init__(self, kill_at: int | None = None, **options: object) -> None:
        super().__init__(**options)
        self.encoded, self.kill_at = 0, kill_at

    def encode_joint(self, texts, task, **options):
        if task == "passage":
            if self.kill_at is not None and self.encoded + len(texts) > self.kill_at:
                raise KeyboardInterrupt
            self.encoded += len(texts)
        return super().encode_joint(texts, task, **options)


def fit(dim: int = 6, passages=PASSAGES) -> Fit:
    return Fit(dim, lambda: iter(passages))


def encode(folder: Path, model: StubEncoder, projection=None, passages=PASSAGES, data="d"):
    return encode_collection(
        model, passages, folder, data_fingerprint=data, shard_size=8, projection=projection or fit()
    )


def files(folder: Path) -> dict[str, bytes]:
    return {one.name: one.read_bytes() for one in folder.iterdir() if one.suffix != ".json"}


def test_a_draw_is_fair_seeded_in_order_and_all_of_few():
    assert draw(range(5), 9, 0) == list(range(5))
    assert draw(range(100), 10, 3) == draw(iter(range(100)), 10, 3) == sorted(draw(range(100), 10, 3))
    assert draw(range(100), 10, 3) != draw(range(100), 10, 4)
    counts = np.bincount([one for seed in range(2000) for one in draw(range(20), 5, seed)], minlength=20)
    assert abs(counts - 500).max() < 100  # 5 sigma


def test_the_fit_is_the_pca_of_the_sampled_token_vectors():
    model = StubEncoder()
    found = fit_projection(model, PASSAGES, 6, data_fingerprint="d", sample=25, seed=1)
    texts = [one.full_text for one in draw(PASSAGES, 25, 1)]
    rows = np.concatenate(model.encode_joint(texts, "passage").tokens).astype(np.float64)
    _, _, right = np.linalg.svd(rows, full_matrices=False)
    assert np.abs(np.sum(found.matrix.T * right[:6], axis=1)) == pytest.approx(1, abs=1e-4)
    assert (found.model, found.data) == (model.fingerprint, "d")


def test_a_sample_without_tokens_and_vectors_that_are_nan_are_refused():
    with pytest.raises(DataError, match="no passage with a token"):
        fit_projection(StubEncoder(), [], 6, data_fingerprint="d")
    broken = StubEncoder()
    broken._words = lambda ids: np.full((len(ids), 16), np.nan, np.float32)
    with pytest.raises(ModelError, match="NaN"):
        fit_projection(broken, PASSAGES, 6, data_fingerprint="d")


def test_an_encoder_is_itself_but_for_its_tokens():
    model = StubEncoder()
    found = fit_projection(model, PASSAGES, 6, data_fingerprint="d")
    projected = pickle.loads(pickle.dumps(ProjectedEncoder(model, found)))
    assert (projected.fingerprint, projected.name, projected.token_dim) == ("f00d", "stub", 6)
    made, plain = (one.encode_joint(["a b c"], "query") for one in (projected, model))
    np.testing.assert_array_equal(made.dense, plain.dense)
    np.testing.assert_array_equal(made.token_ids[0], plain.token_ids[0])
    np.testing.assert_allclose(made.tokens[0], found(plain.tokens[0]))
    assert projected.encode_joint(["a"], "query", tokens=False).tokens == []
    with pytest.raises(ModelError, match="dimensions"):
        ProjectedEncoder(StubEncoder(dim=8), found)


def test_shards_hold_projected_tokens_and_say_so(tmp_path):
    encode(tmp_path, Plain())
    manifest, found = read_manifest(tmp_path), Projection.read(tmp_path)
    assert (manifest.token_dim, manifest.projection, manifest.encoder_kind) == (6, found.digest, "plain")
    shard = next(read_shards(tmp_path))
    raw = StubEncoder().encode_joint([PASSAGES[0].full_text], "passage").tokens[0]
    np.testing.assert_array_equal(shard.tokens[: len(raw)], found(raw).astype(np.float16))


@pytest.mark.parametrize("kill_at", [0, 40, 50, 79])
def test_killed_anywhere_and_resumed_it_gives_the_same_bytes(tmp_path, kill_at):
    encode(tmp_path / "whole", Plain())
    with pytest.raises(KeyboardInterrupt):
        encode(tmp_path / "killed", Plain(kill_at))
    model = Plain()
    encode(tmp_path / "killed", model)
    assert files(tmp_path / "killed") == files(tmp_path / "whole")
    if kill_at >= 40:  # the sample was encoded by the call that was killed
        assert model.encoded <= 40


def test_a_leftover_of_other_data_or_cut_short_is_made_anew(tmp_path):
    encode(tmp_path / "whole", Plain())
    for name, leftover in (("other", None), ("cut", b"PK")):
        folder = tmp_path / name
        folder.mkdir()
        if leftover is None:
            fit_projection(StubEncoder(), PASSAGES[:9], 6, data_fingerprint="other").write(folder)
        else:
            (folder / PROJECTION).write_bytes(leftover)
        encode(folder, Plain())
        assert files(folder) == files(tmp_path / "whole")


def test_a_folder_keeps_its_projection_and_refuses_another(tmp_path):
    encode(tmp_path, Plain())
    model = Plain()
    encode(tmp_path, model)
    assert model.encoded == 0
    with pytest.raises(IndexStateError, match="token_dim=6, not 5"):
        encode(tmp_path, Plain(), fit(5))
    other = fit_projection(StubEncoder(), PASSAGES[:9], 6, data_fingerprint="x")
    with pytest.raises(IndexStateError, match="another projection than the index's"):
        encode(tmp_path, Plain(), other)
    (tmp_path / PROJECTION).unlink()
    with pytest.raises(IndexStateError, match=r"projection\.npz: is missing"):
        encode(tmp_path, Plain())
    other.write(tmp_path)
    with pytest.raises(IndexStateError, match="not the one that its shards were made with"):
        encode(tmp_path, Plain())


def test_an_index_of_shards_has_their_projection_and_searches_with_it(tmp_path):
    encode(tmp_path, Plain())
    index = index_shards(tmp_path, "memory://", tokens="fp16")
    assert (index.spec.encoder_kind, index.spec.token_dim) == ("plain", 6)
    searcher = Searcher(Plain(), index)
    assert searcher.model.token_dim == 6
    assert projected_for(index, searcher.model) is searcher.model
    asked = PASSAGES[7].text
    best = searcher.search(asked, 3, mode="late")[0]
    assert best.id == "p7"
    found = Projection.read(tmp_path)
    query = found(StubEncoder().encode_joint([asked], "query").tokens[0])
    passage = found(StubEncoder().encode_joint([PASSAGES[7].full_text], "passage").tokens[0])
    assert best.stages["late"] == pytest.approx(float((query @ passage.T).max(1).mean()), abs=2e-3)
    (tmp_path / PROJECTION).unlink()
    with pytest.raises(IndexStateError, match=PROJECTION):
        index_shards(tmp_path, "memory://")


def write(folder: Path, passages: list[Passage]) -> str:
    """A BEIR folder of those passages."""
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"_id": one.id, "title": one.title, "text": one.text}) for one in passages]
    (folder / "corpus.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "queries.jsonl").write_text(json.dumps({"_id": "q", "text": "w1"}) + "\n")
    (folder / "qrels" / "test.tsv").write_text(f"query-id\tcorpus-id\tscore\nq\t{passages[0].id}\t1\n")
    return str(folder)


@pytest.fixture
def model(monkeypatch) -> Plain:
    encoder = Plain()
    monkeypatch.setattr("ernie_search.encoding.opening.open_encoder", lambda path, **options: encoder)
    return encoder


def made(source: str, folder: Path, **options):
    built = make_index(source, "model", folder, shard_size=8, **options)
    built.index.close()
    return built


def test_a_plain_encoder_gets_the_default_or_the_dimensions_asked_for(tmp_path, model, monkeypatch):
    source = write(tmp_path / "corpus", PASSAGES)
    built = made(source, tmp_path / "few")  # 16 dimensions are fewer than the default: no projection
    spec = built.index.spec
    assert (spec.token_dim, spec.projection, spec.tokens) == (16, "", "2bit")
    monkeypatch.setattr("ernie_search.encoding.projected.DEFAULT_TOKEN_DIM", 12)
    assert made(source, tmp_path / "default").index.spec.token_dim == 12
    spec = made(source, tmp_path / "asked", token_dim=6, tokens="int8").index.spec
    assert (spec.token_dim, spec.tokens, spec.encoder_kind) == (6, "int8", "plain")
    with open_index(tmp_path / "asked") as index:
        assert verify(index).problems == []
    with pytest.raises(IndexStateError, match="token_dim=6, not 5"):
        made(source, tmp_path / "asked", token_dim=5, tokens="int8")
    with pytest.raises(SettingsError, match="have 16 dimensions"):
        made(source, tmp_path / "more", token_dim=17)
    with pytest.raises(SettingsError, match="without token matrices"):
        made(source, tmp_path / "none", token_dim=6, tokens="none")
    model.kind = "joint"
    with pytest.raises(SettingsError, match="was trained to 16 dimensions"):
        made(source, tmp_path / "joint", token_dim=6)
    assert made(source, tmp_path / "joint").index.spec.tokens == "fp16"


def test_updates_and_additions_use_the_index_s_own_projection(tmp_path, model):
    source = write(tmp_path / "corpus", PASSAGES[:30])
    folder = tmp_path / "index"
    first = made(source, folder, token_dim=6).index.spec
    before = (folder / PROJECTION).read_bytes()
    write(tmp_path / "corpus", PASSAGES)
    model.encoded = 0
    built = made(source, folder)  # without saying token_dim again
    assert (built.added, built.index.spec.projection) == (10, first.projection)
    assert model.encoded == 10  # no sample
    extra = write(tmp_path / "extra", [Passage("x", "w1 w2 never seen")])
    assert add_to_index(extra, folder, "model") == 1
    assert (folder / PROJECTION).read_bytes() == before
    with open_index(folder) as index:
        assert index.fetch_tokens(["x"]).values.shape == (4, 6)
        assert verify(index, model).problems == []
        assert Searcher(model, index).search("w1 w2 never seen", 1, mode="late")[0].id == "x"


def test_an_index_whose_making_was_killed_is_finished_with_its_own_projection(tmp_path, model):
    source, folder = write(tmp_path / "corpus", PASSAGES), tmp_path / "index"
    made(source, tmp_path / "whole", token_dim=6)
    for kill_at in (0, 40, 30):  # in the sample, before the first shard, and among the shards
        model.encoded, model.kill_at = 0, kill_at
        with pytest.raises(KeyboardInterrupt):
            made(source, folder, token_dim=6)
        assert not (folder / "index.json").exists()
    model.kill_at = None
    model.encoded = 0
    made(source, folder, token_dim=6)
    assert model.encoded < 40
    with open_index(folder) as index, open_index(tmp_path / "whole") as whole:
        assert index.projection.to_bytes() == whole.projection.to_bytes()
        ids = [one.id for one in PASSAGES]
        np.testing.assert_array_equal(index.fetch_tokens(ids).values, whole.fetch_tokens(ids).values)


def test_shards_begun_for_other_dimensions_are_begun_anew(tmp_path, model):
    source, folder = write(tmp_path / "corpus", PASSAGES), tmp_path / "index"
    model.kill_at = 60
    with pytest.raises(KeyboardInterrupt):
        made(source, folder, token_dim=6)
    model.kill_at = None
    assert made(source, folder, token_dim=5).index.spec.token_dim == 5


def test_of_a_small_collection_a_part_is_sampled(monkeypatch):
    model, passages = StubEncoder(), numbered_passages(600)
    for count, expected in ((50, 50), (300, 96), (600, 150)):
        model.calls.clear()
        fit_projection(model, passages[:count], 4, data_fingerprint="d")
        assert sum(texts for _, texts in model.calls) == expected
