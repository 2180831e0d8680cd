"""Micro-batches change the speed and nothing else."""

import gzip
import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from ernie_search.errors import ModelError
from ernie_search.model import encode as encode_module
from ernie_search.runtime import batches
from ernie_search.runtime.batches import PADDING, micro_batches
from tiny_model import TEXTS

LANGUAGES = ["ar", "de", "el", "en", "es", "hi", "ro", "ru", "th", "tr", "vi", "zh"]


def test_the_order_is_that_of_the_texts(model):
    together = model.encode_joint(TEXTS, "passage", token_budget=64)
    order = np.random.default_rng(0).permutation(len(TEXTS))
    mixed = model.encode_joint([TEXTS[place] for place in order], "passage", token_budget=64)
    for place, original in enumerate(order):
        np.testing.assert_allclose(mixed.dense[place], together.dense[original], atol=1e-6)
        np.testing.assert_allclose(mixed.tokens[place], together.tokens[original], atol=1e-6)
        assert mixed.token_ids[place].tolist() == together.token_ids[original].tolist()


@pytest.mark.parametrize("budget", [1, 30, 70, 1000])
def test_the_budget_does_not_change_the_vectors(model, budget):
    alone = [model.encode_joint([text], "query") for text in TEXTS]
    found = model.encode_joint(TEXTS, "query", token_budget=budget)
    for place, one in enumerate(alone):
        np.testing.assert_allclose(found.dense[place], one.dense[0], atol=1e-5)
        np.testing.assert_allclose(found.tokens[place], one.tokens[0], atol=1e-5)


def test_what_comes_out_is_of_the_promised_kind(model):
    found = model.encode_joint(TEXTS, "query")
    assert found.dense.shape == (len(TEXTS), 32)
    assert found.dense.dtype == np.float32
    for rows, ids in zip(found.tokens, found.token_ids, strict=True):
        assert rows.shape == (len(ids), 16)
        assert (rows.dtype, ids.dtype) == (np.float32, np.int32)
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)


def test_tokens_are_left_out_where_not_wanted(model):
    found = model.encode_joint(TEXTS, "query", tokens=False)
    assert (found.tokens, found.token_ids) == ([], [])
    np.testing.assert_allclose(found.dense, model.encode_joint(TEXTS, "query").dense, atol=1e-7)
    assert model.attach_tokens  # as it was


def test_pieces_are_a_text_s_own_tokens_uncut(model):
    text = "tea " * 100 + "rice"
    model.encode_joint([text], "passage")  # leaves the tokenizer cutting
    pieces = model.pieces(text)
    whole = model.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    assert len(pieces.ids) == 101
    assert (pieces.ids, pieces.spans) == (whole["input_ids"], whole["offset_mapping"])
    assert pieces.words == whole.word_ids()
    assert model.token_texts(pieces.ids[-2:]) == ["tea", "rice"]
    assert model.tokenizer.backend_tokenizer.truncation is None or len(model.pieces(text).ids) == 101


def test_threads_may_share_a_model(model):
    kinds = [("query", True), ("query", False), ("passage", True), ("passage", False)]
    alone = [model.encode_joint(TEXTS, task, tokens=tokens) for task, tokens in kinds]
    with ThreadPoolExecutor(8) as threads:
        jobs = [threads.submit(model.encode_joint, TEXTS, *kinds[number % 4]) for number in range(64)]
    for number, job in enumerate(jobs):
        found, expected = job.result(), alone[number % 4]
        np.testing.assert_allclose(found.dense, expected.dense, atol=1e-6)
        assert len(found.tokens) == len(expected.tokens)
        for rows, others in zip(found.tokens, expected.tokens, strict=True):
            np.testing.assert_allclose(rows, others, atol=1e-6)


def test_truncated_texts_are_counted_and_cut(model):
    lengths = [len(model.tokenizer(text)["input_ids"]) for text in TEXTS]
    found = model.encode_joint(TEXTS, "query")
    assert found.truncated == sum(length > 16 for length in lengths) > 0
    assert max(map(len, found.tokens)) == 16 - 2
    assert model.encode_joint(TEXTS, "passage").truncated == 0


def test_exactly_as_long_as_allowed_is_not_truncated(model):
    assert model.encode_joint(["rice " * 14], "query").truncated == 0
    assert model.encode_joint(["rice " * 15], "query").truncated == 1


def test_no_texts_give_nothing(model):
    found = model.encode_joint([], "query")
    assert found.dense.shape == (0, 32)
    assert (found.tokens, found.token_ids, found.truncated) == ([], [], 0)


def test_progress_sums_up(model):
    steps = []
    model.encode_joint(TEXTS * 3, "passage", token_budget=100, progress=steps.append)
    assert sum(steps) == 3 * len(TEXTS)
    assert len(steps) > 1


def test_the_mode_is_left_as_it_was_and_dropout_is_off(model):
    model.train()
    one, two = model.encode_joint(TEXTS, "query"), model.encode_joint(TEXTS, "query")
    assert np.array_equal(one.dense, two.dense)
    assert model.training
    model.eval()
    model.encode_joint(TEXTS, "query")
    assert not model.training


def test_the_mode_is_restored_after_a_failure(model):
    def stop(done):
        raise KeyboardInterrupt

    model.train()
    with pytest.raises(KeyboardInterrupt):
        model.encode_joint(TEXTS, "query", tokens=False, progress=stop)
    assert model.training
    assert model.attach_tokens


def test_a_slow_tokenizer_is_refused(model, monkeypatch):
    class Slow:
        encodings = None

    monkeypatch.setattr(type(model), "tokenizer", property(lambda self: lambda texts, **options: Slow()))
    model.get_embedding_dimension = lambda: 32
    with pytest.raises(ModelError, match="its tokenizer has no fast version"):
        encode_module.tokenize(model, TEXTS, "query")


def test_sixteen_bits_stay_close(model, monkeypatch):
    full = model.encode_joint(TEXTS, "passage")
    monkeypatch.setattr(encode_module, "prefers_bf16", lambda device: True)
    low = model.encode_joint(TEXTS, "passage")
    assert low.dense.dtype == np.float32
    assert 1e-6 < np.abs(low.dense - full.dense).max() < 0.05  # 8 bits of mantissa, three layers
    assert ((low.dense * full.dense).sum(1) > 0.999).all()
    for rows in low.tokens:
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)  # the head is in fp32


@pytest.mark.parametrize("seed", range(20))
def test_micro_batches_hold_every_place_once_within_the_budget(seed):
    random = np.random.default_rng(seed)
    lengths = random.integers(0 if seed % 2 else 1, 200, random.integers(1, 100)).tolist()
    budget = int(random.integers(1, 1000))
    groups = list(micro_batches(lengths, budget))
    assert sorted(place for group in groups for place in group) == list(range(len(lengths)))
    for group in groups:
        longest = max(lengths[place] for place in group)
        assert len(group) == 1 or longest * len(group) <= budget
    flat = [lengths[place] for group in groups for place in group]
    assert flat == sorted(lengths, reverse=True)


@pytest.mark.parametrize("seed", range(20))
def test_large_micro_batches_end_before_they_are_padding(seed, monkeypatch):
    enough = 500
    monkeypatch.setattr(batches, "ENOUGH_TOKENS", enough)
    random = np.random.default_rng(seed)
    lengths = random.integers(1, 200, random.integers(1, 400)).tolist()
    groups = list(micro_batches(lengths, 20_000))
    assert sorted(place for group in groups for place in group) == list(range(len(lengths)))
    for group in groups:
        own = [lengths[place] for place in group]
        padded = max(own) * len(own)
        # A group that is cut at once had its last text as the one that made it large enough.
        assert padded - sum(own) <= PADDING * padded or padded < enough + max(own)
    assert [lengths[place] for group in groups for place in group] == sorted(lengths, reverse=True)


def test_texts_of_one_length_need_no_mask(model):
    alike = encode_module.padded([[2, 5, 3], [2, 6, 3]], 0, None)
    assert set(alike) == {"input_ids"}
    mixed = encode_module.padded([[2, 5, 3], [2, 3]], 0, None)
    assert mixed["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 0]]
    with torch.inference_mode():
        model.eval()
        without = model.read(alike)
        masked = {"input_ids": alike["input_ids"], "attention_mask": torch.ones(2, 3, dtype=torch.long)}
        with_mask = model.read(masked)
    torch.testing.assert_close(without.cls, with_mask.cls)
    torch.testing.assert_close(without.tokens, with_mask.tokens)
    assert torch.equal(without.mask, with_mask.mask)


def test_no_lengths_no_micro_batches():
    assert list(micro_batches([], 100)) == []


@pytest.mark.slow
def test_twelve_languages_come_through_unharmed(real_model, shared_data):
    texts = {}
    with gzip.open(shared_data / "xquad" / "corpus.jsonl.gz", "rt", encoding="utf-8") as handle:
        for line in handle:
            row = json.loads(line)
            texts.setdefault(row["metadata"]["language"], row["text"])
    assert sorted(texts) == LANGUAGES
    passages = [texts[language] for language in LANGUAGES]
    found = real_model.encode_joint(passages, "passage")
    plain = real_model.encode(passages, convert_to_numpy=True, normalize_embeddings=True)
    np.testing.assert_allclose(found.dense, plain, atol=1e-5)
    whole = [len(real_model.tokenizer(passage)["input_ids"]) for passage in passages]
    assert found.truncated == sum(length > 128 for length in whole) > len(LANGUAGES) / 2
    for passage, rows, ids in zip(passages, found.tokens, found.token_ids, strict=True):
        expected = real_model.tokenizer(passage, truncation=True, max_length=128)["input_ids"][1:-1]
        assert ids.tolist() == [one for one in expected if one not in real_model.special_ids.tolist()]
        assert np.isfinite(rows).all()
    with torch.inference_mode():
        mixed = real_model.encode_joint([" ".join(passages), "", "‏שלום", "👩‍👩‍👧 \u0000"], "query")
    assert np.isfinite(mixed.dense).all()
    assert all(len(rows) for rows in mixed.tokens)


def test_a_lone_question_takes_one_thread_and_gives_the_others_back(model, monkeypatch):
    seen: list[int] = []
    read = model.read
    monkeypatch.setattr(
        model, "read", lambda features: seen.append(torch.get_num_threads()) or read(features)
    )
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        model.encode_joint(["tea"], "query")
        model.encode_joint(["tea grows in the hills " * 3] * 40, "passage")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert seen[0] == 1
    assert set(seen[1:]) == {2}
