"""Our settings as those of the trainer that does the steps."""

import math
from pathlib import Path

from sentence_transformers import SentenceTransformerTrainingArguments

from ernie_search.training.settings import TrainSettings


def arguments(
    output: Path, settings: TrainSettings, *, on_cpu: bool, with_dev: bool
) -> SentenceTransformerTrainingArguments:
    """The trainer's arguments.

    Args:
        output: folder of the run.
        settings: of the run; its precision is decided already.
        on_cpu: whether the model is.
        with_dev: whether there is a dev sample to measure on the way.
    """
    return SentenceTransformerTrainingArguments(
        output_dir=str(output),
        max_steps=settings.steps,
        per_device_train_batch_size=settings.questions_per_batch,
        learning_rate=settings.learning_rate,
        learning_rate_mapping={r"token_head": settings.head_learning_rate},
        weight_decay=settings.weight_decay,
        warmup_steps=math.ceil(settings.warmup * settings.steps),
        lr_scheduler_type="linear",
        optim="adamw_torch_fused",
        max_grad_norm=settings.max_grad_norm,
        bf16=settings.precision == "bf16",
        tf32=True if settings.precision == "tf32" else None,  # None leaves torch as it is
        use_cpu=on_cpu,  # without it, bf16 is refused where there is no GPU
        seed=settings.seed,
        logging_steps=max(1, settings.steps // 20),
        logging_nan_inf_filter=False,
        eval_strategy="steps" if with_dev and settings.evaluations else "no",
        eval_steps=_at_least_one(settings.steps / max(1, settings.evaluations)),
        save_strategy="steps",
        save_steps=_at_least_one(settings.steps / settings.checkpoints),
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=not on_cpu,
        dataloader_drop_last=True,  # our loader has nothing to drop; else several ranks are warned of it
        # Buffers are constants here, and a broadcast between a step's forwards would spoil its backward.
        ddp_broadcast_buffers=False,
    )


def _at_least_one(value: float) -> int:
    return max(1, math.ceil(value))
