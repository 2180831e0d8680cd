"""Seconds a step in sentence-transformers' trainer: ErnieSearchLoss over MultipleNegativesRankingLoss.

Both train the same base on the same batches in the same order: 32 SQuAD questions with their passage and one
BM25 negative each. Each side runs in a fresh process, in turn. Precision, dropout and optimizer are the same;
the median step counts, without the first two.
"""

from benchmarks.figures import Figure, arguments, emit
from benchmarks.isolated import isolated
from benchmarks.train_step import QUESTIONS, theirs


def side(length: int, steps: int, precision: str, joint: bool) -> float:
    """Median seconds a step of one loss."""
    return theirs(length, steps, precision, joint=joint)


def main() -> None:
    """Rounds of both sides in turn; the best of each counts, as other programs can only slow a side down."""
    args = arguments(__doc__ or "", rounds=3, steps=12, length=256, precision="fp32")
    rounds, steps = (1, 6) if args.quick else (args.rounds, args.steps)
    seconds: dict[bool, list[float]] = {True: [], False: []}
    for number in range(rounds):
        for joint in (True, False) if number % 2 else (False, True):
            seconds[joint].append(isolated(side, args.length, steps, args.precision, joint))
    joint, alone = min(seconds[True]), min(seconds[False])
    settings = {"length": args.length, "questions": QUESTIONS, "steps": steps, "rounds": rounds}
    figure = Figure(
        "custom_trainer",
        joint,
        "s a step",
        "MultipleNegativesRankingLoss",
        alone,
        joint / alone,
        settings | {"precision": args.precision},
    )
    emit([figure], args.json)


if __name__ == "__main__":
    main()
