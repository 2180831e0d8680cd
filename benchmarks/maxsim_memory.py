"""Peak memory of the training MaxSim, forward and backward, over the plain form under autograd."""

import resource
import sys

import torch
from torch import Tensor

from benchmarks.figures import Figure, arguments, emit
from benchmarks.isolated import isolated
from ernie_search.losses import maxsim


def naive(queries: Tensor, query_mask: Tensor, passages: Tensor, passage_mask: Tensor) -> Tensor:
    """The definition in one einsum: all token products at once."""
    products = torch.einsum("qid,pjd->qpij", queries, passages)
    products = products.masked_fill(~passage_mask[None, :, None, :], float("-inf"))
    best = products.max(dim=-1).values
    kept = query_mask[:, None, :].to(best.dtype)
    return (best * kept).sum(-1) / kept.sum(-1).clamp(min=1)


def peak(function_name: str, shape: dict[str, int]) -> tuple[float, float]:
    """In a process of its own: peak memory above the level before the call, in MB; sum of gradients."""
    torch.manual_seed(0)
    function = {"ours": maxsim, "naive": naive}[function_name]
    queries = torch.randn(shape["questions"], shape["question_tokens"], shape["dim"])
    passages = torch.randn(shape["passages"], shape["passage_tokens"], shape["dim"])
    queries = torch.nn.functional.normalize(queries, dim=-1).requires_grad_()
    passages = torch.nn.functional.normalize(passages, dim=-1).requires_grad_()
    masks = (
        torch.ones(queries.shape[:2], dtype=torch.bool),
        torch.ones(passages.shape[:2], dtype=torch.bool),
    )
    # A small call first, so that libraries and thread pools are there before the level is read.
    function(queries[:2], masks[0][:2], passages[:2], masks[1][:2]).sum().backward()
    queries.grad = passages.grad = None
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    scores = function(queries, masks[0], passages, masks[1])
    torch.logsumexp(scores / 0.05, dim=1).sum().backward()
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    scale = 1024 if sys.platform != "darwin" else 1024 * 1024
    gradients = [tensor.grad for tensor in (queries, passages) if tensor.grad is not None]
    return (after - before) / scale, sum(float(gradient.abs().sum()) for gradient in gradients)


def main() -> None:
    """Both forms in turn, each in a fresh process."""
    args = arguments(__doc__ or "")
    shape = {"questions": 64, "passages": 512, "question_tokens": 32, "passage_tokens": 180, "dim": 128}
    if args.quick:
        shape["passages"] = 128
    (ours, our_sum), (theirs, their_sum) = (isolated(peak, name, shape) for name in ("ours", "naive"))
    settings = {**shape, "gradient_sums": [round(our_sum, 3), round(their_sum, 3)]}
    emit([Figure("naive_over_ours", ours, "MB", "plain einsum", theirs, theirs / ours, settings)], args.json)


if __name__ == "__main__":
    main()
