"""The cross-encoder as a stage, with a real tiny one."""

import numpy as np

from ernie_search.encoding import encode_collection
from ernie_search.index import index_shards
from ernie_search.model.cross_encoder import new_cross_encoder, score_pairs
from ernie_search.search import Searcher, open_cross_encoder
from ernie_search.types import Passage
from stub_encoder import StubEncoder
from tiny_model import TEXTS, bare_base


def test_a_saved_cross_encoder_reads_the_best(tmp_path):
    model = new_cross_encoder(str(bare_base(tmp_path / "base")), max_length=48, device="cpu")
    model.save(str(tmp_path / "cross"), create_model_card=False)
    passages = [Passage(f"p{n}", text) for n, text in enumerate(TEXTS)]
    encode_collection(StubEncoder(), passages, tmp_path / "index", data_fingerprint="d")
    searcher = Searcher(
        StubEncoder(), index_shards(tmp_path / "index", "memory://"), open_cross_encoder(tmp_path / "cross")
    )
    question = "where is the river"
    hits = searcher.search(question, len(passages), mode="cross")
    logits = score_pairs(model, [(question, text) for text in TEXTS])
    expected = {f"p{n}": float(logit) for n, logit in enumerate(logits)}
    np.testing.assert_allclose([hit.score for hit in hits], sorted(logits, reverse=True), atol=1e-4)
    assert all(abs(expected[hit.id] - hit.stages["cross"]) < 1e-4 for hit in hits)
