"""Several processes that train together, started as a person would start them."""

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import CrossEncoder
from torch import Tensor, nn
from transformers import BertConfig, BertForSequenceClassification

import tiny_model
from ernie_search.losses.lead import COMPARED
from ernie_search.model import JointEncoder, ScoreSettings, from_base
from ernie_search.training import TrainingData, TrainSettings
from ernie_search.training.batches import Collator, StepBatch, StepBatches
from ernie_search.training.list_cache import ListCache
from ernie_search.training.step import JointLoss
from ernie_search.training.teachers import StepTeachers
from ernie_search.training.world import World

TESTS = Path(__file__).parent

TORCHRUN = ("torch.distributed.run", "--nproc-per-node", "{ranks}", "--master-port", "{port}")
ACCELERATE = (
    *("accelerate.commands.launch", "--multi_gpu", "--num_processes", "{ranks}"),
    *("--main_process_port", "{port}"),
)
"""The modules behind ``torchrun`` and ``accelerate launch``, and how they are told of ranks and a port."""


def script_of(ranks: int, code: str, arguments: tuple[str, ...]) -> Path:
    """The source in a file, beside what the first argument names."""
    script = Path(arguments[0]).parent / f"child-{ranks}.py"
    script.write_text(code, encoding="utf-8")
    return script


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def child_environment(changes: dict[str, str]) -> dict[str, str]:
    """What a process of these tests inherits: one thread, the way to the tests, no log of torch's own."""
    paths = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
    inherited = {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "TORCH_CPP_LOG_LEVEL": "ERROR"}
    return os.environ | inherited | changes


def launch(
    ranks: int,
    code: str,
    *arguments: str,
    environment: dict[str, str] | None = None,
    launcher: Sequence[str] = TORCHRUN,
) -> subprocess.CompletedProcess[str]:
    """Run Python source in ``ranks`` processes under a launcher; ``sys.argv[1:]`` are the arguments."""
    script = script_of(ranks, code, arguments)
    start = [word.format(ranks=ranks, port=free_port()) for word in launcher]
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-m", *start, str(script), *arguments],
        env=child_environment(environment or {}),
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )


class OneTeacher:
    """A cross-encoder of the tiny vocabulary, for all questions."""

    fingerprint = "one"

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            torch.manual_seed(1)
            config = BertConfig(
                vocab_size=len(tiny_model.VOCABULARY),
                hidden_size=32,
                num_hidden_layers=2,
                num_attention_heads=4,
                intermediate_size=48,
                max_position_embeddings=128,
                num_labels=1,
                initializer_range=0.2,
            )
            BertForSequenceClassification(config).save_pretrained(folder)
            tiny_model.tokenizer().save_pretrained(folder)
        self.all = [CrossEncoder(str(folder), device="cpu")]

    def of(self, positives: frozenset[str]) -> int:
        return 0


def tiny_student(base: str) -> JointEncoder:
    """In eval mode, so that dropout is off, and equal in every process."""
    lengths = ScoreSettings(token_dim=16, query_length=32, passage_length=60)
    return from_base(base, settings=lengths, device="cpu").eval()


def joined_batches(data: TrainingData, chosen: TrainSettings) -> StepBatches:
    """One step of seven questions."""
    return StepBatches(
        data.examples, steps=1, questions=7, negatives=chosen.negatives, seed=0, listed=chosen.listed
    )


def joined_step(data: TrainingData, chosen: TrainSettings) -> StepBatch:
    """A step of seven questions; a positive of the first one is the passage of the last one."""
    step = joined_batches(data, chosen)[0]
    step.positives[0] = step.positives[0] | {step.groups[-1][0]}
    return step


def loss_and_gradients(
    model: JointEncoder, data: TrainingData, chosen: TrainSettings, teachers: StepTeachers, world: World
) -> tuple[dict[str, float], dict[str, Tensor]]:
    """Of a second step, as the trainer computes it on this rank; means of both, and the leads, too.

    In training mode, where weights follow the leads, but without dropout.
    """
    model.attach_tokens = chosen.needs_tokens
    model.zero_grad()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    lists = None
    if chosen.listed:
        lists = ListCache(model, joined_batches(data, chosen), data.passages, bf16=False, world=world)
        lists.fill(0)
    model.train()
    loss = JointLoss(model, chosen, teachers, world, lists)
    if world.size > 1:
        loss.model = nn.parallel.DistributedDataParallel(
            model, find_unused_parameters=True, broadcast_buffers=False
        )
    collator = Collator(model, data.passages, 100, with_pairs=chosen.attention_weight > 0, world=world)
    for _ in range(2):
        model.zero_grad()
        parts: dict[str, Tensor] = loss(collator([joined_step(data, chosen)]))
        torch.stack(list(parts.values())).sum().backward()
    values: dict[str, Any] = {name: value.item() for name, value in parts.items()}
    values |= {f"sums of {term}": loss.parts.lead.sums(term).tolist() for term in COMPARED}
    grads = {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}
    return values | loss.take_raw(), grads
