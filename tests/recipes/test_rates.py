"""Rates are measured with what a user's own commands would run."""

from ernie_search.model import ScoreSettings, from_base
from ernie_search.recipes import rates as rates_module
from ernie_search.recipes.rates import measure
from ernie_search.recipes.scale import Scale, needs
from tiny_training import collection, settings


def test_what_is_measured_can_be_computed_with(tmp_path, tiny_base, monkeypatch):
    monkeypatch.setattr(rates_module, "INDEXED", 600)
    lengths = ScoreSettings(token_dim=16, query_length=16, passage_length=48)
    model = from_base(str(tiny_base), settings=lengths, device="cpu")
    found = measure(model, str(tiny_base), collection(), tmp_path / "work", settings())
    assert (found.dim, found.token_dim, found.index_passages) == (32, 16, 600)
    passages = list(collection().passages())
    encoded = model.encode_joint([one.full_text for one in passages], "passage")
    assert found.tokens_a_passage == round(sum(map(len, encoded.tokens)) / len(passages), 1)
    mean = sum(len(one.full_text.encode()) for one in passages) / len(passages)
    assert found.text_bytes == round(mean, 1)
    assert min(found.passages_a_second, found.pairs_a_second, found.stored_a_second) > 0
    assert found.products_a_second > 1e5
    assert all(one.hours > 0 for one in needs(found, Scale(passages=1000)))
