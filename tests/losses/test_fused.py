"""The fused kernel is used where it agrees with our own form, and nowhere else; here it is made up."""

import logging
import sys
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from ernie_search.losses import fused, late_interaction
from ernie_search.losses.late_interaction import own_maxsim

CPU = torch.device("cpu")


def sums(queries: Tensor, passages: Tensor, *, q_mask: Tensor, d_mask: Tensor, **options: Any) -> Tensor:
    """The kernel's contract, spelled out: sums over question tokens."""
    products = torch.einsum("qid,pjd->qpij", queries, passages)
    best = products.masked_fill(~d_mask[None, :, None, :], float("-inf")).max(dim=-1).values
    return (best * q_mask[:, None, :]).sum(dim=-1)


def install(monkeypatch: pytest.MonkeyPatch, kernel: Any) -> None:
    module = ModuleType("late_interaction_kernels")
    monkeypatch.setattr(module, "maxsim", kernel, raising=False)
    monkeypatch.setitem(sys.modules, "late_interaction_kernels", module)


def test_its_sums_become_our_means(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, sums)
    assert fused.difference(CPU, own_maxsim, fused.fused_maxsim) < 1e-6


def deaf_to_passages(q: Tensor, p: Tensor, *, q_mask: Tensor, d_mask: Tensor, **options: Any) -> Tensor:
    return sums(q, p, q_mask=q_mask, d_mask=torch.ones_like(d_mask))


def deaf_to_questions(q: Tensor, p: Tensor, *, q_mask: Tensor, d_mask: Tensor, **options: Any) -> Tensor:
    return sums(q, p, q_mask=torch.ones_like(q_mask), d_mask=d_mask)


def without_gradient(q: Tensor, p: Tensor, **masks: Tensor) -> Tensor:
    return sums(q.detach(), p, **masks) + 0 * q.sum()


def no_number(q: Tensor, p: Tensor, **masks: Tensor) -> Tensor:
    return sums(q, p, **masks) * float("nan")


@pytest.mark.parametrize("wrong", [deaf_to_passages, deaf_to_questions, without_gradient, no_number])
def test_a_wrong_score_or_gradient_is_seen(monkeypatch: pytest.MonkeyPatch, wrong: Any) -> None:
    install(monkeypatch, wrong)
    assert not fused.difference(CPU, own_maxsim, fused.fused_maxsim) <= fused.TOLERANCE


def broken(*arguments: Any) -> float:
    raise RuntimeError("no kernel image\nis available")


@pytest.mark.parametrize(
    ("found", "taken", "said"),
    [
        (lambda *a: 1e-3, True, ""),
        (lambda *a: 0.2, False, "is off by 0.2 on cuda:"),
        (lambda *a: float("nan"), False, "is off by nan"),
        (broken, False, "fails on cuda:"),
    ],
)
def test_it_is_used_where_it_agrees(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, found: Any, taken: bool, said: str
) -> None:
    fused.usable.cache_clear()
    monkeypatch.setattr(fused, "installed", lambda: True)
    monkeypatch.setattr(fused, "difference", found)
    with caplog.at_level(logging.WARNING):
        assert fused.usable(torch.device("cuda:1"), own_maxsim) is taken
        assert fused.usable(torch.device("cuda:1"), own_maxsim) is taken  # not asked, nor said, again
    fused.usable.cache_clear()
    assert (len(caplog.messages), said in caplog.text) == ((0, True) if taken else (1, True))


@pytest.mark.parametrize(("device", "there"), [("cpu", True), ("cuda:0", False)])
def test_it_is_not_asked_on_a_processor_or_where_it_is_not(
    monkeypatch: pytest.MonkeyPatch, device: str, there: bool
) -> None:
    fused.usable.cache_clear()
    monkeypatch.setattr(fused, "installed", lambda: there)
    monkeypatch.setattr(fused, "difference", broken)
    assert not fused.usable(torch.device(device), own_maxsim)
    fused.usable.cache_clear()


def test_on_a_gpu_maxsim_is_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    class OnGPU(Tensor):
        is_cuda = True

    def kernel(*arguments: Tensor) -> str:
        return "the kernel's"

    monkeypatch.setattr(late_interaction, "fused_maxsim", kernel)
    tokens, mask = torch.randn(2, 3, 4), torch.ones(2, 3, dtype=torch.bool)
    for agrees in (True, False):
        monkeypatch.setattr(late_interaction, "usable", lambda *a, agrees=agrees: agrees)
        found: Any = late_interaction.maxsim(tokens.as_subclass(OnGPU), mask, tokens, mask)
        assert (found == "the kernel's") is agrees if isinstance(found, str) else not agrees
