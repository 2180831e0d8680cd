"""sentence-transformers: single vectors by three losses, and its multi-vector encoder by two."""

from typing import Any

import numpy as np
import torch
from common import BATCH, Trained, columns, main, trainer_arguments, training
from datasets import Dataset
from sentence_transformers import (
    MultiVectorEncoder,
    MultiVectorEncoderTrainer,
    MultiVectorEncoderTrainingArguments,
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.base.sampler import BatchSamplers
from sentence_transformers.multi_vector_encoder import losses as late_losses
from sentence_transformers.sentence_transformer import losses
from sentence_transformers.util import pairwise_cos_sim


def single(job: dict[str, Any]) -> Trained:
    """The warm-up's model as it is, a SentenceTransformer, trained on."""
    options = job["options"]
    model = SentenceTransformer(job["start"])
    if options.get("normalise") is False:
        model = SentenceTransformer(modules=list(model)[:-1])
    model.max_seq_length = job["passage_length"]
    distils = options["loss"] != "mnrl"
    sampler = {} if distils else {"batch_sampler": BatchSamplers.NO_DUPLICATES}
    loss: torch.nn.Module
    if options["loss"] == "mnrl":
        loss = losses.MultipleNegativesRankingLoss(model)
    elif options["loss"] == "marginmse":
        scale = options.get("scale")
        loss = (
            losses.MarginMSELoss(model)
            if scale is None
            else losses.MarginMSELoss(
                model, similarity_fct=lambda one, two: scale * pairwise_cos_sim(one, two)
            )
        )
    else:
        names = ("student_temperature", "teacher_temperature")
        loss = losses.DistillKLDivLoss(model, **{name: options[name] for name in names if name in options})
    trainer = SentenceTransformerTrainer(
        model=model,
        args=SentenceTransformerTrainingArguments(**trainer_arguments(job), **sampler),
        train_dataset=Dataset.from_dict(columns(job, distils)),
        loss=loss,
    )
    with training() as measured:
        trainer.train()
    model.eval()
    return Trained(
        measured.seconds,
        measured.peak_mb,
        ("sentence-transformers",),
        options | {"loss": type(loss).__name__},
        dense=lambda texts, task: model.encode(texts, batch_size=BATCH),
    )


def several(job: dict[str, Any]) -> Trained:
    """A multi-vector encoder over the warm-up's transformer, with the warm-up's token head."""
    options = job["options"]
    model = MultiVectorEncoder(job["plain"])
    with torch.no_grad():
        model[1].linear.weight.copy_(torch.from_numpy(np.load(job["head"])))
    lengths = {"query": job["query_length"], "document": job["passage_length"]}
    model[0].query_length, model[0].document_length = lengths["query"], lengths["document"]
    distils = options["loss"] == "multivector-kl"
    sampler = {} if distils else {"batch_sampler": BatchSamplers.NO_DUPLICATES}
    names = ("student_temperature", "teacher_temperature")
    loss: torch.nn.Module = (
        late_losses.MultiVectorDistillKLDivLoss(
            model, **{name: options[name] for name in names if name in options}
        )
        if distils
        else late_losses.MultiVectorMultipleNegativesRankingLoss(model)
    )
    trainer = MultiVectorEncoderTrainer(
        model=model,
        args=MultiVectorEncoderTrainingArguments(**trainer_arguments(job), **sampler, max_length=lengths),
        train_dataset=Dataset.from_dict(columns(job, distils)),
        loss=loss,
    )
    with training() as measured:
        trainer.train()
    model.eval()

    def encode(texts: list[str], task: str) -> Any:
        if task == "query":
            return model.encode_query(texts, batch_size=BATCH)
        return model.encode_document(texts, batch_size=BATCH)

    return Trained(
        measured.seconds,
        measured.peak_mb,
        ("sentence-transformers",),
        options | {"loss": type(loss).__name__},
        tokens=encode,
    )


if __name__ == "__main__":
    main(lambda job: (several if job["options"]["loss"].startswith("multivector") else single)(job))
