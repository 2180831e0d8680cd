"""Flash attention's batches without padding are sentence-transformers' own; the joint encoder reads them."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from transformers import AttentionInterface, modeling_flash_attention_utils
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from ernie_search.model import JointEncoder, ScoreSettings, from_base
from ernie_search.model.pooling import set_pooling
from ernie_search.types import Task
from tiny_model import TEXTS

FLASH = "flash_attention_2"


def text_by_text(module, query, key, value, mask, *, cu_seq_lens_q=None, **kwargs):
    """In flash attention's place, which needs a GPU: each text of the row by itself."""
    if cu_seq_lens_q is None:
        raise AssertionError("a padded batch, which flash attention was asked for")
    parts = [
        sdpa_attention_forward(module, *(one[:, :, start:end] for one in (query, key, value)), None)[0]
        for start, end in itertools.pairwise(cu_seq_lens_q.tolist())
    ]
    return torch.cat(parts, dim=1), None


@pytest.fixture
def flash(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine where flash attention is installed."""
    found = ((None, text_by_text, None, None), None)
    monkeypatch.setattr(modeling_flash_attention_utils, "lazy_import_flash_attention", lambda *_: found)
    monkeypatch.setitem(AttentionInterface._global_mapping, FLASH, text_by_text)


def asked_for_flash(base: Path, settings: ScoreSettings) -> JointEncoder:
    model = from_base(str(base), settings=settings, seed=3, device="cpu")
    model.backbone.config._attn_implementation = FLASH
    model[0].unpad_inputs = None  # found out anew, as on loading
    return model


@pytest.mark.usefixtures("flash")
@pytest.mark.parametrize("task", ["query", "passage"])
@pytest.mark.parametrize("base", ["bare", "sentence", "prompted"])
def test_both_readings_of_one_row_are_those_of_a_padded_batch(
    base: str, task: Task, request: pytest.FixtureRequest, settings: ScoreSettings
):
    folder = request.getfixturevalue(base)
    padded = from_base(str(folder), settings=settings, seed=3, device="cpu")
    expected = padded.encode_joint(TEXTS, task)
    model = asked_for_flash(folder, settings)
    features: dict[str, Any] = model.preprocess(
        TEXTS, prompt=model.prompt_of(task), task="query" if task == "query" else "document"
    )
    assert features["input_ids"].shape[0] == 1
    assert len(features["cu_seq_lens_q"]) == len(TEXTS) + 1
    with torch.no_grad():
        output = model.read(features)
    np.testing.assert_allclose(output.cls.numpy(), expected.dense, atol=1e-5)
    for row, mask, theirs in zip(*output.late(), expected.tokens, strict=True):
        np.testing.assert_allclose(row[mask].numpy(), theirs, atol=1e-5)
    ours = model.encode_query(TEXTS) if task == "query" else model.encode_document(TEXTS)
    theirs = padded.encode_query(TEXTS) if task == "query" else padded.encode_document(TEXTS)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.usefixtures("flash")
def test_weighted_pooling_reads_padded_batches(sentence: Path, settings: ScoreSettings, tmp_path: Path):
    """sentence-transformers' WordWeights sums over the rows of a batch, so there must be one a text."""
    padded = from_base(str(sentence), settings=settings, seed=3, device="cpu")
    weights = np.random.default_rng(5).uniform(0.1, 3, len(padded.tokenizer))
    set_pooling(padded, "weighted", weights)
    expected = padded.encode_joint(TEXTS, "passage").dense
    model = asked_for_flash(sentence, settings)
    assert model.preprocess(TEXTS)["input_ids"].shape[0] == 1
    set_pooling(model, "weighted", weights)
    assert model.preprocess(TEXTS)["input_ids"].shape[0] == len(TEXTS)
    model.backbone.config._attn_implementation = "sdpa"
    np.testing.assert_allclose(model.encode_document(TEXTS), expected, atol=1e-5)
    model.save(str(tmp_path / "model"))
    plain = SentenceTransformer(str(tmp_path / "model"), device="cpu")
    assert plain[0].unpad_inputs is False  # and not None, which would be found out anew


def test_without_flash_attention_batches_are_padded(model: JointEncoder):
    assert not model[0].can_flatten_inputs
    assert model.preprocess(TEXTS)["input_ids"].shape[0] == len(TEXTS)
