"""The one place that knows sentence-transformers' feature keys."""

import pytest
import torch

from ernie_search.errors import ModelError
from ernie_search.model.output import EncoderOutput, late_mask


def part(places, length):
    """Rows that know their own place: every value is the place, tokens as far as ``length``."""
    column = torch.tensor(places, dtype=torch.float32)[:, None]
    tokens = column[:, :, None].expand(-1, length, 2).clone()
    return EncoderOutput(column, tokens, torch.ones(len(places), length, dtype=torch.bool))


def test_stack_puts_every_row_back_in_its_place():
    places = [[4, 1], [0], [3, 2]]
    lengths = [5, 2, 3]
    whole = EncoderOutput.stack(
        [part(one, length) for one, length in zip(places, lengths, strict=True)],
        torch.tensor([place for one in places for place in one]),
    )
    assert whole.cls[:, 0].tolist() == [0, 1, 2, 3, 4]
    tokens, mask = whole.late()
    assert tokens.shape == (5, 5, 2)
    assert mask.sum(1).tolist() == [2, 5, 3, 3, 5]
    for place in range(5):
        assert (tokens[place][mask[place]] == place).all()
        assert (tokens[place][~mask[place]] == 0).all()


def test_stack_lets_the_gradient_through():
    first, second = part([1], 2), part([0], 3)
    leaf = first.tokens.requires_grad_()
    whole = EncoderOutput.stack([first, second], torch.tensor([1, 0]))
    whole.tokens[1].sum().backward()
    assert torch.equal(leaf.grad, torch.ones_like(leaf))


def test_stack_of_single_vectors_alone():
    whole = EncoderOutput.stack(
        [EncoderOutput(torch.tensor([[1.0]])), EncoderOutput(torch.tensor([[0.0]]))], torch.tensor([1, 0])
    )
    assert whole.cls.tolist() == [[0.0], [1.0]]
    assert whole.tokens is None
    with pytest.raises(ModelError, match="gave no token vectors; set attach_tokens"):
        whole.late()


def test_single_vectors_are_scaled_to_the_model_s_score():
    features = {"sentence_embedding": torch.tensor([[3.0, 4.0]], dtype=torch.bfloat16)}
    assert EncoderOutput.from_features(features, normalise=False).cls.tolist() == [[3.0, 4.0]]
    scaled = EncoderOutput.from_features(features, normalise=True)
    torch.testing.assert_close(scaled.cls, torch.tensor([[0.6, 0.8]]))
    assert scaled.tokens is None


def test_prompts_are_left_out_whether_one_length_is_given_or_one_a_row():
    ids = torch.tensor([[9, 5, 6, 7], [9, 5, 6, 0]])
    attention = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])
    special = torch.tensor([9])
    for prompt in (2, torch.tensor(2), torch.tensor([2, 2])):
        found = late_mask({"input_ids": ids, "attention_mask": attention, "prompt_length": prompt}, special)
        assert found.int().tolist() == [[0, 0, 1, 1], [0, 0, 1, 0]]
    found = late_mask(
        {"input_ids": ids, "attention_mask": attention, "prompt_length": torch.tensor([3, 1])}, special
    )
    assert found.int().tolist() == [[0, 0, 0, 1], [0, 1, 1, 0]]
