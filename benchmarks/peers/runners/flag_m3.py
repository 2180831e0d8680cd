"""FlagEmbedding: M3's unified fine-tuning of the dense, sparse and multi-vector readings together.

The multi-vector head starts as the warm-up's (its bias as zero), the sparse head at random. The sparse
reading is trained, as the method has it, and not measured.
"""

import json
from pathlib import Path
from typing import Any

from common import BATCH, Trained, main, read_lines, trainer_arguments, training
from FlagEmbedding import BGEM3FlagModel
from FlagEmbedding.finetune.embedder.encoder_only.m3 import (
    EncoderOnlyEmbedderM3DataArguments,
    EncoderOnlyEmbedderM3ModelArguments,
    EncoderOnlyEmbedderM3Runner,
    EncoderOnlyEmbedderM3TrainingArguments,
)


def run(job: dict[str, Any]) -> Trained:
    """Through its own runner, on a file in its own format."""
    options, folder = job["options"], Path(job["folder"])
    examples, temperature = read_lines(job["examples"]), options.get("teacher_temperature", 1.0)
    data = folder / "m3.jsonl"
    with open(data, "w", encoding="utf-8") as handle:
        for one in examples:
            scores = [score / temperature for score in one["scores"]]
            row = {"query": one["query"], "pos": one["passages"][:1], "neg": one["passages"][1:]}
            row |= {"pos_scores": scores[:1], "neg_scores": scores[1:]}
            handle.write(json.dumps(row, ensure_ascii=False) + "\n")
    chosen = {
        "temperature": 0.02,
        "sentence_pooling_method": "mean",
        "normalize_embeddings": True,
        "kd_loss_type": "m3_kd_loss",
        "unified_finetuning": True,
        "use_self_distill": True,
        "fix_encoder": False,
        "self_distill_start_step": 0,
    }
    runner = EncoderOnlyEmbedderM3Runner(
        EncoderOnlyEmbedderM3ModelArguments(job["plain"], colbert_dim=job["token_dim"]),
        EncoderOnlyEmbedderM3DataArguments(
            train_data=[str(data)],
            cache_path=str(folder / "cache"),
            train_group_size=len(examples[0]["passages"]),
            query_max_len=job["query_length"],
            passage_max_len=job["passage_length"],
            pad_to_multiple_of=8,
            knowledge_distillation=True,
        ),
        EncoderOnlyEmbedderM3TrainingArguments(
            **trainer_arguments(job), **chosen, dataloader_drop_last=True, remove_unused_columns=False
        ),
    )
    if runner.tokenizer.eos_token is None:  # BERT's has none, and M3's sparse reading leaves it out by its id
        runner.tokenizer.eos_token = runner.tokenizer.sep_token
    with training() as measured:
        runner.trainer.train()
    saved = folder / "m3"
    runner.trainer.save_model(str(saved))
    model = BGEM3FlagModel(
        str(saved), use_fp16=False, pooling_method="mean", colbert_dim=job["token_dim"], batch_size=BATCH
    )

    def encode(texts: list[str], task: str) -> Any:
        length = job["query_length"] if task == "query" else job["passage_length"]
        found = model.encode(
            texts, batch_size=BATCH, max_length=length, return_dense=True, return_colbert_vecs=True
        )
        return found["dense_vecs"], found["colbert_vecs"]

    return Trained(measured.seconds, measured.peak_mb, ("FlagEmbedding",), chosen | options, joint=encode)


if __name__ == "__main__":
    main(run)
