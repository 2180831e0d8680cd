"""PyLate: a ColBERT over the warm-up's transformer, by its contrastive loss or by distillation."""

from typing import Any

import numpy as np
import torch
from common import BATCH, Trained, columns, main, read_lines, trainer_arguments, training
from datasets import Dataset
from pylate import losses, models, utils
from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments


def run(job: dict[str, Any]) -> Trained:
    """Prefixes, query expansion to 32 tokens and the list of skipped marks are PyLate's defaults."""
    options = job["options"]
    model = models.ColBERT(job["plain"], document_length=job["passage_length"])
    with torch.no_grad():
        model[1].linear.weight.copy_(torch.from_numpy(np.load(job["head"])))
    loss: torch.nn.Module
    if options["loss"] == "contrastive":
        loss = losses.Contrastive(model=model)
        data = columns(job, with_scores=False)
    else:
        loss = losses.Distillation(model=model, normalize_scores=options.get("normalize_scores", True))
        examples, temperature = read_lines(job["examples"]), options.get("teacher_temperature", 1.0)
        data = {
            "query": [one["query"] for one in examples],
            "documents": [one["passages"] for one in examples],
            "scores": [[score / temperature for score in one["scores"]] for one in examples],
        }
    trainer = SentenceTransformerTrainer(
        model=model,
        args=SentenceTransformerTrainingArguments(**trainer_arguments(job)),
        train_dataset=Dataset.from_dict(data),
        loss=loss,
        data_collator=utils.ColBERTCollator(model.tokenize),
    )
    with training() as measured:
        trainer.train()
    model.eval()
    return Trained(
        measured.seconds,
        measured.peak_mb,
        ("pylate", "sentence-transformers"),
        {"query_length": model.query_length, "query_expansion": model.do_query_expansion} | options,
        tokens=lambda texts, task: model.encode(
            texts, batch_size=BATCH, is_query=task == "query", show_progress_bar=False
        ),
    )


if __name__ == "__main__":
    main(run)
