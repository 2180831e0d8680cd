"""How much of a demo fits into the minutes it has: measured on this machine, then and there."""

import statistics
import time
from dataclasses import dataclass

import numpy as np
import torch

from ernie_search.hardware import asks_bf16
from ernie_search.model import JointEncoder
from ernie_search.model.cross_encoder import new_cross_encoder, score_pairs
from ernie_search.model.encode import autocast
from ernie_search.training import TrainingData, TrainSettings
from ernie_search.training.batches import StepBatches
from ernie_search.training.collate import Collator
from ernie_search.training.step import JointLoss
from ernie_search.training.student import make_ready, usual_budget

ENCODE_SHARE = 0.35
"""Of the time, for encoding the corpus once a model; the rest beside training is BM25, loading, measuring."""
TRAIN_SHARE = 0.45
FEWEST_STEPS, MOST_STEPS = 10, 400
FEWEST_PASSAGES = 300
PILOT_TEXTS = 96
PILOT_STEPS = 4
"""The first, in which memory is taken and kernels are chosen, does not count."""
COMPARED, QUESTIONS = 20_000, 64
"""Vectors and questions of the product that stands for exact search."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What fits.

    Attributes:
        passages: to index, for each of the models.
        steps: of each training.
        passages_a_second, seconds_a_step: as measured.
    """

    passages: int
    steps: int
    passages_a_second: float
    seconds_a_step: float


def seconds_a_step(model: JointEncoder, data: TrainingData, settings: TrainSettings) -> float:
    """Time of a joint step: forward, backward and the optimizer's, at a rate of zero.

    The model's weights stay as they are; it is made ready for training, and for no other use.
    """
    batches = StepBatches(
        data.examples,
        steps=PILOT_STEPS,
        questions=settings.questions_per_batch,
        negatives=settings.negatives,
        seed=settings.seed,
    )
    make_ready(model, settings.model_copy(update={"compile": False}))
    collator = Collator(model, data.passages, settings.token_budget or usual_budget(model.device))
    loss = JointLoss(model, settings)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0, weight_decay=0.0, fused=True)
    bf16 = asks_bf16(settings.precision)
    model.attach_tokens = settings.needs_tokens
    model.train()
    seconds = []
    for step in range(PILOT_STEPS):
        started = time.perf_counter()
        with autocast(model.device, bf16):
            total = torch.stack(list(loss(collator([batches[step]])).values())).sum()
        # With gradient caching the encoder runs again in the backward, in a run's own precision.
        with autocast(model.device, bf16 if settings.gradient_cache else False):
            total.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
        if model.device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    model.eval()
    return statistics.median(seconds[1:])


def products_a_second(dim: int) -> float:
    """Questions' and passages' vectors compared a second, the best ten of each kept: exact search."""
    random = np.random.default_rng(0)
    asked = random.standard_normal((QUESTIONS, dim), dtype=np.float32)
    held = random.standard_normal((COMPARED, dim), dtype=np.float32)
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        np.argpartition(asked @ held.T, -10, axis=1)
        seconds.append(time.perf_counter() - started)
    return QUESTIONS * COMPARED / min(seconds)


def passages_a_second(model: JointEncoder, texts: list[str]) -> float:
    """Encoding rate over a few texts, both readings."""
    model.encode_joint(texts[:8], "passage")
    started = time.perf_counter()
    model.encode_joint(texts, "passage")
    return len(texts) / (time.perf_counter() - started)


def pairs_a_second(
    base: str, layers: int | None, pairs: list[tuple[str, str]], max_length: int | None = None
) -> float:
    """Rate at which a fresh cross-encoder over ``base`` scores pairs of question and passage."""
    model = new_cross_encoder(base, layers=layers, max_length=max_length)
    score_pairs(model, pairs[:8])
    started = time.perf_counter()
    score_pairs(model, pairs)
    return len(pairs) / (time.perf_counter() - started)


def budget(seconds: float, rate: float, step: float, *, passages: int, models: int, trainings: int) -> Budget:
    """Share ``seconds`` out among ``models`` encodings and ``trainings`` of equal length.

    Args:
        seconds: for everything.
        rate: passages a second.
        step: seconds a step.
        passages: how many there are.
    """
    fit = int(seconds * ENCODE_SHARE / models * rate)
    steps = int(seconds * TRAIN_SHARE / trainings / step)
    return Budget(
        min(passages, max(FEWEST_PASSAGES, fit)),
        min(MOST_STEPS, max(FEWEST_STEPS, steps)),
        round(rate, 2),
        round(step, 3),
    )
